//! The files in `config/` are true: the reference file is the defaults, the examples load, the schema is current.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::config::{Method, ProbeEndpoint, Protocol, Signal, Storage, cli, schema};
use crate::model::PolicyPatch;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect(name)
}

/// Every key of the schema with the way to it; `*` stands for a project's name, `[]` for an element.
fn keys_of(schema: &Value) -> BTreeSet<String> {
    fn walk(root: &Value, node: &Value, path: &str, keys: &mut BTreeSet<String>) {
        let target = node["$ref"].as_str().and_then(|r| root.pointer(r.trim_start_matches('#')));
        let branches = node["anyOf"].as_array().into_iter().flatten();
        target.into_iter().chain(branches).for_each(|next| walk(root, next, path, keys));
        for (key, next) in node["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            keys.insert(path.clone());
            walk(root, next, &path, keys);
        }
        if node["additionalProperties"].is_object() {
            walk(root, &node["additionalProperties"], &format!("{path}.*"), keys);
        }
        if node["items"].is_object() {
            walk(root, &node["items"], &format!("{path}[]"), keys);
        }
    }
    let mut keys = BTreeSet::new();
    walk(schema, schema, "", &mut keys);
    keys
}

/// Every key of a YAML text, in the same form.
fn keys_in(yaml: &str) -> BTreeSet<String> {
    fn walk(value: &Value, path: &str, keys: &mut BTreeSet<String>) {
        for (key, next) in value.as_object().into_iter().flatten() {
            let named = [
                ".projects",
                ".exporters.forward",
                ".exporters.forward.*.headers",
                ".receivers.probes",
                ".receivers.probes.*.headers",
            ]
            .contains(&path);
            let path = if named { format!("{path}.*") } else { format!("{path}.{key}") };
            keys.insert(path.clone());
            walk(next, &path, keys);
        }
        value.as_array().into_iter().flatten().for_each(|item| walk(item, &format!("{path}[]"), keys));
    }
    let mut keys = BTreeSet::new();
    walk(&serde_saphyr::from_str(yaml).unwrap(), "", &mut keys);
    keys.retain(|key| !key.ends_with(".*"));
    keys
}

#[test]
fn the_reference_file_is_the_defaults() {
    let mut reference = load(&text("pulsegate.yaml")).unwrap();
    // The file writes out what is built in; what holds is the same.
    reference.written_health = PolicyPatch::default();
    let defaults = Config::load(None, &Environment::of(&[])).unwrap();
    assert_eq!(reference.show(), defaults.show());
    assert_eq!(format!("{reference:?}"), format!("{defaults:?}"));
}

#[test]
fn the_reference_file_has_every_key() {
    // What has no default is there as a comment.
    let reference = text("pulsegate.yaml");
    let mut whole = reference;
    for section in ["  probes", "  forward"] {
        let (head, rest) = whole.split_once(&format!("{section}: {{}}\n")).unwrap();
        let lines = rest.lines().take_while(|line| line.starts_with("  #")).count();
        let example: String = rest.lines().take(lines).map(|line| line.replacen("  #", "  ", 1) + "\n").collect();
        let tail: String = rest.lines().skip(lines).map(|line| line.to_owned() + "\n").collect();
        whole = format!("{head}{section}:\n{example}{tail}");
    }
    load(&whole).unwrap();
    let written = keys_in(&whole);
    // A project's and a pattern's `health` has the keys of the gateway's, which are written out once.
    let repeated = |key: &str| {
        key.starts_with(".projects.*.health.")
            || key.starts_with(".projects.*.agents[].")
            || key.contains(".tls.client_certificates[].")
            || key.starts_with(".receivers.otlp.identity.")
    };
    let known = keys_of(&schema());
    let missing: Vec<_> = known.iter().filter(|key| !repeated(key) && !written.contains(*key)).collect();
    assert!(missing.is_empty(), "not in config/pulsegate.yaml: {missing:?}");
    assert!(written.is_subset(&known), "not in the schema: {:?}", written.difference(&known));
    assert!(text("pulsegate.yaml").contains("#  - match: \"research-*\""));
    assert!(text("pulsegate.yaml").contains("#  - {attributes: [service.namespace, service.name], regex: "));
    assert!(text("pulsegate.yaml").contains("#  - {from: default, attributes: [deployment.environment.name], regex: "));
    assert!(
        text("pulsegate.yaml").contains("#  - {name: runner-1.example, project: default, scopes: [ingest, runner]}")
    );
    assert_eq!(known.iter().filter(|key| key.starts_with(".health.")).count(), 19 + 2 + 3 + 6 + 6);
}

