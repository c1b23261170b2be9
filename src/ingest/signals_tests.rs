//! Amounts told by several signals of one instance come out once.

use super::*;
use crate::model::{CostOrigin, Run};

const NOW: Timestamp = Timestamp(1_000_000_000_000);

fn later(secs: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(secs))
}

fn calls(n: u64, input: u64, cost: i64) -> Activity {
    Activity {
        model_calls: vec![ModelCalls { model: "m".into(), calls: n, failed: 0 }],
        usage: Usage {
            input: Some(input),
            cost: Some(Money(cost)),
            cost_origin: CostOrigin::Reported,
            ..Usage::default()
        },
        newest_end: Some(NOW),
        ..Activity::default()
    }
}

/// What one signal tells now of the agent `a`; gives what counts.
fn tell(row: &mut InstanceRow, signal: Signal, topics: [bool; 3], told: Activity, now: Timestamp) -> Activity {
    arrive(row, signal, topics, now);
    let mut all = Told::from([("a".into(), Box::new(told))]);
    settle(row, signal, &mut all, now);
    if signal < Signal::Spans {
        note_counted(row, &all, now);
    }
    *all.remove("a").unwrap()
}

const CALLS: [bool; 3] = [true, false, false];
const TOOLS: [bool; 3] = [false, true, false];

#[test]
fn a_better_signal_pays_off_what_a_lesser_one_counted() {
    let mut row = InstanceRow::new(NOW);
    assert_eq!(tell(&mut row, Signal::Logs, CALLS, calls(2, 100, 70), NOW), calls(2, 100, 70));
    let first = tell(&mut row, Signal::Spans, CALLS, calls(1, 40, 30), later(1));
    assert_eq!((first.model_calls[0].calls, first.usage.input, first.usage.cost), (0, Some(0), None));
    let second = tell(&mut row, Signal::Spans, CALLS, calls(3, 90, 60), later(2));
    assert_eq!((second.model_calls[0].calls, second.usage.input, second.usage.cost), (2, Some(30), Some(Money(20))));
    let third = tell(&mut row, Signal::Spans, CALLS, calls(1, 5, 5), later(3));
    assert_eq!(third, calls(1, 5, 5), "nothing is owed any more");
    let record = tell(&mut row, Signal::Logs, CALLS, calls(9, 9, 9), later(4));
    assert_eq!(record, Activity { newest_end: Some(NOW), ..Activity::default() }, "a sign of life, and no more");
}

#[test]
fn each_kind_of_facts_has_a_signal_of_its_own() {
    let mut row = InstanceRow::new(NOW);
    tell(&mut row, Signal::Spans, CALLS, calls(1, 1, 1), NOW);
    let told = Activity { tool_calls: 2, ..calls(1, 1, 1) };
    let counted = tell(&mut row, Signal::Logs, [true, true, false], told, later(1));
    assert_eq!((counted.tool_calls, counted.model_calls.len()), (2, 0));
    let spans = tell(&mut row, Signal::Spans, TOOLS, Activity { tool_calls: 5, ..Activity::default() }, later(2));
    assert_eq!(spans.tool_calls, 3);
}

#[test]
fn the_best_of_three_signals_pays_for_both_others() {
    let mut row = InstanceRow::new(NOW);
    let all = [Signal::Metrics, Signal::Logs, Signal::Spans];
    let counted = all.map(|signal| tell(&mut row, signal, CALLS, calls(2, 100, 70), NOW).usage.input);
    assert_eq!(counted, [Some(100), Some(0), Some(0)]);

    let mut row = InstanceRow::new(NOW);
    tell(&mut row, Signal::Metrics, CALLS, calls(2, 100, 70), NOW);
    tell(&mut row, Signal::Logs, CALLS, calls(1, 40, 30), NOW);
    let told = tell(&mut row, Signal::Spans, CALLS, calls(3, 130, 90), NOW);
    assert_eq!((told.usage.input, told.usage.cost), (Some(30), Some(Money(20))));
}

#[test]
fn a_debt_is_of_the_last_minutes_only_and_lapses() {
    let mut row = InstanceRow::new(NOW);
    tell(&mut row, Signal::Metrics, CALLS, calls(0, 1000, 0), NOW);
    tell(&mut row, Signal::Metrics, CALLS, calls(0, 10, 0), later(3600));
    let told = tell(&mut row, Signal::Spans, CALLS, calls(1, 100, 0), later(3601));
    assert_eq!(told.usage.input, Some(90), "what metrics told an hour before was other work");

    let mut row = InstanceRow::new(NOW);
    tell(&mut row, Signal::Metrics, CALLS, calls(0, 1000, 0), NOW);
    arrive(&mut row, Signal::Spans, CALLS, later(1));
    let told = tell(&mut row, Signal::Spans, CALLS, calls(1, 100, 0), later(3600));
    assert_eq!(told.usage.input, Some(100), "nobody told it again in time");
}

#[test]
fn runs_are_paid_off_with_their_results() {
    let mut row = InstanceRow::new(NOW);
    let run = Run { failed: false, started_at: NOW, ended_at: NOW, error_type: None, session: None };
    let ended = Activity { runs: vec![run], successes: 1, ..Activity::default() };
    let runs = [false, false, true];
    assert_eq!(tell(&mut row, Signal::Logs, runs, ended.clone(), NOW), ended);
    assert_eq!(tell(&mut row, Signal::Spans, runs, ended.clone(), NOW), Activity::default());
    assert_eq!(tell(&mut row, Signal::Spans, runs, ended.clone(), NOW), ended);
}

