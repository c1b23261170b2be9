//! Changes with a name to them: who asks is known, and goes into the audit chain with what they asked for.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::Api;
use crate::http::{ApiError, Peer};
use crate::ingest::{Audited, Change, Intake, Outcome, Work};
use crate::model::{Actor, AuditDraft, Caller, Decision, Deed, ProjectId, Scope, Timestamp};

/// So many refusals are recorded a minute: a key that is refused again and again must not fill the disk.
const REFUSALS_PER_MINUTE_MAX: u32 = 60;

/// How many refusals may still be recorded this minute.
#[derive(Clone, Default)]
pub struct RefusalBudget(Arc<Mutex<(i64, u32)>>);

impl RefusalBudget {
    fn take(&self, now: Timestamp) -> bool {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now.as_secs() / 60;
        if spent.0 != minute {
            *spent = (minute, 0);
        }
        spent.1 += 1;
        spent.1 <= REFUSALS_PER_MINUTE_MAX
    }
}

impl Api {
    /// Who makes a change that needs `scope`. A good key that lacks it is refused, and that is recorded.
    pub(super) async fn admit(
        &self,
        headers: &HeaderMap,
        scope: Scope,
        peer: &Peer,
        action: &str,
        target: &str,
    ) -> Result<Caller, ApiError> {
        let refused = match self.authorize(headers, scope) {
            Err(error) if error.status() == StatusCode::FORBIDDEN => error,
            settled => return settled,
        };
        if let Some(caller) = self.keyring.refused(headers) {
            let reason = format!("the key lacks the scope {}", scope.word());
            self.refused(&caller, peer, action, target, reason).await;
        }
        Err(refused)
    }

    /// Records that a caller was refused.
    pub(super) async fn refused(&self, caller: &Caller, peer: &Peer, action: &str, target: &str, reason: String) {
        let at = self.clock.now();
        if !self.refusals.take(at) {
            return;
        }
        let deed = Deed {
            actor: actor(caller, peer),
            action: action.into(),
            target: target.into(),
            before: Value::Null,
            after: Value::Null,
            decision: Decision::Refused,
            reason,
            command_id: None,
        };
        let note = Change::Note(AuditDraft { at, project: Some(caller.project), deed });
        let work = Work::Administer(Box::new(note));
        let intake = Intake { project: caller.project, dedup: None, bytes: 1, work };
        if let Err(error) = self.committer.submit(intake).await {
            tracing::warn!(%error, "a refusal could not be recorded");
        }
    }

    /// Does `work` in `project` in the name of `caller`.
    pub(super) async fn record(
        &self,
        caller: &Caller,
        peer: &Peer,
        project: ProjectId,
        work: Work,
    ) -> Result<Outcome, ApiError> {
        let work = Work::Audited(Box::new(Audited { actor: actor(caller, peer), work }));
        Ok(self.committer.submit(Intake { project, dedup: None, bytes: 1, work }).await?)
    }

    /// Makes a change in `project` in the name of `caller`.
    pub(super) async fn administer(
        &self,
        caller: &Caller,
        peer: &Peer,
        project: ProjectId,
        change: Change,
    ) -> Result<crate::ingest::administer::Changed, ApiError> {
        match self.record(caller, peer, project, Work::Administer(Box::new(change))).await? {
            Outcome::Administered(result) => Ok(result?),
            _ => Err(ApiError::unavailable("the change was not taken in", 1)),
        }
    }

    /// The project a caller administers: its own, or with a global key the one it names. Another one looks like none.
    pub(super) async fn administered(&self, caller: &Caller, named: Option<&str>) -> Result<ProjectId, ApiError> {
        let Some(name) = named else { return Ok(caller.project) };
        let projects = self.store.projects().await?;
        let found = projects.iter().find(|p| &*p.name == name).map(|p| p.id);
        found.filter(|id| *id == caller.project || caller.global).ok_or_else(|| ApiError::not_found("Project"))
    }
}

fn actor(caller: &Caller, peer: &Peer) -> Actor {
    Actor::key(caller.key_id.clone(), peer.0.map(|ip| ip.to_string()))
}
