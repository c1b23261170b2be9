//! Agents: list, read, change, pause, restart, and a health URL for each.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::filter::{Filter, Words};
use super::schema::AgentSettings;
use super::{Api, schema, view};
use crate::health::Moment;
use crate::http::{ApiError, FieldError, Path, Peer, Query, body, doc};
use crate::ingest::Work;
use crate::ingest::intake::{Outcome, Refusal};
use crate::model::{AgentId, AgentKey, Caller, Condition, OTHER_MODELS, PolicyPatch, Scope, Status};
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
        .routes(routes!(read, change, super::identity::delete))
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
pub(super) struct Page {
    /// Rows at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<String>,
    /// Rows to skip.
    #[param(value_type = Option<u64>, minimum = 0, default = 0)]
    offset: Option<String>,
    #[serde(flatten)]
    #[param(ignore)]
    words: Words,
}

/// All agents of the project, with totals and reasons.
#[utoipa::path(get, path = "/api/v1/status", tag = "Agents", security(("api_key" = ["read"])), params(Page, Words),
    responses((status = 200, description = "A page of agents", body = schema::AgentPage), doc::Keyed, doc::Asked))]
async fn status(State(api): State<Api>, headers: HeaderMap, Query(page): Query<Page>) -> Result<Json<Value>, ApiError> {
    list(&api, &headers, page).await
}

/// The agents that a page asks for.
pub(super) async fn list(api: &Api, headers: &HeaderMap, page: Page) -> Result<Json<Value>, ApiError> {
    let caller = api.authorize(headers, Scope::Read)?;
    let limit = number("limit", page.limit.as_deref(), LIMIT_DEFAULT, 1, LIMIT_MAX)?;
    let offset = number("offset", page.offset.as_deref(), 0, 0, usize::MAX >> 1)?;
    let found = Filter::new(page.words)?.page(&*api.store, caller.project, offset, limit).await?;
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

/// An agent by its number, else by its name or a former one.
pub(super) async fn find(api: &Api, caller: &Caller, id: &str) -> Result<Arc<AgentRow>, ApiError> {
    // An agent of another project looks like no agent at all.
    let of_project = |row: &Arc<AgentRow>| row.key.project == caller.project;
    let found = match id.parse() {
        Ok(id) => api.store.agent(AgentId(id)).await?.filter(of_project),
        Err(_) => None,
    };
    let found = match (found, AgentKey::new(caller.project, id)) {
        (None, Ok(key)) => api.store.agent_named(&key).await?,
        (found, _) => found,
    };
    found.ok_or_else(|| ApiError::not_found("Agent"))
}

/// One agent, with every threshold it is judged by.
#[utoipa::path(get, path = "/api/v1/agents/{id}", tag = "Agents", security(("api_key" = ["read"])), params(("id" = String, Path, description = "The agent's number or name", example = "7")),
    responses((status = 200, description = "The agent", body = schema::AgentWithPolicy, headers(("ETag" = String, description = "Names what can be set about the agent; goes into `If-Match` of a change"))), doc::Keyed, doc::Found))]
async fn read(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let caller = api.authorize(&headers, Scope::Read)?;
    let row = find(&api, &caller, &id).await?;
    Ok(with_etag(&row, show(&api, &row).await?))
}

/// The agent, with an `ETag` that names what can be set about it: it changes with settings and name, not with signals.
fn with_etag(row: &AgentRow, view: Json<Value>) -> Response {
    ([(header::ETAG, format!("\"{:016x}\"", row.version()))], view).into_response()
}

async fn show(api: &Api, row: &AgentRow) -> Result<Json<Value>, ApiError> {
    let project = api.project_name(row.key.project).await?;
    let policy = api.rules.policy(row.key.project, &row.key.name, &row.settings);
    let now = api.clock.now();
    let layers = api.rules.policy_layers(row.key.project, &row.key.name);
    let mut view = view::agent_with_policy(row, &project, &policy, &layers, &api.presence.at(now), now);
    view["former_names"] = json!(api.store.aliases(row.id).await?);
    Ok(Json(view))
}

