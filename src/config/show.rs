//! The effective configuration, written out so that it can be read and loaded again.

use std::time::Duration;

use super::tree::{Entry, Node, Origin, Value};
use super::values::Bytes;
use super::{Config, ProjectSettings, yaml};
use crate::model::{PolicyPatch, exact};

/// What stands for a secret.
const HIDDEN: &str = "***";

impl Config {
    /// The effective configuration as YAML: every key with its value, secrets as `***`.
    pub fn show(&self) -> String {
        // Writing a tree of plain values to a string cannot fail; if it did, the reason is the most useful text.
        yaml::write(&self.tree()).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }

    fn tree(&self) -> Node {
        let langfuse = &self.receivers.langfuse;
        let endpoint = |address: std::net::SocketAddr| map([("endpoint", text(address))]);
        map([
            (
                "receivers",
                map([
                    ("http", endpoint(self.receivers.http)),
                    (
                        "otlp",
                        map([
                            ("grpc", endpoint(self.receivers.otlp_grpc)),
                            ("http", endpoint(self.receivers.otlp_http)),
                        ]),
                    ),
                    (
                        "langfuse",
                        map([
                            ("signing_secrets", list(langfuse.signing_secrets.iter().map(|_| text(HIDDEN)))),
                            ("signature_tolerance", span(langfuse.signature_tolerance)),
                        ]),
                    ),
                ]),
            ),
            ("health", patch(&PolicyPatch::of(&self.health))),
            ("projects", map(self.projects.iter().map(|(name, p)| (name.as_str(), project(p))))),
            (
                "control",
                map([
                    ("start_grace", span(self.control.start_grace)),
                    ("command_ttl", span(self.control.command_ttl)),
                    ("lease", span(self.control.lease)),
                ]),
            ),
            (
                "ingest",
                map([
                    ("queue_requests_max", number(self.ingest.queue_requests_max)),
                    ("queue_bytes_max", text(Bytes(self.ingest.queue_bytes_max as u64))),
                    ("batch_requests_max", number(self.ingest.batch_requests_max)),
                ]),
            ),
            (
                "store",
                map([(
                    "sqlite",
                    map([("path", self.store.sqlite_path.as_ref().map_or_else(null, |p| text(p.display())))]),
                )]),
            ),
            ("metrics", map([("require_key", self.metrics.require_key.map_or_else(null, bool))])),
            (
                "telemetry",
                map([(
                    "log",
                    map([
                        ("level", text(self.telemetry.log_level.word())),
                        ("format", text(self.telemetry.log_format.word())),
                    ]),
                )]),
            ),
        ])
    }
}

fn project(project: &ProjectSettings) -> Node {
    let rule = |rule: &super::AgentRule| map([("match", text(&rule.pattern)), ("health", patch(&rule.health))]);
    map([
        ("max_agents", number(project.max_agents as usize)),
        ("retention_days", number(project.retention_days as usize)),
        ("timezone", text(project.policy.timezone.iana_name().unwrap_or("UTC"))),
        ("health", patch(&project.health)),
        ("agents", list(project.agents.iter().map(rule))),
    ])
}

/// Only what the patch says.
fn patch(patch: &PolicyPatch) -> Node {
    // As JSON it has every setting that was given, under its name.
    serde_json::to_value(patch).map_or_else(|_| null(), of_json)
}

fn of_json(value: serde_json::Value) -> Node {
    Node::of(match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(bool) => Value::Bool(bool),
        serde_json::Value::Number(number) => Value::Number(number),
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Array(items) => Value::List(items.into_iter().map(of_json).collect()),
        serde_json::Value::Object(fields) => {
            return map(fields.into_iter().map(|(key, value)| (key, of_json(value))));
        }
    })
}

fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Node)>) -> Node {
    let entry = |(key, node): (K, Node)| Entry { key: key.into(), key_origin: Origin::Default, node };
    Node::of(Value::Map(entries.into_iter().map(entry).collect()))
}

fn list(items: impl Iterator<Item = Node>) -> Node {
    Node::of(Value::List(items.collect()))
}

fn text(text: impl ToString) -> Node {
    Node::of(Value::Text(text.to_string()))
}

fn span(span: Duration) -> Node {
    text(exact(span))
}

fn number(number: usize) -> Node {
    Node::of(Value::Number(number.into()))
}

fn bool(bool: bool) -> Node {
    Node::of(Value::Bool(bool))
}

fn null() -> Node {
    Node::of(Value::Null)
}
