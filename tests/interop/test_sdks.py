"""Unmodified SDKs that only got another address: Langfuse's (each with its own way of sending), OpenInference and
OpenLLMetry with a model whose answers are a script."""

import decimal
import os
import pathlib
import subprocess
import sys

import pytest

from conftest import KEY, ROOT, program

HERE = pathlib.Path(__file__).parent
SDKS = pathlib.Path(os.environ.get("PULSEGATE_SDKS", ROOT / "target" / "interop-sdks"))


def run_sdk(environment, script, *args):
    """Runs a script of sdks/ in its own Python environment; it must end well."""
    python = SDKS / environment / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{environment} is not installed: run tests/run, which installs it")
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"),
           "PYTHONDONTWRITEBYTECODE": "1", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run([python, HERE / "sdks" / script, *args], env=env, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def facts(row):
    totals = row["totals"]
    return {name: totals[name] for name in ("model_calls", "model_calls_failed", "tool_calls", "runs", "tokens_input", "tokens_output")}


@pytest.fixture
def model():
    """A chat completions API on loopback; gives its base URL."""
    server = subprocess.Popen([sys.executable, HERE / "sdks" / "llm.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
    server.stdin.close()
    server.wait(timeout=10)


@pytest.mark.parametrize("split", [False, True], ids=["in-one-batch", "step-by-step"])
def test_langfuse_2_sends_events_that_create_and_update(gateway, split):
    run_sdk("langfuse2", "langfuse2.py", gateway.url, KEY, *(["split"] if split else []))
    row = gateway.wait_for_agent("research-agent", lambda row: row["totals"]["runs"] == 2)
    assert facts(row) == {"model_calls": 5, "model_calls_failed": 1, "tool_calls": 0, "runs": 2,
                          "tokens_input": 300, "tokens_output": 50}
    assert (row["totals"]["results_success"], row["totals"]["results_failure"]) == (1, 1)
    assert row["last_run"]["outcome"] == "failure"
    assert "upstream timed out" in row["last_error"]["message"]
    assert list(gateway.agents()) == ["research-agent"]


@pytest.mark.parametrize("sdk", ["langfuse3", "langfuse5"])
def test_langfuse_3_and_later_send_otlp_under_their_own_path(gateway, sdk):
    run_sdk(sdk, "langfuse3.py", gateway.url, KEY)
    row = gateway.wait_for_agent("research-agent", lambda row: row["totals"]["runs"] == 2)
    assert facts(row) == {"model_calls": 2, "model_calls_failed": 1, "tool_calls": 1, "runs": 2,
                          "tokens_input": 100, "tokens_output": 20}
    assert decimal.Decimal(row["totals"]["cost_usd"]) == decimal.Decimal("0.25")
    assert row["last_run"]["outcome"] == "failure"


def test_langfuse_js_sends_otlp_json_in_chunks(gateway):
    node = program("node")
    directory = HERE / "js"
    assert (directory / "node_modules").exists(), "run tests/run, which installs the packages"
    done = subprocess.run([node, "langfuse.mjs", gateway.url, KEY], cwd=directory, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    row = gateway.wait_for_agent("research-agent", lambda row: row["totals"]["runs"] == 2)
    assert facts(row) == {"model_calls": 2, "model_calls_failed": 1, "tool_calls": 1, "runs": 2,
                          "tokens_input": 100, "tokens_output": 20}
    assert row["last_run"]["outcome"] == "failure"


def test_prompts_and_answers_of_langfuse_are_not_kept(gateway):
    run_sdk("langfuse2", "langfuse2.py", gateway.url, KEY)
    run_sdk("langfuse5", "langfuse3.py", gateway.url, KEY)
    gateway.wait_for_agent("research-agent", lambda row: row["totals"]["runs"] == 4)
    gateway.stop()
    kept = b"".join(path.read_bytes() for path in gateway.directory.rglob("*") if path.is_file())
    assert b"research-agent" in kept
    for secret in [b"secret prompt", b"secret answer", b"Paris"]:
        assert secret not in kept


def test_langfuse_asks_who_it_is(gateway):
    status, _, body = gateway.request("GET", "/api/public/projects")
    assert (status, [p["name"] for p in body["data"]]) == (200, ["default"])
    assert gateway.request("GET", "/api/public/projects", key="cv_wrong")[0] == 401
    assert gateway.request("GET", "/api/public/health", key=None)[2]["status"] == "OK"


def test_langfuse_events_are_answered_one_by_one(gateway):
    good = {"id": "e1", "type": "trace-create", "timestamp": "2026-11-24T00:00:00Z", "body": {"id": "t", "name": "bot"}}
    bad = {"id": "e2", "type": "span-create", "body": {"id": "s"}}
    status, _, body = gateway.request("POST", "/api/public/ingestion", {"batch": [good, bad]})
    assert (status, body["successes"]) == (207, [{"id": "e1", "status": 201}])
    assert [(e["id"], e["status"]) for e in body["errors"]] == [("e2", 400)]
    assert gateway.request("POST", "/api/public/ingestion", {"batch": 1})[0] == 422
    assert gateway.request("POST", "/api/public/ingestion", {"batch": []}, key="cv_wrong")[0] == 401
    status, _, body = gateway.request("POST", "/api/public/scores", [{"name": "q", "value": 1}, {"name": "q"}])
    assert (status, body["accepted"], body["rejected"]) == (207, 1, 1)


@pytest.mark.parametrize("sdk", ["openinference", "openllmetry"])
def test_calls_of_a_scripted_model_are_exact(gateway, model, sdk):
    run_sdk(sdk, f"traced_by_{sdk}.py", f"http://{gateway.at['otlp_http']}", KEY, model)
    row = gateway.wait_for_agent("research-agent", lambda row: row["totals"]["model_calls"] == 3)
    assert facts(row) == {"model_calls": 3, "model_calls_failed": 1, "tool_calls": 0, "runs": 0,
                          "tokens_input": 201, "tokens_output": 21}
