//! What the oracle in `tests/oracle` found, each as the shortest story that shows it.

use super::*;

fn work(tokens: Option<u64>, message: &str) -> Body {
    let message = Some(message.into());
    Body::Heartbeat(Box::new(Heartbeat { tokens, message, ..Heartbeat::bare(BeatStatus::Ok) }))
}

fn spent(usd: f64) -> Body {
    Body::Heartbeat(Box::new(Heartbeat { cost: Money::from_usd(usd), ..Heartbeat::bare(BeatStatus::Ok) }))
}

fn fail() -> Body {
    beat(BeatStatus::Error)
}

fn problem(failure: bool) -> Body {
    Body::Problem(Problem { message: "timeout".into(), failure, event: "langfuse_error", restart: false })
}

fn update(change: CommandChange) -> Body {
    Body::Command(CommandUpdate { id: CommandId(Uuid::from_u128(1)), change })
}

impl Story {
    fn level(&self, condition: Condition) -> Option<Level> {
        self.state.conditions.get(condition).map(|a| a.level)
    }
}

#[test]
fn a_budget_of_nothing_is_kept_again_an_hour_after_the_last_cent() {
    let mut s = story();
    s.policy.progress = Progress::Never;
    s.policy.budget_hourly = Some(Money(0));
    s.beats(0, 60).at(120, spent(0.01));
    assert_eq!(s.state.status, OverBudget);
    s.beats(180, 7200);
    assert_eq!(s.state.status, Healthy);
}

#[test]
fn a_day_over_budget_ends_at_midnight_when_the_hour_never_was() {
    let mut s = story();
    s.policy.progress = Progress::Never;
    s.policy.budget_daily = Money::from_usd(10.0);
    // T0 is 11:06:40 UTC.
    let midnight = (86_400 - T0.rem_euclid(86_400)) / 60 * 60;
    s.now = midnight - 600;
    s.beats(midnight - 600, midnight - 540).at(midnight - 500, spent(17.0));
    assert_eq!(s.state.status, OverBudget);
    s.beats(midnight - 480, midnight + 120);
    assert_eq!(s.state.status, Healthy, "17 of 20 USD in the hour are no overrun");
}

#[test]
fn a_spike_of_tokens_ends_although_other_cycles_go_on() {
    let mut s = story();
    for n in 0..10 {
        s.at(n, work(Some(100), &n.to_string()));
    }
    s.at(20, work(Some(1000), "spike"));
    assert_eq!(s.level(Condition::Looping), Some(Level::Soft));
    for n in 1..20 {
        s.at(20 + n * 30, work(None, &format!("step {n}")));
    }
    assert_eq!(s.level(Condition::Looping), None);
}

#[test]
fn an_operators_pauses_are_no_flapping() {
    let mut s = story();
    s.beats(0, 60).at(61, fail()).at(62, fail()).at(63, fail());
    for n in 0..6 {
        s.at(70 + n * 10, Body::Paused(n % 2 == 0));
    }
    assert_eq!((s.state.status, s.level(Condition::Flapping)), (Erroring, None));
}

#[test]
fn a_paused_agent_is_measured_all_the_same() {
    let mut s = story();
    for n in 0..5 {
        s.at(n, work(None, "same"));
    }
    assert_eq!(warning(&s.state), Some("loop_detected"));
    s.at(10, Body::Paused(true)).beats(60, 600);
    assert_eq!((s.state.status, warning(&s.state)), (Paused, None), "no client is told to stop for a loop of the past");
    s.until(2000);
    assert_eq!((s.state.status, s.level(Condition::Down)), (Paused, Some(Level::Hard)));
    s.at(2000, beat(BeatStatus::Ok));
    assert_eq!((s.state.status, s.level(Condition::Down)), (Paused, None), "one signal clears it");
}

