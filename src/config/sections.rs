//! The small sections, resolved: control, ingest, store, metrics, telemetry.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Checker;
use super::raw;
use super::tree::KeyPath;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Restart commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// No restart is queued automatically in this time after the gateway started. Up to 1 h.
    pub start_grace: Duration,
    /// Nobody may start to carry out a command that is older than this. 1 s to 24 h.
    pub command_ttl: Duration,
    /// How long the result of a command is awaited after a runner took it. 1 s to 1 h.
    pub lease: Duration,
}

impl Control {
    pub(super) fn resolve(raw: raw::Control, at: &KeyPath, check: &mut Checker<'_>) -> Self {
        Self {
            start_grace: check.span(at.key("start_grace"), raw.start_grace, 120 * SECOND, [Duration::ZERO, HOUR]),
            command_ttl: check.span(at.key("command_ttl"), raw.command_ttl, 300 * SECOND, [SECOND, DAY]),
            lease: check.span(at.key("lease"), raw.lease, 90 * SECOND, [SECOND, HOUR]),
        }
    }
}

/// Between receiving and storing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingest {
    /// How many requests may wait for the store. 1 to 1 000 000.
    pub queue_requests_max: usize,
    /// How many bytes of requests may wait for the store. 1 MiB to 16 GiB.
    pub queue_bytes_max: usize,
    /// How many requests are stored in one transaction. 1 to 100 000.
    pub batch_requests_max: usize,
}

impl Ingest {
    pub(super) fn resolve(raw: raw::Ingest, at: &KeyPath, check: &mut Checker<'_>) -> Self {
        let bytes = check.bytes(at.key("queue_bytes_max"), raw.queue_bytes_max, 64 << 20, [1 << 20, 16 << 30]);
        let requests = check.number(at.key("queue_requests_max"), raw.queue_requests_max, 10_000, [1, 1_000_000]);
        let batch = check.number(at.key("batch_requests_max"), raw.batch_requests_max, 1_000, [1, 100_000]);
        Self {
            queue_requests_max: requests as usize,
            queue_bytes_max: usize::try_from(bytes).unwrap_or(usize::MAX),
            batch_requests_max: batch as usize,
        }
    }
}

/// What model calls cost whose cost nobody tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prices {
    /// Whether costs are computed at all.
    pub compute: bool,
    /// A price list in the form of LiteLLM, which goes first.
    pub file: Option<PathBuf>,
}

impl Prices {
    pub(super) fn resolve(raw: raw::Prices) -> Self {
        Self { compute: raw.compute.unwrap_or(true), file: raw.file.filter(|p| !p.is_empty()).map(PathBuf::from) }
    }
}

/// Where state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The SQLite file; `None`: `pulsegate.db` in the data directory.
    pub sqlite_path: Option<PathBuf>,
    /// How much room the memory of spans may take in it, in bytes.
    pub spans_bytes_max: u64,
}

impl Store {
    pub(super) fn resolve(raw: raw::Store, at: &KeyPath, check: &mut Checker<'_>) -> Self {
        let at = at.key("sqlite");
        let range = [64 << 20, 64 << 30];
        Self {
            sqlite_path: raw.sqlite.path.filter(|p| !p.is_empty()).map(PathBuf::from),
            spans_bytes_max: check.bytes(at.key("spans_bytes_max"), raw.sqlite.spans_bytes_max, 256 << 20, range),
        }
    }
}

/// The page for Prometheus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Whether a key with the scope `read` is needed; `None`: only when listening beyond this machine.
    pub require_key: Option<bool>,
}

impl Metrics {
    pub(super) fn resolve(raw: &raw::Metrics) -> Self {
        Self { require_key: raw.require_key }
    }

    /// Whether `/metrics` needs a key when it listens on `bound`.
    pub fn needs_key(&self, bound: IpAddr) -> bool {
        self.require_key.unwrap_or(!bound.to_canonical().is_loopback())
    }
}

/// What the gateway tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// What is logged.
    pub log_level: LogLevel,
    /// At which level a line is written for every request.
    pub access_level: LogLevel,
    /// How it is written.
    pub log_format: LogFormat,
}

/// What is logged: a level and everything graver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something failed that must be looked at.
    Error,
    /// Something is not as it should be.
    Warn,
    /// What the gateway does.
    #[default]
    Info,
    /// Why it does so.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The word in the configuration, which is also a filter directive of `tracing`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// The word in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl Telemetry {
    pub(super) fn resolve(raw: &raw::Telemetry) -> Self {
        Self {
            log_level: raw.log.level.unwrap_or_default(),
            access_level: raw.log.access.unwrap_or(LogLevel::Debug),
            log_format: raw.log.format.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_open_to_this_machine_only() {
        let by_default = Metrics { require_key: None };
        for (address, needs) in
            [("127.0.0.1", false), ("::1", false), ("::ffff:127.0.0.1", false), ("0.0.0.0", true), ("10.0.0.7", true)]
        {
            assert_eq!(by_default.needs_key(address.parse().unwrap()), needs, "{address}");
            assert!(Metrics { require_key: Some(true) }.needs_key(address.parse().unwrap()));
            assert!(!Metrics { require_key: Some(false) }.needs_key(address.parse().unwrap()));
        }
    }
}
