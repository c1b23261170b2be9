"""What comes in broken is refused with a word about what to change, and costs neither the gateway nor anybody's data."""

import gzip
import http.client
import json
import os

import pytest
from conftest import KEY, Gateway

BEAT = "/api/v1/heartbeat"
BATCH = "/api/v1/heartbeat/batch"
HOOK = "/api/v1/webhooks/langfuse"
TRACES = "/v1/traces"
PROTOBUF = {"Content-Type": "application/x-protobuf"}
GZIP = {"Content-Encoding": "gzip"}
MEGABYTE = 1_000_000
# How much more memory all of it may leave in use: the largest body that is read is 20 MiB, and the allocator keeps room
# for three of them (as received, decompressed, decoded) for each thread that works on one, of which there is one for
# each processor. What counts is that it settles.
GROWTH_BYTES_MAX = 75 * MEGABYTE * max(2, os.cpu_count())
# A whole round that leaves less than this adds nothing.
SETTLED_BYTES = 1 * MEGABYTE
ROUNDS_MAX = 10
REPEATS_OF_HEAVY = 20


def deep(levels):
    return b'{"agent": "a", "custom_data": ' + b"[" * levels + b"]" * levels + b"}"


def deep_span(levels):
    """Spans with an attribute that is a list in a list in a list …"""
    opening = b'{"arrayValue": {"values": ['
    value = opening * levels + b"]}}" * levels
    return b'{"resourceSpans": [{"resource": {"attributes": [{"key": "a", "value": ' + value + b"}]}}]}"


def bomb(size):
    """`size` bytes of blanks and a beat, which compress to next to nothing."""
    return gzip.compress(b" " * size + b'{"agent": "bomb", "status": "ok"}', 9)


def field(name, value):
    """A beat with one wrong field."""
    return pytest.param("POST", BEAT, {"agent": "a", "status": "ok", name: value}, {}, 422, name,
                        id=f"field-{name}-{json.dumps(value)[:20]}")


def case(name, method, path, body, headers, status, word):
    return pytest.param(method, path, body, headers, status, word, id=name)


WRONG_FIELDS = [
    field(name, value)
    for name, values in {
        "agent": [None, "", 7, True, ["a"], {"name": "a"}, "line\nbreak", "nul\x00", "esc\x1b[31m", "a" * 201, "ü" * 101],
        "status": ["fine", "OK", "", 1, True, ["ok"]],
        "message": [1, True, ["m"], {"m": 1}],
        "tokens_used": ["many", 1.5, -1, 1e13, [], {}, True],
        "tokens": ["many", -1],
        "cost_usd": ["1.00", -0.01, 1e12, [], True],
        "tool_calls": ["two", -2, 0.5, {}],
        "iteration_count": ["one", 1.5, 10**19, []],
        "memory_mb": ["12", [], True],
        "tool_call_log": ["search", 3, {"name": "search"}],
        "prompt_hashes": ["abc", 1, {"0": "abc"}, [1], ["a", None]],
        "agent_type": [1, []],
        "restart_type": [1, "d" * 33],
        "restart_target": [{}, "t" * 513],
        "container_id": [1, "c" * 513],
        "interval": ["60s", -1],
    }.items()
    for value in values
]

