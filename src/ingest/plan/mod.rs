//! The plan: what was loaded and what is asked for in, what to write and what to answer out. Plain code over plain data;
//! nothing here waits, reads a clock or can fail.

mod absorb;
mod administer;
mod agents;
mod commands;
mod history;
mod identity;
mod instances;
mod notices;
mod registration;
mod spans;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::health::{Effects, Moment};
use crate::ids::Ids;
use crate::model::{
    Actor, AgentId, AgentKey, Command, CommandId, DedupKey, InstanceKey, InstanceRow, MaintenanceWindow, Money,
    Observation, Policy, PolicyPatch, Presence, ProjectBudget, ProjectCounts, ProjectId, ProjectState, QuickMap,
    QuickSet, Registration, RegistrationMode, ServiceKey, ServiceRow, Standing, Timestamp, TraceKey, TraceRow,
    TraceSpans, WindowId,
};
use crate::store::{AgentLookup, AgentRow, LoadSet, Loaded, NewEvent, WriteSet};

use self::spans::Touched;
use super::administer::Change;
use super::intake::{Intake, Outcome, Refusal, Work};
use super::traces::{self, TraceRules};

/// What the configuration says, as far as a plan needs it.
pub trait Rules: Send + Sync + 'static {
    /// The policy of an agent with these settings of its own.
    fn policy(&self, project: ProjectId, agent: &str, settings: &PolicyPatch) -> Arc<Policy>;
    /// What the configuration sets for an agent of this name, layer over layer, each with what it is called; values that
    /// no layer sets are built in.
    fn policy_layers(&self, _project: ProjectId, _agent: &str) -> Vec<(String, PolicyPatch)> {
        Vec::new()
    }
    /// How many agents the project may have.
    fn agents_max(&self, project: ProjectId) -> u64;
    /// What the project may spend as a whole; `None` when nobody said.
    fn project_budget(&self, _project: ProjectId) -> Option<ProjectBudget> {
        None
    }
    /// What happens to names that are new to the project.
    fn registration(&self, _: ProjectId) -> RegistrationMode {
        RegistrationMode::Open
    }
    /// How commands are handed out.
    fn commands(&self) -> CommandRules;
    /// How long is waited for spans that do not come.
    fn traces(&self) -> TraceRules {
        TraceRules::default()
    }
    /// For each project, before when its events are forgotten.
    fn events_before(&self, now: Timestamp) -> Vec<(ProjectId, Timestamp)>;
}

/// How commands are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandRules {
    /// Nobody may start a command this long after it was queued.
    pub ttl: Duration,
    /// How long a runner's result is awaited.
    pub lease: Duration,
}

/// What a plan knows besides what was loaded.
pub struct Context<'a> {
    /// The time now, one for the whole batch.
    pub now: Timestamp,
    /// By how much `now` is ahead of the wall clock: what senders dated seems that much older than it is.
    pub ahead: Duration,
    /// When the gateway was accepting.
    pub presence: &'a Presence,
    /// No automatic restart before this time.
    pub restarts_from: Timestamp,
    /// What the configuration says.
    pub rules: &'a dyn Rules,
    /// Where command ids come from.
    pub ids: &'a Ids,
}

