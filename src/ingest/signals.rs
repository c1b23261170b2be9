//! One signal per service instance and kind of facts: what a better signal tells, a lesser one does not tell again. Pure.
//!
//! Which signal is believed shows only as they arrive. So what a lesser signal tells of a new instance is held back for as
//! long as spans wait for their agents; and what it had counted shortly before the better one came is a debt, which the
//! better one pays off before it counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Activity, Held, INSTANCE_HELD_MAX, INSTANCE_SERIES_MAX, InstanceRow, Measure, ModelCalls, Money, Point, Series,
    Signal, SpanClass, SpanFacts, Timestamp, Topic, TraceTotals, Usage,
};

/// What was told of agents, by name.
pub type Told = BTreeMap<Arc<str>, Box<Activity>>;

/// For how long what a lesser signal counted may be what a better one is about to tell: no exporter is later.
const OVERLAP: Duration = Duration::from_secs(300);

/// A row that did not change is written again after this time, so that it is not taken for forgotten.
const TOUCH_EVERY: Duration = Duration::from_secs(600);

/// A cumulative series that is so old when its instance is first heard of may have been counted before, and forgotten.
const OLD_SERIES: Duration = Duration::from_secs(2 * 3600);

/// What spans, or records read as spans, are about.
pub fn topics_of(spans: &[SpanFacts]) -> [bool; 3] {
    let has = |is: fn(&SpanFacts) -> bool| spans.iter().any(is);
    [
        has(|s| s.class == SpanClass::Llm || (s.class.is_run() && !s.usage.is_unknown())),
        has(|s| s.class == SpanClass::Tool),
        has(|s| s.class.is_run()),
    ]
}

/// A signal arrives that tells these topics: where it is better than what told them before, what that counted lately is
/// owed, and what is held back of it is dropped. Tells whether anything changed.
pub fn arrive(row: &mut InstanceRow, signal: Signal, topics: [bool; 3], now: Timestamp) -> bool {
    let mut changed = false;
    for topic in Topic::ALL.into_iter().filter(|topic| topics[*topic as usize]) {
        let before = &mut row.told_by[topic as usize];
        if *before >= Some(signal) {
            continue;
        }
        let had_lesser = before.is_some();
        *before = Some(signal);
        changed = true;
        if !had_lesser {
            continue;
        }
        for held in row.held.values_mut() {
            take(&mut held.totals, topic);
        }
        row.held.retain(|_, held| held.totals != TraceTotals::default());
        // All that was counted is owed by the new one, whoever owed a part of it before.
        take(&mut row.debt, topic);
        for (_, counted) in row.lately.iter().filter(|(since, _)| since.plus(OVERLAP * 2) > now) {
            sum(&mut row.debt, &take(&mut counted.clone(), topic));
        }
        row.owed_since = now;
    }
    if row.held.is_empty() {
        row.deadline = Timestamp::MAX;
    }
    changed
}

/// Takes out of what `signal` told whatever a better one tells, and what is owed. Tells whether the row changed, and how
/// many kinds of facts were dropped.
pub fn settle(row: &mut InstanceRow, signal: Signal, activities: &mut Told, now: Timestamp) -> (bool, u64) {
    let mut changed = false;
    let mut outranked = 0;
    if row.debt != TraceTotals::default() && row.owed_since.plus(OVERLAP * 2) <= now {
        row.debt = TraceTotals::default();
        changed = true;
    }
    for topic in Topic::ALL {
        if row.told_by[topic as usize] > Some(signal) {
            for activity in activities.values_mut().filter(|activity| tells(activity, topic)) {
                clear(activity, topic);
                outranked += 1;
            }
        } else if row.debt != TraceTotals::default() {
            activities.values_mut().for_each(|activity| changed |= pay(activity, topic, &mut row.debt));
        }
    }
    (changed, outranked)
}

/// Remembers what a signal other than spans counts, in case that spans tell it again.
pub fn note_counted(row: &mut InstanceRow, activities: &Told, now: Timestamp) {
    if row.lately[0].0.plus(OVERLAP) <= now {
        row.lately.swap(0, 1);
        row.lately[0] = (now, TraceTotals::default());
    }
    for activity in activities.values() {
        sum(&mut row.lately[0].1, &totals_of(activity));
    }
}

/// Holds back what was told of an instance that is new; what proves life goes on. `until`: when it counts.
pub fn hold(row: &mut InstanceRow, activities: &mut Told, until: Timestamp) {
    for (agent, activity) in activities {
        let totals = totals_of(activity);
        if totals == TraceTotals::default() || (row.held.len() >= INSTANCE_HELD_MAX && !row.held.contains_key(agent)) {
            continue;
        }
        let newest_end = activity.newest_end.unwrap_or_default();
        **activity = Activity { newest_end: activity.newest_end, ..Activity::default() };
        let held = row.held.entry(agent.clone()).or_default();
        for (model, (calls, failed)) in &totals.models {
            let slot = held.totals.models.entry(model.clone()).or_default();
            *slot = (slot.0 + calls, slot.1 + failed);
        }
        sum(&mut held.totals, &TraceTotals { models: BTreeMap::new(), ..totals });
        held.newest_end = held.newest_end.max(newest_end);
        row.deadline = row.deadline.min(until);
    }
}

