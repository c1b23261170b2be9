//! What each kind of signal changes before conditions are judged.

use std::time::Duration;

use serde_json::json;

use super::apply::Effects;
use super::{conditions, loops, usage};
use crate::model::{
    Activity, AgentState, BeatStatus, Condition, DEPENDENCIES_MAX, DEPENDENCY_NAME_BYTES_MAX,
    DEPENDENCY_TEXT_BYTES_MAX, DependencyReport, ERROR_TYPE_BYTES_MAX, ErrorNote, EventDraft, EventKind,
    FailingDependency, Heartbeat, LATENCY_BOUNDS, Policy, Problem, REPORT_TEXT_BYTES_MAX, RESTART_TARGET_BYTES_MAX,
    RESTART_TYPE_BYTES_MAX, Report, Run, Source, SupervisorReport, Timestamp,
};

/// The earliest a sender's clock may date something, before its arrival.
const TOLD_BEHIND_MAX: Duration = Duration::from_secs(86_400);
/// The latest a sender's clock may date something, after its arrival.
const TOLD_AHEAD_MAX: Duration = Duration::from_secs(300);

/// A heartbeat of the agent itself.
pub fn heartbeat(state: &mut AgentState, beat: &Heartbeat, policy: &Policy, now: Timestamp, effects: &mut Effects) {
    if let Some(previous) = state.life.heartbeat.filter(|_| state.life.stopped_at.is_none()) {
        let late = now.since(previous).saturating_sub(conditions::interval(state, policy));
        state.totals.heartbeat_latency.record(late.as_secs_f64(), &LATENCY_BOUNDS);
    }
    state.totals.heartbeats = state.totals.heartbeats.saturating_add(1);
    state.life.heartbeat = Some(now);
    if let Some(kind) = &beat.agent_type {
        state.agent_type = Some(kind[..kind.floor_char_boundary(64)].into());
    }
    if let Some(interval) = beat.interval {
        state.life.declared_interval_ms = u32::try_from(interval.as_millis()).ok();
    }
    let works = carries_work(state, beat);
    state.work.iteration = beat.iteration.or(state.work.iteration);
    state.work.prompts = beat.prompts.or(state.work.prompts);
    usage::beat(state, beat, policy, now, effects);
    // The goodbye of a short run is the same each time; it is no work.
    if works && beat.status != BeatStatus::Shutdown {
        loops::note_beat(state, beat, policy, now);
    }
    alive(state, Source::Agent, now, now);
    let text = beat.message.as_deref();
    match beat.status {
        BeatStatus::Ok => {
            good_report(state);
            if works {
                success(state, now);
            }
        }
        BeatStatus::Warning => {
            report(state, Source::Agent, text.unwrap_or("the agent reports a warning"), now);
            if works {
                success(state, now);
            }
        }
        BeatStatus::Error => failure(state, text.unwrap_or("the agent reports an error"), now),
        BeatStatus::Shutdown => {
            end_run(state);
            state.life.stopped_at = Some(now);
            state.report = None;
        }
    }
    if beat.idle && beat.status != BeatStatus::Shutdown {
        state.work.in_flight_since = None;
        state.work.idle_since.get_or_insert(now);
    }
}

/// Whether a beat proves work: it carries usage, a message or details, or a sticky value changed.
/// Background beats repeat the iteration count and the prompt window; equal values prove nothing.
fn carries_work(state: &AgentState, beat: &Heartbeat) -> bool {
    beat.tokens.is_some()
        || beat.cost.is_some()
        || beat.tool_calls.is_some()
        || beat.message.is_some()
        || beat.has_details
        || beat.iteration.is_some_and(|n| state.work.iteration.is_none_or(|old| n > old))
        || (beat.prompts.is_some() && beat.prompts != state.work.prompts)
}

/// What a runner saw: existence, not work. An agent may name its own restart target the same way; that tells no more.
pub fn supervisor(state: &mut AgentState, seen: &SupervisorReport, source: Source, now: Timestamp) {
    if let Some(target) = &seen.restart
        && target.kind.len() <= RESTART_TYPE_BYTES_MAX
        && target.target.len() <= RESTART_TARGET_BYTES_MAX
        && state.restart_target.as_deref() != Some(target)
    {
        state.restart_target = Some(Box::new(target.clone()));
    }
    if source != Source::Supervisor {
        return;
    }
    state.totals.supervisor_beats = state.totals.supervisor_beats.saturating_add(1);
    if seen.running {
        state.life.gone_since = None;
        state.report.take_if(|r| r.source == Source::Supervisor);
        alive(state, Source::Supervisor, now, now);
    } else {
        // The runner is restarting it already: this is news, not a failure of work and no reason for a command.
        state.life.hear(Source::Supervisor, now);
        state.life.gone_since.get_or_insert(now);
        let message = seen.message.as_deref().unwrap_or("the runner says it does not run");
        state.last_error = Some(ErrorNote::new(now, message));
        // After a deliberate end that is no trouble.
        if state.life.stopped_at.is_none() {
            report(state, Source::Supervisor, message, now);
        }
    }
}