#[test]
fn a_stopped_agent_is_not_over_budget_for_ever() {
    let mut s = story();
    s.beats(0, 60).at(70, spent(21.0)).at(80, beat(BeatStatus::Shutdown)).until(79_000);
    assert_eq!((s.state.status, s.state.conditions.active().count()), (Stopped, 0));
}

#[test]
fn resuming_what_is_not_paused_changes_nothing() {
    let mut s = story();
    s.beats(0, 600).until(790).at(800, Body::Paused(false)).until(2000);
    s.expect(&log(&[(690, Degraded), (790, Down)]));
}

#[test]
fn a_goodbye_said_twice_is_one_end() {
    let mut s = story();
    s.policy.progress = Progress::Always;
    s.beats(0, 60).at(100, beat(BeatStatus::Shutdown)).at(101, beat(BeatStatus::Shutdown)).beats(5000, 5060);
    s.expect(&log(&[(100, Stopped), (5000, Starting), (5060, Healthy)]));
}

#[test]
fn short_runs_that_say_goodbye_alike_are_no_loop() {
    let mut s = story();
    let goodbye = Heartbeat { message: Some("shutting down".into()), ..Heartbeat::bare(BeatStatus::Shutdown) };
    for n in 0..20 {
        s.at(n * 60, beat(BeatStatus::Ok)).at(n * 60 + 30, Body::Heartbeat(Box::new(goodbye.clone())));
        assert_eq!(warning(&s.state), None, "run {n}");
    }
    assert!(s.log.iter().all(|(_, status)| matches!(status, Starting | Stopped)));
}

#[test]
fn a_runner_does_not_settle_an_agent_that_speaks_for_itself() {
    let mut s = story();
    s.beats(0, 600);
    for t in (610..900).step_by(30) {
        s.at(t, supervised(true));
    }
    s.beats(900, 960).expect(&log(&[(690, Degraded), (790, Down), (900, Starting), (960, Healthy)]));
}

#[test]
fn an_agent_whose_process_is_there_again_gets_its_full_time_to_be_heard() {
    let mut s = story();
    s.beats(0, 60).at(100, beat(BeatStatus::Shutdown)).at(4000, supervised(true)).until(5000);
    s.expect(&log(&[(100, Stopped), (4000, Starting), (4120, Degraded), (4190, Down)]));
}

#[test]
fn a_restart_that_hangs_is_found_although_the_old_process_said_goodbye() {
    let mut s = story();
    s.beats(0, 60).at(70, update(CommandChange::Queued { automatic: false })).at(71, update(CommandChange::Started));
    s.at(72, beat(BeatStatus::Shutdown)).at(75, update(CommandChange::Succeeded)).until(1000);
    s.expect(&log(&[(71, Restarting), (72, Stopped), (75, Restarting), (265, Down)]));
}

#[test]
fn a_restarted_agent_does_not_inherit_the_error_rate() {
    let mut s = story();
    for n in 0..12 {
        s.at(n, fail());
    }
    s.at(20, update(CommandChange::Queued { automatic: false })).at(21, update(CommandChange::Succeeded));
    s.beats(30, 90);
    assert_eq!((s.state.status, s.level(Condition::Erroring)), (Healthy, None));
}

#[test]
fn a_runner_that_went_away_does_not_degrade_for_ever() {
    let mut s = story();
    s.at(0, supervised(true)).beats(10, 70).at(80, supervised(false)).at(90, beat(BeatStatus::Ok));
    assert_eq!(s.state.status, Degraded);
    s.at(150, beat(BeatStatus::Ok));
    assert_eq!(s.state.status, Healthy, "two good reports");
    s.at(160, supervised(false)).at(170, supervised(true));
    assert_eq!(s.state.status, Healthy, "the runner itself takes it back");
}

#[test]
fn one_crash_of_an_agent_that_only_beats_neither_degrades_nor_stalls_it_for_ever() {
    let mut s = story();
    s.beats(0, 60).at(100, fail()).beats(120, 6000);
    s.expect(&log(&[(100, Degraded), (700, Healthy)]));
}

