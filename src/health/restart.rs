//! A restart is a medicine with a dose limit: when one may be asked for, and what one changes.

use std::time::Duration;

use super::{Moment, signals};
use crate::model::{
    AgentState, CommandChange, CommandId, CommandOrigin, CommandUpdate, Condition, OpenRestart, Policy, Status,
    Timestamp,
};

/// Waiting time after the first automatic restart; it doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_secs(10);
/// The waiting time varies by up to this much, in thousandths.
const JITTER_MAX: u16 = 200;
/// The longest waiting time between automatic restarts.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// Whether an automatic restart may be asked for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Now,
    /// Not before this time.
    NotBefore(Timestamp),
    /// Not as things are.
    No(Obstacle),
}

/// Why no automatic restart may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// `auto_restart` is off.
    #[error("auto_restart is off")]
    NotWanted,
    /// No runner has said how the agent is restarted.
    #[error("no runner has reported a restart target")]
    NoTarget,
    /// A restart is open already.
    #[error("a restart is already under way")]
    Open,
    /// The agent was ended, paused or taken into maintenance on purpose.
    #[error("the agent is stopped, paused or under maintenance on purpose")]
    OnPurpose,
    /// Many agents fell silent together: the cause is hardly this one.
    #[error("many agents of the project fell silent together; automatic restarts are held")]
    SilentGroup,
    /// The status changes too often.
    #[error("the agent is flapping; automatic restarts are held")]
    Flapping,
    /// Restarts of the project fail one after the other.
    #[error("automatic restarts of the project are halted, because the last ones failed; one that succeeds lifts it")]
    Halted,
    /// The dose limit is reached: a person must act.
    #[error("restart_exhausted: too many automatic restarts without lasting health in between; a person must act")]
    Exhausted,
}

/// Decides whether policy and dose limits allow an automatic restart.
pub fn decide(state: &AgentState, policy: &Policy, moment: &Moment<'_>) -> Decision {
    let ledger = &state.restarts;
    if !policy.auto_restart {
        return Decision::No(Obstacle::NotWanted);
    }
    if state.restart_target.is_none() {
        return Decision::No(Obstacle::NoTarget);
    }
    if ledger.open.is_some() {
        return Decision::No(Obstacle::Open);
    }
    if state.life.is_off_watch() || matches!(state.status, Status::Stopped) {
        return Decision::No(Obstacle::OnPurpose);
    }
    if state.conditions.get(Condition::SilentGroup).is_some() {
        return Decision::No(Obstacle::SilentGroup);
    }
    let doses = if is_reset(state, policy, moment.now) { 0 } else { ledger.automatic };
    if doses >= policy.restart_max {
        return Decision::No(Obstacle::Exhausted);
    }
    if state.conditions.get(Condition::Flapping).is_some() {
        return Decision::No(Obstacle::Flapping);
    }
    if moment.fleet.halted {
        return Decision::No(Obstacle::Halted);
    }
    let room = moment.fleet.room_at.unwrap_or(Timestamp(i64::MIN));
    let cooled = ledger.last_at.map_or(Timestamp(i64::MIN), |at| at.plus(pause_after(doses, ledger.jitter, policy)));
    match cooled.max(moment.restarts_from).max(room) {
        at if at > moment.now => Decision::NotBefore(at),
        _ => Decision::Now,
    }
}

/// Waiting time after `doses` restarts. Its jitter keeps agents that died together from being restarted together.
fn pause_after(doses: u32, jitter: i16, policy: &Policy) -> Duration {
    let backoff = match doses {
        0 => Duration::ZERO,
        n => BACKOFF_FIRST.saturating_mul(1_u32.checked_shl(n - 1).unwrap_or(u32::MAX)).min(BACKOFF_MAX),
    };
    backoff.mul_f64(f64::from(1000 + jitter) / 1000.0).max(policy.restart_cooldown)
}

fn is_reset(state: &AgentState, policy: &Policy, now: Timestamp) -> bool {
    state.restarts.healthy_since.is_some_and(|since| now.since(since) >= policy.restart_reset)
}

/// Keeps the ledger when the status changes to `after`: enough health forgets earlier doses.
pub fn note_health(state: &mut AgentState, after: Status, policy: &Policy, now: Timestamp) {
    if is_reset(state, policy, now) {
        state.restarts.automatic = 0;
        state.restarts.exhausted = false;
    }
    match after {
        Status::Healthy => {
            state.restarts.healthy_since.get_or_insert(now);
        }
        _ => state.restarts.healthy_since = None,
    }
}

/// Keeps the ledger when a command changes. Updates of a command that is not the open one change nothing.
pub fn note(state: &mut AgentState, update: &CommandUpdate, policy: &Policy, now: Timestamp) {
    if let CommandChange::Queued { automatic } = update.change {
        if state.restarts.open.is_none() {
            if is_reset(state, policy, now) {
                state.restarts.automatic = 0;
            }
            state.restarts.open = Some(OpenRestart { id: update.id, automatic, running: false });
            state.restarts.automatic = state.restarts.automatic.saturating_add(u32::from(automatic));
            state.restarts.last_at = Some(now);
            state.restarts.jitter = jitter(update.id);
        }
        return;
    }
    let Some(open) = state.restarts.open.filter(|open| open.id == update.id) else { return };
    if matches!(update.change, CommandChange::Started | CommandChange::Returned) {
        let running = update.change == CommandChange::Started;
        state.restarts.open = Some(OpenRestart { running, ..open });
        return;
    }
    let succeeded = update.change == CommandChange::Succeeded;
    let slot = usize::from(!succeeded) + if open.automatic { 0 } else { 2 };
    state.totals.restarts[slot] = state.totals.restarts[slot].saturating_add(1);
    state.restarts.open = None;
    state.restarts.last_at = Some(now);
    if succeeded {
        // A new process: it gets time to be heard, and what the old one did not finish is nobody's debt.
        state.restarts.awaits_signal = true;
        signals::end_run(state);
        state.life.stopped_at = None;
        state.life.gone_since = None;
        state.life.watched_since = Some(now);
        state.work.failures_in_row = 0;
        state.work.successes_in_row = 0;
        state.report = None;
        state.loops = None;
        state.conditions.set(Condition::Erroring, None, now);
        state.conditions.set(Condition::Looping, None, now);
    }
}

/// Up to 20 % in either direction, from the randomness that is in a command's id.
fn jitter(id: CommandId) -> i16 {
    let random = u16::from_le_bytes([id.0.as_bytes()[14], id.0.as_bytes()[15]]);
    (random % (2 * JITTER_MAX + 1)) as i16 - JITTER_MAX as i16
}

/// Whether this status asks for an automatic restart under this policy, and in whose name.
pub const fn asked_by(status: Status, policy: &Policy) -> Option<CommandOrigin> {
    match status {
        Status::Down => Some(CommandOrigin::PolicyDown),
        Status::Stalled if policy.restart_stalled => Some(CommandOrigin::PolicyStalled),
        Status::Looping if policy.restart_looping => Some(CommandOrigin::PolicyLooping),
        Status::Erroring if policy.restart_erroring => Some(CommandOrigin::PolicyErroring),
        _ => None,
    }
}
