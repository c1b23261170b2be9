//! How things look as rows.

use postcard::ser_flavors::Flavor;
use rusqlite::types::Type;
use rusqlite::{Connection, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::state_before::{STATE_FORMAT_BEFORE, StateBefore};
use crate::model::{
    AgentId, AgentKey, AgentState, ApiKey, Command, Event, EventDraft, EventId, EventKind, History, InstanceKey,
    InstanceRow, Project, ProjectId, ProjectState, Scopes, ServiceKey, ServiceRow, Status, Timestamp,
};
use crate::store::{AgentRow, EventQuery, NewEvent, PastPresence, shared};

/// The format of encoded states. Version n reads n and n-1.
const STATE_FORMAT: u8 = 4;
/// The format of encoded states of projects.
const PROJECT_FORMAT: u8 = 1;
/// The format of encoded histories.
const HISTORY_FORMAT: u8 = 1;
/// The format of what is remembered of an instance.
const INSTANCE_FORMAT: u8 = 1;
/// The format of what was learned of a service.
const SERVICE_FORMAT: u8 = 1;

/// An encoded agent state.
pub fn encode_state(state: &AgentState) -> rusqlite::Result<Vec<u8>> {
    encode(STATE_FORMAT, state)
}

/// A state as it is stored, in the present form or the one before.
pub(super) fn decode_state(agent: i64, bytes: &[u8]) -> rusqlite::Result<AgentState> {
    const WHAT: &str = "state of agent";
    match bytes.first() {
        Some(&STATE_FORMAT_BEFORE) => decode::<StateBefore>(WHAT, agent, STATE_FORMAT_BEFORE, bytes).map(Into::into),
        _ => decode(WHAT, agent, STATE_FORMAT, bytes),
    }
}

/// An encoded history.
pub fn encode_history(history: &History) -> rusqlite::Result<Vec<u8>> {
    encode(HISTORY_FORMAT, history)
}

pub(super) fn encode<T: Serialize>(format: u8, value: &T) -> rusqlite::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(1024);
    bytes.push(format);
    postcard::serialize_with_flavor(value, Appended(bytes))
        .map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

/// Encoding to the end of a vector: as postcard's own does it, without an iterator for every byte.
struct Appended(Vec<u8>);

impl Flavor for Appended {
    type Output = Vec<u8>;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

pub(super) fn decode<T: DeserializeOwned>(what: &str, id: i64, format: u8, bytes: &[u8]) -> rusqlite::Result<T> {
    match bytes.split_first() {
        Some((found, rest)) if *found == format => {
            postcard::from_bytes(rest).map_err(|e| unreadable(what, id, &e.to_string()))
        }
        Some((found, _)) => {
            Err(unreadable(what, id, &format!("format {found} is unknown; this release reads format {format}")))
        }
        None => Err(unreadable(what, id, "empty")),
    }
}

/// Says which row cannot be read, and why.
pub(super) fn unreadable(what: &str, id: i64, why: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, format!("{what} {id}: {why}").into())
}

/// Hands all agents to `take`, one by one: together they are most of what is kept in memory.
pub fn read_agents(db: &Connection, mut take: impl FnMut(AgentRow)) -> rusqlite::Result<()> {
    let mut statement = db.prepare(
        "SELECT a.id, a.project_id, a.name, a.created_at, a.settings, s.state, s.history
         FROM agents a JOIN agent_state s ON s.agent_id = a.id ORDER BY a.id",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let settings: String = row.get(4)?;
        let state: Vec<u8> = row.get(5)?;
        take(AgentRow {
            id: AgentId(row.get(0)?),
            key: AgentKey { project: ProjectId(row.get(1)?), name: row.get::<_, String>(2)?.into() },
            created_at: Timestamp(row.get(3)?),
            settings: shared(from_json(&settings)?),
            state: decode_state(row.get(0)?, &state)?,
            history: read_history(row)?,
        });
    }
    Ok(())
}

/// What is remembered of projects as a whole.
pub fn read_project_states(db: &Connection) -> rusqlite::Result<Vec<(ProjectId, ProjectState)>> {
    let mut statement = db.prepare("SELECT project_id, state FROM project_state")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let state = decode("state of project", id, PROJECT_FORMAT, &row.get::<_, Vec<u8>>(1)?)?;
        found.push((ProjectId(id), state));
    }
    Ok(found)
}

