//! Agents: list, read, change, pause, restart, and a health URL for each.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::schema::AgentSettings;
use super::{Api, schema, view};
use crate::health::Moment;
use crate::http::{ApiError, FieldError, Path, Query, body, doc};
use crate::ingest::intake::{Outcome, Refusal};
use crate::ingest::{Intake, Work};
use crate::model::{AgentId, Caller, Condition, OTHER_MODELS, PolicyPatch, Scope, Status};
use crate::store::AgentRow;

/// Rows of a status page when nothing is said.
const LIMIT_DEFAULT: usize = 100;
/// Rows of a status page at most.
const LIMIT_MAX: usize = 1000;
/// The largest body of a change.
const BODY_BYTES_MAX: usize = 64 << 10;

pub fn routes(api: Api) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(read, change))
        .routes(routes!(health))
        .routes(routes!(explain))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(restart))
        .with_state(api)
}

/// `limit` and `offset` as texts, so that a wrong one gets a clear answer.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Page {
    /// Rows at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<String>,
    /// Rows to skip.
    #[param(value_type = Option<u64>, minimum = 0, default = 0)]
    offset: Option<String>,
}

/// All agents of the project, with totals and reasons.
#[utoipa::path(get, path = "/api/v1/status", tag = "Agents", security(("api_key" = ["read"])), params(Page),
    responses((status = 200, description = "A page of agents", body = schema::AgentPage), doc::Keyed, doc::Asked))]
async fn status(State(api): State<Api>, headers: HeaderMap, Query(page): Query<Page>) -> Result<Json<Value>, ApiError> {
    let caller = api.authorize(&headers, Scope::Read)?;
    let limit = number("limit", page.limit.as_deref(), LIMIT_DEFAULT, 1, LIMIT_MAX)?;
    let offset = number("offset", page.offset.as_deref(), 0, 0, usize::MAX >> 1)?;
    let found = api.store.agents(caller.project, offset, limit).await?;
    let project = api.project_name(caller.project).await?;
    let now = api.clock.now();
    let presence = api.presence.at(now);
    let rows: Vec<Value> = found
        .rows
        .iter()
        .map(|row| {
            let policy = api.rules.policy(row.key.project, &row.key.name, &row.settings);
            view::agent(row, &project, &policy, &presence, now)
        })
        .collect();
    Ok(Json(json!({"agents": rows, "total": found.total, "limit": limit, "offset": offset})))
}

pub(super) fn number(
    name: &str,
    text: Option<&str>,
    default: usize,
    min: usize,
    max: usize,
) -> Result<usize, ApiError> {
    let Some(text) = text else { return Ok(default) };
    match text.parse::<usize>() {
        Ok(n) if (min..=max).contains(&n) => Ok(n),
        _ => Err(ApiError::invalid(&[FieldError {
            loc: vec!["query".into(), name.into()],
            msg: format!("{text:?} is not a whole number from {min} to {max}"),
            kind: "int_range",
        }])),
    }
}

pub(super) async fn find(api: &Api, caller: &Caller, id: &str) -> Result<Arc<AgentRow>, ApiError> {
    let missing = || ApiError::not_found("Agent");
    let id = id.parse().map_err(|_| missing())?;
    // An agent of another project looks like no agent at all.
    api.store.agent(AgentId(id)).await?.filter(|row| row.key.project == caller.project).ok_or_else(missing)
}

/// One agent, with every threshold it is judged by.
#[utoipa::path(get, path = "/api/v1/agents/{id}", tag = "Agents", security(("api_key" = ["read"])), params(("id" = String, Path, description = "The agent's number", example = "7")),
    responses((status = 200, description = "The agent", body = schema::AgentWithPolicy), doc::Keyed, doc::Found))]
async fn read(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    let caller = api.authorize(&headers, Scope::Read)?;
    let row = find(&api, &caller, &id).await?;
    show(&api, &row).await
}

async fn show(api: &Api, row: &AgentRow) -> Result<Json<Value>, ApiError> {
    let project = api.project_name(row.key.project).await?;
    let policy = api.rules.policy(row.key.project, &row.key.name, &row.settings);
    let now = api.clock.now();
    Ok(Json(view::agent_with_policy(row, &project, &policy, &api.presence.at(now), now)))
}

