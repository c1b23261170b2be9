//! Which conditions hold, and when that can next change by time alone. Deadlines are inclusive: active at `t ≥ deadline`.

use std::time::Duration;

use super::Moment;
use crate::model::{AgentState, Condition, Level, Policy, Progress, Source, Timestamp};

/// After the gateway starts, agents restored from the store get at least this long to be heard again.
pub const RESTORE_GRACE_MIN: Duration = Duration::from_secs(120);
/// A trouble told of or self-reported is confirmed when it lasts this many intervals.
const REPORT_HARD_INTERVALS: u32 = 2;
/// Successes in a row that end a series of failures.
const SUCCESSES_TO_CLEAR: u32 = 2;

/// How often the agent is to be heard: its own word, clamped, else the policy's for its kind of source.
pub fn interval(state: &AgentState, policy: &Policy) -> Duration {
    if let Some(ms) = state.life.declared_interval_ms {
        return Duration::from_millis(ms.into()).clamp(Duration::from_secs(5), Duration::from_secs(86_400));
    }
    let only_supervised = state.life.own.is_none() && state.life.sources().any(|s| s == Source::Supervisor);
    if only_supervised { policy.supervisor_interval } else { policy.interval }
}

/// Judges every condition at `moment.now` and gives the time at which a judgement can next change without any input.
pub fn judge(state: &mut AgentState, policy: &Policy, moment: &Moment<'_>) -> Timestamp {
    if state.life.paused {
        return Timestamp::MAX;
    }
    if state.life.stopped_at.is_some() {
        // A deliberate end: nothing is expected, and old trouble is over.
        for condition in [Condition::Late, Condition::Down, Condition::Stalled, Condition::Degraded] {
            state.conditions.set(condition, None, moment.now);
        }
        return Timestamp::MAX;
    }
    let next = [
        silence(state, policy, moment),
        stall(state, policy, moment),
        failures(state, policy, moment.now),
        trouble(state, policy, moment.now),
        start_grace_end(state, policy, moment.now),
    ];
    next.into_iter().min().unwrap_or(Timestamp::MAX)
}

/// `late` and `down`: no sign of life for too much accepted time.
fn silence(state: &mut AgentState, policy: &Policy, moment: &Moment<'_>) -> Timestamp {
    let now = moment.now;
    let Some(base) = silence_base(state) else { return Timestamp::MAX };
    let late_at = silent_until(base, late_span(state, policy), state, policy, moment);
    let down_at = silent_until(base, down_span(state, policy), state, policy, moment);
    let late = (now >= late_at).then_some(Level::Soft);
    let down = (now >= down_at).then_some(Level::Hard);
    state.conditions.set(Condition::Late, late, late_at);
    state.conditions.set(Condition::Down, down, state.life.alive().unwrap_or(base));
    if down.is_some() {
        state.restarts.awaits_signal = false;
        return Timestamp::MAX;
    }
    if late.is_some() { down_at } else { late_at }
}

/// From when silence counts: the newest sign of life, or when watching began anew. Of an agent that a runner never saw
/// alive: since the runner says so, or since it was restarted.
fn silence_base(state: &AgentState) -> Option<Timestamp> {
    let life = &state.life;
    let restarted = life.watched_since.filter(|_| state.restarts.awaits_signal);
    let heard = life.alive().or(life.gone_since).or(restarted)?;
    Some(life.watched_since.map_or(heard, |w| w.max(heard)))
}

fn silent_until(
    base: Timestamp,
    span: Duration,
    state: &AgentState,
    policy: &Policy,
    moment: &Moment<'_>,
) -> Timestamp {
    let deadline = moment.presence.after(base, span);
    let started = moment.presence.started_at;
    if base >= started {
        return deadline;
    }
    // Restored from an earlier run of the gateway: the agent gets time to be heard by this one.
    deadline.max(started.plus(RESTORE_GRACE_MIN.max(interval(state, policy) * 2)))
}

/// Silence after which the agent is late.
pub fn late_span(state: &AgentState, policy: &Policy) -> Duration {
    interval(state, policy).mul_f64(policy.late_after)
}

/// Silence after which the agent is down.
pub fn down_span(state: &AgentState, policy: &Policy) -> Duration {
    interval(state, policy).mul_f64(policy.down_after) + policy.down_grace
}

/// `stalled`: alive, a result is expected, and none came for too long.
fn stall(state: &mut AgentState, policy: &Policy, moment: &Moment<'_>) -> Timestamp {
    let base = if state.conditions.get(Condition::Down).is_some() { None } else { progress_base(state, policy) };
    let at = base.map_or(Timestamp::MAX, |base| {
        let base = state.life.watched_since.map_or(base, |w| w.max(base));
        moment.presence.after(base, policy.stalled_after)
    });
    let stalled = moment.now >= at;
    state.conditions.set(Condition::Stalled, stalled.then_some(Level::Hard), at);
    if stalled { Timestamp::MAX } else { at }
}

/// Since when a result is awaited, `None` when none is expected.
fn progress_base(state: &AgentState, policy: &Policy) -> Option<Timestamp> {
    let run = state.life.run_since?;
    let work = &state.work;
    match policy.progress {
        Progress::Never => None,
        Progress::Always => Some(work.last_result.unwrap_or(run).max(run)),
        Progress::Auto if work.sends_starts => work.in_flight_since,
        // Never told of any work: an agent with the two-line set-up cannot be stuck as far as anyone can tell.
        Progress::Auto => work.last_result.map(|at| at.max(run)),
    }
}

/// `erroring`: soft from the first failure, hard at the policy's count, ended by successes in a row.
fn failures(state: &mut AgentState, policy: &Policy, now: Timestamp) -> Timestamp {
    let level = match state.conditions.get(Condition::Erroring) {
        _ if state.work.failures_in_row >= policy.failures => Some(Level::Hard),
        Some(active) if state.work.successes_in_row < SUCCESSES_TO_CLEAR => Some(active.level),
        None if state.work.failures_in_row > 0 => Some(Level::Soft),
        _ => None,
    };
    state.conditions.set(Condition::Erroring, level, now);
    Timestamp::MAX
}

/// `degraded`: trouble that the agent or a third party tells of, or a runner that sees no process.
fn trouble(state: &mut AgentState, policy: &Policy, now: Timestamp) -> Timestamp {
    let lapse = state.report.as_ref().map(|r| r.at.plus(policy.degraded_for));
    if lapse.is_some_and(|at| now >= at) {
        state.report = None;
    }
    let told = state.report.as_ref().map(|r| r.since);
    let Some(since) = told.into_iter().chain(state.life.gone_since).min() else {
        state.conditions.set(Condition::Degraded, None, now);
        return Timestamp::MAX;
    };
    let hard_at = since.plus(interval(state, policy) * REPORT_HARD_INTERVALS);
    let level = if now >= hard_at { Level::Hard } else { Level::Soft };
    state.conditions.set(Condition::Degraded, Some(level), since);
    let lapse = lapse.filter(|at| *at > now).unwrap_or(Timestamp::MAX);
    if level == Level::Soft { hard_at.min(lapse) } else { lapse }
}

fn start_grace_end(state: &AgentState, policy: &Policy, now: Timestamp) -> Timestamp {
    let end = state.life.run_since.map_or(Timestamp::MAX, |run| run.plus(policy.start_grace));
    if end > now { end } else { Timestamp::MAX }
}
