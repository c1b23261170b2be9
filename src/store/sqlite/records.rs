//! The rows of administration and history: audit chain, rollups, former names, names that wait, maintenance windows.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use super::rows::{decode, encode, from_json};
use crate::model::{
    AgentId, AgentKey, AuditDraft, AuditHash, AuditRow, MaintenanceWindow, ProjectId, Registration, Rollup, RollupBody,
    Timestamp, WindowId,
};
use crate::store::{AuditQuery, HistoryBefore, RollupQuery, WriteSet};

/// The format of rollups.
const ROLLUP_FORMAT: u8 = 1;
/// The values of `rollups.period`.
const MINUTES: i64 = 0;
const HOURS: i64 = 1;
/// More hours than this do not lie between an agent's first and last piece of history.
const LIFETIME_HOURS_MAX: i64 = 3650 * 24;
/// Gives one hour of an agent to another one.
const MOVE_HOUR: &str = "UPDATE rollups SET agent_id = ?5
    WHERE period = ?1 AND project_id = ?2 AND start = ?3 AND agent_id = ?4";
/// Forgets one hour of an agent.
const DROP_HOUR: &str = "DELETE FROM rollups
    WHERE period = ?1 AND project_id = ?2 AND start = ?3 AND agent_id = ?4 AND ?5 = 0";
/// The mark that keeps numbers of agents from being given out twice.
const LAST_AGENT: &str = "last_agent";

/// What must be written before agents are: projects to make, agents that change hands or go.
pub fn write_before_agents(db: &Connection, writes: &WriteSet) -> rusqlite::Result<()> {
    for name in &writes.new_projects {
        super::rows::ensure_project(db, name)?;
    }
    for (from, into) in &writes.moved {
        db.execute("UPDATE events SET agent_id = ?2 WHERE agent_id = ?1", [from.0, into.0])?;
        each_hour(db, *from, MOVE_HOUR, into.0)?;
        db.execute("UPDATE agent_aliases SET agent_id = ?2 WHERE agent_id = ?1", [from.0, into.0])?;
    }
    for id in &writes.removed {
        db.execute("DELETE FROM events WHERE agent_id = ?1", [id.0])?;
        each_hour(db, *id, DROP_HOUR, 0)?;
        db.execute("DELETE FROM agent_aliases WHERE agent_id = ?1", [id.0])?;
        db.execute("DELETE FROM agent_state WHERE agent_id = ?1", [id.0])?;
        db.execute("DELETE FROM agents WHERE id = ?1", [id.0])?;
        db.execute(
            "INSERT INTO marks (name, value) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
            (LAST_AGENT, id.0),
        )?;
    }
    Ok(())
}

/// Does something with all rollups of an agent, hour by hour: the key of the table begins with the hour. `what` has the
/// hour's parameters 1 to 4 and may use the fifth, `value`.
fn each_hour(db: &Connection, id: AgentId, what: &str, value: i64) -> rusqlite::Result<()> {
    let project: Option<i64> =
        db.query_row("SELECT project_id FROM agents WHERE id = ?1", [id.0], |row| row.get(0)).optional()?;
    let Some(project) = project else { return Ok(()) };
    for period in [MINUTES, HOURS] {
        let ends: (Option<i64>, Option<i64>) = db.query_row(
            "SELECT (SELECT min(start) FROM rollups WHERE period = ?1 AND project_id = ?2),
                    (SELECT max(start) FROM rollups WHERE period = ?1 AND project_id = ?2)",
            [period, project],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let (Some(first), Some(last)) = ends else { continue };
        let mut statement = db.prepare_cached(what)?;
        for hour in first.max(last - LIFETIME_HOURS_MAX)..=last {
            statement.execute((period, project, hour, id.0, value))?;
        }
    }
    Ok(())
}

/// What is written after agents.
pub fn write_after_agents(db: &Connection, writes: &WriteSet) -> rusqlite::Result<()> {
    for (key, agent) in &writes.aliases {
        write_alias(db, key, *agent)?;
    }
    write_rollups(db, &writes.rollups)?;
    for (key, registration) in &writes.registrations {
        write_registration(db, key, registration.as_ref())?;
    }
    for (id, window) in &writes.windows {
        write_window(db, *id, window.as_ref())?;
    }
    for key in &writes.keys {
        super::rows::write_key(db, key)?;
    }
    write_audit(db, &writes.audit)
}

fn write_alias(db: &Connection, key: &AgentKey, agent: Option<AgentId>) -> rusqlite::Result<()> {
    db.execute("DELETE FROM agent_aliases WHERE project_id = ?1 AND name = ?2", (key.project.0, &*key.name))?;
    let Some(agent) = agent else { return Ok(()) };
    // A name in use is not a former one.
    db.execute(
        "INSERT INTO agent_aliases (project_id, name, agent_id)
         SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM agents WHERE project_id = ?1 AND name = ?2)",
        (key.project.0, &*key.name, agent.0),
    )
    .map(drop)
}

