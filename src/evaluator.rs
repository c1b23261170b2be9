//! Finds what is due: silence is a stored deadline, and time passing is one more observation through the same plan.
//!
//! It also watches the gateway itself: its ticks say that signals could be accepted, and it keeps the gateway's time with
//! the wall clock. Time in which nothing could be accepted is never held against an agent.

mod maintenance;
mod rearm;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::clock::{Clock, Stopwatch};
use crate::ingest::{Committer, Intake, Rules, SharedPresence, Work};
use crate::model::{Presence, ProjectId, Timestamp};
use crate::store::{HistoryBefore, PresenceWrite, Store, StoreError};
use crate::telemetry::ProcessMetrics;
use maintenance::Keeper;

/// How often the evaluator looks for what is due.
pub const PERIOD: Duration = Duration::from_secs(1);
/// How often the gateway's presence is written down: an unclean end costs agents at most this much credit.
const PRESENCE_EVERY: Duration = Duration::from_secs(5);
/// How many deadlines one intake carries.
const DUE_MAX: usize = 1000;
/// How many such intakes one round hands in.
const INTAKES_MAX: usize = 100;
/// How often old memory and old events are forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How often it is told that spans are forgotten early.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How long minutes of the history are kept; hours are kept as long as events.
const MINUTES_KEPT: Duration = Duration::from_secs(86_400);

/// The evaluator.
pub struct Evaluator {
    /// Where deadlines are.
    pub store: Arc<dyn Store>,
    /// Where their passing is handed in.
    pub committer: Committer,
    /// The clock.
    pub clock: Clock,
    /// When the gateway was accepting.
    pub presence: SharedPresence,
    /// Counters of this process.
    pub metrics: ProcessMetrics,
    /// How long events are kept.
    pub rules: Arc<dyn Rules>,
    /// How long spans of open traces and keys of what has been counted are remembered.
    pub memory: Duration,
}

/// What earlier runs of the gateway tell of its presence, continued by this run which starts now. Should the wall clock
/// have been set back meanwhile, the time goes on from where it was.
pub async fn restore_presence(store: &dyn Store, clock: &Clock) -> Result<Presence, StoreError> {
    let past = store.presence().await?;
    past.alive_at.into_iter().for_each(|alive_at| clock.begin_at(alive_at));
    let now = clock.now();
    let away = past.alive_at.map(|alive_at| (alive_at, now));
    Ok(Presence::new(now, past.gaps.into_iter().chain(away)))
}

impl Evaluator {
    /// Runs until `stop` becomes true, then writes down the gateway's presence once more.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut since_presence = Stopwatch::start();
        let mut since_sweep = Stopwatch::start();
        let mut since_told = None;
        let mut keeper = Keeper::default();
        // Gaps of earlier runs, the one that this start ended included, are written down at once.
        let mut written = Vec::new();
        self.note_presence(&mut written).await;
        self.rearm().await;
        loop {
            tokio::select! {
                () = self.clock.tick(&mut ticks) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            self.clock.follow_wall(|from, to| self.presence.jump(from, to));
            let now = self.clock.now();
            self.presence.tick(now);
            // While the store refuses, each tick tries whether it still does.
            let is_news = self.presence.is_refusing() || self.presence.at(now).gaps() != written;
            if is_news || since_presence.elapsed() >= PRESENCE_EVERY {
                since_presence = Stopwatch::start();
                self.note_presence(&mut written).await;
            }
            self.round().await;
            self.maintain(&mut keeper).await;
            self.bound_memory(&mut since_told).await;
            if since_sweep.elapsed() >= SWEEP_EVERY {
                since_sweep = Stopwatch::start();
                self.sweep().await;
            }
        }
        self.note_presence(&mut written).await;
    }

    /// Writes down that the gateway is there, and the gaps that are not in `written` yet.
    async fn note_presence(&self, written: &mut Vec<(Timestamp, Timestamp)>) {
        let alive_at = self.clock.now();
        let presence = self.presence.at(alive_at);
        let gaps = presence.gaps().iter().filter(|gap| !written.contains(gap)).copied().collect();
        if self.submit(Work::Presence(PresenceWrite { alive_at, gaps })).await {
            *written = presence.gaps().to_vec();
        }
    }

