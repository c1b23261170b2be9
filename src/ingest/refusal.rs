//! Why something was not done, and how that looks to a client.

use std::sync::Arc;

use axum::http::StatusCode;

use crate::http::ApiError;
use crate::model::{AgentId, AgentNameError, WINDOWS_MAX};

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The project has as many agents as it may have.
    #[error("upgrade_required")]
    AgentLimit,
    /// No such agent in this project.
    #[error("agent not found")]
    NoAgent,
    /// No such command in this project.
    #[error("command not found")]
    NoCommand,
    /// No runner has ever said how the agent is restarted.
    #[error(
        "no restart target is known for this agent; start a runner that watches it, so that it reports restart_type and restart_target"
    )]
    NoTarget,
    /// The project takes only agents that somebody registered.
    #[error(
        "agent {name:?} is not registered in this project, which takes only registered agents{}",
        did_you_mean(near)
    )]
    NotRegistered {
        /// The name.
        name: Arc<str>,
        /// A name that may have been meant.
        near: Option<Arc<str>>,
    },
    /// Somebody must approve the name first.
    #[error("agent {name:?} waits for approval by an administrator of this project{}", did_you_mean(near))]
    AwaitsApproval {
        /// The name.
        name: Arc<str>,
        /// A name that may have been meant.
        near: Option<Arc<str>>,
    },
    /// Somebody turned the name away.
    #[error("agent {name:?} was turned away by an administrator of this project")]
    TurnedAway {
        /// The name.
        name: Arc<str>,
    },
    /// Nobody asked for this name.
    #[error("registration not found")]
    NoRegistration,
    /// Another agent has the name, or had it.
    #[error(
        "the name {name:?} belongs to agent {agent}, which goes by {goes_by:?}; merge the two if they are the same agent"
    )]
    NameTaken {
        /// The name.
        name: Arc<str>,
        /// Whose it is.
        agent: AgentId,
        /// What that one is called now.
        goes_by: Arc<str>,
    },
    /// An agent cannot become part of itself.
    #[error("an agent cannot be merged into itself")]
    SameAgent,
    /// Somebody changed it meanwhile.
    #[error("the agent's settings were changed meanwhile; read it again and repeat the change with the new ETag")]
    Stale,
    /// A maintenance window holds.
    #[error("a maintenance window holds for this agent; repeat with override=true to restart it all the same")]
    InMaintenance,
    /// No such window in this project.
    #[error("maintenance window not found")]
    NoWindow,
    /// The project has as many windows as it may have.
    #[error("the project has {WINDOWS_MAX} maintenance windows already; delete some that are over")]
    TooManyWindows,
    /// The name cannot be an agent's.
    #[error(transparent)]
    Name(#[from] AgentNameError),
}

fn did_you_mean(near: &Option<Arc<str>>) -> String {
    near.as_ref().map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::AgentLimit => StatusCode::PAYMENT_REQUIRED,
            Refusal::NoAgent => return Self::not_found("Agent"),
            Refusal::NoCommand => return Self::not_found("Command"),
            Refusal::NoRegistration => return Self::not_found("Registration"),
            Refusal::NoWindow => return Self::not_found("Maintenance window"),
            Refusal::NotRegistered { .. } | Refusal::AwaitsApproval { .. } | Refusal::TurnedAway { .. } => {
                StatusCode::FORBIDDEN
            }
            Refusal::Stale => StatusCode::PRECONDITION_FAILED,
            Refusal::NoTarget | Refusal::NameTaken { .. } | Refusal::InMaintenance | Refusal::TooManyWindows => {
                StatusCode::CONFLICT
            }
            Refusal::SameAgent | Refusal::Name(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, refusal.to_string())
    }
}
