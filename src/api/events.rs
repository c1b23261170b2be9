//! What happened: events of a project or of one agent, and the project's commands.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, agents};
use crate::http::{ApiError, Path, Query};
use crate::model::{AgentId, Command, Event, EventId, Scope, Timestamp};
use crate::store::EventQuery;

/// Events of one answer when nothing is said.
const LIMIT_DEFAULT: usize = 100;
/// Events of one answer at most.
const LIMIT_MAX: usize = 1000;

pub fn routes(api: Api) -> axum::Router {
    axum::Router::new()
        .route("/api/v1/events", get(all))
        .route("/api/v1/agents/{id}/events", get(of_agent))
        .route("/api/v1/commands/history", get(commands))
        .with_state(api)
}

#[derive(Deserialize)]
struct Page {
    limit: Option<String>,
    before: Option<String>,
}

async fn all(State(api): State<Api>, headers: HeaderMap, Query(page): Query<Page>) -> Result<Json<Value>, ApiError> {
    events(&api, &headers, None, &page).await
}

async fn of_agent(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let id = id.parse().map_err(|_| ApiError::not_found("Agent"))?;
    events(&api, &headers, Some(AgentId(id)), &page).await
}

async fn events(api: &Api, headers: &HeaderMap, agent: Option<AgentId>, page: &Page) -> Result<Json<Value>, ApiError> {
    let caller = api.authorize(headers, Scope::Read)?;
    let limit = agents::number("limit", page.limit.as_deref(), LIMIT_DEFAULT, 1, LIMIT_MAX)?;
    let before = agents::number("before", page.before.as_deref(), usize::MAX >> 1, 1, usize::MAX >> 1)?;
    let before = Some(EventId(i64::try_from(before).unwrap_or(i64::MAX)));
    let found = api.store.events(EventQuery { project: caller.project, agent, before, limit }).await?;
    Ok(Json(json!({"events": found.iter().map(event).collect::<Vec<_>>()})))
}

/// An event as JSON.
pub fn event(event: &Event) -> Value {
    let draft = &event.draft;
    json!({
        "id": event.id,
        "agent_id": event.agent,
        "at": draft.at.to_string(),
        "kind": draft.kind,
        "from": draft.transition.map(|(from, _)| from),
        "to": draft.transition.map(|(_, to)| to),
        "hard": draft.hard,
        "cause": draft.cause,
        "evidence": draft.evidence,
    })
}

async fn commands(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let caller = api.authorize(&headers, Scope::Read)?;
    let limit = agents::number("limit", page.limit.as_deref(), LIMIT_DEFAULT, 1, LIMIT_MAX)?;
    let found = api.store.commands(caller.project, limit).await?;
    Ok(Json(json!({"commands": found.iter().map(command).collect::<Vec<_>>()})))
}

/// A command as JSON.
pub fn command(command: &Command) -> Value {
    let time = |at: Option<Timestamp>| at.map(|t| t.to_string());
    json!({
        "id": command.id.to_string(),
        "agent_id": command.agent,
        "action": "restart",
        "type": command.target.kind,
        "target": command.target.target,
        "origin": command.origin.word(),
        "reason": command.reason,
        "state": command.state,
        "created_at": command.created_at.to_string(),
        "not_after": command.not_after.to_string(),
        "lease_until": time(command.lease_until),
        "attempts": command.attempts,
        "ended_at": time(command.ended_at),
        "result": command.result,
    })
}
