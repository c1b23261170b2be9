//! What holds for any input.

use proptest::prelude::*;

use super::*;
use crate::health::budget;

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
                model_calls: vec![ModelCalls { model: model.into(), calls: n, failed: n / 2 }],
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
        (0..3_u128, 0..6_usize).prop_map(|(id, change)| Body::Command(CommandUpdate {
            id: CommandId(Uuid::from_u128(id)),
            change: [
                CommandChange::Queued { automatic: true },
                CommandChange::Queued { automatic: false },
                CommandChange::Started,
                CommandChange::Returned,
                CommandChange::Succeeded,
                CommandChange::Ended,
            ][change],
        })),
        Just(Body::WorkStarted),
        Just(Body::Recovered),
        Just(Body::PolicyChanged),
        Just(Body::DeadlinePassed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any observations at any times give a state within its bound, a future deadline, chained transitions, and the status
    /// that the conditions amount to (what every story checks); looking once more changes nothing.
    #[test]
    fn apply_is_total_and_the_state_stays_small(inputs in proptest::collection::vec((-100_000_i64..100_000, any_body()), 1..60)) {
        let mut s = story();
        for (step, body) in inputs {
            s.now = s.now.saturating_add(step).clamp(-1_000_000, 1_000_000);
            // A wall clock may step back; for the agent it stands still then.
            let seen = s.state.updated_at;
            s.now = s.now.max(seen.as_secs() - T0);
            s.feed(Source::Agent, body);
            let (status, conditions) = (s.state.status, s.active());
            s.feed(Source::Gateway, Body::DeadlinePassed);
            prop_assert_eq!((status, conditions), (s.state.status, s.active()));
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

    /// However work is cut into requests, and in whatever order these come, its sums are the same.
    #[test]
    fn sums_do_not_depend_on_batching(
        pieces in proptest::collection::vec((0_u64..9, 0_u64..1000, 0_i64..1_000_000, 0_usize..3), 1..20),
        size in 1_usize..6,
        turn in 0_usize..20,
    ) {
        let told = |pieces: &[(u64, u64, i64, usize)]| {
            let mut sum = Activity { newest_end: Some(at(0)), ..Activity::default() };
            for (calls, tokens, cost, model) in pieces {
                sum.usage.add(&Usage { input: Some(*tokens), cost: Some(Money(*cost)), ..Usage::default() });
                sum.model_calls.push(ModelCalls { model: format!("m{model}").into(), calls: *calls, failed: calls / 2 });
                (sum.tool_calls, sum.successes, sum.failures) =
                    (sum.tool_calls + calls, sum.successes + calls, sum.failures + calls / 2);
            }
            Body::Activity(Box::new(sum))
        };
        let totals = |requests: &[&[(u64, u64, i64, usize)]]| {
            let mut s = story();
            requests.iter().for_each(|pieces| s.feed(Source::Otlp, told(pieces)));
            let t = s.state.totals;
            let mut models: Vec<_> = t.models.into_iter().map(|m| (m.model, m.ok, m.failed)).collect();
            models.sort();
            let spend = s.state.spend.map(|spend| (spend.today, budget::sums(&spend, at(0))));
            (t.tokens_input, t.cost, t.tool_calls, t.model_calls, t.successes, t.failures, models, spend)
        };
        let whole = totals(&[&pieces]);
        let mut requests: Vec<_> = pieces.chunks(size).collect();
        prop_assert_eq!(&whole, &totals(&requests));
        let turn = turn % requests.len();
        requests.rotate_left(turn);
        requests.reverse();
        prop_assert_eq!(&whole, &totals(&requests));
    }
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
        let model_calls =
            vec![ModelCalls { model: format!("{}{n}", long(40)).into(), calls: 1 << 30, failed: 1 << 20 }];
        let run = Run {
            failed: true,
            started_at: at(0),
            ended_at: at(n),
            error_type: Some(long(400)),
            session: Some(u64::MAX),
        };
        let tools = vec![ToolKey { name: long(9).into(), digest: Some(u64::MAX) }];
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
