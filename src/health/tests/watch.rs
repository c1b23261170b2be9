//! What operators and the gateway itself tell: maintenance windows, dependencies.

use super::*;

fn dependency(name: &str, healthy: bool) -> Body {
    let message = if healthy { "" } else { "503 Service Unavailable" };
    Body::Dependency(DependencyReport { name: name.into(), healthy, message: message.into() })
}

#[test]
fn maintenance_holds_alerts_and_restarts_and_ends_by_itself_with_every_deadline_anew() {
    let mut s = story();
    s.policy.auto_restart = true;
    s.at(0, beat(BeatStatus::Ok)).at(10, supervised(true)).beats(60, 600).at(610, Body::Maintenance(Some(at(3000))));
    assert_eq!(reason(&s.state, &s.policy, at(610)), format!("under maintenance until {}", at(3000)));
    s.until(2999);
    assert!(s.state.conditions.is(Condition::Down, Level::Hard), "it is measured all the same");
    s.until(5000).expect(&log(&[(610, Maintenance), (3000, Healthy), (3090, Degraded), (3190, Down)]));
    assert_eq!(s.wishes.iter().map(|(t, _)| *t).collect::<Vec<_>>(), [3190]);
}

#[test]
fn maintenance_can_be_prolonged_and_cut_short() {
    let mut s = story();
    s.beats(0, 120).at(130, Body::Maintenance(Some(at(200)))).at(150, Body::Maintenance(Some(at(1000)))).until(700);
    assert_eq!(s.state.status, Maintenance);
    s.at(700, Body::Maintenance(None)).until(1000);
    s.expect(&log(&[(130, Maintenance), (700, Healthy), (790, Degraded), (890, Down)]));
}

#[test]
fn a_pause_outlasts_a_maintenance_window() {
    let mut s = story();
    s.beats(0, 60).at(70, Body::Maintenance(Some(at(500)))).at(80, Body::Paused(true)).until(600);
    assert_eq!(s.state.status, Paused);
    s.at(600, Body::Paused(false)).until(689).expect(&log(&[(70, Maintenance), (80, Paused), (600, Healthy)]));
}

#[test]
fn a_failing_dependency_degrades_and_never_restarts() {
    let mut s = story();
    s.policy.auto_restart = true;
    s.at(0, beat(BeatStatus::Ok)).at(10, supervised(true)).beats(60, 60).at(70, dependency("llm", false));
    assert_eq!((s.state.status, s.state.conditions.get(Condition::Degraded).unwrap().level), (Degraded, Level::Soft));
    assert_eq!(reason(&s.state, &s.policy, at(70)), "dependency llm fails: 503 Service Unavailable");
    s.beats(120, 180).until(190);
    assert!(s.state.conditions.is(Condition::Degraded, Level::Hard), "sustained for two intervals");
    s.at(200, dependency("llm", true)).beats(240, 300).expect(&log(&[(70, Degraded), (200, Healthy)]));
    assert!(s.wishes.is_empty());
}

#[test]
fn good_beats_do_not_heal_a_dependency_and_what_nobody_tells_of_any_more_lapses() {
    let mut s = story();
    s.beats(0, 60).at(70, dependency("llm", false)).beats(120, 600);
    assert_eq!(s.state.status, Degraded);
    s.beats(660, 720).expect(&log(&[(70, Degraded), (670, Healthy)]));
}

#[test]
fn a_dependency_proves_no_life_and_many_of_them_stay_bounded() {
    let mut s = story();
    s.beats(0, 600);
    for n in 0..20 {
        s.at(610 + n, dependency(&format!("{n}{}", "x".repeat(500)), false));
    }
    assert_eq!(s.state.dependencies.len(), DEPENDENCIES_MAX);
    s.until(790);
    assert_eq!(s.state.status, Down);
}

#[test]
fn erroring_and_looping_agents_are_restarted_only_where_that_is_asked_for() {
    for asked in [false, true] {
        let mut s = story();
        (s.policy.auto_restart, s.policy.restart_erroring) = (true, asked);
        s.at(0, beat(BeatStatus::Ok)).at(10, supervised(true)).beats(60, 60);
        s.at(70, beat(BeatStatus::Error)).at(80, beat(BeatStatus::Error)).at(90, beat(BeatStatus::Error));
        assert_eq!((s.state.status, s.wishes.len()), (Erroring, usize::from(asked)));
    }
}

#[test]
fn who_is_off_the_watch_or_ended_on_purpose_is_not_restarted_whoever_asks() {
    let asked = || Problem { message: "timeout".into(), failure: true, event: "langfuse_error", restart: true };
    for (off, status) in [
        (Body::Paused(true), Paused),
        (Body::Maintenance(Some(at(9000))), Maintenance),
        (beat(BeatStatus::Shutdown), Stopped),
    ] {
        let mut s = story();
        s.policy.auto_restart = true;
        s.at(0, supervised(true)).beats(10, 70).at(100, off).at(200, Body::Problem(asked()));
        assert_eq!((s.state.status, s.wishes.len()), (status, 0));
        assert_eq!(s.told, [(200, "langfuse_error"), (200, "restart")], "and told that it was refused");
        let moment = Moment {
            now: at(200),
            presence: &s.presence,
            restarts_from: Timestamp(0),
            group_silent: false,
            fleet: s.fleet,
        };
        let decision = restart::decide(&s.state, &s.policy, &moment);
        assert_eq!(decision, restart::Decision::No(restart::Obstacle::OnPurpose));
    }
}

#[test]
fn a_schedule_that_is_set_but_not_in_force_expects_nothing() {
    let mut s = story();
    s.policy.schedule = Some(std::sync::Arc::new(Schedule::parse("10 * * * *").unwrap()));
    s.beats(0, 7200).expect(&SETTLED);
}

#[test]
fn a_stalled_agent_is_restarted_unless_that_is_refused() {
    for wanted in [true, false] {
        let mut s = story();
        (s.policy.auto_restart, s.policy.restart_stalled) = (true, wanted);
        s.at(0, beat(BeatStatus::Ok)).at(10, supervised(true)).beats(60, 60).at(70, ping()).beats(120, 370).until(370);
        assert_eq!((s.state.status, s.wishes.len()), (Stalled, usize::from(wanted)));
    }
}
