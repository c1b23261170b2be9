"""The golden vectors of the status machine, told to the running program over HTTP, second by second.

A clock that a file drives (`serve --test-clock`) takes the place of the machine's; everything else is as it is: the real
routes, the real evaluator, the real store. Times are seconds after the first beat, as in the tables; a deadline is
inclusive, and time passes before the signal of the same second counts.
"""

import os
import pathlib
import subprocess

import pytest

from conftest import BINARY, KEY, Gateway, wait_for

# A whole minute, at 11:06:40 UTC.
T0 = 1_795_000_000


class Told(Gateway):
    """A gateway whose time the test moves."""

    def __init__(self, directory, config=""):
        super().__init__(directory, config)
        self.clock = self.directory / "clock"
        self.command_line = ["serve", "--test-clock", self.clock]
        self.move(0)

    def move(self, to):
        self.now = to
        half = self.clock.with_suffix(".new")
        half.write_text(str(T0 + to))
        half.rename(self.clock)

    def until(self, to):
        """Lets time pass up to `to`, everything that falls due on the way included."""
        self.move(to)
        reached = pathlib.Path(f"{self.clock}.reached")
        wait_for(lambda: reached.exists() and reached.read_text() == str(T0 + to), 60, 0.002, f"time {to}")

    def say(self, to, **fields):
        """One beat at `to`; gives the answer."""
        self.until(to)
        return self.beat("a", **fields)

    def beats(self, first, last, every=60, **fields):
        for t in range(first, last + 1, every):
            self.say(t, **fields)

    def state(self):
        """The single word, and the conditions with their level."""
        row = self.agent("a")
        return row["state"], {c["name"]: c["level"] for c in row["conditions"]}

    def changes(self):
        """What became of the agent: [(second, status)], each transition hard or not as told."""
        events = [e for e in reversed(self.events("a")) if e["kind"] == "transition"]
        assert all(before["to"] == after["from"] for before, after in zip(events, events[1:])), "transitions chain"
        return [(seconds(e["at"]), e["to"]) for e in events]


def seconds(text):
    from datetime import datetime
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()) - T0


@pytest.fixture
def told(tmp_path):
    made = []

    def make(config=""):
        directory = tmp_path / f"told-{len(made)}"
        directory.mkdir()
        made.append(Told(directory, config))
        return made[-1].start()

    yield make
    for gateway in made:
        gateway.stop()
        assert "panicked" not in gateway.log_text


SETTLED = [(0, "starting"), (60, "healthy")]


def test_v1_silence_is_late_then_down_since_the_last_beat(told):
    g = told()
    g.beats(0, 600)
    g.until(689)
    assert g.state() == ("healthy", {})
    g.until(690)
    assert g.state() == ("degraded", {"late": "soft"})
    g.until(789)
    assert g.state() == ("degraded", {"late": "soft"})
    g.until(790)
    assert g.state() == ("down", {"late": "soft", "down": "hard"})
    row = g.agent("a")
    assert (row["status"], seconds(row["since"])) == ("down", 600)
    assert row["reason"].startswith("no sign of life for 3m 10s (expected every 1m); last at 11:16:40Z")
    g.until(4000)
    assert g.changes() == SETTLED + [(690, "degraded"), (790, "down")]
    newest = g.events("a")[0]
    assert newest["hard"] and newest["evidence"]["last_alive"] == row["last_alive"]


def test_v3_and_the_seeds_story_beats_go_on_and_completions_stop(told):
    """A server that answers 200 is not an agent that works: at five minutes it is `degraded` on the wire, its health URL
    turns 503, there is one event, and a completion turns it back."""
    g = told()
    health = None
    for t in sorted([*range(0, 481, 60), 100]):
        g.say(t, **({"message": "done"} if t == 100 else {}))
        if t == 360:
            agent_id = g.agent("a")["agent_id"]
            health = f"/api/v1/agents/{agent_id}/health"
            assert g.request("GET", health)[0] == 200
    g.until(399 + 81)
    row = g.agent("a")
    assert (row["status"], row["state"]) == ("degraded", "stalled")
    assert g.state()[1] == {"stalled": "hard"}
    reason = row["reason"]
    assert reason.startswith("heartbeats normal (1m interval); no completion for 6m 20s; last completion 11:08:20Z"), reason
    assert "likely cause: agent logic stalled or upstream API unresponsive" in reason
    code, _, answer = g.request("GET", health)
    assert (code, answer["status"], answer["state"], answer["reason"]) == (503, "degraded", "stalled", reason)
    beat = g.beat("a")
    assert beat["status"] == "degraded" and beat.get("warning") is None
    assert g.changes() == SETTLED + [(400, "stalled")], "one event"
    g.say(500, message="done again")
    assert g.state() == ("healthy", {})
    assert g.request("GET", health)[0] == 200
    assert g.changes() == SETTLED + [(400, "stalled"), (500, "healthy")]


