//! What is counted of dependencies that are probed.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Registry};

use super::{DEPENDENCY_UP, PROBE_DURATION, PROBES, SECONDS_BOUNDS, opts, register};

/// The families, over all dependencies.
pub(super) struct Families {
    probes: IntCounterVec,
    duration: HistogramVec,
    up: IntGaugeVec,
}

impl Families {
    pub fn new(r: &Registry) -> Self {
        let duration = HistogramOpts::from(opts(PROBE_DURATION)).buckets(SECONDS_BOUNDS.to_vec());
        Self {
            probes: register(r, IntCounterVec::new(opts(PROBES), PROBES.labels)),
            duration: register(r, HistogramVec::new(duration, PROBE_DURATION.labels)),
            up: register(r, IntGaugeVec::new(opts(DEPENDENCY_UP), DEPENDENCY_UP.labels)),
        }
    }

    pub fn of(&self, name: &str) -> ProbeMetrics {
        ProbeMetrics {
            name: name.into(),
            succeeded: self.probes.with_label_values(&[name, "success"]),
            failed: self.probes.with_label_values(&[name, "failure"]),
            duration: self.duration.with_label_values(&[name]),
            up: self.up.clone(),
        }
    }
}

/// The metrics of one dependency.
#[derive(Clone)]
pub struct ProbeMetrics {
    name: String,
    succeeded: IntCounter,
    failed: IntCounter,
    duration: Histogram,
    /// A vector: it has no value until one is known.
    up: IntGaugeVec,
}

impl ProbeMetrics {
    /// A probe took so long and succeeded or not; and what is known of the dependency since.
    pub fn probed(&self, took: Duration, success: bool, healthy: Option<bool>) {
        if success { &self.succeeded } else { &self.failed }.inc();
        self.duration.observe(took.as_secs_f64());
        if let Some(healthy) = healthy {
            self.up.with_label_values(&[&*self.name]).set(healthy.into());
        }
    }
}
