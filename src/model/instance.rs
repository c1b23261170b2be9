//! What is remembered of one instance of a service: which of its signals is believed, and what its metrics stand at.
//!
//! Agents often tell the same things in spans, in log records and in metrics. Of each kind of facts the best signal that
//! tells it counts, and the others do not.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ProjectId, Timestamp, TraceTotals};

/// How many series of cumulative metrics are remembered of one instance; more are not counted.
pub const INSTANCE_SERIES_MAX: usize = 256;
/// For how many agents what one instance told is held back.
pub const INSTANCE_HELD_MAX: usize = 32;

/// A signal of OpenTelemetry. The later one is believed more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Sums over time.
    Metrics,
    /// Records of single things that happened.
    Logs,
    /// Records of single things that happened, and how they hang together.
    #[default]
    Spans,
}

/// A kind of facts that more than one signal tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Model calls, tokens, cost.
    Calls,
    /// Tool calls.
    Tools,
    /// Runs and results.
    Runs,
}

impl Topic {
    /// All of them, in the order of [`InstanceRow::told_by`].
    pub const ALL: [Self; 3] = [Self::Calls, Self::Tools, Self::Runs];
}

/// An instance of a service of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstanceKey {
    /// The project.
    pub project: ProjectId,
    /// Digest of `service.name` and of what tells instances of it apart.
    pub instance: u64,
}

/// Who told what arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Teller {
    /// The signal it came in.
    pub signal: Signal,
    /// [`InstanceKey::instance`]; `None` where there is but one signal.
    pub instance: Option<u64>,
    /// While the instance is new, spans may be about to tell the same, and know better whom it is about.
    pub waits: bool,
}

/// What is remembered of an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceRow {
    /// When it was first heard of.
    pub first_at: Timestamp,
    /// When something was remembered of it last.
    pub touched_at: Timestamp,
    /// The best signal that told each [`Topic`].
    pub told_by: [Option<Signal>; 3],
    /// What signals other than spans counted lately: since when, and what; the newer part first.
    pub lately: [(Timestamp, TraceTotals); 2],
    /// What a lesser signal has counted, and the better one has yet to tell again.
    pub debt: TraceTotals,
    /// Since when the debt is owed.
    pub owed_since: Timestamp,
    /// What lesser signals told of a new instance, by agent: it counts unless a better one tells it soon.
    pub held: BTreeMap<Arc<str>, Held>,
    /// When [`Self::held`] counts; [`Timestamp::MAX`] when nothing is held.
    pub deadline: Timestamp,
    /// What cumulative metrics stand at, by the digest of the series.
    pub series: BTreeMap<u64, Series>,
}

impl InstanceRow {
    /// Of an instance first heard of at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self {
            first_at: now,
            touched_at: now,
            told_by: [None; 3],
            lately: <[(Timestamp, TraceTotals); 2]>::default(),
            debt: TraceTotals::default(),
            owed_since: Timestamp::default(),
            held: BTreeMap::new(),
            deadline: Timestamp::MAX,
            series: BTreeMap::new(),
        }
    }
}

/// What is held back for one agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// How much it is.
    pub totals: TraceTotals,
    /// When the newest of it ended.
    pub newest_end: Timestamp,
}

/// Where a series of a cumulative metric stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Since when it counts, by the sender's clock; zero when it did not say.
    pub start: Timestamp,
    /// When it was told last.
    pub time: Timestamp,
    /// Its value then.
    pub value: u64,
}

/// What a data point measures. Values are counts, of money nano-dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Input tokens.
    Input,
    /// Input tokens read from a cache, which are among the input tokens.
    CachedInput,
    /// Input tokens read from a cache, which are not among those told as input.
    CachedBesideInput,
    /// Output tokens.
    Output,
    /// Output tokens spent on reasoning.
    Reasoning,
    /// What it cost, in nano-dollars.
    Cost,
    /// Model calls.
    Calls,
    /// Tool calls.
    ToolCalls,
    /// Runs of an agent.
    Runs,
}

impl Measure {
    /// The kind of facts it tells.
    pub const fn topic(self) -> Topic {
        match self {
            Self::ToolCalls => Topic::Tools,
            Self::Runs => Topic::Runs,
            _ => Topic::Calls,
        }
    }
}

/// A data point that tells something about an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Digest of the metric and of the attributes.
    pub series: u64,
    /// The agent it names.
    pub agent: Option<Arc<str>>,
    /// The model it names.
    pub model: Option<Arc<str>>,
    /// What it measures.
    pub measure: Measure,
    /// What it counts failed.
    pub failed: bool,
    /// Whether it tells all since the start, and not only what is new.
    pub cumulative: bool,
    /// Since when it counts, by the sender's clock.
    pub start: Timestamp,
    /// When it was told.
    pub time: Timestamp,
    /// How much.
    pub value: u64,
}

/// The data points of one instance that arrived in one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Digest of the instance.
    pub instance: u64,
    /// `service.name` of the resource: the agent of points that name none.
    pub service: Arc<str>,
    /// The project that a rule names for the resource; `None`: that of the sender's key.
    pub project: Option<String>,
    /// The points, in order of arrival.
    pub points: Vec<Point>,
}
