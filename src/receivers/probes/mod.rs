//! Dependency probes: what agents depend on is asked how it is, and its agents are told.
//!
//! Targets come from the operator's configuration alone. Each is probed on its own beat, begun at a random point of it, at
//! most [`AT_ONCE`] at a time. A target that fails some times in a row is unhealthy: agents assigned to it become degraded
//! ([`DependencyReport`]), and are never restarted for it. While it lasts they are told again, so that what nobody tells of
//! any more lapses by itself.

mod api;
mod client;
mod expect;
mod streak;
mod target;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::clock::{Clock, Stopwatch};
use crate::ids::Ids;
use crate::ingest::Committer;
use crate::ingest::intake::{Intake, Work};
use crate::model::{AgentId, Body, DEPENDENCY_NAME_BYTES_MAX, DependencyReport, ProjectId};
use crate::receivers::Submit;
use crate::store::{Store, StoreError};
use crate::telemetry::{ProbeMetrics, ProcessMetrics};
use client::Prober;
use streak::{Health, Streak};

pub use api::{Dependencies, routes};
pub use target::{Expect, HttpProbe, InProject, Matches, Probe, Target};

/// So many probes run at once.
pub const AT_ONCE: usize = 32;
/// While a target is unhealthy its agents are told again this often; they forget it after five minutes without.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// So many agents are told in one commit, and read at once.
const AGENTS_AT_ONCE: usize = 500;

/// What probes work with.
#[derive(Clone)]
pub struct Probing<S = Committer> {
    /// Where agents are told.
    pub committer: S,
    /// Where agents are found.
    pub store: Arc<dyn Store>,
    /// The clock.
    pub clock: Clock,
    /// Chance, for the first probe.
    pub ids: Ids,
    /// Counters of this process.
    pub metrics: ProcessMetrics,
}

/// Why a target cannot be probed.
#[derive(Debug, thiserror::Error)]
#[error("receivers.probes.{name}: {problem}")]
pub struct ProbeError {
    /// The target.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}

/// A target and what is known of it.
struct Watched {
    target: Target,
    streak: Mutex<Streak>,
}

/// All targets, for those who want to know. Cheap to clone.
#[derive(Clone, Default)]
pub struct Board(Arc<Vec<Arc<Watched>>>);

impl<S: Submit> Probing<S> {
    /// Starts to probe `targets` until `stop` becomes true.
    pub fn start(
        &self,
        targets: Vec<Target>,
        stop: &watch::Receiver<bool>,
    ) -> Result<(Board, Vec<JoinHandle<()>>), ProbeError> {
        let (mut board, mut tasks) = (Vec::new(), Vec::new());
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        for target in targets {
            let prober =
                Prober::new(&target).map_err(|problem| ProbeError { name: target.name.to_string(), problem })?;
            let watched = Arc::new(Watched { target, streak: Mutex::default() });
            tasks.push(self.watch(watched.clone(), prober, permits.clone(), stop));
            board.push(watched);
        }
        Ok((Board(Arc::new(board)), tasks))
    }

    fn watch(
        &self,
        watched: Arc<Watched>,
        prober: Prober,
        permits: Arc<Semaphore>,
        stop: &watch::Receiver<bool>,
    ) -> JoinHandle<()> {
        let metrics = self.metrics.probe(&watched.target.name);
        let watcher = Watcher { probing: self.clone(), watched, prober, permits, metrics, told: None };
        tokio::spawn(watcher.run(stop.clone()))
    }
}

/// The task of one target.
struct Watcher<S> {
    probing: Probing<S>,
    watched: Arc<Watched>,
    prober: Prober,
    permits: Arc<Semaphore>,
    metrics: ProbeMetrics,
    /// What its agents were told last, and when.
    told: Option<(Health, Stopwatch)>,
}

impl<S: Submit> Watcher<S> {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        // Targets are probed at different times, and at other ones than by the gateway next door.
        let mut wait = self.watched.target.interval.mul_f64(self.probing.ids.fraction());
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let round = Stopwatch::start();
            tokio::select! {
                () = self.round() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            wait = self.watched.target.interval.saturating_sub(round.elapsed());
        }
    }

