//! Loops, budgets, error rates and flapping.

use super::*;

fn work(tokens: Option<u64>, calls: Option<u64>, message: Option<&str>) -> Body {
    let message = message.map(str::to_owned);
    Body::Heartbeat(Box::new(Heartbeat { tokens, tool_calls: calls, message, ..Heartbeat::bare(BeatStatus::Ok) }))
}

/// A result without a message.
fn done() -> Body {
    Body::Heartbeat(Box::new(Heartbeat { has_details: true, ..Heartbeat::bare(BeatStatus::Ok) }))
}

fn spent(usd: f64) -> Body {
    Body::Heartbeat(Box::new(Heartbeat { cost: Money::from_usd(usd), ..Heartbeat::bare(BeatStatus::Ok) }))
}

fn tool(name: &str, digest: Option<u64>) -> Body {
    let tools = vec![ToolKey { name: name.into(), digest }];
    Body::Activity(Box::new(Activity { newest_end: Some(Timestamp::MAX), tools, tool_calls: 0, ..Activity::default() }))
}

#[test]
fn v9_too_many_tool_calls_in_a_minute() {
    let mut s = story();
    s.beats(0, 240);
    for t in (300..350).step_by(5) {
        s.at(t, work(None, Some(1), None));
        assert_eq!(s.state.status, Healthy, "{t}");
    }
    s.at(350, work(None, Some(1), None));
    assert_eq!((s.state.status, warning(&s.state)), (Looping, Some("loop_detected")));
    assert_eq!(reason(&s.state, &s.policy, at(350)), "tool_call_rate: 11/min > 10/min");
    assert_eq!(reason(&s.state, &s.policy, at(360)), "tool_call_rate: was > 10/min, now 10/min", "until it is calm");
    s.at(360, beat(BeatStatus::Ok)).at(420, beat(BeatStatus::Ok)).at(480, beat(BeatStatus::Ok)).until(500);
    s.expect(&log(&[(350, Looping), (495, Healthy)])).expect_conditions(&[(350, "looping!"), (495, "")]);
    assert_eq!((s.state.totals.loops, warning(&s.state)), ([1, 0, 0, 0, 0, 0], None));
}

#[test]
fn v10_the_same_message_five_times() {
    let mut s = story();
    s.beats(0, 60);
    for t in 0..4 {
        s.at(100 + t, work(None, None, Some("node:retry")));
    }
    s.expect(&SETTLED);
    s.at(104, work(None, None, Some("node:other"))).at(105, work(None, None, Some("node:retry")));
    s.expect(&SETTLED);
    for t in 0..4 {
        s.at(110 + t, work(None, None, Some("node:retry")));
    }
    s.expect(&log(&[(113, Looping)]));
    s.at(120, work(None, None, Some("a"))).at(125, work(None, None, Some("b")));
    assert_eq!(s.state.status, Looping, "calm begins with the first other message, and one cycle has followed");
    s.at(130, work(None, None, Some("c")));
    assert_eq!(s.state.status, Healthy);
    s.expect_conditions(&[(113, "looping!"), (130, "")]);
}

#[test]
fn a_runner_that_repeats_its_message_and_bare_beats_are_no_loop() {
    let mut s = story();
    for t in (0..600).step_by(30) {
        s.at(t, supervised(true)).at(t, beat(BeatStatus::Ok));
    }
    assert_eq!(s.state.status, Healthy);
    assert_eq!(s.state.loops, None);
}

#[test]
fn a_token_spike_is_soft_once_and_hard_twice() {
    let mut s = story();
    s.beats(0, 60);
    for n in 0..10 {
        s.at(100 + n * 10, work(Some(100), None, None));
    }
    s.at(200, work(Some(301), None, None));
    assert_eq!(s.state.status, Degraded, "one spike is seen, not confirmed");
    assert_eq!(warning(&s.state), None);
    s.at(210, work(Some(100), None, None)).at(220, work(Some(400), None, None));
    assert_eq!(s.state.status, Looping, "two of the last three");
    s.at(230, work(Some(100), None, None)).at(240, work(Some(100), None, None));
    assert_eq!(s.state.status, Looping, "calm since 230, one cycle after it");
    s.at(250, work(Some(100), None, None));
    assert_eq!(s.state.status, Healthy);
}

