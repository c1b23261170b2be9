//! The committer: one lane that turns what is handed in into commits.
//!
//! Batches form by themselves: while one commit is in flight the next one fills, and what has arrived by then is read
//! before it begins ([`gather`]); there is no linger timer. The queue is bounded in count and in bytes; what does not fit
//! is refused at once, so that pressure is felt by the senders.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tracing::{error, warn};

use super::intake::{Intake, Outcome, Refusal, Seen};
use super::plan::{Context, Rules, first_load, plan, second_load};
use super::presence::SharedPresence;
use crate::clock::{Clock, Stopwatch};
use crate::http::ApiError;
use crate::ids::Ids;
use crate::model::ProjectId;
use crate::store::{Loaded, Store, StoreError};
use crate::telemetry::{CommitFailure, ProcessMetrics};

/// A full queue or a store out of reach should be better after this time, in seconds.
const RETRY_AFTER_SECS: u64 = 1;
/// How often the sockets are looked at before a commit, as long as that brings something.
const LOOKS_MAX: usize = 8;
/// A commit of so many bytes is worth its price, and looks at the sockets once.
const WORTHWHILE_BYTES: usize = 64 << 10;

/// What a committer works with.
pub struct CommitterConfig {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// What the configuration says.
    pub rules: Arc<dyn Rules>,
    /// The clock.
    pub clock: Clock,
    /// Where ids come from.
    pub ids: Ids,
    /// When the gateway was accepting.
    pub presence: SharedPresence,
    /// How long after its start the gateway asks for no automatic restart.
    pub start_grace: Duration,
    /// Counters of this process.
    pub metrics: ProcessMetrics,
    /// How many intakes may wait.
    pub queue_requests_max: usize,
    /// How many bytes may wait.
    pub queue_bytes_max: usize,
    /// How many intakes one commit takes.
    pub batch_requests_max: usize,
}

/// A handle to hand things in. Cheap to clone; the lane ends when the last handle is gone and the queue is empty.
#[derive(Clone)]
pub struct Committer {
    queue: mpsc::Sender<Job>,
    room: Room,
    /// Counts the commits that made events.
    news: watch::Receiver<u64>,
    store: Arc<dyn Store>,
}

/// How much more may wait.
#[derive(Clone)]
struct Room {
    requests: Arc<Semaphore>,
    requests_max: usize,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    presence: SharedPresence,
    metrics: ProcessMetrics,
}

struct Job {
    intake: Intake,
    reply: oneshot::Sender<Result<Outcome, SubmitError>>,
    _request: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// Why something was not taken in. Nothing of it was kept, unless [`SubmitError::Unavailable`] says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Too much waits already: try again later.
    #[error("the gateway is at capacity; try again in {retry_after_secs} s")]
    Overloaded {
        /// When to try again.
        retry_after_secs: u64,
    },
    /// The store cannot be written.
    #[error("{0}")]
    Unavailable(String),
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopping,
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        let retry_after = match error {
            SubmitError::Overloaded { retry_after_secs } => retry_after_secs,
            _ => RETRY_AFTER_SECS,
        };
        Self::unavailable(error.to_string(), retry_after)
    }
}

impl Committer {
    /// Starts the lane. The task ends when every handle is gone.
    pub fn start(config: CommitterConfig) -> (Self, tokio::task::JoinHandle<()>) {
        let (queue, jobs) = mpsc::channel(config.queue_requests_max);
        let room = Room {
            requests: Arc::new(Semaphore::new(config.queue_requests_max)),
            requests_max: config.queue_requests_max,
            bytes: Arc::new(Semaphore::new(config.queue_bytes_max)),
            bytes_max: config.queue_bytes_max,
            presence: config.presence.clone(),
            metrics: config.metrics.clone(),
        };
        let store = config.store.clone();
        let (tell, news) = watch::channel(0);
        let lane = tokio::spawn(run(config, room.clone(), jobs, tell));
        (Self { queue, room, news, store }, lane)
    }

    /// Changes whenever a commit has made events: a wake-up for those who read them from the store.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.clone()
    }

    /// Hands something in and waits until it is durable.
    pub async fn submit(&self, intake: Intake) -> Result<Outcome, SubmitError> {
        let project = intake.project;
        let (request, bytes) = self.room.take(intake.bytes)?;
        let (reply, answer) = oneshot::channel();
        let job = Job { intake, reply, _request: request, _bytes: bytes };
        self.queue.try_send(job).map_err(|_| SubmitError::Stopping)?;
        let mut outcome = answer.await.unwrap_or(Err(SubmitError::Stopping))?;
        if let Outcome::Observed(seen) = &mut outcome {
            self.suggest(project, seen).await;
        }
        Ok(outcome)
    }

    /// Tells senders whose agents were refused which names they may have meant: on their time, not the lane's.
    async fn suggest(&self, project: ProjectId, seen: &mut [Result<Seen, Refusal>]) {
        for refusal in seen.iter_mut().filter_map(|result| result.as_mut().err()) {
            if let Refusal::NotRegistered { name, near } | Refusal::AwaitsApproval { name, near } = refusal {
                // Without an answer there is no suggestion, and the refusal stands all the same.
                *near = self.store.similar_name(project, name).await.unwrap_or(None);
            }
        }
    }
}

