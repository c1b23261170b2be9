//! After a start the configuration may say something else than before: agents whose stored deadline is too late by it, or
//! whose status is another one by it, are judged at once, not only at their next signal.

use std::sync::Arc;

use tracing::warn;

use super::Evaluator;
use crate::health::{self, Fleet, Moment};
use crate::ingest::{Rules, Work};
use crate::model::{AgentId, Body, Observation, Presence, Source, Timestamp};
use crate::store::{AgentRow, StoreError};

/// Agents looked at in one go; others get their turn in between.
const CHUNK: usize = 1000;

impl Evaluator {
    /// Looks once at every agent. Only those that the configuration now judges differently are written.
    pub(super) async fn rearm(&self) {
        if let Err(error) = self.rearm_all().await {
            warn!(%error, "could not look at all agents after the start; each is judged at its next signal or deadline");
        }
    }

    async fn rearm_all(&self) -> Result<(), StoreError> {
        for project in self.store.projects().await? {
            let mut after = AgentId(0);
            loop {
                let rows = self.store.project_agents(project.id, after, CHUNK).await?;
                let Some(last) = rows.last() else { break };
                after = last.id;
                let now = self.clock.now();
                let presence = self.presence.at(now);
                let is_touched = |row: &&Arc<AgentRow>| is_touched(row, &*self.rules, &presence, now);
                let agents: Vec<_> = rows.iter().filter(is_touched).map(|row| row.id).collect();
                if !agents.is_empty() {
                    self.submit(Work::Tell { agents, body: Body::DeadlinePassed }).await;
                }
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }
}

/// Whether the agent must be judged before its stored deadline.
fn is_touched(row: &AgentRow, rules: &dyn Rules, presence: &Presence, now: Timestamp) -> bool {
    let policy = rules.policy(row.key.project, &row.key.name, &row.settings);
    let mut state = row.state.clone();
    // Only to find out: what the whole project says is looked up when the agent is really judged.
    let moment = Moment { now, presence, restarts_from: Timestamp::MAX, group_silent: false, fleet: Fleet::default() };
    let passing = Observation {
        agent: row.key.clone(),
        received_at: now,
        at: None,
        source: Source::Gateway,
        body: Body::DeadlinePassed,
    };
    health::apply(&mut state, &passing, &policy, &moment);
    state.deadline < row.state.deadline || state.status != row.state.status
}