#[test]
fn the_same_call_is_strong_evidence_and_the_same_name_weak() {
    let mut strong = story();
    strong.beats(0, 60);
    for t in 0..5 {
        strong.at(100 + t, tool("search", Some(7)));
    }
    assert_eq!(strong.state.status, Looping);
    let mut other_arguments = story();
    other_arguments.beats(0, 60);
    for t in 0..14 {
        other_arguments.at(100 + t, tool("search", Some(t as u64)));
    }
    assert_eq!(other_arguments.state.status, Healthy);
    let mut unknown = story();
    unknown.beats(0, 60);
    for t in 0..14 {
        unknown.at(100 + t, tool("search", None));
        assert_eq!(unknown.state.status, Healthy);
    }
    unknown.at(120, tool("search", None));
    assert_eq!(unknown.state.status, Looping);
    assert!(reason(&unknown.state, &unknown.policy, at(120)).contains("weak evidence"));
}

#[test]
fn a_loop_that_falls_silent_ends_by_itself() {
    let mut s = story();
    s.beats(0, 60);
    for t in 0..5 {
        s.at(100 + t, work(None, None, Some("again")));
    }
    assert_eq!(s.state.status, Looping);
    for t in (120..600).step_by(60) {
        s.at(t, beat(BeatStatus::Ok));
    }
    assert!(s.log.contains(&(104 + 240, Healthy)), "two minutes until it counts as ended, two of calm: {:?}", s.log);
}

#[test]
fn v11_an_hour_has_its_budget() {
    let mut s = story();
    s.policy.auto_restart = true;
    s.at(0, supervised(true)).beats(0, 60);
    for n in 0..20 {
        s.at(100 + n * 85, spent(0.99));
    }
    assert_eq!(s.state.status, Healthy);
    s.at(1800, spent(0.99));
    assert_eq!((s.state.status, warning(&s.state)), (OverBudget, Some("cost_exceeded")));
    assert!(s.wishes.is_empty(), "a restart does not fix a budget");
    s.expect_conditions(&[(1800, "over_budget!")]);
    assert_eq!(s.told, [(1460, "budget_warning")], "at 80 %, once");
    let why = reason(&s.state, &s.policy, at(1800));
    assert_eq!(why, "hourly budget: 20.790000000 USD in the last hour, the limit is 20.000000000 USD");
    // The first amounts leave the hour; the overrun ends below 80 %.
    for t in (1860..5200).step_by(60) {
        s.at(t, beat(BeatStatus::Ok));
    }
    assert!(s.log.iter().any(|(_, status)| *status == Healthy || *status == Stalled));
    assert_ne!(s.state.status, OverBudget);
}

#[test]
fn v11_one_expensive_request_is_an_event_only() {
    let mut s = story();
    s.beats(0, 60).at(100, spent(1.01)).at(110, spent(1.00));
    assert_eq!((s.state.status, s.state.totals.cost_spikes), (Healthy, 1));
    s.expect(&SETTLED).expect_conditions(&[]);
    assert_eq!(s.told, [(100, "cost_spike")]);
}

#[test]
fn a_day_has_its_budget_in_the_projects_time_zone() {
    let mut s = story();
    s.policy.budget_daily = Some(Money(5_000_000_000));
    s.policy.timezone = jiff::tz::TimeZone::fixed(jiff::tz::offset(2));
    s.beats(0, 60).at(100, spent(4.9));
    assert_eq!(s.state.status, Healthy);
    s.at(160, spent(0.2));
    assert_eq!(s.state.status, OverBudget);
    // The story begins at 11:06:40 UTC: midnight at +02:00 is 10 h 53 min 20 s later.
    let midnight = 10 * 3600 + 53 * 60 + 20;
    for t in (220..midnight + 120).step_by(60) {
        s.at(t, done());
    }
    assert!(s.log.contains(&(midnight, Healthy)), "{:?}", s.log);
}

#[test]
fn v18_looping_comes_before_over_budget_and_both_are_visible() {
    let mut s = story();
    s.beats(0, 60).at(100, spent(25.0)).at(101, work(None, Some(11), None));
    assert_eq!(s.state.status, Looping);
    assert_eq!(s.active(), "looping! over_budget!");
    s.at(160, beat(BeatStatus::Ok)).at(220, beat(BeatStatus::Ok)).at(280, beat(BeatStatus::Ok)).until(300);
    s.expect(&log(&[(100, OverBudget), (101, Looping), (281, OverBudget)]));
    s.expect_conditions(&[(100, "over_budget!"), (101, "looping! over_budget!"), (281, "over_budget!")]);
}

