"""Peers that hold on to connections, memory or names: all of it is bounded, and the others do not feel it."""

import collections
import concurrent.futures
import os
import socket
import threading
import time

import h2raw
import pytest
from conftest import KEY, wait_for
from h2raw import (CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, PING, RST_STREAM, frame)

SHORT = """
server: {first_request_timeout: 1s, header_timeout: 1s, body_timeout: 1s, idle_timeout: 15s, send_timeout: 1s}
"""
# A deadline is found within half a second; the rest is a busy machine.
SLACK_SECONDS = 8
MEGABYTE = 1_000_000


def connect(gateway, which="http"):
    host, port = gateway.at[which].rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=30)


def lasts(sock, trickle=b"", every=0.1):
    """How long the peer keeps a connection open into which `trickle` is written byte by byte."""
    began = time.monotonic()
    sock.settimeout(every)
    rest = iter(trickle)
    while time.monotonic() - began < 40:
        try:
            byte = next(rest, None)
            if byte is not None:
                sock.sendall(bytes([byte]))
            if not sock.recv(65536):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began


def fine(gateway):
    assert gateway.get("/health", key=None)["status"] == "ok"


@pytest.mark.parametrize("head", [
    pytest.param(b"GET /health HTTP/1.1\r\nHost: gateway\r\nX-Slow: " + b"a" * 500, id="LIM-1-slow-headers"),
    pytest.param(b"", id="LIM-2-silence"),
    pytest.param(b"PRI * HT", id="LIM-3-half-a-preface"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="LIM-4-TLS-to-a-listener-without"),
])
@pytest.mark.parametrize("listener", ["http", "otlp_http", "otlp_grpc"])
def test_the_first_request_must_come(gateway_factory, listener, head):
    gateway = gateway_factory(SHORT)
    lasted = lasts(connect(gateway, listener), head)
    assert lasted < 1 + SLACK_SECONDS, lasted
    if not head.startswith(b"\x16"):
        assert lasted > 0.9, "nobody is cut off early"
    fine(gateway)


def head(method="GET", path="/health", more=""):
    return f"{method} {path} HTTP/1.1\r\nHost: gateway\r\nX-API-Key: {KEY}\r\n{more}\r\n".encode()


def test_LIM_4_later_headers_once_begun_must_end(gateway_factory):
    gateway = gateway_factory(SHORT)
    sock = connect(gateway)
    sock.sendall(head())
    assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    time.sleep(2)
    sock.sendall(head())
    assert sock.recv(65536).startswith(b"HTTP/1.1 200"), "between requests there is more time"
    lasted = lasts(sock, b"GET /health HTTP/1.1\r\nX: " + b"a" * 500)
    assert 0.9 < lasted < 1 + SLACK_SECONDS, lasted


def test_LIM_4_an_idle_connection_is_closed(gateway_factory):
    gateway = gateway_factory(SHORT)
    sock = connect(gateway)
    sock.sendall(head())
    assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    lasted = lasts(sock)
    assert 14.9 < lasted < 15 + SLACK_SECONDS, lasted


def test_LIM_4_a_slow_body_is_cut_off(gateway_factory):
    gateway = gateway_factory(SHORT)
    for trickle in (b"", b" " * 400):
        sock = connect(gateway)
        sock.sendall(head("POST", "/api/v1/heartbeat", "Content-Type: application/json\r\nContent-Length: 1000\r\n"))
        lasted = lasts(sock, trickle)
        assert 0.9 < lasted < 1 + SLACK_SECONDS, (trickle, lasted)
    assert gateway.agents() == {}


def test_LIM_4_a_slow_body_of_one_stream_does_not_hide_behind_others(gateway_factory):
    gateway = gateway_factory(SHORT)
    peer = h2raw.Connection(gateway.at["http"])
    slow = h2raw.request("POST", "/api/v1/heartbeat", x_api_key=KEY, content_type="application/json")
    peer.send(frame(HEADERS, END_HEADERS, 1, slow))
    began, answered = time.monotonic(), None
    for stream in range(3, 201, 2):
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, h2raw.request("GET", "/health")))
        while (got := peer.read())[2] != stream or not got[1] & END_STREAM:
            if got[2] == 1 and got[0] == HEADERS:
                answered = time.monotonic() - began
        if answered:
            break
        time.sleep(0.1)
    assert answered and 0.9 < answered < 1 + SLACK_SECONDS, answered


