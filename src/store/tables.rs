//! The decoded tables that live in memory: what loading reads and what a committed write set changes. Both the memory
//! store and the SQLite store (which adds durability) are built on it, so that loading costs nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::seen::Seen;
use super::traces::{Pieces, Traces};
use super::{AgentPage, AgentRow, EventQuery, LoadSet, Loaded, WriteSet};
use crate::model::{
    AgentId, AgentKey, ApiKey, Command, CommandId, Event, EventId, InstanceKey, InstanceRow, MaintenanceWindow,
    Project, ProjectCounts, ProjectId, ProjectState, QuickMap, Registration, ServiceKey, ServiceRow, Timestamp,
    WindowId,
};

/// How many services are remembered over all projects. Beyond it those of which nothing was learned for longest are
/// forgotten, and learned anew when they are heard again.
pub const SERVICES_MAX: usize = 10_000;
/// How many instances of services are remembered over all projects. Beyond it those heard of longest ago are forgotten:
/// what their metrics stand at is then taken anew as it comes.
pub const INSTANCES_MAX: usize = 10_000;
/// How many ended commands stay in memory.
pub const ENDED_COMMANDS_MAX: usize = 10_000;

/// Everything a store keeps decoded in memory. Events are kept here by the memory store only.
#[derive(Debug, Default)]
pub struct Tables {
    pub agents: BTreeMap<AgentId, Arc<AgentRow>>,
    /// Agents by name, their former names included.
    pub(super) by_key: QuickMap<AgentKey, AgentId>,
    /// Former names of agents.
    pub(super) aliases: QuickMap<AgentId, BTreeSet<Arc<str>>>,
    pub registrations: BTreeMap<AgentKey, Registration>,
    pub windows: BTreeMap<WindowId, MaintenanceWindow>,
    /// The highest number of a window ever given out.
    pub last_window: i64,
    pub(super) by_project: QuickMap<ProjectId, BTreeSet<AgentId>>,
    pub(super) counts: QuickMap<ProjectId, ProjectCounts>,
    states: QuickMap<ProjectId, ProjectState>,
    pub(super) deadlines: BTreeSet<(Timestamp, AgentId)>,
    /// The highest number of an agent ever given out.
    pub last_agent: i64,
    pub(super) traces: Traces,
    services: QuickMap<ServiceKey, Arc<ServiceRow>>,
    /// The services by when something was learned of them last.
    learned: BTreeSet<(Timestamp, ServiceKey)>,
    instances: QuickMap<InstanceKey, Arc<InstanceRow>>,
    /// The instances by when something was remembered of them last.
    heard: BTreeSet<(Timestamp, InstanceKey)>,
    /// The instances by when what is held back of them counts.
    instance_deadlines: BTreeSet<(Timestamp, InstanceKey)>,
    seen: Seen,
    pub commands: BTreeMap<CommandId, Command>,
    command_deadlines: BTreeSet<(Timestamp, CommandId)>,
    ended: VecDeque<CommandId>,
    pub projects: Vec<Project>,
    pub keys: Vec<ApiKey>,
}

impl Tables {
    /// Answers a load set. Numbers for agents to be created are reserved, never given out twice.
    pub fn load(&mut self, set: &LoadSet) -> Loaded {
        let mut loaded = Loaded::default();
        for lookup in &set.agents {
            if loaded.agent_ids.contains_key(&lookup.key) {
                continue;
            }
            if let Some(id) = self.by_key.get(&lookup.key) {
                loaded.agent_ids.insert(lookup.key.clone(), *id);
                loaded.agents.insert(*id, self.agents[id].clone());
            } else if lookup.create {
                self.last_agent += 1;
                let id = AgentId(self.last_agent);
                loaded.agent_ids.insert(lookup.key.clone(), id);
                loaded.reserved.insert(id);
                if let Some(registration) = self.registrations.get(&lookup.key) {
                    loaded.registrations.insert(lookup.key.clone(), *registration);
                }
            }
            self.tell_counts(lookup.key.project, &mut loaded);
        }
        for id in &set.agent_ids {
            if let Some(row) = self.agents.get(id) {
                self.tell_counts(row.key.project, &mut loaded);
                loaded.agents.insert(*id, row.clone());
            }
        }
        let traces = set.traces.iter().filter_map(|key| Some((*key, self.traces.get(key)?)));
        loaded.traces = traces.collect();
        let services = set.services.iter().filter_map(|key| Some((key.clone(), self.services.get(key)?.clone())));
        loaded.services = services.collect();
        let instances = set.instances.iter().filter_map(|key| Some((*key, self.instances.get(key)?.clone())));
        loaded.instances = instances.collect();
        loaded.seen = set.dedup.iter().filter(|key| self.seen.contains(key)).copied().collect();
        let wanted = set.commands.iter().filter_map(|id| self.commands.get(id));
        let open = self.command_deadlines.iter().filter_map(|(_, id)| self.commands.get(id));
        let open = open.filter(|c| set.open_commands.contains(&c.project));
        loaded.commands = wanted.chain(open).map(|c| (c.id, c.clone())).collect();
        self.load_windows(set, &mut loaded);
        loaded
    }

