//! Which conditions hold, and when that can next change by time alone. Deadlines are inclusive: active at `t ≥ deadline`.

use std::time::Duration;

use super::progress::stall;
use super::{Moment, budget, group, loops, signals, status};
use crate::model::{AgentState, Condition, Heartbeats, Level, Policy, Progress, Rolling, Source, Timestamp, Window};

/// After the gateway starts, agents restored from the store get at least this long to be heard again.
pub const RESTORE_GRACE_MIN: Duration = Duration::from_secs(120);
/// A trouble told of or self-reported is confirmed when it lasts this many intervals.
const REPORT_HARD_INTERVALS: u32 = 2;
/// The error rate is taken over ten minutes.
pub const RESULTS: Window = Window { buckets: 10, width: Duration::from_secs(60) };
/// For people, results are also counted over an hour.
pub const HOUR: Window = Window { buckets: 6, width: Duration::from_secs(600) };
/// An error rate means something from this many results on.
const RATE_RESULTS_MIN: u64 = 10;
/// Below this share of the policy's error rate, the rate no longer keeps the condition active.
const RATE_CLEAR_SHARE: f64 = 0.5;
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

/// Judges every condition but `flapping` at `moment.now` and gives the time at which a judgement can next change without any input.
pub fn judge(state: &mut AgentState, policy: &Policy, moment: &Moment<'_>) -> Timestamp {
    each(state, policy, moment).into_iter().map(|(_, at)| at).min().unwrap_or(Timestamp::MAX)
}

/// Judges each group of conditions; when each judgement can next change by time alone. Flapping is about changes of the
/// status, so it is judged after what changes now is known.
pub fn each(state: &mut AgentState, policy: &Policy, moment: &Moment<'_>) -> [(&'static str, Timestamp); 7] {
    let now = moment.now;
    [
        ("silence", silence(state, policy, moment)),
        ("stalled", stall(state, policy, moment)),
        ("erroring", failures(state, policy, moment)),
        ("degraded", trouble(state, policy, moment)),
        ("looping", loops::judge(state, policy, now)),
        ("over_budget", budget::judge(state, policy, moment)),
        ("starting", status::starting_until(state, policy, moment).unwrap_or(Timestamp::MAX)),
    ]
}

/// `late` and `down`: no sign of life for too much accepted time.
fn silence(state: &mut AgentState, policy: &Policy, moment: &Moment<'_>) -> Timestamp {
    let now = moment.now;
    if state.life.stopped_at.is_some() || !is_expected_to_beat(state, policy) {
        state.conditions.set(Condition::Late, None, now);
        state.conditions.set(Condition::SilentGroup, None, now);
        return stopped(state, policy, moment);
    }
    let Some(base) = silence_base(state) else { return Timestamp::MAX };
    let at = |condition, span| match state.conditions.get(condition) {
        // What was found lasts until a sign of life, whatever is found out later about the gateway's own absence.
        Some(_) => base.plus(span),
        None => silent_until(base, span, state, policy, moment),
    };
    let late_at = at(Condition::Late, late_span(state, policy));
    let down_at = at(Condition::Down, down_span(state, policy));
    let late = (now >= late_at).then_some(Level::Soft);
    let down = (now >= down_at).then_some(Level::Hard);
    let is_news = down.is_some() && state.conditions.get(Condition::Down).is_none();
    if is_news && !state.life.is_off_watch() {
        signals::end_run(state);
    }
    state.conditions.set(Condition::Late, late, late_at);
    state.conditions.set(Condition::Down, down, state.life.alive().unwrap_or(base));
    let grouped = down.is_some() && moment.group_silent;
    state.conditions.set(Condition::SilentGroup, grouped.then_some(Level::Hard), now);
    if down.is_some() {
        state.restarts.awaits_signal = false;
        return if grouped { now.plus(group::RECHECK) } else { Timestamp::MAX };
    }
    if late.is_some() { down_at } else { late_at }
}

/// Whether silence of this agent means anything.
fn is_expected_to_beat(state: &AgentState, policy: &Policy) -> bool {
    let life = &state.life;
    match policy.heartbeats {
        Heartbeats::Always => true,
        Heartbeats::Never => false,
        Heartbeats::Auto => {
            let beats =
                life.heartbeat.is_some() || life.sources().any(|s| matches!(s, Source::Supervisor | Source::Opamp));
            beats && policy.progress != Progress::Schedule
        }
    }
}

/// After a deliberate end nothing is expected, unless the agent is meant to run all the time.
fn stopped(state: &mut AgentState, policy: &Policy, moment: &Moment<'_>) -> Timestamp {
    let Some(end) = state.life.stopped_at.filter(|_| policy.expect_running) else {
        state.conditions.set(Condition::Down, None, moment.now);
        return Timestamp::MAX;
    };
    let due =
        silent_until(state.life.watched_since.map_or(end, |w| w.max(end)), policy.stop_grace, state, policy, moment);
    let down = state.conditions.get(Condition::Down).is_some() || moment.now >= due;
    state.conditions.set(Condition::Down, down.then_some(Level::Hard), end);
    if down { Timestamp::MAX } else { due }
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
    deadline.max(moment.presence.after(started, RESTORE_GRACE_MIN.max(interval(state, policy) * 2)))
}

