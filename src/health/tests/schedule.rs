//! When a result, a beat, or life at all is expected: schedules, the idle mark, agents that are meant to run.

use std::sync::Arc;

use super::*;

/// The story begins at 11:06:40 UTC. Ten past every hour is 200 s into it, and every hour after that.
const FIRST: i64 = 200;

fn scheduled() -> Story {
    let mut s = story();
    s.policy.progress = Progress::Schedule;
    s.policy.heartbeats = Heartbeats::Auto;
    s.policy.schedule = Some(Arc::new(Schedule::parse("10 * * * *").unwrap()));
    s
}

fn idle() -> Body {
    Body::Heartbeat(Box::new(Heartbeat { idle: true, ..Heartbeat::bare(BeatStatus::Ok) }))
}

#[test]
fn a_job_is_stalled_when_its_hour_and_the_grace_have_passed_without_a_result() {
    let mut s = scheduled();
    s.at(0, ping()).at(FIRST + 20, ping()).at(FIRST + 3600, ping()).until(FIRST + 7200 + 299);
    assert_eq!(s.state.status, Healthy, "no beats are expected of it, and its time has not come");
    s.until(FIRST + 7200 + 300);
    assert_eq!(s.state.status, Stalled);
    let why = reason(&s.state, &s.policy, s.state.updated_at);
    assert!(why.starts_with("no completion for 5m since the scheduled time 2026-11-18T13:10:00.000Z"), "{why}");
    s.at(FIRST + 7200 + 400, ping());
    assert_eq!((s.state.status, s.state.deadline <= at(FIRST + 3 * 3600 + 300)), (Healthy, true));
    s.until(FIRST + 3 * 3600 + 300);
    assert_eq!(s.state.status, Stalled, "the next hour counts again");
}

#[test]
fn a_job_that_ends_after_each_run_is_missed_all_the_same() {
    let mut s = scheduled();
    s.at(0, ping()).at(5, beat(BeatStatus::Shutdown)).until(FIRST + 299);
    assert_eq!(s.state.status, Stopped);
    s.until(FIRST + 300);
    assert_eq!(s.state.status, Stalled);
    s.at(FIRST + 310, ping()).at(FIRST + 320, beat(BeatStatus::Shutdown));
    assert_eq!(s.state.status, Stopped);
}

#[test]
fn a_result_that_fell_due_while_the_gateway_was_away_is_not_missed() {
    let mut s = scheduled();
    s.at(0, ping());
    s.now = FIRST + 2000;
    s.presence = Presence::new(at(FIRST + 2000), [(at(100), at(FIRST + 2000))]);
    s.feed(Source::Gateway, Body::DeadlinePassed);
    s.until(FIRST + 3600 + 299);
    assert_eq!(s.state.status, Healthy);
    s.until(FIRST + 3600 + 300);
    assert_eq!(s.state.status, Stalled, "the first one that could be heard was");
}

#[test]
fn a_new_schedule_counts_from_the_next_judgement_on() {
    let mut s = scheduled();
    s.at(0, ping());
    s.policy.schedule = Some(Arc::new(Schedule::parse("0 18 * * *").unwrap()));
    s.at(1, Body::PolicyChanged).until(6 * 3600);
    assert_eq!(s.state.status, Healthy);
    s.until(7 * 3600 + 300);
    assert_eq!(s.state.status, Stalled);
}

#[test]
fn an_idle_mark_stops_the_timer_until_there_is_work_again() {
    let mut s = story();
    s.beats(0, 60).at(100, ping()).at(150, idle()).beats(180, 3000);
    s.expect(&SETTLED);
    s.at(3010, Body::WorkStarted).beats(3060, 3309).until(3309).expect(&SETTLED);
    s.until(3310).expect(&log(&[(3310, Stalled)]));
    s.at(3311, idle());
    assert_eq!(s.state.status, Healthy);
}

/// Third parties tell of work, not of life: their word ends idling and moves no deadline of the beats.
#[test]
fn an_error_told_of_an_idle_agent_gives_it_no_time() {
    let mut s = story();
    s.beats(0, 540).at(600, idle());
    let told = Problem { message: "timeout".into(), failure: true, event: "langfuse_error", restart: false };
    s.at(680, Body::Problem(told)).until(790);
    assert_eq!((s.state.status, s.state.status_since), (Down, at(600)));
}

#[test]
fn work_after_idling_is_awaited_from_then_on() {
    let mut s = story();
    s.policy.progress = Progress::Always;
    s.beats(0, 60).at(70, idle()).beats(120, 2040).at(2050, ping()).beats(2100, 2340).until(2349).expect(&SETTLED);
    s.until(2350).expect(&log(&[(2350, Stalled)]));
}

#[test]
fn an_agent_that_is_expected_to_run_is_down_when_it_stays_stopped() {
    let mut s = story();
    s.policy.expect_running = true;
    s.policy.auto_restart = true;
    s.at(0, beat(BeatStatus::Ok)).at(10, supervised(true)).beats(60, 60).at(100, beat(BeatStatus::Shutdown));
    s.until(399).expect(&log(&[(100, Stopped)]));
    s.until(9000).expect(&log(&[(100, Stopped), (400, Down)]));
    let why = reason(&s.state, &s.policy, at(400));
    assert!(why.starts_with("shut down at 11:08:20Z and not started again for 5m"), "{why}");
    assert_eq!(s.wishes.iter().map(|(t, _)| *t).collect::<Vec<_>>(), [400]);
    s.beats(9000, 9060);
    assert_eq!(s.state.status, Healthy);
}

#[test]
fn of_an_agent_known_by_telemetry_alone_no_beats_need_be_expected() {
    let told = || {
        let told = Activity { newest_end: Some(Timestamp::MAX), successes: 1, ..Activity::default() };
        Body::Activity(Box::new(told))
    };
    for (heartbeats, expected) in
        [(Heartbeats::Always, Down), (Heartbeats::Auto, Healthy), (Heartbeats::Never, Healthy)]
    {
        let mut s = story();
        (s.policy.heartbeats, s.policy.progress) = (heartbeats, Progress::Never);
        s.at(0, told()).at(10, told()).until(9000);
        assert_eq!(s.state.status, expected, "{heartbeats:?}");
        s.at(9010, beat(BeatStatus::Ok)).at(9070, beat(BeatStatus::Ok)).until(20_000);
        assert_eq!(s.state.status == Down, heartbeats != Heartbeats::Never, "{heartbeats:?}: one that beats has to");
    }
}

#[test]
fn a_routine_text_every_minute_is_no_loop_and_the_same_text_faster_is() {
    let say = || Heartbeat { message: Some("all quiet".into()), ..Heartbeat::bare(BeatStatus::Ok) };
    let mut routine = story();
    for n in 0..60 {
        routine.at(n * 60 - n % 3, Body::Heartbeat(Box::new(say())));
    }
    assert!(!routine.log.iter().any(|(_, status)| *status == Looping), "{:?}", routine.log);
    let mut fast = story();
    for n in 0..5 {
        fast.at(n * 44, Body::Heartbeat(Box::new(say())));
    }
    assert_eq!(fast.state.status, Looping);
    let mut told = story();
    told.policy.loop_message_gap = Some(Duration::from_secs(120));
    for n in 0..5 {
        told.at(n * 60, Body::Heartbeat(Box::new(say())));
    }
    assert_eq!(told.state.status, Looping, "unless that is asked for");
}
