//! Sends what one destination's queue has. Each destination has its own, so that none can hold up another.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tracing::{info, warn};

use super::body::Item;
use super::disk::Folder;
use super::pace::Pace;
use super::queue::{Job, Queue, Tries};
use super::retry::Backoff;
use super::send::{Sender, Verdict};
use super::settings::Destination;
use crate::clock::Stopwatch;
use crate::ids::Ids;
use crate::telemetry::{ForwardMetrics, Loss};

/// After the stop signal, what waits in memory is still sent for so long; longer than that nothing is on its way.
const DRAIN: Duration = Duration::from_secs(5);
/// A body that failed so often, each time while others were taken, is given up: the fault is its own.
const STRIKES_MAX: u32 = 10;
/// Lost bodies are told of in the log once in this time.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// A worker and what it works with.
pub struct Worker {
    pub destination: Destination,
    pub queue: Arc<Queue>,
    pub sender: Arc<Sender>,
    pub metrics: ForwardMetrics,
    pub ids: Ids,
}

/// What came of an attempt.
struct Done {
    seq: u64,
    tries: Tries,
    bytes: usize,
    outcome: Outcome,
    took: Duration,
    /// How many pauses there had been when it began.
    epoch: u64,
}

enum Outcome {
    Sent(Verdict),
    /// Its record is damaged.
    Damaged,
    /// Its record cannot be read.
    Unreadable(String),
}

/// What changes while a worker runs.
struct Course {
    flying: JoinSet<Done>,
    pace: Pace,
    backoff: Backoff,
    /// Until it has passed nothing is sent.
    pause: Option<std::pin::Pin<Box<Sleep>>>,
    epoch: u64,
    taken: u64,
    lost: Lost,
}

/// Bodies lost for the destination's reasons, for the log.
#[derive(Default)]
struct Lost {
    count: u64,
    told: Option<Stopwatch>,
}

