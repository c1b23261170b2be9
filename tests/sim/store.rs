//! The memory store behind bad weather: it refuses, hangs, delays, or does what it was told and loses the reply. What is
//! committed is shown to the ledger. A mutant of it is wrong on purpose.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use pulsegate::model::{
    AgentId, AgentKey, ApiKey, AuditRow, Command, CommandId, CommandState, Event, InstanceKey, MaintenanceWindow,
    Project, ProjectCounts, ProjectId, ProjectState, Registration, Rollup, Timestamp, TraceKey,
};
use pulsegate::store::memory::MemoryStore;
use pulsegate::store::{
    AgentPage, AgentRow, AuditQuery, EventQuery, HistoryBefore, LoadSet, Loaded, PastPresence, RollupQuery, Store,
    StoreError, Transaction, WriteSet,
};

use crate::Mutant;
use crate::ledger::Ledger;

/// What happens to commits.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    /// Neither transactions nor commits are possible.
    pub refuses: bool,
    /// Nothing is answered until this is over.
    pub hangs: bool,
    /// How long a commit takes.
    pub delay: Duration,
    /// So many commits to come fail, with nothing written.
    pub fail_next: u32,
    /// So many commits to come are done, and their replies are lost.
    pub lose_next: u32,
}

#[derive(Clone)]
pub struct SimStore {
    pub inner: MemoryStore,
    pub weather: Arc<Mutex<Weather>>,
    pub ledger: Arc<Mutex<Ledger>>,
    pub mutant: Option<Mutant>,
}

impl SimStore {
    pub fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap()
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    async fn wait(&self) -> Result<(), StoreError> {
        while self.weather().hangs {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        if self.weather().refuses {
            return Err(StoreError::Unavailable("the disk is full".into()));
        }
        Ok(())
    }
}

struct Open {
    store: SimStore,
    inner: Box<dyn Transaction>,
}

#[async_trait]
impl Transaction for Open {
    async fn load(&mut self, set: LoadSet) -> Result<Loaded, StoreError> {
        self.inner.load(set).await
    }

    async fn commit(self: Box<Self>, mut writes: WriteSet) -> Result<(), StoreError> {
        let Self { store, inner } = *self;
        let delay = store.weather().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        store.wait().await?;
        let fails = take_one(&mut store.weather().fail_next);
        if fails {
            return Err(StoreError::Unavailable("it was not to be".into()));
        }
        let loses = take_one(&mut store.weather().lose_next);
        match store.mutant {
            Some(Mutant::Forgetful) => writes.dedup.clear(),
            Some(Mutant::Liar) if !writes.dedup.is_empty() && store.ledger().commits.is_multiple_of(50) => {
                store.ledger().commits += 1;
                return Ok(());
            }
            Some(Mutant::TwoLeases) => {
                writes.commands.iter_mut().filter(|c| c.state == CommandState::Leased).for_each(|c| {
                    c.state = CommandState::Queued;
                    c.runner = None;
                });
            }
            _ => {}
        }
        store.ledger().committed(&writes);
        inner.commit(writes).await?;
        if loses {
            return Err(StoreError::OutcomeUnknown("the reply was lost".into()));
        }
        Ok(())
    }
}

fn take_one(n: &mut u32) -> bool {
    let any = *n > 0;
    *n = n.saturating_sub(1);
    any
}

#[async_trait]
impl Store for SimStore {
    async fn begin(&self, set: LoadSet) -> Result<(Loaded, Box<dyn Transaction>), StoreError> {
        self.wait().await?;
        let (loaded, inner) = self.inner.begin(set).await?;
        Ok((loaded, Box::new(Open { store: self.clone(), inner })))
    }
    async fn project_state(&self, project: ProjectId) -> Result<(ProjectState, ProjectCounts), StoreError> {
        self.inner.project_state(project).await
    }
    async fn due_agents(&self, now: Timestamp, limit: usize) -> Result<Vec<AgentId>, StoreError> {
        if self.mutant == Some(Mutant::Drowsy) {
            return Ok(vec![]);
        }
        self.inner.due_agents(now, limit).await
    }
    async fn due_commands(&self, now: Timestamp, limit: usize) -> Result<Vec<CommandId>, StoreError> {
        self.inner.due_commands(now, limit).await
    }
    async fn due_traces(&self, now: Timestamp, limit: usize) -> Result<Vec<(TraceKey, Arc<str>)>, StoreError> {
        self.inner.due_traces(now, limit).await
    }
    async fn due_instances(&self, now: Timestamp, limit: usize) -> Result<Vec<InstanceKey>, StoreError> {
        self.inner.due_instances(now, limit).await
    }
    async fn agent(&self, id: AgentId) -> Result<Option<Arc<AgentRow>>, StoreError> {
        self.inner.agent(id).await
    }
    async fn agents(&self, project: ProjectId, offset: usize, limit: usize) -> Result<AgentPage, StoreError> {
        self.inner.agents(project, offset, limit).await
    }
    async fn project_agents(
        &self,
        project: ProjectId,
        after: AgentId,
        limit: usize,
    ) -> Result<Vec<Arc<AgentRow>>, StoreError> {
        self.inner.project_agents(project, after, limit).await
    }
    async fn agent_named(&self, key: &AgentKey) -> Result<Option<Arc<AgentRow>>, StoreError> {
        self.inner.agent_named(key).await
    }
    async fn similar_name(&self, project: ProjectId, name: &str) -> Result<Option<Arc<str>>, StoreError> {
        self.inner.similar_name(project, name).await
    }
    async fn aliases(&self, id: AgentId) -> Result<Vec<Arc<str>>, StoreError> {
        self.inner.aliases(id).await
    }
    async fn registrations(&self, project: ProjectId) -> Result<Vec<(Arc<str>, Registration)>, StoreError> {
        self.inner.registrations(project).await
    }
    async fn windows(&self) -> Result<Vec<MaintenanceWindow>, StoreError> {
        self.inner.windows().await
    }
    async fn rollups(&self, query: RollupQuery) -> Result<Vec<Rollup>, StoreError> {
        self.inner.rollups(query).await
    }
    async fn sweep_history(&self, before: Vec<HistoryBefore>) -> Result<(), StoreError> {
        self.inner.sweep_history(before).await
    }
    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRow>, StoreError> {
        self.inner.audit(query).await
    }
    async fn scan_agents(&self, after: AgentId, limit: usize) -> Result<Vec<Arc<AgentRow>>, StoreError> {
        self.inner.scan_agents(after, limit).await
    }
    async fn events(&self, query: EventQuery) -> Result<Vec<Event>, StoreError> {
        self.inner.events(query).await
    }
    async fn commands(&self, project: ProjectId, limit: usize) -> Result<Vec<Command>, StoreError> {
        self.inner.commands(project, limit).await
    }
    async fn projects(&self) -> Result<Vec<Project>, StoreError> {
        self.inner.projects().await
    }
    async fn ensure_project(&self, name: &str) -> Result<Project, StoreError> {
        self.inner.ensure_project(name).await
    }
    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.inner.keys().await
    }
    async fn put_key(&self, key: ApiKey) -> Result<(), StoreError> {
        self.inner.put_key(key).await
    }
    async fn touch_keys(&self, ids: Vec<String>, at: Timestamp) -> Result<(), StoreError> {
        self.inner.touch_keys(ids, at).await
    }
    async fn presence(&self) -> Result<PastPresence, StoreError> {
        self.inner.presence().await
    }
    async fn sweep(&self, memory: Timestamp, events: &[(ProjectId, Timestamp)]) -> Result<(), StoreError> {
        self.inner.sweep(memory, events).await
    }
    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }
}
