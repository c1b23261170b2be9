//! Who is who: agents get other names, become part of each other, or end. Usable by everything that plans; what was
//! decided earlier in the same batch follows.

use serde_json::json;

use super::Planner;
use super::absorb::absorb;
use crate::ingest::intake::Refusal;
use crate::model::{
    Actor, AgentId, AgentKey, AuditDraft, Body, CommandState, Covers, Decision, Deed, MaintenanceWindow, ProjectCounts,
    Rollup, Sums,
};

/// What becomes of a name that an agent no longer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FormerName {
    /// What is told of it still reaches the agent.
    Alias,
    /// It can be another agent's.
    Free,
}

impl FormerName {
    /// The agent it leads to.
    fn leads_to(self, id: AgentId) -> Option<AgentId> {
        (self == Self::Alias).then_some(id)
    }
}

impl Planner<'_> {
    /// Gives an agent another name, which must have been looked up.
    ///
    /// Refused when another agent has that name, or had it.
    pub(super) fn rename(&mut self, id: AgentId, name: &AgentKey, former: FormerName) -> Result<(), Refusal> {
        let row = self.of_project(name.project, id)?;
        let before = row.key.clone();
        if before == *name {
            return Ok(());
        }
        if let Some(holder) = self.agent_ids.get(name).copied().filter(|holder| *holder != id)
            && let Some(other) = self.agents.get(&holder)
        {
            return Err(Refusal::NameTaken { name: name.name.clone(), agent: holder, goes_by: other.key.name.clone() });
        }
        let row = self.change(id)?;
        row.key = name.clone();
        self.agent_ids.insert(name.clone(), id);
        self.writes.aliases.push((name.clone(), None));
        self.writes.aliases.push((before.clone(), former.leads_to(id)));
        self.note_identity("agent.rename", &before, id, &json!({"name": before.name}), &json!({"name": name.name}));
        // Expectations can depend on the name.
        self.tell(id, Body::PolicyChanged);
        Ok(())
    }

    /// Makes agent `from` part of agent `into`: sums are added once, events, history and names change hands.
    pub(super) fn merge(&mut self, from: AgentId, into: AgentId, former: FormerName) -> Result<(), Refusal> {
        if from == into {
            return Err(Refusal::SameAgent);
        }
        let project = self.agents.get(&from).ok_or(Refusal::NoAgent)?.key.project;
        self.of_project(project, into)?;
        self.advance_history(into);
        let Some(from_row) = self.take_out(from) else { return Err(Refusal::NoAgent) };
        let (now, presence) = (self.context.now, self.context.presence);
        let pieces = from_row.history.clone().end(now, &from_row.state, presence);
        self.writes.rollups.iter_mut().filter(|r| r.agent == from).for_each(|r| r.agent = into);
        self.writes.rollups.extend(pieces.into_iter().map(|(hour, slot, body)| Rollup {
            project,
            agent: into,
            origin: from,
            hour,
            slot,
            body,
        }));
        for event in self.writes.events.iter_mut().filter(|e| e.agent == Some(from)) {
            event.agent = Some(into);
        }
        let row = self.change(into)?;
        let before = row.state.counts();
        absorb(&mut row.state, &from_row.state);
        row.history.adopt(&Sums::of(&from_row.state));
        row.created_at = row.created_at.min(from_row.created_at);
        let (into_key, after) = (row.key.clone(), row.state.counts());
        self.counts.entry(project).or_default().replace(before, after);
        self.cancel_open(from, &format!("the agent became part of {:?}", into_key.name));
        self.hand_over_windows(from, Some(into));
        self.writes.moved.push((from, into));
        self.writes.removed.push(from);
        self.writes.aliases.push((from_row.key.clone(), former.leads_to(into)));
        self.agent_ids.values_mut().filter(|id| **id == from).for_each(|id| *id = into);
        let gone = json!({"agent_id": from, "name": from_row.key.name});
        self.note_identity(
            "agent.merge",
            &from_row.key,
            from,
            &gone,
            &json!({"agent_id": into, "name": into_key.name}),
        );
        self.tell(into, Body::DeadlinePassed);
        Ok(())
    }

    /// Ends an agent. Its events and its history go with it.
    pub(super) fn remove(&mut self, id: AgentId) -> Result<(), Refusal> {
        self.take_out(id).ok_or(Refusal::NoAgent)?;
        self.cancel_open(id, "the agent was deleted");
        self.hand_over_windows(id, None);
        self.writes.events.retain(|event| event.agent != Some(id));
        self.writes.rollups.retain(|rollup| rollup.agent != id);
        self.writes.removed.push(id);
        Ok(())
    }

    /// Takes an agent out of what the batch works on.
    fn take_out(&mut self, id: AgentId) -> Option<std::sync::Arc<crate::store::AgentRow>> {
        let row = self.agents.remove(&id)?;
        let counts = self.counts.entry(row.key.project).or_default();
        counts.replace(row.state.counts(), ProjectCounts::default());
        if self.is_changed.remove(&id) {
            self.changed.retain(|changed| *changed != id);
        }
        Some(row)
    }

    /// Maintenance windows that are for `from` alone are for `into` now; without one they end.
    fn hand_over_windows(&mut self, from: AgentId, into: Option<AgentId>) {
        let own: Vec<_> = self.windows.values().filter(|w| w.covers == Covers::Agent(from)).cloned().collect();
        for window in own {
            let id = window.id;
            let kept = into.map(|agent| MaintenanceWindow { covers: Covers::Agent(agent), ..window });
            match &kept {
                Some(window) => self.windows.insert(id, window.clone()),
                None => self.windows.remove(&id),
            };
            self.writes.windows.retain(|(written, _)| *written != id);
            self.writes.windows.push((id, kept));
        }
    }

    fn cancel_open(&mut self, agent: AgentId, why: &str) {
        let open: Vec<_> = self.commands.values().filter(|c| c.agent == agent && c.state.is_open()).cloned().collect();
        for mut command in open {
            command.result = Some(why.to_owned());
            self.end(command, CommandState::Cancelled, self.context.now);
        }
    }

    /// What the gateway does by itself goes into the audit chain here; what a person asked for, where they asked.
    fn note_identity(
        &mut self,
        action: &str,
        key: &AgentKey,
        id: AgentId,
        before: &serde_json::Value,
        after: &serde_json::Value,
    ) {
        if self.actor.is_some() {
            return;
        }
        let deed = Deed {
            actor: Actor::SYSTEM,
            action: action.into(),
            target: format!("agent {id} {}", key.name),
            before: before.clone(),
            after: after.clone(),
            decision: Decision::Allowed,
            reason: String::new(),
            command_id: None,
        };
        self.writes.audit.push(AuditDraft { at: self.context.now, project: Some(key.project), deed });
    }
}
