//! One observation in, the new state and its consequences out.

use serde_json::json;

use super::{Fleet, conditions, flapping, reason, restart, signals, status};
use crate::model::{
    AgentState, Body, CommandOrigin, Condition, EventDraft, EventKind, Level, Observation, Policy, Presence, Source,
    Status, Timestamp,
};

/// When something is judged, and since when the gateway could have heard anything.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The time now.
    pub now: Timestamp,
    /// When the gateway was accepting: its own outage is never an agent's.
    pub presence: &'a Presence,
    /// No automatic restart before this time.
    pub restarts_from: Timestamp,
    /// Whether many agents of the agent's project are silent at the same time.
    pub group_silent: bool,
    /// What the limits of the agent's project allow.
    pub fleet: Fleet,
}

/// What follows from an observation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// What happened, in order. Transitions chain: each begins with the status the one before ended with.
    pub events: Vec<EventDraft>,
    /// A restart that policy and dose limits allow.
    pub restart: Option<RestartWish>,
}

/// A restart that policy and dose limits allow.
#[derive(Clone, Debug, PartialEq)]
pub struct RestartWish {
    /// What asked for it.
    pub origin: CommandOrigin,
    /// Why, in words.
    pub reason: String,
}

/// Decides what one observation means for one agent. No clock, no I/O, cannot fail.
pub fn apply(state: &mut AgentState, observation: &Observation, policy: &Policy, moment: &Moment<'_>) -> Effects {
    // Time never runs backwards for an agent, whatever the wall clock does.
    let moment = Moment { now: moment.now.max(state.updated_at), ..*moment };
    let now = moment.now;
    if state.updated_at == Timestamp::default() {
        // The first that is ever heard: what is not known yet is not known since now.
        state.status_since = now;
    }
    state.updated_at = now;
    let mut effects = Effects::default();
    let source = observation.source;
    match &observation.body {
        Body::Heartbeat(beat) => signals::heartbeat(state, beat, policy, now, &mut effects),
        Body::SupervisorReport(report) => signals::supervisor(state, report, source, now),
        Body::WorkStarted => signals::work_started(state, source, now),
        Body::Activity(activity) => signals::activity(state, activity, source, policy, now, &mut effects),
        Body::Problem(problem) => {
            signals::problem(state, problem, source, now, &mut effects);
            if problem.restart {
                ask_after_problem(state, &problem.message, source, policy, &moment, &mut effects);
            }
        }
        Body::Recovered => signals::recovered(state, source, now),
        Body::Dependency(report) => signals::dependency(state, report, now),
        Body::Command(update) => restart::note(state, update, policy, now),
        Body::Paused(paused) => {
            if state.life.paused && !*paused {
                state.life.watched_since = Some(now);
            }
            state.life.paused = *paused;
        }
        Body::Maintenance(until) => {
            if until.is_none() && state.life.maintenance_until.is_some() {
                state.life.watched_since = Some(now);
            }
            state.life.maintenance_until = *until;
        }
        // New settings are no news of an agent that is down: it is judged by them, and does not go down once more.
        Body::PolicyChanged if state.conditions.get(Condition::Down).is_some() => {}
        Body::PolicyChanged => state.life.watched_since = Some(now),
        Body::DeadlinePassed => {}
    }
    settle(state, policy, &moment, &mut effects);
    effects
}

/// Brings conditions, status and deadline up to date, and tells of a change.
fn settle(state: &mut AgentState, policy: &Policy, moment: &Moment<'_>, effects: &mut Effects) {
    let now = moment.now;
    let window_ends = leave_maintenance(state, now);
    let mut deadline = conditions::judge(state, policy, moment).min(window_ends);
    let before = state.status;
    let after = status::derive(state, policy, moment);
    if after != before {
        enter(state, before, after, policy, now, effects);
        flapping::note(state, before, after, now);
    }
    let was_flapping = state.conditions.get(Condition::Flapping).is_some();
    deadline = deadline.min(flapping::judge(state, now));
    if !was_flapping && state.conditions.get(Condition::Flapping).is_some() {
        effects.events.push(flapping::event(state, now));
    }
    if let Some(origin) = restart::asked_by(state.status, policy).filter(|_| effects.restart.is_none()) {
        match restart::decide(state, policy, moment) {
            restart::Decision::Now => {
                effects.restart = Some(RestartWish { origin, reason: reason(state, policy, now) });
            }
            restart::Decision::NotBefore(at) => deadline = deadline.min(at),
            restart::Decision::No(restart::Obstacle::Exhausted) => tell_exhausted(state, policy, now, effects),
            restart::Decision::No(_) => {}
        }
    }
    // Re-armed lazily: a later deadline waits until the armed one fires; only an earlier one must be stored at once.
    if deadline < state.deadline || state.deadline <= now {
        state.deadline = deadline;
    }
}