#[test]
fn what_a_new_instance_tells_waits_and_counts_once() {
    let mut row = InstanceRow::new(NOW);
    arrive(&mut row, Signal::Metrics, CALLS, NOW);
    let mut all = Told::from([("a".into(), Box::new(calls(1, 10, 5)))]);
    hold(&mut row, &mut all, later(30));
    hold(&mut row, &mut Told::from([("a".into(), Box::new(calls(1, 1, 1)))]), later(30));
    assert_eq!(*all["a"], Activity { newest_end: Some(NOW), ..Activity::default() });
    assert_eq!(row.deadline, later(30));
    let mut told = row.clone();
    arrive(&mut told, Signal::Spans, CALLS, later(1));
    assert!(told.held.is_empty() && told.deadline == Timestamp::MAX, "spans tell it better");
    let released = release(&mut row);
    let a = &released["a"];
    assert_eq!((a.usage.input, a.usage.cost), (Some(11), Some(Money(6))));
    assert_eq!(a.model_calls, [ModelCalls { model: "m".into(), calls: 2, failed: 0 }]);
    assert!(row.held.is_empty() && row.deadline == Timestamp::MAX);
}

fn point(value: u64, start: i64, time: i64) -> Point {
    Point {
        series: 7,
        agent: None,
        model: Some("m".into()),
        measure: Measure::Input,
        failed: false,
        cumulative: true,
        start: Timestamp::from_secs(start),
        time: Timestamp::from_secs(time),
        value,
    }
}

/// How many input tokens each point added.
fn measured(points: &[Point]) -> Vec<u64> {
    let mut row = InstanceRow::new(NOW);
    let input = |p: &Point| measure(&mut row, vec![p.clone()], &Arc::from("home")).0["home"].usage.input.unwrap();
    points.iter().map(input).collect()
}

#[test]
fn cumulative_values_count_by_what_they_grew() {
    let told = [point(10, 1000, 1010), point(10, 1000, 1020), point(25, 1000, 1030)];
    assert_eq!(measured(&told), [10, 0, 15]);
    assert_eq!(measured(&[told[0].clone(), told[2].clone(), told[2].clone(), told[1].clone()]), [10, 15, 0, 0]);
    assert_eq!(measured(&[told[2].clone(), point(4, 1040, 1050), told[2].clone()]), [25, 4, 0], "a new start");
    assert_eq!(measured(&[told[2].clone(), point(4, 1000, 1050), point(9, 1000, 1060)]), [25, 4, 5], "it fell");
    assert_eq!(measured(&[point(5, 0, 1), point(7, 0, 2), point(3, 0, 3)]), [5, 2, 3], "without a start");
    let old = 2000 - 3 * 3600;
    assert_eq!(measured(&[point(500, old, 1010), point(501, old, 1020)]), [0, 1], "it may have counted before");
}

#[test]
fn deltas_count_each() {
    let delta = |value, start, time| Point { cumulative: false, ..point(value, start, time) };
    assert_eq!(measured(&[delta(5, 1, 2), delta(7, 2, 3), delta(1, 0, 1)]), [5, 7, 1]);
}

#[test]
fn zero_is_known_and_makes_no_call() {
    let mut row = InstanceRow::new(NOW);
    let (told, _) = measure(&mut row, vec![point(0, 1000, 1010)], &Arc::from("home"));
    assert_eq!(told["home"].usage.input, Some(0));
    assert!(told["home"].model_calls.is_empty());
}

#[test]
fn calls_tools_runs_and_failures_are_told_apart() {
    let mut row = InstanceRow::new(NOW);
    let of = |series, measure, failed| Point { series, measure, failed, cumulative: false, ..point(3, 1, 2) };
    let points = vec![
        of(1, Measure::Calls, false),
        of(2, Measure::Calls, true),
        of(3, Measure::ToolCalls, true),
        of(4, Measure::Runs, false),
        of(5, Measure::Runs, true),
        of(6, Measure::CachedBesideInput, false),
        of(7, Measure::Cost, false),
    ];
    let (told, _) = measure(&mut row, points, &Arc::from("home"));
    let a = &told["home"];
    assert_eq!(a.model_calls, [ModelCalls { model: "m".into(), calls: 6, failed: 3 }]);
    assert_eq!((a.tool_calls, a.tool_calls_failed, a.successes, a.failures), (3, 3, 3, 3));
    assert_eq!((a.usage.input, a.usage.cached_input, a.usage.cost), (Some(3), Some(3), Some(Money(3))));
    assert_eq!(a.usage.cost_origin, CostOrigin::Reported);
}

#[test]
fn series_of_one_instance_are_bounded() {
    let mut row = InstanceRow::new(NOW);
    let points = (0..INSTANCE_SERIES_MAX as u64 + 5).map(|series| Point { series, ..point(1, 1000, 1010) }).collect();
    let (told, too_many) = measure(&mut row, points, &Arc::from("home"));
    assert_eq!((too_many, row.series.len()), (5, INSTANCE_SERIES_MAX));
    assert_eq!(told["home"].usage.input, Some(INSTANCE_SERIES_MAX as u64));
}
