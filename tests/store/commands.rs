//! Commands: kept open and ended, due by lease or by their last moment.

use pulsegate::model::CommandState::{Cancelled, Expired, Failed, Leased, Queued, Succeeded};
use pulsegate::model::*;
use pulsegate::store::*;

use crate::fixture::*;

async fn put(store: &dyn Store, commands: impl IntoIterator<Item = Command>) {
    commit(store, WriteSet { commands: commands.into_iter().collect(), ..WriteSet::default() }).await;
}

fn ids(commands: &[Command]) -> Vec<u8> {
    commands.iter().map(|c| c.id.0.as_bytes()[0]).collect()
}

pub async fn commands_survive_a_restart_open_and_ended(fixture: Fixture) {
    let store = fixture.open();
    let states = [Queued, Leased, Succeeded, Failed, Expired, Cancelled];
    let all: Vec<Command> = (1..).zip(states).map(|(n, state)| command(n, P1, AgentId(n.into()), state)).collect();
    put(&*store, all.clone()).await;
    let bare = Command { runner: None, result: None, attempts: 0, ..command(7, P1, AgentId(7), Queued) };
    put(&*store, [bare.clone()]).await;
    let store = fixture.reopen(store);
    let set = LoadSet { commands: all.iter().chain([&bare]).map(|c| c.id).collect(), ..LoadSet::default() };
    let loaded = load(&*store, set).await.commands;
    for command in all.iter().chain([&bare]) {
        assert_eq!(&loaded[&command.id], command);
    }
}

pub async fn open_commands_are_loaded_by_project(fixture: Fixture) {
    let store = fixture.open();
    let mine = [command(1, P1, AgentId(1), Queued), command(2, P1, AgentId(2), Leased)];
    let others = [command(3, P1, AgentId(3), Failed), command(4, P2, AgentId(4), Queued)];
    put(&*store, mine.iter().chain(&others).cloned()).await;
    let store = fixture.reopen(store);
    let open = |projects: Vec<ProjectId>| LoadSet { open_commands: projects, ..LoadSet::default() };
    let mut found: Vec<Command> = load(&*store, open(vec![P1])).await.commands.into_values().collect();
    found.sort_by_key(|c| c.id);
    assert_eq!(found, mine);
    assert_eq!(load(&*store, open(vec![P1, P2, P1])).await.commands.len(), 3);
    assert!(load(&*store, open(vec![])).await.commands.is_empty());
}

pub async fn due_commands_follow_the_lease_then_the_last_moment(fixture: Fixture) {
    let store = fixture.open();
    let queued = Command { not_after: at(300), ..command(1, P1, AgentId(1), Queued) };
    let leased = command(2, P2, AgentId(2), Leased);
    put(&*store, [queued.clone(), leased.clone()]).await;
    let store = fixture.reopen(store);
    let due = |secs, limit| {
        let store = &store;
        async move { store.due_commands(at(secs), limit).await.unwrap() }
    };
    assert!(due(119, 9).await.is_empty());
    assert_eq!(due(120, 9).await, [leased.id]);
    assert_eq!(due(300, 9).await, [leased.id, queued.id]);
    assert_eq!(due(300, 1).await, [leased.id]);
    // Handed out, it waits for the end of the lease, even beyond its last moment to start.
    let handed = Command { state: Leased, lease_until: Some(at(400)), ..queued.clone() };
    // Given back, it waits for its last moment again.
    let returned = Command { state: Queued, lease_until: None, ..leased.clone() };
    put(&*store, [handed, returned]).await;
    assert!(due(399, 9).await.is_empty());
    assert_eq!(due(600, 9).await, [queued.id, leased.id]);
}

pub async fn ended_commands_are_no_longer_due_nor_open(fixture: Fixture) {
    let store = fixture.open();
    let open = command(1, P1, AgentId(1), Leased);
    put(&*store, [open.clone()]).await;
    let ended = Command { state: Succeeded, lease_until: None, ended_at: Some(at(9)), ..open };
    put(&*store, [ended.clone()]).await;
    for _ in 0..2 {
        assert!(store.due_commands(Timestamp::MAX, 9).await.unwrap().is_empty());
        let set = LoadSet { open_commands: vec![P1], ..LoadSet::default() };
        assert!(load(&*store, set).await.commands.is_empty());
        let readable = store.commands(P1, 9).await.unwrap();
        assert_eq!(readable.iter().collect::<Vec<_>>(), [&ended], "it can still be read");
    }
    let store = fixture.reopen(store);
    assert!(store.due_commands(Timestamp::MAX, 9).await.unwrap().is_empty());
    assert_eq!(store.commands(P1, 9).await.unwrap(), [ended]);
}

pub async fn a_projects_commands_come_newest_first(fixture: Fixture) {
    let store = fixture.open();
    // Ids rise with time.
    put(&*store, [3, 1, 2].map(|n| command(n, P1, AgentId(1), if n == 2 { Queued } else { Failed }))).await;
    put(&*store, [command(4, P2, AgentId(2), Queued)]).await;
    let store = fixture.reopen(store);
    assert_eq!(ids(&store.commands(P1, 9).await.unwrap()), [3, 2, 1]);
    assert_eq!(ids(&store.commands(P1, 2).await.unwrap()), [3, 2]);
    assert_eq!(ids(&store.commands(P2, 9).await.unwrap()), [4]);
}
