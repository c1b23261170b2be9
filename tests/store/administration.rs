//! Other names, agents that end or become part of each other, history, names that wait, windows, and the audit chain.

use pulsegate::model::*;
use pulsegate::store::*;
use serde_json::json;

use crate::fixture::*;

/// The hour in which the stories begin, counted from the epoch.
fn hour(n: i64) -> i64 {
    at(0).as_secs() / 3600 + n
}

pub fn rollup(agent: AgentId, n: i64, slot: u8, tokens: u64) -> Rollup {
    let sums = Sums { tokens, cost: Money(-1), ..Sums::default() };
    let body = if slot == 0 {
        RollupBody::Hour(HourSums { up_ms: 3_600_000, known_ms: 3_600_000, sums })
    } else {
        RollupBody::Minutes { first: 7, runs: vec![MinuteRun { minutes: 53, up_ms: 60_000, known_ms: 60_000, sums }] }
    };
    Rollup { project: P1, agent, origin: agent, hour: hour(n), slot, body }
}

async fn history(store: &dyn Store, agent: AgentId, minutes: bool) -> Vec<Rollup> {
    let query = RollupQuery { project: P1, agent, minutes, hours: hour(-100)..hour(100) };
    store.rollups(query).await.unwrap()
}

pub fn deed(action: &str) -> AuditDraft {
    let deed = Deed {
        actor: Actor::key("aaaa".into(), Some("::1".into())),
        action: action.into(),
        target: "agent 1 \"ü\"".into(),
        before: json!({"interval": "60s"}),
        after: json!(null),
        decision: Decision::Refused,
        reason: "because".into(),
        command_id: None,
    };
    AuditDraft { at: at(5), project: Some(P1), deed }
}

pub async fn a_renamed_agent_is_found_under_all_its_names(fixture: Fixture) {
    let store = fixture.open();
    let row = create(&*store, P1, "bott", at(9)).await;
    let renamed = changed(&row, |row| row.key = key(P1, "bot"));
    let aliases = vec![(key(P1, "bot"), None), (key(P1, "bott"), Some(row.id))];
    commit(&*store, WriteSet { agents: vec![renamed.clone()], aliases, ..WriteSet::default() }).await;
    let store = fixture.reopen(store);
    for name in ["bot", "bott"] {
        let loaded = load(&*store, lookup(P1, name, true)).await;
        assert_eq!(loaded.agents.get(&row.id), Some(&renamed), "{name}");
        assert!(loaded.reserved.is_empty());
        assert_eq!(store.agent_named(&key(P1, name)).await.unwrap(), Some(renamed.clone()));
    }
    assert_eq!(store.aliases(row.id).await.unwrap(), ["bott".into()]);
    // Back again: the former name is in use, the other one is the former.
    let aliases = vec![(key(P1, "bott"), None), (key(P1, "bot"), Some(row.id))];
    commit(&*store, WriteSet { agents: vec![row.clone()], aliases, ..WriteSet::default() }).await;
    let store = fixture.reopen(store);
    assert_eq!(store.aliases(row.id).await.unwrap(), ["bot".into()]);
    assert_eq!(store.agent_named(&key(P1, "bot")).await.unwrap(), Some(row));
    assert_eq!(store.agent_named(&key(P2, "bot")).await.unwrap(), None);
}

pub async fn a_name_in_use_is_never_a_former_one(fixture: Fixture) {
    let store = fixture.open();
    let (one, other) = (create(&*store, P1, "one", at(9)).await, create(&*store, P1, "other", at(9)).await);
    let aliases = vec![(key(P1, "other"), Some(one.id)), (key(P1, "none"), None)];
    commit(&*store, WriteSet { aliases, ..WriteSet::default() }).await;
    let store = fixture.reopen(store);
    assert_eq!(store.agent_named(&key(P1, "other")).await.unwrap(), Some(other));
    assert!(store.aliases(one.id).await.unwrap().is_empty());
}

