//! Budgets: per request (an event only), per rolling hour, per calendar day. A restart never fixes a budget.

use std::time::Duration;

use serde_json::{Value, json};

use super::apply::Effects;
use crate::model::{AgentState, Condition, EventDraft, EventKind, Level, Money, Policy, Spend, Timestamp, Window};

/// The hour rolls in steps of two minutes: state stays small, and a step is never forgotten too early.
const HOUR: Window = Window { buckets: 30, width: Duration::from_secs(120) };
/// Spending is told of when it reaches this share of a budget, and an hourly overrun is over below it.
const WARN_SHARE: f64 = 0.8;

/// Takes in an amount spent.
pub fn note(state: &mut AgentState, cost: Money, policy: &Policy, now: Timestamp, effects: &mut Effects) {
    let spend = state.spend.get_or_insert_default();
    turn_day(spend, policy, now);
    spend.hour.add(now, u64::try_from(cost.0).unwrap_or(0), HOUR);
    spend.today = spend.today.plus(cost);
    let hour = hour_sum(spend, now);
    if let Some(limit) = policy.budget_hourly {
        tell(&mut spend.hour_warned, "hourly", hour, limit, now, effects);
    }
    if let Some(limit) = policy.budget_daily {
        tell(&mut spend.day_warned, "daily", spend.today, limit, now, effects);
    }
}

fn tell(warned: &mut bool, window: &str, spent: Money, limit: Money, now: Timestamp, effects: &mut Effects) {
    let is_near = spent >= share(limit);
    if is_near && !*warned {
        effects.events.push(EventDraft {
            kind: EventKind::BudgetWarning,
            at: now,
            transition: None,
            hard: false,
            cause: format!("{spent} USD of the {window} budget of {limit} USD are spent"),
            evidence: json!({"window": window, "spent_usd": spent.to_string(), "limit_usd": limit.to_string()}),
        });
    }
    *warned = is_near;
}

fn share(limit: Money) -> Money {
    Money((limit.0 as f64 * WARN_SHARE) as i64)
}

fn hour_sum(spend: &Spend, now: Timestamp) -> Money {
    Money(i64::try_from(spend.hour.sum(now, HOUR)).unwrap_or(i64::MAX))
}

/// Begins a new day's sum when the old day is over.
fn turn_day(spend: &mut Spend, policy: &Policy, now: Timestamp) {
    if now >= spend.day_ends {
        spend.day_ends = next_midnight(policy, now);
        spend.today = Money::default();
        spend.day_warned = false;
    }
}

/// The next midnight of the project's time zone.
fn next_midnight(policy: &Policy, now: Timestamp) -> Timestamp {
    let day_later = now.plus(Duration::from_secs(86_400));
    let Ok(instant) = jiff::Timestamp::from_microsecond(now.0) else { return day_later };
    let tomorrow = instant.to_zoned(policy.timezone.clone()).start_of_day().and_then(|day| day.tomorrow());
    tomorrow.map_or(day_later, |day| Timestamp(day.timestamp().as_microsecond()))
}

/// Judges `over_budget` at `now`; gives the time at which the judgement can next change by itself.
pub fn judge(state: &mut AgentState, policy: &Policy, now: Timestamp) -> Timestamp {
    let Some(spend) = &mut state.spend else { return Timestamp::MAX };
    let is_over_day = |spend: &Spend| policy.budget_daily.is_some_and(|limit| spend.today > limit);
    // What the day alone kept up does not outlast it as an overrun of the hour.
    let was_over_hour = state.conditions.get(Condition::OverBudget).is_some() && !is_over_day(spend);
    turn_day(spend, policy, now);
    let hour = hour_sum(spend, now);
    // An hourly overrun lasts until spending has fallen clearly below the limit, or until nothing is spent at all.
    let lasts = |limit| was_over_hour && hour > Money::default() && hour >= share(limit);
    let over_hour = policy.budget_hourly.is_some_and(|limit| hour > limit || lasts(limit));
    let over_day = is_over_day(spend);
    spend.hour_warned &= policy.budget_hourly.is_some_and(|limit| hour >= share(limit));
    let next = match (over_hour, over_day) {
        (false, false) => Timestamp::MAX,
        (_, true) if !over_hour => spend.day_ends,
        _ => spend.hour.next_fall(now, HOUR).unwrap_or(Timestamp::MAX),
    };
    state.conditions.set(Condition::OverBudget, (over_hour || over_day).then_some(Level::Hard), now);
    next
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
        (Some(limit), _) => {
            format!("hourly budget: {} USD in the last hour, the limit is {limit} USD", hour_sum(spend, now))
        }
        _ => String::new(),
    }
}
