"""The OpenTelemetry SDKs of Python and JavaScript, as published, export to a gateway.

An agent that works as agents do is traced with the GenAI conventions: runs with model calls and tool calls, the last
of which fails. Whatever transport, compression, language and order of arrival: the gateway must know exactly what
happened.
"""

import json
import pathlib
import re
import shutil
import subprocess

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from conftest import KEY, wait_for

AGENT = "trip-planner"
SERVICE = "travel"
MODEL = "gpt-5-mini"
# What the story below (and its twin in js/agent.mjs) amounts to.
TOTALS = {
    "runs": 3,
    "results_success": 2,
    "results_failure": 1,
    "model_calls": 6,
    "model_calls_failed": 1,
    "tool_calls": 5,
    "tool_calls_failed": 0,
    "tokens_input": 2 * (1200 + 1500) + 1200,
    "tokens_output": 2 * (80 + 120) + 80,
    "tokens_cached_input": 2 * 1024,
    "tokens_reasoning": 2 * 64,
}


class RateLimitError(Exception):
    pass


class Story:
    """The agent: three runs, the last of which fails at its second model call."""

    def __init__(self, tracer, between=lambda: None):
        self.tracer = tracer
        # Called after each step of a run, while the run is still open.
        self.between = between

    def span(self, operation, what, kind=SpanKind.INTERNAL, **attributes):
        facts = {"gen_ai.operation.name": operation, "gen_ai.agent.name": AGENT}
        facts |= {f"gen_ai.{name.replace('__', '.')}": value for name, value in attributes.items()}
        return self.tracer.start_as_current_span(f"{operation} {what}", kind=kind, attributes=facts)

    def chat(self, number, input, output, cached, reasoning):
        request = {"request__model": MODEL, "provider__name": "openai"}
        with self.span("chat", MODEL, SpanKind.CLIENT, **request) as span:
            span.set_attributes({
                "gen_ai.response.model": MODEL,
                "gen_ai.response.id": f"resp-{number}",
                "gen_ai.usage.input_tokens": input,
                "gen_ai.usage.output_tokens": output,
                "gen_ai.usage.cache_read.input_tokens": cached,
                "gen_ai.usage.reasoning.output_tokens": reasoning,
            })
        self.between()

    def failing_chat(self):
        with self.span("chat", MODEL, SpanKind.CLIENT, request__model=MODEL, provider__name="openai") as span:
            span.set_attribute("error.type", "RateLimitError")
            raise RateLimitError("429 from upstream")

    def tool(self, name, **arguments):
        with self.span("execute_tool", name, tool__name=name, tool__call__arguments=json.dumps(arguments)):
            pass
        self.between()

    def good_run(self, number):
        with self.span("invoke_agent", AGENT):
            self.chat(f"{number}a", 1200, 80, 0, 0)
            self.tool("get_weather", city="Oslo")
            self.tool("book_train", to="Oslo", day=number)
            self.chat(f"{number}b", 1500, 120, 1024, 64)

    def failing_run(self):
        with self.span("invoke_agent", AGENT) as run:
            self.chat("3a", 1200, 80, 0, 0)
            self.tool("get_weather", city="Bergen")
            # The SDK records the exception and sets the status of both spans on its way out.
            run.set_attribute("error.type", "RateLimitError")
            self.failing_chat()

    def tell(self):
        self.good_run(1)
        self.good_run(2)
        with pytest.raises(RateLimitError):
            self.failing_run()


def exporter(gateway, transport, key=KEY, gzip=False):
    if transport == "grpc":
        compression = grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression
        endpoint = f"http://{gateway.at['otlp_grpc']}"
        return GrpcExporter(endpoint=endpoint, headers={"x-api-key": key}, compression=compression)
    address = gateway.at["otlp_http" if transport == "http" else "http"]
    compression = Compression.Gzip if gzip else Compression.NoCompression
    return HttpExporter(endpoint=f"http://{address}/v1/traces", headers={"x-api-key": key}, compression=compression)


def provider_of(processor):
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
    provider.add_span_processor(processor)
    return provider


def recorded_spans():
    """The spans of the story, not exported yet, in the order in which they ended."""
    memory = InMemorySpanExporter()
    Story(provider_of(SimpleSpanProcessor(memory)).get_tracer("story")).tell()
    return memory.get_finished_spans()


