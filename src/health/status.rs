//! The one word: a function of the conditions and of where the agent is in its life. The first match wins.

use super::Moment;
use crate::model::{AgentState, Condition, Level, Policy, Status, Timestamp};

/// Signs of life after which a run has settled.
const SIGNALS_TO_SETTLE: u32 = 2;

/// The status that `state`'s conditions amount to.
pub fn derive(state: &AgentState, policy: &Policy, moment: &Moment<'_>) -> Status {
    let hard = |condition| state.conditions.is(condition, Level::Hard);
    if state.life.paused {
        Status::Paused
    } else if state.life.maintenance_until.is_some() {
        Status::Maintenance
    } else if state.life.stopped_at.is_some() && !hard(Condition::Down) && !hard(Condition::Stalled) {
        Status::Stopped
    } else if state.restarts.awaits_signal || state.restarts.open.is_some_and(|open| open.running) {
        Status::Restarting
    } else if hard(Condition::Down) {
        Status::Down
    } else if state.life.run_since.is_none() && hard(Condition::Stalled) {
        // Only a schedule expects something of an agent that does not run.
        Status::Stalled
    } else if state.life.run_since.is_none() {
        Status::Unknown
    } else if starting_until(state, policy, moment).is_some() {
        Status::Starting
    } else if hard(Condition::Looping) {
        Status::Looping
    } else if hard(Condition::OverBudget) {
        Status::OverBudget
    } else if hard(Condition::Erroring) {
        Status::Erroring
    } else if hard(Condition::Stalled) {
        Status::Stalled
    } else if state.conditions.active().any(|(condition, _)| degrades(condition)) {
        Status::Degraded
    } else {
        Status::Healthy
    }
}

/// Flapping and a silent group are about alerts and restarts, not about how the agent is.
pub const fn degrades(condition: Condition) -> bool {
    !matches!(condition, Condition::Flapping | Condition::SilentGroup)
}

/// Heard for the first time in this run, and neither confirmed by a second sign of life nor by a result: until when that
/// counts as starting.
pub(super) fn starting_until(state: &AgentState, policy: &Policy, moment: &Moment<'_>) -> Option<Timestamp> {
    let since = state.life.run_since?;
    let is_settled =
        state.life.run_signals >= SIGNALS_TO_SETTLE || state.work.last_result.is_some_and(|at| at >= since);
    Some(moment.presence.after(since, policy.start_grace)).filter(|end| !is_settled && moment.now < *end)
}
