//! What happened, as rows people can read.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AgentId, EventId, ProjectId, Status, Timestamp};

/// What kind of thing happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The agent's status changed.
    Transition,
    /// Langfuse told of an error.
    LangfuseError,
    /// Langfuse told of something that is no error.
    LangfuseNotice,
    /// A restart was queued, refused, carried out or given up.
    Restart,
    /// One request cost more than it may.
    CostSpike,
    /// Most of a budget is spent.
    BudgetWarning,
    /// Many agents of a project fell silent together.
    SilentGroup,
    /// The agent changes its status too often.
    Flapping,
    /// No further automatic restart comes: a person must act.
    RestartExhausted,
    /// A project has spent more than its budget.
    BudgetExceeded,
    /// Restarts of a project fail one after the other: automatic ones are halted.
    RestartsHalted,
    /// Alertmanager told of an alert that fires or is resolved.
    Alert,
    /// What a job said in a ping that is only to be kept.
    Log,
}

impl EventKind {
    /// The word used in JSON and in the store.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Transition => "transition",
            Self::LangfuseError => "langfuse_error",
            Self::LangfuseNotice => "langfuse_notice",
            Self::Restart => "restart",
            Self::CostSpike => "cost_spike",
            Self::BudgetWarning => "budget_warning",
            Self::Flapping => "flapping",
            Self::RestartExhausted => "restart_exhausted",
            Self::BudgetExceeded => "budget_exceeded",
            Self::RestartsHalted => "restarts_halted",
            Self::SilentGroup => "silent_group",
            Self::Alert => "alert",
            Self::Log => "log",
        }
    }
}

/// Something that happened to an agent, as decided by `health::apply`, before it has a number.
#[derive(Clone, Debug, PartialEq)]
pub struct EventDraft {
    /// What kind of thing.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
    /// For transitions: the status before and after. They chain.
    pub transition: Option<(Status, Status)>,
    /// Whether it is confirmed: hard transitions alert and act.
    pub hard: bool,
    /// Why, in words.
    pub cause: String,
    /// Why, as fields.
    pub evidence: Value,
}

/// A stored event. `agent` is `None` for events that could not be tied to an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number; rises with time.
    pub id: EventId,
    /// The project it belongs to.
    pub project: ProjectId,
    /// The agent it is about.
    pub agent: Option<AgentId>,
    /// What happened.
    pub draft: EventDraft,
}
