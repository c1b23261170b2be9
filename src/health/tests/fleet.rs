//! Limits of a project as a whole.

use super::*;
use crate::health::{Fleet, fleet, restart_asked, restart_ended, spending, spent};

fn counts(agents: u64, restarting: u64) -> ProjectCounts {
    ProjectCounts { agents, restarting, ..ProjectCounts::default() }
}

fn usd(amount: f64) -> Money {
    Money::from_usd(amount).unwrap()
}

fn budget() -> ProjectBudget {
    ProjectBudget { hourly: Some(usd(10.0)), daily: None, timezone: jiff::tz::TimeZone::UTC }
}

fn kinds(events: &[EventDraft]) -> Vec<&'static str> {
    events.iter().map(|e| e.kind.word()).collect()
}

#[test]
fn a_tenth_of_a_project_is_restarted_at_once_and_one_at_least() {
    let project = ProjectState::default();
    let room = |agents, restarting| fleet(&project, &counts(agents, restarting), at(0)).room_at;
    assert_eq!([room(1, 0), room(19, 0), room(20, 1), room(100, 9)], [None; 4]);
    assert_eq!([room(1, 1), room(19, 1), room(20, 2), room(100, 10)], [Some(at(10)); 4]);
}

#[test]
fn ten_restarts_a_minute_are_enough_for_any_project() {
    let mut project = ProjectState::default();
    for n in 0..10 {
        assert_eq!(fleet(&project, &counts(1000, 0), at(n)).room_at, None);
        restart_asked(&mut project, at(n));
    }
    assert_eq!(fleet(&project, &counts(1000, 0), at(30)).room_at, Some(at(60)));
    assert_eq!(fleet(&project, &counts(1000, 0), at(60)).room_at, None);
}

#[test]
fn three_failed_restarts_in_a_row_halt_the_project_until_one_succeeds() {
    let mut project = ProjectState::default();
    let halted = |p: &ProjectState| fleet(p, &counts(10, 0), at(0)).halted;
    let results = [(true, false), (true, false), (true, true), (true, false), (false, false), (true, false)];
    for (automatic, succeeded) in results {
        assert_eq!(restart_ended(&mut project, automatic, succeeded, at(0)), None);
    }
    assert!(!halted(&project), "a person's failure does not count");
    let told = restart_ended(&mut project, true, false, at(0)).unwrap();
    assert_eq!((told.kind.word(), halted(&project)), ("restarts_halted", true));
    assert_eq!(restart_ended(&mut project, true, false, at(0)), None, "told once");
    restart_ended(&mut project, false, true, at(0));
    assert!(!halted(&project));
}

#[test]
fn a_projects_budget_warns_at_four_fifths_and_is_exceeded_once() {
    let mut project = ProjectState::default();
    assert_eq!(kinds(&spent(&mut project, usd(7.9), &budget(), at(0))), [""; 0]);
    assert_eq!(kinds(&spent(&mut project, usd(0.1), &budget(), at(1))), ["budget_warning"]);
    assert_eq!(kinds(&spent(&mut project, usd(2.0), &budget(), at(2))), [""; 0], "all of it is not too much");
    let told = spent(&mut project, usd(0.01), &budget(), at(3));
    assert_eq!((kinds(&told), project.over_budget), (vec!["budget_exceeded"], true));
    assert!(told[0].cause.starts_with("the project is over its budget: 10.010000000 USD in the last hour"));
    assert_eq!(kinds(&spent(&mut project, usd(5.0), &budget(), at(4))), [""; 0]);
    spent(&mut project, Money(0), &budget(), at(4000));
    assert!(!project.over_budget, "an hour later");
}

#[test]
fn who_spends_in_a_project_over_its_budget_is_over_budget_and_nobody_else() {
    let over = Fleet { over_budget: true, ..Fleet::default() };
    let (mut spender, mut frugal) = (story(), story());
    spender.beats(0, 60);
    frugal.beats(0, 60);
    spender.at(70, Body::Heartbeat(Box::new(Heartbeat { cost: Some(usd(0.5)), ..Heartbeat::bare(BeatStatus::Ok) })));
    (spender.fleet, frugal.fleet) = (over, over);
    spender.at(120, beat(BeatStatus::Ok));
    frugal.at(120, beat(BeatStatus::Ok));
    assert_eq!((spender.state.status, frugal.state.status), (OverBudget, Healthy));
    assert_eq!(reason(&spender.state, &spender.policy, at(120)), "the budget of the whole project is exceeded");
    spender.until(200);
    assert_eq!(spender.state.status, OverBudget);
    spender.fleet = Fleet::default();
    spender.until(260);
    assert_eq!(spender.state.status, Degraded, "looked at again within a minute; by now it is late");
}

#[test]
fn an_agents_restart_waits_for_room_and_for_a_project_that_is_not_halted() {
    let mut s = story();
    s.policy.auto_restart = true;
    s.fleet = Fleet { room_at: Some(at(1000)), ..Fleet::default() };
    s.at(0, beat(BeatStatus::Ok)).at(10, supervised(true)).beats(60, 600).until(999);
    assert_eq!((s.state.status, s.wishes.len()), (Down, 0));
    s.fleet = Fleet { halted: true, ..Fleet::default() };
    s.until(3000);
    assert_eq!(s.wishes.len(), 0);
    s.fleet = Fleet::default();
    s.at(3001, Body::DeadlinePassed);
    assert_eq!(s.wishes.len(), 1);
}

#[test]
fn what_a_project_spent_is_told_by_the_rolling_hour_and_the_calendar_day() {
    let mut project = ProjectState::default();
    assert_eq!(spending(&project, at(0)), None, "nothing is counted without a budget");
    spent(&mut project, usd(2.5), &budget(), at(0));
    assert_eq!(spending(&project, at(60)), Some((usd(2.5), usd(2.5))));
    assert_eq!(spending(&project, at(7200)), Some((usd(0.0), usd(2.5))), "the hour is over, the day is not");
    let day_ends = project.spend.as_ref().unwrap().day_ends;
    assert_eq!(spending(&project, Timestamp(day_ends.0 - 1)), Some((usd(0.0), usd(2.5))));
    assert_eq!(spending(&project, day_ends), Some((usd(0.0), usd(0.0))), "a new day begins, though nobody spends");
}
