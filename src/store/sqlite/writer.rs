//! The one thread that writes. It owns the connection; a failed commit that may have happened stops it for good, because
//! acknowledging on top of an unknown state would break the promise that nothing acknowledged is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::oneshot;
use tracing::error;

use super::blocks::{self, Written};
use super::{failed, records, rows};
use crate::store::traces::Pieces;
use crate::store::{StoreError, WriteSet};

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A handle to the writing thread, which ends when the handle is dropped.
pub struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
    /// Set when a commit failed in a way that leaves its outcome unknown.
    broken: Arc<AtomicBool>,
}

impl Writer {
    /// Starts the thread on `db`.
    pub fn start(mut db: Connection) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let run = move || {
            while let Ok(job) = queue.recv() {
                job(&mut db);
            }
        };
        let thread = thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(run)
            .map_err(|e| StoreError::Unavailable(format!("cannot start the writing thread: {e}")))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), broken: Arc::default() })
    }

    /// Makes `writes` durable and hands them to `taken`, with the block they made; this happens even when the caller stops
    /// waiting. What changed of traces is in `traces`. `cold[i]` tells that agent `i` is new or has a new name or new
    /// settings.
    pub async fn commit(
        &self,
        writes: WriteSet,
        traces: Pieces,
        cold: Vec<bool>,
        taken: impl FnOnce(WriteSet, Pieces, Option<Written>) + Send + 'static,
    ) -> Result<(), StoreError> {
        let broken = self.broken.clone();
        self.send(move |db| {
            let result = write(db, &writes, &traces, &cold);
            if matches!(result, Err(StoreError::OutcomeUnknown(_))) {
                broken.store(true, Ordering::SeqCst);
            }
            result.map(|block| taken(writes, traces, block))
        })
        .await
    }

    /// Runs `work` on the writing connection, outside of any transaction.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.send(move |db| work(db).map_err(|e| failed(&e))).await
    }

    async fn send<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("a commit failed with an unknown outcome; restart the gateway".into()));
        }
        let gone = || StoreError::Unavailable("the writing thread has ended".into());
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |db| {
            let _ = reply.send(work(db));
        });
        self.jobs.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The queue closes first, so that the thread finishes what it has and ends.
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the writing thread panicked");
        }
    }
}

fn write(
    db: &mut Connection,
    writes: &WriteSet,
    traces: &Pieces,
    cold: &[bool],
) -> Result<Option<Written>, StoreError> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|e| failed(&e))?;
    let block = fill(&transaction, writes, traces, cold).map_err(|e| failed(&e))?;
    transaction.commit().map_err(|e| match e.sqlite_error_code() {
        // Nothing was written in these cases; in all others (an fsync error, say) nobody knows.
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull) => failed(&e),
        _ => StoreError::OutcomeUnknown(e.to_string()),
    })?;
    Ok(block)
}

fn fill(db: &Connection, writes: &WriteSet, traces: &Pieces, cold: &[bool]) -> rusqlite::Result<Option<Written>> {
    records::write_before_agents(db, writes)?;
    {
        let mut agent = db.prepare_cached(
            "INSERT INTO agents (id, project_id, name, created_at, settings) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, settings = excluded.settings",
        )?;
        let mut state = db.prepare_cached(
            "INSERT INTO agent_state (agent_id, state, history) VALUES (?1, ?2, ?3)
             ON CONFLICT (agent_id) DO UPDATE SET state = excluded.state, history = excluded.history",
        )?;
        for (row, cold) in writes.agents.iter().zip(cold) {
            if *cold {
                let settings = serde_json::to_string(&*row.settings)
                    .map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
                agent.execute((row.id.0, row.key.project.0, &*row.key.name, row.created_at.0, settings))?;
            }
            state.execute((row.id.0, rows::encode_state(&row.state)?, rows::encode_history(&row.history)?))?;
        }
    }
    records::write_after_agents(db, writes)?;
    let is_remembered = !traces.is_empty() || !writes.dedup.is_empty();
    let block = is_remembered.then(|| blocks::write(db, traces, &writes.dedup)).transpose()?;
    for (key, row) in &writes.services {
        rows::write_service(db, key, row)?;
    }
    for (key, row) in &writes.instances {
        rows::write_instance(db, key, row)?;
    }
    for (id, state) in &writes.projects {
        rows::write_project_state(db, *id, state)?;
    }
    for event in &writes.events {
        rows::write_event(db, event)?;
    }
    for command in &writes.commands {
        rows::write_command(db, command)?;
    }
    if let Some(presence) = &writes.presence {
        db.execute(
            "INSERT INTO gateway_presence (id, alive_at) VALUES (1, ?1)
             ON CONFLICT (id) DO UPDATE SET alive_at = excluded.alive_at",
            [presence.alive_at.0],
        )?;
        for (from, to) in &presence.gaps {
            db.execute("INSERT OR REPLACE INTO gateway_gaps (from_at, to_at) VALUES (?1, ?2)", [from.0, to.0])?;
        }
    }
    Ok(block)
}
