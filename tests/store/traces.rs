//! What must be remembered so that nothing counts twice: spans of open traces, and keys seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use pulsegate::model::*;
use pulsegate::store::*;

use crate::fixture::*;

fn span(n: u8) -> SpanFacts {
    SpanFacts {
        span: SpanId([n; 8]),
        parent: (n > 1).then_some(SpanId([1; 8])),
        class: if n == 1 { SpanClass::Agent } else { SpanClass::Llm },
        agent: Some("bot".into()),
        model: Some("model-1".into()),
        response: Some(u64::MAX),
        usage: Usage { input: Some(10), cost: Some(Money(5)), ..Usage::default() },
        tool: Some(ToolKey { name: "search".into(), digest: None }),
        start: at(0),
        end: at(1),
        failure: (n == 2).then(|| Box::new(Failure { kind: "E".into(), message: "429".into() })),
        ..SpanFacts::default()
    }
}

/// What a commit at `secs` adds: these spans, after which so many runs have been counted.
fn delta(secs: i64, spans: &[u8], runs: u64) -> TraceDelta {
    let totals = TraceTotals { runs, models: [("model-1".into(), (runs, 0))].into(), ..TraceTotals::default() };
    let counted = BTreeMap::from([("bot".into(), Box::new(totals))]);
    let head = TraceHead { service: "svc".into(), touched_at: at(secs), counted, ..TraceHead::default() };
    TraceDelta { head, added: spans.iter().map(|n| span(*n)).collect(), ..TraceDelta::default() }
}

const fn trace(n: u8) -> TraceKey {
    TraceKey { project: P1, trace: TraceId([n; 16]) }
}

async fn put(store: &dyn Store, key: TraceKey, delta: TraceDelta) {
    commit(store, WriteSet { traces: vec![(key, delta)], ..WriteSet::default() }).await;
}

async fn get(store: &dyn Store, key: TraceKey) -> Option<TraceRow> {
    load(store, LoadSet { traces: vec![key], ..LoadSet::default() }).await.traces.remove(&key)
}

fn row(deltas: &[TraceDelta]) -> TraceRow {
    let mut row = TraceRow::default();
    deltas.iter().for_each(|d| row.absorb(d.clone()));
    row
}

pub async fn a_trace_absorbs_what_each_commit_changed_and_survives_a_restart(fixture: Fixture) {
    let store = fixture.open();
    assert!(get(&*store, trace(1)).await.is_none());
    let deltas = [delta(10, &[3, 2], 0), delta(20, &[4], 0), delta(30, &[1], 1)];
    for delta in &deltas {
        put(&*store, trace(1), delta.clone()).await;
    }
    let whole = row(&deltas);
    assert_eq!(whole.spans.len(), 4);
    assert_eq!(get(&*store, trace(1)).await.as_ref(), Some(&whole));
    let store = fixture.reopen(store);
    assert_eq!(get(&*store, trace(1)).await.as_ref(), Some(&whole));
    put(&*store, trace(1), delta(40, &[5], 1)).await;
    let store = fixture.reopen(store);
    assert_eq!(get(&*store, trace(1)).await.unwrap().spans.len(), 5);
}

pub async fn a_trace_that_begins_anew_forgets_its_spans(fixture: Fixture) {
    let store = fixture.open();
    put(&*store, trace(1), delta(10, &[1, 2, 3], 1)).await;
    let anew = TraceDelta { anew: true, ..delta(20, &[4], 0) };
    put(&*store, trace(1), anew.clone()).await;
    put(&*store, trace(1), delta(30, &[5], 0)).await;
    let expected = row(&[anew, delta(30, &[5], 0)]);
    assert_eq!(get(&*store, trace(1)).await.as_ref(), Some(&expected));
    let store = fixture.reopen(store);
    assert_eq!(get(&*store, trace(1)).await.as_ref(), Some(&expected));
}

pub async fn spans_that_change_later_survive_a_restart(fixture: Fixture) {
    let store = fixture.open();
    let first = delta(10, &[1, 2, 3], 1);
    let named = SpanFacts { agent: Some("other".into()), ..span(2) };
    let second = TraceDelta { changed: BTreeMap::from([(1, named.clone())]), ..delta(20, &[4], 1) };
    put(&*store, trace(1), first).await;
    put(&*store, trace(1), second).await;
    let mut store = store;
    for _ in 0..2 {
        let row = get(&*store, trace(1)).await.unwrap();
        assert_eq!((row.spans.len(), &row.spans[1]), (4, &named));
        store = fixture.reopen(store);
    }
}

pub async fn a_trace_is_due_at_its_deadline_and_no_longer_when_it_moves(fixture: Fixture) {
    let store = fixture.open();
    let until = |secs: i64, deadline| {
        let mut delta = delta(secs, &[secs as u8], 0);
        delta.head.deadline = deadline;
        delta
    };
    put(&*store, trace(1), until(1, at(50))).await;
    put(&*store, trace(2), until(2, at(40))).await;
    put(&*store, trace(3), until(3, Timestamp::MAX)).await;
    let due = [(trace(2), "svc".into()), (trace(1), "svc".into())];
    let mut store = store;
    for _ in 0..2 {
        assert_eq!(store.due_traces(at(39), 9).await.unwrap(), []);
        assert_eq!(store.due_traces(at(40), 9).await.unwrap(), due[..1]);
        assert_eq!(store.due_traces(at(60), 9).await.unwrap(), due);
        assert_eq!(store.due_traces(at(60), 1).await.unwrap(), due[..1]);
        store = fixture.reopen(store);
    }
    put(&*store, trace(2), until(4, Timestamp::MAX)).await;
    assert_eq!(store.due_traces(at(60), 9).await.unwrap(), due[1..]);
    store.sweep(at(3), &[]).await.unwrap();
    assert_eq!(store.due_traces(at(60), 9).await.unwrap(), [], "a trace that is forgotten is not due");
}

