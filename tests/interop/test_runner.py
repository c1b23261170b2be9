"""The published `clevagent-runner` 0.1.0, unmodified, against a real gateway and a real Docker engine.

The runner looks after its targets every `--heartbeat-interval` and asks for commands every 10 s, which no option
changes: tests that need a command to be carried out last that long.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import uuid

import pytest
from conftest import KEY, program, wait_for

RIGS = pathlib.Path(__file__).parent / "rigs"
IMAGE = "pulsegate-idle-agent:test"
# What the runner waits between two looks for commands, and some slack for a busy machine.
POLL_SECONDS = 10 + 15
# Every test's agents are looked after this often, and down after 2 × 3 + 6 = 12 s of silence: longer than the runner
# takes for a restart of its own, in which it says nothing.
HEALTH = """
health:
  supervisor_interval: 2s
  down_after: 3
  down_grace: 6s
"""


class Runner:
    """One runner process."""

    def __init__(self, gateway, log, watch, interval=2, env=None):
        self.log = log
        arguments = ["--endpoint", gateway.url, "--heartbeat-interval", str(interval), "--log-level", "DEBUG"]
        for target in watch:
            arguments += ["--watch", target]
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "clevagent_runner", "start", *arguments], stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, env={**os.environ, "CLEVAGENT_API_KEY": KEY, **(env or {})},
            )

    @property
    def said(self):
        return self.log.read_text()

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def runner(tmp_path):
    """Starts runners that end with the test, and must have lived until then without a complaint about the gateway."""
    started = []

    def start(gateway, *watch, **more):
        started.append(Runner(gateway, tmp_path / f"runner-{len(started)}.log", watch, **more))
        return started[-1]

    yield start
    dead = [r.said for r in started if r.process.poll() is not None]
    for r in started:
        r.stop()
    assert not dead, dead
    for r in started:
        for complaint in ["Heartbeat failed", "Heartbeat error", "Command poll", "Failed to report", "Traceback"]:
            assert complaint not in r.said, r.said


@pytest.fixture
def sleeper():
    """A process that does nothing."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def engine():
    """The environment with which `docker` reaches an engine of our own that has the test image."""
    program("dockerd")
    docker = program("docker")
    if os.geteuid() != 0:
        pytest.skip("a Docker engine can only be started as root")
    # Not below pytest's directory: the path of a socket may not be longer than 107 bytes.
    directory = pathlib.Path(tempfile.mkdtemp(prefix="engine-"))
    try:
        started = subprocess.run([RIGS / "engine.sh", "start", directory], capture_output=True, text=True, timeout=60)
        if started.returncode != 0:
            pytest.skip(f"a Docker engine cannot run on this machine: {started.stdout.strip()[-400:]}")
        env = {"DOCKER_HOST": f"unix://{directory}/docker.sock"}
        build_image(docker, directory / "image", env)
        yield env
    finally:
        subprocess.run([RIGS / "engine.sh", "stop", directory], timeout=60)
        shutil.rmtree(directory, ignore_errors=True)


def build_image(docker, directory, env):
    """An image without any registry: one static binary, made here."""
    directory.mkdir()
    rustc = program("rustc", "install Rust")
    host = next(line.split()[1] for line in subprocess.run(
        [rustc, "-vV"], capture_output=True, text=True, check=True).stdout.splitlines() if line.startswith("host:"))
    # Naming the target keeps the flag away from anything that runs while compiling.
    subprocess.run([rustc, "-O", "-C", "target-feature=+crt-static", "-C", "strip=symbols", "--target", host,
                    RIGS / "idle_agent.rs", "-o", directory / "agent"], check=True, timeout=120)
    files = subprocess.run(["tar", "-C", directory, "-c", "."], capture_output=True, check=True).stdout
    subprocess.run([docker, "import", "-c", 'ENTRYPOINT ["/agent"]', "-", IMAGE], input=files, check=True, timeout=60,
                   env={**os.environ, **env}, stdout=subprocess.DEVNULL)


