"""Who may do what, and what strangers can make of the gateway: nothing."""

import hashlib
import hmac
import http.client
import json
import re
import signal
import socket
import ssl
import subprocess
import time
import urllib.request

import pytest
from conftest import KEY, program, wait_for

MEGABYTE = 1_000_000
TREACHEROUS = "line\nbreak\r\tesc\x1b[2J\x1b]0;title\x07nul\x00 c1\x9b31m bidi\u202eevil\u2066 sep\u2028"
FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def status_of(gateway, key, path="/api/v1/status", **more):
    return gateway.request("GET", path, key=key, **more)


def test_SEC_2_every_wrong_key_is_answered_alike(gateway_factory):
    gateway = gateway_factory("telemetry: {log: {access: info}}")
    good = gateway.cli("keys", "create", "--scopes", "read,ingest")
    revoked = gateway.cli("keys", "create", "--scopes", "read")
    gateway.cli("keys", "revoke", revoked.split("_")[1])
    other = gateway.cli("keys", "create", "--scopes", "read,ingest", "--project", "other")
    wait_for(lambda: status_of(gateway, good)[0] == 200 and status_of(gateway, other)[0] == 200)
    wrong_secret = good[:-1] + ("0" if good[-1] != "0" else "1")
    answers = [status_of(gateway, key) for key in
               ("cv_unknown", "cv_deadbeef_" + "0" * 64, wrong_secret, revoked, "", "x" * 600)]
    for code, headers, body in answers:
        assert (code, body) == (401, {"detail": "Not authenticated"})
        assert set(headers) == set(answers[0][1])
    only_ingest = gateway.cli("keys", "create", "--scopes", "ingest")
    wait_for(lambda: status_of(gateway, only_ingest)[0] != 401)
    assert status_of(gateway, only_ingest)[::2] == (403, {"detail": "Access denied"})
    mine = gateway.beat("mine")["agent_id"]
    for path in (f"/api/v1/agents/{mine}", f"/api/v1/agents/{mine}/explain", f"/api/v1/agents/{mine}/health"):
        assert status_of(gateway, other, path)[::2] == (404, {"detail": "Agent not found"}), path
    assert "mine" not in json.dumps(status_of(gateway, other)[2])
    log = gateway.log_text
    assert good.split("_")[1] in log, "the key's id is in the access log"
    for key in (good, revoked, other, only_ingest, wrong_secret):
        assert key.split("_")[2] not in log


def test_SEC_3_keys_are_compared_without_a_branch_on_their_bytes(gateway):
    """The comparison is `subtle`'s; this watches the clock, and tells rather than judges."""
    good = gateway.cli("keys", "create", "--scopes", "read")
    wait_for(lambda: status_of(gateway, good)[0] == 200)
    secret = good.split("_")[2]
    near, far = good[:-1] + ("0" if good[-1] != "0" else "1"), good.replace(secret, "f" * len(secret))

    def took(key):
        began = time.perf_counter()
        assert status_of(gateway, key)[0] in (401, 429)
        return time.perf_counter() - began

    times = {key: sorted(took(key) for _ in range(25)) for key in (near, far)}
    print("median of a wrong last digit / of a wrong secret:", times[near][12] / times[far][12])
    assert status_of(gateway, good)[0] == 200, "a key that was good from here stays good"


