//! Who changed what. Rows are only ever added, and each carries a hash over itself and the hash before it, so that a row
//! that was changed, taken out or put in between shows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CommandId, ProjectId, Timestamp};

/// A hash of a row and of all rows before it: BLAKE3.
pub type AuditHash = [u8; 32];

/// What the first row has as the hash before it.
pub const AUDIT_BEGIN: AuditHash = [0; 32];

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// What kind of actor.
    pub kind: ActorKind,
    /// The id of its API key, if it used one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<Arc<str>>,
    /// The address its request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// What kind of actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// Whoever holds an API key.
    Key,
    /// Whoever may run the program on the data directory.
    Cli,
    /// The gateway itself, by policy.
    System,
}

impl Actor {
    /// The gateway itself.
    pub const SYSTEM: Self = Self { kind: ActorKind::System, key_id: None, address: None };
    /// The command line, on the data directory.
    pub const CLI: Self = Self { kind: ActorKind::Cli, key_id: None, address: None };

    /// Whoever holds the key of this id.
    pub fn key(key_id: Arc<str>, address: Option<String>) -> Self {
        Self { kind: ActorKind::Key, key_id: Some(key_id), address }
    }
}

/// What was decided about something that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Done.
    Allowed,
    /// Not done.
    Refused,
}

/// Something that was done or refused, before it is part of the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditDraft {
    /// When.
    pub at: Timestamp,
    /// The project it concerns; `None` when it is about the gateway as a whole.
    pub project: Option<ProjectId>,
    /// Who, what and why.
    pub deed: Deed,
}

/// Who did what to what, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deed {
    /// Who.
    pub actor: Actor,
    /// What, as a word: `agent.settings`, `key.revoke`.
    pub action: String,
    /// To what: `agent 7 research-agent`, `key 141d3472`.
    pub target: String,
    /// What it was like before; `null` when it did not exist or nobody looked.
    pub before: Value,
    /// What it is like now.
    pub after: Value,
    /// Whether it was done.
    pub decision: Decision,
    /// Why it was asked for, or why it was refused.
    pub reason: String,
    /// The command it led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_id: Option<CommandId>,
}

/// A row of the chain, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its place, from 1, without holes.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// The project it concerns.
    pub project: Option<ProjectId>,
    /// The [`Deed`] as JSON; the hash is over these very bytes.
    pub body: String,
    /// The hash of the row before.
    pub prev_hash: AuditHash,
    /// The hash of this row.
    pub hash: AuditHash,
}

impl AuditRow {
    /// The row that `draft` becomes after `last`, given by its place and hash.
    pub fn after(last: Option<(i64, AuditHash)>, draft: &AuditDraft) -> Self {
        let (seq, prev_hash) = last.map_or((1, AUDIT_BEGIN), |(seq, hash)| (seq + 1, hash));
        // Plain text, numbers and values always become JSON; were it otherwise, the row would still be in the chain.
        let body = serde_json::to_string(&draft.deed).unwrap_or_default();
        let mut row = Self { seq, at: draft.at, project: draft.project, body, prev_hash, hash: AUDIT_BEGIN };
        row.hash = row.computed();
        row
    }

    /// The hash that the row should have: over every part of it, each of fixed length or with its length before it.
    pub fn computed(&self) -> AuditHash {
        let mut hasher = blake3::Hasher::new_derive_key("pulsegate audit row v1");
        hasher.update(&self.prev_hash);
        hasher.update(&self.seq.to_le_bytes());
        hasher.update(&self.at.0.to_le_bytes());
        hasher.update(&self.project.map_or(-1, |p| p.0).to_le_bytes());
        hasher.update(&(self.body.len() as u64).to_le_bytes());
        hasher.update(self.body.as_bytes());
        *hasher.finalize().as_bytes()
    }

    /// What the row tells; `None` when its text cannot be read.
    pub fn deed(&self) -> Option<Deed> {
        serde_json::from_str(&self.body).ok()
    }
}

/// A walk along the chain.
#[derive(Clone, Debug, Default)]
pub struct AuditWalk {
    last: Option<(i64, AuditHash)>,
    rows: u64,
}

/// Where the chain is broken, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {seq}: {problem}")]
pub struct AuditFault {
    /// The first row that is wrong.
    pub seq: i64,
    /// What is wrong.
    pub problem: String,
}

impl AuditWalk {
    /// Takes the next row, in order of their place.
    pub fn step(&mut self, row: &AuditRow) -> Result<(), AuditFault> {
        let (expected, prev_hash) = self.last.map_or((1, AUDIT_BEGIN), |(seq, hash)| (seq + 1, hash));
        let fault = |seq, problem: &str| Err(AuditFault { seq, problem: problem.into() });
        if row.seq != expected {
            return fault(expected, &format!("missing; the next row is {}", row.seq));
        }
        if row.prev_hash != prev_hash {
            return fault(row.seq, "does not continue from the row before it");
        }
        if row.hash != row.computed() {
            return fault(row.seq, "its contents do not fit its hash: it was changed after it was written");
        }
        if row.deed().is_none() {
            return fault(row.seq, "its text cannot be read");
        }
        self.last = Some((row.seq, row.hash));
        self.rows += 1;
        Ok(())
    }

    /// How many rows were walked, and the last one's place and hash.
    pub const fn end(&self) -> (u64, Option<(i64, AuditHash)>) {
        (self.rows, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(n: i64) -> Vec<AuditRow> {
        let mut rows: Vec<AuditRow> = Vec::new();
        for i in 0..n {
            let deed = Deed {
                actor: Actor::key("aaaa".into(), Some("127.0.0.1".into())),
                action: "agent.pause".into(),
                target: format!("agent {i}"),
                before: Value::Null,
                after: serde_json::json!({"paused": true}),
                decision: Decision::Allowed,
                reason: String::new(),
                command_id: None,
            };
            let draft = AuditDraft { at: Timestamp(i), project: Some(ProjectId(1)), deed };
            let last = rows.last().map(|r| (r.seq, r.hash));
            rows.push(AuditRow::after(last, &draft));
        }
        rows
    }

    fn walk(rows: &[AuditRow]) -> Result<u64, AuditFault> {
        let mut walk = AuditWalk::default();
        rows.iter().try_for_each(|row| walk.step(row))?;
        Ok(walk.end().0)
    }

    #[test]
    fn an_untouched_chain_holds_and_tells_its_deeds() {
        let rows = chain(5);
        assert_eq!(walk(&rows), Ok(5));
        assert_eq!(rows[3].deed().map(|d| d.target), Some("agent 3".into()));
    }

    #[test]
    fn every_way_to_tamper_is_found_at_its_first_row() {
        type Tamper = fn(&mut Vec<AuditRow>);
        let cases: [(i64, Tamper); 7] = [
            (2, |rows| rows[1].body = rows[1].body.replace("agent 1", "agent 9")),
            (3, |rows| rows[2].at = Timestamp(77)),
            (3, |rows| rows[2].project = None),
            (1, |rows| drop(rows.remove(0))),
            (3, |rows| drop(rows.remove(2))),
            // Changed and hashed anew: then the row after it no longer continues from it.
            (3, |rows| {
                rows[1].body = rows[1].body.replace("agent 1", "agent 9");
                rows[1].hash = rows[1].computed();
            }),
            (4, |rows| rows.swap(3, 4)),
        ];
        for (i, (seq, tamper)) in cases.into_iter().enumerate() {
            let mut rows = chain(5);
            tamper(&mut rows);
            assert_eq!(walk(&rows).map_err(|f| f.seq), Err(seq), "case {i}");
        }
    }
}
