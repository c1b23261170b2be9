//! Exporters, resolved: where received bodies are sent on to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::check::Checker;
use super::raw::exporters as raw;
use super::tree::{KeyPath, Value};
use super::values::Secret;

/// Where telemetry goes on to.
#[derive(Clone, Debug)]
pub struct Exporters {
    /// Pass-through destinations by name.
    pub forward: BTreeMap<String, Forward>,
}

/// A pass-through destination.
#[derive(Clone, Debug)]
pub struct Forward {
    /// A URL with `http://` or `https://`, without credentials, query and fragment.
    pub endpoint: reqwest::Url,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// The keys of a Langfuse project; always there with [`Protocol::Langfuse`] and only then.
    pub langfuse: Option<(String, SecretString)>,
    /// Sent with every request; names and values are well formed. At most 32.
    pub headers: BTreeMap<String, SecretString>,
    /// How bodies are compressed that came uncompressed.
    pub compression: Compression,
    /// What is sent there; all of it can be.
    pub signals: Vec<Signal>,
    /// Only what these projects received; `None`: everything.
    pub projects: Option<Vec<String>>,
    /// How long an answer is waited for. 100 ms to 5 min.
    pub timeout: Duration,
    /// Certificates that are trusted beside the machine's own.
    pub ca_file: Option<PathBuf>,
    /// Take any certificate.
    pub insecure_skip_verify: bool,
    /// What waits to be sent.
    pub queue: SendingQueue,
    /// What happens to a body that was not taken for now.
    pub retry: RetryOnFailure,
}

/// What waits to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendingQueue {
    /// Requests on their way at once. 1 to 100.
    pub num_consumers: usize,
    /// Requests that may wait. 1 to 1 000 000.
    pub queue_size: usize,
    /// Bytes they may have. 1 MiB to 64 GiB.
    pub queue_bytes: u64,
    /// What is lost when it is full.
    pub on_full: OnFull,
    /// Where it is kept.
    pub storage: Storage,
}

/// What happens to a body that was not taken for now.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryOnFailure {
    /// Whether it is sent again.
    pub enabled: bool,
    /// The wait after a first failure. 10 ms to 1 h.
    pub initial_interval: Duration,
    /// How many times longer after each further one. 1 to 10.
    pub multiplier: f64,
    /// The longest wait. 10 ms to 1 h.
    pub max_interval: Duration,
    /// How much it varies by chance. 0 to 1.
    pub randomization_factor: f64,
    /// How long a body is tried; zero: as long as the queue has room.
    pub max_elapsed_time: Duration,
}

/// How a destination is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// OTLP over HTTP: /v1/traces, /v1/logs, /v1/metrics.
    #[default]
    Http,
    /// OTLP over gRPC. It carries protobuf only: what came as JSON is not sent there, and counted.
    Grpc,
    /// Langfuse's public API: spans to /api/public/otel, its own batches and scores to where they came to.
    Langfuse,
    /// One address that takes the Langfuse webhooks received here.
    Webhook,
}

/// How bodies are compressed that came uncompressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// What is sent to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// OTLP spans.
    Traces,
    /// OTLP log records.
    Logs,
    /// OTLP data points.
    Metrics,
    /// Batches and scores of Langfuse SDKs.
    Langfuse,
    /// Langfuse webhooks.
    Webhooks,
}

/// What is lost when a queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// What arrives.
    #[default]
    DropNew,
    /// What waited longest.
    DropOld,
}

/// Where a queue is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// In memory; lost when the gateway ends.
    #[default]
    Memory,
    /// In files under the data directory; found again after a restart or a crash.
    Disk,
}

const DESTINATIONS_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 64;
const HEADERS_MAX: usize = 32;
const MILLI: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

impl Protocol {
    /// What it can carry.
    pub const fn signals(self) -> &'static [Signal] {
        match self {
            Self::Http | Self::Grpc => &[Signal::Traces, Signal::Logs, Signal::Metrics],
            Self::Langfuse => &[Signal::Traces, Signal::Langfuse],
            Self::Webhook => &[Signal::Webhooks],
        }
    }
}

