//! What administrators ask of the committer, and what it answers.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::model::{Actor, AgentId, AgentKey, ApiKey, AuditDraft, MaintenanceWindow, WindowId};

use super::Work;

/// Work that somebody answers for: it goes into the audit chain, whether done or refused, in the same transaction.
#[derive(Clone, Debug)]
pub struct Audited {
    /// Who asks.
    pub actor: Actor,
    /// For what.
    pub work: Work,
}

/// A change by an administrator.
#[derive(Clone, Debug)]
pub enum Change {
    /// Give an agent another name; it stays known under the old one.
    Rename {
        /// Which.
        agent: AgentId,
        /// Its new name.
        name: AgentKey,
    },
    /// Make an agent part of another one of the same project: sums, events, history and names.
    Merge {
        /// The one that ends.
        from: AgentId,
        /// The one that goes on.
        into: AgentId,
    },
    /// End an agent, with its events and its history. If it is heard again, it is a new one.
    Remove(AgentId),
    /// Make an agent of this name, whatever the project says about new names.
    Register(AgentKey),
    /// A name that waits is turned away for good (`true`), or forgotten.
    TurnAway {
        /// Which.
        name: AgentKey,
        /// Whether it is remembered as turned away.
        remember: bool,
    },
    /// A maintenance window, new when its number is zero.
    PutWindow(MaintenanceWindow),
    /// End a maintenance window.
    DropWindow(WindowId),
    /// A key, new or changed.
    PutKey {
        /// The key as it is to be.
        key: ApiKey,
        /// As it was.
        before: Option<ApiKey>,
        /// What was done to it: `create`, `revoke`.
        deed: &'static str,
    },
    /// Make a project.
    MakeProject(Arc<str>),
    /// Only note something down, a refusal for example.
    Note(AuditDraft),
}

/// What a change led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The agent that is there now.
    pub agent: Option<AgentId>,
    /// The window that is there now.
    pub window: Option<WindowId>,
}

/// A key without its hash, for the audit chain.
pub fn key_view(key: &ApiKey) -> Value {
    let time = |at: Option<crate::model::Timestamp>| at.map(|t| t.to_string());
    json!({
        "id": key.id, "project_id": key.project, "scopes": key.scopes.words(), "label": key.label, "global": key.global,
        "expires_at": time(key.expires_at), "revoked_at": time(key.revoked_at),
    })
}
