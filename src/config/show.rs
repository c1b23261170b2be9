//! The effective configuration, written out so that it can be read and loaded again.

use std::time::Duration;

use super::tree::{Entry, Node, Origin, Value};
use super::values::Bytes;
use super::{Config, ProjectSettings, yaml};
use crate::model::{PolicyPatch, ProgressWord, exact};

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
        ("health", patch(&project.health)),
        ("agents", list(project.agents.iter().map(rule))),
    ])
}

/// Only what the patch says.
fn patch(patch: &PolicyPatch) -> Node {
    // Taken apart in full, so that a new setting cannot be forgotten here.
    let PolicyPatch {
        interval,
        supervisor_interval,
        late_after,
        down_after,
        down_grace,
        stalled_after,
        progress,
        failures,
        start_grace,
        degraded_for,
        auto_restart,
        restart,
        budget,
    } = patch;
    let word = |word: ProgressWord| match word {
        ProgressWord::Auto => "auto",
        ProgressWord::Always => "always",
        ProgressWord::Never => "never",
    };
    let restart = restart.as_ref().map(|r| {
        given([
            ("cooldown", r.cooldown.map(|s| span(s.0))),
            ("max", r.max.map(|n| number(n as usize))),
            ("reset", r.reset.map(|s| span(s.0))),
        ])
    });
    given([
        ("interval", interval.map(|s| span(s.0))),
        ("supervisor_interval", supervisor_interval.map(|s| span(s.0))),
        ("late_after", late_after.map(float)),
        ("down_after", down_after.map(float)),
        ("down_grace", down_grace.map(|s| span(s.0))),
        ("stalled_after", stalled_after.map(|s| span(s.0))),
        ("progress", progress.map(|p| text(word(p)))),
        ("failures", failures.map(|n| number(n as usize))),
        ("start_grace", start_grace.map(|s| span(s.0))),
        ("degraded_for", degraded_for.map(|s| span(s.0))),
        ("auto_restart", auto_restart.map(bool)),
        ("restart", restart),
        ("budget", budget.as_ref().map(|b| given([("request_usd", b.request_usd.map(float))]))),
    ])
}

fn given<const N: usize>(entries: [(&str, Option<Node>); N]) -> Node {
    map(entries.into_iter().filter_map(|(key, node)| Some((key, node?))))
}

fn map<'k>(entries: impl IntoIterator<Item = (&'k str, Node)>) -> Node {
    let entry = |(key, node): (&str, Node)| Entry { key: key.into(), key_origin: Origin::Default, node };
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

fn float(number: f64) -> Node {
    Node::of(serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number))
}

fn bool(bool: bool) -> Node {
    Node::of(Value::Bool(bool))
}

fn null() -> Node {
    Node::of(Value::Null)
}
