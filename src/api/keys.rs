//! API keys: made (and shown that once), listed, revoked.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, agents};
use crate::http::auth::{hash_key, key_id};
use crate::http::{ApiError, Path, Peer, Query, doc};
use crate::ingest::Change;
use crate::model::{ApiKey, Caller, Project, Scope, Scopes, Span};

/// The longest label, in bytes.
const LABEL_BYTES_MAX: usize = 200;

pub fn routes(api: Api) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(read, revoke)).with_state(api)
}

/// Keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct Keys {
    /// In the order in which they were made.
    pub keys: Vec<View>,
}

/// A key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub struct View {
    /// The part between the two underscores.
    #[schema(example = "3f1f0c9a")]
    pub id: String,
    /// The project it opens.
    #[schema(example = "default")]
    pub project: String,
    /// What it may do.
    #[schema(example = json!(["ingest"]))]
    pub scopes: Vec<&'static str>,
    /// What a person calls it.
    #[schema(example = "laptop")]
    pub label: String,
    /// Whether its scope `admin` reaches all projects.
    pub global: bool,
    /// `active`, `expired` or `revoked`.
    #[schema(example = "active")]
    pub state: &'static str,
    /// When it was made.
    #[schema(example = "2026-11-22T08:00:00Z")]
    pub created_at: String,
    /// From when on it opens nothing any more.
    #[schema(required, example = "2027-02-20T08:00:00Z")]
    pub expires_at: Option<String>,
    /// When it was used last, to the minute.
    #[schema(required, example = "2026-11-22T12:39:00Z")]
    pub last_used_at: Option<String>,
    /// When it was revoked.
    #[schema(required, example = json!(null))]
    pub revoked_at: Option<String>,
}

/// A new key. Nobody can show it again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MadeKey)]
pub struct Made {
    /// The key itself.
    #[schema(example = "cv_3f1f0c9a_…")]
    pub key: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub view: View,
}

/// A key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewKey)]
#[serde(deny_unknown_fields)]
pub struct New {
    /// What it may do: `ingest`, `read`, `runner`, `command`, `approve`, `admin`.
    pub scopes: Vec<String>,
    /// What you call it.
    #[serde(default)]
    pub label: String,
    /// The project it opens; without one, the one of the key that asks. Another one needs a global key.
    pub project: Option<String>,
    /// How long it opens anything, for example `90d`; without it, until it is revoked.
    #[schema(value_type = Option<String>, example = "90d")]
    pub expires_in: Option<Span>,
    /// Whether its scope `admin` reaches all projects. Needs a global key.
    #[serde(default)]
    pub global: bool,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// The project; without it, the key's. Another one needs a global key.
    project: Option<String>,
}

/// The keys of a project.
#[utoipa::path(get, path = "/api/v1/keys", tag = "Keys", security(("api_key" = ["admin"])), params(Which),
    responses((status = 200, description = "The keys, without their secrets", body = Keys), doc::Keyed, doc::Found, doc::Asked))]
async fn list(State(api): State<Api>, headers: HeaderMap, Query(which): Query<Which>) -> Result<Json<Keys>, ApiError> {
    let caller = api.authorize(&headers, Scope::Admin)?;
    let project = api.administered(&caller, which.project.as_deref()).await?;
    let projects = api.store.projects().await?;
    let keys = api.store.keys().await?.into_iter().filter(|key| key.project == project);
    Ok(Json(Keys { keys: keys.map(|key| view(&api, &key, &projects)).collect() }))
}

/// One key.
#[utoipa::path(get, path = "/api/v1/keys/{id}", tag = "Keys", security(("api_key" = ["admin"])), params(("id" = String, Path, description = "The key's id, the part between its underscores", example = "3f1f0c9a")),
    responses((status = 200, description = "The key, without its secret", body = View), doc::Keyed, doc::Found))]
async fn read(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<View>, ApiError> {
    let caller = api.authorize(&headers, Scope::Admin)?;
    let key = find(&api, &caller, &id).await?;
    Ok(Json(view(&api, &key, &api.store.projects().await?)))
}

/// Makes a key. Only this answer shows it.
#[utoipa::path(post, path = "/api/v1/keys", tag = "Keys", security(("api_key" = ["admin"])),
    request_body(content = New, example = json!({"scopes": ["ingest"], "label": "laptop", "expires_in": "90d"})),
    responses((status = 201, description = "The key, shown this once", body = Made), doc::Keyed, doc::Found, doc::Sent))]