/// What was held back and counts now.
pub fn release(row: &mut InstanceRow) -> Told {
    row.deadline = Timestamp::MAX;
    let held = std::mem::take(&mut row.held);
    held.into_iter().map(|(agent, held)| (agent, Box::new(activity_of(held)))).collect()
}

/// Whether a row that has nothing new must be written all the same.
pub fn is_stale(row: &InstanceRow, now: Timestamp) -> bool {
    row.touched_at.plus(TOUCH_EVERY) <= now
}

/// What data points add to what was counted of their series, by the agent they name or else by `home`.
pub fn measure(row: &mut InstanceRow, points: Vec<Point>, home: &Arc<str>) -> (Told, u64) {
    let mut activities = Told::new();
    let mut too_many = 0;
    let is_new = row.series.is_empty();
    for point in points {
        let more = match point.cumulative {
            false => point.value,
            true => match advance(row, &point, is_new) {
                Some(more) => more,
                None => {
                    too_many += 1;
                    continue;
                }
            },
        };
        let agent = point.agent.as_ref().unwrap_or(home);
        let activity = match activities.get_mut(agent) {
            Some(activity) => activity,
            None => activities.entry(agent.clone()).or_default(),
        };
        activity.newest_end = activity.newest_end.max(Some(point.time));
        count(activity, &point, more);
    }
    (activities, too_many)
}

/// How much a cumulative point adds; `None` when there are too many series. A new start, or a value that fell, is a
/// counter that began anew.
fn advance(row: &mut InstanceRow, point: &Point, is_new: bool) -> Option<u64> {
    let current = Series { start: point.start, time: point.time, value: point.value };
    let Some(known) = row.series.get_mut(&point.series) else {
        if row.series.len() >= INSTANCE_SERIES_MAX {
            return None;
        }
        row.series.insert(point.series, current);
        let may_be_known = is_new && point.start != Timestamp(0) && point.start.plus(OLD_SERIES) < point.time;
        return Some(if may_be_known { 0 } else { point.value });
    };
    // Sent again, or overtaken on the way.
    let is_stale = point.start < known.start || (point.start == known.start && point.time <= known.time);
    if is_stale {
        return Some(0);
    }
    let began_anew = point.start > known.start || point.value < known.value;
    let more = if began_anew { point.value } else { point.value - known.value };
    *known = current;
    Some(more)
}

fn count(activity: &mut Activity, point: &Point, more: u64) {
    let usage = &mut activity.usage;
    let add = crate::model::add;
    match point.measure {
        Measure::Input => add(&mut usage.input, Some(more)),
        Measure::CachedInput => add(&mut usage.cached_input, Some(more)),
        Measure::CachedBesideInput => {
            add(&mut usage.cached_input, Some(more));
            add(&mut usage.input, Some(more));
        }
        Measure::Output => add(&mut usage.output, Some(more)),
        Measure::Reasoning => add(&mut usage.reasoning, Some(more)),
        Measure::Cost => {
            let cost = Money(i64::try_from(more).unwrap_or(i64::MAX));
            let reported = crate::model::CostOrigin::Reported;
            usage.add(&Usage { cost: Some(cost), cost_origin: reported, ..Usage::default() });
        }
        Measure::Calls => {}
        Measure::ToolCalls => {
            activity.tool_calls += more;
            activity.tool_calls_failed += if point.failed { more } else { 0 };
        }
        Measure::Runs if point.failed => activity.failures += more,
        Measure::Runs => activity.successes += more,
    }
    if point.measure.topic() == Topic::Calls && more > 0 {
        // Where only tokens are told, the model is known all the same, and that it worked.
        let calls = if point.measure == Measure::Calls { more } else { 0 };
        let failed = if point.failed { calls } else { 0 };
        let model = point.model.clone().unwrap_or_default();
        match activity.model_calls.iter_mut().find(|m| m.model == model) {
            Some(same) => {
                same.calls += calls;
                same.failed += failed;
            }
            None => activity.model_calls.push(ModelCalls { model, calls, failed }),
        }
    }
}

fn tells(activity: &Activity, topic: Topic) -> bool {
    match topic {
        Topic::Calls => {
            !activity.model_calls.is_empty() || !activity.usage.is_unknown() || !activity.outputs.is_empty()
        }
        Topic::Tools => activity.tool_calls > 0 || !activity.tools.is_empty(),
        Topic::Runs => activity.successes + activity.failures > 0 || !activity.runs.is_empty(),
    }
}

fn clear(activity: &mut Activity, topic: Topic) {
    match topic {
        Topic::Calls => {
            activity.model_calls.clear();
            activity.usage = Usage::default();
            activity.outputs.clear();
        }
        Topic::Tools => {
            (activity.tool_calls, activity.tool_calls_failed) = (0, 0);
            activity.tools.clear();
        }
        Topic::Runs => {
            (activity.successes, activity.failures) = (0, 0);
            activity.runs.clear();
        }
    }
}

