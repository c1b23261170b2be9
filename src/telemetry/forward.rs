//! What is counted of pass-through destinations. For each of them, what was received and restored is what was sent and
//! dropped and is in the queue.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::{Definition, SECONDS_BOUNDS, clamp, opts, register};

/// Why a body never reaches its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The queue was full.
    QueueFull,
    /// The destination will not take it, now or later.
    Rejected,
    /// It was not taken within the time or the attempts it had.
    GaveUp,
    /// The destination's protocol cannot carry it: JSON over gRPC.
    Unsupported,
    /// It went through too many gateways already.
    Loop,
    /// The queue's files could not be written, or not be read again.
    Storage,
    /// The gateway stopped, and the queue was in memory.
    Shutdown,
}

impl Loss {
    /// Every reason.
    pub const ALL: [Self; 7] =
        [Self::QueueFull, Self::Rejected, Self::GaveUp, Self::Unsupported, Self::Loop, Self::Storage, Self::Shutdown];

    /// The word used as a label.
    pub const fn word(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Rejected => "rejected",
            Self::GaveUp => "gave_up",
            Self::Unsupported => "unsupported",
            Self::Loop => "loop",
            Self::Storage => "storage",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The families, over all destinations.
pub(super) struct Families {
    received: IntCounterVec,
    sent: IntCounterVec,
    sent_bytes: IntCounterVec,
    dropped: IntCounterVec,
    rejected_items: IntCounterVec,
    failed: IntCounterVec,
    corrupt: IntCounterVec,
    storage_errors: IntCounterVec,
    restored: IntCounterVec,
    requests: IntGaugeVec,
    bytes: IntGaugeVec,
    up: IntGaugeVec,
    concurrency: IntGaugeVec,
    duration: HistogramVec,
}

impl Families {
    pub fn new(r: &Registry) -> Self {
        let counter = |d: Definition| register(r, IntCounterVec::new(opts(d), d.labels));
        let gauge = |d: Definition| register(r, IntGaugeVec::new(opts(d), d.labels));
        let duration = HistogramOpts::from(opts(super::FORWARD_DURATION)).buckets(SECONDS_BOUNDS.to_vec());
        Self {
            received: counter(super::FORWARD_RECEIVED),
            sent: counter(super::FORWARD_SENT),
            sent_bytes: counter(super::FORWARD_SENT_BYTES),
            dropped: counter(super::FORWARD_DROPPED),
            rejected_items: counter(super::FORWARD_REJECTED_ITEMS),
            failed: counter(super::FORWARD_FAILED_ATTEMPTS),
            corrupt: counter(super::FORWARD_CORRUPT_RECORDS),
            storage_errors: counter(super::FORWARD_STORAGE_ERRORS),
            restored: counter(super::FORWARD_RESTORED),
            requests: gauge(super::FORWARD_QUEUE_REQUESTS),
            bytes: gauge(super::FORWARD_QUEUE_BYTES),
            up: gauge(super::FORWARD_UP),
            concurrency: gauge(super::FORWARD_CONCURRENCY),
            duration: register(r, HistogramVec::new(duration, super::FORWARD_DURATION.labels)),
        }
    }

    pub fn of(&self, name: &str) -> ForwardMetrics {
        let counter = |family: &IntCounterVec| family.with_label_values(&[name]);
        let gauge = |family: &IntGaugeVec| family.with_label_values(&[name]);
        let metrics = ForwardMetrics {
            received: counter(&self.received),
            sent: counter(&self.sent),
            sent_bytes: counter(&self.sent_bytes),
            dropped: Loss::ALL.map(|reason| self.dropped.with_label_values(&[name, reason.word()])),
            rejected_items: counter(&self.rejected_items),
            failed: counter(&self.failed),
            corrupt: counter(&self.corrupt),
            storage_errors: counter(&self.storage_errors),
            restored: counter(&self.restored),
            requests: gauge(&self.requests),
            bytes: gauge(&self.bytes),
            up: gauge(&self.up),
            concurrency: gauge(&self.concurrency),
            duration: self.duration.with_label_values(&[name]),
        };
        metrics.up.set(1);
        metrics
    }
}

/// The metrics of one destination. Cheap to clone; nothing is looked up when something is counted.
#[derive(Clone)]
pub struct ForwardMetrics {
    received: IntCounter,
    sent: IntCounter,
    sent_bytes: IntCounter,
    /// In the order of [`Loss::ALL`].
    dropped: [IntCounter; Loss::ALL.len()],
    rejected_items: IntCounter,
    failed: IntCounter,
    corrupt: IntCounter,
    storage_errors: IntCounter,
    restored: IntCounter,
    requests: IntGauge,
    bytes: IntGauge,
    up: IntGauge,
    concurrency: IntGauge,
    duration: Histogram,
}

impl ForwardMetrics {
    /// A body is to be passed on.
    pub fn received(&self) {
        self.received.inc();
    }

    /// The destination took a body of so many bytes, and answered after `took`.
    pub fn sent(&self, bytes: usize, took: Duration) {
        self.sent.inc();
        self.sent_bytes.inc_by(bytes as u64);
        self.duration.observe(took.as_secs_f64());
        self.up.set(1);
    }

    /// A body is lost.
    pub fn dropped(&self, reason: Loss) {
        self.dropped[reason as usize].inc();
    }

    /// Of a body that was taken, so many items were not.
    pub fn rejected_items(&self, count: u64) {
        self.rejected_items.inc_by(count);
    }

    /// The destination answered, though it did not take what was sent.
    pub fn reached(&self) {
        self.up.set(1);
    }

    /// An attempt failed in a way that is worth another.
    pub fn attempt_failed(&self) {
        self.failed.inc();
        self.up.set(0);
    }

    /// A damaged place in the queue's files was set aside.
    pub fn corrupt_record(&self) {
        self.corrupt.inc();
    }

    /// The queue's files could not be written or read.
    pub fn storage_error(&self) {
        self.storage_errors.inc();
    }

    /// So many bodies were found in the queue's files at the start.
    pub fn restored(&self, count: usize) {
        self.restored.inc_by(count as u64);
    }

    /// The queue now holds so many bodies, which weigh so many bytes.
    pub fn queue(&self, requests: usize, bytes: u64) {
        self.requests.set(clamp(requests));
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// So many requests may be on their way at once.
    pub fn concurrency(&self, limit: usize) {
        self.concurrency.set(clamp(limit));
    }
}

#[cfg(test)]
impl ForwardMetrics {
    /// Received or restored, sent, dropped, in the queue.
    pub fn account(&self) -> (u64, u64, u64, u64) {
        let dropped = self.dropped.iter().map(IntCounter::get).sum();
        let queued = u64::try_from(self.requests.get()).unwrap_or(0);
        (self.received.get() + self.restored.get(), self.sent.get(), dropped, queued)
    }

    /// How many were dropped for `reason`.
    pub fn dropped_for(&self, reason: Loss) -> u64 {
        self.dropped[reason as usize].get()
    }

    /// How many attempts failed; items rejected; damaged places.
    pub fn troubles(&self) -> (u64, u64, u64) {
        (self.failed.get(), self.rejected_items.get(), self.corrupt.get())
    }
}
