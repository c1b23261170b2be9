"""Administration from the command line: agents renamed, merged, deleted; maintenance windows; what is asked before."""

import json
import os
import pty
import subprocess

import pytest

from conftest import BINARY, wait_for


@pytest.fixture
def admin(gateway):
    """A gateway and what runs a subcommand against it with a key that may administer."""
    key = gateway.cli("keys", "create", "--scopes", "admin,read")
    wait_for(lambda: gateway.request("GET", "/api/v1/status", key=key)[0] == 200, every=0.02, why="the key is known")
    gateway.env["PULSEGATE_API_KEY"] = key
    return gateway


def ingest(gateway, agent, **fields):
    """A beat with the key that may send."""
    return gateway.beat(agent, **fields)["agent_id"]


def asked(gateway, answer, *args):
    """Runs a subcommand on a terminal and types `answer`; gives its exit code and everything it wrote."""
    ours, theirs = pty.openpty()
    command = [BINARY, *args, "--config", gateway.config, "--data-dir", gateway.data]
    process = subprocess.Popen(command, env=gateway.env, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    os.write(ours, answer.encode() + b"\n")
    said = b""
    try:
        while chunk := os.read(ours, 4096):
            said += chunk
    except OSError:
        pass  # Linux says EIO when the other side of a terminal is gone.
    os.close(ours)
    return process.wait(timeout=20), said.decode()


def test_a_misspelt_twin_is_merged_and_the_rest_renamed(admin):
    twin, right = ingest(admin, "reserch-agent", cost_usd=0.25), ingest(admin, "research-agent", cost_usd=0.5)
    refused = admin.run("agents", "merge", "reserch-agent", "research-agent")
    assert refused.returncode == 1 and "--yes" in refused.stderr and "reserch-agent" in refused.stderr, refused
    code, said = asked(admin, "n", "agents", "merge", "reserch-agent", "research-agent")
    assert code == 1 and "nothing was changed" in said and f"agent {twin} (reserch-agent)" in said, said
    assert set(admin.agents()) == {"reserch-agent", "research-agent"}

    code, said = asked(admin, "y", "agents", "merge", "reserch-agent", "research-agent")
    assert code == 0 and "cost_usd" in said and "0.750000000" in said, said
    assert set(admin.agents()) == {"research-agent"}

    shown = admin.cli("agents", "rename", str(right), "researcher")
    assert shown.startswith(f"researcher (agent {right}, project default)"), shown
    assert '"reserch-agent"' in shown and '"research-agent"' in shown, "former names are told: " + shown
    for name in ("reserch-agent", "research-agent", "researcher"):
        assert ingest(admin, name) == right
        assert json.loads(admin.cli("agents", "show", name, "-o", "json"))["agent_id"] == right
    taken = ingest(admin, "other")
    done = admin.run("agents", "rename", "other", "research-agent")
    assert done.returncode == 1 and "409" in done.stderr and "researcher" in done.stderr, done
    assert json.loads(admin.cli("agents", "show", "other", "-o", "json"))["agent_id"] == taken
    done = admin.run("agents", "merge", "other", "other", "--yes")
    assert done.returncode == 1 and "(4" in done.stderr, done


def test_an_agent_is_deleted_once_somebody_says_so(admin):
    first = ingest(admin, "bot")
    refused = admin.run("agents", "delete", "bot", stdin=subprocess.DEVNULL)
    assert refused.returncode == 1 and "add --yes" in refused.stderr, refused
    code, said = asked(admin, "", "agents", "delete", "bot")
    assert code == 1 and "nothing was changed" in said and "its events and its history" in said, said
    assert admin.agent("bot")["agent_id"] == first
    assert admin.cli("agents", "delete", "bot", "--yes") == f"deleted agent {first} (bot)"
    assert admin.agent("bot") is None
    gone = admin.run("agents", "delete", "bot", "--yes")
    assert gone.returncode == 1 and 'there is no agent "bot"' in gone.stderr, gone
    assert ingest(admin, "bot") != first, "heard again, it is a new one"


def test_paused_and_resumed(admin):
    ingest(admin, "bot")
    assert "state              paused" in admin.cli("agents", "pause", "bot")
    assert admin.agent("bot")["state"] == "paused"
    admin.cli("agents", "resume", "bot")
    assert admin.agent("bot")["state"] != "paused"


def test_a_maintenance_window_is_made_holds_and_is_deleted(admin):
    agent = ingest(admin, "bot")
    made = admin.cli("maintenance", "add", "--agent", "bot", "--duration", "2h", "--reason", "new rack")
    assert made.startswith(f"window 1: agent {agent}, ") and "until " in made, made
    wait_for(lambda: admin.agent("bot")["state"] == "maintenance", why="the window holds")
    weekly = admin.cli("maintenance", "add", "--pattern", "batch-*", "--cron", "30 2 * * 6", "--duration", "90m",
                       "--timezone", "Europe/Berlin")
    assert weekly.startswith("window 2: batch-*, 30 2 * * 6 (Europe/Berlin) for 1h 30m, next "), weekly
    header, first, second = admin.cli("maintenance", "list").splitlines()
    assert header.split() == ["WINDOW", "COVERS", "WHEN", "STATE", "REASON"]
    assert first.split()[0] == "1" and first.endswith("new rack") and second.split()[0] == "2", (first, second)
    listed = json.loads(admin.cli("maintenance", "list", "-o", "json"))
    assert [w["window_id"] for w in listed["windows"]] == [1, 2]

    assert admin.cli("maintenance", "delete", "1") == "deleted window 1"
    wait_for(lambda: admin.agent("bot")["state"] != "maintenance", why="the window is over")
    gone = admin.run("maintenance", "delete", "1")
    assert gone.returncode == 1 and "404" in gone.stderr, gone
    for arguments, word in [(["--duration", "soon"], "duration"), (["--cron", "61 * * * *", "--duration", "1h"], "cron"),
                            (["--to", "yesterday"], "to"), (["--agent", "bott", "--duration", "1h"], 'did you mean "bot"')]:
        wrong = admin.run("maintenance", "add", *arguments)
        assert wrong.returncode == 1 and word in wrong.stderr and "loc" not in wrong.stderr, wrong
    assert admin.run("maintenance", "add").returncode == 2


def test_a_key_that_may_not_is_told_which_scope_it_lacks(gateway):
    gateway.beat("bot")
    for arguments in (["agents", "rename", "bot", "tob"], ["agents", "delete", "bot", "--yes"], ["maintenance", "list"],
                      ["maintenance", "add", "--duration", "1h"]):
        done = gateway.run(*arguments)
        assert done.returncode == 1 and "403" in done.stderr and "scope" in done.stderr, done
