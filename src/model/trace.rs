//! What is remembered of one trace while its spans arrive.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{SpanFacts, Timestamp, Usage};

/// How many spans of one trace are remembered. When it is full, the trace begins anew: what comes is counted without
/// its place among the spans before.
pub const TRACE_SPANS_MAX: usize = 4096;

/// One trace: its spans so far, and what they have already been counted as. Tables of it are bounded in age.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceRow {
    /// `service.name` of the first resource that sent a span of it.
    pub service: String,
    /// When a span of it arrived last.
    pub touched_at: Timestamp,
    /// The spans, in order of arrival, each id once, each with the agent it was counted for.
    pub spans: Vec<SpanFacts>,
    /// What has been counted so far, by agent. It never goes down: a correction waits until later counts exceed it.
    pub counted: BTreeMap<String, TraceTotals>,
}

/// What one trace amounts to for one agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceTotals {
    /// Model calls by model: finished ones, and of these the failed ones.
    pub models: BTreeMap<String, (u64, u64)>,
    /// What all of it used.
    pub usage: Usage,
    /// Finished runs.
    pub runs: u64,
    /// Finished tool calls.
    pub tool_calls: u64,
    /// Of these, the failed ones.
    pub tool_calls_failed: u64,
    /// Successful results: runs, and calls that stand alone.
    pub successes: u64,
    /// Failed results.
    pub failures: u64,
}

/// What one commit changed of a trace: stores apply it with [`TraceRow::absorb`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceDelta {
    /// As in [`TraceRow::service`].
    pub service: String,
    /// As in [`TraceRow::touched_at`].
    pub touched_at: Timestamp,
    /// The spans before these are forgotten.
    pub anew: bool,
    /// Spans that were not there before.
    pub added: Vec<SpanFacts>,
    /// The new value of [`TraceRow::counted`].
    pub counted: BTreeMap<String, TraceTotals>,
}

impl TraceDelta {
    /// All of `row`, whatever was known of it before.
    pub fn whole(row: &TraceRow) -> Self {
        Self {
            service: row.service.clone(),
            touched_at: row.touched_at,
            anew: true,
            added: row.spans.clone(),
            counted: row.counted.clone(),
        }
    }
}

impl TraceRow {
    /// Takes in what one commit changed.
    pub fn absorb(&mut self, delta: TraceDelta) {
        self.service = delta.service;
        self.touched_at = delta.touched_at;
        if delta.anew {
            self.spans.clear();
        }
        self.spans.extend(delta.added);
        self.counted = delta.counted;
    }
}
