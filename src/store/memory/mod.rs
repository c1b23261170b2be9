//! A store that forgets everything at the end of the process: for tests and simulation, with faults on demand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::tables::{Tables, matches};
use super::traces::pieces;
use super::{
    AgentPage, AgentRow, AuditQuery, EventQuery, HistoryBefore, LoadSet, Loaded, PastPresence, RollupQuery, Store,
    StoreError, Transaction, WriteSet,
};
use crate::model::{
    AgentId, AgentKey, ApiKey, AuditRow, Command, CommandId, Event, EventId, GAPS_MAX, InstanceKey, MaintenanceWindow,
    Project, ProjectCounts, ProjectId, ProjectState, Registration, Rollup, RollupBody, Timestamp, TraceKey,
};

/// What goes wrong with a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written; the caller is told so.
    FailBeforeCommit,
    /// Everything is written; the caller is told that nobody knows.
    LoseTheReply,
}

/// The memory store. Clones share their contents, so a "restarted gateway" can open the same one again.
#[derive(Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
    /// Held by the open transaction.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Inner {
    tables: Tables,
    events: Vec<Event>,
    last_event: i64,
    presence: PastPresence,
    rollups: BTreeMap<(bool, ProjectId, i64, AgentId, AgentId, u8), Rollup>,
    audit: Vec<AuditRow>,
    faults: VecDeque<Option<Fault>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what happens to the commits to come, one entry each; after these, all goes well.
    pub fn plan_faults(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.lock().faults.extend(faults);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The parts of a write set that this store keeps apart from the tables.
    fn administer(&mut self, writes: &mut WriteSet) {
        for name in std::mem::take(&mut writes.new_projects) {
            self.tables.ensure_project(&name);
        }
        for (from, into) in &writes.moved {
            self.events.iter_mut().filter(|e| e.agent == Some(*from)).for_each(|e| e.agent = Some(*into));
            let pieces: Vec<_> = self.rollups.values().filter(|r| r.agent == *from).cloned().collect();
            self.rollups.retain(|_, r| r.agent != *from);
            pieces.into_iter().for_each(|r| self.put_rollup(Rollup { agent: *into, ..r }));
        }
        for id in &writes.removed {
            self.events.retain(|e| e.agent != Some(*id));
            self.rollups.retain(|_, r| r.agent != *id);
        }
        for rollup in std::mem::take(&mut writes.rollups) {
            self.put_rollup(rollup);
        }
        for key in std::mem::take(&mut writes.keys) {
            self.tables.put_key(key);
        }
        for draft in std::mem::take(&mut writes.audit) {
            let last = self.audit.last().map(|row| (row.seq, row.hash));
            self.audit.push(AuditRow::after(last, &draft));
        }
    }

    fn put_rollup(&mut self, r: Rollup) {
        let minutes = matches!(r.body, RollupBody::Minutes { .. });
        self.rollups.insert((minutes, r.project, r.hour, r.agent, r.origin, r.slot), r);
    }
}

struct Open {
    store: MemoryStore,
    _turn: tokio::sync::OwnedMutexGuard<()>,
}

#[async_trait]
impl Transaction for Open {
    async fn load(&mut self, set: LoadSet) -> Result<Loaded, StoreError> {
        Ok(self.store.lock().tables.load(&set))
    }