/// Hands all former names to `take`.
pub fn read_aliases(db: &Connection, mut take: impl FnMut(AgentKey, AgentId)) -> rusqlite::Result<()> {
    let mut statement = db.prepare("SELECT project_id, name, agent_id FROM agent_aliases")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let key = AgentKey { project: ProjectId(row.get(0)?), name: row.get::<_, String>(1)?.into() };
        take(key, AgentId(row.get(2)?));
    }
    Ok(())
}

/// The highest number of an agent that is gone.
pub fn read_last_agent(db: &Connection) -> rusqlite::Result<i64> {
    let mark = db.query_row("SELECT value FROM marks WHERE name = ?1", [LAST_AGENT], |row| row.get(0)).optional()?;
    Ok(mark.unwrap_or(0))
}

fn write_rollups(db: &Connection, rollups: &[Rollup]) -> rusqlite::Result<()> {
    if rollups.is_empty() {
        return Ok(());
    }
    let mut statement = db.prepare_cached(
        "INSERT OR REPLACE INTO rollups (period, project_id, start, agent_id, origin, slot, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for rollup in rollups {
        let period = if matches!(rollup.body, RollupBody::Minutes { .. }) { MINUTES } else { HOURS };
        let body = encode(ROLLUP_FORMAT, &rollup.body)?;
        let (agent, origin) = (rollup.agent.0, rollup.origin.0);
        statement.execute((period, rollup.project.0, rollup.hour, agent, origin, rollup.slot, body))?;
    }
    Ok(())
}

/// Pieces of one agent's history, in order of their hour.
pub fn read_rollups(db: &Connection, query: &RollupQuery) -> rusqlite::Result<Vec<Rollup>> {
    let mut statement = db.prepare_cached(
        "SELECT start, origin, slot, body FROM rollups
         WHERE period = ?1 AND project_id = ?2 AND start = ?3 AND agent_id = ?4 ORDER BY origin, slot",
    )?;
    let period = if query.minutes { MINUTES } else { HOURS };
    let mut found = Vec::new();
    for hour in query.hours.clone() {
        let mut rows = statement.query((period, query.project.0, hour, query.agent.0))?;
        while let Some(row) = rows.next()? {
            found.push(Rollup {
                project: query.project,
                agent: query.agent,
                origin: AgentId(row.get(1)?),
                hour: row.get(0)?,
                slot: row.get(2)?,
                body: decode("rollup of hour", hour, ROLLUP_FORMAT, &row.get::<_, Vec<u8>>(3)?)?,
            });
        }
    }
    Ok(found)
}

/// Forgets a project's history before its hours.
pub fn sweep_history(db: &Connection, before: &HistoryBefore) -> rusqlite::Result<()> {
    let mut statement =
        db.prepare_cached("DELETE FROM rollups WHERE period = ?1 AND project_id = ?2 AND start < ?3")?;
    statement.execute((MINUTES, before.project.0, before.minutes))?;
    statement.execute((HOURS, before.project.0, before.hours)).map(drop)
}