/// What an activity adds to the sums.
fn totals_of(activity: &Activity) -> TraceTotals {
    TraceTotals {
        models: activity.model_calls.iter().map(|m| (m.model.clone(), (m.calls, m.failed))).collect(),
        usage: activity.usage,
        runs: activity.runs.len() as u64,
        tool_calls: activity.tool_calls,
        tool_calls_failed: activity.tool_calls_failed,
        successes: activity.successes,
        failures: activity.failures,
    }
}

fn activity_of(held: Held) -> Activity {
    let Held { totals, newest_end } = held;
    let calls = |(model, (calls, failed))| ModelCalls { model, calls, failed };
    Activity {
        newest_end: Some(newest_end),
        model_calls: totals.models.into_iter().map(calls).collect(),
        usage: totals.usage,
        tool_calls: totals.tool_calls,
        tool_calls_failed: totals.tool_calls_failed,
        successes: totals.successes,
        failures: totals.failures,
        ..Activity::default()
    }
}

/// Adds up amounts. Which models the calls were of does not matter here: signals name them differently.
fn sum(total: &mut TraceTotals, more: &TraceTotals) {
    let calls = more.models.values().fold((0, 0), |sum, calls| (sum.0 + calls.0, sum.1 + calls.1));
    if calls != (0, 0) {
        let all = total.models.entry(Arc::default()).or_default();
        *all = (all.0 + calls.0, all.1 + calls.1);
    }
    total.usage.add(&more.usage);
    total.runs += more.runs;
    total.tool_calls += more.tool_calls;
    total.tool_calls_failed += more.tool_calls_failed;
    total.successes += more.successes;
    total.failures += more.failures;
}

/// Takes one kind of facts out of an amount.
fn take(from: &mut TraceTotals, topic: Topic) -> TraceTotals {
    let mut taken = TraceTotals::default();
    match topic {
        Topic::Calls => {
            taken.models = std::mem::take(&mut from.models);
            taken.usage = std::mem::take(&mut from.usage);
        }
        Topic::Tools => {
            taken.tool_calls = std::mem::take(&mut from.tool_calls);
            taken.tool_calls_failed = std::mem::take(&mut from.tool_calls_failed);
        }
        Topic::Runs => {
            taken.runs = std::mem::take(&mut from.runs);
            taken.successes = std::mem::take(&mut from.successes);
            taken.failures = std::mem::take(&mut from.failures);
        }
    }
    taken
}

/// Pays off what is owed of one kind of facts; whether anything was.
fn pay(activity: &mut Activity, topic: Topic, debt: &mut TraceTotals) -> bool {
    let before = debt.clone();
    match topic {
        Topic::Calls => {
            let owed = debt.models.entry(Arc::default()).or_default();
            for calls in &mut activity.model_calls {
                less(&mut calls.calls, &mut owed.0);
                less(&mut calls.failed, &mut owed.1);
            }
            if *owed == (0, 0) {
                debt.models.clear();
            }
            pay_usage(&mut activity.usage, &mut debt.usage);
        }
        Topic::Tools => {
            less(&mut activity.tool_calls, &mut debt.tool_calls);
            less(&mut activity.tool_calls_failed, &mut debt.tool_calls_failed);
        }
        Topic::Runs => {
            less(&mut activity.successes, &mut debt.successes);
            less(&mut activity.failures, &mut debt.failures);
            let told = (activity.runs.len() as u64).min(debt.runs);
            activity.runs.drain(..told as usize);
            debt.runs -= told;
        }
    }
    *debt != before
}

fn pay_usage(usage: &mut Usage, debt: &mut Usage) {
    for (told, owed) in [
        (&mut usage.input, &mut debt.input),
        (&mut usage.output, &mut debt.output),
        (&mut usage.cached_input, &mut debt.cached_input),
        (&mut usage.reasoning, &mut debt.reasoning),
    ] {
        if let (Some(told), Some(left)) = (told.as_mut(), owed.as_mut()) {
            less(told, left);
        }
        *owed = owed.filter(|left| *left > 0);
    }
    if let (Some(told), Some(left)) = (usage.cost, debt.cost) {
        let paid = told.min(left);
        (usage.cost, debt.cost) = (Some(told.minus(paid)), Some(left.minus(paid)));
        if usage.cost == Some(Money(0)) {
            (usage.cost, usage.cost_origin) = (None, crate::model::CostOrigin::Unknown);
        }
    }
    if debt.cost == Some(Money(0)) || debt.cost.is_none() {
        (debt.cost, debt.cost_origin) = (None, crate::model::CostOrigin::Unknown);
    }
}

/// Takes from both what they have in common.
fn less(told: &mut u64, owed: &mut u64) {
    let paid = (*told).min(*owed);
    *told -= paid;
    *owed -= paid;
}

#[cfg(test)]
#[path = "signals_tests.rs"]
mod tests;
