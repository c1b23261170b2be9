use proptest::prelude::*;

use super::*;

fn name() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![Just("bot"), Just("model-1"), Just("é"), Just("")].prop_map(Into::into)
}

fn number() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![Just(None), (0_u64..300).prop_map(Some), any::<u64>().prop_map(Some)]
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![(0_i64..1_000_000).prop_map(Timestamp), any::<i64>().prop_map(Timestamp)]
}

prop_compose! {
    fn usage()(counts in [number(), number(), number(), number()], cost in any::<Option<i64>>(), origin in 0..4_usize) -> Usage {
        let [input, output, cached_input, reasoning] = counts;
        Usage { input, output, cached_input, reasoning, cost: cost.map(Money), cost_origin: ORIGINS[origin] }
    }
}

prop_compose! {
    fn span()(
        ids in any::<(u8, Option<u8>)>(),
        class in 0..CLASSES.len(),
        flags in any::<[bool; 4]>(),
        names in (proptest::option::of(name()), proptest::option::of(name())),
        tool in proptest::option::of((name(), number())),
        scope in prop_oneof![Just(0), any::<u32>()],
        digests in [number(), number(), number()],
        usage in usage(),
        times in (time(), time()),
        failure in proptest::option::of(("[a-z]{0,3}", ".{0,9}")),
    ) -> SpanFacts {
        let [output, session, response] = digests;
        let [remote_parent, provider_sdk, twin, open] = flags;
        SpanFacts {
            span: SpanId([ids.0; 8]),
            parent: ids.1.map(|id| SpanId([id; 8])),
            class: CLASSES[class],
            agent: names.0,
            model: names.1,
            tool: tool.map(|(name, digest)| ToolKey { name, digest }),
            start: times.0,
            end: times.1,
            failure: failure.map(|(kind, message)| Box::new(Failure { kind, message })),
            remote_parent, provider_sdk, twin, open, scope, output, session, response, usage,
        }
    }
}

prop_compose! {
    fn totals()(models in proptest::collection::btree_map(name(), any::<(u64, u64)>(), 0..3), usage in usage(), n in any::<[u64; 5]>()) -> Box<TraceTotals> {
        let [runs, tool_calls, tool_calls_failed, successes, failures] = n;
        Box::new(TraceTotals { models, usage, runs, tool_calls, tool_calls_failed, successes, failures })
    }
}

prop_compose! {
    fn delta()(
        service in name(),
        times in (time(), proptest::option::of(time()), time()),
        counted in proptest::collection::btree_map(name(), totals(), 0..3),
        home in proptest::option::of((name(), any::<bool>())),
        flags in any::<(bool, bool)>(),
        changed in proptest::collection::btree_map(any::<u32>(), span(), 0..3),
        added in proptest::collection::vec(span(), 0..5),
    ) -> TraceDelta {
        let home = home.map(|(agent, provisional)| Home { agent, provisional });
        let (touched_at, held_since, deadline) = times;
        let head = TraceHead { service, touched_at, counted, home, held_since, abandoned: flags.0, deadline };
        TraceDelta { head, anew: flags.1, changed, added }
    }
}

fn key() -> impl Strategy<Value = TraceKey> {
    any::<(i64, [u8; 16])>().prop_map(|(p, t)| TraceKey { project: ProjectId(p), trace: TraceId(t) })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(delta in delta()) {
        let bytes = write(&delta, Vec::new());
        prop_assert_eq!(read(&bytes), Some(delta));
        for end in 0..bytes.len() {
            prop_assert_eq!(read(&bytes[..end]), None, "cut at {}", end);
        }
    }

    #[test]
    fn frames_follow_one_another(traces in proptest::collection::vec((key(), proptest::collection::vec(any::<u8>(), 0..300)), 0..4)) {
        let mut bytes = Vec::new();
        traces.iter().for_each(|(key, delta)| frame(*key, delta, &mut bytes));
        let mut rest = &bytes[..];
        for (key, delta) in &traces {
            prop_assert_eq!(next_frame(&mut rest), Some((*key, &delta[..])));
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(next_frame(&mut rest), None);
        for end in 0..traces.first().map_or(0, |_| bytes.len()) {
            let (mut cut, mut whole) = (&bytes[..end], 0);
            while next_frame(&mut cut).is_some() {
                whole += 1;
            }
            prop_assert!(whole < traces.len(), "cut at {}", end);
        }
    }

    #[test]
    fn blocks_of_the_form_before_are_read(traces in proptest::collection::vec((key(), delta()), 0..4)) {
        let bytes = write_block_before(&traces);
        prop_assert_eq!(read_block_before(&bytes), Some(traces));
        for end in 0..bytes.len() {
            prop_assert_eq!(read_block_before(&bytes[..end]), None, "cut at {}", end);
        }
    }

    #[test]
    fn damaged_bytes_are_refused_or_read_but_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (read(&bytes), read_block_before(&bytes), next_frame(&mut &bytes[..]));
    }
}

/// As the release before wrote blocks: names and times go on from trace to trace.
fn write_block_before(traces: &[(TraceKey, TraceDelta)]) -> Vec<u8> {
    let mut out = Out { bytes: Vec::new(), names: SmallVec::new(), time: 0 };
    out.number(traces.len() as u64);
    for (key, delta) in traces {
        out.signed(key.project.0);
        out.bytes.extend_from_slice(&key.trace.0);
        out.delta(delta);
    }
    out.bytes
}

/// A name that is far back is written again, so that many names are not compared with many.
#[test]
fn many_names_are_read_again() {
    let span = |n: u8| SpanFacts {
        span: SpanId([1 + n; 8]),
        agent: Some("bot".into()),
        model: Some(format!("model {}", n % 40).into()),
        ..SpanFacts::default()
    };
    let delta = TraceDelta { added: (0..200).map(span).collect(), ..TraceDelta::default() };
    let bytes = write(&delta, Vec::new());
    assert_eq!(read(&bytes), Some(delta));
    assert!(bytes.windows(3).filter(|name| name == b"bot").count() < 10, "most spans name it by its number");
}

/// What the format is for.
#[test]
fn a_usual_span_takes_a_third_of_what_it_would_field_by_field() {
    let span = |n: u8| SpanFacts {
        span: SpanId([n; 8]),
        parent: Some(SpanId([200; 8])),
        class: SpanClass::Llm,
        agent: Some("research-agent-17".into()),
        model: Some("some-model-2026-05-01".into()),
        scope: 0xdead_beef,
        response: Some(u64::MAX - u64::from(n)),
        usage: Usage { input: Some(1500), output: Some(300), ..Usage::default() },
        start: Timestamp(1_795_000_000_000_000 + i64::from(n) * 1_000_000),
        end: Timestamp(1_795_000_000_900_000 + i64::from(n) * 1_000_000),
        ..SpanFacts::default()
    };
    let added: Vec<_> = (0..10).map(span).collect();
    let delta = TraceDelta { added, ..TraceDelta::default() };
    let (compact, wide) = (write(&delta, Vec::new()).len(), postcard::to_stdvec(&delta).unwrap().len());
    assert!(compact * 5 / 2 < wide, "{compact} bytes against {wide}");
}
