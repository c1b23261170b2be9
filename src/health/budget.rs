//! Budgets: per request (an event only), per rolling hour, per calendar day. A restart never fixes a budget.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Moment;
use super::apply::Effects;
use crate::model::{AgentState, Condition, EventDraft, EventKind, Level, Money, Policy, Spend, Timestamp, Window};

/// The hour rolls in steps of two minutes: state stays small, and a step is never forgotten too early.
pub const HOUR: Window = Window { buckets: 30, width: Duration::from_secs(120) };
/// While the project is over its budget, its agents are judged again after this time.
const PROJECT_RECHECK: Duration = Duration::from_secs(60);
/// Spending is told of when it reaches this share of a budget, and an hourly overrun is over below it.
const WARN_SHARE: f64 = 0.8;

/// Takes in an amount spent.
pub fn note(state: &mut AgentState, cost: Money, policy: &Policy, now: Timestamp, effects: &mut Effects) {
    let spend = state.spend.get_or_insert_default();
    add(spend, cost, &policy.timezone, now);
    let (hour, day) = sums(spend, now);
    if let Some(limit) = policy.budget_hourly {
        effects.events.extend(warning(&mut spend.hour_warned, "hourly", hour, limit, now));
    }
    if let Some(limit) = policy.budget_daily {
        effects.events.extend(warning(&mut spend.day_warned, "daily", day, limit, now));
    }
}

/// Adds an amount to the hour's and to the day's.
pub fn add(spend: &mut Spend, cost: Money, zone: &TimeZone, now: Timestamp) {
    turn_day(spend, zone, now);
    spend.hour.add(now, u64::try_from(cost.0).unwrap_or(0), HOUR);
    spend.today = spend.today.plus(cost);
}

/// What was spent in the last hour, and on the day that is counted.
pub fn sums(spend: &Spend, now: Timestamp) -> (Money, Money) {
    (hour_sum(spend, now), spend.today)
}

/// Tells once that most of a budget is spent, until it no longer is.
pub fn warning(warned: &mut bool, window: &str, spent: Money, limit: Money, now: Timestamp) -> Option<EventDraft> {
    let was_warned = std::mem::replace(warned, is_near(spent, limit));
    (*warned && !was_warned).then(|| EventDraft {
        kind: EventKind::BudgetWarning,
        at: now,
        transition: None,
        hard: false,
        cause: format!("{spent} USD of the {window} budget of {limit} USD are spent"),
        evidence: json!({"window": window, "spent_usd": spent.to_string(), "limit_usd": limit.to_string()}),
    })
}

/// Whether most of a budget is spent.
pub fn is_near(spent: Money, limit: Money) -> bool {
    spent >= share(limit)
}

fn share(limit: Money) -> Money {
    Money((limit.0 as f64 * WARN_SHARE) as i64)
}

fn hour_sum(spend: &Spend, now: Timestamp) -> Money {
    Money(i64::try_from(spend.hour.sum(now, HOUR)).unwrap_or(i64::MAX))
}

/// Begins a new day's sum when the old day is over.
fn turn_day(spend: &mut Spend, zone: &TimeZone, now: Timestamp) {
    if now >= spend.day_ends {
        spend.day_ends = next_midnight(zone, now);
        spend.today = Money::default();
        spend.day_warned = false;
    }
}

/// The next midnight of the project's time zone.
fn next_midnight(zone: &TimeZone, now: Timestamp) -> Timestamp {
    let day_later = now.plus(Duration::from_secs(86_400));
    let Ok(instant) = jiff::Timestamp::from_microsecond(now.0) else { return day_later };
    let tomorrow = instant.to_zoned(zone.clone()).start_of_day().and_then(|day| day.tomorrow());
    tomorrow.map_or(day_later, |day| Timestamp(day.timestamp().as_microsecond()))
}

/// Judges `over_budget` at `now`; gives the time at which the judgement can next change by itself.
pub fn judge(state: &mut AgentState, policy: &Policy, moment: &Moment<'_>) -> Timestamp {
    let now = moment.now;
    let Some(spend) = &mut state.spend else { return Timestamp::MAX };
    let is_over_day = |spend: &Spend| policy.budget_daily.is_some_and(|limit| spend.today > limit);
    // What the day alone kept up does not outlast it as an overrun of the hour.
    let was_over_hour = state.conditions.get(Condition::OverBudget).is_some() && !is_over_day(spend);
    turn_day(spend, &policy.timezone, now);
    let hour = hour_sum(spend, now);
    // An hourly overrun lasts until spending has fallen clearly below the limit, or until nothing is spent at all.
    let lasts = |limit| was_over_hour && hour > Money::default() && hour >= share(limit);
    let over_hour = policy.budget_hourly.is_some_and(|limit| hour > limit || lasts(limit));
    let over_day = is_over_day(spend);
    spend.hour_warned &= policy.budget_hourly.is_some_and(|limit| hour >= share(limit));
    let next = match (over_day, over_hour) {
        (true, _) => spend.day_ends,
        (false, true) => spend.hour.next_fall(now, HOUR).unwrap_or(Timestamp::MAX),
        (false, false) => Timestamp::MAX,
    };
    // The project's budget holds for every agent that spends.
    let over_project = moment.fleet.over_budget;
    let is_over = over_hour || over_day || over_project;
    state.conditions.set(Condition::OverBudget, is_over.then_some(Level::Hard), now);
    if over_project { next.min(now.plus(PROJECT_RECHECK)) } else { next }
}

/// What was spent and what may be, as fields.
pub fn fields(state: &AgentState, policy: &Policy, now: Timestamp) -> Value {
    let money = |amount: Option<Money>| amount.map(|m| m.to_string());
    json!({
        "spent_hour_usd": money(state.spend.as_ref().map(|s| hour_sum(s, now))),
        "limit_hour_usd": money(policy.budget_hourly),
        "spent_today_usd": money(state.spend.as_ref().map(|s| s.today)),
        "limit_day_usd": money(policy.budget_daily),
    })
}

/// What was spent and what may be.
pub fn reason(state: &AgentState, policy: &Policy, now: Timestamp) -> String {
    let Some(spend) = &state.spend else { return String::new() };
    match (policy.budget_hourly, policy.budget_daily) {
        (_, Some(limit)) if spend.today > limit => {
            format!("daily budget: {} USD spent today, the limit is {limit} USD", spend.today)
        }
        (Some(limit), _) if hour_sum(spend, now) >= share(limit) => {
            format!("hourly budget: {} USD in the last hour, the limit is {limit} USD", hour_sum(spend, now))
        }
        _ => "the budget of the whole project is exceeded".into(),
    }
}
