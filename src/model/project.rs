//! Projects and the keys that open them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ProjectId, Timestamp};

/// A project: agents and keys belong to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its number.
    pub id: ProjectId,
    /// Its name, unique; the `project` label of metrics.
    pub name: Arc<str>,
}

/// The longest name of a project, in bytes.
pub const PROJECT_NAME_BYTES_MAX: usize = 100;

impl Project {
    /// Whether a text can be a project's name. The error says what is wrong.
    pub fn check_name(name: &str) -> Result<(), String> {
        if name.trim().is_empty() {
            Err("a project's name cannot be empty".into())
        } else if name.len() > PROJECT_NAME_BYTES_MAX {
            Err(format!("a project's name has at most {PROJECT_NAME_BYTES_MAX} bytes, this one has {}", name.len()))
        } else if name.chars().any(char::is_control) || name.trim() != name {
            Err("a project's name has no control characters and no space around it".into())
        } else {
            Ok(())
        }
    }
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Send heartbeats, telemetry and webhooks.
    Ingest,
    /// Read status, metrics and events.
    Read,
    /// Fetch commands and report on them.
    Runner,
    /// Ask for restarts.
    Command,
    /// Approve commands of others.
    Approve,
    /// Keys, settings, projects.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 6] = [Self::Ingest, Self::Read, Self::Runner, Self::Command, Self::Approve, Self::Admin];

    /// The word used in JSON, on the command line and in the store.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Runner => "runner",
            Self::Command => "command",
            Self::Approve => "approve",
            Self::Admin => "admin",
        }
    }

    /// The scope of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.word() == word)
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// The set of these scopes.
    pub fn of(scopes: &[Scope]) -> Self {
        Self(scopes.iter().fold(0, |bits, s| bits | 1 << *s as u8))
    }

    /// Whether `scope` is in the set.
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }

    /// The words of the set, separated by commas.
    pub fn words(self) -> String {
        let words: Vec<_> = Scope::ALL.into_iter().filter(|s| self.has(*s)).map(Scope::word).collect();
        words.join(",")
    }

    /// Reads words separated by commas. The error is the first word that is no scope.
    pub fn parse(words: &str) -> Result<Self, String> {
        let parse = |w: &str| Scope::parse(w.trim()).ok_or_else(|| w.trim().to_owned());
        Ok(Self::of(&words.split(',').filter(|w| !w.trim().is_empty()).map(parse).collect::<Result<Vec<_>, _>>()?))
    }
}

/// A key as stored: never the secret, only its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The public part, by which the key is looked up and named in logs.
    pub id: String,
    /// The project it opens.
    pub project: ProjectId,
    /// SHA-256 of the whole key as presented.
    pub hash: [u8; 32],
    /// What it may do.
    pub scopes: Scopes,
    /// What a person calls it.
    pub label: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// From when on it opens nothing any more.
    pub expires_at: Option<Timestamp>,
    /// When it was used last, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// Whether its scope `admin` reaches all projects, not only its own.
    pub global: bool,
}

impl ApiKey {
    /// A key without a label that does not expire and is for one project only.
    pub fn new(id: String, project: ProjectId, hash: [u8; 32], scopes: Scopes, created_at: Timestamp) -> Self {
        Self {
            id,
            project,
            hash,
            scopes,
            label: String::new(),
            created_at,
            revoked_at: None,
            expires_at: None,
            last_used_at: None,
            global: false,
        }
    }

    /// Whether it opens anything at `now`.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }
}

/// Who makes a request, once its key has been checked.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The project the key opens.
    pub project: ProjectId,
    /// The id of the key, for logs and audit.
    pub key_id: Arc<str>,
    /// What the key may do.
    pub scopes: Scopes,
    /// Whether it administers all projects.
    pub global: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_what_they_write() {
        let scopes = Scopes::of(&[Scope::Ingest, Scope::Runner]);
        assert_eq!(scopes.words(), "ingest,runner");
        assert_eq!(Scopes::parse(" ingest, runner "), Ok(scopes));
        assert_eq!(Scopes::parse("ingest,rum"), Err("rum".into()));
        assert!(scopes.has(Scope::Runner) && !scopes.has(Scope::Admin));
    }
}