def series(metrics, name, **labels):
    """The value of the one series of AGENT with these labels."""
    labels = {"project": "default", "agent": AGENT, **labels}
    found = [
        value
        for text, value in metrics.items()
        if text.startswith(f"pulsegate_agent_{name}{{") and dict(re.findall(r'(\w+)="([^"]*)"', text)) == labels
    ]
    assert len(found) == 1, (name, labels, found)
    return found[0]


def check_story(gateway):
    agents = gateway.agents()
    assert set(agents) == {AGENT}, "one agent, and no second one of the service's name"
    row = agents[AGENT]
    assert {name: row["totals"][name] for name in TOTALS} == TOTALS
    assert row["totals"]["models"] == {MODEL: {"success": 5, "failure": 1}}
    assert row["last_error"]["message"] == "RateLimitError: 429 from upstream"
    assert (row["last_run"]["outcome"], row["last_run"]["error_type"]) == ("failure", "RateLimitError")
    assert row["sources"] == ["otlp"]

    metrics = gateway.metrics()
    assert series(metrics, "tokens_total", direction="input") == TOTALS["tokens_input"]
    assert series(metrics, "tokens_total", direction="output") == TOTALS["tokens_output"]
    assert series(metrics, "model_calls_total", model=MODEL, outcome="success") == 5
    assert series(metrics, "model_calls_total", model=MODEL, outcome="failure") == 1
    assert series(metrics, "tool_calls_total") == TOTALS["tool_calls"]
    assert series(metrics, "results_total", outcome="success") == 2
    assert series(metrics, "results_total", outcome="failure") == 1
    assert series(metrics, "run_duration_seconds_count") == 3


TRANSPORTS = ["grpc", "http", "http on the main port"]


@pytest.mark.parametrize("gzip", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_the_agent_did_is_counted_exactly(gateway, transport, gzip):
    provider = provider_of(BatchSpanProcessor(exporter(gateway, transport, gzip=gzip)))
    Story(provider.get_tracer("story")).tell()
    assert provider.force_flush()
    # Replies go out after the commit: what is flushed is known.
    check_story(gateway)
    provider.shutdown()


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_environment_variables_are_all_an_exporter_needs(gateway, transport, monkeypatch):
    address = gateway.at["otlp_grpc" if transport == "grpc" else "otlp_http"]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{address}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-api-key={KEY}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_SERVICE_NAME", SERVICE)
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(GrpcExporter() if transport == "grpc" else HttpExporter()))
    Story(provider.get_tracer("story")).tell()
    assert provider.force_flush()
    check_story(gateway)
    provider.shutdown()


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_parents_that_come_in_later_requests_change_nothing(gateway, transport):
    provider = provider_of(BatchSpanProcessor(exporter(gateway, transport), schedule_delay_millis=10))
    done = 0

    def until_it_arrived():
        """Goes on when the gateway knows the step that just ended; the run it belongs to is still open."""
        nonlocal done
        done += 1
        totals = lambda row: row["totals"]["model_calls"] + row["totals"]["tool_calls"]
        gateway.wait_for_agent(AGENT, lambda row: totals(row) == done)
        assert gateway.agent(AGENT)["totals"]["runs"] == (done - 1) // 4

    Story(provider.get_tracer("story"), until_it_arrived).tell()
    assert done == 10
    assert provider.force_flush()
    check_story(gateway)
    provider.shutdown()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_spans_that_are_sent_again_count_once(gateway, transport):
    """An exporter whose answer got lost sends its batch again; a processor that restarted may cut it differently."""
    spans = recorded_spans()
    sender = exporter(gateway, transport)
    assert sender.export(spans) == SpanExportResult.SUCCESS
    check_story(gateway)
    before = gateway.agent(AGENT)["totals"]
    for again in (spans, spans[:5], spans[3:], spans[::-1]):
        assert sender.export(again) == SpanExportResult.SUCCESS
        assert gateway.agent(AGENT)["totals"] == before
    sender.shutdown()


def test_the_same_spans_over_both_transports_count_once(gateway):
    spans = recorded_spans()
    for transport in TRANSPORTS:
        sender = exporter(gateway, transport)
        assert sender.export(spans) == SpanExportResult.SUCCESS
        check_story(gateway)
        sender.shutdown()


