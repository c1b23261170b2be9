//! Time as others tell it: clocks that are wrong, telemetry that waited, the gateway's own absence, the calendar.

use super::*;
use crate::health::budget;

const DAY: i64 = 86_400;

/// A time as people write it, in seconds of the story.
fn on(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_second() - T0
}

/// One successful run that ended at `end` by its sender's clock.
fn ran(end: Timestamp) -> Body {
    let started_at = end.minus(Duration::from_secs(1));
    let run = Run { failed: false, started_at, ended_at: end, error_type: None, session: None };
    Body::Activity(Box::new(Activity { newest_end: Some(end), successes: 1, runs: vec![run], ..Activity::default() }))
}

/// What clocks say that are wrong at second `now`: a year ahead and behind, zero, the last there is, nanoseconds given for
/// seconds.
fn wrong_clocks(now: i64) -> [Timestamp; 5] {
    let nanoseconds = at(now).0.saturating_mul(1000);
    [at(now + 365 * DAY), at(now - 365 * DAY), Timestamp(0), Timestamp(i64::MAX), Timestamp::from_secs(nanoseconds)]
}

#[test]
fn tim_1_beats_count_when_they_arrive_whatever_their_senders_clock_says() {
    let told = |clock: Option<Timestamp>| {
        let mut s = story();
        for t in (0..=600).step_by(60) {
            s.until(t);
            let (agent, now) = (AgentKey::new(ProjectId(1), "a").unwrap(), at(t));
            let beat = Observation { agent, received_at: now, at: clock, source: Source::Agent, body: ping() };
            let moment =
                Moment { now, presence: &s.presence, restarts_from: Timestamp(0), group_silent: false, fleet: s.fleet };
            apply(&mut s.state, &beat, &s.policy, &moment);
        }
        s.until(2000);
        (s.log, s.state)
    };
    let expected = told(None);
    assert_eq!(expected.0, [(690, Degraded), (790, Down)]);
    for clock in wrong_clocks(600) {
        assert_eq!(told(Some(clock)), expected, "{clock}");
    }
}

#[test]
fn tim_1_spans_of_a_wrong_clock_prove_life_at_their_arrival_at_most() {
    for clock in wrong_clocks(620) {
        let mut s = story();
        s.beats(0, 600).at(620, ran(clock));
        let is_ahead = clock > at(620);
        assert_eq!(s.state.life.own, Some(at(if is_ahead { 620 } else { 600 })), "{clock}");
        assert_eq!(s.state.totals.successes, 1, "counted all the same");
        let (late, down) = if is_ahead { (710, 810) } else { (690, 790) };
        s.until(5000).expect(&log(&[(late, Degraded), (down, Down)]));
    }
}

#[test]
fn tim_1_what_a_wrong_clock_says_of_a_run_is_kept_within_a_day_and_hides_no_later_run() {
    for clock in wrong_clocks(620) {
        let mut s = story();
        s.beats(0, 600).at(620, ran(clock));
        let kept = s.state.last_run.clone().unwrap();
        assert!((at(620 - DAY)..=at(620 + 300)).contains(&kept.ended_at), "{clock}: {kept:?}");
        assert!(kept.started_at <= kept.ended_at);
        s.at(1000, ran(at(999)));
        assert_eq!(s.state.last_run.as_ref().unwrap().ended_at, at(999), "{clock}");
    }
}

#[test]
fn tim_4_after_an_hour_away_no_living_agent_is_down_and_a_real_death_is_found_in_time() {
    // The runner's word and the agent's own settle it at once.
    let settled = [(0, Starting), (0, Healthy)];
    for phase in 0..60 {
        let mut s = story();
        s.policy.auto_restart = true;
        s.at(0, supervised(true)).beats(0, 540).at(540 + phase, beat(BeatStatus::Ok));
        s.now = 4200;
        s.presence = Presence::new(at(4200), [(at(600), at(4200))]);
        s.feed(Source::Gateway, Body::DeadlinePassed);
        let last = 4200 + phase + 600;
        s.beats(4200 + phase, last).until(last).expect(&settled).expect_conditions(&[]);
        assert!(s.wishes.is_empty());
        s.until(last + 200).expect(&[settled[0], settled[1], (last + 90, Degraded), (last + 190, Down)]);
    }
    // One that beats once after the start and then dies.
    let mut s = story();
    s.beats(0, 600);
    s.now = 4200;
    s.presence = Presence::new(at(4200), [(at(600), at(4200))]);
    s.at(4210, beat(BeatStatus::Ok)).until(9000);
    s.expect(&log(&[(4300, Degraded), (4400, Down)]));
}

#[test]
fn tim_6_telemetry_that_waited_proves_life_until_it_ended_and_revives_nobody() {
    let mut dead = story();
    dead.beats(0, 600).until(8000).at(8000, ran(at(800)));
    dead.until(20_000).expect(&log(&[(690, Degraded), (790, Down)]));
    assert_eq!((dead.state.totals.successes, dead.state.life.own), (1, Some(at(600))), "counted, but no sign of life");
    let mut stopped = story();
    stopped.beats(0, 60).at(100, beat(BeatStatus::Shutdown)).at(8000, ran(at(90))).until(20_000);
    stopped.expect(&log(&[(100, Stopped)]));
    // Fresh enough for a sign of life, and that is of when the span ended, not of when it came.
    let mut waited = story();
    waited.beats(0, 600).at(780, ran(at(660)));
    assert_eq!((waited.state.life.own, waited.state.status), (Some(at(660)), Degraded), "late by now all the same");
    waited.until(849);
    assert_eq!(waited.state.status, Degraded);
    waited.until(850);
    assert_eq!((waited.state.status, waited.state.status_since), (Down, at(660)));
    // A second more in the queue, and it is history.
    let mut older = story();
    older.beats(0, 600).at(781, ran(at(660)));
    assert_eq!(older.state.life.own, Some(at(600)));
}