OTHER = [
    case("no agent", "POST", BEAT, {"status": "ok"}, {}, 422, "agent"),
    case("not JSON", "POST", BEAT, b'{"agent": "a", oops}', {}, 422, "JSON decode error"),
    case("nothing", "POST", BEAT, b"", {}, 422, "JSON decode error"),
    case("two values", "POST", BEAT, b'{"agent": "a"} {"agent": "b"}', {}, 422, "JSON decode error"),
    case("NaN", "POST", BEAT, b'{"agent": "a", "cost_usd": NaN}', {}, 422, "JSON decode error"),
    case("infinite", "POST", BEAT, b'{"agent": "a", "cost_usd": 1e999}', {}, 422, "cost_usd|JSON decode error"),
    case("list", "POST", BEAT, [{"agent": "a"}], {}, 422, "object"),
    case("text", "POST", BEAT, "agent", {}, 422, "object"),
    case("null", "POST", BEAT, b"null", {}, 422, "object"),
    case("broken UTF-8", "POST", BEAT, b'{"agent": "\xff\xfe"}', {}, 422, "UTF-8"),
    case("half a surrogate", "POST", BEAT, b'{"agent": "\\ud800"}', {}, 422, "JSON decode error"),
    case("form", "POST", BEAT, b"agent=a", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "application/json"),
    case("XML", "POST", BEAT, b"<agent/>", {"Content-Type": "text/xml"}, 415, "application/json"),
    case("brotli", "POST", BEAT, b"??", {"Content-Encoding": "br"}, 415, "gzip"),
    case("not gzip", "POST", BEAT, b'{"agent": "a"}', GZIP, 400, "gzip"),
    case("half a gzip", "POST", BEAT, gzip.compress(b'{"agent": "a"}')[:-9], GZIP, 400, "gzip"),
    case("long idempotency key", "POST", BEAT, {"agent": "a"}, {"Idempotency-Key": "k" * 256}, 422, "idempotency-key"),
    case("batch is a text", "POST", BATCH, "beats", {}, 422, "list of heartbeats"),
    case("batch without list", "POST", BATCH, {"beats": []}, {}, 422, "heartbeats"),
    case("batch of numbers", "POST", BATCH, [1, 2], {}, 422, "object"),
    case("batch with nothing good", "POST", BATCH, [{"agent": ""}, {"status": "ok"}], {}, 422, "agent"),
    case("unknown path", "GET", "/api/v1/heartbeats", None, {}, 404, "path"),
    case("unknown path above", "GET", "/nothing/../../etc/passwd", None, {}, 404, "path"),
    case("wrong method", "GET", BEAT, None, {}, 405, "method"),
    case("wrong method of reading", "DELETE", "/api/v1/status", None, {}, 405, "method"),
    case("limit of 0", "GET", "/api/v1/status?limit=0", None, {}, 422, "limit"),
    case("limit of many", "GET", "/api/v1/status?limit=1001", None, {}, 422, "1000"),
    case("limit in words", "GET", "/api/v1/status?limit=ten", None, {}, 422, "limit"),
    case("negative offset", "GET", "/api/v1/status?offset=-1", None, {}, 422, "offset"),
    case("huge offset", "GET", "/api/v1/status?offset=99999999999999999999", None, {}, 422, "offset"),
    case("events before nothing", "GET", "/api/v1/events?before=0", None, {}, 422, "before"),
    case("limit twice", "GET", "/api/v1/status?limit=1&limit=2", None, {}, 422, "limit"),
    case("agent in broken UTF-8", "GET", "/api/v1/agents/%ff%fe", None, {}, 404, "path"),
    case("command in broken UTF-8", "POST", "/api/v1/commands/%ff/result", {"status": "completed"}, {}, 404, "path"),
    case("no such agent", "GET", "/api/v1/agents/999999", None, {}, 404, "Agent not found"),
    case("agent by name", "GET", "/api/v1/agents/a", None, {}, 404, "Agent not found"),
    case("events of no number", "GET", "/api/v1/agents/x/events", None, {}, 404, "Agent not found"),
    case("no such command", "POST", "/api/v1/commands/12/result", {"status": "completed"}, {}, 404, "Command not found"),
    case("unknown result", "POST", "/api/v1/commands/12/result", {"status": "done"}, {}, 422, "completed"),
    case("result is a list", "POST", "/api/v1/commands/12/result", [], {}, 422, "body"),
    case("OTLP garbage", "POST", TRACES, b"\xff" * 100, PROTOBUF, 400, "decode"),
    case("OTLP cut off", "POST", TRACES, b"\x0a\xff\xff\xff\x7f", PROTOBUF, 400, "decode"),
    case("OTLP JSON garbage", "POST", TRACES, b'{"resourceSpans": 7}', {}, 400, "resourceSpans"),
    case("OTLP JSON bad id", "POST", TRACES,
         {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}, {}, 400, "decode"),
    case("OTLP text", "POST", TRACES, b"span", {"Content-Type": "text/plain"}, 415, "application/x-protobuf"),
    case("OTLP brotli", "POST", TRACES, b"", {**PROTOBUF, "Content-Encoding": "br"}, 415, "gzip"),
    case("OTLP logs garbage", "POST", "/v1/logs", b"\xff\xff", PROTOBUF, 400, "decode"),
    case("OTLP metrics garbage", "POST", "/v1/metrics", b"\xff\xff", PROTOBUF, 400, "decode"),
    case("Langfuse garbage", "POST", HOOK, b"<html>", {}, 422, "JSON decode error"),
    case("Langfuse of nothing known", "POST", HOOK, {"hello": "world"}, {}, 422, "Langfuse"),
    case("Langfuse number", "POST", HOOK, b"7", {}, 422, "Langfuse"),
    case("Langfuse of too many", "POST", HOOK, [{"id": "t"}] * 1001, {}, 422, "1000"),
    case("metrics of an unknown part", "GET", "/metrics?collect[]=everything", None, {}, (400, 422), "agents"),
    case("metrics of a wrong shard", "GET", "/metrics?shard=3/2", None, {}, (400, 422), "shard"),
]

