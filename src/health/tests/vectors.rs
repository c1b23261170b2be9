//! The golden vectors of the status machine: status and conditions at each second, beats every 60 s. Those about loops,
//! budgets and flapping are in `loops`, the one about a whole project with the plan of ingestion.

use super::*;

#[test]
fn v1_silence_is_late_then_down_since_the_last_beat() {
    let mut s = story();
    s.beats(0, 600).until(5000).expect(&log(&[(690, Degraded), (790, Down)]));
    assert_eq!(s.state.status_since, at(600));
    s.expect_conditions(&[(690, "late"), (790, "late down!")]);
    let why = reason(&s.state, &s.policy, at(790));
    assert!(why.starts_with("no sign of life for 3m 10s (expected every 1m); last at"), "{why}");
}

#[test]
fn v2_two_beats_bring_it_back() {
    let mut s = story();
    s.beats(0, 600).beats(900, 960);
    s.expect(&log(&[(690, Degraded), (790, Down), (900, Starting), (960, Healthy)]));
    s.expect_conditions(&[(690, "late"), (790, "late down!"), (900, "")]);
}

#[test]
fn v3_beats_without_completions_are_stalled() {
    let mut s = story();
    s.beats_with(480, &[(100, ping)]);
    assert_eq!(s.state.status, Stalled);
    let why = reason(&s.state, &s.policy, at(400));
    assert!(why.starts_with("heartbeats normal (1m interval); no completion for 5m; last completion"), "{why}");
    s.at(500, ping()).expect(&log(&[(400, Stalled), (500, Healthy)]));
    s.expect_conditions(&[(400, "stalled!"), (500, "")]);
}

#[test]
fn v4_an_agent_that_never_tells_of_work_cannot_stall() {
    story().beats(0, 36_000).expect(&SETTLED).expect_conditions(&[]);
}

#[test]
fn v5_idle_after_finished_work_is_healthy() {
    let work: [Extra; 2] = [(100, || Body::WorkStarted), (110, ping)];
    story().beats_with(6000, &work).expect(&SETTLED).expect_conditions(&[]);
}

#[test]
fn v6_work_that_never_ends_is_stalled() {
    let mut s = story();
    s.beats_with(900, &[(100, || Body::WorkStarted)]).expect(&log(&[(400, Stalled)]));
    s.expect_conditions(&[(400, "stalled!")]);
}

#[test]
fn v7_two_failures_degrade_and_two_successes_heal() {
    let fail = || beat(BeatStatus::Error);
    let mut s = story();
    s.beats(0, 60).at(100, fail()).at(160, fail()).at(200, ping()).at(260, ping());
    s.expect(&log(&[(100, Degraded), (260, Healthy)]));
    s.expect_conditions(&[(100, "erroring"), (260, "")]);
}

#[test]
fn v8_three_failures_are_an_error_until_two_successes() {
    let fail = || beat(BeatStatus::Error);
    let mut s = story();
    s.beats(0, 60).at(100, fail()).at(160, fail()).at(220, fail()).at(280, ping()).at(340, ping());
    s.expect(&log(&[(100, Degraded), (220, Erroring), (340, Healthy)]));
    s.expect_conditions(&[(100, "erroring"), (220, "erroring!"), (340, "")]);
}

#[test]
fn v12_a_clean_end_is_no_death() {
    let mut s = story();
    s.beats(0, 60).at(100, beat(BeatStatus::Shutdown)).until(499).at(500, beat(BeatStatus::Ok));
    s.expect(&log(&[(100, Stopped), (500, Starting)])).expect_conditions(&[]);
}

#[test]
fn v14_the_gateways_own_outage_is_nobodys_death() {
    let mut s = story();
    s.beats(0, 600);
    // The gateway is away from 600 to 4200; beats go on when it is back.
    s.now = 4200;
    s.presence = Presence::new(at(4200), [(at(600), at(4200))]);
    s.beats(4200, 5000).expect(&SETTLED).expect_conditions(&[]);
}

#[test]
fn tim5_who_died_meanwhile_is_found_after_the_grace() {
    let mut s = story();
    s.beats(0, 600);
    s.now = 4200;
    s.presence = Presence::new(at(4200), [(at(600), at(4200))]);
    s.until(6000).expect(&log(&[(4320, Degraded), (4390, Down)]));
    s.expect_conditions(&[(4320, "late"), (4390, "late down!")]);
    assert_eq!(s.state.status_since, at(600));
}

