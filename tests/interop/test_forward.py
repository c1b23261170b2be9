"""Pass-through: real OpenTelemetry exporters send to a gateway, and a backend behind it gets the same bytes."""

import gzip
import http.server
import threading
import time

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from conftest import KEY, wait_for


class Backend(http.server.ThreadingHTTPServer):
    """Takes everything, and remembers it; or says that it is out of order."""

    daemon_threads = True

    def __init__(self, port=0):
        self.got = []
        self.answer = 200
        super().__init__(("127.0.0.1", port), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def bodies(self):
        return [body for _, _, body in self.got]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.answer == 200:
            self.server.got.append((self.path, dict(self.headers), body))
        self.send_response(self.server.answer)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        body = b'{"data": [{"id": "upstream"}]}'
        self.server.got.append((self.path, dict(self.headers), b""))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def backend():
    made = []

    def make(port=0):
        made.append(Backend(port))
        return made[-1]

    yield make
    for server in made:
        server.shutdown()
        server.server_close()


def config(**destinations):
    """The configuration with these destinations; retries come quickly."""
    lines = ["exporters:", "  forward:"]
    for name, more in destinations.items():
        lines.append(f"    {name}: {{{more}, retry_on_failure: {{initial_interval: 100ms, max_interval: 500ms}}}}")
    return "\n".join(lines) + "\n"


def export(exporter, name="forwarded"):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    facts = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name, "some.unknown": "kept as well"}
    with provider.get_tracer("t").start_as_current_span(f"invoke_agent {name}", attributes=facts):
        pass
    provider.shutdown()


