//! The embedded store: SQLite in WAL mode with `synchronous = FULL`, one writer that keeps the decoded states in memory,
//! one reader for what is not in memory, and a lock file against a second process.

mod blocks;
mod keyfile;
mod records;
mod rows;
mod schema;
mod state_before;
mod writer;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::tables::{ENDED_COMMANDS_MAX, INSTANCES_MAX, SERVICES_MAX, Tables};
use super::traces::pieces;
use super::{
    AgentPage, AgentRow, AuditQuery, EventQuery, Forgotten, HistoryBefore, LoadSet, Loaded, PastPresence, RollupQuery,
    Store, StoreError, Transaction, WriteSet,
};
use crate::model::{
    AgentId, AgentKey, ApiKey, AuditRow, Command, CommandId, Event, EventId, GAPS_MAX, InstanceKey, MaintenanceWindow,
    Project, ProjectCounts, ProjectId, ProjectState, Registration, Rollup, Timestamp, TraceKey,
};
use blocks::{Kind, Ledgers, Written};
pub use keyfile::KeyFile;
use writer::Writer;

/// How long another process may hold the database (to add a key, for example) before we give up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How much room remembered spans may take in the database, in bytes, unless it is told otherwise. It holds several times
/// the spans that are remembered in memory.
pub const SPANS_BYTES_MAX: u64 = 256 << 20;

/// The log of the database is cut to this many bytes once it was longer.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// How many traces are written again at once.
const TRACES_PER_COPY: usize = 16;

/// The SQLite store.
pub struct SqliteStore {
    tables: Arc<RwLock<Tables>>,
    writer: Arc<Writer>,
    reader: Arc<Mutex<Connection>>,
    /// Held by the open transaction.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// What is remembered in blocks.
    ledgers: Arc<Mutex<Ledgers>>,
    /// Traces older than what is remembered of others: the block that holds all of it.
    copies: Mutex<HashMap<TraceKey, i64>>,
    /// Held for as long as the store is open; the operating system lets go of it when the process ends.
    _lock: File,
}