/// Ends a maintenance window whose time has come, and gives the time at which one that still holds ends.
fn leave_maintenance(state: &mut AgentState, now: Timestamp) -> Timestamp {
    match state.life.maintenance_until {
        None => Timestamp::MAX,
        Some(until) if until > now => until,
        Some(_) => {
            state.life.maintenance_until = None;
            state.life.watched_since = Some(now);
            Timestamp::MAX
        }
    }
}

fn enter(
    state: &mut AgentState,
    before: Status,
    after: Status,
    policy: &Policy,
    now: Timestamp,
    effects: &mut Effects,
) {
    restart::note_health(state, after, policy, now);
    state.status = after;
    // An agent is down since it was last heard, not since we noticed.
    state.status_since = match after {
        Status::Down => state.conditions.get(Condition::Down).map_or(now, |c| c.since),
        _ => now,
    };
    let entered = &mut state.totals.entered[usize::from(after.code())];
    *entered = entered.saturating_add(1);
    effects.events.push(EventDraft {
        kind: EventKind::Transition,
        at: now,
        transition: Some((before, after)),
        hard: after != Status::Degraded || state.conditions.active().any(|(_, a)| a.level == Level::Hard),
        cause: reason(state, policy, now),
        evidence: json!({
            "since": state.status_since.to_string(),
            "last_alive": state.life.alive().map(|at| at.to_string()),
            "conditions": super::active(state, policy, now),
        }),
    });
}

/// Once, until health makes restarts possible again.
fn tell_exhausted(state: &mut AgentState, policy: &Policy, now: Timestamp, effects: &mut Effects) {
    if std::mem::replace(&mut state.restarts.exhausted, true) {
        return;
    }
    effects.events.push(EventDraft {
        kind: EventKind::RestartExhausted,
        at: now,
        transition: None,
        hard: true,
        cause: restart::Obstacle::Exhausted.to_string(),
        evidence: json!({"automatic_restarts": state.restarts.automatic, "max": policy.restart_max}),
    });
}

/// Someone told of an error and may ask for a restart; policy and dose limits decide.
fn ask_after_problem(
    state: &AgentState,
    message: &str,
    source: Source,
    policy: &Policy,
    moment: &Moment<'_>,
    effects: &mut Effects,
) {
    let (origin, who) = match source {
        Source::Alertmanager => (CommandOrigin::WebhookAlertmanager, "Alertmanager told of an alert"),
        _ => (CommandOrigin::WebhookLangfuse, "Langfuse told of an error"),
    };
    match restart::decide(state, policy, moment) {
        restart::Decision::Now => {
            effects.restart = Some(RestartWish { origin, reason: format!("{who}: {message}") });
        }
        restart::Decision::NotBefore(at) => {
            effects.events.push(refused(moment.now, source, &format!("not before {}", at.time_of_day())));
        }
        restart::Decision::No(restart::Obstacle::NotWanted) => {}
        restart::Decision::No(obstacle) => effects.events.push(refused(moment.now, source, &obstacle.to_string())),
    }
}

fn refused(now: Timestamp, source: Source, why: &str) -> EventDraft {
    EventDraft {
        kind: EventKind::Restart,
        at: now,
        transition: None,
        hard: false,
        cause: format!("restart not queued: {why}"),
        evidence: json!({"outcome": "refused", "why": why, "source": source.word()}),
    }
}

/// The word for a client that may stop itself when it reads it: only while a budget is exceeded or a loop is certain.
/// There is room for one; an exceeded budget goes first, because it lasts.
pub fn warning(state: &AgentState) -> Option<&'static str> {
    if state.conditions.is(Condition::OverBudget, Level::Hard) {
        Some("cost_exceeded")
    } else {
        state.conditions.is(Condition::Looping, Level::Hard).then_some("loop_detected")
    }
}
