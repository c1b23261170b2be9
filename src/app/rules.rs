//! The configuration as the plan asks for it: by project number.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::config::{Config, DEFAULT_PROJECT};
use crate::http::auth::Rates;
use crate::ingest::{CommandRules, Rules, TraceRules};
use crate::model::{Policy, PolicyPatch, Project, ProjectBudget, ProjectId, RegistrationMode, Timestamp};
use crate::receivers::otlp::naming::Projects;

/// The configuration, with the names of projects that exist by now.
pub struct ConfigRules {
    config: Arc<Config>,
    names: ArcSwap<HashMap<ProjectId, Arc<str>>>,
}

impl ConfigRules {
    pub fn new(config: Arc<Config>) -> Self {
        Self { config, names: ArcSwap::default() }
    }

    /// Takes in which projects exist.
    pub fn know(&self, projects: Vec<Project>) {
        self.names.store(Arc::new(projects.into_iter().map(|p| (p.id, p.name)).collect()));
    }

    /// How many requests each key of a project may make.
    pub fn rates(&self, project: ProjectId) -> Rates {
        self.with_name(project, |name| {
            let project = self.config.project(name);
            Rates { requests: Some(project.rate_limit_per_minute), telemetry: project.otlp_rate_limit_per_minute }
        })
    }

    /// The name of a project.
    pub fn project_name(&self, project: ProjectId) -> Option<Arc<str>> {
        self.names.load().get(&project).cloned()
    }

    fn with_name<T>(&self, project: ProjectId, use_it: impl FnOnce(&str) -> T) -> T {
        use_it(self.names.load().get(&project).map_or(DEFAULT_PROJECT, |name| name))
    }
}

impl Projects for ConfigRules {
    fn name(&self, project: ProjectId) -> Option<Arc<str>> {
        self.project_name(project)
    }

    fn find(&self, name: &str) -> Option<ProjectId> {
        self.names.load().iter().find(|(_, known)| &***known == name).map(|(id, _)| *id)
    }
}

impl Rules for ConfigRules {
    fn policy(&self, project: ProjectId, agent: &str, settings: &PolicyPatch) -> Arc<Policy> {
        self.with_name(project, |name| self.config.policy_for(name, agent, settings))
    }

    fn policy_layers(&self, project: ProjectId, agent: &str) -> Vec<(String, PolicyPatch)> {
        self.with_name(project, |name| self.config.policy_layers(name, agent))
    }

    fn agents_max(&self, project: ProjectId) -> u64 {
        self.with_name(project, |name| self.config.project(name).max_agents.into())
    }

    fn project_budget(&self, project: ProjectId) -> Option<ProjectBudget> {
        self.with_name(project, |name| self.config.project(name).budget.clone())
    }

    fn registration(&self, project: ProjectId) -> RegistrationMode {
        self.with_name(project, |name| self.config.project(name).registration)
    }

    fn commands(&self) -> CommandRules {
        CommandRules { ttl: self.config.control.command_ttl, lease: self.config.control.lease }
    }

    fn traces(&self) -> TraceRules {
        let traces = &self.config.receivers.otlp_traces;
        TraceRules { hold: traces.hold, run_ends_after: Some(traces.run_ends_after) }
    }

    fn events_before(&self, now: Timestamp) -> Vec<(ProjectId, Timestamp)> {
        let days = |name: &str| self.config.project(name).retention_days;
        let kept = |name: &str| Duration::from_secs(u64::from(days(name)) * 86_400);
        self.names.load().iter().map(|(id, name)| (*id, now.minus(kept(name)))).collect()
    }
}