pub async fn what_an_agent_leaves_goes_to_the_one_it_becomes_part_of(fixture: Fixture) {
    let store = fixture.open();
    let (from, into) = (create(&*store, P1, "bott", at(9)).await, create(&*store, P1, "bot", at(9)).await);
    let rollups =
        vec![rollup(from.id, 0, 0, 1), rollup(from.id, 0, 1, 2), rollup(into.id, 0, 0, 4), rollup(from.id, 1, 0, 8)];
    let events = vec![event(P1, Some(from.id), 1, "theirs"), event(P1, Some(into.id), 2, "ours")];
    let aliases = vec![(key(P1, "boot"), Some(from.id))];
    commit(&*store, WriteSet { rollups, events, aliases, ..WriteSet::default() }).await;
    let late = Rollup { agent: into.id, ..rollup(from.id, 2, 0, 16) };
    let writes = WriteSet {
        moved: vec![(from.id, into.id)],
        removed: vec![from.id],
        aliases: vec![(from.key.clone(), Some(into.id))],
        rollups: vec![late],
        ..WriteSet::default()
    };
    commit(&*store, writes).await;
    let store = fixture.reopen(store);
    assert_eq!(store.agent(from.id).await.unwrap(), None);
    assert_eq!(store.aliases(into.id).await.unwrap(), ["boot".into(), "bott".into()]);
    let hours = history(&*store, into.id, false).await;
    let tokens = |r: &Rollup| if let RollupBody::Hour(h) = &r.body { h.sums.tokens } else { 0 };
    assert_eq!(hours.iter().map(tokens).sum::<u64>(), 1 + 4 + 8 + 16);
    assert!(hours.windows(2).all(|pair| pair[0].hour <= pair[1].hour));
    assert_eq!(history(&*store, into.id, true).await, [Rollup { agent: into.id, ..rollup(from.id, 0, 1, 2) }]);
    assert!(history(&*store, from.id, false).await.is_empty());
    let query = EventQuery { project: P1, agent: Some(into.id), before: None, limit: 9 };
    assert_eq!(store.events(query).await.unwrap().len(), 2);
    assert_eq!(load(&*store, lookup(P1, "boot", true)).await.agent_ids[&key(P1, "boot")], into.id);
}

pub async fn a_removed_agent_leaves_nothing_and_its_number_is_not_given_out_again(fixture: Fixture) {
    let store = fixture.open();
    let row = create(&*store, P1, "bot", at(9)).await;
    let left = create(&*store, P1, "left", at(9)).await;
    let last = create(&*store, P1, "last", at(9)).await;
    let writes = WriteSet {
        rollups: vec![rollup(last.id, 0, 0, 1), rollup(last.id, 0, 1, 1), rollup(left.id, 0, 0, 1)],
        events: vec![event(P1, Some(last.id), 1, "gone"), event(P1, Some(left.id), 1, "stays")],
        aliases: vec![(key(P1, "alias"), Some(last.id))],
        ..WriteSet::default()
    };
    commit(&*store, writes).await;
    commit(&*store, WriteSet { removed: vec![row.id, last.id, AgentId(404)], ..WriteSet::default() }).await;
    let store = fixture.reopen(store);
    let page = store.agents(P1, 0, 9).await.unwrap();
    assert_eq!((page.total, &page.rows[..]), (1, &[left.clone()][..]));
    assert_eq!(store.due_agents(at(9), 9).await.unwrap(), [left.id]);
    assert_eq!(load(&*store, lookup(P1, "left", false)).await.counts[&P1].agents, 1);
    let query = EventQuery { project: P1, agent: None, before: None, limit: 9 };
    assert_eq!(store.events(query).await.unwrap().len(), 1);
    assert!(history(&*store, last.id, false).await.is_empty() && history(&*store, last.id, true).await.is_empty());
    assert_eq!(history(&*store, left.id, false).await.len(), 1);
    for name in ["last", "alias"] {
        assert_eq!(store.agent_named(&key(P1, name)).await.unwrap(), None);
    }
    assert!(create(&*store, P1, "last", at(9)).await.id > last.id);
}

pub async fn an_agent_that_ends_and_begins_in_one_commit_is_a_new_one(fixture: Fixture) {
    let store = fixture.open();
    let row = create(&*store, P1, "bot", at(9)).await;
    let again = changed(&row, |row| row.settings = std::sync::Arc::default());
    let writes = WriteSet { removed: vec![row.id], agents: vec![again.clone()], ..WriteSet::default() };
    commit(&*store, writes).await;
    let store = fixture.reopen(store);
    assert_eq!(store.agent(row.id).await.unwrap(), Some(again));
    assert_eq!(load(&*store, lookup(P1, "bot", false)).await.counts[&P1].agents, 1);
}

