//! Tells agents when a maintenance window begins to hold for them, changes its end, or is taken back. That it ends is a
//! deadline of theirs, and needs no telling.

use std::collections::BTreeSet;

use crate::ingest::Work;
use crate::model::{AgentId, Body, MaintenanceWindow, ProjectId, Timestamp, WindowId};
use crate::store::{AgentRow, Store, StoreError};

/// Agents looked at in one go.
const CHUNK: usize = 1000;
/// While a window holds, agents that are new under it are looked for at every so many looks.
const LOOKS: u32 = 10;

/// What is known from the looks before.
#[derive(Debug, Default)]
pub struct Keeper {
    /// The windows that held at the last look, with when they end.
    held: BTreeSet<(WindowId, Timestamp)>,
    /// The windows as they were at the last look.
    windows: Vec<MaintenanceWindow>,
    /// Looks since all agents were looked at; `None` before the first.
    looks: Option<u32>,
}

impl Keeper {
    /// What is to be told at `now`. To be asked about once a second.
    ///
    /// Agents are looked at when a window began or changed, and every [`LOOKS`] while one holds.
    pub async fn look(&mut self, store: &dyn Store, now: Timestamp) -> Result<Vec<Work>, StoreError> {
        let windows = store.windows().await?;
        if windows.is_empty() && self.windows.is_empty() && self.looks.is_some() {
            return Ok(Vec::new());
        }
        let holds = |w: &MaintenanceWindow| w.when.holds_until(now).map(|until| (w.id, until));
        let held: BTreeSet<_> = windows.iter().filter_map(holds).collect();
        let looks = self.looks.map_or(LOOKS, |n| n + 1);
        let is_changed = held != self.held || windows != self.windows;
        if !is_changed && (held.is_empty() || looks < LOOKS) {
            self.looks = Some(looks.min(LOOKS));
            return Ok(Vec::new());
        }
        let mut told = Vec::new();
        // Also projects whose last window is gone: their agents must hear of it.
        let mut projects: BTreeSet<ProjectId> = windows.iter().chain(&self.windows).map(|w| w.project).collect();
        if self.looks.is_none() {
            // After a restart nobody knows what held before.
            projects.extend(store.projects().await?.into_iter().map(|p| p.id));
        }
        for project in projects {
            let ends = |w: &MaintenanceWindow| held.iter().find(|(id, _)| *id == w.id).map(|(_, until)| *until);
            let active: Vec<_> =
                windows.iter().filter(|w| w.project == project).filter_map(|w| Some((w, ends(w)?))).collect();
            let mut after = AgentId(0);
            loop {
                let rows = store.project_agents(project, after, CHUNK).await?;
                let Some(last) = rows.last() else { break };
                after = last.id;
                told.extend(tell(rows.iter().map(|row| &**row), &active, now));
            }
        }
        (self.held, self.windows, self.looks) = (held, windows, Some(0));
        Ok(told)
    }
}

/// What the agents of one project must be told, joined by what it is.
fn tell<'a>(
    rows: impl Iterator<Item = &'a AgentRow>,
    active: &[(&MaintenanceWindow, Timestamp)],
    now: Timestamp,
) -> Vec<Work> {
    let mut told: Vec<(Option<Timestamp>, Vec<AgentId>)> = Vec::new();
    for row in rows {
        let covering = active.iter().filter(|(w, _)| w.covers(row.key.project, row.id, &row.key.name));
        let until = covering.map(|(_, until)| *until).max();
        let known = row.state.life.maintenance_until;
        // One that is over ends by itself.
        if until == known || (until.is_none() && known.is_some_and(|known| known <= now)) {
            continue;
        }
        match told.iter_mut().find(|(told, _)| *told == until) {
            Some((_, ids)) => ids.push(row.id),
            None => told.push((until, vec![row.id])),
        }
    }
    told.into_iter().map(|(until, agents)| Work::Tell { agents, body: Body::Maintenance(until) }).collect()
}
