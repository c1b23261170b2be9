//! Where everything is kept. A transaction is *load set → pure plan → write set*; stores are dumb.
//!
//! A store never decides anything about agents: [`Store::begin`] hands out what the plan asked for and keeps it from
//! changing until [`Transaction::commit`]; commit makes the whole write set durable or nothing of it.

mod compact;
mod error;
pub mod memory;
mod seen;
pub mod sqlite;
mod tables;
mod tables_names;
mod traces;

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;

use crate::model::{
    AgentId, AgentKey, AgentState, ApiKey, AuditDraft, AuditRow, Command, CommandId, DedupKey, Event, EventDraft,
    EventId, History, InstanceKey, InstanceRow, MaintenanceWindow, PolicyPatch, Project, ProjectCounts, ProjectId,
    ProjectState, QuickMap, QuickSet, Registration, Rollup, ServiceKey, ServiceRow, Timestamp, TraceDelta, TraceKey,
    TraceRow, WindowId,
};

pub use error::StoreError;

/// What a plan needs to see.
#[derive(Clone, Debug, Default)]
pub struct LoadSet {
    /// Agents by name.
    pub agents: Vec<AgentLookup>,
    /// Agents by number.
    pub agent_ids: Vec<AgentId>,
    /// Traces, where known.
    pub traces: Vec<TraceKey>,
    /// What was learned of these services.
    pub services: Vec<ServiceKey>,
    /// What is remembered of these instances of services.
    pub instances: Vec<InstanceKey>,
    /// Which of these have been seen before.
    pub dedup: Vec<DedupKey>,
    /// Commands by id.
    pub commands: Vec<CommandId>,
    /// All open commands of these projects.
    pub open_commands: Vec<ProjectId>,
    /// Maintenance windows by number.
    pub windows: Vec<WindowId>,
    /// Maintenance windows that are for one of these agents alone.
    pub windows_of: Vec<AgentId>,
    /// How many numbers for new windows are wanted.
    pub new_windows: usize,
}

/// An agent looked up by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AgentLookup {
    /// Its name.
    pub key: AgentKey,
    /// Whether a missing agent gets a number, so that the plan can write it.
    pub create: bool,
}

/// One agent as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentRow {
    /// Its number.
    pub id: AgentId,
    /// Its project and name.
    pub key: AgentKey,
    /// When it was first heard of.
    pub created_at: Timestamp,
    /// What was set for it by hand; the rest comes from the configuration.
    pub settings: Arc<PolicyPatch>,
    /// What is remembered of it.
    pub state: AgentState,
    /// Its history as far as it is not written as rollups.
    pub history: History,
}

/// `settings`, kept once for all agents for which nothing is set: that is most of them.
pub fn shared(settings: PolicyPatch) -> Arc<PolicyPatch> {
    static NOTHING_SET: LazyLock<Arc<PolicyPatch>> = LazyLock::new(Arc::default);
    if settings == **NOTHING_SET { NOTHING_SET.clone() } else { Arc::new(settings) }
}

impl AgentRow {
    /// The row of an agent first heard of at `now`.
    pub fn new(id: AgentId, key: AgentKey, now: Timestamp) -> Self {
        let state = AgentState { deadline: Timestamp::MAX, ..AgentState::default() };
        Self { id, key, created_at: now, settings: shared(PolicyPatch::default()), state, history: History::default() }
    }

    /// Names what can be set about the agent as it is now: another one as soon as any of it changes.
    pub fn version(&self) -> u64 {
        // Settings always become JSON.
        let settings = serde_json::to_string(&*self.settings).unwrap_or_default();
        crate::model::digest64(format!("{}\n{settings}", self.key.name).as_bytes())
    }
}