/// What to load first: everything that does not depend on what is found.
pub fn first_load(batch: &[Intake]) -> LoadSet {
    let mut set = LoadSet::default();
    for intake in batch {
        set.dedup.extend(intake.dedup);
        match intake.work.inner() {
            Work::Spans { traces, .. } => {
                set.traces.extend(traces.iter().map(|t| TraceKey { project: intake.project, trace: t.trace }));
                // Mostly all are of one service and of one instance.
                for part in traces.chunk_by(|a, b| a.service == b.service && a.teller == b.teller) {
                    set.services.push(ServiceKey { project: intake.project, name: part[0].service.clone() });
                    set.instances.extend(instances::key(intake.project, part[0].teller));
                }
            }
            Work::TraceDeadlines(due) => {
                for (trace, service) in due {
                    set.traces.push(*trace);
                    set.services.push(ServiceKey { project: trace.project, name: service.clone() });
                    set.instances.push(instances::of_trace(*trace));
                }
            }
            Work::Measured { measured, .. } => {
                for (key, measured) in measured {
                    set.dedup.push(*key);
                    set.services.push(ServiceKey { project: intake.project, name: measured.service.clone() });
                    set.instances.push(InstanceKey { project: intake.project, instance: measured.instance });
                }
            }
            Work::InstanceDeadlines(due) => set.instances.extend(due),
            Work::Notices(notices) => set.dedup.extend(notices.iter().filter_map(|n| n.dedup)),
            Work::HandOut { .. } | Work::Restart { .. } => set.open_commands.push(intake.project),
            Work::CommandResult { id, .. } => set.commands.push(*id),
            Work::CommandDeadlines(ids) => set.commands.extend(ids),
            Work::Administer(change) => match &**change {
                // The open commands of an agent that ends are called off; windows that were for it alone end or follow.
                Change::Merge { from: id, .. } | Change::Remove(id) => {
                    set.open_commands.push(intake.project);
                    set.windows_of.push(*id);
                }
                Change::PutWindow(window) if window.id == WindowId(0) => set.new_windows += 1,
                Change::PutWindow(MaintenanceWindow { id, .. }) | Change::DropWindow(id) => set.windows.push(*id),
                _ => {}
            },
            _ => {}
        }
    }
    set
}

/// What to load then: the agents.
pub fn second_load(batch: &[Intake], first: &Loaded) -> LoadSet {
    let mut set = LoadSet::default();
    // Names that traces lead to. Mostly the same ones again and again, so that each is looked at once.
    let mut names: Vec<(ProjectId, Arc<str>)> = Vec::new();
    let mut trace_agents = |project, trace, spans: Option<&TraceSpans>, service: &Arc<str>| {
        let row = first.traces.get(&TraceKey { project, trace });
        let known = first.services.get(&ServiceKey { project, name: service.clone() }).map(|known| &**known);
        for name in traces::possible_agents(row, spans, known) {
            let is_known = |(p, n): &(ProjectId, Arc<str>)| *p == project && (Arc::ptr_eq(n, name) || n == name);
            if !names.iter().rev().take(4).any(is_known) {
                names.push((project, name.clone()));
            }
        }
    };
    set.agent_ids.extend(first.commands.values().map(|c| c.agent));
    for intake in batch {
        let lookup =
            |name: &str, create| AgentKey::lenient(intake.project, name).map(|key| AgentLookup { key, create });
        match intake.work.inner() {
            Work::Observe(observations) => {
                set.agents.extend(observations.iter().map(|o| AgentLookup { key: o.agent.clone(), create: true }));
            }
            Work::ObserveKnown(observations) => {
                set.agents.extend(observations.iter().map(|o| AgentLookup { key: o.agent.clone(), create: false }));
            }
            Work::Spans { traces, .. } => {
                traces.iter().for_each(|s| trace_agents(intake.project, s.trace, Some(s), &s.service));
            }
            Work::TraceDeadlines(due) => {
                due.iter().for_each(|(key, service)| trace_agents(key.project, key.trace, None, service));
            }
            Work::Measured { measured, .. } => {
                for (_, measured) in measured {
                    let service = ServiceKey { project: intake.project, name: measured.service.clone() };
                    let known = first.services.get(&service).and_then(|known| known.only());
                    let named = measured.points.iter().filter_map(|point| point.agent.as_deref());
                    let names = named.chain(known.map(|only| &**only)).chain([&*measured.service]);
                    set.agents.extend(names.filter_map(|name| lookup(name, true)));
                }
            }
            Work::InstanceDeadlines(due) => {
                for (key, row) in due.iter().filter_map(|key| Some((key, first.instances.get(key)?))) {
                    let keys = row.held.keys().filter_map(|name| AgentKey::lenient(key.project, name));
                    set.agents.extend(keys.map(|key| AgentLookup { key, create: true }));
                }
            }
            Work::Notices(notices) => {
                let names = notices.iter().flat_map(|n| &n.candidates);
                set.agents.extend(names.filter_map(|c| lookup(&c.name, false)));
            }
            Work::Restart { agent, .. } | Work::Settings { agent, .. } | Work::Pause { agent, .. } => {
                set.agent_ids.push(*agent);
            }
            Work::Deadlines(ids) | Work::Tell { agents: ids, .. } => set.agent_ids.extend(ids),
            Work::Administer(change) => match &**change {
                Change::Rename { agent, name } => {
                    set.agent_ids.push(*agent);
                    set.agents.push(AgentLookup { key: name.clone(), create: false });
                }
                Change::Merge { from, into } => set.agent_ids.extend([from, into]),
                Change::Remove(agent) => set.agent_ids.push(*agent),
                Change::Register(key) | Change::TurnAway { name: key, .. } => {
                    set.agents.push(AgentLookup { key: key.clone(), create: true });
                }
                _ => {}
            },
            Work::HandOut { .. } | Work::CommandResult { .. } | Work::CommandDeadlines(_) | Work::Presence(_) => {}
            // What is inside was looked at.
            Work::Audited(_) => {}
        }
    }
    names.sort_unstable();
    names.dedup();
    let lookup = |(project, name): &(ProjectId, Arc<str>)| {
        Some(AgentLookup { key: AgentKey::shared(*project, name)?, create: true })
    };
    set.agents.extend(names.iter().filter_map(lookup));
    // One order for all, so that two gateways on one database cannot wait for each other.
    set.agents.sort_by(|a, b| a.key.cmp(&b.key).then(b.create.cmp(&a.create)));
    set.agents.dedup_by(|later, first| later.key == first.key);
    set.agent_ids.sort_unstable();
    set.agent_ids.dedup();
    set
}

