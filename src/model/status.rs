//! The words for how an agent is: one status, and the conditions it is derived from.

use serde::{Deserialize, Serialize};

/// How an agent is, as one word. The order of precedence and what each status emits is fixed in `health::status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Registered or restored, and nothing heard in this run yet.
    #[default]
    Unknown,
    /// Heard for the first time, or again after silence; not yet settled.
    Starting,
    /// Nothing is wrong.
    Healthy,
    /// Something is not as it should be, but the agent works.
    Degraded,
    /// Alive, but nothing gets finished although it should.
    Stalled,
    /// Fails again and again.
    Erroring,
    /// Does the same thing over and over.
    Looping,
    /// Has spent more than its budget.
    OverBudget,
    /// Silent for longer than it may be.
    Down,
    /// Ended on purpose.
    Stopped,
    /// An operator does not want it watched.
    Paused,
    /// Inside a maintenance window.
    Maintenance,
    /// A restart command is being carried out.
    Restarting,
}

impl Status {
    /// Every status, in order of its code.
    pub const ALL: [Self; 13] = [
        Self::Unknown,
        Self::Starting,
        Self::Healthy,
        Self::Degraded,
        Self::Stalled,
        Self::Erroring,
        Self::Looping,
        Self::OverBudget,
        Self::Down,
        Self::Stopped,
        Self::Paused,
        Self::Maintenance,
        Self::Restarting,
    ];

    /// The number of the status in metrics. Stable for ever; new statuses get new numbers.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The word used in JSON, labels and texts.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Stalled => "stalled",
            Self::Erroring => "erroring",
            Self::Looping => "looping",
            Self::OverBudget => "over_budget",
            Self::Down => "down",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::Maintenance => "maintenance",
            Self::Restarting => "restarting",
        }
    }

    /// The coarser word that clients of the ClevAgent wire know (`status` of a heartbeat answer and of a status row).
    pub const fn wire_word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Starting | Self::Healthy => "healthy",
            Self::Degraded | Self::Stalled | Self::Looping | Self::OverBudget | Self::Restarting => "degraded",
            Self::Erroring => "error",
            Self::Down => "down",
            Self::Stopped => "stopped",
            Self::Paused | Self::Maintenance => "paused",
        }
    }

    /// 0 fine, 1 worth a look, 2 warning, 3 critical.
    pub const fn severity(self) -> u8 {
        match self {
            Self::Healthy | Self::Stopped | Self::Paused | Self::Maintenance => 0,
            Self::Unknown | Self::Starting | Self::Restarting => 1,
            Self::Degraded | Self::Stalled => 2,
            Self::Down | Self::Looping | Self::OverBudget | Self::Erroring => 3,
        }
    }
}

/// One thing that can be true of an agent. Conditions are independent; the status is a function of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// No sign of life for longer than `late_after` intervals.
    Late,
    /// No sign of life for longer than `down_after` intervals and the grace.
    Down,
    /// Alive, work expected, and no result for `stalled_after`.
    Stalled,
    /// Failures in a row, or too many in the window.
    Erroring,
    /// Repeats itself.
    Looping,
    /// Spent more than a budget.
    OverBudget,
    /// The agent, its supervisor or a tool says something is wrong.
    Degraded,
    /// Changes its status too often.
    Flapping,
    /// Many agents of its group fell silent together.
    SilentGroup,
}

impl Condition {
    /// Every condition, in order of its index.
    pub const ALL: [Self; 9] = [
        Self::Late,
        Self::Down,
        Self::Stalled,
        Self::Erroring,
        Self::Looping,
        Self::OverBudget,
        Self::Degraded,
        Self::Flapping,
        Self::SilentGroup,
    ];

    /// The word used in JSON, labels and texts.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Down => "down",
            Self::Stalled => "stalled",
            Self::Erroring => "erroring",
            Self::Looping => "looping",
            Self::OverBudget => "over_budget",
            Self::Degraded => "degraded",
            Self::Flapping => "flapping",
            Self::SilentGroup => "silent_group",
        }
    }
}

/// How sure a condition is: soft is visible, hard alerts and acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Seen, not yet confirmed.
    Soft,
    /// Confirmed.
    Hard,
}

/// The state of one active condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// Soft or hard.
    pub level: Level,
    /// When it became active.
    pub since: super::Timestamp,
}

/// Which conditions are active, by [`Condition`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions([Option<Active>; Condition::ALL.len()]);

impl Conditions {
    /// The condition's state, `None` when it is not active.
    pub const fn get(&self, condition: Condition) -> Option<Active> {
        self.0[condition as usize]
    }

    /// Whether the condition is active at exactly this level.
    pub fn is(&self, condition: Condition, level: Level) -> bool {
        self.get(condition).is_some_and(|a| a.level == level)
    }

    /// Sets the condition to `level` (`None` clears it); `since` is kept while it stays active.
    pub fn set(&mut self, condition: Condition, level: Option<Level>, since: super::Timestamp) {
        let slot = &mut self.0[condition as usize];
        *slot = level.map(|level| Active { level, since: slot.map_or(since, |a| a.since) });
    }

    /// The active ones, in order of [`Condition::ALL`].
    pub fn active(&self) -> impl Iterator<Item = (Condition, Active)> + '_ {
        Condition::ALL.into_iter().filter_map(|c| self.get(c).map(|a| (c, a)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones() {
        for (code, status) in Status::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(status.code()), code, "{status:?}");
        }
        assert_eq!((Status::Down.code(), Status::Restarting.code()), (8, 12));
    }

    #[test]
    fn words_are_the_serialised_ones() {
        for status in Status::ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.word());
        }
        for condition in Condition::ALL {
            assert_eq!(serde_json::to_value(condition).unwrap(), condition.word());
        }
    }
}