    fn tell_counts(&self, project: ProjectId, loaded: &mut Loaded) {
        if !self.registrations.is_empty() {
            loaded.registration_counts.entry(project).or_insert_with(|| self.registrations_of(project).count());
        }
        loaded.counts.entry(project).or_insert_with(|| {
            let (state, counts) = self.project_state(project);
            loaded.projects.insert(project, state);
            counts
        });
    }

    /// What is remembered of a project as a whole, and how its agents are.
    pub fn project_state(&self, project: ProjectId) -> (ProjectState, ProjectCounts) {
        let state = self.states.get(&project).cloned().unwrap_or_default();
        (state, self.counts.get(&project).copied().unwrap_or_default())
    }

    /// Takes in a write set that is durable, and what it changed of traces. Its events are not looked at.
    pub fn apply(&mut self, writes: WriteSet, traces: Pieces) {
        writes.moved.iter().for_each(|(from, into)| self.move_aliases(*from, *into));
        writes.removed.iter().for_each(|id| self.remove_agent(*id));
        for row in writes.agents {
            self.put_agent(row);
        }
        self.states.extend(writes.projects);
        for (key, agent) in writes.aliases {
            self.put_alias(key, agent);
        }
        self.put_rare(writes.registrations, writes.windows);
        for (key, piece) in traces {
            self.traces.put(key, piece);
        }
        for (key, row) in writes.services {
            self.put_service(key, row);
        }
        for (key, row) in writes.instances {
            self.put_instance(key, row);
        }
        writes.dedup.into_iter().for_each(|(key, at)| self.seen.insert(key, at));
        for command in writes.commands {
            self.put_command(command);
        }
    }

    /// Adds or replaces what was learned of a service.
    pub fn put_service(&mut self, key: ServiceKey, row: Arc<ServiceRow>) {
        if let Some(old) = self.services.get(&key) {
            self.learned.remove(&(old.learned_at, key.clone()));
        }
        self.learned.insert((row.learned_at, key.clone()));
        self.services.insert(key, row);
        if self.services.len() > SERVICES_MAX
            && let Some((_, oldest)) = self.learned.pop_first()
        {
            self.services.remove(&oldest);
        }
    }

    /// Adds or replaces what is remembered of an instance.
    pub fn put_instance(&mut self, key: InstanceKey, row: Arc<InstanceRow>) {
        self.forget_instance(key);
        self.heard.insert((row.touched_at, key));
        if row.deadline < Timestamp::MAX {
            self.instance_deadlines.insert((row.deadline, key));
        }
        self.instances.insert(key, row);
        if self.instances.len() > INSTANCES_MAX
            && let Some((_, oldest)) = self.heard.first().copied()
        {
            self.forget_instance(oldest);
        }
    }

    fn forget_instance(&mut self, key: InstanceKey) {
        if let Some(row) = self.instances.remove(&key) {
            self.heard.remove(&(row.touched_at, key));
            self.instance_deadlines.remove(&(row.deadline, key));
        }
    }

    /// Instances whose deadline is `now` or earlier.
    pub fn due_instances(&self, now: Timestamp, limit: usize) -> Vec<InstanceKey> {
        self.instance_deadlines.iter().take_while(|(at, _)| *at <= now).take(limit).map(|(_, key)| *key).collect()
    }