impl Worker {
    /// Runs until `stop` becomes true, and a little longer for what is on its way.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut course = Course {
            flying: JoinSet::new(),
            pace: Pace::new(self.destination.queue.consumers),
            backoff: Backoff::new(self.destination.retry.clone(), self.ids.clone()),
            pause: None,
            epoch: 0,
            taken: 0,
            lost: Lost::default(),
        };
        loop {
            self.send_some(&mut course);
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Some(done) = course.flying.join_next() => self.judge(&mut course, done),
                () = self.queue.arrived.notified(), if course.pause.is_none() => {}
                () = passed(&mut course.pause) => course.pause = None,
            }
        }
        self.drain(course).await;
    }

    /// Sends as much as may be on its way at once. While the destination fails, that is one at a time.
    fn send_some(&self, course: &mut Course) {
        let limit = if course.backoff.is_failing() { 1 } else { course.pace.limit() };
        self.metrics.concurrency(limit);
        while course.pause.is_none() && course.flying.len() < limit {
            let Some(job) = self.queue.take() else { return };
            let (queue, sender, epoch) = (self.queue.clone(), self.sender.clone(), course.epoch);
            course.flying.spawn(attempt(queue, sender, job, epoch));
        }
    }

    fn judge(&self, course: &mut Course, done: Result<Done, tokio::task::JoinError>) {
        let Ok(done) = done else {
            // Only a mistake in the gateway itself ends a task. Its body stays where it is until the next start.
            warn!(destination = %self.destination.name, "an attempt to pass a body on ended without a result");
            return;
        };
        match done.outcome {
            Outcome::Sent(Verdict::Taken { rejected, message }) => {
                self.metrics.sent(done.bytes, done.took);
                self.queue.finish(done.seq);
                self.taken(course, done.took);
                if rejected > 0 {
                    self.metrics.rejected_items(rejected);
                    self.tell(course, &format!("of a body that was taken {rejected} items were rejected: {message}"));
                }
            }
            Outcome::Sent(Verdict::Rejected(why)) => {
                self.metrics.reached();
                self.lose(course, done.seq, Loss::Rejected, &why);
                self.taken(course, done.took);
            }
            Outcome::Sent(Verdict::Later { after, why }) => {
                self.later(course, done.seq, done.tries, done.epoch, after, &why)
            }
            Outcome::Damaged => {
                self.metrics.corrupt_record();
                self.lose(course, done.seq, Loss::Storage, "its record on disk is damaged");
            }
            Outcome::Unreadable(why) => {
                self.metrics.storage_error();
                self.lose(course, done.seq, Loss::Storage, &why);
            }
        }
    }

    /// The destination works: it took something, or said that it never will.
    fn taken(&self, course: &mut Course, took: Duration) {
        course.taken += 1;
        course.pace.answered(took, course.flying.len());
        if course.backoff.succeeded() {
            info!(destination = %self.destination.name, "the pass-through destination takes bodies again");
            // All that waited must not fall upon it at once.
            course.pace.restart();
            self.queue.outage_over();
        }
    }

    fn later(&self, course: &mut Course, seq: u64, mut tries: Tries, epoch: u64, after: Option<Duration>, why: &str) {
        self.metrics.attempt_failed();
        course.pace.failed(course.flying.len());
        if !course.backoff.is_failing() {
            warn!(destination = %self.destination.name, why, "the pass-through destination does not take bodies for now");
        }
        // Those that were on their way together fail together, and that is one failure.
        if epoch == course.epoch {
            course.epoch += 1;
            course.pause = Some(Box::pin(tokio::time::sleep(course.backoff.failed(after))));
        }
        let retry = &self.destination.retry;
        if !retry.enabled {
            return self.lose(course, seq, Loss::GaveUp, why);
        }
        if tries.since.is_some() && course.taken > tries.taken_then {
            tries.strikes += 1;
        }
        let since = *tries.since.get_or_insert_with(Stopwatch::start);
        tries.taken_then = course.taken;
        let late = !retry.max_elapsed_time.is_zero() && since.elapsed() >= retry.max_elapsed_time;
        if late || tries.strikes >= STRIKES_MAX {
            return self.lose(course, seq, Loss::GaveUp, why);
        }
        self.queue.put_back(seq, tries);
    }

    fn lose(&self, course: &mut Course, seq: u64, reason: Loss, why: &str) {
        self.queue.finish(seq);
        self.metrics.dropped(reason);
        self.tell(course, &format!("a body is lost ({}): {why}", reason.word()));
    }

    fn tell(&self, course: &mut Course, what: &str) {
        let lost = &mut course.lost;
        lost.count += 1;
        if lost.told.is_none_or(|told| told.elapsed() >= LOG_EVERY) {
            lost.told = Some(Stopwatch::start());
            warn!(destination = %self.destination.name, times = lost.count, "pass-through: {what}");
            lost.count = 0;
        }
    }

    /// What is on disk stays there; what is in memory has a little time left, unless the destination is out.
    async fn drain(self, mut course: Course) {
        let on_disk = self.queue.folder.is_some();
        let drained = async {
            loop {
                if !on_disk && !course.backoff.is_failing() {
                    self.send_some(&mut course);
                }
                let Some(done) = course.flying.join_next().await else { break };
                self.judge(&mut course, done);
            }
        };
        let _ = tokio::time::timeout(DRAIN, drained).await;
        let lost = self.queue.close();
        if lost > 0 {
            warn!(destination = %self.destination.name, lost, "pass-through: bodies in memory are lost by the stop; keep them with sending_queue.storage: disk");
        }
    }
}

async fn passed(pause: &mut Option<std::pin::Pin<Box<Sleep>>>) {
    match pause {
        Some(pause) => pause.await,
        None => std::future::pending().await,
    }
}

async fn attempt(queue: Arc<Queue>, sender: Arc<Sender>, job: Job, epoch: u64) -> Done {
    let (seq, tries) = (job.seq, job.tries);
    let item = match job.item {
        Some(item) => Ok(item),
        None => read(&queue, seq).await,
    };
    let watch = Stopwatch::start();
    let (bytes, outcome) = match item {
        Ok(item) => (item.body.len(), Outcome::Sent(sender.send(&item).await)),
        Err(outcome) => (0, outcome),
    };
    Done { seq, tries, bytes, outcome, took: watch.elapsed(), epoch }
}

async fn read(queue: &Arc<Queue>, seq: u64) -> Result<Item, Outcome> {
    let lost = || Outcome::Unreadable("its record is gone".into());
    let mut tried = None;
    loop {
        let (Some(place), Some(folder)) = (queue.place(seq), queue.folder.clone()) else { return Err(lost()) };
        let read = tokio::task::spawn_blocking(move || Folder::read(&folder, place)).await;
        return match read {
            Ok(Ok(Some(item))) => Ok(item),
            Ok(Ok(None)) => Err(Outcome::Damaged),
            // It was moved between the two steps; once is chance, twice in the same place is not.
            Ok(Err(_)) if tried.replace(place) != Some(place) => continue,
            Ok(Err(error)) => Err(Outcome::Unreadable(error.to_string())),
            Err(error) => Err(Outcome::Unreadable(error.to_string())),
        };
    }
}
