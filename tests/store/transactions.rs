//! Transactions: one at a time, all or nothing.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pulsegate::model::*;
use pulsegate::store::*;

use crate::administration::{deed, rollup};
use crate::fixture::*;

fn looked_at_once<F: Future + Unpin>(mut future: F) -> Poll<F::Output> {
    std::pin::Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A bit of everything that a commit can carry.
fn everything(row: &Arc<AgentRow>) -> WriteSet {
    let counted = [("bot".into(), Box::new(TraceTotals { runs: 1, ..TraceTotals::default() }))].into();
    let head = TraceHead { service: "svc".into(), touched_at: at(5), counted, ..TraceHead::default() };
    let delta = TraceDelta { head, ..TraceDelta::default() };
    let service = ServiceKey { project: P1, name: "svc".into() };
    let project = ProjectState { failed_in_row: 2, ..ProjectState::default() };
    WriteSet {
        projects: vec![(P1, project)],
        agents: vec![row.clone()],
        traces: vec![(TraceKey { project: P1, trace: TraceId([7; 16]) }, delta)],
        services: vec![(service, Arc::default())],
        dedup: vec![(dedup("k"), at(5))],
        events: vec![event(P1, Some(row.id), 5, "happened")],
        commands: vec![command(1, P1, row.id, CommandState::Queued)],
        presence: Some(PresenceWrite { alive_at: at(5), gaps: vec![(at(1), at(2))] }),
        rollups: vec![rollup(row.id, 0, 0, 1)],
        registrations: vec![(
            key(P1, "waits"),
            Some(Registration { rejected: false, first_at: at(1), last_at: at(1), attempts: 1 }),
        )],
        keys: vec![ApiKey::new("aaaa".into(), P1, [7; 32], Scopes::default(), at(1))],
        audit: vec![deed("agent.pause")],
        ..WriteSet::default()
    }
}

/// How many of the twelve kinds of things in [`everything`] are there.
async fn how_much_is_there(store: &dyn Store) -> usize {
    let set = LoadSet {
        agents: lookup(P1, "bot", false).agents,
        traces: vec![TraceKey { project: P1, trace: TraceId([7; 16]) }],
        services: vec![ServiceKey { project: P1, name: "svc".into() }],
        dedup: vec![dedup("k")],
        open_commands: vec![P1],
        ..LoadSet::default()
    };
    let loaded = load(store, set).await;
    let query = EventQuery { project: P1, agent: None, before: None, limit: 10 };
    let events = store.events(query).await.unwrap().len();
    let presence = store.presence().await.unwrap();
    let hour = at(0).as_secs() / 3600;
    let query = RollupQuery { project: P1, agent: AgentId(1), minutes: false, hours: hour..hour + 1 };
    let administration = [
        store.rollups(query).await.unwrap().len(),
        store.registrations(P1).await.unwrap().len(),
        store.keys().await.unwrap().len(),
        store.audit(AuditQuery { project: None, before: i64::MAX, limit: 9 }).await.unwrap().len(),
    ];
    let stored = [loaded.agents.len(), loaded.traces.len(), loaded.services.len()];
    let there = [&stored[..], &[loaded.seen.len(), loaded.commands.len(), events], &administration].concat();
    assert!(there.iter().all(|n| *n <= 1), "{there:?}");
    let project = store.project_state(P1).await.unwrap().0.failed_in_row == 2;
    let presence = presence.alive_at == Some(at(5)) && presence.gaps.len() == 1;
    there.iter().sum::<usize>() + usize::from(presence) + usize::from(project)
}

async fn begin_bot(store: &dyn Store) -> (Arc<AgentRow>, Box<dyn Transaction>) {
    let (loaded, transaction) = store.begin(lookup(P1, "bot", true)).await.unwrap();
    (Arc::new(AgentRow::new(loaded.agent_ids[&key(P1, "bot")], key(P1, "bot"), at(0))), transaction)
}

pub async fn a_transaction_dropped_without_commit_changes_nothing(fixture: Fixture) {
    let store = fixture.open();
    let (_, transaction) = begin_bot(&*store).await;
    drop(transaction);
    assert_eq!(how_much_is_there(&*store).await, 0);
    create(&*store, P1, "other", at(1)).await;
    assert_eq!(store.agents(P1, 0, 10).await.unwrap().total, 1, "and the next one is not held up");
}

pub async fn the_second_transaction_waits_for_the_first(fixture: Fixture) {
    let store = fixture.open();
    let row = create(&*store, P1, "bot", at(1)).await;
    let (_, first) = store.begin(LoadSet::default()).await.unwrap();
    let mut second = pin!(store.begin(lookup(P1, "bot", false)));
    assert!(looked_at_once(&mut second).is_pending());
    let beaten = changed(&row, |row| row.state.totals.heartbeats = 1);
    first.commit(WriteSet { agents: vec![beaten.clone()], ..WriteSet::default() }).await.unwrap();
    let (loaded, _transaction) = second.await.unwrap();
    assert_eq!(loaded.agents[&row.id], beaten, "it sees what the first one wrote");
}

pub async fn a_transaction_can_load_twice(fixture: Fixture) {
    let store = fixture.open();
    let row = create(&*store, P1, "bot", at(1)).await;
    let open = command(1, P1, row.id, CommandState::Queued);
    commit(&*store, WriteSet { commands: vec![open.clone()], ..WriteSet::default() }).await;
    let set = LoadSet { open_commands: vec![P1], ..LoadSet::default() };
    let (first, mut transaction) = store.begin(set).await.unwrap();
    let agents = first.commands.values().map(|c| c.agent).collect();
    let second = transaction.load(LoadSet { agent_ids: agents, ..lookup(P1, "new", true) }).await.unwrap();
    assert_eq!(second.agents[&row.id], row);
    let new = AgentRow::new(second.agent_ids[&key(P1, "new")], key(P1, "new"), at(3));
    transaction.commit(WriteSet { agents: vec![Arc::new(new)], ..WriteSet::default() }).await.unwrap();
    let store = fixture.reopen(store);
    assert_eq!(store.agents(P1, 0, 10).await.unwrap().total, 2);
}

pub async fn a_commit_writes_everything_or_nothing(fixture: Fixture) {
    let store = fixture.open();
    let (row, transaction) = begin_bot(&*store).await;
    assert_eq!(how_much_is_there_meanwhile(&*store).await, 0, "nothing shows before the commit");
    transaction.commit(everything(&row)).await.unwrap();
    assert_eq!(how_much_is_there(&*store).await, 12);
    let store = fixture.reopen(store);
    assert_eq!(how_much_is_there(&*store).await, 12);
}

/// What readers see, who do not wait for the open transaction.
async fn how_much_is_there_meanwhile(store: &dyn Store) -> usize {
    let query = EventQuery { project: P1, agent: None, before: None, limit: 10 };
    store.events(query).await.unwrap().len()
        + store.agents(P1, 0, 10).await.unwrap().rows.len()
        + store.commands(P1, 10).await.unwrap().len()
}

pub async fn an_empty_commit_is_fine(fixture: Fixture) {
    let store = fixture.open();
    commit(&*store, WriteSet::default()).await;
    assert_eq!(how_much_is_there(&*store).await, 0);
}

pub async fn a_commit_nobody_waits_for_any_more_leaves_nothing_half_done(fixture: Fixture) {
    let store = fixture.open();
    let (row, transaction) = begin_bot(&*store).await;
    let writes = everything(&row);
    {
        let mut commit = pin!(transaction.commit(writes));
        let _ = looked_at_once(&mut commit);
        // The task that waited is cancelled here, with the write on its way.
    }
    let here = how_much_is_there(&*store).await;
    assert!(here == 0 || here == 12, "{here} of 12");
    let next = create(&*store, P1, "next", at(1)).await;
    assert_ne!(next.id, row.id, "its number is taken, whatever became of it");
    let store = fixture.reopen(store);
    assert_eq!(how_much_is_there(&*store).await, here, "memory and disk tell the same");
}

pub async fn many_writers_lose_no_update(fixture: Fixture) {
    let store: Arc<dyn Store> = fixture.open().into();
    let row = create(&*store, P1, "bot", at(1)).await;
    let beats = (0..50).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let (loaded, transaction) = store.begin(lookup(P1, "bot", false)).await.unwrap();
            let row = loaded.agents.into_values().next().unwrap();
            tokio::task::yield_now().await;
            let row = changed(&row, |row| row.state.totals.heartbeats += 1);
            transaction.commit(WriteSet { agents: vec![row], ..WriteSet::default() }).await.unwrap();
        })
    });
    for beat in beats.collect::<Vec<_>>() {
        beat.await.unwrap();
    }
    assert_eq!(store.agent(row.id).await.unwrap().unwrap().state.totals.heartbeats, 50);
}