def test_v8_three_failures_are_an_error_until_two_successes(told):
    g = told()
    g.beats(0, 60)
    assert g.say(100, status="error", message="429 Too Many Requests")["status"] == "degraded"
    assert g.state() == ("degraded", {"erroring": "soft"})
    g.say(160, status="error", message="429 Too Many Requests")
    assert g.say(220, status="error", message="429 Too Many Requests")["status"] == "error"
    assert g.state() == ("erroring", {"erroring": "hard"})
    assert g.agent("a")["reason"].startswith("3 failures in a row; failed 100 % of 3 requests in the last hour")
    g.say(280, message="one")
    assert g.state() == ("erroring", {"erroring": "hard"})
    g.say(340, message="two")
    assert g.state() == ("healthy", {})
    assert g.changes() == SETTLED + [(100, "degraded"), (220, "erroring"), (340, "healthy")]


def test_v9_too_many_tool_calls_in_a_minute(told):
    g = told()
    g.beats(0, 240)
    for t in range(300, 350, 5):
        assert g.say(t, tool_calls=1).get("warning") is None, t
    answer = g.say(350, tool_calls=1)
    assert answer["warning"] == "loop_detected"
    assert g.state() == ("looping", {"looping": "hard"})
    g.beats(360, 480)
    g.until(494)
    assert g.state()[0] == "looping"
    g.until(495)
    assert g.state() == ("healthy", {})
    assert "warning" not in g.beat("a")
    assert g.changes() == SETTLED + [(350, "looping"), (495, "healthy")]


def test_v12_a_clean_end_is_no_death(told):
    g = told()
    g.beats(0, 60)
    g.say(100, status="shutdown")
    g.until(499)
    assert g.state() == ("stopped", {})
    g.say(500)
    assert g.state() == ("starting", {})
    assert g.changes() == SETTLED + [(100, "stopped"), (500, "starting")]


def test_v14_the_gateways_own_outage_is_nobodys_death(told):
    g = told()
    g.beats(0, 600)
    g.stop()
    g.move(4200)
    g.start()
    assert (g.state(), g.agent("a")["stale"]) == (("healthy", {}), True)
    g.beats(4200, 5000)
    assert (g.state(), g.agent("a")["stale"]) == (("healthy", {}), False)
    assert g.changes() == SETTLED


def test_tim5_who_died_while_the_gateway_was_away_is_found_and_nobody_else(told):
    g = told()
    for t in range(0, 601, 60):
        g.until(t)
        g.beat("a")
        g.beat("dies")
    g.kill()
    g.move(4200)
    g.start()
    g.beats(4200, 4500)
    rows = g.agents()
    assert (rows["a"]["state"], rows["dies"]["state"]) == ("healthy", "down")
    assert seconds(rows["dies"]["since"]) == 600


def test_what_explains_a_status_is_told_on_the_command_line(told):
    g = told()
    for t in sorted([*range(0, 421, 60), 100]):
        g.say(t, **({"message": "done"} if t == 100 else {}))
    told_by = g.cli("explain", "a", "--endpoint", g.url)
    assert told_by.startswith("a (agent 1) is stalled since 2026-11-18T11:13:20.000Z")
    for text in ["last completion 11:08:20Z", "stalled (hard)", "silence", "auto_restart is off", "by_source"]:
        assert text in told_by, told_by
    assert '"state": "stalled"' in g.cli("explain", "1", "--endpoint", g.url, "-o", "json")
    wrong = g.run("explain", "b", "--endpoint", g.url)
    assert (wrong.returncode, "there is no agent" in wrong.stderr) == (1, True)


def test_a_test_clock_is_never_on_by_accident(told, tmp_path):
    def serve(*args, env=(), data="data"):
        command = [BINARY, "serve", "--data-dir", tmp_path / data, *args]
        ports = {f"PULSEGATE_RECEIVERS__{name}__ENDPOINT": "127.0.0.1:0" for name in ("HTTP", "OTLP__GRPC", "OTLP__HTTP")}
        env = {"PATH": os.environ["PATH"], "PULSEGATE_API_KEY": KEY, **ports, **dict(env)}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)

    g = told()
    assert "TEST CLOCK" in g.log_text
    g.stop()
    g.command_line = ["serve"]
    with pytest.raises(AssertionError, match="made under a test clock"):
        g.start()
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "pulsegate.db").write_text("")
    clock = tmp_path / "clock"
    clock.write_text(str(T0))
    assert "data of real times" in serve("--test-clock", clock, data="real").stderr
    everywhere = {"PULSEGATE_RECEIVERS__HTTP__ENDPOINT": "0.0.0.0:0", "PULSEGATE_SERVER__ALLOW_PLAINTEXT": "true"}
    assert "listens on this machine only" in serve("--test-clock", clock, env=everywhere.items()).stderr
    assert "must hold a whole number" in serve("--test-clock", tmp_path / "none").stderr
    assert "test-clock" not in subprocess.run([BINARY, "serve", "--help"], capture_output=True, text=True).stdout
