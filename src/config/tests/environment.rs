//! The environment wins over the file; references bring in what must not be in the file.

use secrecy::ExposeSecret;
use std::time::Duration;

use super::*;
use crate::config::{LogFormat, LogLevel};

#[test]
fn a_variable_sets_the_key_it_names() {
    type Seen = fn(&Config) -> String;
    let table: &[(&str, &str, Seen, &str)] = &[
        ("PULSEGATE_RECEIVERS__HTTP__ENDPOINT", "127.0.0.2:4319", |c| c.receivers.http.to_string(), "127.0.0.2:4319"),
        ("PULSEGATE_RECEIVERS__OTLP__GRPC__ENDPOINT", "[::1]:0", |c| c.receivers.otlp_grpc.to_string(), "[::1]:0"),
        ("pulsegate_health__Interval", "30s", |c| format!("{:?}", c.health.interval), "30s"),
        ("PULSEGATE_HEALTH__INTERVAL", "45", |c| format!("{:?}", c.health.interval), "45s"),
        ("PULSEGATE_HEALTH__LATE_AFTER", "2", |c| c.health.late_after.to_string(), "2"),
        ("PULSEGATE_HEALTH__AUTO_RESTART", "true", |c| c.health.auto_restart.to_string(), "true"),
        ("PULSEGATE_HEALTH__RESTART__MAX", "5", |c| c.health.restart_max.to_string(), "5"),
        ("PULSEGATE_HEALTH", "not a key: without two underscores", |c| c.health.failures.to_string(), "4"),
        ("PULSEGATE_HEALTH__FAILURES", "", |c| c.health.failures.to_string(), "3"),
        ("PULSEGATE_PROJECTS__DEFAULT__MAX_AGENTS", "5", |c| c.project("default").max_agents.to_string(), "5"),
        ("PULSEGATE_PROJECTS__WEB__MAX_AGENTS", "5", |c| c.project("Web").max_agents.to_string(), "5"),
        ("PULSEGATE_PROJECTS__NEW__MAX_AGENTS", "5", |c| c.project("new").max_agents.to_string(), "5"),
        ("PULSEGATE_PROJECTS__WEB", "{max_agents: 6}", |c| c.project("Web").max_agents.to_string(), "6"),
        (
            "PULSEGATE_PROJECTS__WEB__AGENTS__0__HEALTH__FAILURES",
            "9",
            |c| c.policy_for("Web", "a1", &Default::default()).failures.to_string(),
            "9",
        ),
        ("PULSEGATE_PROJECTS__WEB__AGENTS__1__MATCH", "b?", |c| c.project("Web").agents[1].pattern.to_string(), "b?"),
        (
            "PULSEGATE_RECEIVERS__LANGFUSE__SIGNING_SECRETS",
            "[lf-whsec_a, 'lf-whsec_b']",
            |c| {
                let secrets = c.receivers.langfuse.signing_secrets.iter();
                secrets.map(|s| s.expose_secret()).collect::<Vec<_>>().join(" ")
            },
            "lf-whsec_a lf-whsec_b",
        ),
        ("PULSEGATE_INGEST__QUEUE_BYTES_MAX", "1048576", |c| c.ingest.queue_bytes_max.to_string(), "1048576"),
        ("PULSEGATE_INGEST__QUEUE_BYTES_MAX", "2MiB", |c| c.ingest.queue_bytes_max.to_string(), "2097152"),
        ("PULSEGATE_STORE__SQLITE__PATH", "123", |c| format!("{:?}", c.store.sqlite_path), "Some(\"123\")"),
        ("PULSEGATE_STORE__SQLITE__PATH", "null", |c| format!("{:?}", c.store.sqlite_path), "None"),
        ("PULSEGATE_SERVER__ALLOW_PLAINTEXT", "true", |c| c.server.allow_plaintext.to_string(), "true"),
        ("PULSEGATE_METRICS__REQUIRE_KEY", "false", |c| format!("{:?}", c.metrics.require_key), "Some(false)"),
        ("PULSEGATE_TELEMETRY__LOG__LEVEL", "debug", |c| format!("{:?}", c.telemetry.log_level), "Debug"),
    ];
    let yaml = "health: {failures: 4}\nstore: {sqlite: {path: x.db}}\n\
                projects: {Web: {agents: [{match: 'a*', health: {failures: 7}}]}}\n";
    for (name, value, seen, expected) in table {
        let config = load_with(yaml, &[(name, value)]).expect(name);
        assert_eq!(seen(&config), *expected, "{name}={value}");
    }
}

#[test]
fn variables_that_are_not_about_a_key_are_left_alone() {
    let others = ["API_KEY", "CONFIG", "DATA_DIR", "LOG", "ENDPOINT", "SERVICE_HOST", "PORT_4319_TCP", "_X"];
    let names: Vec<_> = others.iter().map(|name| format!("PULSEGATE_{name}")).collect();
    let variables: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).chain([("OTHER__KEY", "x")]).collect();
    let config = Config::load(None, &Environment::of(&variables)).unwrap();
    assert_eq!(config.show(), load("").unwrap().show());
}