    async fn round(&mut self) {
        // It is never closed.
        let Ok(permit) = self.permits.clone().acquire_owned().await else { return };
        let watch = Stopwatch::start();
        let result = self.prober.probe(self.watched.target.timeout).await;
        let took = watch.elapsed();
        drop(permit);
        let health = self.note(result.map(|()| took), took);
        if self.is_to_tell(health) {
            match self.tell(health).await {
                Ok(()) => self.told = Some((health, Stopwatch::start())),
                Err(why) => {
                    info!(dependency = %self.watched.target.name, why, "agents could not be told; trying again")
                }
            }
        }
    }

    fn note(&self, result: Result<Duration, String>, took: Duration) -> Health {
        let target = &self.watched.target;
        let mut streak = self.watched.streak.lock().unwrap_or_else(PoisonError::into_inner);
        let was = streak.health;
        let changed = streak.observe(result, target.failures, self.probing.clock.now());
        let health = streak.health;
        self.metrics.probed(
            took,
            streak.failures == 0,
            (health != Health::Unknown).then_some(health == Health::Healthy),
        );
        match (changed, health) {
            (true, Health::Unhealthy) => {
                let error = streak.last_error.as_ref().map_or("", |(_, why)| why);
                warn!(dependency = %target.name, failures = streak.failures, error, "a dependency is unhealthy");
            }
            (true, Health::Healthy) if was == Health::Unhealthy => {
                info!(dependency = %target.name, "a dependency is healthy again");
            }
            _ => {}
        }
        health
    }

    fn is_to_tell(&self, health: Health) -> bool {
        match (health, self.told) {
            (Health::Unknown, _) => false,
            (Health::Unhealthy, Some((Health::Unhealthy, at))) => at.elapsed() >= TELL_EVERY,
            (_, Some((before, _))) => before != health,
            // Also that it is healthy: before the gateway was started anew it may not have been.
            (_, None) => true,
        }
    }

    async fn tell(&self, health: Health) -> Result<(), String> {
        let target = &self.watched.target;
        let message = {
            let streak = self.watched.streak.lock().unwrap_or_else(PoisonError::into_inner);
            streak.last_error.as_ref().map_or_else(String::new, |(_, why)| why.clone())
        };
        let healthy = health == Health::Healthy;
        let report = DependencyReport {
            name: target.name.to_string(),
            healthy,
            message: if healthy { String::new() } else { message },
        };
        let mut after = AgentId(0);
        loop {
            let (agents, last) = self.agents(after, healthy).await.map_err(|e| e.to_string())?;
            if !agents.is_empty() {
                let work = Work::Tell { agents, body: Body::Dependency(report.clone()) };
                let intake = Intake { project: ProjectId(0), dedup: None, bytes: 1, work };
                self.probing.committer.submit(intake).await.map_err(|e| e.to_string())?;
            }
            match last {
                Some(last) => after = last,
                None => return Ok(()),
            }
        }
    }

    /// Some of the agents that depend on the target, and where to go on. Of recovery only those are told that know of the
    /// trouble.
    async fn agents(&self, after: AgentId, healthy: bool) -> Result<(Vec<AgentId>, Option<AgentId>), StoreError> {
        let target = &self.watched.target;
        let name = &target.name[..target.name.floor_char_boundary(DEPENDENCY_NAME_BYTES_MAX)];
        let rows = self.probing.store.scan_agents(after, AGENTS_AT_ONCE).await?;
        let last = if rows.len() < AGENTS_AT_ONCE { None } else { rows.last().map(|row| row.id) };
        let knows = |row: &crate::store::AgentRow| row.state.dependencies.iter().any(|d| &*d.name == name);
        let told = rows.iter().filter(|row| (target.in_project)(row.key.project) && (target.matches)(&row.key.name));
        Ok((told.filter(|row| !healthy || knows(row)).map(|row| row.id).collect(), last))
    }
}