#[test]
fn v15_a_paused_agent_is_left_alone_and_gets_its_full_time_afterwards() {
    let mut s = story();
    s.beats(0, 600).at(610, Body::Paused(true)).until(999).at(1000, Body::Paused(false)).until(3000);
    s.expect(&log(&[(610, Paused), (1000, Healthy), (1090, Degraded), (1190, Down)]));
    // It is measured while it is paused, and judged anew when it goes on.
    s.expect_conditions(&[(690, "late"), (790, "late down!"), (1000, ""), (1090, "late"), (1190, "late down!")]);
}

#[test]
fn v16_a_restart_is_followed_until_the_agent_is_heard_again() {
    let id = CommandId(Uuid::from_u128(1));
    let update = |change| Body::Command(CommandUpdate { id, change });
    let mut s = story();
    s.policy.auto_restart = true;
    s.at(0, supervised(true)).beats(0, 600).until(790);
    assert_eq!(s.wishes.len(), 1, "one restart is asked for when the agent goes down");
    s.at(790, update(CommandChange::Queued { automatic: true })).at(795, update(CommandChange::Started));
    s.at(800, update(CommandChange::Succeeded)).beats(810, 870);
    assert_eq!(s.log[s.log.len() - 4..], [(790, Down), (795, Restarting), (810, Starting), (870, Healthy)]);
    s.expect_conditions(&[(690, "late"), (790, "late down!"), (800, "")]);
    assert_eq!((s.state.totals.restarts, s.state.restarts.automatic), ([1, 0, 0, 0], 1));
    assert_eq!(s.wishes.len(), 1);
}

/// Restarts each time that is asked for; each time the agent beats once and dies 20 s later. Gives the seconds between
/// the end of one restart and the wish for the next.
fn crash_loop(s: &mut Story, until: i64) -> Vec<i64> {
    let mut ends: Vec<i64> = vec![];
    while s.next() <= until {
        let seen = s.wishes.len();
        s.until(s.next());
        if s.wishes.len() > seen {
            let (asked, id) = (s.now, CommandId(Uuid::from_u128(ends.len() as u128)));
            let update = |change| Body::Command(CommandUpdate { id, change });
            s.at(asked, update(CommandChange::Queued { automatic: true })).at(asked, update(CommandChange::Started));
            s.at(asked + 1, update(CommandChange::Succeeded)).at(asked + 2, beat(BeatStatus::Ok));
            ends.push(asked + 1);
        }
    }
    s.until(until);
    s.wishes.iter().skip(1).zip(&ends).map(|((next, _), end)| next - end).collect()
}

/// An agent that is found down 3 s after it dies.
fn crashing() -> Story {
    let mut s = story();
    s.policy = Policy {
        interval: Duration::from_secs(1),
        down_grace: Duration::ZERO,
        auto_restart: true,
        ..Policy::default()
    };
    s.at(0, supervised(true)).at(0, beat(BeatStatus::Ok)).at(1, beat(BeatStatus::Ok));
    s
}

#[test]
fn v17_a_crash_looping_agent_is_restarted_three_times_and_no_more() {
    let mut s = crashing();
    let waits = crash_loop(&mut s, 90_000);
    assert_eq!((s.wishes.len(), s.state.totals.restarts), (3, [3, 0, 0, 0]));
    assert!(waits.iter().all(|wait| *wait >= 60), "at least the cooldown in between: {waits:?}");
    let exhausted: Vec<_> = s.told.iter().filter(|(_, word)| *word == "restart_exhausted").collect();
    assert_eq!(exhausted.len(), 1, "told once, and for good: {:?}", s.told);
    assert!(exhausted[0].0 > s.wishes[2].0, "after the last one failed to help");
    assert!(s.state.restarts.exhausted);
    assert_eq!(s.active(), "late down!");
}

#[test]
fn v17_the_waits_double_where_the_cooldown_is_shorter() {
    let mut s = crashing();
    (s.policy.restart_cooldown, s.policy.restart_max) = (Duration::from_secs(1), 4);
    let waits = crash_loop(&mut s, 10_000);
    // 10, 20 and 40 s, each changed by up to a fifth by what is random in the command's id: by -20, 5.6 and -8.9 %.
    assert_eq!(waits, [8, 22, 37]);
    let told: Vec<_> = s.told.iter().map(|(t, word)| (*word, *t)).collect();
    assert_eq!(
        told[..],
        [("flapping", told[0].1), ("restart_exhausted", told[0].1)],
        "its fifth death, and the last dose"
    );
}

