//! Notices of third parties: the agent is found first, then told.

use serde_json::json;

use crate::model::{AgentId, AgentKey, Body, EventDraft, EventKind, Observation, Problem, ProjectId, Source};
use crate::store::NewEvent;

use super::Planner;
use crate::ingest::intake::{Notice, NoticeOutcome, Tone};

impl Planner<'_> {
    pub(super) fn notice(&mut self, project: ProjectId, notice: Notice) -> NoticeOutcome {
        let found = notice.candidates.iter().find_map(|candidate| {
            let key = AgentKey::lenient(project, &candidate.name)?;
            let id = *self.agent_ids.get(&key)?;
            self.agents.contains_key(&id).then(|| (id, key, candidate.matched_by.clone()))
        });
        let agent = found.as_ref().map(|(id, key, by)| (*id, key.name.to_string(), by.clone()));
        if notice.dedup.is_some_and(|key| !self.first_time(key)) {
            return NoticeOutcome { agent, restart_queued: false, duplicate: true };
        }
        let Some((id, key, _)) = found else {
            // What an agent says of itself is nothing without the agent.
            if notice.source != Source::Agent {
                self.keep_event(project, None, &notice);
            }
            return NoticeOutcome { agent: None, restart_queued: false, duplicate: false };
        };
        let was_open = self.open_restart(id);
        match notice.tone {
            Tone::Error | Tone::Warning => {
                let failure = notice.tone == Tone::Error;
                let event = match (notice.source, failure) {
                    (Source::Alertmanager, _) => "alert",
                    (_, true) => "langfuse_error",
                    (_, false) => "langfuse_warning",
                };
                let body = Body::Problem(Problem { message: notice.message.clone(), failure, event, restart: failure });
                self.tell_agent(id, key, &notice, body);
            }
            Tone::Recovery => {
                self.tell_agent(id, key, &notice, Body::Recovered);
                if notice.source == Source::Alertmanager {
                    self.keep_event(project, Some(id), &notice);
                }
            }
            Tone::Neutral => self.keep_event(project, Some(id), &notice),
        }
        let restart_queued = !was_open && self.open_restart(id);
        NoticeOutcome { agent, restart_queued, duplicate: false }
    }

    fn open_restart(&self, id: AgentId) -> bool {
        self.agents.get(&id).is_some_and(|row| row.state.restarts.open.is_some())
    }

    fn tell_agent(&mut self, id: AgentId, agent: AgentKey, notice: &Notice, body: Body) {
        let observation = Observation { agent, received_at: notice.received_at, at: None, source: notice.source, body };
        let first = self.writes.events.len();
        self.apply(id, &observation);
        // What the notice said of itself goes with the event it made.
        let events = self.writes.events.get_mut(first..).unwrap_or_default();
        if let Some(event) = events.iter_mut().find(|e| e.draft.kind != EventKind::Transition) {
            event.draft.evidence["notice"] = notice.evidence.clone();
        }
    }

    /// Keeps what changes no agent's state: notices that fit no agent, and those that are neither good nor bad.
    fn keep_event(&mut self, project: ProjectId, agent: Option<AgentId>, notice: &Notice) {
        let is_error = notice.tone == Tone::Error;
        let kind = match (notice.source, is_error) {
            (Source::Alertmanager, _) => EventKind::Alert,
            (Source::Agent, _) => EventKind::Log,
            (_, true) => EventKind::LangfuseError,
            (_, false) => EventKind::LangfuseNotice,
        };
        self.writes.events.push(NewEvent {
            project,
            agent,
            draft: EventDraft {
                kind,
                at: self.context.now,
                transition: None,
                hard: is_error,
                cause: notice.message.clone(),
                evidence: json!({"source": notice.source.word(), "notice": notice.evidence}),
            },
        });
    }
}