def test_SEC_4_an_address_that_tries_keys_has_to_wait_and_its_neighbours_do_not(gateway_factory):
    gateway = gateway_factory("server: {wrong_keys_per_minute: 5}")
    other = gateway.cli("keys", "create", "--scopes", "read")

    def from_next_door():
        host, port = gateway.at["http"].rsplit(":", 1)
        neighbour = http.client.HTTPConnection(host, int(port), source_address=("127.0.0.2", 0))
        neighbour.request("GET", "/api/v1/status", headers={"X-API-Key": other})
        return neighbour.getresponse().status

    time.sleep(1)
    assert from_next_door() == 200 and status_of(gateway, KEY)[0] == 200
    seen = [status_of(gateway, f"cv_guess_{i}") for i in range(8)]
    assert [code for code, *_ in seen] == [401] * 6 + [429] * 2
    code, headers, body = seen[-1]
    assert body == {"detail": "Rate limit exceeded"} and int(headers["Retry-After"]) == 1
    assert status_of(gateway, other)[0] == 429, "a right guess is not told from a wrong one"
    assert status_of(gateway, KEY)[0] == 200, "what was good from here before goes on"
    assert gateway.request("GET", "/health", key=None)[0] == 200
    assert from_next_door() == 200
    wait_for(lambda: status_of(gateway, other)[0] == 200, every=0.3, why="the wait is over")
    waits = []
    for i in range(3):
        time.sleep(waits[-1] if waits else 0)
        assert status_of(gateway, f"cv_again_{i}")[0] == 401
        code, headers, _ = status_of(gateway, "cv_again")
        assert code == 429
        waits.append(int(headers["Retry-After"]))
    assert waits == [2, 4, 8], "each wait is twice the one before"


def test_SEC_5_langfuse_signatures(gateway_factory):
    old, new = "lf-whsec_old", "lf-whsec_new"
    gateway = gateway_factory(f"receivers: {{langfuse: {{signing_secrets: [{old}, {new}]}}}}")
    gateway.beat("signed-agent")

    def send(body, headers):
        return gateway.request("POST", "/api/v1/webhooks/langfuse", raw=body, headers=headers)

    def signed(body, secret=new, at=None, header="t={t},v1={v}"):
        at = int(time.time()) if at is None else at
        digits = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        return {"x-langfuse-signature": header.format(t=at, v=digits)}

    body = json.dumps({"id": "t-1", "status": "error", "metadata": {"agent": "signed-agent"}}).encode()
    first = signed(body)
    status, _, answer = send(body, first)
    assert status == 200 and answer["event"] == "langfuse_error" and not answer["duplicate"], answer
    status, _, answer = send(body, first)
    assert status == 200 and answer["duplicate"], "a repeat of a delivery has no effect"
    assert send(body, signed(body, old))[0] == 200, "both secrets count while they are rotated"
    now = int(time.time())
    for headers in (
        {},
        signed(body, "lf-whsec_other"),
        signed(body + b" "),
        signed(body, at=now - 310),
        signed(body, at=now + 310),
        signed(body, header="t={t},t=1,v1={v}"),
        signed(body, header="v1={v}"),
        {"x-langfuse-signature": "t=1"},
    ):
        status, _, answer = send(body, headers)
        assert status == 401 and "signature" in answer["detail"], (headers, answer)
    events = [event for event in gateway.events("signed-agent") if "langfuse_error" in json.dumps(event)]
    assert len(events) == 1, events
    # Without an id the signature itself tells a replay from the same words said again.
    body = json.dumps({"status": "error", "agent": "signed-agent"}).encode()
    first, second = signed(body), signed(body, at=int(time.time()) - 5)
    repeats = [send(body, headers)[2]["duplicate"] for headers in (first, first, second, first, second)]
    assert repeats == [False, True, False, True, True], "a replay has no effect, a new delivery has"
    unsigned = gateway_factory()
    assert unsigned.request("POST", "/api/v1/webhooks/langfuse", raw=body, key=None)[0] == 401
    assert unsigned.request("POST", "/api/v1/webhooks/langfuse", raw=body)[0] == 200


