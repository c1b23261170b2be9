// An agent traced by Langfuse's JavaScript SDK 5. Arguments: the gateway's URL and the key.
import { LangfuseClient } from "@langfuse/client";
import { LangfuseSpanProcessor } from "@langfuse/otel";
import { startActiveObservation, startObservation } from "@langfuse/tracing";
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

const [baseUrl, secretKey] = process.argv.slice(2);
const publicKey = "pk-lf-any";
const provider = new NodeTracerProvider({
  spanProcessors: [new LangfuseSpanProcessor({ baseUrl, publicKey, secretKey })],
});
provider.register();

await startActiveObservation(
  "research-agent",
  async (agent) => {
    const call = startObservation("chat", { model: "gpt-4o-mini", input: "secret prompt" }, { asType: "generation" });
    call.update({ output: "secret answer", usageDetails: { input: 100, output: 20 }, costDetails: { total: 0.25 } }).end();
    startObservation("lookup", { input: { city: "Paris" } }, { asType: "tool" }).update({ output: "sunny" }).end();
    agent.update({ output: "done" });
  },
  { asType: "agent" },
);
await startActiveObservation(
  "research-agent",
  async (agent) => {
    const call = startObservation("chat", { model: "gpt-4o-mini" }, { asType: "generation" });
    call.update({ level: "ERROR", statusMessage: "upstream timed out" }).end();
    agent.update({ level: "ERROR", statusMessage: "upstream timed out" });
  },
  { asType: "agent" },
);
await provider.forceFlush();
const client = new LangfuseClient({ baseUrl, publicKey, secretKey });
client.score.create({ traceId: "0".repeat(31) + "1", name: "quality", value: 0.5 });
await client.flush();
await client.shutdown();
await provider.shutdown();
