//! What a trace amounts to now, less what was counted before.

use crate::model::{Activity, CostOrigin, ModelCalls, Money, TraceTotals};

/// Adds to `activity` the difference between `total` and what was `counted`, which is brought up to date. Counters never
/// go down: where a total fell, the difference waits until the total has grown beyond what was counted.
pub(super) fn count(counted: &mut TraceTotals, total: &TraceTotals, activity: &mut Activity) {
    // A call whose model became known later must not count again under its name.
    let sums = |totals: &TraceTotals| totals.models.values().fold((0, 0), |sum, m| (sum.0 + m.0, sum.1 + m.1));
    let (all, before) = (sums(total), sums(counted));
    let mut room = (u64::saturating_sub(all.0, before.0), u64::saturating_sub(all.1, before.1));
    for (model, (calls, failed)) in &total.models {
        let done = counted.models.entry(model.clone()).or_default();
        let more = (step(&mut done.0, *calls, room.0), step(&mut done.1, *failed, room.1));
        room = (room.0 - more.0, room.1 - more.1);
        if more != (0, 0) {
            activity.model_calls.push(ModelCalls { model: model.clone(), calls: more.0, failed: more.1 });
        }
    }
    let (used, done) = (&total.usage, &mut counted.usage);
    activity.usage.input = step_known(&mut done.input, used.input);
    activity.usage.output = step_known(&mut done.output, used.output);
    activity.usage.cached_input = step_known(&mut done.cached_input, used.cached_input);
    activity.usage.reasoning = step_known(&mut done.reasoning, used.reasoning);
    if let Some(cost) = used.cost {
        let before = done.cost.unwrap_or_default();
        let more = Money(cost.0.saturating_sub(before.0).max(0));
        activity.usage.cost = (more > Money(0) || done.cost.is_none()).then_some(more);
        activity.usage.cost_origin = activity.usage.cost.map_or(CostOrigin::Unknown, |_| used.cost_origin);
        done.cost = Some(before.max(cost));
        done.cost_origin = used.cost_origin;
    }
    activity.tool_calls = step(&mut counted.tool_calls, total.tool_calls, u64::MAX);
    activity.tool_calls_failed = step(&mut counted.tool_calls_failed, total.tool_calls_failed, u64::MAX);
    activity.successes = step(&mut counted.successes, total.successes, u64::MAX);
    activity.failures = step(&mut counted.failures, total.failures, u64::MAX);
    step(&mut counted.runs, total.runs, u64::MAX);
}

/// The same where nothing was counted before: all of it is the difference, and `total` becomes what was counted.
pub(super) fn count_all(total: &TraceTotals, activity: &mut Activity) {
    for (model, (calls, failed)) in total.models.iter().filter(|(_, counts)| **counts != (0, 0)) {
        activity.model_calls.push(ModelCalls { model: model.clone(), calls: *calls, failed: *failed });
    }
    activity.usage = total.usage;
    activity.tool_calls = total.tool_calls;
    activity.tool_calls_failed = total.tool_calls_failed;
    activity.successes = total.successes;
    activity.failures = total.failures;
}

/// Brings `done` up to `total`, by at most `room`; gives by how much.
fn step(done: &mut u64, total: u64, room: u64) -> u64 {
    let more = total.saturating_sub(*done).min(room);
    *done += more;
    more
}

fn step_known(done: &mut Option<u64>, total: Option<u64>) -> Option<u64> {
    let total = total?;
    let mut before = done.unwrap_or(0);
    let more = step(&mut before, total, u64::MAX);
    let first = done.is_none();
    *done = Some(before);
    (more > 0 || first).then_some(more)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Usage;

    prop_compose! {
        fn totals()(
            models in proptest::collection::btree_map("[ab]{0,2}".prop_map(Into::into), (0_u64..3, 0_u64..2), 0..3),
            usage in (any::<Option<u8>>(), any::<Option<u8>>(), any::<Option<u8>>(), any::<Option<u8>>()),
            cost in any::<Option<u8>>(),
            counts in any::<[u8; 5]>(),
        ) -> TraceTotals {
            let [runs, tool_calls, tool_calls_failed, successes, failures] = counts.map(u64::from);
            let usage = Usage {
                input: usage.0.map(u64::from),
                output: usage.1.map(u64::from),
                cached_input: usage.2.map(u64::from),
                reasoning: usage.3.map(u64::from),
                cost: cost.map(|cost| Money(cost.into())),
                cost_origin: cost.map_or(CostOrigin::Unknown, |_| CostOrigin::Computed),
            };
            TraceTotals { models, usage, runs, tool_calls, tool_calls_failed, successes, failures }
        }
    }

    proptest! {
        #[test]
        fn what_is_told_first_is_all_of_it(total in totals()) {
            let (mut counted, mut slowly, mut at_once) = (TraceTotals::default(), Activity::default(), Activity::default());
            count(&mut counted, &total, &mut slowly);
            count_all(&total, &mut at_once);
            prop_assert_eq!(&counted, &total);
            prop_assert_eq!(slowly, at_once);
        }
    }
}