pub async fn history_survives_a_restart_and_is_forgotten_by_project(fixture: Fixture) {
    let store = fixture.open();
    let row = create(&*store, P1, "bot", at(9)).await;
    let mut beaten = AgentRow::clone(&row);
    beaten.state.status = Status::Healthy;
    let presence = Presence::new(at(-9), []);
    for secs in [0, 60, 7200] {
        let pieces = beaten.history.advance(at(secs), &beaten.state, &presence);
        beaten.state.totals.heartbeats += 1;
        let rollups = pieces.into_iter().map(|(hour, slot, body)| Rollup {
            project: P1,
            agent: row.id,
            origin: row.id,
            hour,
            slot,
            body,
        });
        let writes = WriteSet {
            rollups: rollups.collect(),
            agents: vec![std::sync::Arc::new(beaten.clone())],
            ..WriteSet::default()
        };
        commit(&*store, writes).await;
    }
    let store = fixture.reopen(store);
    assert_eq!(store.agent(row.id).await.unwrap().unwrap().history, beaten.history);
    let (hours, minutes) = (history(&*store, row.id, false).await, history(&*store, row.id, true).await);
    assert!(hours.len() >= 2 && minutes.len() >= 2, "{hours:?} {minutes:?}");
    let narrow = RollupQuery { project: P1, agent: row.id, minutes: false, hours: hour(0)..hour(1) };
    assert_eq!(store.rollups(narrow).await.unwrap(), hours[..1]);

    let before = |project, minutes, hours| HistoryBefore { project, minutes: hour(minutes), hours: hour(hours) };
    store.sweep_history(vec![before(P2, 9, 9), before(P1, 1, 0)]).await.unwrap();
    assert_eq!(history(&*store, row.id, false).await, hours);
    assert_eq!(history(&*store, row.id, true).await, minutes[1..]);
    store.sweep_history(vec![before(P1, 9, 1)]).await.unwrap();
    assert_eq!(history(&*store, row.id, false).await, hours[1..]);
    assert!(history(&*store, row.id, true).await.is_empty());
}

pub async fn names_that_wait_are_loaded_when_they_are_looked_up(fixture: Fixture) {
    let store = fixture.open();
    let waits = Registration { rejected: false, first_at: at(1), last_at: at(2), attempts: 3 };
    let registrations = vec![(key(P1, "b ü"), Some(waits)), (key(P1, "a"), Some(waits)), (key(P2, "c"), Some(waits))];
    commit(&*store, WriteSet { registrations, ..WriteSet::default() }).await;
    let rejected = Registration { rejected: true, ..waits };
    let registrations = vec![(key(P1, "a"), Some(rejected)), (key(P2, "c"), None)];
    commit(&*store, WriteSet { registrations, ..WriteSet::default() }).await;
    let store = fixture.reopen(store);
    let listed = store.registrations(P1).await.unwrap();
    assert_eq!(listed, [("a".into(), rejected), ("b ü".into(), waits)]);
    assert!(store.registrations(P2).await.unwrap().is_empty());
    let loaded = load(&*store, lookup(P1, "a", true)).await;
    assert_eq!(loaded.registrations.get(&key(P1, "a")), Some(&rejected));
    assert_eq!(loaded.registration_counts[&P1], 2);
}

pub async fn similar_names_are_found_within_a_project(fixture: Fixture) {
    let store = fixture.open();
    for (project, name) in [(P1, "research-agent"), (P1, "writer"), (P2, "reserch-agent")] {
        create(&*store, project, name, at(9)).await;
    }
    for (name, similar) in [
        ("reserch-agent", Some("research-agent")),
        ("Research-Agent", Some("research-agent")),
        ("wirter", Some("writer")),
        ("zebra", None),
        ("", None),
    ] {
        assert_eq!(store.similar_name(P1, name).await.unwrap().as_deref(), similar, "{name}");
    }
}

