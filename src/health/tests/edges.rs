//! The second before and the second after: where each rule begins and ends, and what is not one of its cases.

use super::*;
use crate::health::{group_event, is_group_silent, spent as project_spent};

fn usd(amount: f64) -> Money {
    Money::from_usd(amount).unwrap()
}

fn spent(amount: f64) -> Body {
    Body::Heartbeat(Box::new(Heartbeat { cost: Money::from_usd(amount), ..Heartbeat::bare(BeatStatus::Ok) }))
}

fn fail() -> Body {
    beat(BeatStatus::Error)
}

fn say(message: &str) -> Body {
    Body::Heartbeat(Box::new(Heartbeat { message: Some(message.into()), ..Heartbeat::bare(BeatStatus::Ok) }))
}

fn used(tokens: u64) -> Body {
    Body::Heartbeat(Box::new(Heartbeat { tokens: Some(tokens), ..Heartbeat::bare(BeatStatus::Ok) }))
}

/// What a request of spans told that ended just now.
fn told(activity: Activity) -> Body {
    Body::Activity(Box::new(Activity { newest_end: Some(Timestamp::MAX), ..activity }))
}

fn calls(tool: &str, count: usize) -> Body {
    told(Activity { tools: vec![ToolKey { name: tool.into(), digest: Some(7) }; count], ..Activity::default() })
}

fn update(change: CommandChange) -> Body {
    Body::Command(CommandUpdate { id: CommandId(Uuid::from_u128(1)), change })
}

impl Story {
    fn from(&mut self, source: Source, secs: i64, body: Body) -> &mut Self {
        self.until(secs);
        self.feed(source, body);
        self
    }

    fn is(&self, condition: Condition) -> bool {
        self.state.conditions.get(condition).is_some()
    }
}

#[test]
fn a_clock_that_steps_back_takes_nothing_back() {
    let mut s = story();
    s.beats(0, 600).until(700);
    s.now = 500;
    s.feed(Source::Gateway, Body::DeadlinePassed);
    assert_eq!((s.state.status, s.active().as_str(), s.state.updated_at), (Degraded, "late", at(690)));
}

#[test]
fn new_settings_count_from_when_they_are_made() {
    let mut s = story();
    s.beats(0, 600).until(650);
    s.policy.interval = Duration::from_secs(10);
    s.at(650, Body::PolicyChanged).until(5000).expect(&log(&[(665, Degraded), (690, Down)]));
}

#[test]
fn ending_a_maintenance_that_does_not_hold_gives_no_time() {
    let mut s = story();
    s.beats(0, 600).at(680, Body::Maintenance(None)).until(5000).expect(&log(&[(690, Degraded), (790, Down)]));
    let mut s = story();
    s.beats(0, 600).at(610, Body::Maintenance(Some(at(3000)))).at(680, Body::Maintenance(Some(at(685)))).until(5000);
    s.expect(&log(&[(610, Maintenance), (685, Healthy), (775, Degraded), (875, Down)]));
}

#[test]
fn all_of_a_days_budget_is_not_too_much() {
    let mut s = story();
    (s.policy.progress, s.policy.budget_hourly, s.policy.budget_daily) = (Progress::Never, None, Some(usd(5.0)));
    s.beats(0, 60).at(70, spent(5.0)).beats(120, 120).expect(&SETTLED);
    s.at(130, spent(0.01)).expect(&log(&[(130, OverBudget)]));
    assert_eq!(s.why(), "daily budget: 5.010000000 USD spent today, the limit is 5.000000000 USD");
}

#[test]
fn the_hours_budget_is_told_of_while_the_day_is_within_its_own() {
    let mut s = story();
    (s.policy.budget_hourly, s.policy.budget_daily) = (Some(usd(20.0)), Some(usd(25.0)));
    s.beats(0, 60).at(70, spent(25.0));
    assert_eq!(s.why(), "hourly budget: 25.000000000 USD in the last hour, the limit is 20.000000000 USD");
}

