//! Agents: numbers, settings, pages and deadlines.

use std::sync::Arc;

use pulsegate::model::*;
use pulsegate::store::*;

use crate::fixture::*;

pub async fn an_agent_is_created_loaded_and_found_again(fixture: Fixture) {
    let store = fixture.open();
    let loaded = load(&*store, lookup(P1, "bot", false)).await;
    assert!(loaded.agent_ids.is_empty(), "nobody asked for it to be created");
    let row = create(&*store, P1, "bot/ä 1", at(90)).await;
    let store = fixture.reopen(store);
    let loaded = load(&*store, lookup(P1, "bot/ä 1", true)).await;
    assert_eq!(loaded.agent_ids[&row.key], row.id);
    assert_eq!(loaded.agents[&row.id], row);
    assert!(loaded.reserved.is_empty(), "it exists");
    let by_number = LoadSet { agent_ids: vec![row.id, AgentId(99)], ..LoadSet::default() };
    assert_eq!(load(&*store, by_number).await.agents.keys().collect::<Vec<_>>(), [&row.id]);
    assert_eq!(store.agent(row.id).await.unwrap(), Some(row));
    assert_eq!(store.agent(AgentId(99)).await.unwrap(), None);
}

pub async fn a_reserved_number_that_is_not_written_does_not_come_to_exist(fixture: Fixture) {
    let store = fixture.open();
    let (loaded, transaction) = store.begin(lookup(P1, "ghost", true)).await.unwrap();
    let id = loaded.agent_ids[&key(P1, "ghost")];
    assert_eq!(loaded.reserved.iter().collect::<Vec<_>>(), [&id]);
    assert!(loaded.agents.is_empty());
    // The plan refused it (one agent too many, say) and wrote other things.
    let writes = WriteSet { events: vec![event(P1, None, 1, "refused")], ..WriteSet::default() };
    transaction.commit(writes).await.unwrap();
    assert_eq!(store.agent(id).await.unwrap(), None);
    assert_eq!(store.agents(P1, 0, 10).await.unwrap().total, 0);
    let store = fixture.reopen(store);
    assert!(load(&*store, lookup(P1, "ghost", false)).await.agent_ids.is_empty());
}

pub async fn numbers_are_never_given_out_twice(fixture: Fixture) {
    let store = fixture.open();
    let ghost = load(&*store, lookup(P1, "ghost", true)).await.agent_ids[&key(P1, "ghost")];
    let first = create(&*store, P1, "a", at(1)).await.id;
    assert!(first > ghost, "a number once reserved is not reserved again");
    let set = LoadSet {
        agents: ["b", "c", "b"].map(|name| AgentLookup { key: key(P1, name), create: true }).to_vec(),
        ..LoadSet::default()
    };
    let loaded = load(&*store, set).await;
    let (b, c) = (loaded.agent_ids[&key(P1, "b")], loaded.agent_ids[&key(P1, "c")]);
    assert!(b != c && b > first && c > first, "each its own, asked for twice or not");
    assert_eq!(loaded.reserved.len(), 2);
    let store = fixture.reopen(store);
    assert!(create(&*store, P1, "d", at(1)).await.id > first);
}

pub async fn agents_are_counted_by_project(fixture: Fixture) {
    let store = fixture.open();
    for name in ["a", "b", "c"] {
        create(&*store, P1, name, at(1)).await;
    }
    create(&*store, P2, "a", at(1)).await;
    let store = fixture.reopen(store);
    let set = LoadSet {
        agents: [lookup(P1, "a", true).agents, lookup(P2, "new", true).agents].concat(),
        ..LoadSet::default()
    };
    let counts = load(&*store, set).await.counts;
    assert_eq!((counts[&P1].agents, counts[&P2].agents), (3, 1), "the one to be created is not counted yet");
}

pub async fn the_same_name_in_two_projects_is_two_agents(fixture: Fixture) {
    let store = fixture.open();
    let (one, two) = (create(&*store, P1, "bot", at(1)).await, create(&*store, P2, "bot", at(2)).await);
    assert_ne!(one.id, two.id);
    let store = fixture.reopen(store);
    assert_eq!(load(&*store, lookup(P2, "bot", false)).await.agents[&two.id], two);
    assert_eq!(store.agents(P1, 0, 10).await.unwrap().rows, [one]);
}

