//! What happened to an agent by minute and hour: sums that are differences of its totals, and how long it was up.
//!
//! Nothing is written per signal. The running minute is what the totals gained since it began, so a signal costs one
//! comparison; finished minutes lie beside the agent's state, equal ones joined, and are written as one piece when the
//! hour ends or [`RUNS_MAX`] different ones have gathered. What lies beside the state is written with it, in the same
//! transaction as the signals that it sums up.

use serde::{Deserialize, Serialize};

use super::{AgentId, AgentState, Money, Presence, ProjectId, Status, Timestamp};

/// Minutes of an hour.
pub const HOUR_MINUTES: i64 = 60;
const MINUTE_US: i64 = 60_000_000;
const MINUTE_MS: u16 = 60_000;
/// How many different minutes wait beside the state.
pub const RUNS_MAX: usize = 8;
/// After a longer silence only its last part is told minute by minute: 31 days, in minutes.
const GAP_MINUTES_MAX: i64 = 31 * 24 * 60;

/// What is added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Heartbeats of the agent itself.
    pub heartbeats: u64,
    /// Finished runs.
    pub runs: u64,
    /// Successful results.
    pub successes: u64,
    /// Failed results.
    pub failures: u64,
    /// Finished model calls.
    pub model_calls: u64,
    /// Finished tool calls.
    pub tool_calls: u64,
    /// Tokens of every kind.
    pub tokens: u64,
    /// Cost.
    pub cost: Money,
}

impl Sums {
    /// The sums since the agent was first seen.
    pub fn of(state: &AgentState) -> Self {
        let totals = &state.totals;
        let tokens = [totals.tokens_unspecified, totals.tokens_input, totals.tokens_output];
        Self {
            heartbeats: totals.heartbeats,
            runs: totals.runs,
            successes: totals.successes,
            failures: totals.failures,
            model_calls: totals.model_calls,
            tool_calls: totals.tool_calls,
            tokens: tokens.into_iter().flatten().fold(0, u64::saturating_add),
            cost: totals.cost.unwrap_or_default(),
        }
    }

    /// Adds `more`.
    pub fn add(&mut self, more: &Self) {
        self.each(more, u64::saturating_add, i64::saturating_add);
    }

    /// What these are more than `base`.
    #[must_use]
    pub fn since(mut self, base: &Self) -> Self {
        self.each(base, u64::saturating_sub, i64::saturating_sub);
        self
    }

    fn each(&mut self, other: &Self, count: fn(u64, u64) -> u64, money: fn(i64, i64) -> i64) {
        let Self { heartbeats, runs, successes, failures, model_calls, tool_calls, tokens, cost } = self;
        *heartbeats = count(*heartbeats, other.heartbeats);
        *runs = count(*runs, other.runs);
        *successes = count(*successes, other.successes);
        *failures = count(*failures, other.failures);
        *model_calls = count(*model_calls, other.model_calls);
        *tool_calls = count(*tool_calls, other.tool_calls);
        *tokens = count(*tokens, other.tokens);
        cost.0 = money(cost.0, other.cost.0);
    }
}

/// One or more minutes in a row that were alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinuteRun {
    /// How many, at most an hour's.
    pub minutes: u8,
    /// In each of them: milliseconds in which the agent was up.
    pub up_ms: u16,
    /// In each of them: milliseconds in which it was expected to be up and the gateway was there to know.
    pub known_ms: u16,
    /// In each of them: what was added up.
    pub sums: Sums,
}

/// An hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourSums {
    /// Milliseconds in which the agent was up.
    pub up_ms: u32,
    /// Milliseconds in which it was expected to be up and the gateway was there to know.
    pub known_ms: u32,
    /// What was added up.
    pub sums: Sums,
}

/// A finished piece of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollup {
    /// The agent's project.
    pub project: ProjectId,
    /// Whose it is.
    pub agent: AgentId,
    /// The agent that it was recorded for: another one after a merge.
    pub origin: AgentId,
    /// The hour, counted from the epoch.
    pub hour: i64,
    /// Tells apart the pieces of one hour.
    pub slot: u8,
    /// What it tells.
    pub body: RollupBody,
}