impl Exporters {
    pub(super) fn resolve(raw: raw::Exporters, at: &KeyPath, check: &mut Checker<'_>) -> Self {
        let at = at.key("forward");
        if raw.forward.len() > DESTINATIONS_MAX {
            check.fault(at.clone(), format!("at most {DESTINATIONS_MAX} destinations are allowed"));
        }
        let mut forward = BTreeMap::new();
        for (name, destination) in raw.forward {
            let at = at.name(&name);
            let fit = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
            if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(fit) {
                check.fault(
                    at.clone(),
                    format!("a destination's name has 1 to {NAME_BYTES_MAX} characters: a-z, 0-9, - and _"),
                );
            }
            if let Some(destination) = Forward::resolve(destination, &at, check) {
                forward.insert(name, destination);
            }
        }
        Self { forward }
    }
}

impl Forward {
    fn resolve(raw: raw::Forward, at: &KeyPath, check: &mut Checker<'_>) -> Option<Self> {
        let protocol = raw.protocol.unwrap_or_default();
        let endpoint = url(raw.endpoint.as_deref(), &at.key("endpoint"), at, check);
        let langfuse = keys(protocol, raw.public_key, raw.secret_key.map(|s| s.0), at, check);
        let signals = signals(protocol, raw.signals, &at.key("signals"), check);
        let insecure = raw.tls.insecure_skip_verify.unwrap_or(false);
        if insecure && protocol == Protocol::Grpc {
            check.fault(at.key("tls.insecure_skip_verify"), "not available over gRPC; name the certificate in ca_file");
        }
        if raw.projects.as_ref().is_some_and(Vec::is_empty) {
            check.fault(at.key("projects"), "with no project nothing would be sent; leave it out to send everything");
        }
        Some(Self {
            protocol,
            langfuse,
            headers: headers(raw.headers, &at.key("headers"), check),
            compression: raw.compression.unwrap_or_default(),
            signals,
            projects: raw.projects,
            timeout: check.span(at.key("timeout"), raw.timeout, 10_000 * MILLI, [100 * MILLI, 300_000 * MILLI]),
            ca_file: raw.tls.ca_file.filter(|f| !f.is_empty()).map(PathBuf::from),
            insecure_skip_verify: insecure,
            queue: SendingQueue::resolve(&raw.sending_queue, &at.key("sending_queue"), check),
            retry: RetryOnFailure::resolve(&raw.retry_on_failure, &at.key("retry_on_failure"), check),
            endpoint: endpoint?,
        })
    }
}

impl SendingQueue {
    fn resolve(raw: &raw::SendingQueue, at: &KeyPath, check: &mut Checker<'_>) -> Self {
        Self {
            num_consumers: check.number(at.key("num_consumers"), raw.num_consumers, 10, [1, 100]) as usize,
            queue_size: check.number(at.key("queue_size"), raw.queue_size, 10_000, [1, 1_000_000]) as usize,
            queue_bytes: check.bytes(at.key("queue_bytes"), raw.queue_bytes, 64 << 20, [1 << 20, 64 << 30]),
            on_full: raw.on_full.unwrap_or_default(),
            storage: raw.storage.unwrap_or_default(),
        }
    }
}

impl RetryOnFailure {
    fn resolve(raw: &raw::RetryOnFailure, at: &KeyPath, check: &mut Checker<'_>) -> Self {
        let waits = [10 * MILLI, HOUR];
        Self {
            enabled: raw.enabled.unwrap_or(true),
            initial_interval: check.span(at.key("initial_interval"), raw.initial_interval, 5_000 * MILLI, waits),
            multiplier: check.fraction(at.key("multiplier"), raw.multiplier, 1.5, [1.0, 10.0]),
            max_interval: check.span(at.key("max_interval"), raw.max_interval, 30_000 * MILLI, waits),
            randomization_factor: check.fraction(
                at.key("randomization_factor"),
                raw.randomization_factor,
                0.5,
                [0.0, 1.0],
            ),
            max_elapsed_time: check.span(
                at.key("max_elapsed_time"),
                raw.max_elapsed_time,
                Duration::ZERO,
                [Duration::ZERO, 720 * HOUR],
            ),
        }
    }
}