impl SqliteStore {
    /// Opens the database at `path`, makes it when missing, and reads what is kept in memory.
    ///
    /// Errors: [`StoreError::Busy`] when another gateway has it open, [`StoreError::Corrupt`] when it cannot be read or
    /// was written by a newer release, [`StoreError::Unavailable`] for everything else.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, SPANS_BYTES_MAX)
    }

    /// As [`SqliteStore::open`], with room for `spans_bytes_max` bytes of remembered spans.
    pub fn open_with(path: &Path, spans_bytes_max: u64) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        let mut db = connect(path)?;
        schema::migrate(&mut db)?;
        let mut ledgers = Ledgers::new(spans_bytes_max);
        let tables = read_tables(&db, &mut ledgers).map_err(|e| failed(&e))?;
        let reader = connect(path)?;
        Ok(Self {
            tables: Arc::new(RwLock::new(tables)),
            writer: Arc::new(Writer::start(db)?),
            reader: Arc::new(Mutex::new(reader)),
            turn: Arc::default(),
            ledgers: Arc::new(Mutex::new(ledgers)),
            copies: Mutex::default(),
            _lock: lock,
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = self.reader.clone();
        tokio::task::spawn_blocking(move || query(&reader.lock().unwrap_or_else(PoisonError::into_inner)))
            .await
            .map_err(|e| StoreError::Unavailable(e.to_string()))?
            .map_err(|e| failed(&e))
    }

    /// Writes a trace again as one piece when a part of it lies in the blocks that are about to go while it is still
    /// being added to. Without its first spans, what comes would be judged wrongly after a restart.
    async fn copy_long_traces(&self, expiring: BTreeSet<TraceKey>, before: Timestamp) -> Result<(), StoreError> {
        let expiring: Vec<TraceKey> = {
            let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
            copies.retain(|_, block| *block >= before.0);
            expiring.into_iter().filter(|key| !copies.contains_key(key)).collect()
        };
        for keys in expiring.chunks(TRACES_PER_COPY) {
            let traces = self.tables().traces.whole(keys, before);
            if traces.is_empty() {
                continue;
            }
            let keys: Vec<TraceKey> = traces.iter().map(|(key, _)| *key).collect();
            let block = self.writer.run(move |db| blocks::write(db, &traces, &[])).await?;
            self.ledgers().add(block);
            let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
            copies.extend(keys.into_iter().map(|key| (key, block.id)));
        }
        Ok(())
    }

    /// Forgets the oldest spans, one step, when they take too much room: the blocks, and with them the traces in memory
    /// that nothing was added to since. Traces that go on are written again before.
    async fn bound_spans(&self) -> Result<Option<Forgotten>, StoreError> {
        let Some((ids, going)) = self.ledgers().spans.too_much() else { return Ok(None) };
        let before = Timestamp(ids.end);
        let there = ids.clone();
        let expiring = self.read(move |db| blocks::traces_in(db, there)).await?;
        let _turn = self.turn.clone().lock_owned().await;
        self.copy_long_traces(expiring, before).await?;
        self.writer.run(move |db| blocks::empty(db, Kind::Spans, ids)).await?;
        self.tables.write().unwrap_or_else(PoisonError::into_inner).traces.sweep(before);
        self.ledgers().spans.forget(before.0);
        Ok(Some(going))
    }

    /// The same for keys, of which memory holds no more than there is room for.
    async fn bound_keys(&self) -> Result<(), StoreError> {
        let Some((ids, _)) = self.ledgers().keys.too_much() else { return Ok(()) };
        let before = ids.end;
        self.writer.run(move |db| blocks::empty(db, Kind::Keys, ids)).await?;
        self.ledgers().keys.forget(before);
        Ok(())
    }

    fn ledgers(&self) -> std::sync::MutexGuard<'_, Ledgers> {
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables(&self) -> std::sync::RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let name: PathBuf = path.with_extension("lock");
    let unavailable = |e: std::io::Error| StoreError::Unavailable(format!("cannot lock {}: {e}", name.display()));
    let file = File::options().create(true).truncate(false).write(true).open(&name).map_err(unavailable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Busy(format!(
            "another gateway has {} open; stop it or use another data directory",
            path.display()
        ))),
        Err(std::fs::TryLockError::Error(e)) => Err(unavailable(e)),
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)
        .map_err(|e| StoreError::Unavailable(format!("cannot open {}: {e}", path.display())))?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(|e| failed(&e))?;
    db.set_prepared_statement_cache_capacity(64);
    db.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
         PRAGMA journal_size_limit = {LOG_BYTES_MAX};"
    ))
    .map_err(|e| failed(&e))?;
    Ok(db)
}

fn read_tables(db: &Connection, ledgers: &mut Ledgers) -> rusqlite::Result<Tables> {
    let mut tables = Tables::default();
    rows::read_agents(db, |row| tables.put_agent(Arc::new(row)))?;
    blocks::read(db, |block, (traces, dedup)| {
        ledgers.add(block);
        tables.apply(WriteSet { dedup, ..WriteSet::default() }, traces);
    })?;
    for (key, row) in rows::read_services(db, SERVICES_MAX)? {
        tables.put_service(key, Arc::new(row));
    }
    for (key, row) in rows::read_instances(db, INSTANCES_MAX)? {
        tables.put_instance(key, Arc::new(row));
    }
    tables.apply(WriteSet { projects: rows::read_project_states(db)?, ..WriteSet::default() }, Vec::new());
    for command in rows::read_commands(db, ENDED_COMMANDS_MAX)? {
        tables.put_command(command);
    }
    tables.last_agent = tables.last_agent.max(records::read_last_agent(db)?);
    records::read_aliases(db, |key, agent| tables.put_alias(key, Some(agent)))?;
    tables.registrations.extend(records::read_registrations(db)?);
    let (windows, last_window) = records::read_windows(db)?;
    tables.windows.extend(windows.into_iter().map(|window| (window.id, window)));
    tables.last_window = last_window;
    Ok(tables)
}

/// Sorts an SQLite error by what the caller should do.
fn failed(error: &rusqlite::Error) -> StoreError {
    let text = error.to_string();
    match error {
        rusqlite::Error::FromSqlConversionFailure(..) => StoreError::Corrupt(text),
        _ => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy(text),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt(text),
            _ => StoreError::Unavailable(text),
        },
    }
}

struct Open {
    tables: Arc<RwLock<Tables>>,
    writer: Arc<Writer>,
    ledgers: Arc<Mutex<Ledgers>>,
    turn: tokio::sync::OwnedMutexGuard<()>,
}

