//! The life of a command: queued, handed out once, answered or given up. Ended commands never change.

use serde_json::{Value, json};

use crate::model::{
    Actor, AgentId, AuditDraft, Body, Command, CommandChange, CommandId, CommandOrigin, CommandState, CommandUpdate,
    Decision, Deed, ERROR_TEXT_BYTES_MAX, EventDraft, EventKind, ProjectId, Timestamp,
};
use crate::store::NewEvent;

use super::Planner;
use crate::ingest::intake::{Refusal, RestartOutcome, Verdict};

/// A command that one runner does not know is offered again this often at most: other runners may watch its target.
const ATTEMPTS_MAX: u32 = 10;

impl Planner<'_> {
    /// Someone asks for a restart. One that is open already is joined.
    pub(super) fn restart(
        &mut self,
        project: ProjectId,
        id: AgentId,
        reason: String,
        during_maintenance: bool,
    ) -> Result<RestartOutcome, Refusal> {
        let row = self.of_project(project, id)?;
        if row.state.life.maintenance_until.is_some() && !during_maintenance {
            return Err(Refusal::InMaintenance);
        }
        if row.state.restart_target.is_none() {
            return Err(Refusal::NoTarget);
        }
        if let Some(open) = row.state.restarts.open
            && let Some(command) = self.commands.get(&open.id)
        {
            return Ok(RestartOutcome { command: command.clone(), joined: true });
        }
        self.queue_restart(id, CommandOrigin::Api, reason)
            .map(|command| RestartOutcome { command, joined: false })
            .ok_or(Refusal::NoTarget)
    }

    /// Queues a restart that has been decided.
    pub(super) fn queue_restart(&mut self, id: AgentId, origin: CommandOrigin, reason: String) -> Option<Command> {
        let row = self.agents.get(&id)?;
        let target = row.state.restart_target.as_deref()?.clone();
        let now = self.context.now;
        let command = Command {
            id: self.context.ids.command(now),
            project: row.key.project,
            agent: id,
            target,
            origin,
            reason,
            state: CommandState::Queued,
            created_at: now,
            not_after: now.plus(self.context.rules.commands().ttl),
            lease_until: None,
            attempts: 0,
            runner: None,
            ended_at: None,
            result: None,
        };
        if origin.is_automatic() {
            crate::health::restart_asked(self.projects.entry(command.project).or_default(), now);
            self.changed_projects.insert(command.project);
        }
        self.restart_event(&command, "queued", &command.reason.clone());
        self.put(command.clone());
        self.update(&command, CommandChange::Queued { automatic: origin.is_automatic() });
        Some(command)
    }

    /// Hands every queued command of the project to the runner at `peer`, each once.
    pub(super) fn hand_out(&mut self, project: ProjectId, peer: &str) -> Vec<Command> {
        let now = self.context.now;
        let lease_until = Some(now.plus(self.context.rules.commands().lease));
        let queued = self.commands.values().filter(|c| {
            // A runner that did not know the target is not asked again; its connection is the only hint at who it is.
            let refused_here = c.attempts > 0 && c.runner.as_deref() == Some(peer);
            c.project == project && c.state == CommandState::Queued && now < c.not_after && !refused_here
        });
        let mut handed: Vec<Command> = queued.cloned().collect();
        for command in &mut handed {
            command.state = CommandState::Leased;
            command.lease_until = lease_until;
            command.attempts += 1;
            command.runner = Some(peer.to_owned());
            self.put(command.clone());
            self.update(command, CommandChange::Started);
        }
        handed
    }

    /// A runner tells what became of a command.
    pub(super) fn command_result(
        &mut self,
        project: ProjectId,
        id: CommandId,
        verdict: Verdict,
        peer: &str,
        message: Option<String>,
    ) -> Result<Command, Refusal> {
        let command = self.commands.get(&id).filter(|c| c.project == project).ok_or(Refusal::NoCommand)?;
        let mut command = command.clone();
        if !command.state.is_open() {
            // A late or repeated report changes nothing.
            return Ok(command);
        }
        // A report names no lease. Once a runner has given the command back, only its holder can do so again: the other's
        // report may be repeated while this one is carrying it out.
        let is_holder = command.attempts == 1 || command.runner.as_deref() == Some(peer);
        if verdict == Verdict::Rejected && !(command.state == CommandState::Leased && is_holder) {
            return Ok(command);
        }
        let now = self.context.now;
        command.lease_until = None;
        command.result = message.map(|m| m[..m.floor_char_boundary(ERROR_TEXT_BYTES_MAX)].to_owned());
        if verdict == Verdict::Rejected && now < command.not_after && command.attempts < ATTEMPTS_MAX {
            // Not watched there: another runner may watch it.
            command.state = CommandState::Queued;
            self.put(command.clone());
            self.update(&command, CommandChange::Returned);
            return Ok(command);
        }
        let state = if verdict == Verdict::Completed { CommandState::Succeeded } else { CommandState::Failed };
        Ok(self.end(command, state, now))
    }

    /// A lease or the last moment to start may have passed.
    pub(super) fn command_deadline(&mut self, id: CommandId) {
        let Some(command) = self.commands.get(&id).filter(|c| c.state.is_open()) else { return };
        let now = self.context.now;
        if command.lease_until.unwrap_or(command.not_after) <= now {
            let mut command = command.clone();
            if let Some(until) = command.lease_until.map(|until| self.lease_end(until)).filter(|until| *until > now) {
                command.lease_until = Some(until);
                self.put(command);
                return;
            }
            command.result = Some(match (command.state, command.result.take()) {
                (CommandState::Leased, _) => "a runner took the command and never told the result".into(),
                (_, None) => "no runner took the command in time".into(),
                (_, Some(said)) => format!("no runner carried out the command in time; the last one said: {said}"),
            });
            self.end(command, CommandState::Expired, now);
        }
    }

    /// When a lease ends that was granted until `until`: a result that could not be told while the gateway was away is
    /// waited for that much longer.
    fn lease_end(&self, until: Timestamp) -> Timestamp {
        let lease = self.context.rules.commands().lease;
        self.context.presence.after(until.minus(lease), lease)
    }

    pub(super) fn end(&mut self, mut command: Command, state: CommandState, now: Timestamp) -> Command {
        command.state = state;
        command.lease_until = None;
        command.ended_at = Some(now);
        self.put(command.clone());
        let succeeded = state == CommandState::Succeeded;
        let project = self.projects.entry(command.project).or_default();
        let halted = crate::health::restart_ended(project, command.origin.is_automatic(), succeeded, now);
        self.changed_projects.insert(command.project);
        self.restart_event(&command, state.word(), command.result.as_deref().unwrap_or(""));
        let project = command.project;
        self.writes.events.extend(halted.map(|draft| NewEvent { project, agent: None, draft }));
        self.update(&command, if succeeded { CommandChange::Succeeded } else { CommandChange::Ended });
        command
    }

    fn put(&mut self, command: Command) {
        self.changed_commands.insert(command.id);
        self.commands.insert(command.id, command);
    }

    fn update(&mut self, command: &Command, change: CommandChange) {
        self.tell(command.agent, Body::Command(CommandUpdate { id: command.id, change }));
    }

    fn restart_event(&mut self, command: &Command, outcome: &str, text: &str) {
        if self.actor.is_none() {
            // What the gateway does by itself; what somebody asked for is recorded with who did.
            let deed = Deed {
                actor: Actor::SYSTEM,
                action: format!("command.{outcome}"),
                target: format!("agent {}", command.agent),
                before: Value::Null,
                after: json!({"state": command.state, "origin": command.origin.word()}),
                decision: Decision::Allowed,
                reason: text.to_owned(),
                command_id: Some(command.id),
            };
            self.writes.audit.push(AuditDraft { at: self.context.now, project: Some(command.project), deed });
        }
        let colon = if text.is_empty() { "" } else { ": " };
        self.writes.events.push(NewEvent {
            project: command.project,
            agent: Some(command.agent),
            draft: EventDraft {
                kind: EventKind::Restart,
                at: self.context.now,
                transition: None,
                hard: true,
                cause: format!("restart {outcome}{colon}{text}"),
                evidence: json!({
                    "command_id": command.id.to_string(), "outcome": outcome, "origin": command.origin.word(),
                    "type": command.target.kind, "target": command.target.target, "attempts": command.attempts,
                }),
            },
        });
    }
}