impl Room {
    /// Takes room for one request of `bytes`, or says that there is none.
    fn take(&self, bytes: usize) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), SubmitError> {
        let overloaded = |_| {
            self.presence.shed();
            SubmitError::Overloaded { retry_after_secs: RETRY_AFTER_SECS }
        };
        // One request may weigh as much as the whole queue, or a large one could never pass.
        let weight = u32::try_from(bytes.clamp(1, self.bytes_max)).unwrap_or(u32::MAX);
        let request = self.requests.clone().try_acquire_owned().map_err(overloaded)?;
        let bytes = self.bytes.clone().try_acquire_many_owned(weight).map_err(overloaded)?;
        self.tell();
        Ok((request, bytes))
    }

    fn tell(&self) {
        let requests = self.requests_max.saturating_sub(self.requests.available_permits());
        self.metrics.ingest_queue(requests, self.bytes_max.saturating_sub(self.bytes.available_permits()));
    }
}

async fn run(config: CommitterConfig, room: Room, mut jobs: mpsc::Receiver<Job>, news: watch::Sender<u64>) {
    let mut batch = Vec::new();
    while jobs.recv_many(&mut batch, config.batch_requests_max).await > 0 {
        gather(&mut batch, &mut jobs, config.batch_requests_max).await;
        let watch = Stopwatch::start();
        let size = batch.len();
        let (intakes, replies): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|job| (job.intake, (job.reply, job._request, job._bytes))).unzip();
        match commit(&config, intakes).await {
            Ok((outcomes, has_events)) => {
                config.metrics.commit_done(watch.elapsed(), size);
                if has_events {
                    news.send_modify(|n| *n = n.wrapping_add(1));
                }
                // A sender that hung up does not want to know.
                replies.into_iter().zip(outcomes).for_each(|((reply, ..), outcome)| drop(reply.send(Ok(outcome))));
            }
            Err(error) => {
                config.presence.refused();
                config.metrics.commit_failed(classify(&error));
                tell(&error, size);
                let refusal = SubmitError::Unavailable("the store cannot be written right now".into());
                replies.into_iter().for_each(|(reply, ..)| drop(reply.send(Err(refusal.clone()))));
            }
        }
        room.tell();
    }
}

/// Lets requests that lie in socket buffers share the commit. None is waited for: each look is a turn of the runtime,
/// which answers what is ready and asks the sockets anew.
///
/// A commit costs as much for one beat as for thirty. Under load the sockets have more each time they are looked at (those
/// who were just answered send again), so it is looked until little comes any more, which is the sooner the less there is to
/// do.
async fn gather(batch: &mut Vec<Job>, jobs: &mut mpsc::Receiver<Job>, most: usize) {
    for look in 1..=LOOKS_MAX {
        let before = batch.len();
        tokio::task::yield_now().await;
        while batch.len() < most
            && let Ok(job) = jobs.try_recv()
        {
            batch.push(job);
        }
        // What the first look found readable is read only in the second. A trickle is not worth a look for each drop.
        let is_calm = look > 1 && batch.len() <= before + before / 8;
        if is_calm || batch.len() >= most || batch.iter().map(|job| job.intake.bytes).sum::<usize>() >= WORTHWHILE_BYTES
        {
            return;
        }
    }
}

/// Gives the outcomes, and whether there are new events.
async fn commit(config: &CommitterConfig, batch: Vec<Intake>) -> Result<(Vec<Outcome>, bool), StoreError> {
    let (first, mut transaction) = config.store.begin(first_load(&batch)).await?;
    let wanted = second_load(&batch, &first);
    let second = if wanted.agents.is_empty() && wanted.agent_ids.is_empty() {
        Loaded::default()
    } else {
        transaction.load(wanted).await?
    };
    // The first thing after a sleep of the machine may be a commit: what it stamps is to bear the time after it.
    config.clock.follow_wall(|from, to| config.presence.jump(from, to));
    let now = config.clock.now();
    let presence = config.presence.at(now);
    let context = Context {
        now,
        ahead: config.clock.ahead(),
        presence: &presence,
        restarts_from: presence.after(presence.started_at, config.start_grace),
        rules: &*config.rules,
        ids: &config.ids,
    };
    let (outcomes, writes) = plan(batch, first, second, &context);
    let has_events = !writes.events.is_empty();
    transaction.commit(writes).await?;
    config.presence.committed(now);
    Ok((outcomes, has_events))
}

const fn classify(error: &StoreError) -> CommitFailure {
    match error {
        StoreError::Busy(_) => CommitFailure::Busy,
        StoreError::Unavailable(_) => CommitFailure::Unavailable,
        StoreError::OutcomeUnknown(_) => CommitFailure::OutcomeUnknown,
        StoreError::Corrupt(_) => CommitFailure::Corrupt,
    }
}

fn tell(error: &StoreError, size: usize) {
    match error {
        StoreError::Busy(_) | StoreError::Unavailable(_) => {
            warn!(%error, requests = size, "commit failed; senders were told to retry")
        }
        StoreError::OutcomeUnknown(_) | StoreError::Corrupt(_) => {
            error!(%error, requests = size, "commit failed; nothing was acknowledged");
        }
    }
}

#[cfg(test)]
#[path = "committer_tests.rs"]
mod tests;