    async fn commit(self: Box<Self>, mut writes: WriteSet) -> Result<(), StoreError> {
        let mut inner = self.store.lock();
        let fault = inner.faults.pop_front().flatten();
        if fault == Some(Fault::FailBeforeCommit) {
            return Err(StoreError::Unavailable("injected: failed before the commit".into()));
        }
        for event in std::mem::take(&mut writes.events) {
            inner.last_event += 1;
            let id = EventId(inner.last_event);
            inner.events.push(Event { id, project: event.project, agent: event.agent, draft: event.draft });
        }
        if let Some(presence) = writes.presence.take() {
            inner.presence.alive_at = Some(presence.alive_at);
            for gap in presence.gaps {
                // A gap told again, or grown, is still the one that began then.
                let known = &mut inner.presence.gaps;
                match known.binary_search_by_key(&gap.0, |(from, _)| *from) {
                    Ok(same) => known[same] = gap,
                    Err(place) => known.insert(place, gap),
                }
            }
        }
        inner.administer(&mut writes);
        let traces = pieces(&mut writes);
        inner.tables.apply(writes, traces);
        match fault {
            Some(_) => Err(StoreError::OutcomeUnknown("injected: committed, but the reply was lost".into())),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn begin(&self, set: LoadSet) -> Result<(Loaded, Box<dyn Transaction>), StoreError> {
        let turn = self.turn.clone().lock_owned().await;
        let loaded = self.lock().tables.load(&set);
        Ok((loaded, Box::new(Open { store: self.clone(), _turn: turn })))
    }

    async fn due_agents(&self, now: Timestamp, limit: usize) -> Result<Vec<AgentId>, StoreError> {
        Ok(self.lock().tables.due_agents(now, limit))
    }

    async fn due_commands(&self, now: Timestamp, limit: usize) -> Result<Vec<CommandId>, StoreError> {
        Ok(self.lock().tables.due_commands(now, limit))
    }

    async fn due_traces(&self, now: Timestamp, limit: usize) -> Result<Vec<(TraceKey, Arc<str>)>, StoreError> {
        Ok(self.lock().tables.traces.due(now, limit))
    }

    async fn due_instances(&self, now: Timestamp, limit: usize) -> Result<Vec<InstanceKey>, StoreError> {
        Ok(self.lock().tables.due_instances(now, limit))
    }

    async fn agent(&self, id: AgentId) -> Result<Option<Arc<AgentRow>>, StoreError> {
        Ok(self.lock().tables.agents.get(&id).cloned())
    }

    async fn agents(&self, project: ProjectId, offset: usize, limit: usize) -> Result<AgentPage, StoreError> {
        Ok(self.lock().tables.page(project, offset, limit))
    }

    async fn project_agents(
        &self,
        project: ProjectId,
        after: AgentId,
        limit: usize,
    ) -> Result<Vec<Arc<AgentRow>>, StoreError> {
        Ok(self.lock().tables.project_agents(project, after, limit))
    }

    async fn agent_named(&self, key: &AgentKey) -> Result<Option<Arc<AgentRow>>, StoreError> {
        Ok(self.lock().tables.agent_named(key))
    }

    async fn similar_name(&self, project: ProjectId, name: &str) -> Result<Option<Arc<str>>, StoreError> {
        Ok(self.lock().tables.similar_name(project, name))
    }

    async fn aliases(&self, id: AgentId) -> Result<Vec<Arc<str>>, StoreError> {
        Ok(self.lock().tables.aliases_of(id))
    }

    async fn registrations(&self, project: ProjectId) -> Result<Vec<(Arc<str>, Registration)>, StoreError> {
        let inner = self.lock();
        Ok(inner.tables.registrations_of(project).map(|(key, r)| (key.name.clone(), *r)).collect())
    }

    async fn windows(&self) -> Result<Vec<MaintenanceWindow>, StoreError> {
        Ok(self.lock().tables.windows.values().cloned().collect())
    }

    async fn rollups(&self, query: RollupQuery) -> Result<Vec<Rollup>, StoreError> {
        let inner = self.lock();
        let wanted = |((minutes, project, hour, agent, ..), _): &(&(bool, _, i64, _, _, u8), &Rollup)| {
            *minutes == query.minutes
                && *project == query.project
                && *agent == query.agent
                && query.hours.contains(hour)
        };
        Ok(inner.rollups.iter().filter(wanted).map(|(_, rollup)| rollup.clone()).collect())
    }

    async fn sweep_history(&self, before: Vec<HistoryBefore>) -> Result<(), StoreError> {
        let is_old = |minutes: bool, project: ProjectId, hour: i64| {
            before.iter().any(|b| b.project == project && hour < if minutes { b.minutes } else { b.hours })
        };
        self.lock().rollups.retain(|(minutes, project, hour, ..), _| !is_old(*minutes, *project, *hour));
        Ok(())
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRow>, StoreError> {
        let inner = self.lock();
        let wanted = |r: &&AuditRow| r.seq < query.before && query.project.is_none_or(|p| r.project == Some(p));
        Ok(inner.audit.iter().rev().filter(wanted).take(query.limit).cloned().collect())
    }

    async fn scan_agents(&self, after: AgentId, limit: usize) -> Result<Vec<Arc<AgentRow>>, StoreError> {
        Ok(self.lock().tables.scan(after, limit))
    }

    async fn events(&self, query: EventQuery) -> Result<Vec<Event>, StoreError> {
        let inner = self.lock();
        Ok(inner.events.iter().rev().filter(|e| matches(e, &query)).take(query.limit).cloned().collect())
    }

    async fn project_state(&self, project: ProjectId) -> Result<(ProjectState, ProjectCounts), StoreError> {
        Ok(self.lock().tables.project_state(project))
    }

    async fn events_after(
        &self,
        project: ProjectId,
        agent: Option<AgentId>,
        after: EventId,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let is_wanted = |e: &&Event| e.project == project && agent.is_none_or(|a| e.agent == Some(a)) && e.id > after;
        Ok(self.lock().events.iter().filter(is_wanted).take(limit).cloned().collect())
    }

    async fn commands(&self, project: ProjectId, limit: usize) -> Result<Vec<Command>, StoreError> {
        Ok(self.lock().tables.project_commands(project, limit))
    }

    async fn projects(&self) -> Result<Vec<Project>, StoreError> {
        Ok(self.lock().tables.projects.clone())
    }

    async fn ensure_project(&self, name: &str) -> Result<Project, StoreError> {
        Ok(self.lock().tables.ensure_project(name))
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        Ok(self.lock().tables.keys.clone())
    }

    async fn put_key(&self, key: ApiKey) -> Result<(), StoreError> {
        self.lock().tables.put_key(key);
        Ok(())
    }

    async fn touch_keys(&self, ids: Vec<String>, at: Timestamp) -> Result<(), StoreError> {
        let mut inner = self.lock();
        inner.tables.keys.iter_mut().filter(|key| ids.contains(&key.id)).for_each(|key| key.last_used_at = Some(at));
        Ok(())
    }

    async fn presence(&self) -> Result<PastPresence, StoreError> {
        Ok(self.lock().presence.clone())
    }

    async fn sweep(
        &self,
        memory_before: Timestamp,
        events_before: &[(ProjectId, Timestamp)],
    ) -> Result<(), StoreError> {
        let mut inner = self.lock();
        inner.tables.sweep(memory_before);
        let is_old = |e: &Event| events_before.iter().any(|(project, at)| e.project == *project && e.draft.at < *at);
        inner.events.retain(|e| !is_old(e));
        // The newest gaps are enough: older ones lie before any deadline.
        let too_many = inner.presence.gaps.len().saturating_sub(GAPS_MAX);
        inner.presence.gaps.drain(..too_many);
        Ok(())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