pub async fn settings_survive_a_restart_and_can_be_replaced(fixture: Fixture) {
    let store = fixture.open();
    let row = create(&*store, P1, "bot", at(1)).await;
    let written = r#"{"interval": "45s", "down_after": 2.25, "progress": "never", "auto_restart": true,
        "restart": {"max": 7}, "budget": {"request_usd": 0.25}}"#;
    for text in [written, "{}", r#"{"failures": 9}"#] {
        let settings: Arc<PolicyPatch> = Arc::new(serde_json::from_str(text).unwrap());
        let set = changed(&row, |row| row.settings = settings.clone());
        commit(&*store, WriteSet { agents: vec![set], ..WriteSet::default() }).await;
        assert_eq!(store.agent(row.id).await.unwrap().unwrap().settings, settings);
    }
    let store = fixture.reopen(store);
    let kept = store.agent(row.id).await.unwrap().unwrap();
    assert_eq!(*kept.settings, serde_json::from_str(r#"{"failures": 9}"#).unwrap());
    // A signal writes the state; what was set by hand stays.
    let beaten = changed(&kept, |row| row.state.totals.heartbeats += 1);
    commit(&*store, WriteSet { agents: vec![beaten.clone()], ..WriteSet::default() }).await;
    let store = fixture.reopen(store);
    assert_eq!(store.agent(row.id).await.unwrap(), Some(beaten));
}

pub async fn pages_and_scans_go_by_number(fixture: Fixture) {
    let store = fixture.open();
    let mut ids = Vec::new();
    for n in 0..7 {
        let project = if n % 3 == 0 { P2 } else { P1 };
        ids.push(create(&*store, project, &format!("z{}", 9 - n), at(1)).await.id);
    }
    let store = fixture.reopen(store);
    let page = |offset, limit| {
        let store = &store;
        async move {
            let page = store.agents(P1, offset, limit).await.unwrap();
            assert_eq!(page.total, 4, "whatever the page, the total is the project's");
            page.rows.iter().map(|row| row.id).collect::<Vec<_>>()
        }
    };
    assert_eq!(page(0, 3).await, [ids[1], ids[2], ids[4]]);
    assert_eq!(page(3, 3).await, [ids[5]]);
    assert!(page(4, 3).await.is_empty() && page(0, 0).await.is_empty());
    assert_eq!(store.agents(ProjectId(77), 0, 10).await.unwrap().total, 0);

    let (mut seen, mut after) = (Vec::new(), AgentId(0));
    loop {
        let rows = store.scan_agents(after, 3).await.unwrap();
        let Some(last) = rows.last() else { break };
        after = last.id;
        seen.extend(rows.iter().map(|row| row.id));
    }
    assert_eq!(seen, ids, "all projects, each agent once");
}

pub async fn due_agents_come_oldest_deadline_first_and_move_with_it(fixture: Fixture) {
    let store = fixture.open();
    let late = create(&*store, P1, "late", at(50)).await;
    let early = create(&*store, P2, "early", at(10)).await;
    let middle = create(&*store, P1, "middle", at(30)).await;
    create(&*store, P1, "never", Timestamp::MAX).await;
    let store = fixture.reopen(store);
    assert!(store.due_agents(at(9), 10).await.unwrap().is_empty());
    assert_eq!(store.due_agents(at(10), 10).await.unwrap(), [early.id], "a deadline is inclusive");
    assert_eq!(store.due_agents(at(99), 10).await.unwrap(), [early.id, middle.id, late.id]);
    assert_eq!(store.due_agents(at(99), 2).await.unwrap(), [early.id, middle.id]);
    let moved = vec![
        changed(&early, |row| row.state.deadline = at(70)),
        changed(&late, |row| row.state.deadline = at(20)),
        changed(&middle, |row| row.state.deadline = Timestamp::MAX),
    ];
    commit(&*store, WriteSet { agents: moved, ..WriteSet::default() }).await;
    assert_eq!(store.due_agents(at(99), 10).await.unwrap(), [late.id, early.id]);
    let store = fixture.reopen(store);
    assert_eq!(store.due_agents(at(99), 10).await.unwrap(), [late.id, early.id]);
    assert!(store.due_agents(Timestamp::MAX, 10).await.unwrap().len() == 2, "never is never");
}
