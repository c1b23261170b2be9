"""Model calls instrumented by OpenLLMetry, sent over OTLP/HTTP. Arguments: OTLP/HTTP URL, key, URL of the model."""

import sys

import openai
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

url, key, model = sys.argv[1:4]
provider = TracerProvider(resource=Resource.create({"service.name": "research-agent"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces", headers={"x-api-key": key})))
OpenAIInstrumentor().instrument(tracer_provider=provider)
client = openai.OpenAI(api_key="none", base_url=model, max_retries=0)
for text in ["one", "two", "please fail"]:
    try:
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": text}])
    except openai.RateLimitError:
        pass
provider.shutdown()
