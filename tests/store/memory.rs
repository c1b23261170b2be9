//! The memory store's faults, which other tests rely on.

use pulsegate::store::memory::{Fault, MemoryStore};
use pulsegate::store::*;

use crate::fixture::*;

async fn commit_event(store: &MemoryStore, cause: &str) -> Result<(), StoreError> {
    let (_, transaction) = store.begin(LoadSet::default()).await.unwrap();
    transaction.commit(WriteSet { events: vec![event(P1, None, 1, cause)], ..WriteSet::default() }).await
}

#[tokio::test]
async fn faults_strike_the_commits_to_come_one_by_one() {
    let store = MemoryStore::new();
    store.plan_faults([Some(Fault::FailBeforeCommit), None, Some(Fault::LoseTheReply)]);
    let failed = commit_event(&store, "lost").await.unwrap_err();
    assert!(matches!(failed, StoreError::Unavailable(_)), "{failed}");
    commit_event(&store, "kept").await.unwrap();
    let unknown = commit_event(&store, "kept, too").await.unwrap_err();
    assert!(matches!(unknown, StoreError::OutcomeUnknown(_)), "{unknown}");
    commit_event(&store, "after").await.unwrap();
    let query = EventQuery { project: P1, agent: None, before: None, limit: 9 };
    let causes: Vec<String> = store.events(query).await.unwrap().into_iter().map(|e| e.draft.cause).collect();
    assert_eq!(causes, ["after", "kept, too", "kept"]);
}