/// Everything that led to the status, what can change it next, and whether a restart would be allowed.
#[utoipa::path(get, path = "/api/v1/agents/{id}/explain", tag = "Agents", security(("api_key" = ["read"])), params(("id" = String, Path, description = "The agent's number", example = "7")),
    responses((status = 200, description = "What is behind its status", body = schema::Explained), doc::Keyed, doc::Found))]
async fn explain(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    let caller = api.authorize(&headers, Scope::Read)?;
    let row = find(&api, &caller, &id).await?;
    let policy = api.rules.policy(row.key.project, &row.key.name, &row.settings);
    let presence = api.presence.at(api.clock.now());
    // A group's silence shows as a condition of the agent; for explaining, that is what is known of it.
    let group_silent = row.state.conditions.get(Condition::SilentGroup).is_some();
    let (project, counts) = api.store.project_state(caller.project).await?;
    let fleet = crate::health::fleet(&project, &counts, api.clock.now());
    let moment =
        Moment { now: api.clock.now(), presence: &presence, restarts_from: api.restarts_from, group_silent, fleet };
    let mut explained = crate::health::explain(&row.state, &policy, &moment);
    explained["cost"] =
        json!({"origin": row.state.totals.cost_origin.word(), "models_without_price": unpriced(&api, &row)});
    Ok(Json(json!({"agent_id": row.id, "agent": row.key.name, "explanation": explained})))
}

/// The agent's models that no price list has: what they cost is unknown, unless senders report it.
fn unpriced<'a>(api: &Api, row: &'a AgentRow) -> Vec<&'a str> {
    let models = row.state.totals.models.iter().map(|m| &*m.model);
    models.filter(|model| *model != OTHER_MODELS && !api.prices.knows(None, model, api.clock.now())).collect()
}

/// For Kubernetes `livenessProbe`, Docker `HEALTHCHECK` and load balancers: 200, or 503 with the reason.
#[utoipa::path(get, path = "/api/v1/agents/{id}/health", tag = "Agents", security(("api_key" = ["read"])), params(("id" = String, Path, description = "The agent's number", example = "7")),
    responses(doc::Keyed, doc::Found, (status = 200, description = "It works", body = schema::AgentHealth), (status = 503, description = "It does not, or the store is out of reach", body = schema::AgentHealth)))]
async fn health(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let caller = api.authorize(&headers, Scope::Read)?;
    let row = find(&api, &caller, &id).await?;
    let policy = api.rules.policy(row.key.project, &row.key.name, &row.settings);
    let state = &row.state;
    let is_sick = matches!(
        state.status,
        Status::Down | Status::Stopped | Status::Stalled | Status::Erroring | Status::Looping | Status::OverBudget
    );
    let code = if is_sick { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let reason = crate::health::reason(state, &policy, api.clock.now());
    let text = json!({
        "agent_id": row.id, "agent": row.key.name, "status": state.status.wire_word(), "state": state.status, "reason": reason,
    });
    Ok((code, Json(text)).into_response())
}

/// Changes settings by a JSON merge patch (RFC 7396) over what was set for the agent; `null` goes back to the
/// configuration's value.
#[utoipa::path(patch, path = "/api/v1/agents/{id}", tag = "Agents", security(("api_key" = ["admin"])), params(("id" = String, Path, description = "The agent's number", example = "7")),
    request_body(content = AgentSettings, description = "Settings to change; null goes back to the configuration's value", example = json!({"stalled_after": "15m", "budget": {"hourly_usd": 5}})),
    responses((status = 200, description = "The agent as it is now", body = schema::AgentWithPolicy), doc::Keyed, doc::Found, doc::Sent))]
async fn change(State(api): State<Api>, Path(id): Path<String>, request: Request) -> Result<Json<Value>, ApiError> {
    let (parts, body) = request.into_parts();
    let caller = api.authorize(&parts.headers, Scope::Admin)?;
    let bytes = body::read(&parts.headers, body, BODY_BYTES_MAX).await?;
    let row = find(&api, &caller, &id).await?;
    let wrong = |loc: Vec<Value>, msg: String| ApiError::invalid(&[FieldError { loc, msg, kind: "value_error" }]);
    let patch: Value = serde_json::from_slice(&bytes).map_err(|e| wrong(vec!["body".into()], e.to_string()))?;
    if !patch.is_object() {
        return Err(wrong(vec!["body".into()], "the body must be a JSON object of settings".into()));
    }
    let mut merged = json!(*row.settings);
    merge(&mut merged, patch);
    let settings: PolicyPatch =
        serde_json::from_value(merged).map_err(|e| wrong(vec!["body".into()], e.to_string()))?;
    settings.check().map_err(|e| {
        let path = std::iter::once("body").chain(e.field.split('.')).map(Value::from).collect();
        wrong(path, e.problem)
    })?;
    changed(&api, caller, row.id, Work::Settings { agent: row.id, settings: Box::new(settings) }).await
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if let Some(fields) = target.as_object_mut() {
            if value.is_null() {
                fields.remove(&name);
            } else {
                merge(fields.entry(name).or_insert(Value::Null), value);
            }
        }
    }
}

