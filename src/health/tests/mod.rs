//! The golden vectors of the status machine as stories in virtual time: beats every 60 s, times in seconds after the
//! first beat, deadlines fired exactly when the state asks for it.

mod absence;
mod fleet;
mod loops;
mod oracle;
mod schedule;
mod watch;

use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::model::*;

const T0: i64 = 1_795_000_000;

struct Story {
    state: AgentState,
    policy: Policy,
    presence: Presence,
    fleet: Fleet,
    now: i64,
    log: Vec<(i64, Status)>,
    wishes: Vec<(i64, RestartWish)>,
}

fn story() -> Story {
    let presence = Presence::new(at(-10_000), []);
    let state = AgentState { deadline: Timestamp::MAX, ..AgentState::default() };
    Story { state, policy: Policy::default(), presence, fleet: Fleet::default(), now: 0, log: vec![], wishes: vec![] }
}

/// Something that happens at a second of the story, besides the beats.
type Extra = (i64, fn() -> Body);

const fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(T0 + secs)
}

fn beat(status: BeatStatus) -> Body {
    Body::Heartbeat(Box::new(Heartbeat::bare(status)))
}

fn ping() -> Body {
    Body::Heartbeat(Box::new(Heartbeat { message: Some("done".into()), ..Heartbeat::bare(BeatStatus::Ok) }))
}

fn supervised(running: bool) -> Body {
    let restart = Some(RestartTarget { kind: "docker".into(), target: "a".into() });
    Body::SupervisorReport(SupervisorReport { running, message: None, restart })
}

impl Story {
    fn feed(&mut self, source: Source, body: Body) {
        let agent = AgentKey::new(ProjectId(1), "a").unwrap();
        let now = at(self.now);
        let observation = Observation { agent, received_at: now, at: None, source, body };
        let moment = Moment {
            now,
            presence: &self.presence,
            restarts_from: Timestamp(0),
            group_silent: false,
            fleet: self.fleet,
        };
        let before = self.state.status;
        let effects = apply(&mut self.state, &observation, &self.policy, &moment);
        let mut last = before;
        for event in &effects.events {
            if let Some((from, to)) = event.transition {
                assert_eq!(from, last, "transitions chain");
                last = to;
                self.log.push((self.now, to));
            }
        }
        assert_eq!(last, self.state.status);
        assert!(self.state.deadline > now, "deadlines are never in the past after apply");
        self.wishes.extend(effects.restart.map(|w| (self.now, w)));
    }

    /// Lets time pass, firing every deadline on the way.
    fn until(&mut self, secs: i64) -> &mut Self {
        while self.state.deadline <= at(secs) {
            self.now = self.state.deadline.as_secs() - T0;
            self.feed(Source::Gateway, Body::DeadlinePassed);
        }
        self.now = secs;
        self
    }

    fn at(&mut self, secs: i64, body: Body) -> &mut Self {
        let source = match body {
            Body::SupervisorReport(_) => Source::Supervisor,
            Body::Problem(_) => Source::Langfuse,
            Body::Command(_) | Body::Paused(_) | Body::Maintenance(_) => Source::Gateway,
            _ => Source::Agent,
        };
        if secs > self.now {
            self.until(secs);
        }
        self.feed(source, body);
        self
    }

    fn beats(&mut self, from: i64, to: i64) -> &mut Self {
        for t in (from..=to).step_by(60) {
            self.at(t, beat(BeatStatus::Ok));
        }
        self
    }

    /// Mixes `extra` into beats every 60 s from 0 to `to`.
    fn beats_with(&mut self, to: i64, extra: &[Extra]) -> &mut Self {
        let mut all: Vec<(i64, Body)> = (0..=to).step_by(60).map(|t| (t, beat(BeatStatus::Ok))).collect();
        all.extend(extra.iter().map(|(t, body)| (*t, body())));
        all.sort_by_key(|(t, _)| *t);
        for (t, body) in all {
            self.at(t, body);
        }
        self
    }