#[async_trait]
impl Transaction for Open {
    async fn load(&mut self, set: LoadSet) -> Result<Loaded, StoreError> {
        Ok(self.tables.write().unwrap_or_else(PoisonError::into_inner).load(&set))
    }

    async fn commit(self: Box<Self>, mut writes: WriteSet) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let traces = pieces(&mut writes);
        let cold: Vec<bool> = {
            let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
            let is_cold = |row: &Arc<AgentRow>| {
                let same = |old: &Arc<AgentRow>| old.settings == row.settings && old.key == row.key;
                // One that goes in this very commit and comes again is new.
                writes.removed.contains(&row.id) || !tables.agents.get(&row.id).is_some_and(same)
            };
            writes.agents.iter().map(is_cold).collect()
        };
        let Self { tables, writer, ledgers, turn } = *self;
        // On the writing thread: should the caller stop waiting, memory still follows what is on disk, and the next
        // transaction begins only then.
        let taken = move |writes, traces, block: Option<Written>| {
            block.into_iter().for_each(|block| ledgers.lock().unwrap_or_else(PoisonError::into_inner).add(block));
            tables.write().unwrap_or_else(PoisonError::into_inner).apply(writes, traces);
            drop(turn);
        };
        writer.commit(writes, traces, cold, taken).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn begin(&self, set: LoadSet) -> Result<(Loaded, Box<dyn Transaction>), StoreError> {
        let turn = self.turn.clone().lock_owned().await;
        let loaded = self.tables.write().unwrap_or_else(PoisonError::into_inner).load(&set);
        let (tables, writer, ledgers) = (self.tables.clone(), self.writer.clone(), self.ledgers.clone());
        Ok((loaded, Box::new(Open { tables, writer, ledgers, turn })))
    }

    async fn due_agents(&self, now: Timestamp, limit: usize) -> Result<Vec<AgentId>, StoreError> {
        Ok(self.tables().due_agents(now, limit))
    }

    async fn due_commands(&self, now: Timestamp, limit: usize) -> Result<Vec<CommandId>, StoreError> {
        Ok(self.tables().due_commands(now, limit))
    }

    async fn due_traces(&self, now: Timestamp, limit: usize) -> Result<Vec<(TraceKey, Arc<str>)>, StoreError> {
        Ok(self.tables().traces.due(now, limit))
    }

    async fn due_instances(&self, now: Timestamp, limit: usize) -> Result<Vec<InstanceKey>, StoreError> {
        Ok(self.tables().due_instances(now, limit))
    }

    async fn agent(&self, id: AgentId) -> Result<Option<Arc<AgentRow>>, StoreError> {
        Ok(self.tables().agents.get(&id).cloned())
    }

    async fn agents(&self, project: ProjectId, offset: usize, limit: usize) -> Result<AgentPage, StoreError> {
        Ok(self.tables().page(project, offset, limit))
    }

    async fn project_agents(
        &self,
        project: ProjectId,
        after: AgentId,
        limit: usize,
    ) -> Result<Vec<Arc<AgentRow>>, StoreError> {
        Ok(self.tables().project_agents(project, after, limit))
    }

    async fn agent_named(&self, key: &AgentKey) -> Result<Option<Arc<AgentRow>>, StoreError> {
        Ok(self.tables().agent_named(key))
    }

    async fn similar_name(&self, project: ProjectId, name: &str) -> Result<Option<Arc<str>>, StoreError> {
        Ok(self.tables().similar_name(project, name))
    }

    async fn aliases(&self, id: AgentId) -> Result<Vec<Arc<str>>, StoreError> {
        Ok(self.tables().aliases_of(id))
    }

    async fn registrations(&self, project: ProjectId) -> Result<Vec<(Arc<str>, Registration)>, StoreError> {
        Ok(self.tables().registrations_of(project).map(|(key, r)| (key.name.clone(), *r)).collect())
    }

    async fn windows(&self) -> Result<Vec<MaintenanceWindow>, StoreError> {
        Ok(self.tables().windows.values().cloned().collect())
    }

    async fn rollups(&self, query: RollupQuery) -> Result<Vec<Rollup>, StoreError> {
        self.read(move |db| records::read_rollups(db, &query)).await
    }