#[test]
fn a_mistake_in_a_variable_names_the_variable() {
    for (name, value, problem) in [
        ("PULSEGATE_HEALTH__INTERVALL", "5s", "health.intervall: unknown key; did you mean `interval`?"),
        ("PULSEGATE_HELTH__INTERVAL", "5s", "helth: unknown key; did you mean `health`?"),
        ("PULSEGATE_HEALTH__INTERVAL", "0s", "health.interval: 0s is out of range; allowed is 1s to 1d"),
        ("PULSEGATE_HEALTH__INTERVAL__X", "1", "health.interval: this is a value, it has no key `x`"),
        ("PULSEGATE_HEALTH__FAILURES", "few", "health.failures: expected a whole number, 0 or more, found text"),
        (
            "PULSEGATE_RECEIVERS__LANGFUSE__SIGNING_SECRETS",
            "lf-whsec_a",
            "receivers.langfuse.signing_secrets: expected a list, found text; write it as [one, two]",
        ),
        (
            "PULSEGATE_RECEIVERS__LANGFUSE__SIGNING_SECRETS",
            "[sk-lf-1]",
            "receivers.langfuse.signing_secrets[0]: not a signing secret; copy the text that begins with lf-whsec_ from \
             the webhook's page in Langfuse",
        ),
        (
            "PULSEGATE_PROJECTS__DEFAULT__AGENTS__7__MATCH",
            "x",
            "projects.default.agents: `7` is no index of this list; use 0 to 0",
        ),
    ] {
        let said = load_with("health: {interval: 9s}\nprojects: {default: {agents: []}}\n", &[(name, value)]);
        assert_eq!(said.unwrap_err(), format!("environment variable {name}: {problem}"), "{name}={value}");
    }
}

#[test]
fn references_take_the_type_of_their_key() {
    let yaml = "\
receivers:
  http: {endpoint: '${env:HOST:-127.0.0.1}:${env:PORT}'}
  langfuse: {signing_secrets: '${env:SECRETS}', signature_tolerance: '${env:SECONDS}'}
health: {auto_restart: '${env:AUTO}', late_after: '${env:LATE}', failures: '${env:UNSET:-}'}
projects: {default: {max_agents: '${env:AGENTS:-42}'}}
store: {sqlite: {path: '${file:path.txt}'}}
telemetry: {log: {format: '${env:FORMAT}'}}
";
    let variables = [
        ("PORT", "9000"),
        ("SECRETS", "[lf-whsec_a]"),
        ("SECONDS", "30"),
        ("AUTO", "true"),
        ("LATE", "2.5"),
        ("FORMAT", "json"),
    ];
    let env = Environment::of(&variables).with_file(FILE, yaml).with_file("conf/path.txt", "data/x y.db\n");
    let config = Config::load(Some(Path::new(FILE)), &env).unwrap();
    assert_eq!(config.receivers.http.to_string(), "127.0.0.1:9000");
    assert_eq!(config.receivers.langfuse.signing_secrets[0].expose_secret(), "lf-whsec_a");
    assert_eq!(config.receivers.langfuse.signature_tolerance, Duration::from_secs(30));
    assert_eq!((config.health.auto_restart, config.health.late_after, config.health.failures), (true, 2.5, 3));
    assert_eq!(config.project("default").max_agents, 42);
    assert_eq!(config.store.sqlite_path.as_deref(), Some(Path::new("data/x y.db")));
    assert_eq!(config.telemetry.log_format, LogFormat::Json);
    assert_eq!(config.telemetry.log_level, LogLevel::Info);
}

#[test]
fn what_a_variable_sets_is_not_looked_up_in_the_file() {
    let yaml = "receivers: {langfuse: {signing_secrets: ['${file:not-on-this-machine}']}}";
    assert!(load(yaml).unwrap_err().contains("not-on-this-machine"));
    let variables = [("PULSEGATE_RECEIVERS__LANGFUSE__SIGNING_SECRETS", "[lf-whsec_here]")];
    assert_eq!(load_with(yaml, &variables).unwrap().receivers.langfuse.signing_secrets.len(), 1);
}

#[test]
fn a_secret_is_shown_nowhere() {
    let variables = [("SECRET", "lf-whsec_hunter2")];
    let config = load_with("receivers: {langfuse: {signing_secrets: ['${env:SECRET}']}}", &variables).unwrap();
    assert!(config.show().contains("***"));
    assert!(!config.show().contains("hunter2"));
    assert!(!format!("{config:?} {:?}", Environment::of(&variables)).contains("hunter2"));
}

#[cfg(unix)]
#[test]
fn real_files_are_read_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pulsegate.yaml");
    std::fs::write(folder.path().join("db"), "state.db\n").unwrap();
    std::fs::write(&file, "store: {sqlite: {path: '${file:db}'}}").unwrap();
    let load = || Config::load(Some(&file), &Environment::of_process()).map_err(|e| e.to_string());
    assert_eq!(load().unwrap().store.sqlite_path.as_deref(), Some(Path::new("state.db")));
    std::fs::write(&file, "#".repeat(2 << 20)).unwrap();
    assert!(load().unwrap_err().ends_with("the file is larger than 1 MiB"));
    std::fs::write(&file, b"\xff\xfe").unwrap();
    assert!(load().unwrap_err().ends_with("the file is not UTF-8 text"));
}
