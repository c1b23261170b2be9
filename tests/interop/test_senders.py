"""Senders that know nothing of agents: Debian's Alertmanager, and jobs of a shell that ping with curl."""

import json
import re
import signal
import subprocess
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from conftest import KEY, ROOT, program, wait_for


class Alertmanager:
    """It sends as soon as it may, and what is unchanged only once."""

    def __init__(self, directory, port, hook):
        self.url = f"http://127.0.0.1:{port}"
        key = directory / "key"
        key.write_text(KEY)
        config = directory / "alertmanager.json"
        # JSON is YAML.
        config.write_text(json.dumps({
            "route": {"receiver": "pulsegate", "group_by": ["alertname"], "group_wait": "0s", "group_interval": "1s",
                      "repeat_interval": "1h"},
            "receivers": [{"name": "pulsegate", "webhook_configs": [
                {"url": hook, "http_config": {"authorization": {"credentials_file": str(key)}}}]}]}))
        self.log = directory / "alertmanager.log"
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(
                [program("prometheus-alertmanager"), f"--config.file={config}", f"--storage.path={directory / 'alerts'}",
                 f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", "--log.level=debug"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def is_ready(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return urllib.request.urlopen(f"{self.url}/-/ready", timeout=5).status == 200
        except OSError:
            return False

    def post(self, agent, resolved=False, **labels):
        """Tells it of an alert, as Prometheus does: resolved is one that has ended."""
        now = datetime.now(UTC)
        alert = {
            "labels": {"alertname": "AgentSlow", "agent": agent, **labels},
            "annotations": {"summary": f"{agent} answers slowly"},
            "endsAt": (now - timedelta(seconds=1) if resolved else now + timedelta(hours=1)).isoformat(),
        }
        request = urllib.request.Request(f"{self.url}/api/v2/alerts", json.dumps([alert]).encode(),
                                         {"Content-Type": "application/json"})
        assert urllib.request.urlopen(request, timeout=10).status == 200


@pytest.fixture
def alertmanager(tmp_path, free_port):
    started = []

    def start(gateway):
        program("prometheus-alertmanager")
        started.append(Alertmanager(tmp_path, free_port(), f"{gateway.url}/api/v1/webhooks/alertmanager"))
        wait_for(started[-1].is_ready, 30, why="Alertmanager is ready")
        return started[-1]

    yield start
    for process in (server.process for server in started):
        process.terminate()
        process.wait(timeout=20)


def alerts(gateway, agent):
    """(status, what people see) of each alert the agent has had, oldest first."""
    events = [event for event in gateway.events(agent) if event["kind"] == "alert"]
    return [(event["evidence"]["notice"]["status"], event["cause"]) for event in reversed(events)]


def test_an_alert_degrades_its_agent_and_the_resolved_one_ends_it(gateway, alertmanager):
    for _ in range(2):
        for agent in ("research-agent", "another"):
            gateway.beat(agent)
    assert gateway.agent("research-agent")["state"] == "healthy"
    server = alertmanager(gateway)
    server.post("research-agent", severity="warning", job="node")
    row = gateway.wait_for_agent("research-agent", lambda row: row["state"] == "degraded")
    assert "research-agent answers slowly" in row["reason"], row
    said = "AgentSlow: research-agent answers slowly"
    assert [status for status, _ in alerts(gateway, "research-agent")] == ["firing"]
    assert said in alerts(gateway, "research-agent")[0][1]

    # Another alert of the group makes it send the first one again: that is nothing new. The label job tells that the last
    # one was made of this gateway's own metrics, which is no news either.
    server.post("stranger", severity="warning")
    server.post("another", severity="critical", job="pulsegate")
    wait_for(lambda: any(event["agent_id"] is None and event["kind"] == "alert" for event in gateway.events()),
             why="the alert about nobody is an event of the project")
    assert len(alerts(gateway, "research-agent")) == 1 and alerts(gateway, "another") == []
    assert gateway.agent("another")["state"] == "healthy"

    server.post("research-agent", severity="warning", job="node", resolved=True)
    row = gateway.wait_for_agent("research-agent", lambda row: row["state"] == "healthy")
    assert row["conditions"] == [], row
    assert [status for status, _ in alerts(gateway, "research-agent")] == ["firing", "resolved"]
    states = [event["to"] for event in reversed(gateway.events("research-agent")) if event["kind"] == "transition"]
    assert states[-2:] == ["degraded", "healthy"], states
    log = server.log.read_text()
    assert "Notify attempt failed" not in log and "unexpected status code" not in log, log


# What stands in a crontab: the job, and around it pings whose failure must not be the job's.
JOB = """
ping() { curl -fsS -m 10 --retry 3 "$URL/$1" ${2:+--data-raw "$2"}; }
ping start
said=$(sh -c "$1" 2>&1)
ping $? "$said"
"""


def job(url, work):
    return subprocess.run(["sh", "-c", JOB, "job", work], env={"URL": url, "PATH": "/usr/bin:/bin"}, capture_output=True,
                          text=True, timeout=60)


def ping(url, *arguments):
    command = [program("curl"), "-fsS", "-m", "10", "--retry", "3", *arguments, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_job_of_a_shell_pings_with_curl(gateway):
    url = f"{gateway.url}/ping/{KEY}/nightly-backup"
    done = ping(url)
    assert done.returncode == 22 and "404" in done.stderr, "curl's own word for a refusal"
    done = ping(f"{url}?create=1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Created", ""), done
    assert ping(url, "--head").stdout.startswith("HTTP/1.1 200"), "some ping with HEAD"

    done = job(url, "echo 1 GB saved")
    assert (done.returncode, done.stdout, done.stderr) == (0, "OKOK", ""), done
    row = gateway.agent("nightly-backup")
    assert (row["totals"]["results_success"], row["totals"]["results_failure"]) == (3, 0), row

    done = job(url, "echo the disk is full; exit 3")
    assert (done.returncode, done.stdout) == (0, "OKOK"), done
    row = gateway.agent("nightly-backup")
    assert (row["totals"]["results_success"], row["totals"]["results_failure"]) == (3, 1), row
    assert "the disk is full" in gateway.get(f"/api/v1/agents/{row['agent_id']}")["last_error"]["message"]

    wrong = ping(f"{gateway.url}/ping/cv_wrong/nightly-backup")
    assert wrong.returncode == 22 and "401" in wrong.stderr, wrong
    assert KEY not in gateway.log_text and "cv_wrong" not in gateway.log_text, "keys in addresses are not logged"


@pytest.mark.parametrize("code", [0, 3])
def test_the_crontab_line_of_the_readme_tells_how_the_job_ended(gateway, tmp_path, code):
    line = re.search(r"^0 3 \* \* \* (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE).group(1)
    script = tmp_path / "backup.sh"
    script.write_text(f"#!/bin/sh\nexit {code}\n")
    script.chmod(0o755)
    gateway.beat("backup")
    env = {"URL": f"{gateway.url}/ping/{KEY}/backup", "PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", line], env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "OKOK", ""), done
    totals = gateway.agent("backup")["totals"]
    assert (totals["results_success"], totals["results_failure"]) == (int(code == 0), int(code != 0)), totals


def test_a_ping_comes_through_a_gateway_that_stands_still_for_a_moment(gateway):
    gateway.beat("nightly-backup")
    gateway.process.send_signal(signal.SIGSTOP)
    command = [program("curl"), "-fsS", "-m", "1", "--retry", "3", f"{gateway.url}/ping/{KEY}/nightly-backup"]
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as pinging:
            # The first try times out; curl waits a second before the next.
            line = pinging.stderr.readline()
            assert "timed out" in line or "Timeout" in line, line
            gateway.process.send_signal(signal.SIGCONT)
            out, _ = pinging.communicate(timeout=60)
    finally:
        gateway.process.send_signal(signal.SIGCONT)
    assert (pinging.returncode, out) == (0, "OK"), out
    # The try that timed out may have been taken in afterwards: it was sent, after all.
    assert gateway.agent("nightly-backup")["totals"]["results_success"] in (1, 2)
