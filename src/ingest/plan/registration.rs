//! Names that are new to a project: they become agents at once, or only by somebody's word.

use std::sync::Arc;
use std::time::Duration;

use super::Planner;
use crate::ingest::intake::Refusal;
use crate::model::{AgentId, AgentKey, REGISTRATIONS_MAX, Registration, RegistrationMode};
use crate::store::AgentRow;

/// A name that goes on being heard is written down again at most this often.
const NOTE_EVERY: Duration = Duration::from_secs(60);

impl Planner<'_> {
    /// Whether a name may become an agent without anybody's word.
    pub(super) fn admit(&mut self, key: &AgentKey) -> Result<(), Refusal> {
        let name = key.name.clone();
        match self.context.rules.registration(key.project) {
            RegistrationMode::Open => Ok(()),
            RegistrationMode::Strict => Err(Refusal::NotRegistered { name, near: None }),
            RegistrationMode::Approve if self.note_name(key) => Err(Refusal::TurnedAway { name }),
            RegistrationMode::Approve => Err(Refusal::AwaitsApproval { name, near: None }),
        }
    }

    /// Notes that a name was heard that waits for somebody's word; whether it was turned away before.
    fn note_name(&mut self, key: &AgentKey) -> bool {
        let now = self.context.now;
        let noted = match self.registrations.get(key) {
            Some(known) if now.since(known.last_at) < NOTE_EVERY => return known.rejected,
            Some(known) => Registration { last_at: now, attempts: known.attempts.saturating_add(1), ..*known },
            None => {
                let count = self.registration_counts.entry(key.project).or_default();
                if *count >= REGISTRATIONS_MAX {
                    return false;
                }
                *count += 1;
                Registration { rejected: false, first_at: now, last_at: now, attempts: 1 }
            }
        };
        self.put_registration(key, Some(noted));
        noted.rejected
    }

    fn put_registration(&mut self, key: &AgentKey, registration: Option<Registration>) {
        match registration {
            Some(r) => drop(self.registrations.insert(key.clone(), r)),
            None => drop(self.registrations.remove(key)),
        }
        self.writes.registrations.retain(|(written, _)| written != key);
        self.writes.registrations.push((key.clone(), registration));
    }

    /// Somebody's word that a name is an agent.
    pub(super) fn register(&mut self, key: &AgentKey) -> Result<AgentId, Refusal> {
        let id = *self.agent_ids.get(key).ok_or(Refusal::NoAgent)?;
        if self.agents.contains_key(&id) {
            return Ok(id);
        }
        self.create(id, key)?;
        self.change(id)?;
        self.put_registration(key, None);
        Ok(id)
    }

    /// Somebody's word that a name is no agent: it is remembered as turned away, or forgotten.
    pub(super) fn turn_away(&mut self, key: &AgentKey, remember: bool) -> Result<(), Refusal> {
        let now = self.context.now;
        let known = self.registrations.get(key).copied();
        if known.is_none() && (!remember || self.is_agent(key)) {
            return Err(Refusal::NoRegistration);
        }
        let fresh = Registration { rejected: true, first_at: now, last_at: now, attempts: 0 };
        let turned = Registration { rejected: true, ..known.unwrap_or(fresh) };
        self.put_registration(key, remember.then_some(turned));
        Ok(())
    }

    fn is_agent(&self, key: &AgentKey) -> bool {
        self.agent_ids.get(key).is_some_and(|id| self.agents.contains_key(id))
    }

    /// Makes the agent, if the project may have one more.
    pub(super) fn create(&mut self, id: AgentId, key: &AgentKey) -> Result<(), Refusal> {
        let counts = self.counts.entry(key.project).or_default();
        if counts.agents >= self.context.rules.agents_max(key.project) {
            return Err(Refusal::AgentLimit);
        }
        counts.agents += 1;
        self.agents.insert(id, Arc::new(AgentRow::new(id, key.clone(), self.context.now)));
        Ok(())
    }
}