/// The hour is counted in steps of two minutes: the first amount leaves at the 60th minute of its step.
#[test]
fn an_overrun_of_the_hour_ends_below_four_fifths_and_is_warned_of_again() {
    let mut s = story();
    s.policy.progress = Progress::Never;
    let step = |t: i64| ((T0 + t).div_euclid(120) * 120) - T0;
    s.beats(0, 60).at(100, spent(4.0)).at(700, spent(1.0)).at(1300, spent(15.5));
    assert_eq!(s.state.status, OverBudget, "20.50 of 20");
    s.beats(1320, 5400);
    let over: Vec<_> = s.log.iter().filter(|(t, _)| *t >= 1300).copied().collect();
    let (first, second, third) = (step(100) + 3600, step(700) + 3600, step(1300) + 3600);
    assert!(first < second && second < third);
    // 16.50 from the first fall on, which is more than 16: it lasts. 15.50 from the second on.
    assert_eq!(over, [(1300, OverBudget), (second, Healthy)]);
    assert_eq!(s.told.iter().filter(|(_, word)| *word == "budget_warning").count(), 1);
    s.at(5410, spent(16.0));
    assert_eq!(s.told.iter().filter(|(_, word)| *word == "budget_warning").count(), 2, "an hour later it is news");
}

#[test]
fn a_day_over_budget_ends_at_that_very_midnight() {
    let mut s = story();
    (s.policy.progress, s.policy.budget_daily) = (Progress::Never, Some(usd(10.0)));
    let midnight = 86_400 - T0.rem_euclid(86_400);
    s.now = midnight - 620;
    s.beats(midnight - 620, midnight - 560).at(midnight - 500, spent(17.0)).beats(midnight - 480, midnight - 30);
    s.until(midnight);
    assert_eq!((s.state.status, s.log.last()), (Healthy, Some(&(midnight, Healthy))));
}

#[test]
fn a_projects_overrun_lasts_until_spending_has_clearly_fallen() {
    let limits = ProjectBudget { hourly: Some(usd(10.0)), daily: None, timezone: jiff::tz::TimeZone::UTC };
    let mut project = ProjectState::default();
    for (t, amount) in [(0, 1.5), (600, 0.6), (1200, 8.0)] {
        project_spent(&mut project, usd(amount), &limits, at(t));
    }
    assert!(project.over_budget);
    let mut at_rest = |t| {
        project_spent(&mut project, Money(0), &limits, at(t));
        project.over_budget
    };
    assert_eq!([3000, 3700, 4300, 4900].map(&mut at_rest), [true, true, true, false], "8.60, then 8, then nothing");
    // A budget of nothing is kept when nothing is spent.
    let none = ProjectBudget { hourly: Some(Money(0)), ..limits };
    let mut project = ProjectState::default();
    project_spent(&mut project, usd(0.01), &none, at(0));
    assert!(project.over_budget);
    project_spent(&mut project, Money(0), &none, at(4000));
    assert!(!project.over_budget);
    let mut well = ProjectState::default();
    project_spent(&mut well, usd(9.0), &ProjectBudget { hourly: Some(usd(10.0)), ..none }, at(0));
    assert!(!well.over_budget, "nine tenths are no overrun that lasts");
}

#[test]
fn rare_beats_get_two_intervals_after_a_start() {
    let mut s = story();
    s.policy.interval = Duration::from_secs(300);
    s.at(0, beat(BeatStatus::Ok)).at(300, beat(BeatStatus::Ok));
    s.now = 9000;
    s.presence = Presence::new(at(9000), [(at(310), at(9000))]);
    s.until(30_000).expect(&[(0, Starting), (120, Healthy), (9600, Degraded), (9900, Down)]);
}

