// The agent of test_otel.py once more, traced by the JavaScript SDK of OpenTelemetry and sent as OTLP in JSON.
//
// `node agent.mjs batch|simple|twice`; where to send, with which key and compression is told by the standard variables
// of the SDK. Prints what went wrong as JSON.

import { SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { defaultResource, detectResources, envDetector } from "@opentelemetry/resources";
import { BatchSpanProcessor, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

const AGENT = "trip-planner";
const MODEL = "gpt-5-mini";

class RateLimitError extends Error {
  name = "RateLimitError";
}

/** Runs `work` in a span, and marks the span as instrumentations do when the work fails. */
function within(tracer, operation, what, kind, attributes, work) {
  const facts = { "gen_ai.operation.name": operation, "gen_ai.agent.name": AGENT, ...attributes };
  return tracer.startActiveSpan(`${operation} ${what}`, { kind, attributes: facts }, (span) => {
    try {
      return work(span);
    } catch (error) {
      span.recordException(error);
      span.setAttribute("error.type", error.name);
      span.setStatus({ code: SpanStatusCode.ERROR, message: `${error.name}: ${error.message}` });
      throw error;
    } finally {
      span.end();
    }
  });
}

function story(tracer) {
  const run = (work) => within(tracer, "invoke_agent", AGENT, SpanKind.INTERNAL, {}, work);
  const call = (work) => {
    const request = { "gen_ai.request.model": MODEL, "gen_ai.provider.name": "openai" };
    within(tracer, "chat", MODEL, SpanKind.CLIENT, request, work);
  };
  const chat = (number, input, output, cached, reasoning) =>
    call((span) =>
      span.setAttributes({
        "gen_ai.response.model": MODEL,
        "gen_ai.response.id": `resp-${number}`,
        "gen_ai.usage.input_tokens": input,
        "gen_ai.usage.output_tokens": output,
        "gen_ai.usage.cache_read.input_tokens": cached,
        "gen_ai.usage.reasoning.output_tokens": reasoning,
      }),
    );
  const tool = (name, toolArguments) => {
    const attributes = { "gen_ai.tool.name": name, "gen_ai.tool.call.arguments": JSON.stringify(toolArguments) };
    within(tracer, "execute_tool", name, SpanKind.INTERNAL, attributes, () => {});
  };

  for (const number of [1, 2]) {
    run(() => {
      chat(`${number}a`, 1200, 80, 0, 0);
      tool("get_weather", { city: "Oslo" });
      tool("book_train", { to: "Oslo", day: number });
      chat(`${number}b`, 1500, 120, 1024, 64);
    });
  }
  try {
    run(() => {
      chat("3a", 1200, 80, 0, 0);
      tool("get_weather", { city: "Bergen" });
      call(() => {
        throw new RateLimitError("429 from upstream");
      });
    });
  } catch (error) {
    if (!(error instanceof RateLimitError)) throw error;
  }
}

const exporter = new OTLPTraceExporter();
const memory = new InMemorySpanExporter();
const processors = {
  batch: () => new BatchSpanProcessor(exporter),
  simple: () => new SimpleSpanProcessor(exporter),
  twice: () => new SimpleSpanProcessor(memory),
};
const mode = process.argv[2];
const resource = defaultResource().merge(detectResources({ detectors: [envDetector] }));
const provider = new NodeTracerProvider({ resource, spanProcessors: [processors[mode]()] });
provider.register();
story(provider.getTracer("story"));

const told = { errors: [] };
if (mode === "twice") {
  const spans = memory.getFinishedSpans();
  const send = (batch) => new Promise((done) => exporter.export(batch, done));
  const results = [await send(spans), await send(spans), await send(spans.slice(2))];
  told.codes = results.map((result) => result.code);
  told.errors = results.filter((result) => result.error).map((result) => String(result.error.message));
} else {
  await provider.forceFlush().catch((error) => told.errors.push(String(error)));
}
await provider.shutdown();
console.log(JSON.stringify(told));