def test_the_operator_names_agent_and_project_by_attributes(gateway_factory, monkeypatch):
    gateway = gateway_factory("""
projects: {staging: {}}
receivers:
  otlp:
    identity:
      agent:
        - {attributes: [service.namespace, gen_ai.agent.name], regex: "(.+)/trip-(.+)", replacement: "$1.$2"}
      project:
        - {attributes: [deployment.environment.name], regex: "stag.*", replacement: staging}
""")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=eu,deployment.environment.name=stage-2")
    provider = provider_of(BatchSpanProcessor(exporter(gateway, "grpc")))
    Story(provider.get_tracer("story")).tell()
    assert provider.force_flush()
    assert gateway.agents() == {}, "nothing is in the key's own project"
    key = gateway.cli("keys", "create", "--project", "staging", "--scopes", "read")
    # A new key counts within a second.
    wait_for(lambda: gateway.request("GET", "/api/v1/status", key=key)[0] == 200, 5)
    rows = gateway.get("/api/v1/status", key=key)["agents"]
    assert [row["agent"] for row in rows] == ["eu.planner"]
    assert {name: rows[0]["totals"][name] for name in TOTALS} == TOTALS
    provider.shutdown()


def test_spans_are_known_again_after_a_crash(gateway):
    """What was acknowledged survives `kill -9`, and so does the memory of having counted it."""
    spans = recorded_spans()
    sender = exporter(gateway, "http")
    assert sender.export(spans[:7]) == SpanExportResult.SUCCESS
    sender.shutdown()
    gateway.kill()
    gateway.start()
    sender = exporter(gateway, "http")
    assert sender.export(spans) == SpanExportResult.SUCCESS
    check_story(gateway)
    sender.shutdown()


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_a_wrong_key_is_told_to_the_exporter_and_counts_nothing(gateway, transport):
    spans = recorded_spans()
    for key in ("cv_wrong", "", KEY + "x"):
        sender = exporter(gateway, transport, key=key)
        assert sender.export(spans) == SpanExportResult.FAILURE
        sender.shutdown()
    assert gateway.agents() == {}
    # It was the key, not the spans: with the right one the very same are taken.
    sender = exporter(gateway, transport)
    assert sender.export(spans) == SpanExportResult.SUCCESS
    check_story(gateway)
    sender.shutdown()


JS = pathlib.Path(__file__).parent / "js"


@pytest.fixture
def js_agent():
    """Runs js/agent.mjs to its end; gives what it printed."""
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed: install Node.js 20 or newer")
    if not (JS / "node_modules").is_dir():
        pytest.skip("tests/interop/js/node_modules is missing: run `npm install --no-package-lock` there")

    def run(gateway, mode, key=KEY, **env):
        command = [node, JS / "agent.mjs", mode]
        env = {
            "PATH": gateway.env["PATH"],
            "OTEL_SERVICE_NAME": SERVICE,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{gateway.at['otlp_http']}",
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={key}",
            **env,
        }
        done = subprocess.run(command, env=env, cwd=JS, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_the_javascript_sdk_is_counted_exactly(gateway, js_agent, compression):
    assert js_agent(gateway, "batch", OTEL_EXPORTER_OTLP_COMPRESSION=compression) == {"errors": []}
    check_story(gateway)


def test_the_javascript_sdk_may_send_each_span_by_itself(gateway, js_agent):
    """Every span in a request of its own, the parents after their children."""
    assert js_agent(gateway, "simple") == {"errors": []}
    check_story(gateway)
    requests = 'pulsegate_ingest_requests_total{outcome="accepted",receiver="otlp_http"}'
    assert gateway.metrics()[requests] == TOTALS["runs"] + TOTALS["model_calls"] + TOTALS["tool_calls"]


def test_spans_that_the_javascript_sdk_sends_again_count_once(gateway, js_agent):
    assert js_agent(gateway, "twice") == {"codes": [0, 0, 0], "errors": []}
    check_story(gateway)


def test_a_wrong_key_is_told_to_the_javascript_sdk(gateway, js_agent):
    told = js_agent(gateway, "twice", key="cv_wrong")
    assert told["codes"] == [1, 1, 1] and len(told["errors"]) == 3, told
    assert gateway.agents() == {}
    assert js_agent(gateway, "twice") == {"codes": [0, 0, 0], "errors": []}
    check_story(gateway)