#[test]
fn failures_that_are_forgotten_at_once_still_make_a_rate() {
    let mut s = story();
    s.policy.degraded_for = Duration::ZERO;
    s.beats(0, 60);
    for n in 0..5 {
        s.at(100 + n * 20, say(&n.to_string())).at(110 + n * 20, fail());
    }
    s.expect(&log(&[(190, Erroring)]));
}

#[test]
fn trouble_is_confirmed_after_two_intervals_and_not_before() {
    let mut s = story();
    s.beats(0, 60)
        .at(70, beat(BeatStatus::Warning))
        .at(120, beat(BeatStatus::Warning))
        .at(180, beat(BeatStatus::Warning));
    s.until(189);
    assert_eq!(s.active(), "degraded");
    s.until(190);
    assert_eq!(s.active(), "degraded!");
}

#[test]
fn an_agent_that_stalls_again_and_again_flaps() {
    let mut s = story();
    s.policy.stalled_after = Duration::from_secs(100);
    s.beats(0, 60).at(61, ping());
    for n in 0..3 {
        let t = 61 + n * 150;
        s.at(t + 50, beat(BeatStatus::Ok)).until(t + 100);
        assert_eq!(s.state.status, Stalled);
        s.at(t + 110, beat(BeatStatus::Ok)).at(t + 150, ping());
    }
    let words: Vec<_> = s.told.iter().map(|(_, word)| *word).collect();
    assert_eq!(words, ["flapping"]);
    assert_eq!(
        s.events.iter().find(|e| e.kind == EventKind::Flapping).unwrap().cause,
        "status changed hard 5 times in 30 min; alerts are quieted, automatic restarts are held"
    );
}

#[test]
fn three_and_more_than_half_are_a_group() {
    let group = |silent, watched| is_group_silent(&ProjectCounts { silent, watched, ..ProjectCounts::default() });
    assert_eq!([group(2, 2), group(3, 3), group(3, 5), group(3, 6)], [false, true, true, false]);
    assert_eq!([group(55, 100), group(54, 100), group(0, 0), group(6, 200)], [true, false, false, false]);
    let cause =
        |silent, watched| group_event(&ProjectCounts { silent, watched, ..ProjectCounts::default() }, at(0)).cause;
    assert!(cause(5, 5).contains("or the way to this gateway") && !cause(4, 5).contains("or the way to this gateway"));
}

#[test]
fn messages_that_come_as_slowly_as_the_routine_are_no_row() {
    for (gap, looping) in [(44, true), (45, false)] {
        let mut s = story();
        for n in 0..5 {
            s.at(n * gap, say("all quiet"));
        }
        assert_eq!(s.is(Condition::Looping), looping, "every {gap} s");
    }
}

#[test]
fn three_times_the_usual_tokens_are_no_spike_and_cycles_without_any_say_nothing() {
    let spiked = |tokens: &[u64]| {
        let mut s = story();
        s.beats(0, 60);
        for (n, tokens) in [100; 10].iter().chain(tokens).enumerate() {
            s.at(100 + n as i64, used(*tokens));
        }
        s.active()
    };
    assert_eq!([spiked(&[110]), spiked(&[300]), spiked(&[301])], ["", "", "looping"]);
    assert_eq!(spiked(&[301, 0, 0, 400]), "looping!", "the two cycles in between told of none");
    assert_eq!(spiked(&[400, 100, 100, 400]), "looping", "here they did");
}

#[test]
fn a_spike_of_tokens_counts_for_two_minutes_and_two_of_calm() {
    let mut s = story();
    s.policy.progress = Progress::Never;
    s.beats(0, 60);
    for n in 0..10 {
        s.at(100 + n, used(100));
    }
    s.at(120, used(1000)).beats(180, 600);
    s.expect_conditions(&[(120, "looping"), (360, "")]);
}