/// The agent of this number, after a change that led to it.
pub(super) async fn show_id(api: &Api, caller: &Caller, id: Option<AgentId>) -> Result<Json<Value>, ApiError> {
    let id = id.ok_or_else(|| ApiError::not_found("Agent"))?;
    show(api, &*find(api, caller, &id.to_string()).await?).await
}

/// 422 for one field.
pub(super) fn wrong(loc: Vec<Value>, msg: String) -> ApiError {
    ApiError::invalid(&[FieldError { loc, msg, kind: "value_error" }])
}

/// Who makes a change, and the JSON it comes with. The key is checked before the body is read.
pub(super) async fn told<T: DeserializeOwned>(
    api: &Api,
    scope: Scope,
    peer: &Peer,
    action: &str,
    target: &str,
    request: Request,
) -> Result<(Caller, T), ApiError> {
    let (parts, body) = request.into_parts();
    let caller = api.admit(&parts.headers, scope, peer, action, target).await?;
    let bytes = body::read(&parts.headers, body, BODY_BYTES_MAX).await?;
    let mut text = serde_json::Deserializer::from_slice(&bytes);
    let told = serde_path_to_error::deserialize(&mut text).map_err(|e| {
        let names = e.path().iter().map(|segment| match segment {
            serde_path_to_error::Segment::Seq { index } => json!(index),
            other => json!(other.to_string()),
        });
        let path = std::iter::once("body".into()).chain(names.filter(|name| *name != "?"));
        wrong(path.collect(), e.inner().to_string())
    })?;
    Ok((caller, told))
}

/// Everything that led to the status, what can change it next, and whether a restart would be allowed.
#[utoipa::path(get, path = "/api/v1/agents/{id}/explain", tag = "Agents", security(("api_key" = ["read"])), params(("id" = String, Path, description = "The agent's number or name", example = "7")),
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
    let restarts_from = presence.after(presence.started_at, api.start_grace);
    let moment = Moment { now: api.clock.now(), presence: &presence, restarts_from, group_silent, fleet };
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
#[utoipa::path(get, path = "/api/v1/agents/{id}/health", tag = "Agents", security(("api_key" = ["read"])), params(("id" = String, Path, description = "The agent's number or name", example = "7")),
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
/// With `If-Match` only when the settings are still those of that `ETag`.
#[utoipa::path(patch, path = "/api/v1/agents/{id}", tag = "Agents", security(("api_key" = ["admin"])), params(("If-Match" = Option<String>, Header, description = "Only when the settings are still those of this `ETag`"), ("id" = String, Path, description = "The agent's number or name", example = "7")),
    request_body(content = AgentSettings, description = "Settings to change; null goes back to the configuration's value", example = json!({"stalled_after": "15m", "budget": {"hourly_usd": 5}})),
    responses((status = 200, description = "The agent as it is now", body = schema::AgentWithPolicy), doc::Keyed, doc::Found, doc::Sent, doc::Stale))]
async fn change(
    State(api): State<Api>,
    Path(id): Path<String>,
    peer: Peer,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let caller = api.admit(&parts.headers, Scope::Admin, &peer, "agent.settings", &format!("agent {id}")).await?;
    let bytes = body::read(&parts.headers, body, BODY_BYTES_MAX).await?;
    let row = find(&api, &caller, &id).await?;
    if parts.headers.get(header::IF_MATCH).is_some_and(|tags| !names_version(tags, row.version())) {
        return Err(Refusal::Stale.into());
    }
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
    // What was merged is what was read: a change in between must not get lost.
    let work = Work::Settings { agent: row.id, settings: Box::new(settings), only_if: Some(row.version()) };
    let view = changed(&api, &peer, caller.clone(), row.id, work).await?;
    Ok(with_etag(&*find(&api, &caller, &id).await?, view))
}