/// What a plan was given.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The agents found, by number.
    pub agents: QuickMap<AgentId, Arc<AgentRow>>,
    /// Numbers of the agents found or reserved, by name.
    pub agent_ids: QuickMap<AgentKey, AgentId>,
    /// Numbers reserved for agents that do not exist. They come to exist when the plan writes them.
    pub reserved: QuickSet<AgentId>,
    /// How many agents each project of the load set has, and how many are silent.
    pub counts: QuickMap<ProjectId, ProjectCounts>,
    /// What is remembered of each of these projects as a whole.
    pub projects: QuickMap<ProjectId, ProjectState>,
    /// The traces found.
    pub traces: QuickMap<TraceKey, TraceRow>,
    /// What was learned of the services found.
    pub services: QuickMap<ServiceKey, Arc<ServiceRow>>,
    /// What is remembered of the instances found.
    pub instances: QuickMap<InstanceKey, Arc<InstanceRow>>,
    /// The keys that have been seen before.
    pub seen: QuickSet<DedupKey>,
    /// The commands found.
    pub commands: QuickMap<CommandId, Command>,
    /// Of the names looked up that are no agents, those that wait for approval or were turned away.
    pub registrations: QuickMap<AgentKey, Registration>,
    /// How many names of each project of the load set wait or were turned away.
    pub registration_counts: QuickMap<ProjectId, usize>,
    /// The windows asked for.
    pub windows: QuickMap<WindowId, MaintenanceWindow>,
    /// The numbers reserved for new windows.
    pub new_windows: Vec<WindowId>,
    /// How many windows each project has.
    pub window_counts: QuickMap<ProjectId, usize>,
}

/// What a plan wants written, all or nothing. Where order matters: projects come first, then agents change hands and
/// go, then the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriteSet {
    /// Agents, each at most once: new ones and changed ones.
    pub agents: Vec<Arc<AgentRow>>,
    /// Projects as a whole, each at most once: changed ones.
    pub projects: Vec<(ProjectId, ProjectState)>,
    /// Traces, each at most once.
    pub traces: Vec<(TraceKey, TraceDelta)>,
    /// Services of which something was learned, each at most once.
    pub services: Vec<(ServiceKey, Arc<ServiceRow>)>,
    /// Instances of services of which something changed, each at most once.
    pub instances: Vec<(InstanceKey, Arc<InstanceRow>)>,
    /// Keys seen, and when.
    pub dedup: Vec<(DedupKey, Timestamp)>,
    /// Events in order; the store numbers them.
    pub events: Vec<NewEvent>,
    /// Commands, each at most once: new ones and changed ones.
    pub commands: Vec<Command>,
    /// Agents whose events and history go to another agent of the same project: from, into.
    pub moved: Vec<(AgentId, AgentId)>,
    /// Agents that end, with their events, history and aliases.
    pub removed: Vec<AgentId>,
    /// Further names of agents, and names that are no longer any (`None`).
    pub aliases: Vec<(AgentKey, Option<AgentId>)>,
    /// Finished pieces of history.
    pub rollups: Vec<Rollup>,
    /// Names that wait or were turned away, and names that do no longer (`None`).
    pub registrations: Vec<(AgentKey, Option<Registration>)>,
    /// Maintenance windows: new and changed ones, and those that are gone (`None`).
    pub windows: Vec<(WindowId, Option<MaintenanceWindow>)>,
    /// Projects to make, where missing.
    pub new_projects: Vec<Arc<str>>,
    /// Keys: new ones and changed ones.
    pub keys: Vec<ApiKey>,
    /// What is added to the audit chain, in order.
    pub audit: Vec<AuditDraft>,
    /// Until when the gateway is known to have been accepting, and gaps found since the last write.
    pub presence: Option<PresenceWrite>,
}

/// An event that has no number yet.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// The project it belongs to.
    pub project: ProjectId,
    /// The agent it is about, if any.
    pub agent: Option<AgentId>,
    /// What happened.
    pub draft: EventDraft,
}

/// What is kept of the gateway's own presence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceWrite {
    /// The gateway was accepting until now.
    pub alive_at: Timestamp,
    /// Gaps found.
    pub gaps: Vec<(Timestamp, Timestamp)>,
}