    fn expect(&mut self, log: &[(i64, Status)]) -> &mut Self {
        assert_eq!(self.log, log);
        self
    }
}

use Status::*;
const SETTLED: [(i64, Status); 2] = [(0, Starting), (60, Healthy)];

fn log(rest: &[(i64, Status)]) -> Vec<(i64, Status)> {
    SETTLED.into_iter().chain(rest.iter().copied()).collect()
}

#[test]
fn v1_silence_is_late_then_down_since_the_last_beat() {
    let mut s = story();
    s.beats(0, 600).until(5000).expect(&log(&[(690, Degraded), (790, Down)]));
    assert_eq!(s.state.status_since, at(600));
    assert!(s.state.conditions.is(Condition::Down, Level::Hard));
    let why = reason(&s.state, &s.policy, at(790));
    assert!(why.starts_with("no sign of life for 3m 10s (expected every 1m); last at"), "{why}");
}

#[test]
fn v2_two_beats_bring_it_back() {
    story().beats(0, 600).beats(900, 960).expect(&log(&[
        (690, Degraded),
        (790, Down),
        (900, Starting),
        (960, Healthy),
    ]));
}

#[test]
fn v3_beats_without_completions_are_stalled() {
    let mut s = story();
    s.beats_with(480, &[(100, ping)]);
    assert_eq!(s.state.status, Stalled);
    let why = reason(&s.state, &s.policy, at(400));
    assert!(why.starts_with("heartbeats normal (1m interval); no completion for 5m; last completion"), "{why}");
    s.at(500, ping()).expect(&log(&[(400, Stalled), (500, Healthy)]));
}

#[test]
fn v4_an_agent_that_never_tells_of_work_cannot_stall() {
    story().beats(0, 36_000).expect(&SETTLED);
}

#[test]
fn v5_idle_after_finished_work_is_healthy() {
    story().beats_with(6000, &[(100, || Body::WorkStarted), (110, ping)]).expect(&SETTLED);
}

#[test]
fn v6_work_that_never_ends_is_stalled() {
    story().beats_with(900, &[(100, || Body::WorkStarted)]).expect(&log(&[(400, Stalled)]));
}

#[test]
fn v7_two_failures_degrade_and_two_successes_heal() {
    let fail = || beat(BeatStatus::Error);
    let mut s = story();
    s.beats(0, 60).at(100, fail()).at(160, fail()).at(200, ping()).at(260, ping());
    s.expect(&log(&[(100, Degraded), (260, Healthy)]));
}

#[test]
fn v8_three_failures_are_an_error_until_two_successes() {
    let fail = || beat(BeatStatus::Error);
    let mut s = story();
    s.beats(0, 60).at(100, fail()).at(160, fail()).at(220, fail()).at(280, ping()).at(340, ping());
    s.expect(&log(&[(100, Degraded), (220, Erroring), (340, Healthy)]));
}

#[test]
fn v12_a_clean_end_is_no_death() {
    let mut s = story();
    s.beats(0, 60).at(100, beat(BeatStatus::Shutdown)).until(499).at(500, beat(BeatStatus::Ok));
    s.expect(&log(&[(100, Stopped), (500, Starting)]));
}

#[test]
fn v14_the_gateways_own_outage_is_nobodys_death() {
    let mut s = story();
    s.beats(0, 600);
    // The gateway is away from 600 to 4200; beats go on when it is back.
    s.now = 4200;
    s.presence = Presence::new(at(4200), [(at(600), at(4200))]);
    s.beats(4200, 5000).expect(&SETTLED);
}

#[test]
fn tim5_who_died_meanwhile_is_found_after_the_grace() {
    let mut s = story();
    s.beats(0, 600);
    s.now = 4200;
    s.presence = Presence::new(at(4200), [(at(600), at(4200))]);
    s.until(6000).expect(&log(&[(4320, Degraded), (4390, Down)]));
    assert_eq!(s.state.status_since, at(600));
}

