//! Every mistake says where it is, what it is, and what to write instead.

use super::*;

/// Loads `yaml` and returns what is said, without the file's name.
fn said(yaml: &str) -> Vec<String> {
    let said = load(yaml).expect_err(yaml);
    said.lines().map(|line| line.strip_prefix("conf/pulsegate.yaml:").unwrap_or(line).into()).collect()
}

#[test]
fn a_mistake_is_named_with_its_line_and_its_remedy() {
    for (yaml, expected) in [
        ("health:\n  intervall: 30s\n", "2:3: health.intervall: unknown key; did you mean `interval`?"),
        ("receiver:\n  http: {}\n", "1:1: receiver: unknown key; did you mean `receivers`?"),
        ("metrics: {password: x}\n", "1:11: metrics.password: unknown key; known here: `require_key`"),
        (
            "projects:\n  default:\n    agents:\n      - match: 'a*'\n        health:\n          restart: {cooldwn: 5s}\n",
            "6:21: projects.default.agents[0].health.restart.cooldwn: unknown key; did you mean `cooldown`?",
        ),
        (
            "health:\n  interval: soon\n",
            "2:13: health.interval: \"soon\" is not a duration; write for example \"60s\", \"5m\" or \"1h 30m\"",
        ),
        ("health:\n  interval: 0s\n", "2:13: health.interval: 0s is out of range; allowed is 1s to 1d"),
        ("health: {restart: {max: 0}}\n", "1:25: health.restart.max: 0 is out of range; allowed is 1 to 100"),
        ("health:\n  failures: -1\n", "2:13: health.failures: -1 is out of range; expected a whole number, 0 or more"),
        (
            "health:\n  failures: 2.5\n",
            "2:13: health.failures: expected a whole number, 0 or more, found a number with a fraction",
        ),
        ("health:\n  auto_restart: yes\n", "2:17: health.auto_restart: expected true or false, found text"),
        (
            "health:\n  progress: allways\n",
            "2:13: health.progress: `allways` is not allowed here; did you mean `always`?",
        ),
        ("health: fast\n", "1:9: health: expected keys with values, found text"),
        ("health: [60s]\n", "1:9: health: expected keys with values, found a list"),
        ("- health\n", "1:1: expected keys with values, found a list"),
        (
            "receivers:\n  http: {endpoint: 4319}\n",
            "2:20: receivers.http.endpoint: expected text, found a number; put it in quotes",
        ),
        (
            "receivers:\n  http:\n    endpoint: :4319\n",
            "3:15: receivers.http.endpoint: `:4319` is not an endpoint; for every address of this machine write 0.0.0.0:4319",
        ),
        (
            "receivers:\n  http:\n    endpoint: 127.0.0.1:4318\n",
            "3:15: receivers.http.endpoint: port 4318 is also that of receivers.otlp.http.endpoint; use another",
        ),
        (
            "receivers:\n  langfuse:\n    signing_secrets: lf-whsec_1\n",
            "3:22: receivers.langfuse.signing_secrets: expected a list, found text; write it as [one, two]",
        ),
        (
            "receivers:\n  langfuse:\n    signing_secrets: [lf-whsec_1, sk-lf-2]\n",
            "3:35: receivers.langfuse.signing_secrets[1]: not a signing secret; copy the text that begins with lf-whsec_ from the webhook's page in Langfuse",
        ),
        (
            "receivers:\n  langfuse: {signing_secrets: [\"${env:SECRET}\"]}\n",
            "2:32: receivers.langfuse.signing_secrets[0]: the environment variable SECRET is not set; set it, or give a default: ${env:SECRET:-default}",
        ),
        (
            "store:\n  sqlite:\n    path: ${file:where}\n",
            "3:11: store.sqlite.path: ${file:where}: there is no such file",
        ),
        (
            "projects:\n  web:\n    retention_days: 0\n",
            "3:21: projects.web.retention_days: 0 is out of range; allowed is 1 to 3650",
        ),
        (
            "projects: {v1.2: {max_agents: 1000001}}\n",
            "1:31: projects.v1.2.max_agents: 1000001 is out of range; allowed is 1 to 1000000",
        ),
        (
            "projects:\n  ' web': {}\n",
            "2:11: projects. web: a project's name has no control characters and no space around it",
        ),
        (
            "projects:\n  default:\n    agents:\n      - health: {}\n",
            "4:9: projects.default.agents[0]: the key `match` is missing; write for example match: \"research-*\"",
        ),
        (
            "projects:\n  default:\n    agents:\n      - match:\n",
            "4:9: projects.default.agents[0]: the key `match` is missing; write for example match: \"research-*\"",
        ),
        (
            "projects:\n  default:\n    agents:\n      - match: ''\n",
            "4:16: projects.default.agents[0].match: the pattern is empty; write `*` for every agent",
        ),
        ("control:\n  lease: 2h\n", "2:10: control.lease: 2h is out of range; allowed is 1s to 1h"),
        ("control:\n  command_ttl: 25h\n", "2:16: control.command_ttl: 25h is out of range; allowed is 1s to 24h"),
        (
            "ingest:\n  queue_bytes_max: 1KiB\n",
            "2:20: ingest.queue_bytes_max: 1KiB is out of range; allowed is 1MiB to 16GiB",
        ),
        (
            "ingest:\n  queue_bytes_max: lots\n",
            "2:20: ingest.queue_bytes_max: `lots` is not an amount of bytes; write for example 67108864 or \"64MiB\"",
        ),
        (
            "ingest:\n  batch_requests_max: 99999999999\n",
            "2:23: ingest.batch_requests_max: 99999999999 is too large; expected a whole number, 0 or more",
        ),
        (
            "receivers:\n  http:\n    endpoint: 0.0.0.0:4319\n",
            "3:15: receivers.http.endpoint: 0.0.0.0:4319 is reachable from other machines, and without TLS everyone on the way can read API keys; set receivers.http.tls (cert_file, key_file), or server.allow_plaintext: true where the network or a proxy protects them",
        ),
        (
            "receivers:\n  otlp: {grpc: {tls: {cert_file: a}}}\n",
            "2:22: receivers.otlp.grpc.tls.key_file: the file is missing; TLS needs cert_file and key_file, both in PEM",
        ),
        (
            "receivers:\n  otlp:\n    identity:\n      agent:\n      - {attributes: [a], regex: \"(.+\"}\n",
            "5:34: receivers.otlp.identity.agent[0].regex: not a regular expression: unclosed group",
        ),
        (
            "receivers:\n  otlp:\n    identity:\n      project:\n      - {regex: a}\n",
            "5:9: receivers.otlp.identity.project[0]: `attributes` is missing or empty; write for example attributes: [service.namespace, service.name]",
        ),
        (
            "receivers:\n  otlp: {identity: {agent: [{attributes: [a], replacement: \"\"}]}}\n",
            "2:60: receivers.otlp.identity.agent[0].replacement: 0 bytes long; allowed is 1 to 500",
        ),
        (
            "projects: {default: {rate_limit_per_minute: 0}}\n",
            "1:45: projects.default.rate_limit_per_minute: 0 is out of range; allowed is 1 to 1000000000",
        ),
        (
            "telemetry: {log: {level: wran}}\n",
            "1:26: telemetry.log.level: `wran` is not allowed here; did you mean `warn`?",
        ),
        ("health:\n  failures: 3\n  failures: 4\n", "3:3: the key `failures` is written twice; keep one of them"),
        ("a: 1\n---\nb: 2\n", "3:1: a second document starts here; remove the `---`"),
        ("health:\n  interval: [1\n", "2:13: this is not YAML: unclosed bracket '['"),
        (
            "receivers:\n  http:\n    endpoint: [::1]:4319\n",
            "3:20: this is not YAML: while parsing a block mapping, did not find expected key",
        ),
    ] {
        assert_eq!(said(yaml), [expected], "{yaml}");
    }
}

