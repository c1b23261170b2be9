//! Projects, keys, and the gateway's own presence.

use pulsegate::model::*;
use pulsegate::store::*;

use crate::fixture::*;

pub async fn a_project_is_made_once(fixture: Fixture) {
    let store = fixture.open();
    let first = store.ensure_project("default").await.unwrap();
    let other = store.ensure_project("other").await.unwrap();
    let third = store.ensure_project("Team \"B\"").await.unwrap();
    assert_eq!((&*first.name, first.id, other.id, third.id), ("default", P1, P2, ProjectId(3)));
    assert_eq!(store.ensure_project("default").await.unwrap(), first);
    let store = fixture.reopen(store);
    assert_eq!(store.ensure_project("Team \"B\"").await.unwrap(), third);
    assert_eq!(store.projects().await.unwrap(), [first, other, third]);
}

pub async fn keys_are_put_replaced_and_revoked(fixture: Fixture) {
    let store = fixture.open();
    let project = store.ensure_project("default").await.unwrap().id;
    let key = |id: &str, secs| ApiKey {
        label: "laptop ü".into(),
        expires_at: Some(at(secs + 100)),
        last_used_at: Some(at(secs + 50)),
        global: secs == 2,
        ..ApiKey::new(id.into(), project, [7; 32], Scopes::of(&[Scope::Ingest, Scope::Admin]), at(secs))
    };
    let (first, second) = (key("aaaa", 1), key("bbbb", 2));
    store.put_key(first.clone()).await.unwrap();
    store.put_key(second.clone()).await.unwrap();
    let store = fixture.reopen(store);
    assert_eq!(sorted(store.keys().await.unwrap()), [first.clone(), second.clone()]);
    let revoked = ApiKey { revoked_at: Some(at(9)), ..first };
    let other = ApiKey { scopes: Scopes::of(&[]), hash: [9; 32], label: String::new(), ..second };
    store.put_key(revoked.clone()).await.unwrap();
    store.put_key(other.clone()).await.unwrap();
    let store = fixture.reopen(store);
    assert_eq!(sorted(store.keys().await.unwrap()), [revoked, other], "a revoked key is still listed");
}

fn sorted(mut keys: Vec<ApiKey>) -> Vec<ApiKey> {
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    keys
}

async fn note(store: &dyn Store, alive: i64, gaps: &[(i64, i64)]) {
    let gaps = gaps.iter().map(|(from, to)| (at(*from), at(*to))).collect();
    let presence = Some(PresenceWrite { alive_at: at(alive), gaps });
    commit(store, WriteSet { presence, ..WriteSet::default() }).await;
}

pub async fn the_last_use_of_a_key_is_noted(fixture: Fixture) {
    let store = fixture.open();
    let key = ApiKey::new("aaaa".into(), P1, [7; 32], Scopes::of(&[Scope::Read]), at(1));
    store.put_key(key.clone()).await.unwrap();
    store.touch_keys(vec!["aaaa".into(), "unknown".into()], at(60)).await.unwrap();
    let store = fixture.reopen(store);
    assert_eq!(store.keys().await.unwrap(), [ApiKey { last_used_at: Some(at(60)), ..key }]);
}

pub async fn presence_and_gaps_survive_a_restart(fixture: Fixture) {
    let store = fixture.open();
    assert_eq!(store.presence().await.unwrap(), PastPresence::default(), "the very first start");
    note(&*store, 10, &[]).await;
    note(&*store, 50, &[(20, 45)]).await;
    let store = fixture.reopen(store);
    note(&*store, 90, &[(60, 80)]).await;
    let store = fixture.reopen(store);
    let past = store.presence().await.unwrap();
    assert_eq!(past.alive_at, Some(at(90)));
    assert_eq!(past.gaps, [(at(20), at(45)), (at(60), at(80))], "oldest first");
}

pub async fn a_gap_told_again_is_one_gap(fixture: Fixture) {
    let store = fixture.open();
    note(&*store, 50, &[(20, 45), (10, 12)]).await;
    // Each start tells all gaps it knows of; one may have grown.
    note(&*store, 60, &[(10, 12), (20, 55)]).await;
    let store = fixture.reopen(store);
    assert_eq!(store.presence().await.unwrap().gaps, [(at(10), at(12)), (at(20), at(55))]);
}

pub async fn only_the_newest_gaps_are_kept(fixture: Fixture) {
    let store = fixture.open();
    let gaps: Vec<(i64, i64)> = (0..GAPS_MAX as i64 + 5).map(|n| (n * 10, n * 10 + 5)).collect();
    note(&*store, 9999, &gaps).await;
    store.sweep(at(0), &[]).await.unwrap();
    let store = fixture.reopen(store);
    let kept = store.presence().await.unwrap().gaps;
    assert_eq!((kept.len(), kept[0]), (GAPS_MAX, (at(50), at(55))));
}

pub async fn a_store_in_order_answers_a_ping(fixture: Fixture) {
    let store = fixture.open();
    store.ping().await.unwrap();
    let _transaction = store.begin(LoadSet::default()).await.unwrap();
    store.ping().await.unwrap();
}