    async fn sweep(&self) {
        let now = self.clock.now();
        let events_before = self.rules.events_before(now);
        let hour = |at: Timestamp| at.as_secs().div_euclid(3600);
        let history = |(project, hours): &(ProjectId, Timestamp)| {
            // Where less than a day is kept in all, minutes are no exception.
            let minutes = hour(now.minus(MINUTES_KEPT)).max(hour(*hours));
            HistoryBefore { project: *project, minutes, hours: hour(*hours) }
        };
        let history = events_before.iter().map(history).collect();
        let swept = match self.store.sweep(now.minus(self.memory), &events_before).await {
            Ok(()) => self.store.sweep_history(history).await,
            Err(error) => Err(error),
        };
        if let Err(error) = swept {
            warn!(%error, "could not forget what is old; trying again later");
        }
    }

    /// Makes room when spans come faster than they can be remembered for as long as is promised.
    async fn bound_memory(&self, since_told: &mut Option<Stopwatch>) {
        match self.store.bound_memory().await {
            Ok(gone) if gone.blocks > 0 => {
                self.metrics.spans_forgotten(gone.bytes);
                // Under such a load this happens every few seconds.
                if since_told.as_ref().is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                    *since_told = Some(Stopwatch::start());
                    warn!(
                        blocks = gone.blocks, bytes = gone.bytes, promised = ?self.memory,
                        "spans come faster than they can be remembered: the oldest were forgotten early; one of them that is \
                         sent again would count again (store.sqlite.spans_bytes_max)"
                    );
                }
            }
            Ok(_) => {}
            Err(error) => warn!(%error, "could not make room for the memory of spans; trying again"),
        }
    }

    /// One look at maintenance windows.
    async fn maintain(&self, keeper: &mut Keeper) {
        match keeper.look(&*self.store, self.clock.now()).await {
            Ok(told) => {
                for work in told {
                    self.submit(work).await;
                }
            }
            Err(error) => warn!(%error, "could not look at maintenance windows"),
        }
    }

    /// One look at everything that is due.
    pub async fn round(&self) {
        let watch = Stopwatch::start();
        let now = self.clock.now();
        self.due_agents(now).await;
        match self.store.due_commands(now, DUE_MAX).await {
            Ok(due) if due.is_empty() => {}
            Ok(due) => drop(self.submit(Work::CommandDeadlines(due)).await),
            Err(error) => warn!(%error, "could not look for due commands"),
        }
        match self.store.due_traces(now, DUE_MAX).await {
            Ok(due) if due.is_empty() => {}
            Ok(due) => drop(self.submit(Work::TraceDeadlines(due)).await),
            Err(error) => warn!(%error, "could not look for due traces"),
        }
        match self.store.due_instances(now, DUE_MAX).await {
            Ok(due) if due.is_empty() => {}
            Ok(due) => drop(self.submit(Work::InstanceDeadlines(due)).await),
            Err(error) => warn!(%error, "could not look for due instances"),
        }
        self.metrics.evaluator_run(watch.elapsed());
    }

    /// Hands in every agent that is due, so that a large fleet is not judged later and later.
    async fn due_agents(&self, now: Timestamp) {
        for _ in 0..INTAKES_MAX {
            match self.store.due_agents(now, DUE_MAX).await {
                Ok(due) if due.is_empty() => return,
                Ok(due) => {
                    let is_last = due.len() < DUE_MAX;
                    if !self.submit(Work::Deadlines(due)).await || is_last {
                        return;
                    }
                }
                Err(error) => {
                    warn!(%error, "could not look for due agents");
                    return;
                }
            }
        }
    }

    /// Whether it was kept. What was not is still due at the next round.
    async fn submit(&self, work: Work) -> bool {
        let intake = Intake { project: ProjectId(0), dedup: None, bytes: 1, work };
        match self.committer.submit(intake).await {
            Ok(_) => true,
            Err(error) => {
                info!(%error, "evaluator could not hand in; trying again");
                false
            }
        }
    }
}
