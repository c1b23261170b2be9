//! What is remembered of one trace while its spans arrive.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ProjectId, SpanFacts, Timestamp, Usage};

/// How many spans of one trace are remembered. When it is full, the trace begins anew: what comes is counted without
/// its place among the spans before.
pub const TRACE_SPANS_MAX: usize = 4096;

/// [`SpanFacts::agent`] of spans that count for the trace's [`Home`]. Names are never empty.
pub const AT_HOME: &str = "";

/// One trace: its spans so far, and what they have already been counted as. Tables of it are bounded in age.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceRow {
    /// All but the spans.
    pub head: TraceHead,
    /// The spans, in order of arrival, each id once, each with the agent it counts for once that is decided.
    pub spans: Vec<SpanFacts>,
}

/// What is known of a trace as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceHead {
    /// `service.name` of the first resource that sent a span of it.
    pub service: Arc<str>,
    /// When a span of it arrived last.
    pub touched_at: Timestamp,
    /// What has been counted so far, by agent. It never goes down: a correction waits until later counts exceed it.
    pub counted: BTreeMap<Arc<str>, Box<TraceTotals>>,
    /// The agent of spans that name none and have no agent above them, once the first of them was counted.
    pub home: Option<Home>,
    /// Since when a span waits for the span that names its agent.
    pub held_since: Option<Timestamp>,
    /// Nothing more came for so long that the run counts as ended without its last span.
    pub abandoned: bool,
    /// When the trace must be looked at though nothing arrives; [`Timestamp::MAX`] when never.
    pub deadline: Timestamp,
}

impl Default for TraceHead {
    fn default() -> Self {
        Self {
            service: Arc::default(),
            touched_at: Timestamp::default(),
            counted: BTreeMap::new(),
            home: None,
            held_since: None,
            abandoned: false,
            deadline: Timestamp::MAX,
        }
    }
}

/// The agent for which a trace's nameless spans count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// Its name.
    pub agent: Arc<str>,
    /// Only for want of a better one: nobody had named an agent when waiting came to its end.
    pub provisional: bool,
}

/// What one trace amounts to for one agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceTotals {
    /// Model calls by model: finished ones, and of these the failed ones.
    pub models: BTreeMap<Arc<str>, (u64, u64)>,
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

impl TraceTotals {
    /// Adds what was counted under another name.
    pub fn join(&mut self, other: &Self) {
        for (model, (calls, failed)) in &other.models {
            let sums = self.models.entry(model.clone()).or_default();
            *sums = (sums.0 + calls, sums.1 + failed);
        }
        self.usage.add(&other.usage);
        self.runs += other.runs;
        self.tool_calls += other.tool_calls;
        self.tool_calls_failed += other.tool_calls_failed;
        self.successes += other.successes;
        self.failures += other.failures;
    }
}

/// What one commit changed of a trace: stores apply it with [`TraceRow::absorb`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceDelta {
    /// The new value of [`TraceRow::head`].
    pub head: TraceHead,
    /// The spans before these are forgotten.
    pub anew: bool,
    /// Spans that were there before and changed, by their place in [`TraceRow::spans`].
    pub changed: BTreeMap<u32, SpanFacts>,
    /// Spans that were not there before.
    pub added: Vec<SpanFacts>,
}

impl TraceDelta {
    /// All of `row`, whatever was known of it before.
    pub fn whole(row: TraceRow) -> Self {
        Self { head: row.head, anew: true, changed: BTreeMap::new(), added: row.spans }
    }

    /// What became of a row of which `stored` spans were there before, the ones at `changed` otherwise.
    pub fn since(row: TraceRow, stored: usize, changed: impl IntoIterator<Item = u32>) -> Self {
        let TraceRow { head, mut spans } = row;
        // Mostly nothing was there before: then the list stays as it is.
        let added = if stored == 0 { std::mem::take(&mut spans) } else { spans.split_off(stored.min(spans.len())) };
        let then = |place: u32| Some((place, std::mem::take(spans.get_mut(place as usize)?)));
        let changed = changed.into_iter().filter_map(then).collect();
        Self { head, anew: false, changed, added }
    }
}

impl TraceRow {
    /// Takes in what one commit changed.
    pub fn absorb(&mut self, delta: TraceDelta) {
        self.head = delta.head;
        if delta.anew {
            self.spans.clear();
        }
        for (place, span) in delta.changed {
            if let Some(known) = self.spans.get_mut(place as usize) {
                *known = span;
            }
        }
        if self.spans.is_empty() {
            self.spans = delta.added;
        } else {
            self.spans.extend(delta.added);
        }
    }
}

/// A service of a project, as resources name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    /// The project.
    pub project: ProjectId,
    /// `service.name`.
    pub name: Arc<str>,
}

/// What was learned of a service from its traces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceRow {
    /// The agents its traces name.
    pub agents: ServiceAgents,
    /// When something was learned last.
    pub learned_at: Timestamp,
    /// Whether a span of it was ever the run of an agent or a workflow.
    pub tells_runs: bool,
    /// How often a run of it was given up before one was ever told, at most [`GIVEN_UP_MAX`].
    pub given_up: u8,
    /// Newest model calls that another instrumentation may tell of too, oldest first; at most [`RECENT_CALLS_MAX`].
    pub recent_calls: VecDeque<RecentCall>,
}

/// After so many traces whose calls stayed without the span above them, and none with a run, the service is taken to
/// leave such spans out: no more runs of it are given up.
pub const GIVEN_UP_MAX: u8 = 2;

/// How many calls of a service are compared with what other traces tell.
pub const RECENT_CALLS_MAX: usize = 64;

/// The agents of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceAgents {
    /// None is known yet.
    #[default]
    Unknown,
    /// All of its traces are about this one.
    Only(Arc<str>),
    /// There are several: each trace has to tell itself.
    Several,
}

impl ServiceRow {
    /// The agent that all traces of the service are about, where there is but one.
    pub fn only(&self) -> Option<&Arc<str>> {
        match &self.agents {
            ServiceAgents::Only(name) => Some(name),
            ServiceAgents::Unknown | ServiceAgents::Several => None,
        }
    }
}

/// A model call that was counted, as far as it takes to know it again in another trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentCall {
    /// Digest of model and token counts.
    pub print: u64,
    /// Whether the provider's own SDK told of it.
    pub provider_sdk: bool,
    /// Start by the sender's clock.
    pub start: Timestamp,
    /// End by the sender's clock.
    pub end: Timestamp,
    /// Whether the tokens read from a cache are known.
    pub cache_known: bool,
    /// Whether a cost was reported.
    pub cost_reported: bool,
}