fn write_registration(db: &Connection, key: &AgentKey, registration: Option<&Registration>) -> rusqlite::Result<()> {
    let Some(r) = registration else {
        let gone = "DELETE FROM registrations WHERE project_id = ?1 AND name = ?2";
        return db.execute(gone, (key.project.0, &*key.name)).map(drop);
    };
    db.prepare_cached(
        "INSERT OR REPLACE INTO registrations (project_id, name, rejected, first_at, last_at, attempts)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((key.project.0, &*key.name, r.rejected, r.first_at.0, r.last_at.0, r.attempts))
    .map(drop)
}

/// All names that wait or were turned away.
pub fn read_registrations(db: &Connection) -> rusqlite::Result<Vec<(AgentKey, Registration)>> {
    let mut statement =
        db.prepare("SELECT project_id, name, rejected, first_at, last_at, attempts FROM registrations")?;
    let rows = statement.query_map([], |row| {
        let key = AgentKey { project: ProjectId(row.get(0)?), name: row.get::<_, String>(1)?.into() };
        let registration = Registration {
            rejected: row.get(2)?,
            first_at: Timestamp(row.get(3)?),
            last_at: Timestamp(row.get(4)?),
            attempts: row.get(5)?,
        };
        Ok((key, registration))
    })?;
    rows.collect()
}

fn write_window(db: &Connection, id: WindowId, window: Option<&MaintenanceWindow>) -> rusqlite::Result<()> {
    let Some(window) = window else {
        return db.execute("DELETE FROM maintenance WHERE id = ?1", [id.0]).map(drop);
    };
    let body = serde_json::to_string(window).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
    db.execute(
        "INSERT INTO maintenance (id, project_id, body) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET project_id = excluded.project_id, body = excluded.body",
        (id.0, window.project.0, body),
    )
    .map(drop)
}

/// All windows, and the highest number ever given out.
pub fn read_windows(db: &Connection) -> rusqlite::Result<(Vec<MaintenanceWindow>, i64)> {
    let mut statement = db.prepare("SELECT body FROM maintenance ORDER BY id")?;
    let windows = statement.query_map([], |row| from_json(&row.get::<_, String>(0)?))?;
    let windows = windows.collect::<rusqlite::Result<Vec<MaintenanceWindow>>>()?;
    let last =
        db.query_row("SELECT seq FROM sqlite_sequence WHERE name = 'maintenance'", [], |row| row.get(0)).optional()?;
    Ok((windows, last.unwrap_or(0)))
}

/// Adds to the audit chain. Another process may have added meanwhile: the last row is read in this transaction.
pub fn write_audit(db: &Connection, drafts: &[AuditDraft]) -> rusqlite::Result<()> {
    if drafts.is_empty() {
        return Ok(());
    }
    let mut last: Option<(i64, AuditHash)> = db
        .prepare_cached("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let mut statement = db.prepare_cached(
        "INSERT INTO audit (seq, at, project_id, body, prev_hash, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for draft in drafts {
        let row = AuditRow::after(last, draft);
        statement.execute((row.seq, row.at.0, row.project.map(|p| p.0), &row.body, row.prev_hash, row.hash))?;
        last = Some((row.seq, row.hash));
    }
    Ok(())
}

/// Rows of the audit chain, newest first.
pub fn read_audit(db: &Connection, query: &AuditQuery) -> rusqlite::Result<Vec<AuditRow>> {
    let mut statement = db.prepare_cached(
        "SELECT seq, at, project_id, body, prev_hash, hash FROM audit
         WHERE seq < ?1 AND (?2 IS NULL OR project_id = ?2) ORDER BY seq DESC LIMIT ?3",
    )?;
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let rows = statement.query_map((query.before, query.project.map(|p| p.0), limit), read_audit_row)?;
    rows.collect()
}

/// Hands the whole audit chain to `take`, oldest first, until it gives an error.
pub fn walk_audit<E>(
    db: &Connection,
    mut take: impl FnMut(&AuditRow) -> Result<(), E>,
) -> rusqlite::Result<Result<(), E>> {
    let mut statement = db.prepare("SELECT seq, at, project_id, body, prev_hash, hash FROM audit ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Err(error) = take(&read_audit_row(row)?) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

fn read_audit_row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    // A hash that was shortened is still a row to be shown and found wrong.
    let hash = |column: usize| -> rusqlite::Result<AuditHash> {
        let bytes: Vec<u8> = row.get(column)?;
        bytes.try_into().map_err(|_| {
            rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, "audit: a hash has 32 bytes".into())
        })
    };
    Ok(AuditRow {
        seq: row.get(0)?,
        at: Timestamp(row.get(1)?),
        project: row.get::<_, Option<i64>>(2)?.map(ProjectId),
        body: row.get(3)?,
        prev_hash: hash(4)?,
        hash: hash(5)?,
    })
}