/// What is known of the gateway's presence in earlier runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PastPresence {
    /// When it was last known to accept; `None` on the very first start.
    pub alive_at: Option<Timestamp>,
    /// Gaps found in earlier runs, oldest first.
    pub gaps: Vec<(Timestamp, Timestamp)>,
}

impl WriteSet {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A page of agents.
#[derive(Clone, Debug, Default)]
pub struct AgentPage {
    /// The rows, by number.
    pub rows: Vec<Arc<AgentRow>>,
    /// How many there are in all.
    pub total: u64,
}

/// Which events to read: newest first.
#[derive(Clone, Debug)]
pub struct EventQuery {
    /// Of this project.
    pub project: ProjectId,
    /// Only of this agent.
    pub agent: Option<AgentId>,
    /// Only older than this one.
    pub before: Option<EventId>,
    /// At most this many.
    pub limit: usize,
}

/// Which pieces of one agent's history to read.
#[derive(Clone, Debug)]
pub struct RollupQuery {
    /// The agent's project.
    pub project: ProjectId,
    /// Whose.
    pub agent: AgentId,
    /// Minutes rather than hours.
    pub minutes: bool,
    /// The hours, counted from the epoch.
    pub hours: std::ops::Range<i64>,
}

/// Which rows of the audit chain to read: newest first.
#[derive(Clone, Debug)]
pub struct AuditQuery {
    /// Only those that concern this project.
    pub project: Option<ProjectId>,
    /// Only older than this one.
    pub before: i64,
    /// At most this many.
    pub limit: usize,
}

/// Before which hour a project's history is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryBefore {
    /// The project.
    pub project: ProjectId,
    /// Its minutes before this hour, counted from the epoch.
    pub minutes: i64,
    /// Its hours before this hour.
    pub hours: i64,
}

/// What was forgotten before its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// How many blocks of spans, one a commit.
    pub blocks: u64,
    /// What they took, in bytes.
    pub bytes: u64,
}

impl Forgotten {
    /// Adds what was forgotten besides.
    pub const fn add(&mut self, more: Self) {
        self.blocks += more.blocks;
        self.bytes += more.bytes;
    }
}

