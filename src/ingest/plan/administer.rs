//! Changes by administrators, and the audit chain's record of who asked for what.

use serde_json::{Value, json};

use super::Planner;
use super::identity::FormerName;
use crate::ingest::administer::{Audited, Change, Changed, key_view};
use crate::ingest::intake::{Intake, Outcome, Refusal, Work};
use crate::model::{AgentId, AuditDraft, Command, Decision, Deed, MaintenanceWindow, ProjectId, WINDOWS_MAX, WindowId};

/// What is asked for, in the words of the audit chain.
struct Request {
    action: &'static str,
    target: String,
    agent: Option<AgentId>,
    reason: String,
    before: Value,
}

impl Planner<'_> {
    /// Does what somebody asks for and records that they did, or that they were refused.
    pub(super) fn audited(&mut self, project: ProjectId, audited: Audited) -> Outcome {
        let Audited { actor, work } = audited;
        let Some(request) = self.request(&work) else {
            return self.take(Intake { project, dedup: None, bytes: 0, work });
        };
        let snapshot = |planner: &Self| request.agent.map_or(Value::Null, |id| planner.portrait(project, id));
        let before = if request.before.is_null() { snapshot(self) } else { request.before.clone() };
        let wanted = wanted(&work);
        self.actor = Some(actor.clone());
        let outcome = self.take(Intake { project, dedup: None, bytes: 0, work });
        self.actor = None;
        let refusal = refusal(&outcome);
        let after = match refusal {
            Some(_) => before.clone(),
            None if wanted.is_null() => snapshot(self),
            None => wanted,
        };
        let deed = Deed {
            actor,
            action: request.action.into(),
            target: request.target,
            before,
            after,
            decision: if refusal.is_some() { Decision::Refused } else { Decision::Allowed },
            reason: refusal.map_or(request.reason, Refusal::to_string),
            command_id: command(&outcome).map(|c| c.id),
        };
        self.writes.audit.push(AuditDraft { at: self.context.now, project: Some(project), deed });
        outcome
    }

    /// Does what an administrator asks for.
    pub(super) fn administer(&mut self, project: ProjectId, change: Change) -> Result<Changed, Refusal> {
        let agent = |id| Changed { agent: Some(id), ..Changed::default() };
        match change {
            Change::Rename { agent: id, name } => self.rename(id, &name, FormerName::Alias).map(|()| agent(id)),
            Change::Merge { from, into } => {
                self.of_project(project, from)?;
                self.merge(from, into, FormerName::Alias).map(|()| agent(into))
            }
            Change::Remove(id) => {
                self.of_project(project, id)?;
                self.remove(id).map(|()| Changed::default())
            }
            Change::Register(name) => self.register(&name).map(agent),
            Change::TurnAway { name, remember } => self.turn_away(&name, remember).map(|()| Changed::default()),
            Change::PutWindow(window) => self.put_window(project, window),
            Change::DropWindow(id) => {
                self.window(project, id)?;
                self.windows.remove(&id);
                self.writes.windows.push((id, None));
                Ok(Changed::default())
            }
            Change::PutKey { key, .. } => {
                self.writes.keys.push(key);
                Ok(Changed::default())
            }
            Change::MakeProject(name) => {
                self.writes.new_projects.push(name);
                Ok(Changed::default())
            }
            Change::Note(draft) => {
                self.writes.audit.push(draft);
                Ok(Changed::default())
            }
        }
    }

    fn put_window(&mut self, project: ProjectId, mut window: MaintenanceWindow) -> Result<Changed, Refusal> {
        if window.id == WindowId(0) {
            let count = self.window_counts.entry(project).or_default();
            if *count >= WINDOWS_MAX {
                return Err(Refusal::TooManyWindows);
            }
            *count += 1;
            window.id = self.new_windows.pop().ok_or(Refusal::NoWindow)?;
        } else {
            window.created_at = self.window(project, window.id)?.created_at;
        }
        let id = window.id;
        self.windows.insert(id, window.clone());
        self.writes.windows.retain(|(written, _)| *written != id);
        self.writes.windows.push((id, Some(window)));
        Ok(Changed { window: Some(id), ..Changed::default() })
    }

    fn window(&self, project: ProjectId, id: WindowId) -> Result<&MaintenanceWindow, Refusal> {
        self.windows.get(&id).filter(|window| window.project == project).ok_or(Refusal::NoWindow)
    }

    /// What can be changed about an agent.
    fn portrait(&self, project: ProjectId, id: AgentId) -> Value {
        self.agents.get(&id).filter(|row| row.key.project == project).map_or(
            Value::Null,
            |row| json!({"name": row.key.name, "paused": row.state.life.paused, "settings": *row.settings}),
        )
    }

    /// What `work` asks for; `None` for what nobody has to answer for.
    fn request(&self, work: &Work) -> Option<Request> {
        let agent = |action, id: AgentId, reason: &str| {
            let name = self.agents.get(&id).map_or("", |row| &row.key.name);
            let target = format!("agent {id} {name}").trim_end().to_owned();
            Request { action, target, agent: Some(id), reason: reason.to_owned(), before: Value::Null }
        };
        let other = |action, target: String, before: Value| {
            Some(Request { action, target, agent: None, reason: String::new(), before })
        };
        Some(match work {
            Work::Settings { agent: id, .. } => agent("agent.settings", *id, ""),
            Work::Pause { agent: id, paused: true } => agent("agent.pause", *id, ""),
            Work::Pause { agent: id, paused: false } => agent("agent.resume", *id, ""),
            Work::Restart { agent: id, reason, .. } => agent("agent.restart", *id, reason),
            Work::CommandResult { id, message, .. } => {
                let reason = message.clone().unwrap_or_default();
                let before = self.commands.get(id).map_or(Value::Null, |c| json!({"state": c.state}));
                Request { action: "command.result", target: format!("command {id}"), agent: None, reason, before }
            }
            Work::Administer(change) => match &**change {
                Change::Rename { agent: id, .. } => agent("agent.rename", *id, ""),
                Change::Merge { from, into } => Request {
                    before: json!({"from": self.portrait_any(*from), "into": self.portrait_any(*into)}),
                    ..agent("agent.merge", *from, "")
                },
                Change::Remove(id) => agent("agent.delete", *id, ""),
                Change::Register(name) => return other("agent.register", format!("name {}", name.name), Value::Null),
                Change::TurnAway { name, remember } => {
                    let action = if *remember { "registration.reject" } else { "registration.forget" };
                    return other(action, format!("name {}", name.name), Value::Null);
                }
                Change::PutWindow(window) if window.id == WindowId(0) => {
                    return other("maintenance.create", "maintenance window".into(), Value::Null);
                }
                Change::PutWindow(MaintenanceWindow { id, .. }) | Change::DropWindow(id) => {
                    let is_drop = matches!(**change, Change::DropWindow(_));
                    let action = if is_drop { "maintenance.delete" } else { "maintenance.change" };
                    return other(action, format!("maintenance window {id}"), json!(self.windows.get(id)));
                }
                Change::PutKey { key, before, deed } => {
                    let before = before.as_ref().map_or(Value::Null, key_view);
                    return other(deed, format!("key {}", key.id), before);
                }
                Change::MakeProject(name) => return other("project.create", format!("project {name}"), Value::Null),
                Change::Note(_) => return None,
            },
            _ => return None,
        })
    }

    fn portrait_any(&self, id: AgentId) -> Value {
        self.agents.get(&id).map_or(Value::Null, |row| json!({"agent_id": id, "name": row.key.name}))
    }
}

/// What will be there after `work` that is not an agent.
fn wanted(work: &Work) -> Value {
    match work {
        Work::CommandResult { verdict, .. } => json!({"verdict": format!("{verdict:?}").to_lowercase()}),
        Work::Administer(change) => match &**change {
            Change::Merge { into, .. } => json!({"into": into}),
            Change::Register(name) => json!({"name": name.name}),
            Change::TurnAway { name, remember } => json!({"name": name.name, "rejected": remember}),
            Change::PutWindow(window) => json!(window),
            Change::PutKey { key, .. } => key_view(key),
            Change::MakeProject(name) => json!({"name": name}),
            _ => Value::Null,
        },
        _ => Value::Null,
    }
}

const fn refusal(outcome: &Outcome) -> Option<&Refusal> {
    match outcome {
        Outcome::Restart(Err(refusal))
        | Outcome::Result(Err(refusal))
        | Outcome::Changed(Err(refusal))
        | Outcome::Administered(Err(refusal)) => Some(refusal),
        _ => None,
    }
}

fn command(outcome: &Outcome) -> Option<&Command> {
    match outcome {
        Outcome::Restart(Ok(restart)) => Some(&restart.command),
        Outcome::Result(Ok(command)) => Some(command),
        _ => None,
    }
}