#[test]
fn a_loop_is_counted_once_however_long_it_lasts() {
    let mut s = story();
    s.beats(0, 60);
    for n in 0..20 {
        s.at(100 + n, say("again"));
    }
    assert_eq!((s.state.status, s.state.totals.loops), (Looping, [0, 1, 0, 0, 0, 0]));
}

#[test]
fn a_loop_is_not_calm_while_something_else_repeats() {
    let mut s = story();
    s.beats(0, 60).at(100, calls("search", 5));
    assert_eq!(s.state.status, Looping);
    // Four of five are four fifths: still no calm. It begins with the next request, and the cycle after that is the first.
    let other = |s: &mut Story, t, digest| {
        let tools = vec![ToolKey { name: "fetch".into(), digest: Some(digest) }];
        s.at(t, told(Activity { tools, ..Activity::default() }));
        s.state.status
    };
    s.at(
        110,
        told(Activity { tools: vec![ToolKey { name: "fetch".into(), digest: Some(9) }; 4], ..Activity::default() }),
    );
    assert_eq!([other(&mut s, 115, 1), other(&mut s, 120, 2), other(&mut s, 125, 3)], [Looping, Looping, Healthy]);
}

#[test]
fn a_loop_of_two_kinds_ends_with_the_later_one() {
    let mut s = story();
    s.policy.progress = Progress::Never;
    s.beats(0, 60);
    for n in 0..5 {
        s.at(100 + n, say("again"));
    }
    let tool = || Body::Heartbeat(Box::new(Heartbeat { tool_calls: Some(3), ..Heartbeat::bare(BeatStatus::Ok) }));
    // Nine calls in each minute are more than calm is, though fewer than a loop.
    for t in (110..=350).step_by(20) {
        s.at(t, tool());
    }
    assert_eq!(s.active(), "looping!", "the messages ended two minutes after 104, the calls did not");
    s.beats(360, 720);
    // The last minute with eight or more ends as the call of 310 leaves it.
    s.expect_conditions(&[(104, "looping!"), (370 + 120, "")]);
}

#[test]
fn an_agent_that_is_down_is_not_stalled_too() {
    let mut s = story();
    s.policy.progress = Progress::Schedule;
    s.policy.schedule = Some(std::sync::Arc::new(Schedule::parse("10 * * * *").unwrap()));
    s.beats(0, 60).until(9000);
    assert_eq!(s.active(), "late down!");
}

#[test]
fn a_schedule_that_the_configuration_changes_holds_at_once() {
    let mut s = story();
    (s.policy.progress, s.policy.heartbeats) = (Progress::Schedule, Heartbeats::Auto);
    let cron = |text: &str| Some(std::sync::Arc::new(Schedule::parse(text).unwrap()));
    s.policy.schedule = cron("10 * * * *");
    s.at(0, ping());
    // The gateway started anew with another configuration: no event tells of it.
    s.policy.schedule = cron("0 18 * * *");
    s.at(10, Body::DeadlinePassed).until(6 * 3600);
    assert_eq!(s.state.status, Healthy);
    let at_six = on_the_day(18) + 300;
    s.until(at_six - 1);
    assert_eq!(s.state.status, Healthy);
    s.until(at_six);
    assert_eq!(s.state.status, Stalled);
    // And so does a change of the zone alone: six there was five here.
    let mut moved = story();
    (moved.policy.progress, moved.policy.heartbeats) = (Progress::Schedule, Heartbeats::Auto);
    moved.policy.schedule = cron("0 18 * * *");
    moved.at(0, ping());
    moved.policy.timezone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    moved.at(10, Body::DeadlinePassed).until(on_the_day(17) + 299);
    assert_eq!(moved.state.status, Healthy);
    moved.until(on_the_day(17) + 300);
    assert_eq!(moved.state.status, Stalled);
}

/// A full hour of the story's day, in UTC.
fn on_the_day(hour: i64) -> i64 {
    T0.div_euclid(86_400) * 86_400 + hour * 3600 - T0
}

