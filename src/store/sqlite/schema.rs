//! Forward-only migrations, each applied once and remembered with its checksum.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::store::StoreError;

/// The migrations in order: name and text. A released one never changes; a change is a new one.
const MIGRATIONS: [(&str, &str); 6] = [
    ("0001_initial", include_str!("migrations/0001_initial.sql")),
    ("0002_administration", include_str!("migrations/0002_administration.sql")),
    ("0003_services", include_str!("migrations/0003_services.sql")),
    ("0004_project_state", include_str!("migrations/0004_project_state.sql")),
    ("0005_memory_keys", include_str!("migrations/0005_memory_keys.sql")),
    ("0006_instances", include_str!("migrations/0006_instances.sql")),
];

/// Brings the schema of `connection` up to date.
///
/// Errors: [`StoreError::Corrupt`] when the file was written by a newer release, or when a migration was changed after
/// it had been applied.
pub fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    connection
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS schema_migrations (
                 version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL
             ) STRICT",
        )
        .map_err(|e| super::failed(&e))?;
    for (index, (name, text)) in MIGRATIONS.iter().enumerate() {
        apply(connection, index as i64 + 1, name, text)?;
    }
    let newest: i64 = connection
        .query_row("SELECT coalesce(max(version), 0) FROM schema_migrations", [], |row| row.get(0))
        .map_err(|e| super::failed(&e))?;
    if newest > MIGRATIONS.len() as i64 {
        return Err(StoreError::Corrupt(format!(
            "the database has schema version {newest}, this program knows {}; run the newer release that wrote it",
            MIGRATIONS.len()
        )));
    }
    Ok(())
}

fn apply(connection: &mut Connection, version: i64, name: &str, text: &str) -> Result<(), StoreError> {
    let checksum = blake3::hash(text.as_bytes()).to_hex().to_string();
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|e| super::failed(&e))?;
    let applied: Option<String> = transaction
        .query_row("SELECT checksum FROM schema_migrations WHERE version = ?1", [version], |row| row.get(0))
        .optional()
        .map_err(|e| super::failed(&e))?;
    match applied {
        Some(stored) if stored == checksum => Ok(()),
        Some(_) => Err(StoreError::Corrupt(format!(
            "migration {name} was applied in another form than this program has; use the release that wrote the database"
        ))),
        None => {
            transaction.execute_batch(text).map_err(|e| super::failed(&e))?;
            transaction
                .execute(
                    "INSERT INTO schema_migrations (version, name, checksum) VALUES (?1, ?2, ?3)",
                    (version, name, &checksum),
                )
                .map_err(|e| super::failed(&e))?;
            transaction.commit().map_err(|e| super::failed(&e))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db).unwrap();
        migrate(&mut db).unwrap();
    }

    #[test]
    fn a_changed_or_newer_schema_is_refused() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db).unwrap();
        db.execute("UPDATE schema_migrations SET checksum = 'x'", []).unwrap();
        assert!(matches!(migrate(&mut db), Err(StoreError::Corrupt(m)) if m.contains("0001_initial")));
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db).unwrap();
        db.execute("INSERT INTO schema_migrations VALUES (99, 'future', 'x')", []).unwrap();
        assert!(matches!(migrate(&mut db), Err(StoreError::Corrupt(m)) if m.contains("99")));
    }
}
