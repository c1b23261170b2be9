use super::*;
use crate::model::{Failure, Money, SpanClass, SpanId, Teller, ToolKey, TraceDelta, TraceId, Usage};

fn span(id: u8, parent: u8, class: SpanClass) -> SpanFacts {
    SpanFacts {
        span: SpanId([id; 8]),
        parent: (parent > 0).then_some(SpanId([parent; 8])),
        class,
        start: Timestamp::from_secs(id.into()),
        end: Timestamp::from_secs(100 + i64::from(id)),
        ..SpanFacts::default()
    }
}

fn llm(id: u8, parent: u8, input: u64) -> SpanFacts {
    let usage = Usage { input: Some(input), output: Some(1), ..Usage::default() };
    SpanFacts { model: Some("m".into()), usage, ..span(id, parent, SpanClass::Llm) }
}

fn agent(id: u8, parent: u8, name: &str) -> SpanFacts {
    SpanFacts { agent: Some(name.into()), ..span(id, parent, SpanClass::Agent) }
}

fn tool(id: u8, parent: u8, name: &str) -> SpanFacts {
    SpanFacts { tool: Some(ToolKey { name: name.into(), digest: None }), ..span(id, parent, SpanClass::Tool) }
}

fn failed(mut span: SpanFacts, message: &str) -> SpanFacts {
    span.failure = Some(Box::new(Failure { kind: "E".into(), message: message.into() }));
    span
}

