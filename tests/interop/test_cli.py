"""The command line as a person or a script meets it: exit codes, what is printed, and what files are left."""

import json
import os
import re
import shlex
import signal
import socket
import sqlite3
import stat
import subprocess
import time

from conftest import BINARY, KEY, ROOT, wait_for

# A running gateway looks for changed keys twice a second.
KEYS_KNOWN_WITHIN_SECONDS = 1.0
# How late a process may be scheduled on a busy machine.
SLACK_SECONDS = 0.5


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def opens(gateway, key):
    return gateway.request("GET", "/api/v1/status", key=key)[0] == 200


def test_the_first_start_prints_a_key_once_and_a_line_that_works(gateway_factory):
    gateway = gateway_factory(env={"PULSEGATE_API_KEY": ""})
    printed = gateway.log_text
    keys = set(re.findall(r"cv_[0-9a-f]{8}_\w{32,}", printed))
    assert len(keys) == 1, printed
    key = keys.pop()
    assert (gateway.data / "api-key").read_text() == key + "\n"
    assert mode(gateway.data / "api-key") == 0o600 and mode(gateway.data) == 0o700

    # The line is pasted as it is; a shell's words are curl's arguments.
    line = re.search(r"curl -X POST .*?}'", printed, re.DOTALL).group().replace("\\\n", " ")
    words = shlex.split(line)
    assert words[:3] == ["curl", "-X", "POST"] and words[3] == f"{gateway.url}/api/v1/heartbeat", words
    headers = dict(words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H")
    status, _, answer = gateway.request("POST", "/api/v1/heartbeat", key=None, headers=headers,
                                        raw=words[words.index("-d") + 1].encode())
    assert status == 200 and answer["received"] is True, answer
    assert opens(gateway, key)
    # It may send, read and run commands, but not ask for restarts nor change settings.
    agent = answer["agent_id"]
    assert gateway.request("POST", f"/api/v1/agents/{agent}/restart", key=key)[0] == 403
    assert gateway.request("POST", f"/api/v1/agents/{agent}/pause", key=key)[0] == 403

    gateway.stop()
    gateway.start()
    assert gateway.log_text.count(key) == printed.count(key), "it is shown only once"
    assert opens(gateway, key), "and still good"


def test_a_chosen_first_key_is_used_and_not_printed(gateway_factory):
    gateway = gateway_factory(env={"PULSEGATE_API_KEY": "cv_chosen_by_hand"})
    assert opens(gateway, "cv_chosen_by_hand") and not opens(gateway, KEY)
    assert "cv_chosen_by_hand" not in gateway.log_text and not (gateway.data / "api-key").exists()


def test_keys_change_while_the_gateway_runs(gateway):
    made = gateway.run("keys", "create", "--scopes", "read,ingest", "--label", "for the test", "--project", "second")
    assert made.returncode == 0 and made.stderr == "", made
    key = made.stdout.strip()
    assert re.fullmatch(r"cv_[0-9a-f]{8}_\w{32,}", key), "it prints the key and nothing else, for scripts"
    began = time.monotonic()
    wait_for(lambda: opens(gateway, key), every=0.02, why="the new key is known")
    assert time.monotonic() - began < KEYS_KNOWN_WITHIN_SECONDS + SLACK_SECONDS

    listed = gateway.cli("keys", "list")
    line = next(line for line in listed.splitlines() if "for the test" in line)
    key_id = key.split("_")[1]
    assert line.split()[0] == key_id and "second" in line and "active" in line, line
    assert key not in listed and key.split("_")[2] not in listed, "secrets are never listed"

    assert gateway.cli("keys", "revoke", key_id) == f"revoked {key_id}"
    began = time.monotonic()
    wait_for(lambda: not opens(gateway, key), every=0.02, why="the key no longer opens anything")
    assert time.monotonic() - began < KEYS_KNOWN_WITHIN_SECONDS + SLACK_SECONDS
    assert "revoked" in next(line for line in gateway.cli("keys", "list").splitlines() if key_id in line)
    assert opens(gateway, KEY), "the others stay"

    gateway.stop()
    gateway.start()
    assert not opens(gateway, key) and opens(gateway, KEY)


def test_mistakes_with_keys_are_told(gateway):
    for arguments, word in [(["create", "--scopes", "read,everything"], "everything"), (["revoke", "nope"], "nope")]:
        done = gateway.run("keys", *arguments)
        assert done.returncode == 1 and word in done.stderr, done
    assert "ingest, read, runner, command, approve, admin" in gateway.run("keys", "create", "--scopes", "all").stderr


def test_a_chosen_key_that_was_revoked_stays_revoked(gateway):
    key_id = next(line.split()[0] for line in gateway.cli("keys", "list").splitlines() if "PULSEGATE_API_KEY" in line)
    gateway.cli("keys", "revoke", key_id)
    gateway.stop()
    gateway.start()
    assert not opens(gateway, KEY)
    assert "it stays revoked" in gateway.log_text


MISTAKES = """\
receivers:
  http:
    endpoint: 4319
health:
  intervall: 60s
  down_after: 0
telemetry: {log: {level: loud}}
"""


def test_mistakes_in_a_configuration_are_told_with_file_and_line(gateway_factory):
    gateway = gateway_factory(MISTAKES, start=False)
    del gateway.env["PULSEGATE_RECEIVERS__HTTP__ENDPOINT"]
    for arguments in (["config", "check"], ["config", "show"], ["serve"], ["keys", "list"]):
        done = gateway.run(*arguments)
        assert done.returncode == 3, (arguments, done)
        for line, word in [(3, "endpoint"), (5, "did you mean `interval`"), (6, "down_after"), (7, "`loud`")]:
            told = [text for text in done.stderr.splitlines() if f"{gateway.config}:{line}:" in text]
            assert len(told) == 1 and word in told[0], (arguments, line, done.stderr)
    assert not (gateway.data / "pulsegate.db").exists(), "nothing was started"


def test_a_configuration_that_is_missing_is_a_mistake(gateway_factory):
    gateway = gateway_factory(start=False)
    gateway.config.unlink()
    done = gateway.run("config", "check")
    assert done.returncode == 3 and str(gateway.config) in done.stderr, done


def test_the_environment_wins_over_the_file(gateway_factory):
    config = "health: {interval: 30s, failures: 5}\n"
    gateway = gateway_factory(config, env={"PULSEGATE_HEALTH__INTERVAL": "7s", "PULSEGATE_PROJECTS__DEFAULT__MAX_AGENTS": "1"})
    shown = gateway.cli("config", "show")
    assert "interval: 7s" in shown and "failures: 5" in shown, shown
    assert gateway.cli("config", "check").endswith("the configuration is valid")
    gateway.beat("one")
    assert gateway.agent("one")["interval_seconds"] == 7
    status, _, body = gateway.request("POST", "/api/v1/heartbeat", {"agent": "two"})
    assert status == 402 and "detail" in body, body
    done = gateway.run("config", "check", env={**gateway.env, "PULSEGATE_HEALTH__INTERVALL": "7s"})
    assert done.returncode == 3 and "PULSEGATE_HEALTH__INTERVALL" in done.stderr, done


def test_what_config_show_prints_can_be_loaded_once_the_secrets_are_put_in(gateway_factory):
    secret = "lf-whsec_do_not_show"
    config = "receivers: {langfuse: {signing_secrets: ['${env:SECRET}']}}\nhealth: {interval: 45s}\n"
    gateway = gateway_factory(config, env={"SECRET": secret}, start=False)
    shown = gateway.cli("config", "show")
    assert secret not in shown and "***" in shown
    as_it_is = gateway_factory(shown, start=False).run("config", "check")
    assert as_it_is.returncode == 3 and "not a signing secret" in as_it_is.stderr, "hidden is not forgotten"
    again = gateway_factory(shown.replace("***", secret), start=False)
    assert again.cli("config", "show") == shown


def test_the_schema_is_the_one_in_the_repository(gateway_factory):
    printed = json.loads(gateway_factory(start=False).cli("config", "schema"))
    assert printed == json.loads((ROOT / "config" / "pulsegate.schema.json").read_text())
    assert printed["additionalProperties"] is False


def test_usage(gateway_factory):
    gateway = gateway_factory(start=False)
    version = subprocess.run([BINARY, "--version"], capture_output=True, text=True, timeout=20)
    assert version.returncode == 0 and re.fullmatch(r"pulsegate \d+\.\d+\.\d+\n", version.stdout), version
    usage = subprocess.run([BINARY, "--help"], capture_output=True, text=True, timeout=20)
    assert usage.returncode == 0 and "Exit codes: 0 success" in usage.stdout, usage
    for arguments in (["sevre"], ["--confg", "x"], ["keys"], ["keys", "revoke"], ["config", "lint"]):
        done = gateway.run(*arguments)
        assert done.returncode == 2 and "Usage" in done.stderr, (arguments, done)


def test_an_address_in_use_is_told_with_its_key(gateway_factory):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for variable, key in [("HTTP__ENDPOINT", "receivers.http.endpoint"),
                              ("OTLP__GRPC__ENDPOINT", "receivers.otlp.grpc.endpoint"),
                              ("OTLP__HTTP__ENDPOINT", "receivers.otlp.http.endpoint")]:
            gateway = gateway_factory(env={f"PULSEGATE_RECEIVERS__{variable}": f"127.0.0.1:{port}"}, start=False)
            done = gateway.run("serve")
            assert done.returncode == 5 and f"127.0.0.1:{port} ({key})" in done.stderr, done
            assert not (gateway.data / "listeners.json").exists()


def test_a_data_directory_that_cannot_be_used_is_told(gateway_factory, tmp_path):
    file = tmp_path / "a file"
    file.write_text("")
    gateway = gateway_factory(start=False)
    done = subprocess.run([BINARY, "serve", "--data-dir", file / "data"], env=gateway.env, capture_output=True, text=True, timeout=20)
    assert done.returncode == 4 and str(file) in done.stderr, done


def test_listeners_json_tells_where_everything_listens(gateway):
    assert sorted(gateway.at) == ["http", "otlp_grpc", "otlp_http"]
    for name, address in gateway.at.items():
        host, port = address.rsplit(":", 1)
        assert host == "127.0.0.1" and int(port) > 0, (name, address)
        socket.create_connection((host, int(port)), timeout=5).close()
    assert len(set(gateway.at.values())) == 3


def test_logs_for_machines_are_json(gateway_factory):
    gateway = gateway_factory("telemetry: {log: {format: json}}\n")
    gateway.stop()
    lines = [json.loads(line) for line in gateway.log_text.splitlines()]
    assert any("listening" in json.dumps(line) for line in lines) and any("stopped" in json.dumps(line) for line in lines)


def test_an_interrupt_ends_it_like_sigterm(gateway_factory):
    gateway = gateway_factory()
    gateway.beat("a")
    gateway.process.send_signal(2)
    assert gateway.process.wait(timeout=12) == 0
    gateway.start()
    assert gateway.agent("a")["totals"]["heartbeats"] == 1


class Running:
    """A subcommand that runs until it is interrupted; what it prints goes to files, line by line."""

    def __init__(self, gateway, name, *args, **env):
        self.files = [gateway.directory / f"{name}.{which}" for which in ("out", "err")]
        with open(self.files[0], "wb") as out, open(self.files[1], "wb") as err:
            command = [BINARY, *args, "--config", gateway.config, "--data-dir", gateway.data]
            self.process = subprocess.Popen(command, env={**gateway.env, **env}, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(timeout=10) == -signal.SIGINT, self.said()

    @property
    def out(self):
        return self.files[0].read_text()

    def said(self):
        return f"{self.out}\n{self.files[1].read_text()}"

    def wait(self, test, why):
        wait_for(lambda: test(self.out) or self.process.poll() is not None, why=lambda: f"{why}: {self.said()}")
        assert test(self.out), self.said()


def restarted(gateway, meanwhile=lambda: None):
    """Ends the gateway, and starts it where it was."""
    address = gateway.at["http"]
    gateway.stop()
    meanwhile()
    gateway.env["PULSEGATE_RECEIVERS__HTTP__ENDPOINT"] = address
    gateway.start()
    assert gateway.at["http"] == address


def test_events_are_followed_across_a_restart_and_none_is_missed_or_told_twice(gateway):
    gateway.beat("before")
    with Running(gateway, "text", "events", "--follow", "-n", "5") as text, \
            Running(gateway, "json", "events", "--follow", "-n", "0", "-o", "json") as lines:
        text.wait(lambda out: "before" in out, "the past comes first")
        gateway.beat("while it looks")
        text.wait(lambda out: "while it looks" in out, "it is told as it happens")
        lines.wait(lambda out: "while it looks" in out, "as JSON too")
        restarted(gateway)
        gateway.beat("after")
        for which in (text, lines):
            which.wait(lambda out: "after" in out, "it comes back by itself")
        # Three failures in a row are an error.
        for _ in range(3):
            gateway.beat("after", status="error", message="boom")
        text.wait(lambda out: "erroring" in out, "a change of status")
        wait_for(lambda: gateway.agent("after")["state"] == "erroring")
        newest = gateway.events()[0]["id"]
        lines.wait(lambda out: f'"id":{newest},' in out, "the newest event")
        told = [json.loads(line) for line in lines.out.splitlines()]
        ids = [event["id"] for event in told]
        every = [event["id"] for event in reversed(gateway.events())]
        assert ids == every[every.index(ids[0]):], "each once, in order"
        assert [told[0]["agent"], told[-1]["agent"]] == ["while it looks", "after"]
    assert "the gateway is stopping; opening it again" in text.said(), text.said()
    shown = text.out.splitlines()
    assert len(shown) == len(gateway.events()), shown
    assert "boom" in shown[-1] and "\x1b" not in text.out, "no colours into a file"


def test_only_one_agents_events_are_followed_and_a_wrong_key_ends_it(gateway):
    gateway.beat("mine")
    with Running(gateway, "mine", "events", "mine", "--follow") as mine:
        mine.wait(lambda out: "mine" in out, "the past")
        gateway.beat("other")
        for _ in range(3):
            gateway.beat("mine", status="error", message="boom")
        mine.wait(lambda out: "erroring" in out, "what happens to it")
    assert "other" not in mine.out
    done = gateway.run("events", "--follow", "--api-key", "cv_wrong")
    assert done.returncode == 1 and "401" in done.stderr and "--api-key" in done.stderr, done
    done = gateway.run("events", "mien", "--follow")
    assert done.returncode == 1 and 'did you mean "mine"' in done.stderr, done


def test_status_is_watched_while_agents_change_and_the_gateway_goes_and_comes(gateway):
    gateway.beat("bot", tokens_used=1500, cost_usd=0.045)
    gateway.beat("bot")
    with Running(gateway, "watch", "status", "--watch", "--interval", "1") as watch:
        watch.wait(lambda out: out.count("1 agent: 1 healthy") >= 2, "it looks again and again")
        table = watch.out.splitlines()
        assert table[0].split() == ["AGENT", "STATE", "SINCE", "LAST", "SEEN", "TOKENS", "COST", "$", "REASON"], table
        assert "bot" in table[1] and "0.0450" in table[1], table
        for _ in range(3):
            gateway.beat("bot", status="error", message="boom")
        watch.wait(lambda out: "1 agent: 1 erroring" in out and "boom" in out, "the change")
        restarted(gateway, lambda: watch.wait(lambda out: "cannot be reached" in out, "that it is away"))
        told = len(watch.out)
        watch.wait(lambda out: "1 agent: 1 erroring" in out[told:], "that it is back")
    assert "\x1b" not in watch.out, "no colours and no clearing in a file"
    with Running(gateway, "json", "status", "bo", "--watch", "--interval", "1", "-o", "json") as watch:
        watch.wait(lambda out: out.count('"total": 1') >= 2, "for programs too")
    assert json.JSONDecoder().raw_decode(watch.out)[0]["agents"][0]["agent"] == "bot"


def test_keys_expire_reach_all_projects_and_say_when_they_were_used(gateway):
    made = gateway.cli("keys", "create", "--scopes", "read", "--expires-in", "2s", "--label", "short")
    wait_for(lambda: opens(gateway, made), every=0.02, why="the new key is known")
    wait_for(lambda: not opens(gateway, made), every=0.05, why="it expires by itself")
    line = next(line for line in gateway.cli("keys", "list").splitlines() if "short" in line)
    assert "expired" in line, line
    ours = gateway.cli("keys", "create", "--scopes", "admin", "--project", "ours")
    everywhere = gateway.cli("keys", "create", "--scopes", "admin", "--global")
    wait_for(lambda: gateway.request("GET", "/api/v1/projects", key=everywhere)[0] == 200, every=0.02, why="known")
    listed = [gateway.request("GET", "/api/v1/projects", key=key)[2]["projects"] for key in (ours, everywhere)]
    assert [len(projects) for projects in listed] == [1, 2], listed
    assert "all projects" in gateway.cli("keys", "list")
    refused = gateway.run("keys", "create", "--scopes", "read", "--global")
    assert refused.returncode == 1 and "admin" in refused.stderr, refused
    gateway.beat("bot")
    gateway.stop()
    line = next(line for line in gateway.cli("keys", "list").splitlines() if "PULSEGATE_API_KEY" in line)
    assert "never" not in line, "the key of the fixture was used: " + line


def test_projects_are_made_once(gateway):
    assert "made project shop" in gateway.cli("projects", "create", "shop")
    again = gateway.run("projects", "create", "shop")
    assert again.returncode == 1 and "already" in again.stderr, again
    assert gateway.run("projects", "create", " ").returncode == 1
    assert "shop" in gateway.cli("projects", "list")


def test_the_audit_chain_is_verified_and_tampering_is_named(gateway):
    assert "it is empty" in gateway.cli("audit", "verify")
    admin = gateway.cli("keys", "create", "--scopes", "admin,read", "--label", "boss")
    wait_for(lambda: opens(gateway, admin), every=0.02, why="the new key is known")
    agent = gateway.request("POST", "/api/v1/heartbeat", {"agent": "bot", "status": "ok"})[2]["agent_id"]
    for path in ("pause", "resume"):
        assert gateway.request("POST", f"/api/v1/agents/{agent}/{path}", key=admin)[0] == 200
    gateway.cli("keys", "revoke", admin.split("_")[1])
    rows, anchor = gateway.cli("audit", "verify").splitlines()
    assert rows == "the audit chain is whole: 4 rows" and anchor.startswith("4:"), (rows, anchor)
    listed = gateway.cli("audit", "list").splitlines()[1:]
    told = [(("key create" if "key.create" in line else line.split()[4]), "command line" in line) for line in listed]
    assert len(listed) == 4 and "agent.pause" in listed[1] and "agent.resume" in listed[2] and "key.revoke" in listed[3], told
    assert admin.split("_")[2] not in "\n".join(listed), "no secret"
    gateway.cli("audit", "verify", "--anchor", anchor)

    gateway.stop()
    with sqlite3.connect(gateway.data / "pulsegate.db") as database:
        database.execute("UPDATE audit SET body = replace(body, 'agent.pause', 'agent.shine') WHERE seq = 2")
    broken = gateway.run("audit", "verify")
    assert broken.returncode == 1 and "row 2" in broken.stderr and "changed" in broken.stderr, broken
    with sqlite3.connect(gateway.data / "pulsegate.db") as database:
        database.execute("UPDATE audit SET body = replace(body, 'agent.shine', 'agent.pause') WHERE seq = 2")
        database.execute("DELETE FROM audit WHERE seq = 4")
    assert gateway.run("audit", "verify").returncode == 0, "a chain without its end is whole"
    cut = gateway.run("audit", "verify", "--anchor", anchor)
    assert cut.returncode == 1 and "row 4" in cut.stderr and "cut off" in cut.stderr, cut


def test_names_wait_for_approval(gateway_factory):
    gateway = gateway_factory("projects: {default: {registration: approve}}")
    admin = gateway.cli("keys", "create", "--scopes", "admin,read")
    wait_for(lambda: opens(gateway, admin), every=0.02, why="the new key is known")

    def beat():
        return gateway.request("POST", "/api/v1/heartbeat", {"agent": "new bot", "status": "ok"})

    def registrations(*arguments):
        return gateway.cli("registrations", "--endpoint", gateway.url, "--api-key", admin, *arguments)

    assert beat()[0] == 403
    assert 'pending' in registrations("list") and '"new bot"' in registrations("list")
    assert '"new bot"' in registrations("approve", "new bot")
    assert beat()[0] == 200
