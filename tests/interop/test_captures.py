"""Every request that the published ClevAgent clients were ever seen to send, sent again byte by byte.

`tests/data/clevagent/captures.jsonl` was captured from the Python SDK 0.4 and the runner 0.1, driven by hand through
good and bad servers. Here a gateway answers, and what it then knows must be what the bodies say.
"""

import collections
import gzip
import http.client
import json

import pytest

from conftest import KEY, ROOT

CAPTURES = [
    json.loads(line)
    # Not `splitlines`: a message has line breaks of Unicode in it.
    for line in (ROOT / "tests" / "data" / "clevagent" / "captures.jsonl").read_text("utf-8").strip().split("\n")
]
HEARTBEAT = "/api/v1/heartbeat"
BEATS = [c["body"] for c in CAPTURES if c["method"] == "POST" and c["path"] == HEARTBEAT]
RUNNER = "runner-0.1.0"
# The longest batch.
BATCH = 100


class Wire:
    """Sends captures as one client sent them: the SDK connects anew each time, the runner keeps its connection."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.kept = self.connect()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kept.close()

    def connect(self):
        return http.client.HTTPConnection(self.gateway.at["http"], timeout=5)

    def send(self, capture, body=None):
        """Gives (status, parsed JSON). A redirect is not followed; it would be seen as the status it is."""
        connection = self.kept if capture["client"] == RUNNER else self.connect()
        headers = {**capture["headers"], "X-API-Key": KEY}
        # As `requests` writes it; the captured length proves that it comes out as it was.
        body = capture["body"] if body is None else body
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Length"] = str(len(data))
        connection.request(capture["method"], capture["path"], data, headers)
        answer = connection.getresponse()
        payload = answer.read()
        if connection is not self.kept:
            connection.close()
        if answer.headers.get("Content-Encoding") == "gzip":
            payload = gzip.decompress(payload)
        assert answer.headers["Content-Type"] == "application/json", payload
        return answer.status, json.loads(payload)


def check_accepted(answer):
    """The reply that keeps the published SDK alive: an object, and nothing in it that could stop an agent."""
    assert type(answer) is dict, answer
    assert type(answer["agent_id"]) is int and answer["agent_id"] >= 1, answer
    assert answer["received"] is True and type(answer["status"]) is str, answer
    assert "warning" not in answer and "reason" not in answer, answer


def one_by_one(gateway):
    with Wire(gateway) as wire:
        for capture in CAPTURES:
            status, answer = wire.send(capture)
            if capture["path"] == HEARTBEAT and capture["method"] == "POST":
                assert status == 200, (capture, answer)
                check_accepted(answer)
            elif capture["path"] == HEARTBEAT:
                # A client that followed a 301 comes back as a GET; it must not take that for success.
                assert (status, type(answer["detail"])) == (405, str), answer
            elif capture["method"] == "GET":
                assert (status, answer) == (200, []), capture
            else:
                assert capture["path"].endswith("/result")
                assert (status, type(answer["detail"])) == (404, str), (capture, answer)


def with_fields_of_a_later_version(gateway):
    unknown = {"sdk_version": "0.9", "labels": {"team": ["a", {"b": None}]}, "sequence": 7, "Ünknown": False}
    with Wire(gateway) as wire:
        for capture in CAPTURES:
            if capture["path"] == HEARTBEAT and capture["method"] == "POST":
                status, answer = wire.send(capture, {**unknown, **capture["body"]})
                assert status == 200, (capture, answer)
                check_accepted(answer)


def in_batches(gateway):
    for first in range(0, len(BEATS), BATCH):
        beats = BEATS[first : first + BATCH]
        status, _, answer = gateway.request("POST", f"{HEARTBEAT}/batch", {"heartbeats": beats})
        assert (status, answer["accepted"], answer["rejected"]) == (200, len(beats), 0), answer
        assert [line["index"] for line in answer["results"]] == list(range(len(beats)))
        for line in answer["results"]:
            check_accepted(line)


def expected_totals():
    """What the bodies of each agent add up to; `None` where no body says anything."""
    sums = collections.defaultdict(lambda: {"tokens_used": None, "nanos": None, "tool_calls": 0})
    for body in BEATS:
        total = sums[body["agent"]]
        if "tokens_used" in body:
            total["tokens_used"] = (total["tokens_used"] or 0) + body["tokens_used"]
        if "cost_usd" in body:
            total["nanos"] = (total["nanos"] or 0) + round(body["cost_usd"] * 1e9)
        total["tool_calls"] += max(body.get("tool_calls", 0), len(body.get("tool_call_log", [])))
    return {
        agent: {
            "tokens_used": total["tokens_used"],
            "cost_usd": None if total["nanos"] is None else "{}.{:09}".format(*divmod(total["nanos"], 10**9)),
            "tool_calls": total["tool_calls"],
        }
        for agent, total in sums.items()
    }


def test_the_captures_are_replayed_as_they_were():
    lengths = [(c, c["headers"].get("Content-Length")) for c in CAPTURES if c["body"] is not None]
    assert len(lengths) > 90
    # In these two the paths of the machine were replaced by shorter ones.
    other = [c["body"]["agent"] for c, length in lengths if len(json.dumps(c["body"])) != int(length)]
    assert other == ["crash-ok", "/run/p.pid"]


# A day of beats is sent within a second here, which would rightly look like a loop.
CALM = """
health:
  loops: {tool_calls_per_minute: 10000, identical_messages: 1000, token_spike: 1000}
