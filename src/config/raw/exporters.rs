//! `exporters`, as it may be written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::exporters::{Compression, OnFull, Protocol, Signal, Storage};
use crate::config::values::{Bytes, Secret};
use crate::model::Span;

/// Where telemetry goes on to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Exporters {
    /// Pass-through: where received bodies are sent on to, unchanged, by names of your choice.
    pub forward: BTreeMap<String, Forward>,
}

/// A destination that received bodies are sent on to, unchanged, after they were stored here.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["endpoint"]))]
pub struct Forward {
    /// Where it is: a URL with http:// or https://. /v1/traces and the like are added to it; for a webhook it is the
    /// whole address. Required.
    // Optional for serde only, so that its absence is told together with all other mistakes.
    #[schemars(with = "String")]
    pub endpoint: Option<String>,
    /// How it is spoken to. Default http.
    pub protocol: Option<Protocol>,
    /// The public key of a Langfuse project. Required for protocol langfuse.
    pub public_key: Option<String>,
    /// The secret key of a Langfuse project. Required for protocol langfuse.
    pub secret_key: Option<Secret>,
    /// Headers sent with every request, by name, for example an API key. At most 32. Default none.
    pub headers: BTreeMap<String, Secret>,
    /// How bodies are compressed that came uncompressed; others keep what they came with. Default none.
    pub compression: Option<Compression>,
    /// What is sent there. Default: all that the protocol carries.
    pub signals: Option<Vec<Signal>>,
    /// Only what these projects received. Default: everything.
    pub projects: Option<Vec<String>>,
    /// How long an answer is waited for. 100ms to 5m; default 10s.
    pub timeout: Option<Span>,
    /// Encryption, where the endpoint is https://.
    pub tls: Tls,
    /// What waits to be sent.
    pub sending_queue: SendingQueue,
    /// What happens to a body that was not taken for now.
    pub retry_on_failure: RetryOnFailure,
}

/// Encryption, where the endpoint is https://.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// A file of certificates (PEM) that are trusted beside the machine's own.
    pub ca_file: Option<String>,
    /// Take any certificate. For tests only, and not over gRPC. Default false.
    pub insecure_skip_verify: Option<bool>,
}

/// What waits to be sent.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SendingQueue {
    /// How many requests are on their way at once, at most; fewer while answers are slow. 1 to 100; default 10.
    #[schemars(range(min = 1, max = 100))]
    pub num_consumers: Option<u32>,
    /// How many requests may wait, those on their way included. 1 to 1000000; default 10000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub queue_size: Option<u32>,
    /// How many bytes they may have together. 1MiB to 64GiB; default 64MiB.
    pub queue_bytes: Option<Bytes>,
    /// What is lost when it is full. Default drop_new.
    pub on_full: Option<OnFull>,
    /// Where it is kept. Default memory.
    pub storage: Option<Storage>,
}

/// What happens to a body that was not taken for now.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryOnFailure {
    /// Whether it is sent again. Default true.
    pub enabled: Option<bool>,
    /// How long to wait after a first failure. 10ms to 1h; default 5s.
    pub initial_interval: Option<Span>,
    /// How many times longer to wait after each further one. 1 to 10; default 1.5.
    #[schemars(range(min = 1, max = 10))]
    pub multiplier: Option<f64>,
    /// The longest wait. 10ms to 1h; default 30s.
    pub max_interval: Option<Span>,
    /// How much the wait varies by chance, as a share of it. 0 to 1; default 0.5.
    #[schemars(range(min = 0, max = 1))]
    pub randomization_factor: Option<f64>,
    /// How long a body is tried after its first failure. 0 is as long as the queue has room. Up to 720h; default 0.
    pub max_elapsed_time: Option<Span>,
}
