//! The configuration as it may be written. Everything may be left out; `null` is the same as leaving it out.
//!
//! These doc comments become the descriptions of `config/pulsegate.schema.json`. Only keys that have an effect exist.

pub(super) mod exporters;
pub(super) mod identity;
pub(super) mod probes;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::values::{Bytes, Endpoint, Secret};
use crate::model::{PolicyPatch, RegistrationMode, Span};

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
    /// What every listener demands of its connections.
    pub server: Server,
    /// Projects by name. `default` always exists.
    pub projects: BTreeMap<String, Project>,
    /// Where telemetry goes on to.
    pub exporters: exporters::Exporters,
    /// What model calls cost whose cost nobody tells.
    pub prices: Prices,
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
    /// What agents depend on, probed by the gateway, by names of your choice.
    pub probes: BTreeMap<String, probes::Target>,
}

/// The API, webhooks, /metrics and /health.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpReceiver {
    /// Where to listen. Default 127.0.0.1:4319.
    pub endpoint: Option<Endpoint>,
    /// Certificates. Default: none, it listens in the clear.
    pub tls: Tls,
}

/// OpenTelemetry.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Otlp {
    /// OTLP/gRPC.
    pub grpc: OtlpGrpc,
    /// OTLP/HTTP.
    pub http: OtlpHttp,
    /// Traces.
    pub traces: OtlpTraces,
    /// Which attributes name agents and projects.
    pub identity: identity::Identity,
}

/// How long is waited for spans that do not come.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OtlpTraces {
    /// How long a span is held whose agent is not known yet, because the span above it comes later; then it counts for
    /// its service.name. 1s to 1h; default 30s.
    pub hold: Option<Span>,
    /// A run whose own span is missing counts as failed when nothing of its trace came for this long. 1s to 24h; default
    /// 5m.
    pub run_ends_after: Option<Span>,
}

/// OTLP/gRPC.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OtlpGrpc {
    /// Where to listen. Default 127.0.0.1:4317.
    pub endpoint: Option<Endpoint>,
    /// Certificates. Default: none, it listens in the clear.
    pub tls: Tls,
}

/// OTLP/HTTP.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OtlpHttp {
    /// Where to listen. Default 127.0.0.1:4318.
    pub endpoint: Option<Endpoint>,
    /// Certificates. Default: none, it listens in the clear.
    pub tls: Tls,
}

/// TLS of a listener; all files are PEM. Relative paths start where the gateway was started.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tls {
    /// The listener's certificate, followed by those that lead from it to one its peers know.
    pub cert_file: Option<String>,
    /// The certificate's private key. Both files make a listener speak TLS.
    pub key_file: Option<String>,
    /// The certificates by which those of clients are checked. Where it is set, every client must show one.
    pub client_ca_file: Option<String>,
    /// How often the files are looked at for changes; SIGHUP does it at once. 1s to 24h; default 1m.
    pub reload_interval: Option<Span>,
    /// What client certificates may do without an API key. At most 1000. Default: nothing.
    #[schemars(length(max = 1000))]
    pub client_certificates: Vec<ClientCertificate>,
}

/// What the holder of a client certificate may do without an API key.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name", "scopes"]))]
pub(super) struct ClientCertificate {
    /// A DNS name or address among the certificate's subject alternative names. Required.
    pub name: Option<String>,
    /// The project it is for. Default: default.
    pub project: Option<String>,
    /// Of ingest, read, runner, command, approve and admin. Required.
    #[schemars(length(min = 1))]
    pub scopes: Vec<String>,
}

/// What every listener demands of its connections.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Server {
    /// Whether to listen in the clear beyond this machine, where a listener has no `tls`. Keys can be read on the way
    /// then: for networks that are protected otherwise, or behind a proxy that does TLS. Default false.
    pub allow_plaintext: Option<bool>,
    /// How many connections each listener keeps open; beyond that, the longest idle ones are closed. 1 to 1000000;
    /// default 5000, and no more than the system's limit of open files allows.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: Option<u32>,
    /// From the connection to the end of its first request's headers; TLS included. 1s to 5m; default 10s.
    pub first_request_timeout: Option<Span>,
    /// From the first byte of a later request to the end of its headers. 1s to 5m; default 10s.
    pub header_timeout: Option<Span>,
    /// Without a byte of a request's body, and at less than 16 KiB a second. 1s to 10m; default 30s.
    pub body_timeout: Option<Span>,
    /// Without a request on an HTTP/1.1 connection. The published runner asks every 10s. 15s to 1h; default 75s.
    pub idle_timeout: Option<Span>,
    /// Without the client taking anything of its answer. 1s to 10m; default 30s.
    pub send_timeout: Option<Span>,
    /// How many wrong keys an address may try in a minute before it has to wait. 0 to 1000000; default 60.
    #[schemars(range(max = 1_000_000))]
    pub wrong_keys_per_minute: Option<u32>,
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

/// What model calls cost whose cost nobody tells.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Prices {
    /// Whether costs are computed from tokens and price lists at all. Default true.
    pub compute: Option<bool>,
    /// A price list in the form of LiteLLM (model_prices_and_context_window.json), which goes before the one that comes
    /// with the program. Default none.
    pub file: Option<String>,
}

/// A project's limits and expectations.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Project {
    /// How many agents there may be. 1 to 1000000; default 1000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_agents: Option<u32>,
    /// How many requests each key may make a minute, OTLP aside; in any one minute up to twice as many. 1 to 1000000000;
    /// default 1000.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub rate_limit_per_minute: Option<u32>,
    /// The same for OTLP requests. 1 to 1000000000. Default: no limit.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub otlp_rate_limit_per_minute: Option<u32>,
    /// What happens when something is told of an agent that does not exist: it comes to exist (open), it is refused
    /// until somebody registers it (strict), or it is refused and noted down until somebody approves it (approve).
    /// Default open.
    pub registration: Option<RegistrationMode>,
    /// How long events are kept, in days. 1 to 3650; default 7.
    #[schemars(range(min = 1, max = 3650))]
    pub retention_days: Option<u32>,
    /// Where the project's days begin and end, by its IANA name. Default: UTC.
    pub timezone: Option<String>,
    /// What all agents of the project may spend together.
    pub budget: ProjectBudget,
    /// What is expected of the project's agents, where it differs from `health` above.
    pub health: PolicyPatch,
    /// What is expected of agents by name. Every entry that matches counts, later ones override earlier ones.
    pub agents: Vec<AgentRule>,
}

/// What all agents of a project may spend together, in US dollars.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProjectBudget {
    /// More than this in a rolling hour makes every agent that spends over budget. 0 to 1000000; default none.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub hourly_usd: Option<f64>,
    /// The same on a calendar day of the project. 0 to 1000000; default none.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub daily_usd: Option<f64>,
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
    /// How much room the memory of spans, by which none counts twice, may take in the file. It is kept for two hours; the
    /// oldest goes before that when this is exceeded. 64MiB to 64GiB; default 256MiB.
    pub spans_bytes_max: Option<Bytes>,
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
    /// At which level a line is written for every request. Default debug, so that there is none by default.
    pub access: Option<super::LogLevel>,
    /// Lines for people (text) or for machines (json). Default text.
    pub format: Option<super::LogFormat>,
}