@pytest.fixture
def container(engine):
    """A running container; gives a function that runs `docker` and returns what it prints, and the container's name."""
    name = f"agent-{uuid.uuid4().hex[:8]}"

    def docker(*arguments):
        done = subprocess.run(["docker", *arguments], env={**os.environ, **engine}, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout.strip()

    docker("run", "-d", "--name", name, "--network", "none", "--stop-timeout", "1", IMAGE)
    yield docker, name
    docker("rm", "-f", name)


def started_at(docker, name):
    return docker("inspect", "-f", "{{.State.StartedAt}}", name)


def history(gateway):
    return gateway.get("/api/v1/commands/history")["commands"]


def transitions(gateway, name):
    """The statuses an agent went through, oldest first."""
    return [event["to"] for event in reversed(gateway.events(name)) if event["kind"] == "transition"]


def test_a_watched_process_is_healthy_until_it_is_killed(gateway_factory, runner, sleeper, tmp_path):
    gateway = gateway_factory(HEALTH)
    pid_file = tmp_path / "my agent.pid"
    pid_file.write_text(str(sleeper.pid))
    runner(gateway, f"process:{pid_file}")
    # The runner calls a target by its last two dot parts when it has more; a path with one dot is kept whole.
    name = str(pid_file) if str(pid_file).count(".") < 2 else ".".join(str(pid_file).split(".")[-2:])

    row = gateway.wait_for_agent(name, lambda row: row["state"] == "healthy")
    assert row["sources"] == ["supervisor"], row
    assert (row["restart_type"], row["restart_target"]) == ("process", str(pid_file))
    assert row["totals"]["supervisor_beats"] >= 2 and row["totals"]["heartbeats"] == 0

    sleeper.kill()
    sleeper.wait()
    row = gateway.wait_for_agent(name, lambda row: row["state"] != "healthy", seconds=6)
    assert row["state"] == "degraded" and "the runner says it does not run" in row["reason"], row
    down = gateway.wait_for_agent(name, lambda row: row["state"] == "down", seconds=20)
    assert "the runner says it does not run" in down["reason"], down
    assert transitions(gateway, name) == ["starting", "healthy", "degraded", "down"]
    assert history(gateway) == [], "nobody wanted a restart"
    # The runner goes on reporting that it is gone; that is no sign of life.
    beats = down["totals"]["supervisor_beats"]
    row = gateway.wait_for_agent(name, lambda row: row["totals"]["supervisor_beats"] > beats)
    assert row["state"] == "down", row


def test_a_process_that_is_dead_when_the_runner_starts_goes_down_too(gateway_factory, runner, sleeper, tmp_path):
    gateway = gateway_factory("health: {supervisor_interval: 1s, down_after: 3, down_grace: 0s}\n")
    sleeper.kill()
    sleeper.wait()
    pid_file = tmp_path / "dead.pid"
    pid_file.write_text(str(sleeper.pid))
    runner(gateway, f"process:{pid_file}")
    [row] = wait_for(lambda: gateway.get("/api/v1/status")["agents"], why="the runner's first word")
    assert row["state"] == "unknown" and "has never seen it run" in row["reason"], row
    name = row["agent"]
    row = gateway.wait_for_agent(name, lambda row: row["state"] == "down", seconds=8)
    assert "the runner says it does not run and has never seen it run" in row["reason"], row
    assert gateway.metrics()[f'pulsegate_agent_up{{project="default",agent="{name}"}}'] == 0


AUTO_RESTART = HEALTH + """
control:
  start_grace: 0s
projects:
  default:
    agents:
      - match: "agent-*"
        health:
          auto_restart: true
"""


def test_an_error_told_by_langfuse_restarts_the_container_once(gateway_factory, runner, engine, container):
    docker, name = container
    gateway = gateway_factory(AUTO_RESTART)
    runner(gateway, f"docker:{name}", env=engine)
    gateway.wait_for_agent(name, lambda row: row["state"] == "healthy")
    before = started_at(docker, name)

    error = {"id": "trace-1", "name": "nightly-report", "status": "error", "statusMessage": "tool search failed",
             "metadata": {"agent": name}}
    status, _, reply = gateway.request("POST", "/api/v1/webhooks/langfuse", error)
    assert status == 200 and reply["restart_queued"] is True and reply["agent"] == name, reply
    assert reply["event"] == "langfuse_error" and reply["duplicate"] is False, reply

    # Delivered again, as Langfuse does when an answer gets lost.
    status, _, reply = gateway.request("POST", "/api/v1/webhooks/langfuse", error)
    assert status == 200 and reply["duplicate"] is True and reply["restart_queued"] is False, reply

    wait_for(lambda: started_at(docker, name) != before, POLL_SECONDS, why="the container was restarted")
    command = wait_for(lambda: next((c for c in history(gateway) if c["state"] == "succeeded"), None),
                       why=lambda: f"the result is kept: {history(gateway)}")
    assert (command["type"], command["target"], command["origin"]) == ("docker", name, "webhook:langfuse"), command
    assert "tool search failed" in command["reason"] and command["result"] == f"Restarted docker:{name}", command
    row = gateway.wait_for_agent(name, lambda row: row["state"] == "healthy")
    assert row["totals"]["restarts"] == 1 and row["totals"]["langfuse_errors"] == 1, row
    after = transitions(gateway, name)
    assert after[-3:] == ["restarting", "starting", "healthy"], after

    again = started_at(docker, name)
    metrics = gateway.metrics()
    labels = f'project="default",agent="{name}"'
    expected = {f'pulsegate_agent_restarts_total{{{labels},origin="automatic",outcome="success"}}': 1,
                f'pulsegate_agent_restarts_total{{{labels},origin="automatic",outcome="failure"}}': 0,
                f"pulsegate_agent_langfuse_errors_total{{{labels}}}": 1,
                f"pulsegate_agent_up{{{labels}}}": 1}
    assert {series: metrics.get(series) for series in expected} == expected

    # Within the cooldown another error is told, but no second dose is given.
    status, _, reply = gateway.request("POST", "/api/v1/webhooks/langfuse", {**error, "id": "trace-2"})
    assert status == 200 and reply["duplicate"] is False and reply["restart_queued"] is False, reply
    assert len(history(gateway)) == 1 and started_at(docker, name) == again
    refusal = next(event for event in gateway.events(name) if event["kind"] == "restart")
    assert "restart not queued: not before" in refusal["cause"], refusal


def test_the_runners_own_restart_is_not_doubled_by_the_gateway(gateway_factory, runner, engine, container):
    if time.monotonic() < 330:
        pytest.skip("in the first 5 minutes after the machine's start this runner does not restart on its own")
    docker, name = container
    gateway = gateway_factory(AUTO_RESTART)
    watching = runner(gateway, f"docker:{name}", env=engine)
    gateway.wait_for_agent(name, lambda row: row["state"] == "healthy")
    before = started_at(docker, name)

    docker("kill", name)
    row = gateway.wait_for_agent(name, lambda row: row["state"] == "degraded", seconds=8)
    assert "the runner says it does not run" in row["reason"], row
    row = gateway.wait_for_agent(name, lambda row: row["state"] == "healthy", seconds=20)
    assert started_at(docker, name) != before and "Auto-restart succeeded" in watching.said
    # Past the moment at which the agent would have been down, and past the runner's next look for commands.
    back = started_at(docker, name)
    beats = row["totals"]["supervisor_beats"]
    gateway.wait_for_agent(name, lambda row: row["totals"]["supervisor_beats"] >= beats + 7, seconds=30)
    assert history(gateway) == [] and started_at(docker, name) == back
    assert "down" not in transitions(gateway, name)


def test_a_command_nobody_can_carry_out_expires(gateway_factory, runner, sleeper, tmp_path):
    gateway = gateway_factory(HEALTH + "control:\n  command_ttl: 24s\n")
    may_command = gateway.cli("keys", "create", "--scopes", "command")
    pid_file = tmp_path / "other.pid"
    pid_file.write_text(str(sleeper.pid))
    # This runner looks after something else, and at its default pace: the one at which it uses its connection least.
    watching = runner(gateway, f"process:{pid_file}", interval=30)
    ghost = gateway.beat("ghost", restart_type="docker", restart_target="ghost-container", agent_type="test")

    def ask():
        path = f"/api/v1/agents/{ghost['agent_id']}/restart"
        status, _, body = gateway.request("POST", path, {"reason": "it looks tired"}, key=may_command)
        return status in (200, 202) and body["command"]

    command = wait_for(ask, why="the new key is known")
    assert command["state"] == "queued" and command["origin"] == "api", command
    assert ask()["id"] == command["id"], "asking again joins the open one"

    def mine():
        return next(c for c in history(gateway) if c["id"] == command["id"])

    wait_for(lambda: mine()["attempts"] > 0, POLL_SECONDS, why="the runner took it")
    wait_for(lambda: mine()["state"] == "queued", why="and gave it back")
    assert "target 'docker:ghost-container' not registered with --watch" in mine()["result"]
    ended = wait_for(lambda: (c := mine())["state"] == "expired" and c, 40, why="its time is over")
    # The runner asked again in the meantime, over the same connection, and was not given what it had refused.
    assert ended["attempts"] == 1 and watching.said.count("Rejected command") == 1, ended
    assert watching.said.count("/api/v1/commands HTTP") >= 3, watching.said
    assert "Resetting dropped connection" not in watching.said, "a runner can keep its connection"
    assert len(history(gateway)) == 1
    assert gateway.agent("ghost")["restart_open"] is None