#[test]
fn tim_6_telemetry_that_waited_ends_no_work_in_flight() {
    let mut s = story();
    s.beats_with(360, &[(300, || Body::WorkStarted)]).at(380, ran(at(200))).beats(420, 600);
    s.expect(&log(&[(600, Stalled)]));
}

#[test]
fn tim_7_a_days_budget_lasts_as_long_as_the_day_does() {
    for (zone, spent, ends) in [
        // 23 and 25 hours; in the second, the hour that comes twice belongs to one day.
        ("Europe/Berlin", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),
        ("Europe/Berlin", "2026-10-25T00:30:00+02:00", "2026-10-26T00:00:00+01:00"),
        ("Europe/Berlin", "2026-10-25T02:30:00+02:00", "2026-10-26T00:00:00+01:00"),
        ("Europe/Berlin", "2026-10-25T02:30:00+01:00", "2026-10-26T00:00:00+01:00"),
        ("America/New_York", "2026-11-01T01:30:00-04:00", "2026-11-02T00:00:00-05:00"),
        ("Pacific/Auckland", "2026-09-27T01:59:59+12:00", "2026-09-28T00:00:00+13:00"),
        // The clocks leap at midnight: that day begins at one.
        ("Africa/Cairo", "2026-04-23T23:30:00+02:00", "2026-04-24T01:00:00+03:00"),
        ("Asia/Kolkata", "2026-11-23T18:29:59Z", "2026-11-23T18:30:00Z"),
        // The 29th of February is a day of its own, in leap years.
        ("UTC", "2028-02-28T23:59:59Z", "2028-02-29T00:00:00Z"),
        ("UTC", "2028-02-29T12:00:00Z", "2028-03-01T00:00:00Z"),
        ("UTC", "2026-02-28T12:00:00Z", "2026-03-01T00:00:00Z"),
    ] {
        let zone_is = jiff::tz::TimeZone::get(zone).unwrap();
        let (spent_at, ends_at) = (at(on(spent)), at(on(ends)));
        let mut spend = Spend::default();
        budget::add(&mut spend, Money(1), &zone_is, spent_at);
        assert_eq!(spend.day_ends, ends_at, "{zone}, {spent}");
        budget::add(&mut spend, Money(2), &zone_is, Timestamp(ends_at.0 - 1));
        assert_eq!(spend.today, Money(3), "{zone}, {spent}: the day's last moment");
        budget::add(&mut spend, Money(4), &zone_is, ends_at);
        assert_eq!(spend.today, Money(4), "{zone}, {spent}: and its end");
    }
}

#[test]
fn tim_7_who_is_over_the_days_budget_is_so_until_the_projects_midnight() {
    for (begins, ends) in [
        ("2026-03-29T00:10:00+01:00", "2026-03-30T00:00:00+02:00"),
        ("2026-10-25T00:10:00+02:00", "2026-10-26T00:00:00+01:00"),
        ("2028-02-29T00:10:00+01:00", "2028-03-01T00:00:00+01:00"),
    ] {
        let (begins, ends) = (on(begins), on(ends));
        let mut s = story();
        s.policy.progress = Progress::Never;
        s.policy.timezone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
        (s.policy.budget_daily, s.policy.budget_hourly) = (Money::from_usd(5.0), None);
        (s.now, s.presence) = (begins, Presence::new(at(begins - DAY), []));
        let cost = Heartbeat { cost: Money::from_usd(6.0), ..Heartbeat::bare(BeatStatus::Ok) };
        s.beats(begins, begins + 60).at(begins + 100, Body::Heartbeat(Box::new(cost))).beats(begins + 120, ends + 60);
        s.expect(&[(begins, Starting), (begins + 60, Healthy), (begins + 100, OverBudget), (ends, Healthy)]);
    }
}

#[test]
fn tim_7_a_maintenance_window_ends_at_its_instant_though_clocks_leap_meanwhile() {
    for (from, until, lasts) in [
        ("2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00", 3600),
        ("2026-10-25T01:30:00+02:00", "2026-10-25T03:30:00+01:00", 3 * 3600),
        ("2028-02-28T23:00:00Z", "2028-03-01T01:00:00Z", 26 * 3600),
    ] {
        let (from, until) = (on(from), on(until));
        assert_eq!(until - from, lasts);
        let mut s = story();
        (s.now, s.presence) = (from - 70, Presence::new(at(from - DAY), []));
        s.beats(from - 70, from - 10).at(from, Body::Maintenance(Some(at(until)))).until(until + 1000);
        s.expect(&[
            (from - 70, Starting),
            (from - 10, Healthy),
            (from, Maintenance),
            (until, Healthy),
            (until + 90, Degraded),
            (until + 190, Down),
        ]);
    }
}
