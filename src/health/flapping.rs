//! Flapping: a status that changes hard too often. It says nothing about the agent's health by itself; it quiets alerts
//! and holds automatic restarts.

use std::time::Duration;

use serde_json::json;

use crate::model::{AgentState, Condition, EventDraft, EventKind, FLAPS_MAX, Level, Status, Timestamp};

/// Hard changes are counted over this time.
const WINDOW: Duration = Duration::from_secs(1800);
/// This many within the window are flapping.
const TOO_MANY: usize = 5;
/// At most this many within the window end it.
const CALM: usize = 1;

/// Remembers a change of the status when it is hard: into or out of what alerts.
pub fn note(state: &mut AgentState, before: Status, after: Status, now: Timestamp) {
    let is_grave = |s: Status| s.severity() >= 3 || s == Status::Stalled;
    // What an operator or the gateway does to the agent is no unrest of the agent: an agent that dies after each restart is
    // the dose limit's case.
    let is_others =
        [before, after].iter().any(|s| matches!(s, Status::Paused | Status::Maintenance | Status::Restarting));
    if is_grave(before) != is_grave(after) && !is_others {
        if state.flaps.len() == FLAPS_MAX {
            state.flaps.remove(0);
        }
        state.flaps.push(now);
    }
}

/// What was seen, in words.
pub fn reason(state: &AgentState) -> String {
    let minutes = WINDOW.as_secs() / 60;
    format!(
        "status changed hard {} times in {minutes} min; alerts are quieted, automatic restarts are held",
        state.flaps.len()
    )
}

/// The one event that stands for all changes while it lasts.
pub fn event(state: &AgentState, now: Timestamp) -> EventDraft {
    EventDraft {
        kind: EventKind::Flapping,
        at: now,
        transition: None,
        hard: true,
        cause: reason(state),
        evidence: json!({"hard_changes": state.flaps.iter().map(ToString::to_string).collect::<Vec<_>>()}),
    }
}

/// Judges `flapping` at `now`; gives the time at which the judgement can next change by itself.
pub fn judge(state: &mut AgentState, now: Timestamp) -> Timestamp {
    state.flaps.retain(|at| at.plus(WINDOW) > now);
    let count = state.flaps.len();
    let was_active = state.conditions.get(Condition::Flapping).is_some();
    let is_active = count >= TOO_MANY || (was_active && count > CALM);
    state.conditions.set(Condition::Flapping, is_active.then_some(Level::Hard), now);
    match state.flaps.first() {
        Some(first) if is_active => first.plus(WINDOW),
        _ => Timestamp::MAX,
    }
}
