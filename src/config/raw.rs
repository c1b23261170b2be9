//! The configuration as it may be written. Everything may be left out; `null` is the same as leaving it out.
//!
//! These doc comments become the descriptions of `config/pulsegate.schema.json`. Only keys that have an effect exist.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::values::{Bytes, Endpoint, Secret};
use crate::model::{PolicyPatch, Span};

/// Configuration of the Pulsegate gateway. Every key may be left out. Every key can also be set by an environment
/// variable: PULSEGATE_, then the keys in capitals, joined by two underscores, as in PULSEGATE_HEALTH__INTERVAL=30s.
/// Text may contain ${env:NAME}, ${env:NAME:-default} and ${file:PATH}.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Pulsegate")]
pub(super) struct Raw {
    /// What comes in, and where it is listened for.
    pub receivers: Receivers,
    /// What is expected of every agent, unless its project, its name or the agent itself says otherwise.
    pub health: PolicyPatch,
    /// Projects by name. `default` always exists.
    pub projects: BTreeMap<String, Project>,
    /// Restart commands.
    pub control: Control,
    /// Between receiving and storing.
    pub ingest: Ingest,
    /// Where state is kept.
    pub store: Store,
    /// The page for Prometheus, /metrics.
    pub metrics: Metrics,
    /// What the gateway tells of itself.
    pub telemetry: Telemetry,
}

/// What comes in, and where it is listened for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Receivers {
    /// The API, webhooks, /metrics and /health. Also accepts OTLP/HTTP.
    pub http: HttpReceiver,
    /// OpenTelemetry.
    pub otlp: Otlp,
    /// Webhooks of Langfuse.
    pub langfuse: Langfuse,
}

/// The API, webhooks, /metrics and /health.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpReceiver {
    /// Where to listen. Default 127.0.0.1:4319.
    pub endpoint: Option<Endpoint>,
}

/// OpenTelemetry.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Otlp {
    /// OTLP/gRPC.
    pub grpc: OtlpGrpc,
    /// OTLP/HTTP.
    pub http: OtlpHttp,
}

/// OTLP/gRPC.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OtlpGrpc {
    /// Where to listen. Default 127.0.0.1:4317.
    pub endpoint: Option<Endpoint>,
}

/// OTLP/HTTP.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OtlpHttp {
    /// Where to listen. Default 127.0.0.1:4318.
    pub endpoint: Option<Endpoint>,
}

/// Webhooks of Langfuse.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Langfuse {
    /// Signing secrets (lf-whsec_…). When there is one, an unsigned webhook is refused; several allow for rotation.
    /// At most 10. Default none.
    #[schemars(length(max = 10))]
    pub signing_secrets: Vec<Secret>,
    /// How far the time in a signature may be from the gateway's. 1s to 1h; default 5m.
    pub signature_tolerance: Option<Span>,
}

/// A project's limits and expectations.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Project {
    /// How many agents there may be. 1 to 1000000; default 1000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_agents: Option<u32>,
    /// How long events are kept, in days. 1 to 3650; default 7.
    #[schemars(range(min = 1, max = 3650))]
    pub retention_days: Option<u32>,
    /// Where the project's days begin and end, by its IANA name. Default: UTC.
    pub timezone: Option<String>,
    /// What is expected of the project's agents, where it differs from `health` above.
    pub health: PolicyPatch,
    /// What is expected of agents by name. Every entry that matches counts, later ones override earlier ones.
    pub agents: Vec<AgentRule>,
}

/// What is expected of the agents whose name matches.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["match"]))]
pub(super) struct AgentRule {
    /// A pattern over the whole name, such as "research-*": `*` is any text, `?` any one character.
    /// Required; 1 to 200 bytes.
    // Optional for serde only, so that its absence is told together with all other mistakes.
    #[serde(rename = "match")]
    #[schemars(with = "String", length(min = 1, max = 200))]
    pub pattern: Option<String>,
    /// Where expectations differ from the project's.
    pub health: PolicyPatch,
}

/// Restart commands.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Control {
    /// No restart is queued automatically in this time after the gateway started. Up to 1h; default 120s.
    pub start_grace: Option<Span>,
    /// Nobody may start to carry out a command that is older than this. 1s to 24h; default 5m.
    pub command_ttl: Option<Span>,
    /// How long the result of a command is awaited after a runner took it. 1s to 1h; default 90s.
    pub lease: Option<Span>,
}

/// Between receiving and storing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Ingest {
    /// How many requests may wait for the store; more are refused with 503. 1 to 1000000; default 10000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub queue_requests_max: Option<u32>,
    /// How many bytes of requests may wait for the store. 1MiB to 16GiB; default 64MiB.
    pub queue_bytes_max: Option<Bytes>,
    /// How many requests are stored in one transaction. 1 to 100000; default 1000.
    #[schemars(range(min = 1, max = 100_000))]
    pub batch_requests_max: Option<u32>,
}

/// Where state is kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Store {
    /// The embedded database.
    pub sqlite: Sqlite,
}

/// The embedded database.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sqlite {
    /// The database file. Default: pulsegate.db in the data directory.
    pub path: Option<String>,
}

/// The page for Prometheus, /metrics.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Metrics {
    /// Whether a key with the scope `read` is needed. Default: only when receivers.http listens beyond this machine.
    pub require_key: Option<bool>,
}

/// What the gateway tells of itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Telemetry {
    /// The log, on standard error.
    pub log: Log,
}

/// The log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    /// What is logged: this level and everything graver. Default info.
    pub level: Option<super::LogLevel>,
    /// Lines for people (text) or for machines (json). Default text.
    pub format: Option<super::LogFormat>,
}