    /// Adds or replaces an agent.
    pub fn put_agent(&mut self, row: Arc<AgentRow>) {
        self.last_agent = self.last_agent.max(row.id.0);
        let (id, deadline) = (row.id, row.state.deadline);
        let before = self.agents.get(&id).map_or_else(ProjectCounts::default, |old| old.state.counts());
        self.counts.entry(row.key.project).or_default().replace(before, row.state.counts());
        match self.agents.insert(id, row.clone()) {
            Some(old) => {
                if old.key != row.key {
                    self.by_key.remove(&old.key);
                    self.by_key.insert(row.key.clone(), id);
                }
                if old.state.deadline != deadline {
                    self.deadlines.remove(&(old.state.deadline, id));
                    self.arm(deadline, id);
                }
            }
            None => {
                self.by_project.entry(row.key.project).or_default().insert(id);
                self.by_key.insert(row.key.clone(), id);
                self.arm(deadline, id);
            }
        }
    }

    fn arm(&mut self, deadline: Timestamp, id: AgentId) {
        if deadline < Timestamp::MAX {
            self.deadlines.insert((deadline, id));
        }
    }

    /// Adds or replaces a command.
    pub fn put_command(&mut self, command: Command) {
        let id = command.id;
        if let Some(old) = self.commands.get(&id) {
            self.command_deadlines.remove(&(command_deadline(old), id));
        }
        if command.state.is_open() {
            self.command_deadlines.insert((command_deadline(&command), id));
        } else {
            self.ended.push_back(id);
            if self.ended.len() > ENDED_COMMANDS_MAX
                && let Some(oldest) = self.ended.pop_front()
            {
                self.commands.remove(&oldest);
            }
        }
        self.commands.insert(id, command);
    }

    /// Agents whose deadline is `now` or earlier.
    pub fn due_agents(&self, now: Timestamp, limit: usize) -> Vec<AgentId> {
        self.deadlines.iter().take_while(|(at, _)| *at <= now).take(limit).map(|(_, id)| *id).collect()
    }

    /// Open commands whose lease or last moment is `now` or earlier.
    pub fn due_commands(&self, now: Timestamp, limit: usize) -> Vec<CommandId> {
        self.command_deadlines.iter().take_while(|(at, _)| *at <= now).take(limit).map(|(_, id)| *id).collect()
    }

    /// A page of a project's agents.
    pub fn page(&self, project: ProjectId, offset: usize, limit: usize) -> AgentPage {
        let Some(ids) = self.by_project.get(&project) else { return AgentPage::default() };
        let rows = ids.iter().skip(offset).take(limit).filter_map(|id| self.agents.get(id).cloned()).collect();
        AgentPage { rows, total: ids.len() as u64 }
    }

    /// Agents after `after`, in order of their number.
    pub fn scan(&self, after: AgentId, limit: usize) -> Vec<Arc<AgentRow>> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.agents.range((Excluded(after), Unbounded)).take(limit).map(|(_, row)| row.clone()).collect()
    }

    /// Commands of a project, newest first: their ids rise with time.
    pub fn project_commands(&self, project: ProjectId, limit: usize) -> Vec<Command> {
        self.commands.values().rev().filter(|c| c.project == project).take(limit).cloned().collect()
    }

    /// Forgets traces untouched and keys seen before `before`.
    pub fn sweep(&mut self, before: Timestamp) {
        self.traces.sweep(before);
        while let Some((heard, oldest)) = self.heard.first().copied()
            && heard < before
        {
            self.forget_instance(oldest);
        }
        self.seen.forget(before);
    }

    /// The project of this name, made when it is missing.
    pub fn ensure_project(&mut self, name: &str) -> Project {
        if let Some(project) = self.projects.iter().find(|p| &*p.name == name) {
            return project.clone();
        }
        let project = Project { id: ProjectId(self.projects.len() as i64 + 1), name: name.into() };
        self.projects.push(project.clone());
        project
    }

    /// Adds a key or replaces the one of the same id.
    pub fn put_key(&mut self, key: ApiKey) {
        self.keys.retain(|k| k.id != key.id);
        self.keys.push(key);
    }
}

/// When an open command is to be looked at: the end of its lease, or the last moment to start it.
fn command_deadline(command: &Command) -> Timestamp {
    command.lease_until.unwrap_or(command.not_after)
}

/// Whether `event` is asked for by `query`, apart from the limit.
pub fn matches(event: &Event, query: &EventQuery) -> bool {
    event.project == query.project
        && query.agent.is_none_or(|agent| event.agent == Some(agent))
        && query.before.is_none_or(|before: EventId| event.id < before)
}
