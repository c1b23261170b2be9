//! Commands: persisted before anything is sent, and final once ended.

use serde::{Deserialize, Serialize};

use super::{AgentId, CommandId, ProjectId, RestartTarget, Timestamp};

/// Where a command is in its life. `succeeded`, `failed`, `expired` and `cancelled` are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandState {
    /// Waits for a runner.
    Queued,
    /// Handed to a runner, whose answer is awaited.
    Leased,
    /// Carried out.
    Succeeded,
    /// The runner could not carry it out.
    Failed,
    /// Nobody carried it out in time, or nobody said so.
    Expired,
    /// Withdrawn.
    Cancelled,
}

impl CommandState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Leased, Self::Succeeded, Self::Failed, Self::Expired, Self::Cancelled];

    /// The word used in JSON and in the store.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the command can still change.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Leased)
    }
}

/// Who or what asked for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandOrigin {
    /// A person or a program, through the API.
    Api,
    /// The agent's policy, because it went down.
    PolicyDown,
    /// The agent's policy, because it finished nothing.
    PolicyStalled,
    /// The agent's policy, because it went round in circles.
    PolicyLooping,
    /// The agent's policy, because it failed again and again.
    PolicyErroring,
    /// The agent's policy, because Langfuse told of an error.
    WebhookLangfuse,
    /// The agent's policy, because an alert fires.
    WebhookAlertmanager,
}

impl CommandOrigin {
    /// The word used in JSON, labels and the store.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::PolicyDown => "policy:down",
            Self::PolicyStalled => "policy:stalled",
            Self::PolicyLooping => "policy:looping",
            Self::PolicyErroring => "policy:erroring",
            Self::WebhookLangfuse => "webhook:langfuse",
            Self::WebhookAlertmanager => "webhook:alertmanager",
        }
    }

    /// Whether no person asked: dose limits apply.
    pub const fn is_automatic(self) -> bool {
        !matches!(self, Self::Api)
    }
}

/// A restart command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Made by the gateway.
    pub id: CommandId,
    /// The agent's project.
    pub project: ProjectId,
    /// The agent to restart.
    pub agent: AgentId,
    /// What a runner restarts for it.
    pub target: RestartTarget,
    /// Who asked.
    pub origin: CommandOrigin,
    /// Why, in words.
    pub reason: String,
    /// Where it is in its life.
    pub state: CommandState,
    /// When it was queued.
    pub created_at: Timestamp,
    /// Nobody may start it after this time.
    pub not_after: Timestamp,
    /// While leased: when its result is given up.
    pub lease_until: Option<Timestamp>,
    /// How often it was handed out.
    pub attempts: u32,
    /// The peer that took it last (`address:port` of its connection), the only hint at who a runner is.
    pub runner: Option<String>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The runner's words about the outcome.
    pub result: Option<String>,
}