    async fn sweep_history(&self, before: Vec<HistoryBefore>) -> Result<(), StoreError> {
        for project in before {
            self.writer.run(move |db| records::sweep_history(db, &project)).await?;
        }
        Ok(())
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRow>, StoreError> {
        self.read(move |db| records::read_audit(db, &query)).await
    }

    async fn scan_agents(&self, after: AgentId, limit: usize) -> Result<Vec<Arc<AgentRow>>, StoreError> {
        Ok(self.tables().scan(after, limit))
    }

    async fn events(&self, query: EventQuery) -> Result<Vec<Event>, StoreError> {
        self.read(move |db| rows::read_events(db, &query)).await
    }

    async fn project_state(&self, project: ProjectId) -> Result<(ProjectState, ProjectCounts), StoreError> {
        Ok(self.tables().project_state(project))
    }

    async fn events_after(
        &self,
        project: ProjectId,
        agent: Option<AgentId>,
        after: EventId,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        self.read(move |db| rows::read_events_after(db, project, agent, after, limit)).await
    }

    async fn commands(&self, project: ProjectId, limit: usize) -> Result<Vec<Command>, StoreError> {
        Ok(self.tables().project_commands(project, limit))
    }

    async fn projects(&self) -> Result<Vec<Project>, StoreError> {
        self.read(rows::read_projects).await
    }

    async fn ensure_project(&self, name: &str) -> Result<Project, StoreError> {
        let name = name.to_owned();
        self.writer.run(move |db| rows::ensure_project(db, &name)).await
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.read(rows::read_keys).await
    }

    async fn put_key(&self, key: ApiKey) -> Result<(), StoreError> {
        self.writer.run(move |db| rows::write_key(db, &key)).await
    }

    async fn touch_keys(&self, ids: Vec<String>, at: Timestamp) -> Result<(), StoreError> {
        self.writer.run(move |db| rows::touch_keys(db, &ids, at)).await
    }

    async fn presence(&self) -> Result<PastPresence, StoreError> {
        self.read(rows::read_presence).await
    }

    async fn sweep(
        &self,
        memory_before: Timestamp,
        events_before: &[(ProjectId, Timestamp)],
    ) -> Result<(), StoreError> {
        let expiring = self.read(move |db| blocks::traces_in(db, i64::MIN..memory_before.0)).await?;
        let _turn = self.turn.clone().lock_owned().await;
        self.copy_long_traces(expiring, memory_before).await?;
        let events_before = events_before.to_vec();
        self.writer
            .run(move |db| {
                db.execute("DELETE FROM memory_blocks WHERE id < ?1", [memory_before.0])?;
                for (project, before) in events_before {
                    db.execute("DELETE FROM events WHERE project_id = ?1 AND at < ?2", [project.0, before.0])?;
                }
                let newest = "SELECT rowid FROM services ORDER BY learned_at DESC LIMIT ?1";
                db.execute(
                    &format!("DELETE FROM services WHERE rowid NOT IN ({newest})"),
                    [i64::try_from(SERVICES_MAX).unwrap_or(i64::MAX)],
                )?;
                db.execute("DELETE FROM instances WHERE touched_at < ?1", [memory_before.0])?;
                db.execute(
                    "DELETE FROM instances WHERE touched_at <
                         (SELECT touched_at FROM instances ORDER BY touched_at DESC LIMIT 1 OFFSET ?1)",
                    [i64::try_from(INSTANCES_MAX).unwrap_or(i64::MAX)],
                )?;
                // The newest gaps are enough: older ones lie before any deadline.
                let newest = "SELECT from_at FROM gateway_gaps ORDER BY from_at DESC LIMIT ?1";
                db.execute(&format!("DELETE FROM gateway_gaps WHERE from_at NOT IN ({newest})"), [GAPS_MAX as i64])
                    .map(drop)
            })
            .await?;
        self.tables.write().unwrap_or_else(PoisonError::into_inner).sweep(memory_before);
        self.ledgers().forget(memory_before.0);
        Ok(())
    }

    async fn bound_memory(&self) -> Result<Forgotten, StoreError> {
        let mut all = Forgotten::default();
        // Step by step, so that commits wait for one step at most. Traces that go on are written again at each: should they
        // alone be too much, this must end all the same.
        for _ in 0..blocks::STEPS {
            let Some(forgotten) = self.bound_spans().await? else { break };
            all.add(forgotten);
        }
        self.bound_keys().await?;
        Ok(all)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.writer.run(|db| db.query_row("SELECT count(*) FROM gateway_presence", [], |_| Ok(()))).await
    }
}