/// The result is due at 200 s into the story, and waited for until 500.
#[test]
fn an_absence_that_ends_as_a_result_falls_due_or_begins_as_it_is_missed_excuses_nothing() {
    for (from, to, excused) in [(100, 200, false), (100, 201, true), (499, 600, true), (500, 600, false)] {
        let mut s = story();
        (s.policy.progress, s.policy.heartbeats) = (Progress::Schedule, Heartbeats::Auto);
        s.policy.schedule = Some(std::sync::Arc::new(Schedule::parse("10 * * * *").unwrap()));
        s.at(0, ping()).until(from);
        s.now = to;
        s.presence.add_gap(at(from), at(to));
        s.feed(Source::Gateway, Body::DeadlinePassed);
        s.until(1000);
        assert_eq!(s.is(Condition::Stalled), !excused, "away from {from} to {to}");
    }
}

#[test]
fn ten_minutes_of_health_forget_earlier_restarts_and_less_does_not() {
    for (lasts, doses) in [(599, 1), (598, 2)] {
        let mut s = story();
        s.policy = Policy {
            interval: Duration::from_secs(1),
            down_grace: Duration::ZERO,
            auto_restart: true,
            ..Policy::default()
        };
        s.at(0, supervised(true)).at(0, beat(BeatStatus::Ok)).at(1, beat(BeatStatus::Ok)).until(4);
        s.at(4, update(CommandChange::Queued { automatic: true })).at(5, update(CommandChange::Succeeded));
        for t in 100..=100 + lasts {
            s.at(t, beat(BeatStatus::Ok));
        }
        s.until(10_000);
        let down = s.log.iter().rev().find(|(_, status)| *status == Down).unwrap().0;
        assert_eq!(
            s.log.iter().rev().nth(1),
            Some(&(102 + lasts, Degraded)),
            "healthy from 101 to a beat and a half after the last"
        );
        assert_eq!(s.state.restarts.healthy_since, None);
        s.at(down + 4000, update(CommandChange::Queued { automatic: true }));
        assert_eq!(s.state.restarts.automatic, doses, "{lasts} s");
    }
}

#[test]
fn who_is_healthy_for_long_may_be_restarted_again_though_the_dose_was_used_up() {
    let mut s = story();
    s.policy.auto_restart = true;
    s.at(0, supervised(true)).beats(0, 60);
    s.state.restarts =
        RestartLedger { automatic: 3, exhausted: true, healthy_since: Some(at(60)), ..RestartLedger::default() };
    s.until(250);
    assert!(s.wishes.is_empty(), "healthy for a minute and a half only");
    s.beats(300, 1020).until(1210);
    assert_eq!((s.state.status, s.wishes.len()), (Down, 1));
    assert!(!s.state.restarts.exhausted);
}

#[test]
fn restarts_are_counted_by_who_asked_and_how_they_ended() {
    let mut s = story();
    s.beats(0, 60);
    for (t, automatic, ended) in [
        (100, true, CommandChange::Succeeded),
        (200, true, CommandChange::Ended),
        (300, false, CommandChange::Succeeded),
        (400, false, CommandChange::Ended),
        (500, false, CommandChange::Succeeded),
    ] {
        s.at(t, update(CommandChange::Queued { automatic })).at(t + 1, update(ended));
    }
    assert_eq!(s.state.totals.restarts, [1, 1, 2, 1]);
}

#[test]
fn a_looping_agent_is_restarted_only_where_that_is_asked_for() {
    for asked in [false, true] {
        let mut s = story();
        (s.policy.auto_restart, s.policy.restart_looping) = (true, asked);
        s.at(0, beat(BeatStatus::Ok)).at(10, supervised(true)).beats(60, 60).at(70, calls("search", 5));
        assert_eq!((s.state.status, s.wishes.len()), (Looping, usize::from(asked)));
    }
}