HEAVY = [
    case("10 MB", "POST", BEAT, b'{"agent": "' + b"a" * (10 * MEGABYTE) + b'"}', {}, 413, "smaller"),
    case("10 MB batch", "POST", BATCH, b"[" + b" " * (10 * MEGABYTE) + b"]", {}, 413, "smaller"),
    case("bomb", "POST", BEAT, bomb(10 * MEGABYTE), GZIP, 413, "after decompression"),
    case("bomb of members", "POST", BATCH, bomb(5 * MEGABYTE) * 4, GZIP, 413, "after decompression"),
    case("Langfuse bomb", "POST", HOOK, bomb(10 * MEGABYTE), GZIP, 413, "after decompression"),
    case("OTLP bomb", "POST", TRACES, gzip.compress(b"\0" * 100 * MEGABYTE, 9), {**PROTOBUF, **GZIP}, 413, "after decompression"),
    case("deep", "POST", BEAT, deep(10_000), {}, 422, "JSON decode error"),
    case("deep batch", "POST", BATCH, b"[" * 10_000 + b"]" * 10_000, {}, 422, "JSON decode error"),
    case("deep webhook", "POST", HOOK, deep(10_000), {}, 422, "JSON decode error"),
    case("deep OTLP", "POST", TRACES, deep_span(10_000), {}, 400, "decode"),
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """One gateway for the whole table: it must bear all of it."""
    gateway = Gateway(tmp_path_factory.mktemp("gateway")).start()
    gateway.beat("bystander", tokens_used=5)
    yield gateway
    gateway.stop()
    assert "panicked" not in gateway.log_text, gateway.log_text


def send(gateway, method, path, body, headers):
    """Like a client that sends all of its body before it reads: a refusal must reach it even if the gateway has read
    no more than the headers."""
    connection = http.client.HTTPConnection(gateway.at["http"], timeout=20)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    all_headers = {"X-API-Key": KEY, **({"Content-Type": "application/json"} if data is not None else {}), **headers}
    try:
        try:
            connection.request(method, path, data, all_headers)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def check(gateway, method, path, body, headers, status, word):
    agents = gateway.agents()
    got, _, text = send(gateway, method, path, body, headers)
    assert got in (status if isinstance(status, tuple) else (status,)), (got, text[:300])
    if headers.get("Content-Type") == PROTOBUF["Content-Type"]:
        # OTLP answers in the encoding of the request.
        assert any(option.encode() in text for option in word.split("|")), text[:300]
    else:
        detail = json.dumps(json.loads(text)["detail"], ensure_ascii=False)
        assert any(option in detail for option in word.split("|")), detail[:300]
    assert gateway.get("/health", key=None)["status"] == "ok"
    assert gateway.agents().keys() == agents.keys(), "nothing was made of it"
    assert gateway.agent("bystander")["totals"] == agents["bystander"]["totals"]


@pytest.mark.parametrize("method, path, body, headers, status, word", WRONG_FIELDS + OTHER)
def test_it_is_refused_with_a_remedy(gateway, method, path, body, headers, status, word):
    check(gateway, method, path, body, headers, status, word)


@pytest.mark.parametrize("method, path, body, headers, status, word", HEAVY)
def test_what_is_too_much_is_refused_again_and_again(gateway, method, path, body, headers, status, word):
    for _ in range(REPEATS_OF_HEAVY):
        check(gateway, method, path, body, headers, status, word)


def test_nothing_of_it_stays_in_memory(gateway_factory):
    """The whole table, the heavy part many times, against a gateway that has done ordinary work before."""
    gateway = gateway_factory()
    for number in range(200):
        gateway.beat(f"agent {number % 20}", message="warm-up", tokens_used=1)
    gateway.beat("bystander")
    sizes = [gateway.rss()]
    while len(sizes) < 3 or sizes[-1] - sizes[-2] > SETTLED_BYTES:
        assert len(sizes) <= ROUNDS_MAX, f"every round leaves more: {sizes}"
        for param in WRONG_FIELDS + OTHER + HEAVY * (REPEATS_OF_HEAVY // 4):
            send(gateway, *param.values[:4])
        sizes.append(gateway.rss())
    print("MB in use:", [size // MEGABYTE for size in sizes])
    assert sizes[-1] - sizes[0] < GROWTH_BYTES_MAX, sizes
    assert len(gateway.agents()) == 21


def test_a_batch_of_101_is_refused_whole(gateway_factory):
    gateway = gateway_factory()
    for body in ([{"agent": f"a{n}"} for n in range(101)], {"heartbeats": [{"agent": f"a{n}"} for n in range(101)]}):
        status, _, answer = gateway.request("POST", BATCH, body)
        assert status == 422 and "at most 100" in json.dumps(answer["detail"]), answer
    assert gateway.agents() == {}
    status, _, answer = gateway.request("POST", BATCH, [{"agent": f"a{n}"} for n in range(100)])
    assert status == 200 and answer["accepted"] == len(gateway.agents()) == 100


def test_one_bad_beat_does_not_spoil_its_batch(gateway_factory):
    gateway = gateway_factory()
    beats = [{"agent": "good-1"}, {"agent": "bad", "tokens_used": "many"}, {"agent": "good-2"}]
    status, _, answer = gateway.request("POST", BATCH, beats)
    assert status == 200 and (answer["accepted"], answer["rejected"]) == (2, 1), answer
    assert [line["received"] for line in answer["results"]] == [True, False, True]
    assert answer["results"][1]["detail"][0]["loc"] == ["body", 1, "tokens_used"]
    assert sorted(gateway.agents()) == ["good-1", "good-2"]


READS = [("GET", "/api/v1/status"), ("GET", "/api/v1/events"), ("GET", "/api/v1/commands/history"),
         ("GET", "/api/v1/agents/1"), ("GET", "/api/v1/agents/1/health"), ("GET", "/api/v1/agents/1/events")]
INGESTS = [("POST", BEAT), ("POST", BATCH), ("POST", HOOK), ("POST", TRACES), ("POST", "/v1/logs"), ("POST", "/v1/metrics")]
RUNS = [("GET", "/api/v1/commands"), ("POST", "/api/v1/commands/x/result")]
ADMINISTERS = [("PATCH", "/api/v1/agents/1"), ("POST", "/api/v1/agents/1/pause"), ("POST", "/api/v1/agents/1/resume")]
COMMANDS = [("POST", "/api/v1/agents/1/restart")]


def test_every_path_wants_a_key_with_the_right_scope(gateway_factory):
    # More wrong keys than an address may try otherwise.
    gateway = gateway_factory("server: {wrong_keys_per_minute: 1000000}")
    gateway.beat("somebody")
    allowed = {"ingest": INGESTS, "read": READS, "runner": RUNS, "admin": ADMINISTERS, "command": COMMANDS}
    keys = {scope: gateway.cli("keys", "create", "--scopes", scope) for scope in allowed}
    gateway.stop()
    gateway.start()
    everything = sum(allowed.values(), [])
    good = gateway.env["PULSEGATE_API_KEY"]
    wrong = [None, "", "cv_", "cv_wrong", good + "x", good[:-1], keys["read"][:-1] + "0", "x" * 600]
    for method, path in everything:
        for key in wrong:
            status, headers, body = gateway.request(method, path, key=key, raw=b"{}" if method != "GET" else None)
            assert (status, body["detail"]) == (401, "Not authenticated"), (method, path, key, body)
            assert headers["WWW-Authenticate"] == "ApiKey"
        for scope, key in keys.items():
            status, _, body = gateway.request(method, path, key=key, raw=b"{}" if method != "GET" else None)
            if (method, path) in allowed[scope]:
                assert status not in (401, 403), (method, path, scope, body)
            else:
                assert (status, body["detail"]) == (403, "Access denied"), (method, path, scope, body)
    for key in list(keys.values()) + [good]:
        assert key not in gateway.log_text, "keys are never logged"


def test_agents_of_another_project_do_not_exist(gateway_factory):
    gateway = gateway_factory()
    mine = gateway.beat("mine")["agent_id"]
    other = gateway.cli("keys", "create", "--project", "other", "--scopes", "ingest,read,runner,command,admin")
    gateway.stop()
    gateway.start()
    paths = [("GET", f"/api/v1/agents/{mine}"), ("GET", f"/api/v1/agents/{mine}/health"),
             ("PATCH", f"/api/v1/agents/{mine}"), ("POST", f"/api/v1/agents/{mine}/pause"),
             ("POST", f"/api/v1/agents/{mine}/restart")]
    for method, path in paths:
        status, _, body = gateway.request(method, path, key=other, raw=b"{}" if method != "GET" else None)
        assert (status, body["detail"]) == (404, "Agent not found"), (method, path, body)
    assert gateway.get("/api/v1/status", key=other)["agents"] == []
    assert gateway.get("/api/v1/events", key=other)["events"] == []
    status, _, body = gateway.request("GET", f"/api/v1/agents/{mine}/events", key=other)
    assert status == 404 or body == {"events": []}, body
    gateway.beat("mine")
    status, _, body = gateway.request("POST", BEAT, {"agent": "mine"}, key=other)
    assert status == 200 and body["agent_id"] != mine, "the same name in another project is another agent"