#[test]
fn v17_waits_differ_by_up_to_a_fifth_either_way() {
    let wait = |random: u16| {
        let mut s = crashing();
        s.policy.restart_cooldown = Duration::from_secs(1);
        let [low, high] = random.to_le_bytes();
        let id = CommandId(Uuid::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, low, high]));
        for change in [CommandChange::Queued { automatic: true }, CommandChange::Ended] {
            s.at(1, Body::Command(CommandUpdate { id, change }));
        }
        match restart::decide(&s.state, &s.policy, &s.moment()) {
            restart::Decision::NotBefore(until) => until.since(at(1)).as_millis(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([0, 200, 400, 401, u16::MAX].map(wait), [8_000, 10_000, 12_000, 8_000, 9_720]);
}

#[test]
fn v17_waits_double_up_to_five_minutes() {
    let mut s = crashing();
    (s.policy.restart_cooldown, s.policy.restart_max) = (Duration::from_secs(1), 100);
    for (doses, seconds) in [(1, 8), (2, 16), (3, 32), (4, 64), (5, 128), (6, 240), (7, 240), (40, 240)] {
        s.state.restarts =
            RestartLedger { automatic: doses, jitter: -200, last_at: Some(at(s.now)), ..RestartLedger::default() };
        let moment = s.moment();
        assert_eq!(restart::decide(&s.state, &s.policy, &moment), restart::Decision::NotBefore(at(s.now + seconds)));
    }
}

/// What we do to an agent is not its unrest: the third restart of one that dies after each comes as soon as the second.
#[test]
fn v17_restarts_of_ours_are_no_flapping() {
    let mut s = crashing();
    let waits = crash_loop(&mut s, 1000);
    assert_eq!(waits, [60, 60], "the cooldown and nothing else");
    assert!(!s.conditions.iter().any(|(_, words)| words.contains("flapping")), "{:?}", s.conditions);
    assert_eq!(s.state.flaps.len(), 4, "it died four times");
}

/// But what the agent does after them is: one that dies five times in half an hour flaps, however often it may be restarted.
#[test]
fn v20_an_agent_that_dies_five_times_flaps_though_it_is_restarted_each_time() {
    let mut s = crashing();
    s.policy.restart_max = 100;
    crash_loop(&mut s, 1000);
    assert_eq!(s.told.iter().map(|(_, word)| *word).collect::<Vec<_>>(), ["flapping"]);
    assert_eq!((s.wishes.len(), s.active().as_str()), (4, "late down! flapping!"));
}

/// A restart that fails, or that helps nothing, leaves the agent as it was: down once, whatever was tried.
#[test]
fn v20_restarts_that_do_not_help_are_no_changes() {
    let mut s = story();
    s.beats(0, 600).until(790);
    for n in 0..5 {
        let update = |change| Body::Command(CommandUpdate { id: CommandId(Uuid::from_u128(n)), change });
        s.at(800 + n as i64 * 200, update(CommandChange::Queued { automatic: false }));
        s.at(801 + n as i64 * 200, update(CommandChange::Started));
        let helped_nothing = if n % 2 == 0 { CommandChange::Ended } else { CommandChange::Succeeded };
        s.at(802 + n as i64 * 200, update(helped_nothing)).until(999 + n as i64 * 200);
        assert_eq!(s.active(), "late down!");
    }
    assert_eq!(s.state.flaps, [at(790)]);
}

#[test]
fn v17_a_slow_detection_does_not_make_a_fourth() {
    for grace in [0, 10, 1000, 3600] {
        let mut s = crashing();
        (s.policy.interval, s.policy.down_grace) = (Duration::from_secs(60), Duration::from_secs(grace));
        crash_loop(&mut s, 300_000);
        assert_eq!(s.wishes.len(), 3, "found {grace} s late");
        assert_eq!(s.told.iter().filter(|(_, word)| *word == "restart_exhausted").count(), 1);
    }
}

#[test]
fn v19_old_telemetry_does_not_revive_the_dead() {
    let mut s = story();
    s.beats(0, 600).until(8000);
    let old = Activity { newest_end: Some(at(900)), tool_calls: 2, ..Activity::default() };
    s.at(8000, Body::Activity(Box::new(old))).expect(&log(&[(690, Degraded), (790, Down)]));
    s.expect_conditions(&[(690, "late"), (790, "late down!")]);
    assert_eq!(s.state.totals.tool_calls, 2, "history is counted all the same");
}
