//! How the values of the catalogue are read from a row, where it takes more than a field.
//!
//! A fleet of 100,000 agents makes millions of series if every counter that could ever count is told as 0. So of a
//! counter with labels the everyday series are always told, and the others from their first count on.

use super::catalogue::{Each, Number};
use crate::model::{Condition, LoopSignal, Status, Timestamp};
use crate::store::AgentRow;

/// Whether the agent runs; `None` when that is not known.
pub(super) fn up(row: &AgentRow) -> Option<bool> {
    let state = &row.state;
    match state.status {
        Status::Unknown => None,
        Status::Down | Status::Stopped | Status::Restarting => Some(false),
        // These two hide what was measured; the conditions still tell.
        Status::Paused | Status::Maintenance => {
            let silent = state.conditions.get(Condition::Down).is_some() || state.life.stopped_at.is_some();
            state.life.alive().map(|_| !silent)
        }
        Status::Starting
        | Status::Healthy
        | Status::Degraded
        | Status::Stalled
        | Status::Erroring
        | Status::Looping
        | Status::OverBudget => Some(true),
    }
}

pub(super) fn uptime(row: &AgentRow, now: Timestamp) -> Option<Number> {
    let since = row.state.life.run_since.filter(|_| up(row) == Some(true))?;
    Some(Number::Float(now.since(since).as_secs_f64()))
}

pub(super) fn time(at: Timestamp) -> Number {
    Number::Float(at.as_secs_f64())
}

pub(super) fn conditions(row: &AgentRow, each: &mut Each<'_>) {
    // A silent group is a fact about many agents; it has no place among those of one.
    for condition in Condition::ALL.into_iter().filter(|c| *c != Condition::SilentGroup) {
        each(&[condition.word()], Number::Int(row.state.conditions.get(condition).is_some().into()));
    }
}

pub(super) fn status_changes(row: &AgentRow, each: &mut Each<'_>) {
    for (status, times) in Status::ALL.into_iter().zip(row.state.totals.entered) {
        // `down` is what people count; a series that begins with 1 would hide the first time from `increase()`.
        if times > 0 || status == Status::Down {
            each(&[status.word()], Number::Int(times.into()));
        }
    }
}

pub(super) fn heartbeats(row: &AgentRow, each: &mut Each<'_>) {
    let totals = &row.state.totals;
    each(&["agent"], Number::Int(totals.heartbeats));
    if totals.supervisor_beats > 0 {
        each(&["supervisor"], Number::Int(totals.supervisor_beats));
    }
}

pub(super) fn results(row: &AgentRow, each: &mut Each<'_>) {
    each(&["success"], Number::Int(row.state.totals.successes));
    each(&["failure"], Number::Int(row.state.totals.failures));
}

pub(super) fn model_calls(row: &AgentRow, each: &mut Each<'_>) {
    for model in &row.state.totals.models {
        each(&[&model.model, "success"], Number::Int(model.ok));
        if model.failed > 0 {
            each(&[&model.model, "failure"], Number::Int(model.failed));
        }
    }
}

pub(super) fn tokens(row: &AgentRow, each: &mut Each<'_>) {
    let totals = &row.state.totals;
    let directions =
        [("input", totals.tokens_input), ("output", totals.tokens_output), ("unspecified", totals.tokens_unspecified)];
    for (direction, tokens) in directions {
        if let Some(tokens) = tokens {
            each(&[direction], Number::Int(tokens));
        }
    }
}

pub(super) fn restarts(row: &AgentRow, each: &mut Each<'_>) {
    const SERIES: [[&str; 2]; 4] =
        [["automatic", "success"], ["automatic", "failure"], ["manual", "success"], ["manual", "failure"]];
    // Once something can restart the agent all four are told, so that `increase()` sees the first restart.
    let restartable = row.state.restart_target.is_some();
    for (labels, times) in SERIES.iter().zip(row.state.totals.restarts) {
        if times > 0 || restartable {
            each(labels, Number::Int(times.into()));
        }
    }
}

pub(super) fn info(row: &AgentRow, each: &mut Each<'_>) {
    let restart_type = row.state.restart_target.as_ref().map_or("", |target| target.kind.as_str());
    each(&[row.state.agent_type.as_deref().unwrap_or(""), restart_type], Number::Int(1));
}

pub(super) fn loops(row: &AgentRow, each: &mut Each<'_>) {
    for (signal, times) in LoopSignal::ALL.into_iter().zip(row.state.totals.loops) {
        if times > 0 || signal == LoopSignal::ToolCallRate {
            each(&[signal.word()], Number::Int(times.into()));
        }
    }
}