/// Stops watching an agent until it is resumed.
#[utoipa::path(post, path = "/api/v1/agents/{id}/pause", tag = "Agents", security(("api_key" = ["admin"])), params(("id" = String, Path, description = "The agent's number", example = "7")),
    responses((status = 200, description = "The agent as it is now", body = schema::AgentWithPolicy), doc::Keyed, doc::Found))]
async fn pause(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    let caller = api.authorize(&headers, Scope::Admin)?;
    let row = find(&api, &caller, &id).await?;
    changed(&api, caller, row.id, Work::Pause { agent: row.id, paused: true }).await
}

/// Watches a paused agent again.
#[utoipa::path(post, path = "/api/v1/agents/{id}/resume", tag = "Agents", security(("api_key" = ["admin"])), params(("id" = String, Path, description = "The agent's number", example = "7")),
    responses((status = 200, description = "The agent as it is now", body = schema::AgentWithPolicy), doc::Keyed, doc::Found))]
async fn resume(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    let caller = api.authorize(&headers, Scope::Admin)?;
    let row = find(&api, &caller, &id).await?;
    changed(&api, caller, row.id, Work::Pause { agent: row.id, paused: false }).await
}

async fn changed(api: &Api, caller: Caller, id: AgentId, work: Work) -> Result<Json<Value>, ApiError> {
    let intake = Intake { project: caller.project, dedup: None, bytes: 1, work };
    match api.committer.submit(intake).await? {
        Outcome::Changed(Ok(())) => {
            let row = find(api, &caller, &id.to_string()).await?;
            show(api, &row).await
        }
        _ => Err(ApiError::not_found("Agent")),
    }
}

/// Why a restart is asked for.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct RestartBody {
    /// In words; kept in part.
    reason: Option<String>,
}

/// Asks a runner to restart an agent; while a restart is open, joins it.
#[utoipa::path(post, path = "/api/v1/agents/{id}/restart", tag = "Commands", security(("api_key" = ["command"])), params(("id" = String, Path, description = "The agent's number", example = "7")),
    request_body(content = Option<RestartBody>, example = json!({"reason": "stuck since noon"})),
    responses((status = 202, description = "Queued", body = schema::Restart), (status = 200, description = "One was open already", body = schema::Restart), doc::Keyed, doc::Found, doc::Sent, doc::Conflict))]
async fn restart(State(api): State<Api>, Path(id): Path<String>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let caller = api.authorize(&parts.headers, Scope::Command)?;
    let bytes = body::read(&parts.headers, body, BODY_BYTES_MAX).await?;
    let told: RestartBody = if bytes.is_empty() {
        RestartBody::default()
    } else {
        serde_json::from_slice(&bytes).map_err(|e| {
            ApiError::invalid(&[FieldError { loc: vec!["body".into()], msg: e.to_string(), kind: "json_invalid" }])
        })?
    };
    let row = find(&api, &caller, &id).await?;
    let reason = told.reason.unwrap_or_else(|| format!("asked for with key {}", caller.key_id));
    let reason = reason[..reason.floor_char_boundary(256)].to_owned();
    let work = Work::Restart { agent: row.id, reason };
    let intake = Intake { project: caller.project, dedup: None, bytes: bytes.len(), work };
    match api.committer.submit(intake).await? {
        Outcome::Restart(Ok(outcome)) => {
            let view = super::events::command(&outcome.command);
            let code = if outcome.joined { StatusCode::OK } else { StatusCode::ACCEPTED };
            Ok((code, Json(json!({"command": view, "joined": outcome.joined}))).into_response())
        }
        Outcome::Restart(Err(refusal @ Refusal::NoTarget)) => {
            Err(ApiError::new(StatusCode::CONFLICT, refusal.to_string()))
        }
        _ => Err(ApiError::not_found("Agent")),
    }
}
