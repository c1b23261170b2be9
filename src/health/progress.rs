//! Whether a result is expected, since when, and until when it is waited for.

use super::Moment;
use crate::model::{AgentState, Condition, Expected, Level, Policy, Presence, Progress, Schedule, Timestamp, digest64};

/// `stalled`: a result is expected, and none came for too long.
pub fn stall(state: &mut AgentState, policy: &Policy, moment: &Moment<'_>) -> Timestamp {
    let is_down = state.conditions.get(Condition::Down).is_some();
    let at = match &policy.schedule {
        _ if is_down => Timestamp::MAX,
        // Between the times of a schedule an agent may well have ended; a timer runs only while the agent does.
        Some(schedule) if policy.progress == Progress::Schedule => by_schedule(state, schedule, policy, moment),
        _ => by_timer(state, policy, moment.presence),
    };
    let stalled = moment.now >= at;
    state.conditions.set(Condition::Stalled, stalled.then_some(Level::Hard), at);
    if stalled { Timestamp::MAX } else { at }
}

fn by_timer(state: &mut AgentState, policy: &Policy, presence: &Presence) -> Timestamp {
    state.work.expected = None;
    let Some(base) = timer_base(state, policy) else { return Timestamp::MAX };
    let base = state.life.watched_since.map_or(base, |w| w.max(base));
    presence.after(base, policy.stalled_after)
}

/// Since when a result is awaited, `None` when none is expected.
fn timer_base(state: &AgentState, policy: &Policy) -> Option<Timestamp> {
    let run = state.life.run_since?;
    let work = &state.work;
    if work.idle_since.is_some() {
        return None;
    }
    match policy.progress {
        // A schedule that is not set expects nothing.
        Progress::Never | Progress::Schedule => None,
        Progress::Always => Some(work.last_result.unwrap_or(run).max(run)),
        Progress::Auto if work.sends_starts => work.in_flight_since,
        // Never told of any work, at most of failures: an agent with the two-line set-up cannot be stuck as far as
        // anyone can tell.
        Progress::Auto if work.last_success.is_none() && state.totals.activities == 0 => None,
        Progress::Auto => work.last_result.map(|at| at.max(run)),
    }
}

/// When the first time of the schedule after the newest result, and its grace, are over.
fn by_schedule(state: &mut AgentState, schedule: &Schedule, policy: &Policy, moment: &Moment<'_>) -> Timestamp {
    let life = &state.life;
    let Some(base) = state.work.last_result.or(life.run_since).or(life.stopped_at).or(life.alive()) else {
        return Timestamp::MAX;
    };
    let after = life.watched_since.map_or(base, |w| w.max(base));
    let rule = rule(schedule, policy);
    let known = state.work.expected.take().filter(|e| e.after == after && e.rule == rule);
    let next = |after| schedule.next(after, &policy.timezone).unwrap_or(Timestamp::MAX);
    let mut expected = known.unwrap_or_else(|| Box::new(Expected { after, at: next(after), rule }));
    // A result that was due while the gateway was away may have been sent all the same: the next one counts.
    while let Some(back) = away(moment.presence, expected.at, policy) {
        expected.at = next(back);
    }
    let at = expected.at;
    state.work.expected = Some(expected);
    if at == Timestamp::MAX { at } else { at.plus(policy.schedule_grace) }
}

/// When the gateway was back, if it was away in the time in which the result of `slot` was due.
fn away(presence: &Presence, slot: Timestamp, policy: &Policy) -> Option<Timestamp> {
    let end = slot.plus(policy.schedule_grace);
    presence.gaps().iter().find(|(from, to)| *to > slot && *from < end).map(|(_, to)| *to)
}

fn rule(schedule: &Schedule, policy: &Policy) -> u32 {
    let zone = policy.timezone.iana_name().unwrap_or_default();
    digest64(format!("{} {zone}", schedule.text()).as_bytes()) as u32
}
