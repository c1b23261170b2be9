//! Who is who: register an agent, give it another name, merge two that are one, delete.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, agents, filter, schema};
use crate::http::{ApiError, Path, Peer, Query, doc};
use crate::ingest::Change;
use crate::model::{AgentId, AgentKey, ProjectId, Scope};

pub fn routes(api: Api) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(all, register)).routes(routes!(rename)).routes(routes!(merge)).with_state(api)
}

/// A name for an agent.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AgentName)]
#[serde(deny_unknown_fields)]
pub struct Name {
    /// The name: at most 200 bytes, no control characters.
    #[schema(example = "research-agent")]
    pub agent: String,
}

impl Name {
    /// The name as the key of an agent of `project`.
    pub fn key(&self, project: ProjectId) -> Result<AgentKey, ApiError> {
        AgentKey::new(project, &self.agent)
            .map_err(|e| agents::wrong(vec!["body".into(), "agent".into()], e.to_string()))
    }
}

/// The agent that another one becomes part of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    /// Its number.
    pub into: i64,
}

/// All agents of the project; the same as the status page.
#[utoipa::path(get, path = "/api/v1/agents", tag = "Agents", security(("api_key" = ["read"])), params(agents::Page, filter::Words),
    responses((status = 200, description = "A page of agents", body = schema::AgentPage), doc::Keyed, doc::Asked))]
async fn all(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(page): Query<agents::Page>,
) -> Result<Json<Value>, ApiError> {
    agents::list(&api, &headers, page).await
}

/// Makes an agent before it is heard of, also where the project takes only registered ones.
#[utoipa::path(post, path = "/api/v1/agents", tag = "Agents", security(("api_key" = ["admin"])),
    request_body(content = Name, example = json!({"agent": "research-agent"})),
    responses((status = 201, description = "Made", body = schema::AgentWithPolicy), (status = 200, description = "It was there already", body = schema::AgentWithPolicy), doc::Keyed, doc::Sent, doc::Paid))]
async fn register(State(api): State<Api>, peer: Peer, request: Request) -> Result<(StatusCode, Json<Value>), ApiError> {
    let (caller, name): (_, Name) =
        agents::told(&api, Scope::Admin, &peer, "agent.register", "agents", request).await?;
    let key = name.key(caller.project)?;
    let known = api.store.agent_named(&key).await?.is_some();
    let changed = api.administer(&caller, &peer, caller.project, Change::Register(key)).await?;
    let shown = agents::show_id(&api, &caller, changed.agent).await?;
    Ok((if known { StatusCode::OK } else { StatusCode::CREATED }, shown))
}

/// Gives an agent another name. What is sent under the old one still reaches it.
#[utoipa::path(post, path = "/api/v1/agents/{id}/rename", tag = "Agents", security(("api_key" = ["admin"])), params(("id" = String, Path, description = "The agent's number or name", example = "7")),
    request_body(content = Name, example = json!({"agent": "research-agent"})),
    responses((status = 200, description = "The agent under its new name", body = schema::AgentWithPolicy), doc::Keyed, doc::Found, doc::Sent, doc::Conflict))]
async fn rename(
    State(api): State<Api>,
    Path(id): Path<String>,
    peer: Peer,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let target = format!("agent {id}");
    let (caller, name): (_, Name) = agents::told(&api, Scope::Admin, &peer, "agent.rename", &target, request).await?;
    let row = agents::find(&api, &caller, &id).await?;
    let change = Change::Rename { agent: row.id, name: name.key(caller.project)? };
    let changed = api.administer(&caller, &peer, caller.project, change).await?;
    agents::show_id(&api, &caller, changed.agent).await
}

/// Makes an agent part of another one: sums are added once, events and history change hands, and what is sent under its
/// name reaches the other.
#[utoipa::path(post, path = "/api/v1/agents/{id}/merge", tag = "Agents", security(("api_key" = ["admin"])), params(("id" = String, Path, description = "The agent's number or name", example = "7")),
    request_body(content = Merge, example = json!({"into": 8})),
    responses((status = 200, description = "The agent that both are now", body = schema::AgentWithPolicy), doc::Keyed, doc::Found, doc::Sent, doc::Conflict))]
async fn merge(
    State(api): State<Api>,
    Path(id): Path<String>,
    peer: Peer,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let target = format!("agent {id}");
    let (caller, told): (_, Merge) = agents::told(&api, Scope::Admin, &peer, "agent.merge", &target, request).await?;
    let from = agents::find(&api, &caller, &id).await?;
    let into = agents::find(&api, &caller, &told.into.to_string()).await?;
    let change = Change::Merge { from: from.id, into: into.id };
    let changed = api.administer(&caller, &peer, caller.project, change).await?;
    agents::show_id(&api, &caller, changed.agent).await
}

/// Ends an agent, with its events and its history. If it is heard again, it is a new one.
#[utoipa::path(delete, path = "/api/v1/agents/{id}", tag = "Agents", security(("api_key" = ["admin"])), params(("id" = String, Path, description = "The agent's number or name", example = "7")),
    responses((status = 204, description = "It is gone"), doc::Keyed, doc::Found))]
pub async fn delete(
    State(api): State<Api>,
    Path(id): Path<String>,
    peer: Peer,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let caller = api.admit(&headers, Scope::Admin, &peer, "agent.delete", &format!("agent {id}")).await?;
    let row = agents::find(&api, &caller, &id).await?;
    api.administer(&caller, &peer, caller.project, Change::Remove(AgentId(row.id.0))).await?;
    Ok(StatusCode::NO_CONTENT)
}