/// What a piece of history tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RollupBody {
    /// Minutes.
    Minutes {
        /// The first minute, counted from the beginning of the hour.
        first: u8,
        /// The minutes in order.
        runs: Vec<MinuteRun>,
    },
    /// The whole hour.
    Hour(HourSums),
}

/// How an agent stands, as far as uptime goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Up.
    Up,
    /// Down.
    Down,
    /// Nobody expects anything: not heard of yet, stopped on purpose, paused, in maintenance.
    OffWatch,
}

impl Standing {
    /// How an agent of this status stands.
    pub const fn of(status: Status) -> Self {
        match status {
            Status::Unknown | Status::Stopped | Status::Paused | Status::Maintenance => Self::OffWatch,
            Status::Down | Status::Restarting => Self::Down,
            _ => Self::Up,
        }
    }
}

/// The part of an agent's history that is not yet written as [`Rollup`]s.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The running minute, counted from the epoch; zero before the first.
    minute: i64,
    /// Up to when time was added up.
    accounted: Timestamp,
    up_ms: u16,
    known_ms: u16,
    /// The sums when the running minute began.
    base: Sums,
    /// The first of `runs`, counted from the epoch.
    runs_from: i64,
    /// Finished minutes of the running hour that are not written yet.
    runs: Vec<MinuteRun>,
    /// Pieces of the running hour that are written.
    slot: u8,
    /// The finished minutes of the running hour together.
    hour: HourSums,
}

/// A piece as [`History`] gives it, before it is known whose it is: hour, slot, body.
pub type Piece = (i64, u8, RollupBody);

impl History {
    /// Whether a minute has ended since the history was brought up to date.
    pub const fn is_behind(&self, now: Timestamp) -> bool {
        minute_of(now) > self.minute
    }

    /// Brings the history up to `now` before something is told of the agent whose state was `state` until now. Gives
    /// the pieces that are finished.
    pub fn advance(&mut self, now: Timestamp, state: &AgentState, presence: &Presence) -> Vec<Piece> {
        let mut out = Vec::new();
        if !self.is_behind(now) {
            return out;
        }
        let (minute, standing, sums) = (minute_of(now), Standing::of(state.status), &Sums::of(state));
        if self.minute == 0 {
            (self.minute, self.accounted, self.base) = (minute, now, *sums);
            return out;
        }
        self.account(start_of(self.minute + 1), standing, presence);
        self.finish_minute(sums, &mut out);
        self.pass(minute, standing, presence, &mut out);
        self.accounted = start_of(self.minute);
        out
    }

    /// Adds up the time until `now`, in which the agent stood so: to be told whenever that changes.
    pub fn account(&mut self, now: Timestamp, standing: Standing, presence: &Presence) {
        let from = self.accounted;
        if self.minute == 0 || now <= from {
            return;
        }
        self.accounted = now;
        if standing != Standing::OffWatch {
            let known = millis(presence, from, now);
            self.known_ms = self.known_ms.saturating_add(known).min(MINUTE_MS);
            if standing == Standing::Up {
                self.up_ms = self.up_ms.saturating_add(known).min(MINUTE_MS);
            }
        }
    }

    /// Everything up to `now` as finished pieces, the running minute included, however short. The history is over.
    pub fn end(mut self, now: Timestamp, state: &AgentState, presence: &Presence) -> Vec<Piece> {
        let mut out = self.advance(now, state, presence);
        if self.minute != 0 {
            self.account(now, Standing::of(state.status), presence);
            self.finish_minute(&Sums::of(state), &mut out);
            // Unless the minute was its hour's last, which wrote it.
            if self.minute.rem_euclid(HOUR_MINUTES) != 0 {
                self.write_minutes(&mut out);
                self.write_hour(&mut out);
            }
        }
        out
    }

    /// Takes in that the agent's sums grew by those of another agent that are in the other's history.
    pub fn adopt(&mut self, more: &Sums) {
        self.base.add(more);
    }

    /// Closes the running minute and begins the next one.
    fn finish_minute(&mut self, sums: &Sums, out: &mut Vec<Piece>) {
        let run = MinuteRun { minutes: 1, up_ms: self.up_ms, known_ms: self.known_ms, sums: sums.since(&self.base) };
        self.base = *sums;
        (self.up_ms, self.known_ms) = (0, 0);
        self.push(run, out);
    }

