//! What happened: events of a project or of one agent, and the project's commands.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, agents, schema};
use crate::http::{ApiError, Path, Query, doc};
use crate::model::{AgentId, Command, Event, EventId, ProjectId, Scope, Timestamp};
use crate::store::EventQuery;

/// Events of one answer when nothing is said.
const LIMIT_DEFAULT: usize = 100;
/// Events of one answer at most.
const LIMIT_MAX: usize = 1000;

pub fn routes(api: Api) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(all)).routes(routes!(of_agent)).routes(routes!(commands)).with_state(api)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Page {
    /// Rows at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<String>,
    /// Only events with a lower number: the `id` of the last one of the page before.
    #[param(value_type = Option<u64>, minimum = 1)]
    before: Option<String>,
}

/// What happened in the project, newest first.
#[utoipa::path(get, path = "/api/v1/events", tag = "Events", security(("api_key" = ["read"])), params(Page),
    responses((status = 200, description = "Events", body = schema::EventPage), doc::Keyed, doc::Asked))]
async fn all(State(api): State<Api>, headers: HeaderMap, Query(page): Query<Page>) -> Result<Json<Value>, ApiError> {
    events(&api, &headers, None, &page).await
}

/// What happened to one agent, newest first.
#[utoipa::path(get, path = "/api/v1/agents/{id}/events", tag = "Events", security(("api_key" = ["read"])), params(("id" = String, Path, description = "The agent's number or name", example = "7"), Page),
    responses((status = 200, description = "Events", body = schema::EventPage), doc::Keyed, doc::Found, doc::Asked))]
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
    if let Some(id) = agent {
        agents::find(api, &caller, &id.to_string()).await?;
    }
    let before = Some(EventId(i64::try_from(before).unwrap_or(i64::MAX)));
    let found = api.store.events(EventQuery { project: caller.project, agent, before, limit }).await?;
    Ok(Json(json!({"events": found.iter().map(event).collect::<Vec<_>>()})))
}

/// The number of the project's newest event; 0 when there is none.
pub async fn newest(api: &Api, project: ProjectId) -> Result<EventId, ApiError> {
    let query = EventQuery { project, agent: None, before: None, limit: 1 };
    Ok(api.store.events(query).await?.first().map_or(EventId(0), |event| event.id))
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

/// What runners were asked to do and what became of it, newest first.
#[utoipa::path(get, path = "/api/v1/commands/history", tag = "Commands", security(("api_key" = ["read"])), params(("limit" = Option<u32>, Query, description = "Rows at most", minimum = 1, maximum = 1000)),
    responses((status = 200, description = "Commands", body = schema::CommandPage), doc::Keyed, doc::Asked))]
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
