//! The effective configuration, written out so that it can be read and loaded again.

mod names;
mod outbound;

use std::time::Duration;

use super::tree::{Entry, Node, Origin, Value};
use super::values::Bytes;
use super::{ClientCertificate, Config, ListenerTls, ProjectSettings, Server, yaml};
use crate::model::{Money, PolicyPatch, ProjectBudget, exact};

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
        map([
            (
                "receivers",
                map([
                    ("http", listener(self.receivers.http, self.receivers.http_tls.as_ref())),
                    (
                        "otlp",
                        map([
                            ("grpc", listener(self.receivers.otlp_grpc, self.receivers.otlp_grpc_tls.as_ref())),
                            ("http", listener(self.receivers.otlp_http, self.receivers.otlp_http_tls.as_ref())),
                            (
                                "traces",
                                map([
                                    ("hold", span(self.receivers.otlp_traces.hold)),
                                    ("run_ends_after", span(self.receivers.otlp_traces.run_ends_after)),
                                ]),
                            ),
                            ("identity", names::identity(&self.receivers.otlp_identity)),
                        ]),
                    ),
                    (
                        "langfuse",
                        map([
                            ("signing_secrets", list(langfuse.signing_secrets.iter().map(|_| text(HIDDEN)))),
                            ("signature_tolerance", span(langfuse.signature_tolerance)),
                        ]),
                    ),
                    ("probes", map(self.receivers.probes.iter().map(|(name, target)| (name, outbound::probe(target))))),
                ]),
            ),
            ("server", server(&self.server)),
            ("health", patch(&PolicyPatch::of(&self.health))),
            ("projects", map(self.projects.iter().map(|(name, p)| (name.as_str(), project(p))))),
            (
                "prices",
                map([
                    ("compute", bool(self.prices.compute)),
                    ("file", self.prices.file.as_ref().map_or_else(null, |p| text(p.display()))),
                ]),
            ),
            (
                "exporters",
                map([("forward", map(self.exporters.forward.iter().map(|(name, f)| (name, outbound::forward(f)))))]),
            ),
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
                    map([
                        ("path", self.store.sqlite_path.as_ref().map_or_else(null, |p| text(p.display()))),
                        ("spans_bytes_max", text(Bytes(self.store.spans_bytes_max))),
                    ]),
                )]),
            ),
            ("metrics", map([("require_key", self.metrics.require_key.map_or_else(null, bool))])),
            (
                "telemetry",
                map([(
                    "log",
                    map([
                        ("level", text(self.telemetry.log_level.word())),
                        ("access", text(self.telemetry.access_level.word())),
                        ("format", text(self.telemetry.log_format.word())),
                    ]),
                )]),
            ),
        ])
    }
}

fn listener(address: std::net::SocketAddr, tls: Option<&ListenerTls>) -> Node {
    let path = |path: Option<&std::path::Path>| path.map_or_else(null, |path| text(path.display()));
    let client = |client: &ClientCertificate| {
        map([
            ("name", text(&client.name)),
            ("project", text(&client.project)),
            ("scopes", list(client.scopes.words().split(',').map(text))),
        ])
    };
    let clients = tls.map_or(&[][..], |tls| &tls.client_certificates);
    let tls = map([
        ("cert_file", path(tls.map(|tls| &*tls.cert_file))),
        ("key_file", path(tls.map(|tls| &*tls.key_file))),
        ("client_ca_file", path(tls.and_then(|tls| tls.client_ca_file.as_deref()))),
        ("reload_interval", span(tls.map_or(Duration::from_secs(60), |tls| tls.reload_interval))),
        ("client_certificates", list(clients.iter().map(client))),
    ]);
    map([("endpoint", text(address)), ("tls", tls)])
}

fn server(server: &Server) -> Node {
    map([
        ("allow_plaintext", bool(server.allow_plaintext)),
        ("max_connections", number(server.max_connections)),
        ("first_request_timeout", span(server.first_request_timeout)),
        ("header_timeout", span(server.header_timeout)),
        ("body_timeout", span(server.body_timeout)),
        ("idle_timeout", span(server.idle_timeout)),
        ("send_timeout", span(server.send_timeout)),
        ("wrong_keys_per_minute", number(server.wrong_keys_per_minute as usize)),
    ])
}

fn project(project: &ProjectSettings) -> Node {
    let rule = |rule: &super::AgentRule| map([("match", text(&rule.pattern)), ("health", patch(&rule.health))]);
    let usd = |of: fn(&ProjectBudget) -> Option<Money>| {
        project.budget.as_ref().and_then(of).map_or_else(null, |money| of_json(money.as_usd().into()))
    };
    map([
        ("max_agents", number(project.max_agents as usize)),
        ("rate_limit_per_minute", number(project.rate_limit_per_minute as usize)),
        (
            "otlp_rate_limit_per_minute",
            project.otlp_rate_limit_per_minute.map_or_else(null, |rate| number(rate as usize)),
        ),
        ("registration", text(project.registration.word())),
        ("retention_days", number(project.retention_days as usize)),
        ("timezone", text(project.policy.timezone.iana_name().unwrap_or("UTC"))),
        ("budget", map([("hourly_usd", usd(|b| b.hourly)), ("daily_usd", usd(|b| b.daily))])),
        ("health", patch(&project.health)),
        ("agents", list(project.agents.iter().map(rule))),
    ])
}

/// Only what the patch says.
fn patch(patch: &PolicyPatch) -> Node {
    // As JSON it has every setting that was given, under its name.
    serde_json::to_value(patch).map_or_else(|_| null(), of_json)
}

/// As it is written in JSON: a word of several, or a number.
fn word(word: impl serde::Serialize) -> Node {
    serde_json::to_value(word).map_or_else(|_| null(), of_json)
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