def test_SEC_7_text_from_outside_cannot_speak_to_terminals_or_logs(gateway_factory):
    gateway = gateway_factory(env={"RUST_LOG": "trace,hyper=off,h2=off"})
    for name in ("line\nbreak", "esc\x1b[31m", "nul\x00", "c1\x9bm"):
        status, _, answer = gateway.request("POST", "/api/v1/heartbeat", {"agent": name})
        assert status == 422 and answer["detail"][0]["loc"] == ["body", "agent"], answer
    name = "bidi\u202eevil"
    for status in ("error", "warning", "error"):
        gateway.beat(name, status=status, message=TREACHEROUS, agent_type=TREACHEROUS, custom_data={"a": TREACHEROUS},
                     tool_call_log=[{"name": TREACHEROUS, "args": TREACHEROUS}])
    gateway.request("POST", "/api/v1/webhooks/langfuse",
                    {"id": TREACHEROUS, "status": "error", "error": TREACHEROUS, "metadata": {"agent": name}})
    span = {"traceId": "0" * 31 + "1", "spanId": "0" * 15 + "1", "name": TREACHEROUS, "startTimeUnixNano": "1",
            "attributes": [{"key": "gen_ai.agent.name", "value": {"stringValue": TREACHEROUS}}],
            "status": {"code": 2, "message": TREACHEROUS}}
    gateway.request("POST", "/v1/traces", {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
    gateway.request("GET", "/api/v1/status", headers={"X-Request-Id": "a b"})
    for path in ("/%0d%0aSet-Cookie:x", "/%1b%5b2J"):
        gateway.request("GET", path)
    raw = urllib.request.urlopen(urllib.request.Request(
        gateway.url + "/api/v1/events?limit=1000", headers={"X-API-Key": KEY})).read().decode()
    assert not re.search("[\x00-\x1f\x7f]", raw), "JSON has control characters only as escapes"
    gateway.cli("keys", "create", "--scopes", "read", "--label", "label\x1b[31m\nsecond line\u202e")
    shown = gateway.cli("explain", name, "--api-key", KEY) + gateway.cli("keys", "list")
    assert not FORBIDDEN.search(shown), repr(FORBIDDEN.search(shown))
    assert "second line" in shown and "\nsecond line" not in shown
    log = gateway.log_text
    assert not FORBIDDEN.search(log), repr(log[max(0, FORBIDDEN.search(log).start() - 200):][:400])
    assert not any(line.startswith("break") for line in log.splitlines())


def openssl(directory, *args):
    done = subprocess.run([program("openssl"), *args], cwd=directory, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def authority(directory, name):
    openssl(directory, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}", "-addext",
            "basicConstraints=critical,CA:TRUE")


def certificate(directory, ca, name, names="DNS:localhost,IP:127.0.0.1", days="2", serial="1"):
    (directory / f"{name}.ext").write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\n")
    openssl(directory, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
    openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.crt", "-CAkey", f"{ca}.key", "-set_serial",
            serial, "-days", days, "-extfile", f"{name}.ext", "-out", f"{name}.crt")


class Secure:
    """One TLS connection to the gateway."""

    def __init__(self, gateway, ca, client=None, name="localhost", which="http", alpn=None, version=None):
        context = ssl.create_default_context(cafile=ca)
        if client:
            context.load_cert_chain(f"{client}.crt", f"{client}.key")
        if alpn:
            context.set_alpn_protocols(alpn)
        if version:
            context.minimum_version = context.maximum_version = version
        host, port = gateway.at[which].rsplit(":", 1)
        self.socket = context.wrap_socket(socket.create_connection((host, int(port)), timeout=10), server_hostname=name)

    def get(self, path, key=None):
        credentials = f"X-API-Key: {key}\r\n" if key else ""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{credentials}\r\n".encode())
        answer = self.socket.recv(65536).decode()
        head, _, body = answer.partition("\r\n\r\n")
        return int(head.split()[1]), head.lower(), body

    def serial(self):
        return int(self.socket.getpeercert()["serialNumber"], 16)


def tls_config(directory, **more):
    files = {"cert_file": f"{directory}/gateway.crt", "key_file": f"{directory}/gateway.key", **more}
    tls = {"tls": files}
    return json.dumps({"receivers": {"http": tls, "otlp": {"grpc": tls, "http": tls}}})


def test_SEC_10_tls_is_1_2_or_1_3_and_names_are_checked(gateway_factory, tmp_path):
    authority(tmp_path, "ca")
    authority(tmp_path, "stranger")
    certificate(tmp_path, "ca", "gateway")
    gateway = gateway_factory(tls_config(tmp_path))
    ca = tmp_path / "ca.crt"
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        status, head, body = Secure(gateway, ca, version=version).get("/health")
        assert status == 200 and "strict-transport-security" in head, head
    with pytest.raises((ssl.SSLError, ConnectionError)):
        context = ssl._create_unverified_context()
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        host, port = gateway.at["http"].rsplit(":", 1)
        context.wrap_socket(socket.create_connection((host, int(port)), timeout=10))
    with pytest.raises(ssl.SSLCertVerificationError):
        Secure(gateway, ca, name="elsewhere.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        Secure(gateway, tmp_path / "stranger.crt")
    assert Secure(gateway, ca).get("/api/v1/status", KEY)[0] == 200
    assert Secure(gateway, ca, alpn=["h2", "http/1.1"]).socket.selected_alpn_protocol() == "h2"
    # A client that speaks no TLS gets no answer, and the listener goes on.
    host, port = gateway.at["http"].rsplit(":", 1)
    plain = socket.create_connection((host, int(port)), timeout=10)
    plain.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
    assert not plain.recv(100).startswith(b"HTTP")
    assert Secure(gateway, ca).get("/health")[0] == 200


@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
def test_LIM_4_a_stalled_tls_handshake_is_closed(gateway_factory, tmp_path, begun):
    authority(tmp_path, "ca")
    certificate(tmp_path, "ca", "gateway")
    config = json.loads(tls_config(tmp_path))
    gateway = gateway_factory(json.dumps({**config, "server": {"first_request_timeout": "1s"}}))
    host, port = gateway.at["http"].rsplit(":", 1)
    sock = socket.create_connection((host, int(port)), timeout=10)
    sock.sendall(begun)
    began = time.monotonic()
    assert sock.recv(100) == b""
    assert 0.9 < time.monotonic() - began < 5
    # Nor does a finished handshake give more time.
    began, secure = time.monotonic(), Secure(gateway, tmp_path / "ca.crt")
    try:
        assert secure.socket.recv(100) == b""
    except (ssl.SSLError, ConnectionError):
        pass
    assert 0.9 < time.monotonic() - began < 5
    assert Secure(gateway, tmp_path / "ca.crt").get("/health")[0] == 200


def test_SEC_10_otlp_over_grpc_and_tls(gateway_factory, tmp_path):
    grpc = pytest.importorskip("grpc", reason="run tests/run, which installs it")
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    authority(tmp_path, "ca")
    certificate(tmp_path, "ca", "gateway")
    gateway = gateway_factory(tls_config(tmp_path))
    credentials = grpc.ssl_channel_credentials((tmp_path / "ca.crt").read_bytes())
    port = gateway.at["otlp_grpc"].rsplit(":", 1)[1]
    exporter = OTLPSpanExporter(endpoint=f"https://localhost:{port}", credentials=credentials,
                                headers={"x-api-key": KEY}, timeout=10)
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("t").start_as_current_span("invoke_agent a") as span:
        span.set_attributes({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "over-tls"})
    provider.shutdown()
    status, _, body = Secure(gateway, tmp_path / "ca.crt").get("/api/v1/status", KEY)
    assert status == 200 and "over-tls" in body, body


def test_SEC_10_certificates_are_read_again_and_connections_stay(gateway_factory, tmp_path):
    authority(tmp_path, "ca")
    certificate(tmp_path, "ca", "gateway", serial="1")
    gateway = gateway_factory(tls_config(tmp_path, reload_interval="1s"))
    ca = tmp_path / "ca.crt"
    before = Secure(gateway, ca)
    assert before.get("/health")[0] == 200 and before.serial() == 1
    certificate(tmp_path, "ca", "gateway", serial="2")
    wait_for(lambda: Secure(gateway, ca).serial() == 2, every=0.2, why="the new certificate is shown")
    assert before.get("/health")[0] == 200, "a connection from before goes on"
    (tmp_path / "gateway.crt").write_text("no certificate")
    wait_for(lambda: "the one before stays in use" in gateway.log_text, why="the broken file is told of")
    assert Secure(gateway, ca).serial() == 2
    slow = gateway_factory(tls_config(tmp_path, reload_interval="1h"), start=False)
    certificate(tmp_path, "ca", "gateway", serial="3")
    slow.start()
    certificate(tmp_path, "ca", "gateway", serial="4")
    assert Secure(slow, ca).serial() == 3
    slow.process.send_signal(signal.SIGHUP)
    wait_for(lambda: Secure(slow, ca).serial() == 4, every=0.1, why="SIGHUP reads them at once")


def test_SEC_10_client_certificates_have_scopes(gateway_factory, tmp_path):
    authority(tmp_path, "ca")
    authority(tmp_path, "clients")
    authority(tmp_path, "strangers")
    certificate(tmp_path, "ca", "gateway")
    certificate(tmp_path, "clients", "reader", "DNS:reader.example")
    certificate(tmp_path, "clients", "nobody", "DNS:nobody.example")
    certificate(tmp_path, "clients", "expired", "DNS:reader.example", days="0")
    certificate(tmp_path, "strangers", "liar", "DNS:reader.example")
    gateway = gateway_factory(tls_config(
        tmp_path, client_ca_file=f"{tmp_path}/clients.crt",
        client_certificates=[{"name": "reader.example", "scopes": ["read"]}]))
    ca = tmp_path / "ca.crt"

    def status(client, path="/api/v1/status", key=None):
        return Secure(gateway, ca, tmp_path / client).get(path, key)[0]

    assert status("reader") == 200
    assert status("reader", "/api/v1/commands") == 403, "it has the scope read and no other"
    assert status("reader", "/api/v1/commands", KEY) == 200, "a request's own key counts first"
    assert status("nobody") == 401 and status("nobody", key=KEY) == 200
    for refused in ("liar", "expired"):
        if refused == "expired":
            time.sleep(1.5)
        with pytest.raises((ssl.SSLError, ConnectionError, IndexError)):
            status(refused)
    with pytest.raises((ssl.SSLError, ConnectionError, IndexError)):
        Secure(gateway, ca).get("/health")


def test_SEC_10_beyond_this_machine_only_with_tls_or_when_told(gateway_factory, tmp_path):
    anywhere = {"PULSEGATE_RECEIVERS__HTTP__ENDPOINT": "0.0.0.0:0"}
    refused = gateway_factory(env=anywhere, start=False).run("serve")
    assert refused.returncode == 3, refused
    for word in ("receivers.http.endpoint", "receivers.http.tls", "server.allow_plaintext: true"):
        assert word in refused.stderr, refused.stderr
    told = gateway_factory("server: {allow_plaintext: true}", env=anywhere)
    assert told.at["http"].startswith("0.0.0.0:")
    broken = gateway_factory(tls_config(tmp_path), start=False).run("serve")
    assert broken.returncode == 3 and "gateway.crt" in broken.stderr, broken


def test_SEC_11_the_default_configuration_is_closed(gateway_factory):
    shown = gateway_factory(start=False, env={f"PULSEGATE_RECEIVERS__{name}__ENDPOINT": ""
                                              for name in ("HTTP", "OTLP__GRPC", "OTLP__HTTP")}).cli("config", "show")
    endpoints = re.findall(r"endpoint: (\S+)", shown)
    assert len(endpoints) >= 3 and all(at.strip('"').startswith("127.0.0.1:") for at in endpoints), endpoints
    gateway = gateway_factory(env={"PULSEGATE_API_KEY": ""})
    for key in (None, "cv_test", "admin", "changeme", "cv_xxx"):
        assert gateway.request("GET", "/api/v1/status", key=key)[0] == 401
    for path in ("/debug", "/debug/pprof", "/debug/vars", "/actuator", "/admin", "/.env", "/api-key", "/server-status"):
        assert gateway.request("GET", path, key=None)[0] == 404, path
    origin = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for method in ("OPTIONS", "GET"):
        _, headers, _ = gateway.request(method, "/api/v1/heartbeat", key=None, headers=origin)
        assert not [name for name in headers if name.lower().startswith("access-control-")], dict(headers)
    internals = re.compile(r"\.rs\b|src/|sqlite|panicked|backtrace|" + re.escape(str(gateway.directory)), re.IGNORECASE)
    for method, path, raw in (("POST", "/api/v1/heartbeat", b"{"), ("GET", "/nothing", None), ("GET", "/ready", None),
                              ("POST", "/v1/traces", b"\xff"), ("PUT", "/metrics", None)):
        _, headers, body = gateway.request(method, path, key="cv_wrong", raw=raw)
        assert not internals.search(json.dumps(body) + str(headers)), body
        assert "server" not in {name.lower() for name in headers}


def test_SEC_12_a_stranger_costs_no_memory(gateway_factory):
    gateway = gateway_factory("server: {max_connections: 400, wrong_keys_per_minute: 1000000}")
    host, port = gateway.at["http"].rsplit(":", 1)
    for _ in range(50):
        gateway.request("GET", "/health", key=None)
    before = gateway.rss()
    crowd = []
    for i in range(600):
        sock = socket.create_connection((host, int(port)), timeout=10)
        if i % 2:
            sock.sendall(b"GET /health HTTP/1.1\r\nX: " + b"a" * 12_000)
        else:
            # The answer comes without a byte of the body.
            sock.sendall(b"POST /api/v1/heartbeat/batch HTTP/1.1\r\nHost: a\r\nX-API-Key: cv_wrong\r\n"
                         b"Content-Type: application/json\r\nContent-Length: 8000000\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 401"), i
            try:
                sock.sendall(b" " * 100_000)
            except OSError:
                pass
        crowd.append(sock)
    assert gateway.rss() - before < 40 * MEGABYTE, (gateway.rss() - before) / MEGABYTE
    for sock in crowd:
        sock.close()
    head = b"GET /health HTTP/1.1\r\nX: " + b"a" * 200_000
    sock = socket.create_connection((host, int(port)), timeout=10)
    with pytest.raises(OSError):
        for _ in range(100):
            sock.sendall(head)
            time.sleep(0.01)
    assert gateway.request("GET", "/health", key=None)[0] == 200
    for path in ("/api/v1/status", "/api/v1/events", "/api/v1/commands", "/api/v1/agents/1"):
        assert gateway.request("GET", path, key=None)[0] == 401, path


@pytest.mark.parametrize("kind, target", [
    ("docker", "--privileged"), ("docker", "a;reboot"), ("docker", "../../etc"), ("docker", "a\x00b"),
    ("docker", "b" * 600), ("docker", "my\u2010bot"), ("docker", "my bot"), ("docker", "$(id)"),
    ("systemd", "-H root@host"), ("systemd", "a.service\nb.service"), ("systemd", "agent.service;id"),
    ("launchd", "com.me/../other"), ("k8s", "pod|id"), ("k8s", "-n kube-system"), ("process", "--pid"),
    ("process", "/run/a.pid\n"), ("process", "/run/\u202edip.a"), ("do\x1bcker", "a"), ("--type", "a"),
])
def test_SEC_13_a_target_that_is_none_never_reaches_a_runner(gateway, kind, target):
    operator = gateway.cli("keys", "create", "--scopes", "command,read,runner")
    status, _, answer = gateway.request("POST", "/api/v1/heartbeat", {
        "agent": "victim", "status": "ok", "restart_type": kind, "restart_target": target})
    assert status == 422 and answer["detail"][0]["loc"][0] == "body", answer
    assert answer["detail"][0]["loc"][1] in ("restart_type", "restart_target")
    agent = gateway.beat("victim")["agent_id"]
    wait_for(lambda: status_of(gateway, operator)[0] == 200)
    code = gateway.request("POST", f"/api/v1/agents/{agent}/restart", {"reason": "test"}, key=operator)[0]
    assert code in (404, 409), code
    assert gateway.get("/api/v1/commands") == []


def test_SEC_13_targets_that_exist_are_taken_as_they_are(gateway):
    for i, (kind, target) in enumerate([
            ("docker", "my-bot_1.web"), ("systemd", "getty@tty1.service"), ("systemd", r"dev-disk-by\x2duuid.device"),
            ("launchd", "com.me.corp.agent"), ("process", "/var/run/my bot.pid"), ("process", "python agent.py"),
            ("k8s", "team-a/agent-7d4b9c"), ("k8s", "app=agent,tier=web")]):
        agent = gateway.beat(f"a-{i}", restart_type=kind, restart_target=target)
        row = gateway.get(f"/api/v1/agents/{agent['agent_id']}")
        assert (row["restart_type"], row["restart_target"]) == (kind, target)