/// A place where everything is kept. One conformance suite (`tests/store`) holds for every store.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Begins a transaction: what `set` names is loaded and cannot change until the transaction ends. Dropping the
    /// transaction without a commit changes nothing.
    async fn begin(&self, set: LoadSet) -> Result<(Loaded, Box<dyn Transaction>), StoreError>;

    /// Agents whose deadline is `now` or earlier, oldest deadline first.
    async fn due_agents(&self, now: Timestamp, limit: usize) -> Result<Vec<AgentId>, StoreError>;

    /// Open commands whose lease or last moment to start is `now` or earlier.
    async fn due_commands(&self, now: Timestamp, limit: usize) -> Result<Vec<CommandId>, StoreError>;

    /// Traces whose deadline is `now` or earlier, oldest deadline first, each with its service.
    async fn due_traces(&self, now: Timestamp, limit: usize) -> Result<Vec<(TraceKey, Arc<str>)>, StoreError>;

    /// Instances whose deadline is `now` or earlier, oldest deadline first.
    async fn due_instances(&self, now: Timestamp, limit: usize) -> Result<Vec<InstanceKey>, StoreError>;

    /// One agent.
    async fn agent(&self, id: AgentId) -> Result<Option<Arc<AgentRow>>, StoreError>;

    /// Agents of a project in order of their number, from `offset`.
    async fn agents(&self, project: ProjectId, offset: usize, limit: usize) -> Result<AgentPage, StoreError>;

    /// Agents of a project in order of their number, after `after`: for looking through all of them in chunks.
    async fn project_agents(
        &self,
        project: ProjectId,
        after: AgentId,
        limit: usize,
    ) -> Result<Vec<Arc<AgentRow>>, StoreError>;

    /// The agent of this name, or known under it before.
    async fn agent_named(&self, key: &AgentKey) -> Result<Option<Arc<AgentRow>>, StoreError>;

    /// The name of an agent of the project that a person may have meant by `name`.
    async fn similar_name(&self, project: ProjectId, name: &str) -> Result<Option<Arc<str>>, StoreError>;

    /// The other names an agent is known under, in order.
    async fn aliases(&self, id: AgentId) -> Result<Vec<Arc<str>>, StoreError>;

    /// Names of a project that wait for approval or were turned away, in order.
    async fn registrations(&self, project: ProjectId) -> Result<Vec<(Arc<str>, Registration)>, StoreError>;

    /// Maintenance windows of all projects, in order of their number.
    async fn windows(&self) -> Result<Vec<MaintenanceWindow>, StoreError>;

    /// Finished pieces of one agent's history, in order of their hour. What is not finished is in the agent's row.
    async fn rollups(&self, query: RollupQuery) -> Result<Vec<Rollup>, StoreError>;

    /// Forgets old history.
    async fn sweep_history(&self, before: Vec<HistoryBefore>) -> Result<(), StoreError>;

    /// Rows of the audit chain, newest first.
    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRow>, StoreError>;

    /// Agents of all projects in order of their number, after `after`: for metrics, in chunks.
    async fn scan_agents(&self, after: AgentId, limit: usize) -> Result<Vec<Arc<AgentRow>>, StoreError>;

    /// Events, newest first.
    async fn events(&self, query: EventQuery) -> Result<Vec<Event>, StoreError>;

    /// What is remembered of a project as a whole, and how its agents are.
    async fn project_state(&self, project: ProjectId) -> Result<(ProjectState, ProjectCounts), StoreError>;

    /// Events of a project, or of one of its agents, whose number is higher than `after`: the oldest first, at most `limit`.
    async fn events_after(
        &self,
        project: ProjectId,
        agent: Option<AgentId>,
        after: EventId,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        // From the newest one back, a page at a time; a store that can read forwards does.
        let (mut found, mut before) = (VecDeque::new(), None);
        loop {
            let page = self.events(EventQuery { project, agent, before, limit: limit.max(1) }).await?;
            let Some(last) = page.last().map(|event| event.id) else { break };
            for event in page.into_iter().filter(|event| event.id > after) {
                found.push_front(event);
            }
            found.truncate(limit);
            if last <= after {
                break;
            }
            before = Some(last);
        }
        Ok(found.into())
    }

    /// Commands of a project, newest first.
    async fn commands(&self, project: ProjectId, limit: usize) -> Result<Vec<Command>, StoreError>;

    /// All projects.
    async fn projects(&self) -> Result<Vec<Project>, StoreError>;

    /// The project of this name, made when it is missing.
    async fn ensure_project(&self, name: &str) -> Result<Project, StoreError>;

    /// All keys, revoked ones included.
    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError>;

    /// Adds a key or replaces the one of the same id.
    async fn put_key(&self, key: ApiKey) -> Result<(), StoreError>;

    /// Notes that the keys of these ids were used at `at`. Ids that are not known are passed over.
    async fn touch_keys(&self, ids: Vec<String>, at: Timestamp) -> Result<(), StoreError>;

    /// What is known of the gateway's own presence.
    async fn presence(&self) -> Result<PastPresence, StoreError>;

    /// Forgets traces untouched and dedup keys seen before `memory_before`, and each project's events before its time.
    async fn sweep(&self, memory_before: Timestamp, events_before: &[(ProjectId, Timestamp)])
    -> Result<(), StoreError>;

    /// Forgets the oldest of what is remembered of spans, younger than [`Store::sweep`] would, as far as it takes more room
    /// than it may; tells what went.
    async fn bound_memory(&self) -> Result<Forgotten, StoreError> {
        Ok(Forgotten::default())
    }

    /// Whether the store can be read and written right now.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// An open transaction.
#[async_trait]
pub trait Transaction: Send {
    /// Loads more: what a plan needs can depend on what it was given first.
    async fn load(&mut self, set: LoadSet) -> Result<Loaded, StoreError>;

    /// Makes all of `writes` durable, or nothing.
    async fn commit(self: Box<Self>, writes: WriteSet) -> Result<(), StoreError>;
}
