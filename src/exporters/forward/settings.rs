//! What is configured for a destination.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use reqwest::Url;

use super::body::Signal;

/// A place that received bodies are sent on to.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Its name: a label of metrics, a folder's name.
    pub name: Arc<str>,
    /// Where it is. For OTLP and Langfuse the base, to which paths are added; for webhooks the whole address.
    pub endpoint: Url,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Sent with every request. Values are marked sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How bodies that came uncompressed are sent.
    pub compression: Compression,
    /// What is sent there.
    pub signals: Vec<Signal>,
    /// Only what these projects received; `None`: everything.
    pub projects: Option<Vec<String>>,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// Encryption.
    pub tls: Tls,
    /// What waits to be sent.
    pub queue: QueueSettings,
    /// What happens to a body that was not taken.
    pub retry: Retry,
}

/// How a destination is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP over HTTP.
    Http,
    /// OTLP over gRPC.
    Grpc,
    /// The public API of Langfuse.
    Langfuse,
    /// One address that takes webhooks.
    Webhook,
}

/// How bodies that came uncompressed are sent. Others keep the compression they came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// gzip, fast.
    Gzip,
    /// Zstandard, fast.
    Zstd,
}

/// Encryption.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates (PEM) that are trusted beside the machine's own.
    pub ca_file: Option<PathBuf>,
    /// Take any certificate. For tests only.
    pub insecure_skip_verify: bool,
}

/// What waits to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// How many requests are on their way at once, at most.
    pub consumers: usize,
    /// How many requests may wait, those on their way included.
    pub requests_max: usize,
    /// How many bytes they may have together.
    pub bytes_max: u64,
    /// What gives way when it is full.
    pub on_full: OnFull,
    /// Where it is kept on disk; `None`: in memory.
    pub folder: Option<PathBuf>,
}

/// What gives way when a queue is full. Waiting for room is not offered: it would make the sender wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// What arrives.
    DropNew,
    /// What waited longest.
    DropOld,
}

/// What happens to a body that was not taken for now.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Whether it is sent again.
    pub enabled: bool,
    /// How long to wait after a first failure.
    pub initial_interval: Duration,
    /// How much longer after each further one.
    pub multiplier: f64,
    /// The longest wait.
    pub max_interval: Duration,
    /// How much the wait varies by chance, as a share of it.
    pub randomization_factor: f64,
    /// How long a body is tried after its first failure; zero: as long as the queue has room.
    pub max_elapsed_time: Duration,
}