def many_agents(gateway, count=1000):
    for start in range(0, count, 100):
        beats = [{"agent": f"agent-{i:05}", "message": "m" * 100} for i in range(start, start + 100)]
        assert gateway.request("POST", "/api/v1/heartbeat/batch", beats)[0] == 200


def test_LIM_4_a_reader_that_takes_nothing_is_closed(gateway_factory):
    gateway = gateway_factory(SHORT)
    many_agents(gateway)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, port = gateway.at["http"].rsplit(":", 1)
    sock.connect((host, int(port)))
    # More than both ends' buffers hold.
    sock.sendall(head(path="/api/v1/status?limit=1000") * 40)
    time.sleep(1 + SLACK_SECONDS)
    sock.settimeout(10)
    taken = 0
    try:
        while more := sock.recv(1 << 20):
            taken += len(more)
    except ConnectionError:
        pass
    assert taken < 30 * MEGABYTE, taken
    fine(gateway)


@pytest.mark.parametrize("connections", [20_000])
def test_LIM_5_a_bound_on_connections_and_health_answers_meanwhile(gateway_factory, connections):
    gateway = gateway_factory("server: {max_connections: 300}")
    used = connect(gateway)
    # Three times as many as may be are held open at any time; more than that a process of tests may not have.
    crowd = collections.deque(maxlen=900)
    for i in range(connections):
        if len(crowd) == crowd.maxlen:
            crowd[0].close()
        crowd.append(connect(gateway))
        if i % 50 == 0:
            # Somebody who does something is not the longest idle.
            used.sendall(head())
            assert used.recv(65536).startswith(b"HTTP/1.1 200"), i
    took = []
    for _ in range(10):
        began = time.monotonic()
        fine(gateway)
        took.append(time.monotonic() - began)
    assert min(took) < 0.1, took
    descriptors = len(os.listdir(f"/proc/{gateway.process.pid}/fd"))
    assert descriptors < 300 + 100, descriptors
    used.sendall(head())
    assert used.recv(65536).startswith(b"HTTP/1.1 200")
    assert "server.max_connections" in gateway.log_text


def test_LIM_6_rapid_reset_ends_the_connection(gateway):
    before = gateway.rss()
    peer = h2raw.Connection(gateway.at["http"])
    ask = h2raw.request("GET", "/api/v1/status", x_api_key=KEY)
    storm = b"".join(frame(HEADERS, END_HEADERS | END_STREAM, s, ask) + frame(RST_STREAM, 0, s, b"\0\0\0\x08")
                     for s in range(1, 20_001, 2))
    for start in range(0, len(storm), 1 << 16):
        if not peer.send(storm[start:start + (1 << 16)]):
            break
    frames = peer.until_closed()
    # Either it is told to go away, or everything was answered or reset in its turn: no work piles up.
    assert any(kind == GOAWAY for kind, *_ in frames) or len(frames) < 10, len(frames)
    assert gateway.rss() - before < 30 * MEGABYTE
    fine(gateway)


def test_LIM_6_ten_thousand_streams_are_refused_beyond_the_bound(gateway):
    before = gateway.rss()
    peer = h2raw.Connection(gateway.at["otlp_grpc"])
    ask = h2raw.request("POST", "/opentelemetry.proto.collector.trace.v1.TraceService/Export", x_api_key=KEY,
                        content_type="application/grpc", te="trailers")
    for start in range(1, 20_001, 200):
        streams = range(start, start + 200, 2)
        if not peer.send(b"".join(frame(HEADERS, END_HEADERS, s, ask) for s in streams)):
            break
    peer.send(frame(PING, 0, 0, b"finished"))
    refused = 0
    while (got := peer.read()) is not None and got[0] not in (GOAWAY,) and got[:2] != (PING, 1):
        refused += got[0] == RST_STREAM
    assert got is None or got[0] == GOAWAY or refused >= 9_000, (got, refused)
    assert gateway.rss() - before < 40 * MEGABYTE
    fine(gateway)


def test_LIM_6_headers_without_end_are_cut_off(gateway):
    before = gateway.rss()
    peer = h2raw.Connection(gateway.at["http"])
    peer.send(frame(HEADERS, 0, 1, h2raw.request("GET", "/health")))
    more = frame(CONTINUATION, 0, 1, h2raw.headers([("x-more", "a" * 100)] * 100))
    sent = 0
    while sent < 100 * MEGABYTE and peer.send(more):
        sent += len(more)
    assert sent < 20 * MEGABYTE, "the gateway goes on reading headers that have no end"
    assert gateway.rss() - before < 20 * MEGABYTE
    fine(gateway)


