//! Which agents a list shows.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::{ApiError, FieldError};
use crate::model::{AgentId, Condition, ProjectId, Status};
use crate::store::{AgentPage, AgentRow, Store, StoreError};

/// Rows looked at in one go: other readers get their turn in between.
const CHUNK: usize = 1000;

/// The words of the query that choose agents. All that are given must fit.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Words {
    /// A status: the field `state` or the field `status` of the agent.
    pub status: Option<String>,
    /// A part of the name, whatever the capitals.
    pub q: Option<String>,
    /// How the name begins.
    pub prefix: Option<String>,
    /// The field `agent_type`.
    #[serde(rename = "type")]
    pub agent_type: Option<String>,
    /// An active condition.
    pub condition: Option<String>,
}

/// The words, understood.
#[derive(Debug)]
pub struct Filter {
    words: Words,
    q: Option<String>,
    condition: Option<Condition>,
}

impl Filter {
    /// Understands the words. A status or condition that does not exist is 422.
    pub fn new(words: Words) -> Result<Self, ApiError> {
        let wrong = |name: &str, text: &str, known: Vec<&str>| {
            Err(ApiError::invalid(&[FieldError {
                loc: vec!["query".into(), name.into()],
                msg: format!("{text:?} is unknown; use one of {}", known.join(", ")),
                kind: "enum",
            }]))
        };
        if let Some(word) = words.status.as_deref()
            && !Status::ALL.into_iter().any(|s| s.word() == word || s.wire_word() == word)
        {
            return wrong("status", word, Status::ALL.into_iter().map(Status::word).collect());
        }
        let condition = match words.condition.as_deref() {
            None => None,
            Some(word) => match Condition::ALL.into_iter().find(|c| c.word() == word) {
                Some(condition) => Some(condition),
                None => return wrong("condition", word, Condition::ALL.into_iter().map(Condition::word).collect()),
            },
        };
        let q = words.q.as_ref().map(|q| q.to_lowercase());
        Ok(Self { q, condition, words })
    }

    /// Whether everything passes.
    const fn is_open(&self) -> bool {
        let Words { status, q, prefix, agent_type, condition } = &self.words;
        status.is_none() && q.is_none() && prefix.is_none() && agent_type.is_none() && condition.is_none()
    }

    fn matches(&self, row: &AgentRow) -> bool {
        let (state, name) = (&row.state, &*row.key.name);
        self.words.status.as_deref().is_none_or(|w| state.status.word() == w || state.status.wire_word() == w)
            && self.q.as_deref().is_none_or(|q| name.to_lowercase().contains(q))
            && self.words.prefix.as_deref().is_none_or(|prefix| name.starts_with(prefix))
            && self.words.agent_type.as_deref().is_none_or(|kind| state.agent_type.as_deref() == Some(kind))
            && self.condition.is_none_or(|condition| state.conditions.get(condition).is_some())
    }

    /// A page of the agents that pass, and how many do in all.
    pub async fn page(
        &self,
        store: &dyn Store,
        project: ProjectId,
        offset: usize,
        limit: usize,
    ) -> Result<AgentPage, StoreError> {
        if self.is_open() {
            return store.agents(project, offset, limit).await;
        }
        let (mut page, mut after) = (AgentPage::default(), AgentId(0));
        loop {
            let rows = store.project_agents(project, after, CHUNK).await?;
            let Some(last) = rows.last() else { return Ok(page) };
            after = last.id;
            for row in rows.into_iter().filter(|row| self.matches(row)) {
                if page.total >= offset as u64 && page.rows.len() < limit {
                    page.rows.push(row);
                }
                page.total += 1;
            }
        }
    }
}
