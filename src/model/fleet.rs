//! What is remembered and expected of a project as a whole.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::{Money, Spend, Timestamp};

/// Automatic restarts of one project within a minute, at most.
pub const RESTARTS_PER_MINUTE: usize = 10;

/// What is remembered of a project as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProjectState {
    /// What all of its agents spent lately; `None` while no budget is set.
    pub spend: Option<Box<Spend>>,
    /// Whether that is more than the project's budget.
    pub over_budget: bool,
    /// When its newest automatic restarts were asked for, newest last; at most [`RESTARTS_PER_MINUTE`].
    pub restarts: Vec<Timestamp>,
    /// Automatic restarts that failed since the last restart that succeeded.
    pub failed_in_row: u32,
}

/// What a project may spend, all of its agents together.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectBudget {
    /// In a rolling hour.
    pub hourly: Option<Money>,
    /// On a calendar day of `timezone`.
    pub daily: Option<Money>,
    /// Where the project's days begin and end.
    pub timezone: TimeZone,
}
