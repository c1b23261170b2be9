//! Observations, settings and deadlines of single agents.

use std::sync::Arc;

use super::Planner;
use crate::health;
use crate::ingest::intake::{Refusal, Seen};
use crate::model::{AgentId, AgentKey, Body, Observation, PolicyPatch, ProjectId, Source};

impl Planner<'_> {
    /// Takes in one observation; the agent comes to exist if need be.
    pub(super) fn observe(&mut self, observation: &Observation) -> Result<Seen, Refusal> {
        let id = self.find_or_create(&observation.agent)?;
        self.apply(id, observation);
        self.look(&observation.agent)
    }

    /// Takes in one observation of an agent that has to exist.
    pub(super) fn observe_known(&mut self, observation: &Observation) -> Result<Seen, Refusal> {
        let known = self.agent_ids.get(&observation.agent).copied().filter(|id| self.agents.contains_key(id));
        self.apply(known.ok_or(Refusal::NoAgent)?, observation);
        self.look(&observation.agent)
    }

    /// Answers observations that were handed in before, from the state as it is. An agent that does not exist was
    /// refused then, so that what is told of it has not counted yet.
    pub(super) fn observe_again(&mut self, observations: &[Observation]) -> Vec<Result<Seen, Refusal>> {
        let known: Vec<bool> = observations.iter().map(|o| self.look(&o.agent).is_ok()).collect();
        let answer = |(o, known): (&Observation, bool)| if known { self.look(&o.agent) } else { self.observe(o) };
        observations.iter().zip(known).map(answer).collect()
    }

    /// How the agent is, without changing anything.
    pub(super) fn look(&self, key: &AgentKey) -> Result<Seen, Refusal> {
        let row = self.agent_ids.get(key).and_then(|id| self.agents.get(id)).ok_or(Refusal::NoAgent)?;
        let state = &row.state;
        let warning = health::warning(state);
        let reason = warning.map_or_else(String::new, |_| {
            let policy = self.context.rules.policy(key.project, &row.key.name, &row.settings);
            health::reason(state, &policy, self.context.now)
        });
        Ok(Seen { agent: row.id, status: state.status, warning, reason })
    }

    pub(super) fn find_or_create(&mut self, key: &AgentKey) -> Result<AgentId, Refusal> {
        let id = *self.agent_ids.get(key).ok_or(Refusal::NoAgent)?;
        if !self.agents.contains_key(&id) {
            self.admit(key)?;
            self.create(id, key)?;
        }
        Ok(id)
    }

    /// Replaces an agent's settings and judges it anew; with `only_if` only those of that version.
    pub(super) fn set(
        &mut self,
        project: ProjectId,
        id: AgentId,
        settings: PolicyPatch,
        only_if: Option<u64>,
    ) -> Result<(), Refusal> {
        if only_if.is_some_and(|version| self.agents.get(&id).is_some_and(|row| row.version() != version)) {
            self.of_project(project, id)?;
            return Err(Refusal::Stale);
        }
        self.of_project(project, id)?;
        self.change(id)?.settings = Arc::new(settings);
        self.tell(id, Body::PolicyChanged);
        Ok(())
    }

    /// Pauses or resumes an agent.
    pub(super) fn pause(&mut self, project: ProjectId, id: AgentId, paused: bool) -> Result<(), Refusal> {
        if self.of_project(project, id)?.state.life.paused != paused {
            self.tell(id, Body::Paused(paused));
        }
        Ok(())
    }

    /// A deadline may have passed. Claimed twice, or moved meanwhile: then there is nothing to do.
    pub(super) fn deadline(&mut self, id: AgentId) {
        if self.agents.get(&id).is_some_and(|row| row.state.deadline <= self.context.now) {
            self.tell(id, Body::DeadlinePassed);
        }
    }

    /// Tells an agent's state something that the gateway itself knows.
    pub(super) fn tell(&mut self, id: AgentId, body: Body) {
        let Some(agent) = self.agents.get(&id).map(|row| row.key.clone()) else { return };
        let received_at = self.context.now;
        let source = if matches!(body, Body::Dependency(_)) { Source::Probe } else { Source::Gateway };
        self.apply(id, &Observation { agent, received_at, at: None, source, body });
    }
}
