//! Limits of a project as a whole: its budget, and how many of its agents may be restarted at a time.

use std::time::Duration;

use serde_json::json;

use super::budget;
use crate::model::{
    EventDraft, EventKind, Money, ProjectBudget, ProjectCounts, ProjectState, RESTARTS_PER_MINUTE, Timestamp,
};

/// At most one agent in so many is restarted at once, and one at least.
const AGENTS_PER_RESTART: u64 = 10;
/// While as many are being restarted as may be, it is looked again after this time.
const RECHECK: Duration = Duration::from_secs(10);
/// The window of [`RESTARTS_PER_MINUTE`].
const MINUTE: Duration = Duration::from_secs(60);
/// So many failed automatic restarts in a row halt all further ones, until a restart succeeds.
const FAILED_MAX: u32 = 3;

/// What a project's limits allow its agents at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Whether the project has spent more than its budget.
    pub over_budget: bool,
    /// Whether automatic restarts fail one after the other.
    pub halted: bool,
    /// When there may be room for one more automatic restart; `None` when there is.
    pub room_at: Option<Timestamp>,
}

/// What the project's limits allow at `now`.
pub fn fleet(project: &ProjectState, counts: &ProjectCounts, now: Timestamp) -> Fleet {
    let is_full = counts.restarting >= (counts.agents / AGENTS_PER_RESTART).max(1);
    let recent: Vec<_> = project.restarts.iter().filter(|at| at.plus(MINUTE) > now).collect();
    let too_many = recent.len() >= RESTARTS_PER_MINUTE;
    let room_at = match recent.first() {
        Some(first) if too_many => Some(first.plus(MINUTE)),
        _ => is_full.then(|| now.plus(RECHECK)),
    };
    Fleet { over_budget: project.over_budget, halted: project.failed_in_row >= FAILED_MAX, room_at }
}

/// What all agents of the project spent in the last hour and on the running day; `None` while that is not counted.
pub fn spending(project: &ProjectState, now: Timestamp) -> Option<(Money, Money)> {
    let (hour, today) = budget::sums(project.spend.as_deref()?, now);
    let is_over = project.spend.as_ref().is_some_and(|spend| now >= spend.day_ends);
    Some((hour, if is_over { Money::default() } else { today }))
}

/// An automatic restart was asked for.
pub fn restart_asked(project: &mut ProjectState, now: Timestamp) {
    if project.restarts.len() >= RESTARTS_PER_MINUTE {
        project.restarts.remove(0);
    }
    project.restarts.push(now);
}

/// A restart ended. Says so when it was one failure too many.
pub fn restart_ended(
    project: &mut ProjectState,
    automatic: bool,
    succeeded: bool,
    now: Timestamp,
) -> Option<EventDraft> {
    if succeeded {
        project.failed_in_row = 0;
        return None;
    }
    if !automatic {
        return None;
    }
    project.failed_in_row = project.failed_in_row.saturating_add(1);
    (project.failed_in_row == FAILED_MAX).then(|| EventDraft {
        kind: EventKind::RestartsHalted,
        at: now,
        transition: None,
        hard: true,
        cause: format!("{FAILED_MAX} automatic restarts in a row failed; no further one until a restart succeeds"),
        evidence: json!({"failed_in_row": FAILED_MAX}),
    })
}

/// An agent of the project spent `cost` (or nothing: then time has passed). Says so when most of a budget is spent, and
/// when more than all is.
pub fn spent(project: &mut ProjectState, cost: Money, limits: &ProjectBudget, now: Timestamp) -> Vec<EventDraft> {
    let mut told = Vec::new();
    let spend = project.spend.get_or_insert_default();
    budget::add(spend, cost, &limits.timezone, now);
    let (hour, day) = budget::sums(spend, now);
    let over = |spent: Money, limit: Option<Money>| limit.is_some_and(|limit| spent > limit);
    let windows =
        [("hourly", hour, limits.hourly, &mut spend.hour_warned), ("daily", day, limits.daily, &mut spend.day_warned)];
    for (window, spent, limit, warned) in windows {
        if let Some(limit) = limit {
            told.extend(budget::warning(warned, &format!("project's {window}"), spent, limit, now));
        }
    }
    let is_over = over(hour, limits.hourly) || over(day, limits.daily);
    if is_over && !project.over_budget {
        told.push(EventDraft {
            kind: EventKind::BudgetExceeded,
            at: now,
            transition: None,
            hard: true,
            cause: format!("the project is over its budget: {hour} USD in the last hour, {day} USD today"),
            evidence: json!({
                "spent_hour_usd": hour.to_string(), "limit_hour_usd": limits.hourly.map(|m| m.to_string()),
                "spent_today_usd": day.to_string(), "limit_day_usd": limits.daily.map(|m| m.to_string()),
            }),
        });
    }
    // As with an agent: an overrun of the hour lasts until spending has clearly fallen.
    let lasts = project.over_budget
        && limits.hourly.is_some_and(|limit| hour > Money::default() && budget::is_near(hour, limit));
    project.over_budget = is_over || lasts;
    told
}
