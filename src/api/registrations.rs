//! Names that wait for approval, where a project wants that: list, approve, turn away.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::identity::Name;
use super::{Api, agents, schema};
use crate::http::{ApiError, Peer, doc};
use crate::ingest::Change;
use crate::model::Scope;

pub fn routes(api: Api) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(approve))
        .routes(routes!(reject))
        .routes(routes!(forget))
        .with_state(api)
}

/// How the project takes new names, and those that wait.
#[derive(Debug, Serialize, ToSchema)]
pub struct Registrations {
    /// `open`, `strict` or `approve`, as configured.
    #[schema(example = "approve")]
    pub mode: &'static str,
    /// The names in order.
    pub registrations: Vec<Registration>,
}

/// A name that waits or was turned away.
#[derive(Debug, Serialize, ToSchema)]
pub struct Registration {
    /// The name.
    #[schema(example = "reserch-agent")]
    pub agent: String,
    /// `pending` or `rejected`.
    #[schema(example = "pending")]
    pub state: &'static str,
    /// When it was heard first.
    #[schema(example = "2026-11-22T08:00:00Z")]
    pub first_at: String,
    /// When it was heard last, to the minute.
    #[schema(example = "2026-11-22T12:39:00Z")]
    pub last_at: String,
    /// In how many minutes it was heard.
    #[schema(example = 3)]
    pub attempts: u32,
    /// An agent that may have been meant.
    #[schema(required, example = "research-agent")]
    pub similar_to: Option<String>,
}

/// The names that wait for approval or were turned away.
#[utoipa::path(get, path = "/api/v1/registrations", tag = "Registrations", security(("api_key" = ["admin"])),
    responses((status = 200, description = "The names", body = Registrations), doc::Keyed))]
async fn list(State(api): State<Api>, headers: HeaderMap) -> Result<Json<Registrations>, ApiError> {
    let caller = api.authorize(&headers, Scope::Admin)?;
    let mut registrations = Vec::new();
    for (name, known) in api.store.registrations(caller.project).await? {
        let similar = api.store.similar_name(caller.project, &name).await?;
        registrations.push(Registration {
            agent: name.to_string(),
            state: if known.rejected { "rejected" } else { "pending" },
            first_at: known.first_at.to_string(),
            last_at: known.last_at.to_string(),
            attempts: known.attempts,
            similar_to: similar.map(|name| name.to_string()),
        });
    }
    Ok(Json(Registrations { mode: api.rules.registration(caller.project).word(), registrations }))
}

/// Makes an agent of a name, whether it waits or not.
#[utoipa::path(post, path = "/api/v1/registrations/approve", tag = "Registrations", security(("api_key" = ["admin"])),
    request_body(content = Name, example = json!({"agent": "research-agent"})),
    responses((status = 200, description = "The agent", body = schema::AgentWithPolicy), doc::Keyed, doc::Sent, doc::Paid))]
async fn approve(State(api): State<Api>, peer: Peer, request: Request) -> Result<Json<Value>, ApiError> {
    let (caller, name): (_, Name) =
        agents::told(&api, Scope::Admin, &peer, "agent.register", "registrations", request).await?;
    let change = Change::Register(name.key(caller.project)?);
    let changed = api.administer(&caller, &peer, caller.project, change).await?;
    agents::show_id(&api, &caller, changed.agent).await
}

/// Turns a name away: it stays refused and is no longer noted as waiting.
#[utoipa::path(post, path = "/api/v1/registrations/reject", tag = "Registrations", security(("api_key" = ["admin"])),
    request_body(content = Name, example = json!({"agent": "research-agent"})),
    responses((status = 204, description = "It stays refused"), doc::Keyed, doc::Found, doc::Sent, doc::Conflict))]
async fn reject(State(api): State<Api>, peer: Peer, request: Request) -> Result<StatusCode, ApiError> {
    turn_away(&api, &peer, request, true).await
}

/// Forgets a name that waits or was turned away.
#[utoipa::path(post, path = "/api/v1/registrations/forget", tag = "Registrations", security(("api_key" = ["admin"])),
    request_body(content = Name, example = json!({"agent": "research-agent"})),
    responses((status = 204, description = "It is forgotten"), doc::Keyed, doc::Found, doc::Sent, doc::Conflict))]
async fn forget(State(api): State<Api>, peer: Peer, request: Request) -> Result<StatusCode, ApiError> {
    turn_away(&api, &peer, request, false).await
}

async fn turn_away(api: &Api, peer: &Peer, request: Request, remember: bool) -> Result<StatusCode, ApiError> {
    let (caller, name): (_, Name) =
        agents::told(api, Scope::Admin, peer, "registration.reject", "registrations", request).await?;
    let change = Change::TurnAway { name: name.key(caller.project)?, remember };
    api.administer(&caller, peer, caller.project, change).await?;
    Ok(StatusCode::NO_CONTENT)
}