/// Adds or replaces what is remembered of a project as a whole.
pub fn write_project_state(db: &Connection, id: ProjectId, state: &ProjectState) -> rusqlite::Result<()> {
    let mut statement =
        db.prepare_cached("INSERT OR REPLACE INTO project_state (project_id, state) VALUES (?1, ?2)")?;
    statement.execute((id.0, encode(PROJECT_FORMAT, state)?)).map(drop)
}

fn read_history(row: &Row<'_>) -> rusqlite::Result<History> {
    match row.get::<_, Option<Vec<u8>>>(6)? {
        Some(history) => decode("history of agent", row.get(0)?, HISTORY_FORMAT, &history),
        None => Ok(History::default()),
    }
}

/// What was learned of a service: adds or replaces it.
pub fn write_service(db: &Connection, key: &ServiceKey, row: &ServiceRow) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO services (project_id, name, learned_at, body) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (project_id, name) DO UPDATE SET learned_at = excluded.learned_at, body = excluded.body",
    )?
    .execute((key.project.0, &*key.name, row.learned_at.0, encode(SERVICE_FORMAT, row)?))
    .map(drop)
}

/// What was learned of the `max` services of which something was learned last, oldest first.
pub fn read_services(db: &Connection, max: usize) -> rusqlite::Result<Vec<(ServiceKey, ServiceRow)>> {
    let mut statement = db.prepare(
        "SELECT project_id, name, body FROM
             (SELECT project_id, name, body, learned_at FROM services ORDER BY learned_at DESC LIMIT ?1)
         ORDER BY learned_at",
    )?;
    let rows = statement.query_map([i64::try_from(max).unwrap_or(i64::MAX)], |row| {
        let key = ServiceKey { project: ProjectId(row.get(0)?), name: row.get::<_, String>(1)?.into() };
        Ok((key, decode("service of project", row.get(0)?, SERVICE_FORMAT, &row.get::<_, Vec<u8>>(2)?)?))
    })?;
    rows.collect()
}

/// What is remembered of an instance: adds or replaces it.
pub fn write_instance(db: &Connection, key: &InstanceKey, row: &InstanceRow) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO instances (project_id, instance, touched_at, body) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (project_id, instance) DO UPDATE SET touched_at = excluded.touched_at, body = excluded.body",
    )?
    .execute((key.project.0, key.instance.cast_signed(), row.touched_at.0, encode(INSTANCE_FORMAT, row)?))
    .map(drop)
}

/// What is remembered of the `max` instances heard of last.
pub fn read_instances(db: &Connection, max: usize) -> rusqlite::Result<Vec<(InstanceKey, InstanceRow)>> {
    let mut statement =
        db.prepare("SELECT project_id, instance, body FROM instances ORDER BY touched_at DESC LIMIT ?1")?;
    let rows = statement.query_map([i64::try_from(max).unwrap_or(i64::MAX)], |row| {
        let key = InstanceKey { project: ProjectId(row.get(0)?), instance: row.get::<_, i64>(1)?.cast_unsigned() };
        Ok((key, decode("instance of project", row.get(0)?, INSTANCE_FORMAT, &row.get::<_, Vec<u8>>(2)?)?))
    })?;
    rows.collect()
}

