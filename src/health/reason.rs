//! Why an agent has its status: for people as one sentence, for machines as fields.

use serde_json::{Value, json};

use super::conditions;
use crate::model::{AgentState, Condition, Policy, Source, Status, Timestamp, human};

/// What was expected, what was seen, since when, and the likely cause. Empty while all is well.
pub fn reason(state: &AgentState, policy: &Policy, now: Timestamp) -> String {
    match state.status {
        Status::Unknown if state.life.gone_since.is_some() => gone(state),
        Status::Unknown => "nothing heard from this agent yet".into(),
        Status::Starting | Status::Healthy | Status::Looping | Status::OverBudget | Status::Maintenance => {
            String::new()
        }
        Status::Paused => "paused by an operator".into(),
        Status::Stopped => match state.life.stopped_at {
            Some(at) => format!("shut down cleanly at {}", at.time_of_day()),
            None => "shut down cleanly".into(),
        },
        Status::Restarting if state.restarts.awaits_signal => "restarted; waiting for its first sign of life".into(),
        Status::Restarting => "a runner is restarting it".into(),
        Status::Down => down(state, policy, now),
        Status::Stalled => stalled(state, policy, now),
        Status::Erroring => {
            format!("{} failures in a row{}", state.work.failures_in_row.max(policy.failures), last_error(state))
        }
        Status::Degraded => degraded(state, policy, now),
    }
}

fn down(state: &AgentState, policy: &Policy, now: Timestamp) -> String {
    let Some(alive) = state.life.alive() else {
        return if state.life.gone_since.is_some() {
            gone(state)
        } else {
            "nothing heard since it was restarted".into()
        };
    };
    let expected = human(conditions::interval(state, policy));
    let silent = human(now.since(alive));
    let cause = if state.life.gone_since.is_some() {
        "the runner says it does not run"
    } else if state.life.own.is_some() && state.life.supervisor.is_some_and(|at| at > alive) {
        "its process runs but the agent is mute; likely cause: agent hung or its network is cut"
    } else {
        "likely cause: process ended, host unreachable or network cut"
    };
    format!("no sign of life for {silent} (expected every {expected}); last at {}; {cause}", alive.time_of_day())
}

fn stalled(state: &AgentState, policy: &Policy, now: Timestamp) -> String {
    let beats = format!("heartbeats normal ({} interval)", human(conditions::interval(state, policy)));
    let completions = match state.work.last_result {
        Some(at) => {
            format!("no completion for {}; last completion {}", human(now.since(at)), at.time_of_day())
        }
        None => "no completion yet".into(),
    };
    format!("{beats}; {completions}; likely cause: agent logic stalled or upstream API unresponsive")
}

fn degraded(state: &AgentState, policy: &Policy, now: Timestamp) -> String {
    let mut parts = Vec::new();
    if state.life.gone_since.is_some() {
        parts.push(gone(state));
    }
    if state.conditions.get(Condition::Late).is_some()
        && let Some(alive) = state.life.alive()
    {
        let expected = human(conditions::interval(state, policy));
        parts.push(format!("no sign of life for {} (expected every {expected})", human(now.since(alive))));
    }
    if state.conditions.get(Condition::Erroring).is_some() {
        parts.push(match state.work.failures_in_row {
            0 => "recovering from failures".into(),
            1 => format!("1 failure{}", last_error(state)),
            n => format!("{n} failures in a row{}", last_error(state)),
        });
    }
    if let Some(report) = &state.report {
        let who = match report.source {
            Source::Agent => "the agent reports",
            Source::Langfuse => "Langfuse reports",
            other => return format!("{} reports: {}", other.word(), report.message),
        };
        parts.push(format!("{who}: {}", report.message));
    }
    parts.join("; ")
}

fn gone(state: &AgentState) -> String {
    let never = if state.life.alive().is_none() { " and has never seen it run" } else { "" };
    format!("the runner says it does not run{never}{}", last_error(state))
}

fn last_error(state: &AgentState) -> String {
    state.last_error.as_ref().map_or_else(String::new, |e| format!("; last error: {}", e.message))
}

/// The facts behind the status, as fields.
pub fn evidence(state: &AgentState, policy: &Policy, now: Timestamp) -> Value {
    let time = |at: Option<Timestamp>| at.map(|t| t.to_string());
    let silent = state.life.alive().map(|at| now.since(at).as_secs_f64());
    json!({
        "interval_seconds": conditions::interval(state, policy).as_secs_f64(),
        "last_alive": time(state.life.alive()),
        "silent_seconds": silent,
        "last_result": time(state.work.last_result),
        "failures_in_row": state.work.failures_in_row,
        "last_error": state.last_error.as_ref().map(|e| e.message.as_str()),
        "conditions": state.conditions.active().map(|(c, a)| json!({"name": c.word(), "level": a.level})).collect::<Vec<_>>(),
    })
}