/// A piece of work began.
pub fn work_started(state: &mut AgentState, source: Source, now: Timestamp) {
    alive(state, source, now, now);
    if state.work.idle_since.take().is_some() {
        // A result is awaited from now on, not since the last one.
        state.life.watched_since = Some(now);
    }
    state.work.sends_starts = true;
    state.work.in_flight_since.get_or_insert(now);
}

/// What one telemetry request told.
pub fn activity(
    state: &mut AgentState,
    told: &Activity,
    source: Source,
    policy: &Policy,
    now: Timestamp,
    effects: &mut Effects,
) {
    usage::activity(state, told, policy, now, effects);
    state.life.hear(source, now);
    if is_skewed(told, now) {
        state.totals.skewed_signals = state.totals.skewed_signals.saturating_add(1);
    }
    // Telemetry that sat in a queue proves that the agent was alive, not that it is.
    let Some(proven) = told.newest_end.map(|end| end.min(now)) else { return };
    let interval = conditions::interval(state, policy);
    // Nor is what is flushed after a goodbye the beginning of anything.
    let is_farewell = state.life.stopped_at.is_some_and(|at| proven <= at.plus(interval));
    let fresh = now.since(proven) <= interval * 2 && !is_farewell;
    if fresh {
        alive(state, source, proven, now);
    }
    if let Some(run) = told.runs.last().map(|run| dated(run, now))
        && state.last_run.as_ref().is_none_or(|last| last.ended_at <= run.ended_at)
    {
        let cut = |text: &String| text[..text.floor_char_boundary(ERROR_TYPE_BYTES_MAX)].to_owned();
        state.last_run = Some(Box::new(Run { error_type: run.error_type.as_ref().map(cut), ..run }));
    }
    if fresh {
        loops::note_activity(state, told, policy, now);
        count_results(state, told.successes, told.failures, now);
    }
    state.totals.successes = state.totals.successes.saturating_add(told.successes);
    state.totals.failures = state.totals.failures.saturating_add(told.failures);
    if let Some(error) = &told.error {
        state.last_error = Some(ErrorNote::new(now, &error.message));
    }
    let worked = !told.model_calls.is_empty() || told.tool_calls > 0 || told.successes + told.failures > 0;
    if worked && fresh {
        state.work.last_result = state.work.last_result.max(Some(proven));
        state.work.in_flight_since = None;
        state.work.idle_since = None;
    }
    if told.failures > 0 {
        state.work.successes_in_row = 0;
        state.work.failures_in_row = state.work.failures_in_row.saturating_add(clamp(told.failures));
    }
    // Failures and successes of one request have no order worth trusting: a success among them breaks the row.
    if told.successes > 0 {
        state.work.failures_in_row = 0;
        state.work.successes_in_row = state.work.successes_in_row.saturating_add(clamp(told.successes));
        state.work.last_success = state.work.last_success.max(Some(proven));
        good_report(state);
    }
}

/// Whether it is dated as only a wrong clock can (or a queue that held it for more than a day).
fn is_skewed(told: &Activity, now: Timestamp) -> bool {
    // A run may well have begun more than a day ago.
    told.runs.iter().map(|run| run.ended_at).chain(told.newest_end).any(|at| at != kept(at, now))
}

/// `at`, as far as it can be true.
fn kept(at: Timestamp, now: Timestamp) -> Timestamp {
    at.clamp(now.minus(TOLD_BEHIND_MAX), now.plus(TOLD_AHEAD_MAX))
}

/// `run` with times that can be true: the clock of a sender may be wrong by years, and a run of next year would hide all
/// others until then.
fn dated(run: &Run, now: Timestamp) -> Run {
    Run { started_at: kept(run.started_at, now), ended_at: kept(run.ended_at, now), ..run.clone() }
}

/// A third party tells of trouble.
pub fn problem(state: &mut AgentState, told: &Problem, source: Source, now: Timestamp, effects: &mut Effects) {
    state.life.hear(source, now);
    report(state, source, &told.message, now);
    // An alert is somebody's judgement of the agent, not the result of a piece of its work.
    let is_alert = source == Source::Alertmanager;
    if told.failure && is_alert {
        state.last_error = Some(ErrorNote::new(now, &told.message));
    } else if told.failure {
        if source == Source::Langfuse {
            state.totals.langfuse_errors = state.totals.langfuse_errors.saturating_add(1);
        }
        failure(state, &told.message, now);
    }
    effects.events.push(EventDraft {
        kind: match (is_alert, told.failure) {
            (true, _) => EventKind::Alert,
            (false, true) => EventKind::LangfuseError,
            (false, false) => EventKind::LangfuseNotice,
        },
        at: now,
        transition: None,
        hard: told.failure,
        cause: told.message.clone(),
        evidence: json!({"source": source.word(), "event": told.event}),
    });
}

