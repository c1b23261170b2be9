"""What every interop test shares: a real gateway in a directory of its own, on ports from the kernel."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("PULSEGATE_BIN", ROOT / "target" / "debug" / "pulsegate"))
KEY = "cv_test"


def wait_for(what, seconds=20.0, every=0.05, why="condition"):
    """Calls `what` until it gives something true; gives that, or fails."""
    end = time.monotonic() + seconds
    while True:
        got = what()
        if got:
            return got
        assert time.monotonic() < end, f"not within {seconds} s: {why() if callable(why) else why}"
        time.sleep(every)


class Gateway:
    """One gateway process. `start` and `kill` can alternate: the data directory stays."""

    def __init__(self, directory, config="", env=None):
        self.directory = pathlib.Path(directory)
        self.data = self.directory / "data"
        self.config = self.directory / "pulsegate.yaml"
        self.config.write_text(config)
        self.env = {
            "PATH": os.environ["PATH"],
            "PULSEGATE_API_KEY": KEY,
            "PULSEGATE_RECEIVERS__HTTP__ENDPOINT": "127.0.0.1:0",
            "PULSEGATE_RECEIVERS__OTLP__GRPC__ENDPOINT": "127.0.0.1:0",
            "PULSEGATE_RECEIVERS__OTLP__HTTP__ENDPOINT": "127.0.0.1:0",
            # Tests send faster than people's agents do; those about the limit set their own.
            "PULSEGATE_PROJECTS__DEFAULT__RATE_LIMIT_PER_MINUTE": "1000000",
            **(env or {}),
        }
        self.process = None
        self.command_line = ["serve"]

    @property
    def log_file(self):
        return self.directory / "gateway.log"

    @property
    def log_text(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def start(self):
        addresses = self.data / "listeners.json"
        addresses.unlink(missing_ok=True)
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                [BINARY, *self.command_line, "--config", self.config, "--data-dir", self.data],
                env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        wait_for(lambda: addresses.exists() or self.process.poll() is not None, why="gateway listens", every=0.01)
        assert self.process.poll() is None, self.log_text
        self.at = json.loads(addresses.read_text())
        self.url = f"http://{self.at['http']}"
        return self

    def kill(self):
        """Ends it the hard way, as a crash of the machine's kind would."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Ends it the orderly way; it must say 0 within 10 s."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                code = self.process.wait(timeout=12)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            assert code == 0, (code, self.log_text)

    def run(self, *args, **more):
        """Runs a subcommand on the same configuration and data directory; gives the finished process."""
        command = [BINARY, *args, "--config", self.config, "--data-dir", self.data]
        return subprocess.run(command, **{"env": self.env, "capture_output": True, "text": True, "timeout": 30, **more})

    def cli(self, *args):
        """Runs a subcommand that must succeed; gives what it prints."""
        done = self.run(*args)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def rss(self):
        """The memory the process uses now, in bytes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))

    def request(self, method, path, body=None, key=KEY, headers=None, raw=None, timeout=10):
        """One request; gives (status, headers, parsed body or text)."""
        data = raw if raw is not None else (json.dumps(body).encode() if body is not None else None)
        headers = {**({"X-API-Key": key} if key else {}), **(headers or {})}
        if data is not None:
            headers.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, answer.headers, parsed(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, error.headers, parsed(error.read())

    def get(self, path, **more):
        status, _, body = self.request("GET", path, **more)
        assert status == 200, (status, body)
        return body

    def beat(self, agent, **fields):
        status, _, body = self.request("POST", "/api/v1/heartbeat", {"agent": agent, "status": "ok", **fields})
        assert status == 200, (status, body)
        return body

    def agents(self):
        """All agents by name."""
        return {row["agent"]: row for row in self.get("/api/v1/status?limit=1000")["agents"]}

    def agent(self, name):
        return self.agents().get(name)

    def events(self, name=None):
        """What happened, newest first: in the project, or to one agent."""
        path = f"/api/v1/agents/{self.agent(name)['agent_id']}/events" if name else "/api/v1/events"
        return self.get(f"{path}?limit=1000")["events"]

    def wait_for_agent(self, name, test=lambda row: True, seconds=20.0):
        def look():
            row = self.agent(name)
            return row if row and test(row) else None
        return wait_for(look, seconds, why=lambda: f"agent {name}: {self.agent(name)}")

    def metrics(self):
        """Samples of /metrics as {series text: value}."""
        text = self.get("/metrics")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return {series: float(value) for series, value in (line.rsplit(" ", 1) for line in lines)}


def parsed(data):
    try:
        return json.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace")


@pytest.fixture
def gateway_factory(tmp_path):
    """Makes gateways that end with the test."""
    made = []

    def make(config="", env=None, start=True):
        directory = tmp_path / f"gateway-{len(made)}"
        directory.mkdir()
        gateway = Gateway(directory, config, env)
        made.append(gateway)
        return gateway.start() if start else gateway

    yield make
    problems = []
    for gateway in made:
        try:
            gateway.stop()
        except (AssertionError, subprocess.TimeoutExpired) as problem:
            problems.append(problem)
        if "panicked" in gateway.log_text:
            problems.append(gateway.log_text)
    assert not problems, problems


@pytest.fixture
def gateway(gateway_factory):
    """A gateway with its defaults."""
    return gateway_factory()


@pytest.fixture(scope="session")
def free_port():
    """Gives ports nobody listens on right now, for programs that cannot take port 0."""
    def find():
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            return s.getsockname()[1]
    return find


def program(name, remedy="run tests/run, which installs it"):
    """The path of a program, or a counted skip that says how to get it."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if not path:
        pytest.skip(f"{name} is not installed: {remedy}")
    return path