/// Whether an `If-Match` lets pass what has this version.
fn names_version(tags: &HeaderValue, version: u64) -> bool {
    let ours = format!("\"{version:016x}\"");
    tags.to_str().is_ok_and(|tags| tags.split(',').any(|tag| tag.trim() == "*" || tag.trim() == ours))
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
#[utoipa::path(post, path = "/api/v1/agents/{id}/pause", tag = "Agents", security(("api_key" = ["admin"])), params(("id" = String, Path, description = "The agent's number or name", example = "7")),
    responses((status = 200, description = "The agent as it is now", body = schema::AgentWithPolicy), doc::Keyed, doc::Found))]
async fn pause(
    State(api): State<Api>,
    Path(id): Path<String>,
    peer: Peer,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let caller = api.admit(&headers, Scope::Admin, &peer, "agent.pause", &format!("agent {id}")).await?;
    let row = find(&api, &caller, &id).await?;
    changed(&api, &peer, caller, row.id, Work::Pause { agent: row.id, paused: true }).await
}

/// Watches a paused agent again.
#[utoipa::path(post, path = "/api/v1/agents/{id}/resume", tag = "Agents", security(("api_key" = ["admin"])), params(("id" = String, Path, description = "The agent's number or name", example = "7")),
    responses((status = 200, description = "The agent as it is now", body = schema::AgentWithPolicy), doc::Keyed, doc::Found))]
async fn resume(
    State(api): State<Api>,
    Path(id): Path<String>,
    peer: Peer,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let caller = api.admit(&headers, Scope::Admin, &peer, "agent.resume", &format!("agent {id}")).await?;
    let row = find(&api, &caller, &id).await?;
    changed(&api, &peer, caller, row.id, Work::Pause { agent: row.id, paused: false }).await
}

async fn changed(api: &Api, peer: &Peer, caller: Caller, id: AgentId, work: Work) -> Result<Json<Value>, ApiError> {
    match api.record(&caller, peer, caller.project, work).await? {
        Outcome::Changed(Ok(())) => show_id(api, &caller, Some(id)).await,
        Outcome::Changed(Err(refusal)) => Err(refusal.into()),
        _ => Err(ApiError::not_found("Agent")),
    }
}

/// Why a restart is asked for.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct RestartBody {
    /// In words; kept in part.
    reason: Option<String>,
    /// Even while a maintenance window holds.
    #[serde(rename = "override")]
    during_maintenance: bool,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RestartQuery {
    /// Even while a maintenance window holds.
    #[serde(rename = "override")]
    during_maintenance: Option<bool>,
}

/// Asks a runner to restart an agent; while a restart is open, joins it.
#[utoipa::path(post, path = "/api/v1/agents/{id}/restart", tag = "Commands", security(("api_key" = ["command"])), params(("id" = String, Path, description = "The agent's number or name", example = "7"), RestartQuery),
    request_body(content = Option<RestartBody>, example = json!({"reason": "stuck since noon"})),
    responses((status = 202, description = "Queued", body = schema::Restart), (status = 200, description = "One was open already", body = schema::Restart), doc::Keyed, doc::Found, doc::Sent, doc::Conflict))]
async fn restart(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(query): Query<RestartQuery>,
    peer: Peer,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let caller = api.admit(&parts.headers, Scope::Command, &peer, "agent.restart", &format!("agent {id}")).await?;
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
    let during_maintenance = told.during_maintenance || query.during_maintenance.unwrap_or(false);
    let work = Work::Restart { agent: row.id, reason, during_maintenance };
    match api.record(&caller, &peer, caller.project, work).await? {
        Outcome::Restart(Ok(outcome)) => {
            let view = super::events::command(&outcome.command);
            let code = if outcome.joined { StatusCode::OK } else { StatusCode::ACCEPTED };
            Ok((code, Json(json!({"command": view, "joined": outcome.joined}))).into_response())
        }
        Outcome::Restart(Err(refusal)) => Err(refusal.into()),
        _ => Err(ApiError::not_found("Agent")),
    }
}