/// A dependency fails, or works again. It says nothing about the agent's life or work.
pub fn dependency(state: &mut AgentState, told: &DependencyReport, now: Timestamp) {
    let cut = |text: &str, max| -> Box<str> { text[..text.floor_char_boundary(max)].into() };
    let name = cut(&told.name, DEPENDENCY_NAME_BYTES_MAX);
    let known = state.dependencies.iter().position(|d| d.name == name);
    state.life.hear(Source::Probe, now);
    if told.healthy {
        known.map(|i| state.dependencies.remove(i));
        return;
    }
    let message = cut(&told.message, DEPENDENCY_TEXT_BYTES_MAX);
    match known {
        Some(i) => {
            let failing = &mut state.dependencies[i];
            (failing.at, failing.message) = (now, message);
        }
        None if state.dependencies.len() < DEPENDENCIES_MAX => {
            state.dependencies.push(FailingDependency { name, since: now, at: now, message });
        }
        None => {}
    }
}

/// A sign of life of `source`, proven for the time `at`.
fn alive(state: &mut AgentState, source: Source, at: Timestamp, now: Timestamp) {
    let is_down = state.conditions.get(Condition::Down).is_some();
    let life = &mut state.life;
    life.hear(source, now);
    let was_stopped = life.stopped_at.take().is_some();
    state.restarts.awaits_signal = false;
    if source == Source::Supervisor {
        life.supervisor = life.supervisor.max(Some(at));
        if life.own.is_some() {
            // An agent that speaks for itself has to: that its process is there neither ends its silence nor settles
            // its run, but a process that is there again gets its full time to be heard.
            if was_stopped {
                life.watched_since = Some(now);
            }
            if !is_down {
                life.run_since.get_or_insert(now);
            }
            return;
        }
    } else {
        life.own = life.own.max(Some(at));
    }
    life.run_since.get_or_insert(now);
    life.run_signals = life.run_signals.saturating_add(1);
}

/// Whatever is heard next is a new run.
pub fn end_run(state: &mut AgentState) {
    state.life.run_since = None;
    state.life.run_signals = 0;
    state.work.in_flight_since = None;
    state.work.idle_since = None;
}

fn success(state: &mut AgentState, now: Timestamp) {
    state.totals.successes = state.totals.successes.saturating_add(1);
    count_results(state, 1, 0, now);
    let work = &mut state.work;
    work.last_result = Some(now);
    work.last_success = Some(now);
    (work.in_flight_since, work.idle_since) = (None, None);
    work.failures_in_row = 0;
    work.successes_in_row = work.successes_in_row.saturating_add(1);
}

fn failure(state: &mut AgentState, message: &str, now: Timestamp) {
    state.totals.failures = state.totals.failures.saturating_add(1);
    state.last_error = Some(ErrorNote::new(now, message));
    count_results(state, 0, 1, now);
    let work = &mut state.work;
    work.last_result = Some(now);
    (work.in_flight_since, work.idle_since) = (None, None);
    work.successes_in_row = 0;
    work.failures_in_row = work.failures_in_row.saturating_add(1);
}

fn count_results(state: &mut AgentState, successes: u64, failures: u64, now: Timestamp) {
    if successes == 0 && failures == 0 {
        return;
    }
    let recent = state.work.recent.get_or_insert_default();
    recent.successes.add(now, successes, conditions::RESULTS);
    recent.failures.add(now, failures, conditions::RESULTS);
    recent.hour_successes.add(now, successes, conditions::HOUR);
    recent.hour_failures.add(now, failures, conditions::HOUR);
}

fn report(state: &mut AgentState, source: Source, message: &str, now: Timestamp) {
    let since = state.report.as_ref().map_or(now, |r| r.since);
    let message = message[..message.floor_char_boundary(REPORT_TEXT_BYTES_MAX)].into();
    state.report = Some(Report { source, since, at: now, good_since: 0, message });
}

/// A third party tells that the trouble is over. An alert that is resolved ends what it began; other words count as one
/// good report.
pub fn recovered(state: &mut AgentState, source: Source, now: Timestamp) {
    state.life.hear(source, now);
    match &state.report {
        Some(report) if source == Source::Alertmanager && report.source == source => state.report = None,
        // Trouble that the agent itself or somebody else told of meanwhile is not the alert's to end.
        _ if source == Source::Alertmanager => {}
        _ => good_report(state),
    }
}

/// Two good reports in a row end a self-reported or told trouble.
pub fn good_report(state: &mut AgentState) {
    if let Some(report) = &mut state.report {
        report.good_since += 1;
        if report.good_since >= 2 {
            state.report = None;
        }
    }
}

fn clamp(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
