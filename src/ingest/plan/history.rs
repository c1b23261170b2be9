//! History: finished minutes and hours of agents go with the batch that finds them finished.

use super::Planner;
use crate::model::{AgentId, Rollup};

impl Planner<'_> {
    /// Brings an agent's history up to now, before something is told of it. Within a minute this is one comparison.
    pub(super) fn advance_history(&mut self, id: AgentId) {
        let (now, presence) = (self.context.now, self.context.presence);
        let Some(row) = self.agents.get_mut(&id).filter(|row| row.history.is_behind(now)) else { return };
        let row = std::sync::Arc::make_mut(row);
        let project = row.key.project;
        let pieces = row.history.advance(now, &row.state, presence);
        self.writes.rollups.extend(pieces.into_iter().map(|(hour, slot, body)| Rollup {
            project,
            agent: id,
            origin: id,
            hour,
            slot,
            body,
        }));
    }
}
