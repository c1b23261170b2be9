//! `receivers.probes`, as it may be written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::probes::Method;
use crate::config::values::Secret;
use crate::model::Span;

/// Something agents depend on, asked by the gateway how it is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["endpoint"]))]
pub struct Target {
    /// What is probed: a URL with http:// or https://, tcp://host:port (a connection), or grpc://host:port and
    /// grpcs://host:port (the standard health service). Required.
    // Optional for serde only, so that its absence is told together with all other mistakes.
    #[schemars(with = "String")]
    pub endpoint: Option<String>,
    /// How often. 1s to 24h; default 30s.
    pub interval: Option<Span>,
    /// How long one probe may take. 100ms to 60s, at most the interval; default 3s.
    pub timeout: Option<Span>,
    /// After so many failures in a row it is unhealthy. 1 to 100; default 3.
    #[schemars(range(min = 1, max = 100))]
    pub failures: Option<u32>,
    /// The method of an HTTP probe. Default get, with a body post.
    pub method: Option<Method>,
    /// Headers of an HTTP probe, by name. At most 32. Default none.
    pub headers: BTreeMap<String, Secret>,
    /// The body of an HTTP probe. At most 64 KiB. Default none.
    pub body: Option<String>,
    /// The service that a gRPC probe asks about. Default: the server as a whole.
    pub service: Option<String>,
    /// What the answer of an HTTP probe must be; all of it must hold.
    pub expect: Expect,
    /// Patterns of agents that depend on it, such as "research-*"; they become degraded while it is unhealthy.
    /// At most 100. Default none.
    #[schemars(length(max = 100))]
    pub agents: Vec<String>,
    /// The projects these agents are in, which may see it. Default: all.
    pub projects: Option<Vec<String>>,
    /// Encryption, where the endpoint is https:// or grpcs://.
    pub tls: ProbeTls,
}

/// Encryption, where the endpoint is https:// or grpcs://.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeTls {
    /// A file of certificates (PEM) that are trusted beside the machine's own.
    pub ca_file: Option<String>,
}

/// What the answer of an HTTP probe must be; all of it must hold.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// One of these statuses. Default: any of 200 to 299.
    pub status: Vec<u16>,
    /// The body is JSON, and these JSONPath queries (RFC 9535) find something in it. At most 20. Default none.
    pub json: Vec<JsonCondition>,
    /// The body is the answer of a model, with text in it: OpenAI, Anthropic, Gemini, Ollama and what speaks like them.
    /// Default false.
    pub completion: Option<bool>,
}

/// Something a JSON body must have.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["path"]))]
pub struct JsonCondition {
    /// A JSONPath query, such as $.status. Required.
    #[schemars(with = "String")]
    pub path: Option<String>,
    /// What it must find. Default: anything.
    pub equals: Option<serde_json::Value>,
}
