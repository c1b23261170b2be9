//! What is remembered of one trace while its spans arrive.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{SpanFacts, Timestamp, Usage};

/// How many spans of one trace are remembered. Spans beyond it are counted as they come, without their place in the tree.
pub const TRACE_SPANS_MAX: usize = 1024;

/// One trace: its spans so far, and what they have already been counted as. Tables of it are bounded in age.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceRow {
    /// `service.name` of the first resource that sent a span of it.
    pub service: String,
    /// When a span of it arrived last.
    pub touched_at: Timestamp,
    /// The spans, in order of arrival, each id once.
    pub spans: Vec<SpanFacts>,
    /// What has been counted so far, by agent. It never goes down: a correction waits until later counts exceed it.
    pub counted: BTreeMap<String, TraceTotals>,
}

/// What one trace amounts to for one agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceTotals {
    /// Model calls by model.
    pub models: BTreeMap<String, ModelTally>,
    /// Finished tool calls.
    pub tool_calls: u64,
    /// Of these, the failed ones.
    pub tool_calls_failed: u64,
    /// Successful results: runs, and calls that stand alone.
    pub successes: u64,
    /// Failed results.
    pub failures: u64,
}

/// Model calls of one model within one trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelTally {
    /// Finished calls, failed ones included.
    pub calls: u64,
    /// Of these, the failed ones.
    pub failed: u64,
    /// What they used.
    pub usage: Usage,
}

/// What one commit changed of a trace: stores apply it with [`TraceRow::absorb`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceDelta {
    /// As in [`TraceRow::service`].
    pub service: String,
    /// As in [`TraceRow::touched_at`].
    pub touched_at: Timestamp,
    /// Spans that were not there before.
    pub added: Vec<SpanFacts>,
    /// The new value of [`TraceRow::counted`].
    pub counted: BTreeMap<String, TraceTotals>,
}

impl TraceRow {
    /// Takes in what one commit changed.
    pub fn absorb(&mut self, delta: TraceDelta) {
        self.service = delta.service;
        self.touched_at = delta.touched_at;
        self.spans.extend(delta.added);
        self.counted = delta.counted;
    }
}