pub async fn what_was_learned_of_a_service_survives_a_restart(fixture: Fixture) {
    let store = fixture.open();
    let key = |project, name: &str| ServiceKey { project, name: name.into() };
    let learned = |name: &str, secs| {
        Arc::new(ServiceRow {
            agents: ServiceAgents::Only(name.into()),
            learned_at: at(secs),
            tells_runs: true,
            given_up: 1,
            recent_calls: [RecentCall {
                print: u64::MAX,
                provider_sdk: true,
                start: at(1),
                end: at(2),
                cache_known: true,
                cost_reported: false,
            }]
            .into(),
        })
    };
    let services = vec![(key(P1, "shop"), learned("bot", 1)), (key(P2, "shop"), learned("other", 1))];
    commit(&*store, WriteSet { services, ..WriteSet::default() }).await;
    commit(&*store, WriteSet { services: vec![(key(P1, "shop"), learned("new", 2))], ..WriteSet::default() }).await;
    let mut store = store;
    for _ in 0..2 {
        let set = LoadSet { services: vec![key(P1, "shop"), key(P1, "none")], ..LoadSet::default() };
        let found = load(&*store, set).await.services;
        assert_eq!((found.len(), &found[&key(P1, "shop")]), (1, &learned("new", 2)));
        store = fixture.reopen(store);
    }
}

pub async fn two_projects_may_send_the_same_trace(fixture: Fixture) {
    let store = fixture.open();
    let theirs = TraceKey { project: P2, ..trace(1) };
    let writes = vec![(trace(1), delta(10, &[1], 1)), (theirs, delta(10, &[2, 3], 0))];
    commit(&*store, WriteSet { traces: writes, ..WriteSet::default() }).await;
    let store = fixture.reopen(store);
    assert_eq!(get(&*store, trace(1)).await.unwrap().spans.len(), 1);
    assert_eq!(get(&*store, theirs).await.unwrap().spans.len(), 2);
}

async fn seen(store: &dyn Store, contents: &[&str]) -> Vec<bool> {
    let keys: Vec<DedupKey> = contents.iter().map(|c| dedup(c)).collect();
    let seen = load(store, LoadSet { dedup: keys.clone(), ..LoadSet::default() }).await.seen;
    keys.iter().map(|key| seen.contains(key)).collect()
}

pub async fn dedup_keys_survive_a_restart_and_are_forgotten_by_age(fixture: Fixture) {
    let store = fixture.open();
    for (secs, content) in [(10, "old"), (20, "edge"), (30, "new")] {
        let dedup = vec![(dedup(content), at(secs))];
        commit(&*store, WriteSet { dedup, ..WriteSet::default() }).await;
    }
    let all = ["old", "edge", "new", "never"];
    assert_eq!(seen(&*store, &all).await, [true, true, true, false]);
    let store = fixture.reopen(store);
    assert_eq!(seen(&*store, &all).await, [true, true, true, false]);
    store.sweep(at(20), &[]).await.unwrap();
    assert_eq!(seen(&*store, &all).await, [false, true, true, false]);
    let store = fixture.reopen(store);
    assert_eq!(seen(&*store, &all).await, [false, true, true, false]);
    store.sweep(at(31), &[]).await.unwrap();
    let store = fixture.reopen(store);
    assert_eq!(seen(&*store, &all).await, [false; 4]);
}

pub async fn untouched_traces_are_forgotten_by_age(fixture: Fixture) {
    let store = fixture.open();
    put(&*store, trace(1), delta(10, &[1], 1)).await;
    put(&*store, trace(2), delta(20, &[1], 1)).await;
    store.sweep(at(20), &[]).await.unwrap();
    for _ in 0..2 {
        assert!(get(&*store, trace(1)).await.is_none());
        assert_eq!(get(&*store, trace(2)).await.as_ref(), Some(&row(&[delta(20, &[1], 1)])));
    }
    let store = fixture.reopen(store);
    assert!(get(&*store, trace(1)).await.is_none());
    assert_eq!(get(&*store, trace(2)).await.as_ref(), Some(&row(&[delta(20, &[1], 1)])));
}

pub async fn a_long_trace_keeps_its_first_spans_while_it_is_touched(fixture: Fixture) {
    let store = fixture.open();
    let deltas: Vec<TraceDelta> = (1..=5).map(|n| delta(i64::from(n) * 10, &[n], n.into())).collect();
    for (n, delta) in (1..).zip(&deltas) {
        put(&*store, trace(1), delta.clone()).await;
        put(&*store, trace(100 + n), delta.clone()).await;
        // Whatever is older than 15 s goes.
        store.sweep(delta.head.touched_at.minus(secs(15)), &[]).await.unwrap();
    }
    let whole = row(&deltas);
    assert_eq!(get(&*store, trace(1)).await.as_ref(), Some(&whole), "its spans still place what comes");
    let store = fixture.reopen(store);
    assert_eq!(get(&*store, trace(1)).await.as_ref(), Some(&whole));
    assert!(get(&*store, trace(103)).await.is_none(), "others went");
    assert!(get(&*store, trace(104)).await.is_some());
    store.sweep(at(51), &[]).await.unwrap();
    let store = fixture.reopen(store);
    assert!(get(&*store, trace(1)).await.is_none(), "untouched, it goes like any other");
}