/// All open commands and the newest ended ones, oldest first.
pub fn read_commands(db: &Connection, ended_max: usize) -> rusqlite::Result<Vec<Command>> {
    let mut statement = db.prepare(
        "SELECT body FROM commands WHERE open = 1
         UNION ALL SELECT body FROM (SELECT id, body FROM commands WHERE open = 0 ORDER BY id DESC LIMIT ?1)",
    )?;
    let commands = statement.query_map([ended_max as i64], |row| from_json(&row.get::<_, String>(0)?))?;
    let mut commands = commands.collect::<rusqlite::Result<Vec<Command>>>()?;
    commands.sort_by_key(|c| c.id);
    Ok(commands)
}

/// All projects.
pub fn read_projects(db: &Connection) -> rusqlite::Result<Vec<Project>> {
    let mut statement = db.prepare("SELECT id, name FROM projects ORDER BY id")?;
    let rows = statement
        .query_map([], |row| Ok(Project { id: ProjectId(row.get(0)?), name: row.get::<_, String>(1)?.into() }))?;
    rows.collect()
}

/// All keys.
pub fn read_keys(db: &Connection) -> rusqlite::Result<Vec<ApiKey>> {
    let mut statement = db.prepare_cached(
        "SELECT id, project_id, hash, scopes, label, created_at, revoked_at, expires_at, last_used_at, global
         FROM api_keys ORDER BY created_at, id",
    )?;
    let keys = statement.query_map([], |row| {
        let scopes: String = row.get(3)?;
        Ok(ApiKey {
            id: row.get(0)?,
            project: ProjectId(row.get(1)?),
            hash: row.get(2)?,
            scopes: Scopes::parse(&scopes)
                .map_err(|word| rusqlite::Error::FromSqlConversionFailure(3, Type::Text, word.into()))?,
            label: row.get(4)?,
            created_at: Timestamp(row.get(5)?),
            revoked_at: row.get::<_, Option<i64>>(6)?.map(Timestamp),
            expires_at: row.get::<_, Option<i64>>(7)?.map(Timestamp),
            last_used_at: row.get::<_, Option<i64>>(8)?.map(Timestamp),
            global: row.get(9)?,
        })
    })?;
    keys.collect()
}

/// Adds a key or replaces the one of the same id.
pub fn write_key(db: &Connection, key: &ApiKey) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO api_keys
             (id, project_id, hash, scopes, label, created_at, revoked_at, expires_at, last_used_at, global)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (id) DO UPDATE SET project_id = excluded.project_id, hash = excluded.hash, scopes = excluded.scopes,
             label = excluded.label, created_at = excluded.created_at, revoked_at = excluded.revoked_at,
             expires_at = excluded.expires_at, last_used_at = excluded.last_used_at, global = excluded.global",
        (
            &key.id,
            key.project.0,
            &key.hash,
            key.scopes.words(),
            &key.label,
            key.created_at.0,
            key.revoked_at.map(|t| t.0),
            key.expires_at.map(|t| t.0),
            key.last_used_at.map(|t| t.0),
            key.global,
        ),
    )
    .map(drop)
}

/// Notes when keys were used last.
pub fn touch_keys(db: &Connection, ids: &[String], at: Timestamp) -> rusqlite::Result<()> {
    let transaction = db.unchecked_transaction()?;
    for id in ids {
        transaction.prepare_cached("UPDATE api_keys SET last_used_at = ?2 WHERE id = ?1")?.execute((id, at.0))?;
    }
    transaction.commit()
}

/// The project of this name, made when it is missing.
pub fn ensure_project(db: &Connection, name: &str) -> rusqlite::Result<Project> {
    db.execute("INSERT INTO projects (name) VALUES (?1) ON CONFLICT (name) DO NOTHING", [name])?;
    let id = db.query_row("SELECT id FROM projects WHERE name = ?1", [name], |row| row.get(0))?;
    Ok(Project { id: ProjectId(id), name: name.into() })
}