def body(n):
    """A request with a body that tells its number, and nothing about agents."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = n.to_bytes(16, "big"), n.to_bytes(8, "big"), f"span {n}"
    return request.SerializeToString()


def send(gateway, data, path="/v1/traces", **headers):
    headers = {"Content-Type": "application/x-protobuf", **headers}
    status, _, answer = gateway.request("POST", path, raw=data, headers=headers)
    assert status == 200, answer


def test_real_exporters_reach_the_backend_behind(gateway_factory, backend):
    vendor = backend()
    gateway = gateway_factory(config(vendor=f"endpoint: '{vendor.url}', headers: {{api-key: secret}}"))
    headers = {"x-api-key": KEY}
    export(GrpcExporter(endpoint=f"http://{gateway.at['otlp_grpc']}", headers=headers, insecure=True), "by-grpc")
    url = f"http://{gateway.at['otlp_http']}/v1/traces"
    export(HttpExporter(endpoint=url, headers=headers), "by-http")
    export(HttpExporter(endpoint=url, headers=headers, compression=Compression.Gzip), "by-gzip")
    wait_for(lambda: len(vendor.got) == 3, why=lambda: vendor.got)
    for path, sent, raw in vendor.got:
        sent = {name.lower(): value for name, value in sent.items()}
        assert path == "/v1/traces" and sent["content-type"] == "application/x-protobuf"
        assert sent["api-key"] == "secret" and KEY not in str(sent)
        # Everything is there, also what the gateway itself does not look at.
        request = ExportTraceServiceRequest.FromString(gzip.decompress(raw) if "content-encoding" in sent else raw)
        [span] = request.resource_spans[0].scope_spans[0].spans
        assert "some.unknown" in [a.key for a in span.attributes]
        assert "telemetry.sdk.name" in [a.key for a in request.resource_spans[0].resource.attributes]
    for name in ("by-grpc", "by-http", "by-gzip"):
        assert gateway.agent(name), "the gateway knows the agent too"
    samples = gateway.metrics()
    assert samples['pulsegate_forward_sent_total{destination="vendor"}'] == 3
    assert samples['pulsegate_forward_queue_requests{destination="vendor"}'] == 0


def test_bytes_are_the_same_for_every_signal(gateway_factory, backend):
    vendor = backend()
    gateway = gateway_factory(config(vendor=f"endpoint: '{vendor.url}'"))
    trace, packed = body(1), gzip.compress(body(2))
    # Fields that the gateway has never heard of.
    unknown = b"\xfa\x7f\x05hello"
    send(gateway, trace)
    send(gateway, packed, **{"Content-Encoding": "gzip"})
    send(gateway, unknown, "/v1/logs")
    send(gateway, b'{"resourceMetrics": [], "future": 1}', "/v1/metrics", **{"Content-Type": "application/json"})
    wait_for(lambda: len(vendor.got) == 4, why=lambda: vendor.got)
    assert sorted((path, raw) for path, _, raw in vendor.got) == sorted([
        ("/v1/traces", trace), ("/v1/traces", packed), ("/v1/logs", unknown),
        ("/v1/metrics", b'{"resourceMetrics": [], "future": 1}'),
    ])


def test_a_dead_destination_holds_up_nobody(gateway_factory, backend, free_port):
    vendor = backend()
    dead = f"endpoint: 'http://127.0.0.1:{free_port()}', sending_queue: {{queue_size: 20}}"
    gateway = gateway_factory(config(vendor=f"endpoint: '{vendor.url}'", dead=dead))
    for n in range(100):
        began = time.monotonic()
        send(gateway, body(n))
        assert time.monotonic() - began < 2
    wait_for(lambda: len(vendor.got) == 100, why=lambda: len(vendor.got))
    samples = gateway.metrics()
    assert samples['pulsegate_forward_up{destination="dead"}'] == 0
    assert samples['pulsegate_forward_up{destination="vendor"}'] == 1
    assert samples['pulsegate_forward_queue_requests{destination="dead"}'] == 20
    assert samples['pulsegate_forward_dropped_total{destination="dead",reason="queue_full"}'] == 80


def test_what_waits_on_disk_outlives_kill_and_restart(gateway_factory, backend, free_port):
    port = free_port()
    settings = f"endpoint: 'http://127.0.0.1:{port}', sending_queue: {{storage: disk}}"
    gateway = gateway_factory(config(vendor=settings))
    sent = []
    for round in range(4):
        for n in range(50):
            sent.append(body(round * 1000 + n))
            send(gateway, sent[-1])
        if round % 2:
            gateway.stop()
        else:
            # What arrived in the last moment may still be on its way to the disk.
            time.sleep(0.2)
            gateway.kill()
        gateway.start()
    samples = gateway.metrics()
    assert samples['pulsegate_forward_restored_total{destination="vendor"}'] == 200
    vendor = backend(port)
    wait_for(lambda: len(vendor.got) == 200, why=lambda: len(vendor.got))
    assert sorted(vendor.bodies()) == sorted(sent)
    gateway.stop()
    gateway.start()
    assert gateway.metrics()['pulsegate_forward_restored_total{destination="vendor"}'] == 0
    assert len(vendor.got) == 200, "what was taken is not sent again"


def test_what_is_in_memory_is_sent_before_an_orderly_stop(gateway_factory, backend):
    vendor = backend()
    gateway = gateway_factory(config(vendor=f"endpoint: '{vendor.url}'"))
    for n in range(200):
        send(gateway, body(n))
    gateway.stop()
    assert len(vendor.got) == 200


def test_langfuse_keeps_its_traces_and_answers_what_sdks_ask(gateway_factory, backend):
    langfuse = backend()
    keys = "protocol: langfuse, public_key: pk-lf-up, secret_key: sk-lf-up"
    gateway = gateway_factory(config(langfuse=f"endpoint: '{langfuse.url}', {keys}"))
    send(gateway, body(1))
    wait_for(lambda: langfuse.got, why="the trace arrives")
    path, headers, raw = langfuse.got[0]
    assert (path, raw) == ("/api/public/otel/v1/traces", body(1))
    # pk-lf-up:sk-lf-up
    assert headers["authorization"] == "Basic cGstbGYtdXA6c2stbGYtdXA="
    answer = gateway.get("/api/public/v2/prompts?name=greeting")
    assert answer == {"data": [{"id": "upstream"}]}
    assert langfuse.got[1][0] == "/api/public/v2/prompts?name=greeting"
    assert gateway.request("GET", "/api/public/v2/prompts", key=None)[0] == 401
