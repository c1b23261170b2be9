//! The rarer tables in memory: former names of agents, agents that end, names that wait, maintenance windows.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use super::tables::Tables;
use super::{AgentRow, LoadSet, Loaded};
use crate::model::{AgentId, AgentKey, Covers, MaintenanceWindow, ProjectCounts, ProjectId, Registration, WindowId};

/// How alike two names must be to be told as "did you mean", from 0 to 1.
const SIMILAR_MIN: f64 = 0.8;
/// How many names are looked at for that.
const SIMILAR_LOOKS_MAX: usize = 20_000;

impl Tables {
    /// Takes an agent out, with its former names.
    pub(super) fn remove_agent(&mut self, id: AgentId) {
        let Some(row) = self.agents.remove(&id) else { return };
        let project = row.key.project;
        self.counts.entry(project).or_default().replace(row.state.counts(), ProjectCounts::default());
        self.deadlines.remove(&(row.state.deadline, id));
        if let Some(ids) = self.by_project.get_mut(&project) {
            ids.remove(&id);
        }
        for name in self.aliases.remove(&id).into_iter().flatten().chain([row.key.name.clone()]) {
            let key = AgentKey { project, name };
            if self.by_key.get(&key) == Some(&id) {
                self.by_key.remove(&key);
            }
        }
    }

    /// Gives the former names of an agent to another one.
    pub(super) fn move_aliases(&mut self, from: AgentId, into: AgentId) {
        let Some(project) = self.agents.get(&from).map(|row| row.key.project) else { return };
        let names = self.aliases.remove(&from).unwrap_or_default();
        for name in &names {
            self.by_key.insert(AgentKey { project, name: name.clone() }, into);
        }
        self.aliases.entry(into).or_default().extend(names);
    }

    /// Makes `key` another name of an agent, or no longer one.
    pub(super) fn put_alias(&mut self, key: AgentKey, agent: Option<AgentId>) {
        let holder = self.by_key.get(&key).copied();
        if let Some(names) = holder.and_then(|id| self.aliases.get_mut(&id)) {
            names.remove(&key.name);
        }
        if holder.and_then(|id| self.agents.get(&id)).is_some_and(|row| row.key == key) {
            // A name in use is not a former one.
            return;
        }
        self.by_key.remove(&key);
        if let Some(id) = agent {
            self.aliases.entry(id).or_default().insert(key.name.clone());
            self.by_key.insert(key, id);
        }
    }

    /// Takes in changes of what changes rarely.
    pub(super) fn put_rare(
        &mut self,
        registrations: Vec<(AgentKey, Option<Registration>)>,
        windows: Vec<(WindowId, Option<MaintenanceWindow>)>,
    ) {
        replace(&mut self.registrations, registrations);
        for (id, _) in &windows {
            self.last_window = self.last_window.max(id.0);
        }
        replace(&mut self.windows, windows);
    }

    /// Answers the part of a load set that is about windows.
    pub(super) fn load_windows(&mut self, set: &LoadSet, loaded: &mut Loaded) {
        if set.new_windows > 0 {
            let first = self.last_window + 1;
            self.last_window += set.new_windows as i64;
            loaded.new_windows = (first..=self.last_window).rev().map(WindowId).collect();
            for window in self.windows.values() {
                *loaded.window_counts.entry(window.project).or_default() += 1;
            }
        }
        let found = set.windows.iter().filter_map(|id| self.windows.get(id));
        loaded.windows = found.map(|window| (window.id, window.clone())).collect();
        if !set.windows_of.is_empty() {
            let own = |w: &&MaintenanceWindow| matches!(w.covers, Covers::Agent(id) if set.windows_of.contains(&id));
            loaded.windows.extend(self.windows.values().filter(own).map(|w| (w.id, w.clone())));
        }
    }

    /// Names of a project that wait or were turned away, in order.
    pub(super) fn registrations_of(&self, project: ProjectId) -> impl Iterator<Item = (&AgentKey, &Registration)> {
        let from = AgentKey { project, name: "".into() };
        self.registrations.range(from..).take_while(move |(key, _)| key.project == project)
    }

    /// Agents of a project after `after`.
    pub(super) fn project_agents(&self, project: ProjectId, after: AgentId, limit: usize) -> Vec<Arc<AgentRow>> {
        let Some(ids) = self.by_project.get(&project) else { return Vec::new() };
        let ids = ids.range((Excluded(after), Unbounded)).take(limit);
        ids.filter_map(|id| self.agents.get(id).cloned()).collect()
    }

    /// The agent of this name or former name.
    pub(super) fn agent_named(&self, key: &AgentKey) -> Option<Arc<AgentRow>> {
        self.agents.get(self.by_key.get(key)?).cloned()
    }

    /// The former names of an agent, in order.
    pub(super) fn aliases_of(&self, id: AgentId) -> Vec<Arc<str>> {
        self.aliases.get(&id).into_iter().flatten().cloned().collect()
    }

    /// The name of the project that is most like `name`, if one is like it at all.
    pub(super) fn similar_name(&self, project: ProjectId, name: &str) -> Option<Arc<str>> {
        let ids = self.by_project.get(&project)?.iter().take(SIMILAR_LOOKS_MAX);
        let names = ids.filter_map(|id| Some(&self.agents.get(id)?.key.name));
        // Names of very different lengths are not typing mistakes of each other, and most are passed over so.
        let near = names.filter(|known| known.len().abs_diff(name.len()) <= 3);
        let lower = name.to_lowercase();
        let rated = near.map(|known| (strsim::normalized_damerau_levenshtein(&known.to_lowercase(), &lower), known));
        let best = rated.filter(|(rate, _)| *rate >= SIMILAR_MIN).max_by(|a, b| a.0.total_cmp(&b.0));
        best.map(|(_, known)| known.clone())
    }
}

fn replace<K: Ord, V>(table: &mut BTreeMap<K, V>, changes: Vec<(K, Option<V>)>) {
    for (key, value) in changes {
        match value {
            Some(value) => drop(table.insert(key, value)),
            None => drop(table.remove(&key)),
        }
    }
}