"""


@pytest.mark.parametrize("replay", [one_by_one, with_fields_of_a_later_version, in_batches])
def test_every_captured_beat_is_taken_and_counted(gateway_factory, replay):
    gateway = gateway_factory(CALM)
    replay(gateway)

    agents = gateway.agents()
    # Names are kept as they are: paths, dots, spaces.
    assert set(agents) == {body["agent"] for body in BEATS}
    assert {"/run/p.pid", "python agent.py", "my-agent.service", "corp.agent"} <= set(agents)
    assert len({row["agent_id"] for row in agents.values()}) == len(agents)

    expected = expected_totals()
    assert sum(total["tokens_used"] or 0 for total in expected.values()) > 9000
    told = {name: {field: row["totals"][field] for field in expected[name]} for name, row in agents.items()}
    assert told == expected
    beats = collections.Counter(body["agent"] for body in BEATS)
    assert {n: row["totals"]["heartbeats"] + row["totals"]["supervisor_beats"] for n, row in agents.items()} == beats

    last, types, restarts = {}, {}, {}
    for body in BEATS:
        last[body["agent"]] = body["status"]
        types[body["agent"]] = body.get("agent_type", types.get(body["agent"]))
        if "restart_type" in body:
            restarts[body["agent"]] = (body["restart_type"], body["restart_target"])
    assert "shutdown" in last.values()
    for name, row in agents.items():
        assert (row["state"] == "stopped") == (last[name] == "shutdown"), row
        assert row["agent_type"] == types[name]
        assert (row["restart_type"], row["restart_target"]) == restarts.get(name, (None, None))
    assert types["basic-ok"] == "langchain"
    assert restarts["corp.agent"] == ("launchd", "com.me.corp.agent")
    assert agents["crash-ok"]["last_error"]["message"] == "CRASH: ValueError: boom"


def test_only_a_certain_loop_or_an_exceeded_budget_is_told_by_the_word_that_stops_a_client(gateway):
    assert "warning" not in gateway.beat("loops", tool_calls=10)
    looping = gateway.beat("loops", tool_calls=1)
    assert (looping["warning"], looping["status"], looping["state"]) == ("loop_detected", "degraded", "looping")
    assert looping["reason"] == "tool_call_rate: 11/min > 10/min"
    spendy = gateway.beat("spends", cost_usd=20.5)
    assert (spendy["warning"], spendy["state"]) == ("cost_exceeded", "over_budget")
    for fields in ({"status": "error"}, {"status": "warning"}, {"status": "shutdown"}, {}):
        assert "warning" not in gateway.beat("other", **fields)


def test_results_of_commands_that_were_handed_out_are_taken(gateway_factory):
    """What the runner is asked to restart is what it reported, and each of its captured answers is taken once."""
    gateway = gateway_factory(start=False)
    operator = gateway.cli("keys", "create", "--scopes", "command,read")
    gateway.start()
    with Wire(gateway) as wire, Wire(gateway) as another:
        for capture in CAPTURES:
            if capture["client"] == RUNNER and "restart_type" in (capture["body"] or {}):
                assert wire.send(capture)[0] == 200
        poll = next(c for c in CAPTURES if c["path"] == "/api/v1/commands")
        assert wire.send(poll) == (200, [])

        # The first verdict of each kind that the runner was seen to give.
        verdicts = {c["body"]["status"]: c for c in reversed(CAPTURES) if c["path"].endswith("/result")}
        assert "not registered" in verdicts["rejected"]["body"]["message"]
        stories = {"my-bot": "completed", "python agent.py": "failed", "pod-1": "rejected"}
        targets = {name: (agent["restart_type"], agent["restart_target"]) for name, agent in gateway.agents().items()}
        agents = gateway.agents()
        for name in stories:
            path = f"/api/v1/agents/{agents[name]['agent_id']}/restart"
            assert gateway.request("POST", path, key=KEY)[0] == 403, "the key of a runner cannot ask for restarts"
            status, _, answer = gateway.request("POST", path, {"reason": "by hand"}, key=operator)
            assert status == 202, answer

        status, commands = wire.send(poll)
        assert status == 200
        asked = {(c["action"], c["type"], c["target"]) for c in commands}
        assert asked == {("restart", *targets[name]) for name in stories} and len(commands) == len(stories)
        assert wire.send(poll) == (200, []), "handed out once"
        ids = {(c["type"], c["target"]): c["id"] for c in commands}
        for name, verdict in stories.items():
            capture = {**verdicts[verdict], "path": f"/api/v1/commands/{ids[targets[name]]}/result"}
            status, answer = wire.send(capture)
            assert (status, answer["ok"]) == (200, True), answer
        totals = {name: row["totals"] for name, row in gateway.agents().items()}
        assert (totals["my-bot"]["restarts"], totals["my-bot"]["restarts_failed"]) == (1, 0)
        assert (totals["python agent.py"]["restarts"], totals["python agent.py"]["restarts_failed"]) == (0, 1)
        # Another runner may watch what this one does not: the command waits for it.
        assert wire.send(poll) == (200, [])
        status, again = another.send(poll)
        assert (status, [(c["id"], c["target"]) for c in again]) == (200, [(ids[targets["pod-1"]], "pod-1")])