def test_LIM_6_a_window_of_one_byte_is_not_waited_for(gateway_factory):
    gateway = gateway_factory(SHORT)
    many_agents(gateway, 300)
    peer = h2raw.Connection(gateway.at["http"], settings=[(INITIAL_WINDOW_SIZE, 1)])
    ask = h2raw.request("GET", "/api/v1/status?limit=1000", x_api_key=KEY)
    peer.send(b"".join(frame(HEADERS, END_HEADERS | END_STREAM, s, ask) for s in range(1, 41, 2)))
    began = time.monotonic()
    peer.until_closed()
    assert time.monotonic() - began < 2 + SLACK_SECONDS
    fine(gateway)


def test_LIM_7_a_noisy_project_does_not_starve_another(gateway_factory):
    gateway = gateway_factory("projects: {loud: {rate_limit_per_minute: 200}}",
                              env={"PULSEGATE_PROJECTS__DEFAULT__RATE_LIMIT_PER_MINUTE": ""})
    loud = gateway.cli("keys", "create", "--scopes", "ingest", "--project", "loud")
    wait_for(lambda: gateway.request("POST", "/api/v1/heartbeat", {"agent": "n"}, key=loud)[0] == 200)
    stop, statuses = threading.Event(), []

    def shout():
        while not stop.is_set():
            statuses.append(gateway.request("POST", "/api/v1/heartbeat", {"agent": "n"}, key=loud)[0])

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        shouting = [pool.submit(shout) for _ in range(4)]
        wait_for(lambda: 429 in statuses, why="the noisy project meets its limit")
        for i in range(50):
            assert gateway.beat(f"quiet-{i}")["received"]
        stop.set()
        concurrent.futures.wait(shouting)
    # One more was sent while waiting for the key; 200 a minute and twice as many at once.
    assert 380 <= statuses.count(200) <= 401, statuses.count(200)
    assert set(statuses) == {200, 429}
    throttled = [value for series, value in gateway.metrics().items()
                 if series.startswith("pulsegate_ingest_requests_total") and 'outcome="throttled"' in series]
    assert throttled and throttled[0] > 0, "it shows in the metrics"


def test_LIM_8_a_batch_of_101_is_refused_as_a_whole_and_one_bad_item_alone(gateway):
    beats = [{"agent": f"b-{i}"} for i in range(101)]
    for body in (beats, {"heartbeats": beats}):
        status, _, answer = gateway.request("POST", "/api/v1/heartbeat/batch", body)
        assert status == 422 and answer["detail"][0]["type"] == "too_long", answer
    assert gateway.agents() == {}
    beats = [{"agent": f"b-{i}"} for i in range(99)] + [{"agent": "", "status": "ok"}]
    status, _, answer = gateway.request("POST", "/api/v1/heartbeat/batch", beats)
    assert status == 200 and (answer["accepted"], answer["rejected"]) == (99, 1)
    assert answer["results"][99]["received"] is False
    assert answer["results"][99]["detail"][0]["loc"] == ["body", 99, "agent"]
    assert len(gateway.agents()) == 99


def test_LIM_9_distinct_names_are_bounded(gateway):
    sent, statuses = 0, []
    began = before = None
    for start in range(0, 60_000, 100):
        beats = [{"agent": f"name-{i:07}"} for i in range(start, start + 100)]
        status, _, answer = gateway.request("POST", "/api/v1/heartbeat/batch", beats)
        statuses.append(status)
        if status == 402:
            assert answer["detail"] == "upgrade_required", answer
        sent += 100
        if start == 10_000:
            began, before = time.monotonic(), gateway.rss()
    assert statuses.count(200) == 10 and statuses.count(402) == len(statuses) - 10
    assert gateway.rss() - before < 10 * MEGABYTE, "names that were refused are not remembered"
    assert time.monotonic() - began < 60
    assert gateway.get("/api/v1/status?limit=1")["total"] == 1000
    assert gateway.beat("name-0000007")["received"], "those that are known go on"
    status, _, answer = gateway.request("POST", "/api/v1/heartbeat", {"agent": "one more"})
    assert (status, answer) == (402, {"detail": "upgrade_required"})
