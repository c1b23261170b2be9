//! The gateway's own absence, found out late or early, and what else must not bring an agent back or take it down.

use super::*;

impl Story {
    fn away(&mut self, from: i64, to: i64) -> &mut Self {
        self.presence.add_gap(at(from), at(to));
        self
    }

    fn settings(&mut self, interval: u64) -> &mut Self {
        self.policy.interval = Duration::from_secs(interval);
        self.at(self.now, Body::PolicyChanged)
    }
}

/// A run's span that ended at `end`.
fn flushed(end: i64) -> Body {
    Body::Activity(Box::new(Activity { newest_end: Some(at(end)), successes: 1, ..Activity::default() }))
}

#[test]
fn an_absence_found_later_does_not_end_down_without_a_sign_of_life() {
    let mut s = story();
    // The gateway writes down that it was there every few seconds: a crash after 790 can leave an absence from 785 on.
    s.beats(0, 600).until(790).away(785, 1000);
    s.now = 1000;
    s.presence.started_at = at(1000);
    s.at(1000, Body::DeadlinePassed).until(5000);
    s.expect(&log(&[(690, Degraded), (790, Down)]));
    s.beats(5001, 5061);
    assert_eq!(s.log[4..], [(5001, Starting), (5061, Healthy)]);
}

#[test]
fn an_absence_found_later_does_not_end_late_without_a_sign_of_life() {
    let mut s = story();
    s.beats(0, 600).until(690).away(688, 750);
    s.now = 750;
    s.at(750, Body::DeadlinePassed).until(2000);
    s.expect(&log(&[(690, Degraded), (852, Down)]));
}

#[test]
fn the_grace_after_a_start_counts_accepted_time_too() {
    let mut s = story();
    s.beats(0, 600);
    s.now = 4200;
    s.presence = Presence::new(at(4200), [(at(600), at(4200))]);
    // Stopped again for ten minutes, half a minute after its start.
    s.until(4230).away(4230, 4830);
    s.now = 4830;
    s.until(9000).expect(&log(&[(4920, Degraded), (4990, Down)]));
}

#[test]
fn spans_flushed_after_the_goodbye_do_not_end_it() {
    let mut s = story();
    s.beats(0, 60).at(100, beat(BeatStatus::Shutdown));
    s.at(101, flushed(99)).at(103, flushed(102)).until(5000);
    s.expect(&log(&[(100, Stopped)]));
    assert_eq!(s.state.totals.successes, 2, "they count all the same");
    s.at(5000, flushed(4990));
    assert_eq!(s.log[3], (5000, Starting), "a run after it is a new life");
}

#[test]
fn new_settings_do_not_make_a_down_agent_go_down_again() {
    let mut s = story();
    s.beats(0, 600).until(900).settings(30).until(5000);
    s.expect(&log(&[(690, Degraded), (790, Down)]));
}

#[test]
fn new_settings_by_which_an_agent_is_not_silent_yet_take_it_back() {
    let mut s = story();
    s.beats(0, 600).until(900).settings(600).until(9000);
    s.expect(&log(&[(690, Degraded), (790, Down), (900, Unknown), (2410, Down)]));
}

/// Money, calls and results are counted by the world's time, not by the gateway's presence: an hour's budget is of an hour.
#[test]
fn what_was_spent_before_a_sleep_of_the_machine_grows_old_while_it_sleeps() {
    let mut s = story();
    (s.policy.progress, s.policy.budget_daily) = (Progress::Never, Money::from_usd(30.0));
    let spent =
        |usd| Body::Heartbeat(Box::new(Heartbeat { cost: Money::from_usd(usd), ..Heartbeat::bare(BeatStatus::Ok) }));
    s.beats(0, 60).at(70, spent(21.0)).beats(120, 120);
    assert_eq!(s.state.status, OverBudget);
    s.away(130, 4130);
    s.now = 4130;
    s.at(4130, beat(BeatStatus::Ok));
    assert_eq!(s.state.status, Healthy, "more than an hour ago");
    s.at(4140, spent(10.0));
    assert_eq!(s.why(), "daily budget: 31.000000000 USD spent today, the limit is 30.000000000 USD");
}