/// A URL that something is sent to; `of` is what misses it when it is not there.
pub(super) fn url(text: Option<&str>, at: &KeyPath, of: &KeyPath, check: &mut Checker<'_>) -> Option<reqwest::Url> {
    let Some(text) = text else {
        // One that could not be read has been told of already.
        if !matches!(check.tree.at(at).map(|n| &n.value), Some(Value::Faulty)) {
            check.fault(of.clone(), "the key `endpoint` is missing; write for example endpoint: https://host:4318");
        }
        return None;
    };
    let problem = match reqwest::Url::parse(text.trim()) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() => {
            "not a URL; write for example https://host:4318"
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            "credentials do not belong in a URL, which is shown in logs; put them in `headers`"
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => "a URL without ? and # is needed here",
        Ok(url) => return Some(url),
        // Never shown: it may hold a secret after all.
        Err(_) => "not a URL; write for example https://host:4318",
    };
    check.fault(at.clone(), problem);
    None
}

/// Headers that are sent with every request.
pub(super) fn headers(
    raw: BTreeMap<String, Secret>,
    at: &KeyPath,
    check: &mut Checker<'_>,
) -> BTreeMap<String, SecretString> {
    if raw.len() > HEADERS_MAX {
        check.fault(at.clone(), format!("at most {HEADERS_MAX} headers are allowed"));
    }
    for (name, value) in &raw {
        if let Some(problem) = unsendable(name, value.0.expose_secret()) {
            check.fault(at.name(name), problem);
        }
    }
    raw.into_iter().map(|(name, value)| (name, value.0)).collect()
}

fn unsendable(name: &str, value: &str) -> Option<String> {
    use axum::http::{HeaderName, HeaderValue};
    if HeaderName::try_from(name).is_err() {
        return Some(format!("`{name}` cannot be the name of a header"));
    }
    let reserved = ["content-encoding", "content-length", "transfer-encoding", "host", "connection"];
    if reserved.contains(&name.to_ascii_lowercase().as_str()) || name.to_ascii_lowercase().ends_with("-bin") {
        return Some("this header is set by the gateway itself; leave it out".into());
    }
    HeaderValue::try_from(value)
        .err()
        .map(|_| "the value cannot be sent in a header; look for line breaks in it".into())
}

fn keys(
    protocol: Protocol,
    public: Option<String>,
    secret: Option<SecretString>,
    at: &KeyPath,
    check: &mut Checker<'_>,
) -> Option<(String, SecretString)> {
    match (protocol, public, secret) {
        (Protocol::Langfuse, Some(public), Some(secret)) => return Some((public, secret)),
        (Protocol::Langfuse, ..) => {
            check.fault(at.clone(), "Langfuse needs the keys of a project: public_key and secret_key");
        }
        (_, None, None) => {}
        _ => check.fault(at.clone(), "public_key and secret_key are for `protocol: langfuse`; else use `headers`"),
    }
    None
}

fn signals(protocol: Protocol, written: Option<Vec<Signal>>, at: &KeyPath, check: &mut Checker<'_>) -> Vec<Signal> {
    let Some(mut signals) = written else { return protocol.signals().to_vec() };
    signals.sort_unstable();
    signals.dedup();
    if signals.is_empty() || signals.iter().any(|signal| !protocol.signals().contains(signal)) {
        let words: Vec<_> = protocol.signals().iter().map(|s| format!("{s:?}").to_lowercase()).collect();
        check.fault(at.clone(), format!("this protocol carries: {}; at least one is needed", words.join(", ")));
    }
    signals
}
