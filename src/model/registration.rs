//! How a name that is new to a project comes to be an agent.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// What happens when something is told of an agent that does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegistrationMode {
    /// It comes to exist.
    #[default]
    Open,
    /// It is refused until somebody registers it.
    Strict,
    /// It is refused and noted down until somebody approves it.
    Approve,
}

impl RegistrationMode {
    /// The word used in the configuration and in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Strict => "strict",
            Self::Approve => "approve",
        }
    }
}

/// How many names of a project may wait for approval; of more, the first ones are kept.
pub const REGISTRATIONS_MAX: usize = 1000;

/// A name that waits for somebody's word, or was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Whether somebody turned it away.
    pub rejected: bool,
    /// When it was heard first.
    pub first_at: Timestamp,
    /// When it was heard last, to the minute.
    pub last_at: Timestamp,
    /// How often it was noted, at most once a minute.
    pub attempts: u32,
}
