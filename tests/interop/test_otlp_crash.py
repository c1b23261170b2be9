"""`kill -9` between any two bodies that a real framework sent changes nothing of what is counted.

One capture of each framework that exports in several bodies. The bodies' truth is checked by tests/otlp; here a gateway
that dies after every body must end with the very totals of one that lived.
"""

import json
import pathlib

import pytest

DATA = pathlib.Path(__file__).parents[1] / "data" / "otlp"
# Restarts cost time: of each framework the capture with the fewest bodies, but at least this many.
BODIES_MIN = 3
CAPTURES_MAX = 12


def captures():
    by_framework = {}
    for capture in json.loads((DATA / "index.json").read_text()):
        bodies = [file for file in capture["files"] if file["signal"] == "traces"]
        if len(bodies) >= BODIES_MIN:
            by_framework.setdefault(capture["id"].split("__")[0], []).append((len(bodies), capture["id"], bodies))
    fewest = sorted(min(found) for found in by_framework.values())
    assert len(fewest) >= CAPTURES_MAX
    return [pytest.param(bodies, id=name) for _, name, bodies in fewest[:CAPTURES_MAX]]


def send(gateway, file):
    body = (DATA / file["file"]).read_bytes()
    content_type = "application/json" if file["file"].endswith(".json") else "application/x-protobuf"
    status, _, answer = gateway.request("POST", "/v1/traces", raw=body, headers={"Content-Type": content_type})
    assert status == 200, answer


def told(gateway):
    """All that is told of the agents but times: when something arrived differs."""
    def facts(row):
        run, error = row["last_run"], row["last_error"]
        return row["totals"], run and (run["outcome"], run["error_type"]), error and error["message"]
    return {name: facts(row) for name, row in gateway.agents().items()}


@pytest.mark.parametrize("bodies", captures())
def test_a_gateway_that_dies_after_every_body_counts_the_same(gateway_factory, bodies):
    calm = gateway_factory()
    for file in bodies:
        send(calm, file)
    expected = told(calm)
    assert expected
    calm.stop()

    dying = gateway_factory()
    for file in bodies:
        send(dying, file)
        dying.kill()
        dying.start()
        # The answer may have been lost with the gateway: the exporter sends the same again.
        send(dying, file)
    assert told(dying) == expected