#[test]
fn a_third_of_failures_is_one_trouble_and_not_many() {
    let mut s = story();
    for n in 0..60 {
        s.at(n * 10, if n % 3 == 0 { fail() } else { work(None, &n.to_string()) });
    }
    let since_ten = s.log.iter().filter(|(t, _)| *t > 100).count();
    assert_eq!((s.state.status, since_ten), (Degraded, 0));
}

#[test]
fn a_rate_that_rises_because_successes_leave_the_window_is_seen_at_that_second() {
    let mut s = story();
    let mut t = 0;
    for n in 0..10 {
        s.at(n, work(None, &n.to_string()));
    }
    for n in 0..10 {
        t = 300 + n * 10;
        s.at(t, if n % 3 == 2 { work(None, &n.to_string()) } else { fail() });
    }
    assert_eq!(s.level(Condition::Erroring), Some(Level::Soft), "7 of 20");
    // The first successes leave with their minute.
    let leaves = (T0.div_euclid(60) + 10) * 60 - T0;
    s.beats(t + 10, leaves - 1).until(leaves - 1);
    assert_eq!(s.level(Condition::Erroring), Some(Level::Soft));
    s.until(leaves);
    assert_eq!(s.level(Condition::Erroring), Some(Level::Hard), "7 of 10");
}

#[test]
fn the_gateways_absence_confirms_no_trouble() {
    let mut s = story();
    s.beats(0, 540).at(590, beat(BeatStatus::Warning));
    s.now = 4200;
    s.presence = Presence::new(at(4200), [(at(600), at(4200))]);
    s.feed(Source::Gateway, Body::DeadlinePassed);
    assert_eq!(s.level(Condition::Degraded), Some(Level::Soft), "10 of 120 seconds could be heard");
    s.beats(4210, 4270);
    assert_eq!(s.level(Condition::Degraded), None);
}

#[test]
fn who_is_down_stays_down_when_the_gateway_starts_again() {
    let mut s = story();
    s.beats(0, 600).until(1000);
    s.presence = Presence::new(at(1000), []);
    s.at(1010, supervised(false)).at(1020, problem(false)).until(3000);
    s.expect(&log(&[(690, Degraded), (790, Down)]));
}

#[test]
fn trouble_of_long_ago_does_not_make_new_trouble_old() {
    let mut s = story();
    s.beats(0, 60).at(100, beat(BeatStatus::Shutdown)).at(110, problem(false)).until(8000);
    s.at(8000, problem(false)).at(8001, beat(BeatStatus::Ok)).at(8002, problem(false));
    assert_eq!(s.level(Condition::Degraded), Some(Level::Soft));
}

#[test]
fn a_hard_change_at_the_second_at_which_an_old_one_is_forgotten_keeps_it_flapping() {
    let mut s = story();
    s.policy.progress = Progress::Schedule;
    (s.policy.heartbeats, s.policy.schedule_grace) = (Heartbeats::Never, Duration::from_secs(10));
    s.policy.schedule = Some(std::sync::Arc::new(Schedule::parse("*/10 * * * *").unwrap()));
    let done = |s: &mut Story, t: i64| drop(s.at(t, work(None, &t.to_string())).active());
    // Its times are 200 s into the story and every ten minutes from then on; it misses three of them, and keeps two.
    [0, 215, 815, 1415, 2005, 2605].into_iter().for_each(|t| done(&mut s, t));
    assert_eq!(s.conditions.iter().find(|(_, words)| words.contains("flapping")).unwrap().0, 1410);
    s.until(3209);
    assert_eq!(s.active(), "flapping!", "the changes of 1410 and 1415 are remembered");
    s.until(3210);
    assert_eq!(s.active(), "stalled! flapping!", "that of 1410 no more, but there is a new one");
}