#[test]
fn what_is_shown_has_every_key_and_can_be_loaded_again() {
    let yaml = "projects:\n  'odd: name':\n    agents: [{match: '*', health: {interval: 1h 1m 1s, budget: {request_usd: 2}}}]\n\
                health: {stalled_after: 26h 3m 500ms, progress: never}\nmetrics: {require_key: true}\n\
                store: {sqlite: {path: 'null'}}\ningest: {queue_bytes_max: 1048577}\n\
                receivers: {http: &tls {tls: {cert_file: c, key_file: k, client_ca_file: a, client_certificates: [{name: n, scopes: [read]}]}},\
                otlp: {http: *tls, grpc: *tls, identity: {agent: [{attributes: [a], replacement: 'x$${1}y'}], project: [{attributes: [b]}]}}}\nserver: {body_timeout: 1m}\n\
                exporters: {forward: {up: {endpoint: 'https://up.example/base', headers: {api-key: k}, projects: [a]}}}\n";
    let probe = "probes: {llm: {endpoint: 'https://llm.example/x', headers: {a: b}, expect: {json: [{path: $.a, equals: [1, x]}]}}, ";
    let yaml = &yaml.replace(
        "receivers: {http:",
        &format!("receivers: {{{probe}db: {{endpoint: 'tcp://db:1'}}, g: {{endpoint: 'grpcs://g:1'}}}}, http:"),
    );
    let config = load(yaml).unwrap();
    let again = load(&config.show()).unwrap();
    assert_eq!(again.show(), config.show());
    assert_eq!(again.health, config.health);
    assert_eq!(again.store, config.store);
    assert_eq!(again.server, config.server);
    assert!(again.receivers.http_tls.is_some() && again.receivers.http_tls == config.receivers.http_tls);
    assert_eq!(
        again.policy_for("odd: name", "x", &PolicyPatch::default()),
        config.policy_for("odd: name", "x", &PolicyPatch::default())
    );
    assert_eq!(again.receivers.otlp_identity.agent()[0].replacement(), "x${1}y");
    let shown = keys_in(&config.show());
    let repeated = |key: &str| key.starts_with(".projects.*.health.") || key.starts_with(".projects.*.agents[].health");
    // No daily budget is the default, and a setting that is not there is not shown.
    let unset =
        |key: &str| [".health.budget.daily_usd", ".health.loops.message_gap", ".health.schedule.cron"].contains(&key);
    let missing: Vec<_> =
        keys_of(&schema()).into_iter().filter(|k| !repeated(k) && !unset(k) && !shown.contains(k)).collect();
    assert!(missing.is_empty(), "not shown: {missing:?}");
}

/// With UPDATE_SCHEMA=1 the file is written instead of compared.
#[test]
fn the_schema_file_is_current() {
    let file = folder().join("pulsegate.schema.json");
    if std::env::var_os("UPDATE_SCHEMA").is_some_and(|v| v == "1") {
        std::fs::write(&file, cli::schema()).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == cli::schema(), "config/pulsegate.schema.json is out of date; run the tests with UPDATE_SCHEMA=1");
}

#[test]
fn every_example_loads_and_does_what_it_says() {
    let env = || {
        let variables = [
            ("LANGFUSE_SIGNING_SECRET", "lf-whsec_new"),
            ("LANGFUSE_SIGNING_SECRET_OLD", "lf-whsec_old"),
            ("LANGFUSE_PUBLIC_KEY", "pk-lf-1"),
            ("LANGFUSE_SECRET_KEY", "sk-lf-1"),
            ("VENDOR_API_KEY", "secret"),
            ("LLM_API_KEY", "sk-llm"),
        ];
        Environment::of(&variables).with_file("/run/secrets/langfuse_signing_secret", "lf-whsec_mounted\n")
    };
    let mut seen = 0;
    for entry in std::fs::read_dir(folder().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let env = env().with_file(&path, std::fs::read_to_string(&path).unwrap());
        let config = Config::load(Some(&path), &env).unwrap_or_else(|e| panic!("{e}"));
        let policy = |agent| config.policy_for("default", agent, &PolicyPatch::default());
        match path.file_name().unwrap().to_str().unwrap() {
            "containers.yaml" => {
                assert!(config.receivers.http.ip().is_unspecified());
                assert!(config.metrics.needs_key(config.receivers.http.ip()));
                assert_eq!(config.receivers.langfuse.signing_secrets.len(), 1);
                assert_eq!(config.store.sqlite_path.as_deref(), Some(Path::new("/var/lib/pulsegate/pulsegate.db")));
            }
            "strict-agents.yaml" => {
                assert!(policy("trading-eu").auto_restart && !policy("trading-nightly").auto_restart);
                assert_eq!(policy("report-nightly").interval.as_secs(), 6 * 3600);
                assert_eq!(policy("other").interval.as_secs(), 60);
            }
            "dependencies.yaml" => {
                let probes = &config.receivers.probes;
                assert!(probes["llm"].completion && probes["llm"].method == Method::Post);
                assert_eq!(probes["tools"].endpoint, ProbeEndpoint::Grpc("http://tools.internal:50051".into()));
                assert_eq!(probes["postgres"].endpoint, ProbeEndpoint::Tcp("db.internal:5432".into()));
                assert!(probes["vector-db"].agents.iter().any(|p| p.matches("research-1")));
                assert!(!config.show().contains("sk-llm"));
            }
            "pass-through.yaml" => {
                let forward = &config.exporters.forward;
                assert_eq!(forward["langfuse"].queue.storage, Storage::Disk);
                assert_eq!(forward["langfuse"].signals, [Signal::Traces, Signal::Langfuse]);
                assert_eq!(forward["vendor"].protocol, Protocol::Grpc);
                let shown = config.show();
                assert!(!shown.contains("sk-lf-1") && !shown.contains("secret\n"), "{shown}");
            }
            "langfuse-rotation.yaml" => assert_eq!(config.receivers.langfuse.signing_secrets.len(), 2),
            other => panic!("{other}: say here what it should do"),
        }
        seen += 1;
    }
    assert_eq!(seen, 5);
}

#[test]
fn the_subcommands_print_what_they_promise() {
    let env = Environment::of(&[("PULSEGATE_HEALTH__FAILURES", "8")]).with_file(FILE, "health: {interval: 5s}");
    let file = Some(Path::new(FILE));
    assert_eq!(cli::check(file, &env).unwrap(), "conf/pulsegate.yaml: the configuration is valid\n");
    assert_eq!(cli::check(None, &env).unwrap(), "the built-in configuration and the environment are valid\n");
    let shown = cli::show(file, &env).unwrap();
    assert!(shown.contains("interval: 5s") && shown.contains("failures: 8"), "{shown}");
    assert!(cli::check(file, &env.clone().with_file(FILE, "nope: 1")).is_err());
    assert!(cli::schema().contains("\"additionalProperties\": false"));
}