    /// Minutes in which nothing was told, up to before `minute`.
    fn pass(&mut self, minute: i64, standing: Standing, presence: &Presence, out: &mut Vec<Piece>) {
        if minute - self.minute > GAP_MINUTES_MAX {
            self.write_minutes(out);
            self.write_hour(out);
            self.minute = minute - GAP_MINUTES_MAX;
        }
        while self.minute < minute {
            let hour_ends = (self.minute.div_euclid(HOUR_MINUTES) + 1) * HOUR_MINUTES;
            let count = hour_ends.min(minute) - self.minute;
            let (from, to) = (start_of(self.minute), start_of(self.minute + count));
            let whole = presence.accepted(from, to) == to.since(from);
            // Hours in which the gateway was there throughout are one step.
            let count = if whole || standing == Standing::OffWatch { count } else { 1 };
            let known = match standing {
                Standing::OffWatch => 0,
                _ => millis(presence, from, start_of(self.minute + 1)),
            };
            let up_ms = if standing == Standing::Up { known } else { 0 };
            let minutes = u8::try_from(count).unwrap_or(1);
            self.push(MinuteRun { minutes, up_ms, known_ms: known, sums: Sums::default() }, out);
        }
    }

    /// Adds finished minutes, all of one hour.
    fn push(&mut self, run: MinuteRun, out: &mut Vec<Piece>) {
        let last = self.runs.last_mut();
        match last.filter(|l| (l.up_ms, l.known_ms, l.sums) == (run.up_ms, run.known_ms, run.sums)) {
            Some(same) => same.minutes = same.minutes.saturating_add(run.minutes),
            None => {
                if self.runs.len() >= RUNS_MAX {
                    self.write_minutes(out);
                }
                if self.runs.is_empty() {
                    self.runs_from = self.minute;
                }
                self.runs.push(run);
            }
        }
        let n = u32::from(run.minutes);
        self.hour.up_ms += n * u32::from(run.up_ms);
        self.hour.known_ms += n * u32::from(run.known_ms);
        // More than one minute at once is silence: there is nothing to add up.
        self.hour.sums.add(&run.sums);
        self.minute += i64::from(run.minutes);
        if self.minute.rem_euclid(HOUR_MINUTES) == 0 {
            self.write_minutes(out);
            self.hour_done(out);
        }
    }

    fn hour_done(&mut self, out: &mut Vec<Piece>) {
        let hour = self.minute.div_euclid(HOUR_MINUTES) - 1;
        let sums = std::mem::take(&mut self.hour);
        self.slot = 0;
        if sums != HourSums::default() {
            out.push((hour, 0, RollupBody::Hour(sums)));
        }
    }

    /// Writes the running hour although it is not over.
    fn write_hour(&mut self, out: &mut Vec<Piece>) {
        let hour = self.minute.div_euclid(HOUR_MINUTES);
        let sums = std::mem::take(&mut self.hour);
        self.slot = 0;
        if sums != HourSums::default() {
            out.push((hour, 0, RollupBody::Hour(sums)));
        }
    }

    fn write_minutes(&mut self, out: &mut Vec<Piece>) {
        let runs = std::mem::take(&mut self.runs);
        if runs.iter().any(|r| r.known_ms > 0 || r.sums != Sums::default()) {
            let first = u8::try_from(self.runs_from.rem_euclid(HOUR_MINUTES)).unwrap_or(0);
            out.push((self.runs_from.div_euclid(HOUR_MINUTES), self.slot, RollupBody::Minutes { first, runs }));
            self.slot = self.slot.saturating_add(1);
        }
    }
}

const fn minute_of(at: Timestamp) -> i64 {
    at.0.div_euclid(MINUTE_US)
}

const fn start_of(minute: i64) -> Timestamp {
    Timestamp(minute.saturating_mul(MINUTE_US))
}

/// Milliseconds from `from` to `to` in which the gateway was there; at most a minute.
fn millis(presence: &Presence, from: Timestamp, to: Timestamp) -> u16 {
    u16::try_from(presence.accepted(from, to).as_millis()).map_or(MINUTE_MS, |ms| ms.min(MINUTE_MS))
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
