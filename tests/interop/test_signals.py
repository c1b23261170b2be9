"""Metrics and log records of agents, from the OpenTelemetry SDK of Python as published.

An agent that is not traced tells how much it does all the same. Whatever the transport and the temporality, however often an
export is repeated, and whatever else tells the same: the gateway must know exactly how much it was.
"""

import time

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from conftest import KEY, wait_for

AGENT = "planner"
MODEL = "gpt-5-mini"
HEADERS = {"x-api-key": KEY}
# Short, because what a new instance's metrics tell waits for spans.
HOLD = "receivers: {otlp: {traces: {hold: 1s, run_ends_after: 3s}}}"


@pytest.fixture
def resource():
    return Resource.create({"service.name": "travel", "service.instance.id": "one"})


def endpoint(gateway, transport, signal):
    return f"http://{gateway.at['otlp_grpc']}" if transport == "grpc" else f"http://{gateway.at['otlp_http']}/v1/{signal}"


class Measured:
    """An agent with the instruments of the GenAI conventions."""

    def __init__(self, gateway, transport, resource, temporality=AggregationTemporality.CUMULATIVE):
        preferred = {Counter: temporality, Histogram: temporality}
        exporter = (GrpcMetrics if transport == "grpc" else HttpMetrics)(
            endpoint=endpoint(gateway, transport, "metrics"), headers=HEADERS, preferred_temporality=preferred)
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
        self.provider = MeterProvider(resource=resource, metric_readers=[reader])
        meter = self.provider.get_meter("agent")
        self.tokens = meter.create_histogram("gen_ai.client.token.usage", "{token}")
        self.durations = meter.create_histogram("gen_ai.client.operation.duration", "s")
        self.tools = meter.create_histogram("gen_ai.execute_tool.duration", "s")
        self.cost = meter.create_histogram("operation.cost", "{USD}")
        meter.create_counter("http.server.requests").add(5)

    def call(self, input, output, failed=False):
        about = {"gen_ai.operation.name": "chat", "gen_ai.agent.name": AGENT, "gen_ai.request.model": MODEL}
        if failed:
            self.durations.record(0.1, {**about, "error.type": "RateLimitError"})
            return
        self.durations.record(0.3, about)
        self.tokens.record(input, {**about, "gen_ai.token.type": "input"})
        self.tokens.record(output, {**about, "gen_ai.token.type": "output"})
        self.cost.record(0.001, about)

    def tool(self):
        self.tools.record(0.1, {"gen_ai.agent.name": AGENT, "gen_ai.tool.name": "search"})

    def export(self):
        assert self.provider.force_flush()


def totals(gateway):
    row = gateway.agent(AGENT)
    names = ("model_calls", "model_calls_failed", "tool_calls", "tokens_input", "tokens_output", "cost_usd")
    return row and tuple(row["totals"][name] for name in names)


def check(gateway, *expected):
    wait_for(lambda: totals(gateway) == expected, 15, why=lambda: f"{totals(gateway)} instead of {expected}")


@pytest.mark.parametrize("transport", ["grpc", "http"])
@pytest.mark.parametrize("temporality", [AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA])
def test_metrics_alone_tell_how_much_an_agent_does(gateway_factory, resource, transport, temporality):
    gateway = gateway_factory(HOLD)
    agent = Measured(gateway, transport, resource, temporality)
    agent.call(100, 10)
    agent.call(200, 20)
    agent.tool()
    agent.export()
    check(gateway, 2, 0, 1, 300, 30, "0.002000000")
    agent.export()
    agent.call(50, 5)
    agent.call(0, 0, failed=True)
    agent.export()
    check(gateway, 4, 1, 1, 350, 35, "0.003000000")

    gateway.kill()
    gateway.start()
    # Ports are new after a start.
    again = Measured(gateway, transport, resource, temporality)
    again.call(7, 1)
    again.export()
    check(gateway, 5, 1, 1, 357, 36, "0.004000000")
    assert gateway.agent(AGENT)["sources"] == ["otlp"]
    again.provider.shutdown()
    check(gateway, 5, 1, 1, 357, 36, "0.004000000")
    assert gateway.metrics()['pulsegate_otlp_data_points_total{outcome="ignored"}'] >= 1


def operation_details(agent=AGENT, **more):
    return LogRecord(
        timestamp=time.time_ns(),
        severity_number=SeverityNumber.INFO,
        event_name="gen_ai.client.inference.operation.details",
        body={"note": "not read"},
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.agent.name": agent,
            "gen_ai.response.model": MODEL,
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 10,
            "gen_ai.input.messages": "where is my secret order?",
            **more,
        },
    )


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_events_of_model_calls_count_without_spans(gateway_factory, resource, transport):
    gateway = gateway_factory(HOLD)
    exporter = (GrpcLogs if transport == "grpc" else HttpLogs)(
        endpoint=endpoint(gateway, transport, "logs"), headers=HEADERS)
    provider = LoggerProvider(resource=resource)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger("agent")
    logger.emit(operation_details())
    logger.emit(operation_details(**{"error.type": "RateLimitError"}))
    logger.emit(LogRecord(timestamp=time.time_ns(), body="GET /health 200"))
    wait_for(lambda: (totals(gateway) or ())[:2] == (2, 1), 15, why=lambda: str(totals(gateway)))
    assert totals(gateway)[3:5] == (200, 20)
    assert gateway.metrics()['pulsegate_otlp_log_records_total{outcome="ignored"}'] == 1
    assert "secret order" not in gateway.log_text
    provider.shutdown()


def test_spans_are_believed_before_metrics_and_events(gateway_factory, resource):
    """All three tell of the same two calls."""
    gateway = gateway_factory("receivers: {otlp: {traces: {hold: 3s}}}")
    agent = Measured(gateway, "http", resource)
    logs = LoggerProvider(resource=resource)
    logs.add_log_record_processor(SimpleLogRecordProcessor(
        HttpLogs(endpoint=endpoint(gateway, "http", "logs"), headers=HEADERS)))
    spans = TracerProvider(resource=resource)
    spans.add_span_processor(SimpleSpanProcessor(
        OTLPSpanExporter(endpoint=endpoint(gateway, "http", "traces"), headers=HEADERS)))
    tracer = spans.get_tracer("agent")
    for number in (1, 2):
        agent.call(100, 10)
        agent.export()
        logs.get_logger("agent").emit(operation_details())
        with tracer.start_as_current_span("chat", attributes={
            "gen_ai.operation.name": "chat", "gen_ai.agent.name": AGENT, "gen_ai.response.model": MODEL,
            "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 10,
        }):
            pass
        assert totals(gateway)[0] == number and totals(gateway)[3:5] == (100 * number, 10 * number)
    # Longer than anything was held back.
    time.sleep(5)
    assert totals(gateway)[0] == 2 and totals(gateway)[3:5] == (200, 20)
    assert gateway.metrics()['pulsegate_otlp_uncounted_total{reason="outranked"}'] >= 1
    for provider in (agent.provider, logs, spans):
        provider.shutdown()