#[test]
fn v15_a_paused_agent_is_left_alone_and_gets_its_full_time_afterwards() {
    let mut s = story();
    s.beats(0, 600).at(610, Body::Paused(true)).until(999).at(1000, Body::Paused(false)).until(3000);
    s.expect(&log(&[(610, Paused), (1000, Healthy), (1090, Degraded), (1190, Down)]));
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
    assert_eq!((s.state.totals.restarts, s.state.restarts.automatic), ([1, 0, 0, 0], 1));
    assert_eq!(s.wishes.len(), 1);
}

#[test]
fn v17_a_crash_looping_agent_is_restarted_three_times_and_no_more() {
    let mut s = story();
    s.policy.auto_restart = true;
    s.at(0, supervised(true)).beats(0, 60);
    for n in 0..10_u128 {
        let seen = s.wishes.len();
        s.until(s.now + 4000);
        if s.wishes.len() == seen {
            break;
        }
        let asked = s.wishes[seen].0;
        s.now = asked;
        let update = |change| Body::Command(CommandUpdate { id: CommandId(Uuid::from_u128(n)), change });
        s.state.deadline = Timestamp::MAX;
        s.at(asked, update(CommandChange::Queued { automatic: true }));
        s.at(asked + 5, update(CommandChange::Succeeded)).at(asked + 6, beat(BeatStatus::Ok));
    }
    assert_eq!(s.wishes.len(), 3);
    for pair in s.wishes.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= 60, "at least the cooldown in between");
    }
}

#[test]
fn v19_old_telemetry_does_not_revive_the_dead() {
    let mut s = story();
    s.beats(0, 600).until(8000);
    let old = Activity { newest_end: Some(at(900)), tool_calls: 2, ..Activity::default() };
    s.at(8000, Body::Activity(Box::new(old))).expect(&log(&[(690, Degraded), (790, Down)]));
    assert_eq!(s.state.totals.tool_calls, 2, "history is counted all the same");
}

#[test]
fn a_runner_that_sees_no_process_degrades_at_once_and_downs_at_its_deadline() {
    let mut s = story();
    s.at(0, supervised(true)).at(30, supervised(true)).at(60, supervised(false)).at(90, supervised(false)).until(500);
    s.expect(&[(0, Starting), (30, Healthy), (60, Degraded), (130, Down)]);
    assert!(reason(&s.state, &s.policy, at(130)).contains("the runner says it does not run"));
}

#[test]
fn an_agent_that_a_runner_never_saw_alive_is_down_at_its_deadline_and_may_be_restarted() {
    let mut s = story();
    s.policy.auto_restart = true;
    s.at(0, supervised(false)).at(30, supervised(false));
    assert_eq!((s.state.status, s.state.status_since), (Status::Unknown, at(0)));
    assert!(reason(&s.state, &s.policy, at(30)).contains("has never seen it run"));
    s.until(99).expect(&[]);
    s.until(500).expect(&[(100, Down)]);
    assert_eq!(s.state.status_since, at(0));
    assert!(reason(&s.state, &s.policy, at(500)).starts_with("the runner says it does not run"));
    let asked: Vec<_> = s.wishes.iter().map(|(t, _)| *t).collect();
    assert_eq!(asked, [100]);
    let id = CommandId(Uuid::nil());
    for change in [CommandChange::Queued { automatic: true }, CommandChange::Started, CommandChange::Succeeded] {
        s.at(510, Body::Command(CommandUpdate { id, change }));
    }
    s.until(900).expect(&[(100, Down), (510, Restarting), (610, Down)]);
}