/// What is known of the gateway's presence.
pub fn read_presence(db: &Connection) -> rusqlite::Result<PastPresence> {
    use rusqlite::OptionalExtension;
    let alive_at = db.query_row("SELECT alive_at FROM gateway_presence", [], |row| row.get(0)).optional()?;
    let mut statement = db.prepare("SELECT from_at, to_at FROM gateway_gaps ORDER BY from_at")?;
    let gaps = statement.query_map([], |row| Ok((Timestamp(row.get(0)?), Timestamp(row.get(1)?))))?;
    Ok(PastPresence { alive_at: alive_at.map(Timestamp), gaps: gaps.collect::<rusqlite::Result<_>>()? })
}

/// Adds an event.
pub fn write_event(db: &Connection, event: &NewEvent) -> rusqlite::Result<()> {
    let draft = &event.draft;
    db.prepare_cached(
        "INSERT INTO events (project_id, agent_id, at, kind, from_status, to_status, hard, cause, evidence)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute((
        event.project.0,
        event.agent.map(|a| a.0),
        draft.at.0,
        draft.kind.word(),
        draft.transition.map(|(from, _)| from.word()),
        draft.transition.map(|(_, to)| to.word()),
        draft.hard,
        &draft.cause,
        draft.evidence.to_string(),
    ))
    .map(drop)
}

/// Events, newest first.
pub fn read_events(db: &Connection, query: &EventQuery) -> rusqlite::Result<Vec<Event>> {
    let (column, value) = match query.agent {
        Some(agent) => ("agent_id", agent.0),
        None => ("project_id", query.project.0),
    };
    let mut statement = db.prepare_cached(&format!(
        "SELECT id, project_id, agent_id, at, kind, from_status, to_status, hard, cause, evidence FROM events
         WHERE {column} = ?1 AND project_id = ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4",
    ))?;
    let before = query.before.map_or(i64::MAX, |id| id.0);
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let events = statement.query_map((value, query.project.0, before, limit), read_event)?;
    events.collect()
}

/// Events after a number, the oldest first.
pub fn read_events_after(
    db: &Connection,
    project: ProjectId,
    agent: Option<AgentId>,
    after: EventId,
    limit: usize,
) -> rusqlite::Result<Vec<Event>> {
    let (column, value) = match agent {
        Some(agent) => ("agent_id", agent.0),
        None => ("project_id", project.0),
    };
    let mut statement = db.prepare_cached(&format!(
        "SELECT id, project_id, agent_id, at, kind, from_status, to_status, hard, cause, evidence FROM events
         WHERE {column} = ?1 AND project_id = ?2 AND id > ?3 ORDER BY id LIMIT ?4",
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let events = statement.query_map((value, project.0, after.0, limit), read_event)?;
    events.collect()
}

fn read_event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let status = |column: usize| -> rusqlite::Result<Option<Status>> {
        row.get::<_, Option<String>>(column)?.map(|word| from_word(&word)).transpose()
    };
    let kind: EventKind = from_word(&row.get::<_, String>(4)?)?;
    let evidence: String = row.get(9)?;
    Ok(Event {
        id: EventId(row.get(0)?),
        project: ProjectId(row.get(1)?),
        agent: row.get::<_, Option<i64>>(2)?.map(AgentId),
        draft: EventDraft {
            kind,
            at: Timestamp(row.get(3)?),
            transition: status(5)?.zip(status(6)?),
            hard: row.get(7)?,
            cause: row.get(8)?,
            evidence: from_json(&evidence)?,
        },
    })
}

/// Adds or replaces a command.
pub fn write_command(db: &Connection, command: &Command) -> rusqlite::Result<()> {
    let body = serde_json::to_string(command).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
    db.prepare_cached(
        "INSERT INTO commands (id, project_id, agent_id, open, body) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO UPDATE SET open = excluded.open, body = excluded.body",
    )?
    .execute((command.id.to_string(), command.project.0, command.agent.0, command.state.is_open(), body))
    .map(drop)
}

fn from_word<T: DeserializeOwned>(word: &str) -> rusqlite::Result<T> {
    serde_json::from_value(serde_json::Value::from(word)).map_err(unreadable_text)
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(unreadable_text)
}

fn unreadable_text(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error))
}