#[test]
fn calls_are_results_and_a_request_without_any_is_none() {
    let model_calls = || vec![ModelCalls { model: "m".into(), calls: 1, failed: 0 }];
    let cases: [(Activity, bool); 6] = [
        (Activity { model_calls: model_calls(), ..Activity::default() }, true),
        (Activity { tool_calls: 1, ..Activity::default() }, true),
        (Activity { successes: 1, ..Activity::default() }, true),
        (Activity { failures: 1, ..Activity::default() }, true),
        (Activity { failures: 2, successes: 2, ..Activity::default() }, true),
        (Activity::default(), false),
    ];
    for (activity, is_result) in cases {
        let mut s = story();
        s.beats(0, 60).at(100, Body::WorkStarted).at(110, told(activity.clone())).beats(120, 480);
        assert_eq!(s.is(Condition::Stalled), !is_result, "{activity:?}");
    }
}

#[test]
fn a_request_without_results_breaks_no_row() {
    let step = || told(Activity { tool_calls: 1, ..Activity::default() });
    let result = |failed: u64| told(Activity { failures: failed, successes: 1 - failed, ..Activity::default() });
    let mut s = story();
    s.beats(0, 60).at(70, result(1)).at(71, step()).at(72, result(1)).at(73, step()).at(74, result(1));
    assert_eq!(s.state.status, Erroring, "three in a row");
    s.at(75, result(0)).at(76, step()).at(77, result(0));
    assert_eq!(s.state.status, Healthy, "two successes in a row");
    let mut at_once = story();
    at_once.beats(0, 60).at(70, told(Activity { failures: 3, ..Activity::default() }));
    assert_eq!(at_once.state.status, Erroring, "three in one request are three");
}

#[test]
fn an_alert_is_ended_by_its_resolution_and_by_nobody_elses_word() {
    let problem =
        || Body::Problem(Problem { message: "high load".into(), failure: false, event: "alert", restart: false });
    let mut s = story();
    s.beats(0, 60).from(Source::Alertmanager, 70, problem());
    assert_eq!(s.active(), "degraded");
    s.from(Source::Langfuse, 75, Body::Recovered);
    assert_eq!(s.active(), "degraded", "one good word");
    s.from(Source::Alertmanager, 80, Body::Recovered);
    assert_eq!(s.active(), "", "resolved");
    // Trouble that Langfuse told of is not the alert's to end, twice told or not.
    s.from(Source::Langfuse, 90, problem()).from(Source::Alertmanager, 91, Body::Recovered);
    s.from(Source::Alertmanager, 92, Body::Recovered);
    assert_eq!(s.active(), "degraded");
    s.from(Source::Langfuse, 93, Body::Recovered).from(Source::Langfuse, 94, Body::Recovered);
    assert_eq!(s.active(), "");
    assert_eq!(s.state.life.signals().filter(|(source, _)| *source == Source::Langfuse).count(), 1, "and it was heard");
}

#[test]
fn a_run_whose_first_signal_is_a_result_has_settled() {
    let mut s = story();
    s.at(0, ping()).expect(&[(0, Healthy)]);
}

#[test]
fn beyond_six_models_the_rest_is_one() {
    let mut s = story();
    for n in 0..9 {
        let model_calls = vec![ModelCalls { model: format!("model-{n}").into(), calls: 3, failed: 1 }];
        s.at(n, told(Activity { model_calls, ..Activity::default() }));
    }
    let seen: Vec<_> = s.state.totals.models.iter().map(|m| (&*m.model, m.ok, m.failed)).collect();
    let own = ["model-0", "model-1", "model-2", "model-3", "model-4", "model-5"].map(|name| (name, 2, 1));
    assert_eq!(seen, [&own[..], &[(OTHER_MODELS, 6, 3)]].concat());
    assert_eq!((s.state.totals.model_calls, s.state.totals.model_calls_failed), (27, 9));
}