#[test]
fn a_langfuse_error_asks_for_a_restart_only_where_policy_allows_it() {
    let problem =
        || Body::Problem(Problem { message: "timeout".into(), failure: true, event: "langfuse_error", restart: true });
    let mut off = story();
    off.at(0, supervised(true)).at(10, problem());
    assert!(off.wishes.is_empty());
    let mut on = story();
    on.policy.auto_restart = true;
    on.at(0, supervised(true)).at(10, problem());
    assert_eq!(on.wishes[0].1.origin, CommandOrigin::WebhookLangfuse);
    assert_eq!(on.state.totals.langfuse_errors, 1);
}

#[test]
fn background_beats_repeat_sticky_values_and_prove_no_work() {
    let sticky = |iteration| {
        let beat = Heartbeat { iteration: Some(iteration), prompts: Some(7), ..Heartbeat::bare(BeatStatus::Ok) };
        Body::Heartbeat(Box::new(beat))
    };
    let mut s = story();
    s.at(0, sticky(1)).at(60, sticky(1)).at(120, sticky(1));
    assert_eq!(s.state.totals.successes, 1, "only the first, which is news");
    s.at(180, sticky(2));
    assert_eq!(s.state.totals.successes, 2);
}

fn any_body() -> impl Strategy<Value = Body> {
    let status = prop_oneof![
        Just(BeatStatus::Ok),
        Just(BeatStatus::Warning),
        Just(BeatStatus::Error),
        Just(BeatStatus::Shutdown)
    ];
    let text = proptest::option::of(".{0,400}");
    let cost = proptest::option::of(0..i64::MAX);
    prop_oneof![
        (status, text.clone(), any::<Option<u64>>(), cost, any::<Option<i64>>(), text.clone()).prop_map(
            |(status, message, tokens, cost, iteration, kind)| Body::Heartbeat(Box::new(Heartbeat {
                message,
                tokens,
                cost: cost.map(Money),
                tool_calls: tokens,
                iteration,
                agent_type: kind,
                ..Heartbeat::bare(status)
            }))
        ),
        any::<bool>().prop_map(supervised),
        (".{0,99}", any::<u64>(), any::<i64>(), any::<Option<u64>>()).prop_map(|(model, n, end, tokens)| {
            let usage = Usage { input: tokens, output: Some(n), ..Usage::default() };
            Body::Activity(Box::new(Activity {
                newest_end: Some(Timestamp(end)),
                model_calls: vec![ModelCalls { model, calls: n, failed: n / 2 }],
                usage,
                successes: n,
                failures: n / 3,
                ..Activity::default()
            }))
        }),
        text.prop_map(|m| Body::Problem(Problem {
            message: m.unwrap_or_default(),
            failure: true,
            event: "langfuse_error",
            restart: true
        })),
        any::<bool>().prop_map(Body::Paused),
        any::<Option<i64>>().prop_map(|until| Body::Maintenance(until.map(Timestamp))),
        (".{0,99}", ".{0,199}", any::<bool>())
            .prop_map(|(name, message, healthy)| Body::Dependency(DependencyReport { name, healthy, message })),
        Just(Body::WorkStarted),
        Just(Body::Recovered),
        Just(Body::PolicyChanged),
        Just(Body::DeadlinePassed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any observations at any times give a state within its bound, a future deadline and chained transitions.
    #[test]
    fn apply_is_total_and_the_state_stays_small(inputs in proptest::collection::vec((-100_000_i64..100_000, any_body()), 1..60)) {
        let mut s = story();
        for (step, body) in inputs {
            s.now = s.now.saturating_add(step).clamp(-1_000_000, 1_000_000);
            // A wall clock may step back; for the agent it stands still then.
            let seen = s.state.updated_at;
            s.now = s.now.max(seen.as_secs() - T0);
            s.feed(Source::Agent, body);
        }
        let bytes = postcard::to_stdvec(&s.state).unwrap();
        prop_assert!(bytes.len() <= STATE_BYTES_MAX, "{} bytes", bytes.len());
    }

    /// However beats are spread over time and mixed, their sums are the same.
    #[test]
    fn sums_do_not_depend_on_order(mut beats in proptest::collection::vec((0_u64..1000, 0_i64..1_000_000), 1..20), gap in 1_i64..500) {
        let total = |beats: &[(u64, i64)], gap: i64| {
            let mut s = story();
            for (n, (tokens, cost)) in beats.iter().enumerate() {
                let beat = Heartbeat { tokens: Some(*tokens), cost: Some(Money(*cost)), ..Heartbeat::bare(BeatStatus::Ok) };
                s.at(n as i64 * gap, Body::Heartbeat(Box::new(beat)));
            }
            (s.state.totals.heartbeats, s.state.totals.tokens_unspecified, s.state.totals.cost)
        };
        let forward = total(&beats, gap);
        beats.reverse();
        prop_assert_eq!(forward, total(&beats, 60));
    }
}

#[test]
fn the_interval_an_agent_declares_is_its_own() {
    let mut s = story();
    let beat = Heartbeat { interval: Some(Duration::from_secs(10)), ..Heartbeat::bare(BeatStatus::Ok) };
    s.at(0, Body::Heartbeat(Box::new(beat.clone()))).at(10, Body::Heartbeat(Box::new(beat))).until(1000);
    s.expect(&[(0, Starting), (10, Healthy), (25, Degraded), (50, Down)]);
}

/// Every text at its longest, every list full, every number as large as a year of hard work makes it.
#[test]
fn the_largest_state_is_within_its_bound() {
    let long = |n: usize| "x".repeat(n);
    let mut s = story();
    s.policy.loop_tool_calls = 1000;
    let target = RestartTarget { kind: long(RESTART_TYPE_BYTES_MAX), target: long(RESTART_TARGET_BYTES_MAX) };
    s.feed(
        Source::Supervisor,
        Body::SupervisorReport(SupervisorReport { running: true, message: None, restart: Some(target) }),
    );
    for n in (0..4000_i64).step_by(7) {
        s.now = n;
        let beat = Heartbeat {
            message: Some(long(4000)),
            tokens: Some(4_000_000),
            cost: Some(Money(500_000_000)),
            tool_calls: Some(900),
            iteration: Some(i64::MAX),
            prompts: Some(u64::MAX),
            agent_type: Some(long(400)),
            interval: Some(Duration::from_secs(86_400)),
            ..Heartbeat::bare(if n % 2 == 0 { BeatStatus::Warning } else { BeatStatus::Error })
        };
        s.feed(Source::Agent, Body::Heartbeat(Box::new(beat)));
        let model_calls = vec![ModelCalls { model: format!("{}{n}", long(40)), calls: 1 << 30, failed: 1 << 20 }];
        let run = Run {
            failed: true,
            started_at: at(0),
            ended_at: at(n),
            error_type: Some(long(400)),
            session: Some(u64::MAX),
        };
        let tools = vec![ToolKey { name: long(9), digest: Some(u64::MAX) }];
        let usage = Usage {
            input: Some(1 << 40),
            output: Some(1 << 40),
            cached_input: Some(1 << 40),
            reasoning: Some(1),
            ..Usage::default()
        };
        let told = Activity {
            newest_end: Some(at(n)),
            model_calls,
            usage,
            tools,
            runs: vec![run],
            successes: 900,
            failures: 900,
            ..Activity::default()
        };
        s.feed(Source::Otlp, Body::Activity(Box::new(told)));
        let (name, message) = (format!("{}{}", n % 9, long(400)), long(400));
        s.feed(Source::Probe, Body::Dependency(DependencyReport { name, healthy: false, message }));
    }
    s.feed(Source::Gateway, Body::Maintenance(Some(at(10_000))));
    let bytes = postcard::to_stdvec(&s.state).unwrap().len();
    assert!(bytes <= STATE_BYTES_MAX, "{bytes} bytes");
    assert!(bytes > STATE_BYTES_MAX / 2, "{bytes} bytes: this story no longer fills the state");
}