/// Silence after which the agent is late.
pub fn late_span(state: &AgentState, policy: &Policy) -> Duration {
    interval(state, policy).mul_f64(policy.late_after)
}

/// Silence after which the agent is down.
pub fn down_span(state: &AgentState, policy: &Policy) -> Duration {
    interval(state, policy).mul_f64(policy.down_after) + policy.down_grace
}

/// `erroring`: soft from the first failure, hard at the policy's count or rate, ended by successes in a row and a rate
/// that has fallen. A soft one also lapses when no result follows.
fn failures(state: &mut AgentState, policy: &Policy, moment: &Moment<'_>) -> Timestamp {
    let now = moment.now;
    let work = &state.work;
    let rate = error_rate(state, now);
    let before = state.conditions.get(Condition::Erroring).map(|a| a.level);
    let lapse = work.last_result.map_or(now, |at| moment.presence.after(at, policy.degraded_for));
    let is_fresh = now < lapse;
    let begins = work.failures_in_row > 0 && (is_fresh || work.last_result == Some(now));
    let is_row = work.failures_in_row >= policy.failures;
    let is_high = rate.is_some_and(|r| r >= policy.error_rate);
    let holds = rate.is_some_and(|r| r >= policy.error_rate * RATE_CLEAR_SHARE);
    let level = match before {
        // It takes a failure to begin; a rate can also rise because successes leave the window.
        None if !begins && !is_row => None,
        _ if is_row || is_high => Some(Level::Hard),
        Some(_) if work.successes_in_row >= SUCCESSES_TO_CLEAR && !holds => None,
        Some(Level::Hard) => Some(Level::Hard),
        _ => is_fresh.then_some(Level::Soft),
    };
    state.conditions.set(Condition::Erroring, level, now);
    if level.is_none() {
        return Timestamp::MAX;
    }
    // Results leave the window by themselves: that can end what the rate keeps up, and make hard what is soft.
    let work = &state.work;
    let falls = work.recent.iter().flat_map(|r| [&r.failures, &r.successes]).filter_map(|r| r.next_fall(now, RESULTS));
    let falls = falls.min().filter(|_| rate.is_some()).unwrap_or(Timestamp::MAX);
    if level == Some(Level::Soft) { falls.min(lapse) } else { falls }
}

/// The share of failures among recent results, once there are enough of them.
pub fn error_rate(state: &AgentState, now: Timestamp) -> Option<f64> {
    let (failures, all) = recent_results(state, now);
    (all >= RATE_RESULTS_MIN).then(|| failures as f64 / all as f64)
}

/// Failures and all results of the last ten minutes.
pub fn recent_results(state: &AgentState, now: Timestamp) -> (u64, u64) {
    state.work.recent.as_ref().map_or((0, 0), |r| sums(&r.failures, &r.successes, now, RESULTS))
}

/// Failures and all results of the last hour.
pub fn hour_of_results(state: &AgentState, now: Timestamp) -> (u64, u64) {
    state.work.recent.as_ref().map_or((0, 0), |r| sums(&r.hour_failures, &r.hour_successes, now, HOUR))
}

fn sums(failures: &Rolling, successes: &Rolling, now: Timestamp, window: Window) -> (u64, u64) {
    let failed = failures.sum(now, window);
    (failed, failed.saturating_add(successes.sum(now, window)))
}

/// `degraded`: trouble that the agent or a third party tells of, a runner that sees no process, or a dependency that
/// does not work.
fn trouble(state: &mut AgentState, policy: &Policy, moment: &Moment<'_>) -> Timestamp {
    let after = |at, span| moment.presence.after(at, span);
    let lapses = |at| after(at, policy.degraded_for);
    state.report.take_if(|r| moment.now >= lapses(r.at));
    state.dependencies.retain(|d| moment.now < lapses(d.at));
    let told = state.report.iter().map(|r| (r.since, r.at));
    let told = told.chain(state.dependencies.iter().map(|d| (d.since, d.at)));
    let (since, lapse) = told.fold((None, Timestamp::MAX), |(since, lapse), (began, at)| {
        (Some(since.map_or(began, |s: Timestamp| s.min(began))), lapse.min(lapses(at)))
    });
    let Some(since) = since.filter(|_| state.life.stopped_at.is_none()) else {
        state.conditions.set(Condition::Degraded, None, moment.now);
        return lapse;
    };
    let hard_at = after(since, interval(state, policy) * REPORT_HARD_INTERVALS);
    let level = if moment.now >= hard_at { Level::Hard } else { Level::Soft };
    state.conditions.set(Condition::Degraded, Some(level), since);
    if level == Level::Soft { hard_at.min(lapse) } else { lapse }
}
