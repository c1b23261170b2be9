//! Stores to tell stories to, and the small words the stories are told in.

use std::sync::Arc;
use std::time::Duration;

use pulsegate::model::*;
use pulsegate::store::memory::MemoryStore;
use pulsegate::store::sqlite::SqliteStore;
use pulsegate::store::*;
use serde_json::json;

/// A place where a store can be opened, and opened again after a restart of the gateway.
pub enum Fixture {
    Memory(MemoryStore),
    Sqlite(tempfile::TempDir),
}

impl Fixture {
    /// An empty memory store, but for two projects.
    pub async fn memory() -> Self {
        Self::Memory(MemoryStore::new()).with_projects().await
    }

    /// An empty database, but for two projects.
    pub async fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap()).with_projects().await
    }

    async fn with_projects(self) -> Self {
        let store = self.open();
        assert_eq!(store.ensure_project("default").await.unwrap().id, P1);
        assert_eq!(store.ensure_project("other").await.unwrap().id, P2);
        drop(store);
        self
    }

    pub fn open(&self) -> Box<dyn Store> {
        match self {
            Self::Memory(store) => Box::new(store.clone()),
            Self::Sqlite(dir) => Box::new(SqliteStore::open(&dir.path().join("pulsegate.db")).unwrap()),
        }
    }

    /// The gateway ends and is started again.
    pub fn reopen(&self, store: Box<dyn Store>) -> Box<dyn Store> {
        drop(store);
        self.open()
    }
}

pub const P1: ProjectId = ProjectId(1);
pub const P2: ProjectId = ProjectId(2);

pub const fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_795_000_000 + secs)
}

pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn key(project: ProjectId, name: &str) -> AgentKey {
    AgentKey::new(project, name).unwrap()
}

pub fn lookup(project: ProjectId, name: &str, create: bool) -> LoadSet {
    LoadSet { agents: vec![AgentLookup { key: key(project, name), create }], ..LoadSet::default() }
}

/// Loads and lets go again.
pub async fn load(store: &dyn Store, set: LoadSet) -> Loaded {
    store.begin(set).await.unwrap().0
}

pub async fn commit(store: &dyn Store, writes: WriteSet) {
    let (_, transaction) = store.begin(LoadSet::default()).await.unwrap();
    transaction.commit(writes).await.unwrap();
}

/// Makes an agent whose evaluator looks again at `deadline`.
pub async fn create(store: &dyn Store, project: ProjectId, name: &str, deadline: Timestamp) -> Arc<AgentRow> {
    let (loaded, transaction) = store.begin(lookup(project, name, true)).await.unwrap();
    let mut row = AgentRow::new(loaded.agent_ids[&key(project, name)], key(project, name), at(0));
    row.state.deadline = deadline;
    let row = Arc::new(row);
    transaction.commit(WriteSet { agents: vec![row.clone()], ..WriteSet::default() }).await.unwrap();
    row
}

/// `row` with something changed.
pub fn changed(row: &Arc<AgentRow>, change: impl FnOnce(&mut AgentRow)) -> Arc<AgentRow> {
    let mut row = AgentRow::clone(row);
    change(&mut row);
    Arc::new(row)
}

pub fn event(project: ProjectId, agent: Option<AgentId>, secs: i64, cause: &str) -> NewEvent {
    let draft = EventDraft {
        kind: EventKind::Transition,
        at: at(secs),
        transition: Some((Status::Healthy, Status::OverBudget)),
        hard: true,
        cause: cause.into(),
        evidence: json!({"expected": {"interval_seconds": 60}, "text": "it's \"quoted\" — ü"}),
    };
    NewEvent { project, agent, draft }
}

pub fn command(n: u8, project: ProjectId, agent: AgentId, state: CommandState) -> Command {
    let mut id = [0; 16];
    id[0] = n;
    Command {
        id: CommandId(uuid::Uuid::from_bytes(id)),
        project,
        agent,
        target: RestartTarget { kind: "docker".into(), target: "bot: 1".into() },
        origin: CommandOrigin::PolicyDown,
        reason: "no sign of life".into(),
        state,
        created_at: at(0),
        not_after: at(600),
        lease_until: (state == CommandState::Leased).then_some(at(120)),
        attempts: 3,
        runner: Some("127.0.0.1:5000".into()),
        ended_at: (!state.is_open()).then_some(at(100)),
        result: Some("done".into()),
    }
}

pub fn dedup(content: &str) -> DedupKey {
    DedupKey::of(P1, "test", content.as_bytes())
}