#[test]
fn every_mistake_is_told_at_once_in_the_order_of_the_file() {
    let yaml = "\
health:
  interval: 0s
  late_after: 0.5
  down_after: many
  nonsense: 1
  budget: {request_usd: -1}
projects:
  default:
    agents:
      - 5
      - match: 7
      - match: ok
        health: {failures: 0, down_grace: 30h}
control: {lease: 0s}
telemtry: {}
";
    assert_eq!(
        said(yaml),
        [
            "2:13: health.interval: 0s is out of range; allowed is 1s to 1d",
            "3:15: health.late_after: 0.5 is out of range; allowed is 1 to 100",
            "4:15: health.down_after: expected a number, found text",
            "5:3: health.nonsense: unknown key; known here: `interval`, `supervisor_interval`, `late_after`, `down_after`, \
             `down_grace`, `expect_heartbeats`, `expect_running`, `stop_grace`, `stalled_after`, `progress`, `schedule`, \
             `failures`, `error_rate`, `loops`, `start_grace`, `degraded_for`, `auto_restart`, `restart`, `budget`",
            "6:25: health.budget.request_usd: -1 is out of range; allowed is 0 to 1000000",
            "10:9: projects.default.agents[0]: expected keys with values, found a number",
            "11:16: projects.default.agents[1].match: expected text, found a number; put it in quotes",
            "13:28: projects.default.agents[2].health.failures: 0 is out of range; allowed is 1 to 1000",
            "13:43: projects.default.agents[2].health.down_grace: 1d 6h is out of range; allowed is 0s to 1d",
            "14:18: control.lease: 0s is out of range; allowed is 1s to 1h",
            "15:1: telemtry: unknown key; did you mean `telemetry`?",
        ]
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Some(Path::new("nowhere.yaml")), &Environment::of(&[])).unwrap_err();
    assert_eq!(error.to_string(), "nowhere.yaml: there is no such file");
    let error = Config::load(Some(Path::new(env!("CARGO_MANIFEST_DIR"))), &Environment::of_process()).unwrap_err();
    assert_eq!(error.all().len(), 1);
}

#[test]
fn a_mistake_never_repeats_a_secret() {
    for secret in ["hunter2", "{hunter2: 1}", "[[hunter2]]", "12345678", "'hunter2", "[hunter2, &x hunter2, *hunter2]"]
    {
        let yaml = format!("receivers:\n  langfuse:\n    signing_secrets: [{secret}]\n");
        let said = load(&yaml).unwrap_err();
        assert!(!said.contains("hunter2") && !said.contains("12345678"), "{said}");
    }
}

#[test]
fn nothing_that_is_written_makes_loading_panic() {
    for yaml in
        ["", "~", "\u{feff}health: {}", "#", "{}", "health:\nprojects:\nreceivers:\n  otlp:\n", "projects: {x: }"]
    {
        load(yaml).expect(yaml);
    }
    for yaml in [
        "*x",
        "&a [*a]",
        "a: &a [&b {c: *a}]",
        "? {}\n: 1",
        "\0",
        "%YAML 9\n---\n",
        "!!binary x",
        "health: .nan",
        "[[[[",
    ] {
        load(yaml).expect_err(yaml);
    }
}
