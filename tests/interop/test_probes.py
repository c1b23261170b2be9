"""Dependency probes: real servers that agents depend on go down and come back, and the agents' status tells."""

import http.server
import json
import socket
import ssl
import subprocess
import threading

from conftest import program, wait_for


class Target(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, certificate=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.text = "pong"
        self.seen = []
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.headers.get("Authorization"), body))
        answer = json.dumps({"choices": [{"message": {"content": self.server.text}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def certificate(directory):
    """A certificate for 127.0.0.1 that signs itself: (certificate, key)."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
         "-subj", "/CN=target", "-addext", "subjectAltName=IP:127.0.0.1",
         "-addext", "basicConstraints=critical,CA:FALSE"],
        check=True, capture_output=True,
    )
    return cert, key


def test_an_agent_is_degraded_while_what_it_depends_on_is_out(gateway_factory, tmp_path):
    cert, key = certificate(tmp_path)
    model = Target((cert, key))
    database = socket.create_server(("127.0.0.1", 0))
    gateway = gateway_factory(
        f"""
receivers:
  probes:
    llm:
      endpoint: https://127.0.0.1:{model.server_address[1]}/v1/chat/completions
      headers: {{authorization: "Bearer ${{env:LLM_KEY}}"}}
      body: '{{"ping": true}}'
      expect: {{completion: true, json: [{{path: "$.choices[0].message"}}]}}
      tls: {{ca_file: {cert}}}
      interval: 1s
      agents: ["research-*"]
    db: {{endpoint: "tcp://127.0.0.1:{database.getsockname()[1]}", interval: 1s, agents: [writer]}}
""",
        env={"LLM_KEY": "s3cret"},
    )
    for agent in ("research-1", "writer", "other"):
        gateway.beat(agent, interval=60)
        gateway.beat(agent, interval=60)

    def ready(name):
        return gateway.request("GET", f"/api/v1/dependencies/{name}/ready")[0]

    wait_for(lambda: ready("llm") == 200 and ready("db") == 200, why=lambda: gateway.get("/api/v1/dependencies"))
    assert model.seen[0] == ("Bearer s3cret", b'{"ping": true}')
    rows = {row["name"]: row for row in gateway.get("/api/v1/dependencies")["dependencies"]}
    assert rows["llm"]["status"] == "healthy" and rows["llm"]["latency_ms"] > 0
    assert "s3cret" not in json.dumps(rows)
    assert gateway.agent("research-1")["status"] == "healthy"

    # The server still says 200, but the model has nothing to say any more.
    model.text = ""
    row = gateway.wait_for_agent("research-1", lambda row: row["status"] == "degraded", seconds=15)
    assert "dependency llm fails: the completion is empty" in row["reason"]
    assert ready("llm") == 503 and ready("db") == 200
    assert gateway.agent("writer")["status"] == "healthy" and gateway.agent("other")["status"] == "healthy"
    metrics = gateway.metrics()
    assert metrics['pulsegate_dependency_up{dependency="llm"}'] == 0
    assert metrics['pulsegate_dependency_probes_total{dependency="llm",outcome="failure"}'] >= 3

    # A restart of the gateway forgets neither the trouble nor that it is over.
    gateway.kill()
    model.text = "pong"
    gateway.start()
    gateway.wait_for_agent("research-1", lambda row: row["status"] == "healthy", seconds=15)

    database.close()
    gateway.wait_for_agent("writer", lambda row: "dependency db fails" in (row["reason"] or ""), seconds=15)
    assert "a dependency is unhealthy" in gateway.log_text and "s3cret" not in gateway.log_text
    commands = gateway.get("/api/v1/commands")
    assert commands == [], "nothing is restarted for it"
    model.shutdown()
