//! Events: numbered in order, read newest first, forgotten by age.

use pulsegate::model::*;
use pulsegate::store::*;
use serde_json::json;

use crate::fixture::*;

async fn put(store: &dyn Store, events: Vec<NewEvent>) {
    commit(store, WriteSet { events, ..WriteSet::default() }).await;
}

fn all(project: ProjectId) -> EventQuery {
    EventQuery { project, agent: None, before: None, limit: 100 }
}

async fn causes(store: &dyn Store, query: EventQuery) -> Vec<String> {
    store.events(query).await.unwrap().into_iter().map(|e| e.draft.cause).collect()
}

pub async fn events_are_numbered_in_order(fixture: Fixture) {
    let store = fixture.open();
    let restart = NewEvent {
        project: P1,
        agent: Some(AgentId(3)),
        draft: EventDraft {
            kind: EventKind::Restart,
            at: at(2),
            transition: None,
            hard: false,
            cause: String::new(),
            evidence: json!(null),
        },
    };
    put(&*store, vec![event(P1, None, 1, "first"), restart.clone()]).await;
    put(&*store, vec![event(P1, Some(AgentId(4)), 3, "third")]).await;
    let store = fixture.reopen(store);
    put(&*store, vec![event(P1, None, 4, "fourth")]).await;
    let events = store.events(all(P1)).await.unwrap();
    assert!(events.windows(2).all(|pair| pair[0].id > pair[1].id), "newest first");
    let told: Vec<NewEvent> =
        events.into_iter().rev().map(|e| NewEvent { project: e.project, agent: e.agent, draft: e.draft }).collect();
    let expected =
        [event(P1, None, 1, "first"), restart, event(P1, Some(AgentId(4)), 3, "third"), event(P1, None, 4, "fourth")];
    assert_eq!(told, expected, "in the order they were written, word for word");
}

pub async fn events_are_read_by_agent_by_age_and_by_number_of_rows(fixture: Fixture) {
    let store = fixture.open();
    let (a, b) = (Some(AgentId(1)), Some(AgentId(2)));
    let agents = [a, b, None, a, b, a];
    put(&*store, agents.iter().zip(1..).map(|(agent, n)| event(P1, *agent, n, &n.to_string())).collect()).await;
    assert_eq!(causes(&*store, EventQuery { agent: a, ..all(P1) }).await, ["6", "4", "1"]);
    assert_eq!(causes(&*store, EventQuery { limit: 2, ..all(P1) }).await, ["6", "5"]);
    let page = store.events(EventQuery { limit: 2, ..all(P1) }).await.unwrap();
    let older = EventQuery { before: Some(page[1].id), ..all(P1) };
    assert_eq!(causes(&*store, older.clone()).await, ["4", "3", "2", "1"], "pages follow one another without a gap");
    assert_eq!(causes(&*store, EventQuery { agent: a, limit: 1, ..older }).await, ["4"]);
    assert!(causes(&*store, EventQuery { limit: 0, ..all(P1) }).await.is_empty());
}

pub async fn events_after_a_number_come_oldest_first(fixture: Fixture) {
    let store = fixture.open();
    let (a, b) = (Some(AgentId(1)), Some(AgentId(2)));
    let agents = [a, b, None, a];
    put(&*store, agents.iter().zip(1..).map(|(agent, n)| event(P1, *agent, n, &n.to_string())).collect()).await;
    put(&*store, vec![event(P2, a, 5, "theirs")]).await;
    let read = async |project, agent, after, limit| -> Vec<String> {
        let found = store.events_after(project, agent, EventId(after), limit).await.unwrap();
        found.into_iter().map(|e| e.draft.cause).collect()
    };
    assert_eq!(read(P1, None, 0, 100).await, ["1", "2", "3", "4"]);
    let first = store.events_after(P1, None, EventId(0), 1).await.unwrap()[0].id;
    assert_eq!(read(P1, None, first.0, 2).await, ["2", "3"], "the oldest of those that follow");
    assert_eq!(read(P1, a, first.0, 100).await, ["4"]);
    assert_eq!(read(P2, None, 0, 100).await, ["theirs"]);
    assert!(read(P1, None, i64::MAX, 100).await.is_empty());
}

pub async fn a_project_never_sees_anothers_events(fixture: Fixture) {
    let store = fixture.open();
    put(&*store, vec![event(P1, Some(AgentId(1)), 1, "mine"), event(P2, Some(AgentId(2)), 2, "theirs")]).await;
    assert_eq!(causes(&*store, all(P1)).await, ["mine"]);
    assert_eq!(causes(&*store, all(P2)).await, ["theirs"]);
    let guessed = EventQuery { agent: Some(AgentId(2)), ..all(P1) };
    assert!(causes(&*store, guessed).await.is_empty(), "knowing the agent's number does not help");
}

pub async fn old_events_are_forgotten_project_by_project_and_numbers_go_on(fixture: Fixture) {
    let store = fixture.open();
    for project in [P1, P2] {
        put(&*store, (1..=4).map(|n| event(project, None, n * 10, &n.to_string())).collect()).await;
    }
    let newest = store.events(all(P2)).await.unwrap()[0].id;
    store.sweep(at(0), &[(P1, at(30)), (P2, at(50))]).await.unwrap();
    assert_eq!(causes(&*store, all(P1)).await, ["4", "3"]);
    assert!(causes(&*store, all(P2)).await.is_empty());
    let store = fixture.reopen(store);
    put(&*store, vec![event(P2, None, 60, "later")]).await;
    assert_eq!(causes(&*store, all(P1)).await, ["4", "3"]);
    let later = store.events(all(P2)).await.unwrap();
    assert!(later[0].id > newest, "a number is never used again: pages by number stay right");
}
