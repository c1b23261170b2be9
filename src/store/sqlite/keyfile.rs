//! Keys, projects and the audit chain of a database that a gateway may have open at the same time.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{connect, failed, records, rows, schema};
use crate::model::{ApiKey, AuditDraft, AuditHash, AuditRow, AuditWalk, Project};
use crate::store::{AuditQuery, StoreError};

/// Keys and projects of a database that a gateway may have open at the same time: for the command line.
pub struct KeyFile(Connection);

/// The audit chain from end to end: how many rows, and the last one's place and hash; or the first broken row.
pub type Verified = Result<(u64, Option<(i64, AuditHash)>), crate::model::AuditFault>;

impl KeyFile {
    /// Opens the database at `path`, makes it when missing.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut db = connect(path)?;
        schema::migrate(&mut db)?;
        Ok(Self(db))
    }

    /// All keys, revoked ones included.
    pub fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        rows::read_keys(&self.0).map_err(|e| failed(&e))
    }

    /// Adds a key or replaces the one of the same id, and adds what was done to the audit chain.
    pub fn put_key(&mut self, key: &ApiKey, audit: &[AuditDraft]) -> Result<(), StoreError> {
        self.write(|db| {
            rows::write_key(db, key)?;
            records::write_audit(db, audit)
        })
    }

    /// All projects.
    pub fn projects(&self) -> Result<Vec<Project>, StoreError> {
        rows::read_projects(&self.0).map_err(|e| failed(&e))
    }

    /// The project of this name, made when it is missing.
    pub fn ensure_project(&self, name: &str) -> Result<Project, StoreError> {
        rows::ensure_project(&self.0, name).map_err(|e| failed(&e))
    }

    /// Adds to the audit chain.
    pub fn put_audit(&mut self, audit: &[AuditDraft]) -> Result<(), StoreError> {
        self.write(|db| records::write_audit(db, audit))
    }

    /// Rows of the audit chain, newest first.
    pub fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditRow>, StoreError> {
        records::read_audit(&self.0, query).map_err(|e| failed(&e))
    }

    /// Walks the whole audit chain. `anchor` is a row's place and hash that was noted down elsewhere: it must be there.
    pub fn verify_audit(&self, anchor: Option<(i64, AuditHash)>) -> Result<Verified, StoreError> {
        let mut walk = AuditWalk::default();
        let fault = |seq, problem: &str| crate::model::AuditFault { seq, problem: problem.into() };
        let step = |row: &AuditRow| {
            walk.step(row)?;
            match anchor {
                Some((seq, hash)) if seq == row.seq && hash != row.hash => {
                    Err(fault(seq, "is not the row that was noted down: the chain was written anew"))
                }
                _ => Ok(()),
            }
        };
        let walked = records::walk_audit(&self.0, step).map_err(|e| failed(&e))?;
        Ok(walked.and_then(|()| {
            let end = walk.end();
            match anchor {
                Some((seq, _)) if end.1.is_none_or(|(last, _)| last < seq) => {
                    Err(fault(seq, "missing: the end of the chain was cut off"))
                }
                _ => Ok(end),
            }
        }))
    }

    fn write(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> Result<(), StoreError> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|e| failed(&e))?;
        work(&transaction).map_err(|e| failed(&e))?;
        transaction.commit().map_err(|e| failed(&e))
    }
}