fn at<T>(secs: i64, judge: impl FnOnce(When<'_>) -> T) -> T {
    let (presence, rules) = (Presence::default(), TraceRules::default());
    judge(When { now: Timestamp::from_secs(secs), presence: &presence, rules: &rules })
}

/// One request at `secs`.
fn send(row: &mut TraceRow, known: &mut ServiceRow, spans: &[SpanFacts], secs: i64) -> Option<Folded> {
    let incoming = TraceSpans {
        trace: TraceId([1; 16]),
        service: "svc".into(),
        project: None,
        teller: Teller::default(),
        upsert: false,
        spans: spans.to_vec(),
    };
    at(secs, |when| fold(row, incoming, known, when))
}

/// Feeds requests one after another; sums what was learned by agent.
fn feed(requests: &[Vec<SpanFacts>]) -> BTreeMap<Arc<str>, Box<Activity>> {
    let (mut row, mut stored, mut known) = (TraceRow::default(), TraceRow::default(), ServiceRow::default());
    let mut sums: BTreeMap<Arc<str>, Box<Activity>> = BTreeMap::new();
    for spans in requests {
        let incoming = TraceSpans {
            trace: TraceId([1; 16]),
            service: "svc".into(),
            project: None,
            teller: Teller::default(),
            upsert: false,
            spans: spans.clone(),
        };
        let before = row.spans.len();
        let Some(folded) = at(500, |when| fold(&mut row, incoming, &mut known, when)) else { continue };
        stored.absorb(match folded.anew {
            true => TraceDelta::whole(row.clone()),
            false => TraceDelta::since(row.clone(), before, folded.changed),
        });
        assert_eq!(stored, row, "the store comes to the same row");
        for (agent, a) in folded.activities {
            let sum = sums.entry(agent).or_default();
            sum.usage.add(&a.usage);
            sum.tool_calls += a.tool_calls;
            sum.successes += a.successes;
            sum.failures += a.failures;
            sum.runs.extend(a.runs);
            sum.error = a.error.or(sum.error.take());
            for m in a.model_calls {
                match sum.model_calls.iter_mut().find(|x| x.model == m.model) {
                    Some(x) => (x.calls, x.failed) = (x.calls + m.calls, x.failed + m.failed),
                    None => sum.model_calls.push(m),
                }
            }
        }
    }
    sums
}

fn told(activities: &ByAgent<Box<Activity>>, agent: &str) -> Option<u64> {
    activities.get(agent).and_then(|a| a.usage.input)
}

fn input(sums: &BTreeMap<Arc<str>, Box<Activity>>, agent: &str) -> Option<u64> {
    sums.get(agent).and_then(|a| a.usage.input)
}

#[test]
fn a_runs_sum_on_the_agent_span_is_not_added_to_its_calls() {
    let mut root = agent(1, 0, "bot");
    root.usage.input = Some(30);
    let sums = feed(&[vec![llm(2, 1, 10), llm(3, 1, 20), tool(4, 1, "t"), root]]);
    assert_eq!(sums.keys().map(|name| &**name).collect::<Vec<_>>(), ["bot"]);
    let bot = &sums["bot"];
    assert_eq!((bot.usage.input, bot.usage.output, bot.tool_calls, bot.successes), (Some(30), Some(2), 1, 1));
    assert_eq!((bot.runs.len(), bot.model_calls[0].calls), (1, 2));
}

#[test]
fn where_only_the_run_tells_its_usage_the_run_is_believed() {
    let mut root = agent(1, 0, "bot");
    root.usage = Usage { input: Some(30), cost: Some(Money(5)), ..Usage::default() };
    let sums = feed(&[vec![span(2, 1, SpanClass::Llm), root]]);
    assert_eq!((input(&sums, "bot"), sums["bot"].usage.cost), (Some(30), Some(Money(5))));
}

#[test]
fn nothing_known_stays_unknown() {
    let sums = feed(&[vec![agent(1, 0, "bot"), span(2, 1, SpanClass::Llm)]]);
    assert_eq!(sums["bot"].usage, Usage::default());
}

#[test]
fn spans_sent_again_count_once() {
    let request = vec![agent(1, 0, "bot"), llm(2, 1, 10)];
    assert_eq!(feed(&[request.clone(), request.clone()]), feed(&[request]));
}

#[test]
fn a_wrapper_call_that_arrives_after_its_inner_call_adds_nothing() {
    let sums = feed(&[vec![llm(3, 2, 10)], vec![llm(2, 1, 10), agent(1, 0, "bot")]]);
    let total: u64 = sums.values().filter_map(|a| a.usage.input).sum();
    assert_eq!(total, 10);
}

#[test]
fn an_inner_call_that_arrives_late_adds_only_what_was_missing() {
    let sums = feed(&[vec![agent(1, 0, "bot"), llm(2, 1, 10)], vec![llm(3, 2, 12)]]);
    assert_eq!(input(&sums, "bot"), Some(12));
    assert_eq!(sums["bot"].model_calls[0].calls, 1);
}

#[test]
fn calls_whose_agent_is_not_known_wait_for_the_span_that_names_it() {
    let (mut row, mut known) = (TraceRow::default(), ServiceRow::default());
    let folded = send(&mut row, &mut known, &[llm(2, 1, 10)], 0).unwrap();
    assert!(folded.activities.names().is_empty());
    assert_eq!(row.head.deadline, Timestamp::from_secs(30));
    let folded = send(&mut row, &mut known, &[agent(1, 0, "bot"), llm(3, 1, 5)], 1).unwrap();
    assert_eq!(folded.activities.names(), ["bot"]);
    assert_eq!(told(&folded.activities, "bot"), Some(15));
    assert_eq!(row.head.deadline, Timestamp::MAX, "nothing to wait for");
    assert!(at(9999, |when| expire(&mut row, &mut known, when)).is_none());
    assert_eq!(known.only().map(|name| &**name), Some("bot"));

    // What was learned serves the next trace at once.
    let mut next = TraceRow::default();
    let folded = send(&mut next, &mut known, &[llm(2, 1, 10)], 2).unwrap();
    assert_eq!(told(&folded.activities, "bot"), Some(10));
}

#[test]
fn after_the_wait_they_belong_to_the_service_and_stay_there() {
    let (mut row, mut known) = (TraceRow::default(), ServiceRow::default());
    send(&mut row, &mut known, &[llm(2, 1, 10), llm(3, 1, 1)], 0);
    assert!(at(29, |when| expire(&mut row, &mut known, when)).is_none());
    let waited = at(30, |when| expire(&mut row, &mut known, when)).unwrap();
    assert_eq!(told(&waited.activities, "svc"), Some(11));
    let folded = send(&mut row, &mut known, &[agent(1, 0, "bot"), llm(4, 1, 5)], 31).unwrap();
    assert_eq!((told(&folded.activities, "svc"), told(&folded.activities, "bot")), (None, Some(5)), "nothing twice");
}

#[test]
fn a_run_left_without_its_end_failed() {
    let (mut row, mut known) = (TraceRow::default(), ServiceRow::default());
    send(&mut row, &mut known, &[llm(2, 1, 10), tool(3, 1, "t")], 0);
    let waited = at(30, |when| expire(&mut row, &mut known, when)).unwrap();
    assert_eq!((waited.activities.get("svc").unwrap().failures, row.head.deadline), (0, Timestamp::from_secs(300)));
    let ended = at(300, |when| expire(&mut row, &mut known, when)).unwrap();
    let svc = ended.activities.get("svc").unwrap();
    assert_eq!((svc.failures, svc.successes, svc.runs.len()), (1, 0, 1));
    assert_eq!(svc.runs[0].error_type.as_deref(), Some("abandoned"));
    assert_eq!(row.head.deadline, Timestamp::MAX);

    // A run that ended in order, and a call that is a trace of its own, are not waited for.
    for spans in [vec![llm(2, 1, 10), agent(1, 9, "bot")], vec![llm(1, 0, 10)]] {
        let mut row = TraceRow::default();
        send(&mut row, &mut ServiceRow::default(), &spans, 0);
        assert_eq!(row.head.deadline, Timestamp::MAX);
    }
}

#[test]
fn a_service_that_never_sends_the_spans_above_its_calls_is_no_failing_one() {
    let mut known = ServiceRow::default();
    let failures: Vec<u64> = (0..5)
        .map(|_| {
            let mut row = TraceRow::default();
            send(&mut row, &mut known, &[llm(2, 1, 10), llm(3, 1, 10)], 0);
            at(30, |when| expire(&mut row, &mut known, when));
            let ended = at(300, |when| expire(&mut row, &mut known, when));
            ended.and_then(|e| e.activities.get("svc").map(|a| a.failures)).unwrap_or(0)
        })
        .collect();
    assert_eq!(failures, [1, 1, 0, 0, 0]);
}

/// A service that is called by others which are not watched: what is above its spans is never sent here.
#[test]
fn a_parent_in_another_process_is_not_waited_for() {
    let request = |id| SpanFacts { remote_parent: true, ..span(id, 99, SpanClass::Other) };
    let (mut row, mut known) = (TraceRow::default(), ServiceRow::default());
    let folded = send(&mut row, &mut known, &[request(1), llm(2, 1, 10)], 0).unwrap();
    assert_eq!((told(&folded.activities, "svc"), row.head.deadline), (Some(10), Timestamp::MAX), "at once");
    assert!(at(9999, |when| expire(&mut row, &mut known, when)).is_none(), "and no run was left without its end");

    // A call right below the caller is all that is done for it: its outcome is a result.
    let call = SpanFacts { remote_parent: true, ..failed(llm(3, 98, 5), "boom") };
    let folded = send(&mut TraceRow::default(), &mut known, &[call], 1).unwrap();
    assert_eq!(folded.activities.get("svc").unwrap().failures, 1);
}

#[test]
fn sub_agents_have_their_own_runs_and_the_same_name_nested_is_one_run() {
    let sums =
        feed(&[vec![agent(1, 0, "boss"), agent(2, 1, "boss"), agent(3, 2, "helper"), llm(4, 3, 7), llm(5, 2, 1)]]);
    assert_eq!((sums["boss"].runs.len(), sums["helper"].runs.len()), (1, 1));
    assert_eq!((input(&sums, "boss"), input(&sums, "helper")), (Some(1), Some(7)));
}

#[test]
fn a_workflow_round_named_agents_makes_no_agent_of_the_service() {
    let workflow = span(1, 0, SpanClass::Workflow);
    let spans = vec![workflow.clone(), agent(2, 1, "triage"), agent(3, 1, "orders"), llm(4, 2, 1), llm(5, 3, 2)];
    assert_eq!(feed(std::slice::from_ref(&spans)).keys().map(|name| &**name).collect::<Vec<_>>(), ["orders", "triage"]);
    let late = vec![spans[1..].to_vec(), vec![workflow.clone(), span(6, 1, SpanClass::Step)]];
    assert_eq!(
        feed(&late).keys().map(|name| &**name).collect::<Vec<_>>(),
        ["orders", "triage"],
        "the workflow comes last"
    );

    // What the service does itself is still told: a workflow without agents, or one that fails on its own.
    let (mut row, mut known) = (TraceRow::default(), ServiceRow::default());
    assert!(send(&mut row, &mut known, std::slice::from_ref(&workflow), 0).unwrap().activities.names().is_empty());
    let waited = at(30, |when| expire(&mut row, &mut known, when)).unwrap();
    assert_eq!(waited.activities.get("svc").unwrap().successes, 1);
    let next = send(&mut TraceRow::default(), &mut known, std::slice::from_ref(&workflow), 31).unwrap();
    assert_eq!(next.activities.get("svc").unwrap().successes, 1, "the service is known");
    let fails = [vec![failed(workflow, "no agent took it"), agent(2, 1, "triage"), agent(3, 1, "orders")]];
    assert_eq!(feed(&fails)["svc"].error.as_ref().unwrap().message, "no agent took it");
}

#[test]
fn one_failure_on_four_spans_is_one_incident_told_by_the_deepest() {
    let sums = feed(&[vec![
        failed(agent(1, 0, "bot"), "run failed"),
        failed(span(2, 1, SpanClass::Step), "step failed"),
        failed(llm(3, 2, 1), "429 from upstream"),
    ]]);
    let bot = &sums["bot"];
    assert_eq!((bot.failures, bot.successes, bot.model_calls[0].failed), (1, 0, 1));
    assert_eq!(bot.error.as_ref().unwrap().message, "429 from upstream");
}

#[test]
fn a_call_of_its_own_trace_is_a_result() {
    let sums = feed(&[vec![llm(1, 0, 3)]]);
    assert_eq!((sums["svc"].successes, sums["svc"].runs.len()), (1, 0));
}

#[test]
fn a_tool_round_the_same_tool_is_one_execution() {
    let sums = feed(&[vec![agent(1, 0, "bot"), tool(2, 1, "search"), tool(3, 2, "search"), tool(4, 2, "other")]]);
    assert_eq!(sums["bot"].tool_calls, 2);
}

#[test]
fn one_response_told_by_two_instrumentations_is_one_call() {
    let twin = |id| SpanFacts { response: Some(9), ..llm(id, 1, 10) };
    let sums = feed(&[vec![agent(1, 0, "bot"), twin(2), twin(3)]]);
    assert_eq!((input(&sums, "bot"), sums["bot"].model_calls[0].calls), (Some(10), 1));
}

#[test]
fn circles_in_bad_data_end() {
    let sums = feed(&[vec![span(1, 2, SpanClass::Llm), span(2, 1, SpanClass::Llm), span(3, 3, SpanClass::Agent)]]);
    assert!(!sums.is_empty());
}

#[test]
fn a_huge_trace_begins_anew_and_goes_on_counting() {
    let many = |from: u32, n: u32| -> Vec<SpanFacts> {
        (from..from + n)
            .map(|i| {
                let mut id = [0; 8];
                id[..4].copy_from_slice(&i.to_be_bytes());
                SpanFacts { span: SpanId(id), ..llm(1, 0, 1) }
            })
            .collect()
    };
    let max = TRACE_SPANS_MAX as u32;
    let sums = feed(&[many(1, max - 10), many(max, 100)]);
    assert_eq!(input(&sums, "svc"), Some(u64::from(max) - 10 + 100));
}

#[test]
fn split_and_order_do_not_change_sums_when_the_agent_is_named() {
    let name = |mut s: SpanFacts| {
        s.agent = Some("bot".into());
        s
    };
    let spans =
        [agent(1, 0, "bot"), name(llm(2, 1, 10)), name(llm(3, 2, 10)), name(tool(4, 1, "t")), name(llm(5, 1, 4))];
    let whole = feed(&[spans.to_vec()]);
    let one_by_one: Vec<Vec<SpanFacts>> = spans.iter().rev().map(|s| vec![s.clone()]).collect();
    let split = feed(&one_by_one);
    assert_eq!(input(&whole, "bot"), Some(14));
    assert_eq!(input(&split, "bot"), input(&whole, "bot"));
    assert_eq!((split["bot"].tool_calls, split["bot"].successes), (1, 1));
}