/// Decides a whole batch: one answer for each intake, and what to write.
pub fn plan(batch: Vec<Intake>, first: Loaded, second: Loaded, context: &Context<'_>) -> (Vec<Outcome>, WriteSet) {
    let mut planner = Planner::new(first, second, context);
    let outcomes = batch.into_iter().map(|intake| planner.take(intake)).collect();
    (outcomes, planner.finish())
}

/// The batch's working copy of everything it touches.
struct Planner<'a> {
    context: &'a Context<'a>,
    agent_ids: QuickMap<AgentKey, AgentId>,
    agents: QuickMap<AgentId, Arc<AgentRow>>,
    counts: QuickMap<ProjectId, ProjectCounts>,
    projects: QuickMap<ProjectId, ProjectState>,
    /// The projects of which something changed as a whole.
    changed_projects: BTreeSet<ProjectId>,
    /// Changed agents, in the order of their first change.
    changed: Vec<AgentId>,
    is_changed: QuickSet<AgentId>,
    traces: QuickMap<TraceKey, TraceRow>,
    /// What changed of them.
    touched: BTreeMap<TraceKey, Touched>,
    services: QuickMap<ServiceKey, Arc<ServiceRow>>,
    changed_services: BTreeSet<ServiceKey>,
    instances: QuickMap<InstanceKey, Arc<InstanceRow>>,
    changed_instances: BTreeSet<InstanceKey>,
    seen: QuickSet<DedupKey>,
    commands: BTreeMap<CommandId, Command>,
    changed_commands: QuickSet<CommandId>,
    registrations: QuickMap<AgentKey, Registration>,
    registration_counts: QuickMap<ProjectId, usize>,
    windows: QuickMap<WindowId, MaintenanceWindow>,
    /// Numbers reserved for new windows, the next one last.
    new_windows: Vec<WindowId>,
    window_counts: QuickMap<ProjectId, usize>,
    /// Who asked for what is being done, if anybody has to answer for it.
    actor: Option<Actor>,
    writes: WriteSet,
}