#[test]
fn half_of_many_results_failing_is_an_error_without_three_in_a_row() {
    let mut s = story();
    s.beats(0, 60);
    for n in 0..5 {
        s.at(100 + n * 20, done()).at(110 + n * 20, beat(BeatStatus::Error));
    }
    assert_eq!(s.state.status, Erroring);
    let why = reason(&s.state, &s.policy, at(190));
    assert!(why.starts_with("failed 50 % of 10 results in the last 10 min"), "{why}");
    for n in 0..10 {
        s.at(200 + n, done());
    }
    assert_eq!(s.state.status, Erroring, "two successes in a row, but still a third failed");
    s.at(211, done());
    assert_eq!(s.state.status, Healthy, "5 of 21 are below a quarter");
}

#[test]
fn v20_flapping_is_told_once_holds_restarts_and_ends_at_rest() {
    let mut s = story();
    s.policy.auto_restart = true;
    s.policy.interval = Duration::from_secs(30);
    s.at(0, supervised(true));
    let mut t = 0;
    for _ in 0..6 {
        s.at(t, beat(BeatStatus::Ok)).at(t + 30, beat(BeatStatus::Ok));
        t += 30 + 100;
        s.until(t);
        assert_eq!(s.state.status, Down);
        t += 100;
    }
    // Down at 130, back at 230, down at 360, back at 460, and the fifth hard change:
    assert_eq!(s.told, [(590, "flapping")], "one message for all that follows");
    assert_eq!(s.conditions.iter().find(|(_, words)| words.contains("flapping")).unwrap().0, 590);
    assert_eq!(s.active(), "late down! flapping!");
    let wishes: Vec<_> = s.wishes.iter().map(|(t, _)| *t).collect();
    assert_eq!(wishes, [130, 360], "restarts are held while it flaps, from the change that makes it flap");
    let all_but_one_old = s.state.flaps[s.state.flaps.len() - 2].as_secs() - T0 + 1800;
    s.until(all_but_one_old - 1);
    assert_eq!((s.active().as_str(), s.wishes.len()), ("late down! flapping!", 2));
    s.until(all_but_one_old);
    assert_eq!((s.active().as_str(), s.wishes.len()), ("late down!", 3), "and are asked for again at rest");
    assert_eq!(s.told.len(), 1);
}

#[test]
fn who_flaps_and_is_well_at_the_moment_is_healthy() {
    let mut s = story();
    s.policy.interval = Duration::from_secs(30);
    for t in [0, 230, 460, 690] {
        s.at(t, beat(BeatStatus::Ok)).at(t + 30, beat(BeatStatus::Ok));
    }
    assert_eq!((s.state.status, s.active().as_str()), (Healthy, "flapping!"), "{:?}", s.log);
}

/// "LLM calls whose output repeats": a classifier says the same word to many, so it is seen and never certain.
#[test]
fn the_same_answer_fifteen_times_is_seen_and_stops_nobody() {
    let answer = |output| {
        let told = Activity { newest_end: Some(Timestamp::MAX), outputs: vec![output], ..Activity::default() };
        Body::Activity(Box::new(told))
    };
    let mut s = story();
    s.policy.progress = Progress::Never;
    s.beats(0, 60);
    for t in 0..14 {
        s.at(100 + t, answer(7));
    }
    s.expect(&SETTLED);
    s.at(114, answer(7));
    assert_eq!((s.state.status, s.active().as_str(), warning(&s.state)), (Degraded, "looping", None));
    assert_eq!(
        s.why(),
        "repeated_output: the model gave the same answer 15 times in a row (threshold 15); weak evidence"
    );
    for t in 115..200 {
        s.at(t, answer(7));
    }
    assert_eq!((s.active().as_str(), s.state.totals.loops), ("looping", [0; 6]), "however often");
    s.at(200, answer(8)).at(201, answer(9)).at(202, answer(7));
    assert_eq!(s.state.status, Healthy, "two more cycles without it");
}
