"""What was answered 200 is kept, once: through `kill -9` and SIGTERM, under load."""

import http.client
import json
import signal
import subprocess
import threading
import time
from decimal import Decimal

from conftest import BINARY, KEY

ROUNDS = 50
# How long the senders get in each round before the kill, in seconds; varied, so that kills hit every phase of a commit.
LOAD_SECONDS = (0.15, 0.6)
COST = Decimal("0.001")
# What every beat tells; each sender has an agent of its own.
BEAT = {"status": "ok", "tokens_used": 1, "cost_usd": float(COST)}


class Sender:
    """Sends over one kept-open connection until told to stop or cut off, and counts what was answered.

    A request that got no answer may or may not have been taken in. One that can be told apart from a new one (by its
    `Idempotency-Key`, or as the same bytes of spans) is kept in `unanswered` and sent again first in the next round.
    """

    def __init__(self, agent, kind):
        self.agent, self.kind = agent, kind
        self.number = self.acknowledged = self.maybe = 0
        self.unanswered = self.last = None
        self.problems = []

    def next_request(self):
        self.number += 1
        if self.kind == "spans":
            return "/v1/traces", {}, json.dumps(one_span(self.agent, self.number))
        headers = {"Idempotency-Key": f"{self.agent}/{self.number}"} if self.kind == "keyed" else {}
        return "/api/v1/heartbeat", headers, json.dumps({"agent": self.agent, **BEAT})

    def load(self, address, stop):
        """One round, in a thread of its own."""
        thread = threading.Thread(target=self.send_until, args=(address, stop), daemon=True)
        thread.start()
        return thread

    def send_until(self, address, stop):
        connection = http.client.HTTPConnection(address, timeout=10)
        try:
            while not stop.is_set():
                self.send(connection)
        except (OSError, http.client.HTTPException):
            if self.kind == "plain":
                self.unanswered, self.maybe = None, self.maybe + 1
        finally:
            connection.close()

    def send(self, connection):
        self.unanswered = self.unanswered or self.next_request()
        path, headers, body = self.unanswered
        headers = {"X-API-Key": KEY, "Content-Type": "application/json", **headers}
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status == 200:
            self.acknowledged, self.last, self.unanswered = self.acknowledged + 1, self.unanswered, None
        else:
            # Said to be not kept: never counted. Only a gateway that is stopping may say so here.
            self.problems.append((answer.status, text))
            raise http.client.HTTPException("refused")


def one_span(agent, number):
    """An OTLP request with one model call of one token."""
    now = time.time_ns()
    text = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.agent.name": agent}
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in text.items()]
    attributes.append({"key": "gen_ai.usage.input_tokens", "value": {"intValue": "1"}})
    span = {
        "traceId": f"{number:032x}", "spanId": f"{number:016x}", "name": "chat m", "kind": 3, "attributes": attributes,
        "startTimeUnixNano": str(now - 1_000_000), "endTimeUnixNano": str(now),
    }
    service = {"key": "service.name", "value": {"stringValue": agent}}
    return {"resourceSpans": [{"resource": {"attributes": [service]}, "scopeSpans": [{"spans": [span]}]}]}


def senders():
    return [Sender("plain-1", "plain"), Sender("plain-2", "plain"), Sender("keyed-1", "keyed"),
            Sender("keyed-2", "keyed"), Sender("spans-1", "spans")]


def check(gateway, sender):
    """The agent's totals are what its sender knows to be kept, to the last token."""
    row = gateway.agent(sender.agent)
    if row is None:
        assert sender.acknowledged == 0
        return
    totals = row["totals"]
    least, most = sender.acknowledged, sender.acknowledged + sender.maybe
    if sender.kind == "spans":
        assert totals["tokens_input"] == totals["model_calls"] == least, (sender.agent, totals, least)
        return
    kept = totals["heartbeats"]
    assert least <= kept <= most, (sender.agent, least, kept, most)
    # A beat is kept whole or not at all.
    assert totals["tokens_used"] == kept and Decimal(totals["cost_usd"]) == kept * COST, (sender.agent, totals)


def finish(gateway, sender):
    """Sends again what got no answer, as a client would after the restart; and once more the newest that was answered,
    as one whose answer got lost on the way would."""
    connection = http.client.HTTPConnection(gateway.at["http"], timeout=10)
    if sender.unanswered:
        sender.send(connection)
    if sender.last and sender.kind != "plain":
        sender.unanswered, acknowledged = sender.last, sender.acknowledged
        sender.send(connection)
        sender.acknowledged = acknowledged
    connection.close()


def test_kill_9_under_load_loses_nothing_and_counts_nothing_twice(gateway_factory):
    gateway = gateway_factory()
    load = senders()
    low, high = LOAD_SECONDS
    for number in range(ROUNDS):
        stop = threading.Event()
        threads = [sender.load(gateway.at["http"], stop) for sender in load]
        stop.wait(low + (high - low) * ((number * 7) % ROUNDS) / ROUNDS)
        gateway.kill()
        stop.set()
        for thread in threads:
            thread.join(timeout=15)
            assert not thread.is_alive()
        gateway.start()
        for sender in load:
            assert not sender.problems, sender.problems
            finish(gateway, sender)
            check(gateway, sender)
    for sender in load:
        print(f"{sender.agent}: {sender.acknowledged} acknowledged, {sender.maybe} left without an answer")
        assert sender.acknowledged > ROUNDS, "there was load"
    assert sum(sender.maybe for sender in load) > 0, "kills hit requests in flight"


def test_sigterm_under_load_finishes_what_it_answered(gateway_factory):
    gateway = gateway_factory()
    load = senders()
    stop = threading.Event()
    threads = [sender.load(gateway.at["http"], stop) for sender in load]
    stop.wait(1.0)
    began = time.monotonic()
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(timeout=15) == 0
    took = time.monotonic() - began
    assert took < 10, took
    stop.set()
    for thread in threads:
        thread.join(timeout=15)
        assert not thread.is_alive()
    gateway.start()
    for sender in load:
        assert sender.acknowledged > 10, "there was load"
        assert all(status == 503 for status, _ in sender.problems), sender.problems
        finish(gateway, sender)
        check(gateway, sender)


def test_a_second_gateway_on_the_same_data_is_refused(gateway):
    gateway.beat("first")
    command = [BINARY, "serve", "--data-dir", gateway.data]
    second = subprocess.run(command, env=gateway.env, capture_output=True, text=True, timeout=20)
    assert second.returncode == 4, second
    assert str(gateway.data) in second.stderr and "another" in second.stderr, second.stderr
    gateway.beat("first")
    assert json.loads((gateway.data / "listeners.json").read_text()) == gateway.at, "the first one's addresses stay"


def test_a_cut_database_file_is_reported_not_served(gateway_factory):
    """A file that is no database any more must stop the start with a clear word, not be taken for an empty one."""
    gateway = gateway_factory()
    gateway.beat("kept")
    gateway.stop()
    database = gateway.data / "pulsegate.db"
    database.write_bytes(b"this is not a database, whatever its name says\n" * 200)
    second = gateway_factory(start=False)
    done = second.run("serve", env={**gateway.env, "PULSEGATE_STORE__SQLITE__PATH": str(database)})
    assert done.returncode == 4 and "database" in done.stderr, done
    assert b"whatever its name says" in database.read_bytes(), "it was not overwritten"