async fn create(State(api): State<Api>, peer: Peer, request: Request) -> Result<(StatusCode, Json<Made>), ApiError> {
    let (caller, told): (_, New) = agents::told(&api, Scope::Admin, &peer, "key.create", "keys", request).await?;
    let wrong = |field: &str, problem: String| agents::wrong(vec!["body".into(), field.into()], problem);
    let scopes = Scopes::parse(&told.scopes.join(",")).map_err(|word| {
        let all: Vec<_> = Scope::ALL.into_iter().map(Scope::word).collect();
        wrong("scopes", format!("{word:?} is not a scope; use one or more of {}", all.join(", ")))
    })?;
    if scopes == Scopes::default() {
        return Err(wrong("scopes", "a key needs at least one scope".into()));
    }
    if told.label.len() > LABEL_BYTES_MAX || told.label.chars().any(char::is_control) {
        return Err(wrong("label", format!("at most {LABEL_BYTES_MAX} bytes without control characters are allowed")));
    }
    if told.global && !caller.global {
        let reason = "only a global key makes global keys".to_owned();
        api.refused(&caller, &peer, "key.create", "a global key", reason).await;
        return Err(ApiError::access_denied());
    }
    let project = api.administered(&caller, told.project.as_deref()).await?;
    let (now, text) = (api.clock.now(), api.ids.api_key());
    let key = ApiKey {
        label: told.label,
        expires_at: told.expires_in.map(|span| now.plus(span.0)),
        global: told.global,
        ..ApiKey::new(key_id(text.as_bytes()), project, hash_key(text.as_bytes()), scopes, now)
    };
    let change = Change::PutKey { key: key.clone(), before: None, deed: "key.create" };
    api.administer(&caller, &peer, project, change).await?;
    api.keyring.put(&key, true);
    let view = view(&api, &key, &api.store.projects().await?);
    Ok((StatusCode::CREATED, Json(Made { key: text, view })))
}

/// Revokes a key: it opens nothing from now on.
#[utoipa::path(delete, path = "/api/v1/keys/{id}", tag = "Keys", security(("api_key" = ["admin"])), params(("id" = String, Path, description = "The key's id, the part between its underscores", example = "3f1f0c9a")),
    responses((status = 200, description = "The key as it is now", body = View), doc::Keyed, doc::Found))]
async fn revoke(
    State(api): State<Api>,
    Path(id): Path<String>,
    peer: Peer,
    headers: HeaderMap,
) -> Result<Json<View>, ApiError> {
    let caller = api.admit(&headers, Scope::Admin, &peer, "key.revoke", &format!("key {id}")).await?;
    let before = find(&api, &caller, &id).await?;
    let mut key = before.clone();
    key.revoked_at.get_or_insert(api.clock.now());
    let change = Change::PutKey { key: key.clone(), before: Some(before), deed: "key.revoke" };
    api.administer(&caller, &peer, key.project, change).await?;
    api.keyring.put(&key, false);
    Ok(Json(view(&api, &key, &api.store.projects().await?)))
}

/// A key by its id. One that the caller does not administer looks like none.
async fn find(api: &Api, caller: &Caller, id: &str) -> Result<ApiKey, ApiError> {
    let mut keys = api.store.keys().await?.into_iter();
    let found = keys.find(|key| key.id == id && (key.project == caller.project || caller.global));
    found.ok_or_else(|| ApiError::not_found("Key"))
}

fn view(api: &Api, key: &ApiKey, projects: &[Project]) -> View {
    let name = projects.iter().find(|p| p.id == key.project).map_or_else(String::new, |p| p.name.to_string());
    View {
        id: key.id.clone(),
        project: name,
        scopes: Scope::ALL.into_iter().filter(|s| key.scopes.has(*s)).map(Scope::word).collect(),
        label: key.label.clone(),
        global: key.global,
        state: match key.revoked_at {
            Some(_) => "revoked",
            None if key.is_good(api.clock.now()) => "active",
            None => "expired",
        },
        created_at: key.created_at.to_string(),
        expires_at: key.expires_at.map(|t| t.to_string()),
        last_used_at: key.last_used_at.map(|t| t.to_string()),
        revoked_at: key.revoked_at.map(|t| t.to_string()),
    }
}