impl<'a> Planner<'a> {
    fn new(first: Loaded, second: Loaded, context: &'a Context<'a>) -> Self {
        Self {
            context,
            agent_ids: second.agent_ids,
            agents: second.agents,
            counts: second.counts,
            projects: second.projects,
            changed_projects: BTreeSet::new(),
            changed: Vec::new(),
            is_changed: QuickSet::default(),
            traces: first.traces,
            touched: BTreeMap::new(),
            services: first.services,
            changed_services: BTreeSet::new(),
            instances: first.instances,
            changed_instances: BTreeSet::new(),
            seen: first.seen,
            commands: first.commands.into_iter().collect(),
            changed_commands: QuickSet::default(),
            registrations: second.registrations,
            registration_counts: second.registration_counts,
            windows: first.windows,
            new_windows: first.new_windows,
            window_counts: first.window_counts,
            actor: None,
            writes: WriteSet::default(),
        }
    }

    fn take(&mut self, intake: Intake) -> Outcome {
        let Intake { project, dedup, work, .. } = intake;
        let is_duplicate = dedup.is_some_and(|key| !self.first_time(key));
        match work {
            // A repeated heartbeat is answered like the first one, from the state as it is.
            Work::Observe(observations) if is_duplicate => Outcome::Observed(self.observe_again(&observations)),
            _ if is_duplicate => Outcome::Duplicate,
            Work::Observe(observations) => {
                Outcome::Observed(observations.into_iter().map(|o| self.observe(&o)).collect())
            }
            Work::ObserveKnown(observations) => {
                Outcome::Observed(observations.into_iter().map(|o| self.observe_known(&o)).collect())
            }
            Work::Spans { received_at, traces } => self.spans(project, received_at, traces),
            Work::Measured { received_at, measured } => self.measured(project, received_at, measured),
            Work::InstanceDeadlines(due) => {
                due.into_iter().for_each(|key| self.instance_deadline(key));
                Outcome::Done
            }
            Work::Notices(notices) => {
                Outcome::Noticed(notices.into_iter().map(|notice| self.notice(project, notice)).collect())
            }
            Work::Restart { agent, reason, during_maintenance } => {
                Outcome::Restart(self.restart(project, agent, reason, during_maintenance))
            }
            Work::HandOut { peer } => Outcome::Commands(self.hand_out(project, &peer)),
            Work::CommandResult { id, verdict, peer, message } => {
                Outcome::Result(self.command_result(project, id, verdict, &peer, message))
            }
            Work::Settings { agent, settings, only_if } => {
                Outcome::Changed(self.set(project, agent, *settings, only_if))
            }
            Work::Pause { agent, paused } => Outcome::Changed(self.pause(project, agent, paused)),
            Work::Tell { agents, body } => {
                agents.into_iter().for_each(|id| self.tell(id, body.clone()));
                Outcome::Done
            }
            Work::Deadlines(ids) => {
                ids.into_iter().for_each(|id| self.deadline(id));
                Outcome::Done
            }
            Work::CommandDeadlines(ids) => {
                ids.into_iter().for_each(|id| self.command_deadline(id));
                Outcome::Done
            }
            Work::TraceDeadlines(due) => {
                due.into_iter().for_each(|(key, service)| self.trace_deadline(key, service));
                Outcome::Done
            }
            Work::Administer(change) => Outcome::Administered(self.administer(project, *change)),
            Work::Audited(audited) => self.audited(project, *audited),
            Work::Presence(presence) => {
                self.writes.presence = Some(presence);
                Outcome::Done
            }
        }
    }

    /// Remembers `key`; whether it had not been seen before.
    fn first_time(&mut self, key: DedupKey) -> bool {
        let is_new = self.seen.insert(key);
        if is_new {
            self.writes.dedup.push((key, self.context.now));
        }
        is_new
    }

