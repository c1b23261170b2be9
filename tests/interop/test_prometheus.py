"""Debian's Prometheus scrapes a real gateway; promtool reads what it is given."""

import json
import pathlib
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from datetime import datetime

import pytest
from conftest import KEY, program, wait_for

# An agent that beats every second is down 3 s after its last beat. The evaluator looks once a second.
HEALTH = "health: {interval: 1s, down_after: 3, down_grace: 0s}\n"
DEADLINE_SECONDS = 3.0
EVALUATOR_SECONDS = 1.0
SCRAPE_SECONDS = 1.0
# How late a process may be scheduled on a busy machine.
SLACK_SECONDS = 0.5

NASTY = ['quo"te', "back\\slash", 'both\\"', "curly{}=,", "/var/run/my bot.pid", "日本語 агент", "emoji 🤖", "’; DROP TABLE",
         "\\n not a newline", "trailing\\", "<b>&amp;", "e\u0301 combining", "\u202eright to left", "a" * 200]


class Prometheus:
    def __init__(self, directory, port, scrape):
        self.url = f"http://127.0.0.1:{port}"
        config = directory / "prometheus.json"
        # JSON is YAML.
        config.write_text(json.dumps({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [
            {"job_name": "pulsegate", "static_configs": [{"targets": [scrape]}]}]}))
        self.log = directory / "prometheus.log"
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(
                [program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={directory / 'tsdb'}",
                 f"--web.listen-address=127.0.0.1:{port}", "--log.level=debug"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def api(self, path, **query):
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            body = json.loads(answer.read())
        assert body["status"] == "success", body
        return body["data"]

    def is_ready(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return urllib.request.urlopen(f"{self.url}/-/ready", timeout=5).status == 200
        except OSError:
            return False

    def query(self, query):
        """The result as {labels: value}, or for ranges {labels: [(time, value)]}; labels without the name."""
        def labels(row):
            return tuple(sorted((k, v) for k, v in row["metric"].items() if k not in ("__name__", "instance", "job")))

        data = self.api("query", query=query)
        if data["resultType"] == "matrix":
            return {labels(row): [(float(t), float(v)) for t, v in row["values"]] for row in data["result"]}
        return {labels(row): float(row["value"][1]) for row in data["result"]}


@pytest.fixture
def prometheus(tmp_path, free_port):
    started = []

    def start(gateway):
        program("prometheus")
        started.append(Prometheus(tmp_path, free_port(), gateway.at["http"]))
        wait_for(started[-1].is_ready, 30, why="Prometheus is ready")
        return started[-1]

    yield start
    for process in (p.process for p in started):
        process.terminate()
        process.wait(timeout=20)


def of(agent, **more):
    return tuple(sorted({"agent": agent, "project": "default", **more}.items()))


def check_with_promtool(text):
    done = subprocess.run([program("promtool"), "check", "metrics"], input=text.encode(), capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), done


def a_fleet(gateway):
    """Agents that fill every family of metrics."""
    for name in NASTY:
        gateway.beat(name, tokens_used=7, cost_usd=0.25, tool_calls=2, message="did it", agent_type='type "x" \\ y')
        gateway.beat(name)
    gateway.beat("in a container", status="error", message="failed")
    gateway.beat("in a container", restart_type="docker", restart_target="c-1")
    gateway.beat("gone", status="shutdown")
    trace = {"id": "t", "status": "error", "metadata": {"agent": "in a container"}}
    assert gateway.request("POST", "/api/v1/webhooks/langfuse", trace)[0] == 200
    capture = pathlib.Path(__file__).parents[1] / "data" / "otlp" / "openinference-langgraph__ok__00.pb"
    status, _, body = gateway.request("POST", "/v1/traces", raw=capture.read_bytes(),
                                      headers={"Content-Type": "application/x-protobuf"})
    assert status == 200, body


def test_prometheus_scrapes_agents_with_any_name(gateway_factory, prometheus):
    gateway = gateway_factory()
    a_fleet(gateway)
    server = prometheus(gateway)
    wait_for(lambda: server.query("pulsegate_agent_up"), why="the first scrape")
    target = server.api("targets")["activeTargets"][0]
    assert (target["health"], target["lastError"]) == ("up", ""), target
    assert list(server.query("up").values()) == [1]
    tokens = server.query("pulsegate_agent_tokens_total")
    cost = server.query("pulsegate_agent_cost_usd_total")
    for name in NASTY:
        assert tokens[of(name, direction="unspecified")] == 7 and cost[of(name)] == 0.25, name
    info = server.query("pulsegate_agent_info")
    assert info[of(NASTY[0], agent_type='type "x" \\ y')] == 1, info
    assert server.query("pulsegate_agent_up")[of("gone")] == 0
    assert server.query("pulsegate_agent_langfuse_errors_total")[of("in a container")] == 1
    # It asked for OpenMetrics: types are known by the names that only that format has.
    metadata = server.api("metadata")
    assert metadata["pulsegate_agent_tokens"][0]["type"] == "counter", sorted(metadata)
    assert metadata["pulsegate_agent"][0]["type"] == "info", sorted(metadata)


def test_promtool_finds_nothing_to_say_about_the_text(gateway_factory):
    program("promtool")
    gateway = gateway_factory()
    check_with_promtool(gateway.get("/metrics"))
    a_fleet(gateway)
    status, headers, text = gateway.request("GET", "/metrics", headers={"Accept": "text/plain"})
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4"), headers
    check_with_promtool(text)
    status, headers, openmetrics = gateway.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text"})
    assert status == 200 and headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0"), headers
    assert openmetrics.endswith("# EOF\n")

    def fleet(page):
        lines = {line for line in page.splitlines() if line.startswith("pulsegate_agent_") and "uptime" not in line}
        # OpenMetrics writes the bounds of buckets as floats: 1 is 1.0.
        return {re.sub(r'le="(\d+)\.0"', r'le="\1"', line) for line in lines}

    assert fleet(openmetrics) == fleet(text), fleet(openmetrics) ^ fleet(text)


BEATING = """
import http.client, sys, time
address, key = sys.argv[1:]
connection = http.client.HTTPConnection(address)
while True:
    connection.request("POST", "/api/v1/heartbeat", '{"agent": "ticker", "status": "ok"}', {"X-API-Key": key})
    connection.getresponse().read()
    time.sleep(1)
"""


def test_a_killed_agent_is_down_in_prometheus_right_after_its_deadline(gateway_factory, prometheus):
    gateway = gateway_factory(HEALTH)
    server = prometheus(gateway)
    agent = subprocess.Popen([sys.executable, "-c", BEATING, gateway.at["http"], KEY])
    try:
        gateway.wait_for_agent("ticker", lambda row: row["totals"]["heartbeats"] >= 5)
        wait_for(lambda: server.query("pulsegate_agent_up").get(of("ticker")) == 1, why="Prometheus sees it up")
        assert gateway.agent("ticker")["state"] == "healthy"
    finally:
        agent.kill()
        agent.wait()
    gateway.wait_for_agent("ticker", lambda row: row["state"] == "down")

    down = next(event for event in gateway.events("ticker") if event["to"] == "down")
    last, at = (datetime.fromisoformat(down[k] if k == "at" else down["evidence"][k]) for k in ("last_alive", "at"))
    late = (at - last).total_seconds() - DEADLINE_SECONDS
    assert 0 <= late <= EVALUATOR_SECONDS + SLACK_SECONDS, f"{late} s after the deadline"

    wait_for(lambda: server.query("pulsegate_agent_up").get(of("ticker")) == 0, why="Prometheus sees it down")
    samples = server.query("pulsegate_agent_up[1m]")[of("ticker")]
    first_down = next(t for t, value in samples if value == 0)
    seen_after = first_down - at.timestamp()
    assert seen_after <= SCRAPE_SECONDS + SLACK_SECONDS, f"{seen_after} s after it was known"
    assert all(value == 1 for t, value in samples if t < first_down), samples
    assert not [t for t, value in samples if value == 1 and t > at.timestamp() + SLACK_SECONDS], samples
    print(f"down {late:.3f} s after the deadline, scraped {seen_after:.3f} s after that")
    assert gateway.metrics()['pulsegate_agent_status_changes_total{project="default",agent="ticker",to="down"}'] == 1
    assert time.time() - last.timestamp() < 30