pub async fn a_projects_agents_are_read_in_chunks(fixture: Fixture) {
    let store = fixture.open();
    let mut ids = Vec::new();
    for (project, name) in [(P1, "a"), (P2, "b"), (P1, "c"), (P1, "d")] {
        ids.push(create(&*store, project, name, at(9)).await.id);
    }
    let read = async |after, limit| {
        let rows = store.project_agents(P1, after, limit).await.unwrap();
        rows.iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(read(AgentId(0), 2).await, [ids[0], ids[2]]);
    assert_eq!(read(ids[2], 2).await, [ids[3]]);
    assert!(store.project_agents(ProjectId(9), AgentId(0), 2).await.unwrap().is_empty());
}

pub async fn windows_are_numbered_kept_and_their_numbers_not_given_out_again(fixture: Fixture) {
    let store = fixture.open();
    let set = LoadSet { new_windows: 2, ..LoadSet::default() };
    let (loaded, transaction) = store.begin(set.clone()).await.unwrap();
    let mut numbers = loaded.new_windows;
    numbers.sort_unstable();
    assert_eq!(numbers, [WindowId(1), WindowId(2)]);
    let window = |id, project| MaintenanceWindow {
        id,
        project,
        covers: Covers::Pattern("ü*".into()),
        when: When::Cron { cron: "0 2 * * *".into(), seconds: 60, timezone: "Europe/Berlin".into() },
        reason: "it's due".into(),
        created_at: at(1),
    };
    let (first, second) = (window(WindowId(1), P1), window(WindowId(2), P2));
    let windows = vec![(first.id, Some(first.clone())), (second.id, Some(second.clone()))];
    transaction.commit(WriteSet { windows, ..WriteSet::default() }).await.unwrap();
    let store = fixture.reopen(store);
    assert_eq!(store.windows().await.unwrap(), [first.clone(), second.clone()]);
    let loaded = load(&*store, LoadSet { windows: vec![second.id, WindowId(9)], ..set.clone() }).await;
    assert_eq!((loaded.windows.get(&second.id), loaded.windows.len()), (Some(&second), 1));
    assert_eq!((loaded.window_counts[&P1], loaded.window_counts[&P2]), (1, 1));
    commit(&*store, WriteSet { windows: vec![(second.id, None)], ..WriteSet::default() }).await;
    let store = fixture.reopen(store);
    assert_eq!(store.windows().await.unwrap(), [first]);
    assert!(load(&*store, set).await.new_windows.iter().all(|id| *id > second.id));
}

pub async fn projects_and_keys_come_with_a_commit(fixture: Fixture) {
    let store = fixture.open();
    let made = ApiKey::new("aaaa".into(), P1, [7; 32], Scopes::of(&[Scope::Read]), at(1));
    let writes = WriteSet {
        new_projects: vec!["third".into(), "default".into()],
        keys: vec![made.clone()],
        ..WriteSet::default()
    };
    commit(&*store, writes).await;
    let store = fixture.reopen(store);
    let names: Vec<_> = store.projects().await.unwrap().iter().map(|p| p.name.to_string()).collect();
    assert_eq!(names, ["default", "other", "third"]);
    assert_eq!(store.keys().await.unwrap(), [made]);
}

pub async fn the_audit_chain_holds_over_commits_and_restarts(fixture: Fixture) {
    let mut store = fixture.open();
    for round in 0..3 {
        let elsewhere = AuditDraft { project: (round > 0).then_some(P2), ..deed("b") };
        commit(&*store, WriteSet { audit: vec![deed("a"), elsewhere], ..WriteSet::default() }).await;
        store = fixture.reopen(store);
    }
    let query = AuditQuery { project: None, before: i64::MAX, limit: 9 };
    let mut rows = store.audit(query.clone()).await.unwrap();
    rows.reverse();
    let mut walk = AuditWalk::default();
    rows.iter().for_each(|row| walk.step(row).unwrap());
    assert_eq!(walk.end().0, 6);
    assert_eq!(rows[0].deed().unwrap(), deed("a").deed);
    assert_eq!((rows[0].at, rows[1].project, rows[3].project), (at(5), None, Some(P2)));
    let seqs = async |query| store.audit(query).await.unwrap().iter().map(|r| r.seq).collect::<Vec<_>>();
    assert_eq!(seqs(AuditQuery { project: Some(P1), ..query.clone() }).await, [5, 3, 1]);
    assert_eq!(seqs(AuditQuery { before: 5, limit: 2, ..query }).await, [4, 3]);
}