    /// Puts an observation through the health core and takes in what follows.
    fn apply(&mut self, id: AgentId, observation: &Observation) {
        self.advance_history(id);
        let Some(row) = self.agents.get_mut(&id) else { return };
        let rules = self.context.rules;
        let policy = rules.policy(row.key.project, &row.key.name, &row.settings);
        let (project, now) = (row.key.project, self.context.now);
        let state = self.projects.entry(project).or_default();
        let counts = self.counts.entry(project).or_default();
        let limits = rules.project_budget(project);
        if let Some(limits) = limits.as_ref().filter(|_| state.over_budget) {
            // Time alone can end an overrun.
            crate::health::spent(state, Money::default(), limits, now);
            self.changed_projects.insert(project);
        }
        let moment = Moment {
            now,
            presence: self.context.presence,
            restarts_from: self.context.restarts_from,
            group_silent: crate::health::is_group_silent(counts),
            fleet: crate::health::fleet(state, counts, now),
        };
        let row = Arc::make_mut(row);
        let (before, standing, cost) = (row.state.counts(), Standing::of(row.state.status), row.state.totals.cost);
        let effects = crate::health::apply(&mut row.state, observation, &policy, &moment);
        if Standing::of(row.state.status) != standing {
            row.history.account(moment.now, standing, moment.presence);
        }
        let was_grouped = counts.grouped > 0;
        counts.replace(before, row.state.counts());
        let mut told = Vec::new();
        if !was_grouped && counts.grouped > 0 {
            told.push(crate::health::group_event(counts, now));
        }
        let spent = row.state.totals.cost.map(|all| all.minus(cost.unwrap_or_default()));
        if let (Some(limits), Some(spent)) = (limits, spent.filter(|spent| *spent > Money::default())) {
            told.extend(crate::health::spent(state, spent, &limits, now));
            self.changed_projects.insert(project);
        }
        self.writes.events.extend(told.into_iter().map(|draft| NewEvent { project, agent: None, draft }));
        if self.is_changed.insert(id) {
            self.changed.push(id);
        }
        self.follow(id, effects);
    }

    fn follow(&mut self, id: AgentId, effects: Effects) {
        let Some(project) = self.agents.get(&id).map(|row| row.key.project) else { return };
        for draft in effects.events {
            self.writes.events.push(NewEvent { project, agent: Some(id), draft });
        }
        if let Some(wish) = effects.restart {
            self.queue_restart(id, wish.origin, wish.reason);
        }
    }

    /// An agent of this project, by number.
    fn of_project(&self, project: ProjectId, id: AgentId) -> Result<&Arc<AgentRow>, Refusal> {
        self.agents.get(&id).filter(|row| row.key.project == project).ok_or(Refusal::NoAgent)
    }

    /// An agent to be changed.
    fn change(&mut self, id: AgentId) -> Result<&mut AgentRow, Refusal> {
        let row = self.agents.get_mut(&id).ok_or(Refusal::NoAgent)?;
        if self.is_changed.insert(id) {
            self.changed.push(id);
        }
        Ok(Arc::make_mut(row))
    }

    fn finish(mut self) -> WriteSet {
        self.writes.agents = self.changed.iter().filter_map(|id| self.agents.remove(id)).collect();
        let projects = self.changed_projects.iter();
        self.writes.projects = projects.filter_map(|id| Some((*id, self.projects.remove(id)?))).collect();
        let touched = self.touched.into_iter();
        self.writes.traces =
            touched.filter_map(|(key, touched)| Some((key, touched.delta(self.traces.remove(&key)?)))).collect();
        let services = self.changed_services.into_iter();
        self.writes.services = services.filter_map(|key| Some((key.clone(), self.services.remove(&key)?))).collect();
        let instances = self.changed_instances.into_iter();
        self.writes.instances = instances.filter_map(|key| Some((key, self.instances.remove(&key)?))).collect();
        let changed = &self.changed_commands;
        self.writes.commands = self.commands.into_values().filter(|c| changed.contains(&c.id)).collect();
        self.writes
    }
}

#[cfg(test)]
mod tests;
