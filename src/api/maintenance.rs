//! Maintenance windows: once or by cron, over a project, a pattern of names or one agent.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, agents};
use crate::http::{ApiError, Path, Peer, Query, doc};
use crate::ingest::Change;
use crate::model::{
    Caller, Covers, Glob, MaintenanceWindow, ProjectId, REASON_BYTES_MAX, Scope, Span, Timestamp, When, WindowId,
};

pub fn routes(api: Api) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(read, change, end)).with_state(api)
}

/// Maintenance windows.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MaintenanceWindows)]
pub struct Windows {
    /// In order of their number.
    pub windows: Vec<View>,
}

/// A maintenance window.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MaintenanceWindow)]
pub struct View {
    /// Its number.
    #[schema(example = 3)]
    pub window_id: i64,
    /// The one agent it covers.
    #[schema(required, example = json!(null))]
    pub agent_id: Option<i64>,
    /// The names it covers: `*` is any text, `?` any one character. Without this and `agent_id`: the whole project.
    #[schema(required, example = "nightly-*")]
    pub pattern: Option<String>,
    /// When it begins, if it comes once.
    #[schema(required, example = "2026-12-01T22:00:00Z")]
    pub from: Option<String>,
    /// When it is over, if it comes once.
    #[schema(required, example = "2026-12-02T00:00:00Z")]
    pub to: Option<String>,
    /// When it begins, if it comes again and again.
    #[schema(required, example = json!(null))]
    pub cron: Option<String>,
    /// How long it holds then.
    #[schema(required, example = json!(null))]
    pub duration_seconds: Option<u32>,
    /// Where the hours of `cron` are meant.
    #[schema(required, example = json!(null))]
    pub timezone: Option<String>,
    /// Why.
    #[schema(example = "moving to another rack")]
    pub reason: String,
    /// When it was made.
    #[schema(example = "2026-11-22T08:00:00Z")]
    pub created_at: String,
    /// Until when it holds, if it holds now.
    #[schema(required, example = json!(null))]
    pub active_until: Option<String>,
    /// When it begins next.
    #[schema(required, example = "2026-12-01T22:00:00Z")]
    pub next_start: Option<String>,
}

/// A maintenance window as it is to be: `from` and `to`, or `cron` and `duration`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = WantedWindow)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The one agent to cover.
    pub agent_id: Option<i64>,
    /// The names to cover. Without this and `agent_id`: the whole project.
    pub pattern: Option<String>,
    /// When it begins, RFC 3339. Without it, now.
    pub from: Option<String>,
    /// When it is over, RFC 3339.
    pub to: Option<String>,
    /// When it begins again and again: minute, hour, day of the month, month, day of the week.
    pub cron: Option<String>,
    /// How long it holds, for example `2h`.
    #[schema(value_type = Option<String>, example = "2h")]
    pub duration: Option<Span>,
    /// Where the hours of `cron` are meant, by its IANA name. Without it, UTC.
    pub timezone: Option<String>,
    /// Why, in words.
    #[serde(default)]
    pub reason: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// The project; without it, the key's. Another one needs a global key.
    project: Option<String>,
}

/// The maintenance windows of a project.
#[utoipa::path(get, path = "/api/v1/maintenance", tag = "Maintenance", security(("api_key" = ["admin"])), params(Which),
    responses((status = 200, description = "The windows", body = Windows), doc::Keyed, doc::Found, doc::Asked))]
async fn list(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(which): Query<Which>,
) -> Result<Json<Windows>, ApiError> {
    let caller = api.authorize(&headers, Scope::Admin)?;
    let project = api.administered(&caller, which.project.as_deref()).await?;
    let windows = api.store.windows().await?.into_iter().filter(|w| w.project == project);
    let now = api.clock.now();
    Ok(Json(Windows { windows: windows.map(|w| view(&w, now)).collect() }))
}

/// One maintenance window.
#[utoipa::path(get, path = "/api/v1/maintenance/{id}", tag = "Maintenance", security(("api_key" = ["admin"])), params(("id" = String, Path, description = "The window's number", example = "3")),
    responses((status = 200, description = "The window", body = View), doc::Keyed, doc::Found))]
async fn read(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<View>, ApiError> {
    let caller = api.authorize(&headers, Scope::Admin)?;
    Ok(Json(view(&find(&api, &caller, &id).await?, api.clock.now())))
}

/// Makes a maintenance window: while it holds, nothing alerts and nothing is restarted by itself.
#[utoipa::path(post, path = "/api/v1/maintenance", tag = "Maintenance", security(("api_key" = ["admin"])), params(Which),
    request_body(content = Wanted, example = json!({"pattern": "nightly-*", "from": "2026-12-01T22:00:00Z", "duration": "2h", "reason": "moving to another rack"})),
    responses((status = 201, description = "The window", body = View), doc::Keyed, doc::Found, doc::Sent, doc::Conflict))]
async fn create(
    State(api): State<Api>,
    Query(which): Query<Which>,
    peer: Peer,
    request: Request,
) -> Result<(StatusCode, Json<View>), ApiError> {
    let (caller, wanted): (_, Wanted) =
        agents::told(&api, Scope::Admin, &peer, "maintenance.create", "maintenance", request).await?;
    let project = api.administered(&caller, which.project.as_deref()).await?;
    let window = understand(&api, project, wanted).await?;
    Ok((StatusCode::CREATED, put(&api, &caller, &peer, window).await?))
}

/// Puts another window in the place of one.
#[utoipa::path(put, path = "/api/v1/maintenance/{id}", tag = "Maintenance", security(("api_key" = ["admin"])), params(("id" = String, Path, description = "The window's number", example = "3")),
    request_body(content = Wanted, example = json!({"pattern": "nightly-*", "from": "2026-12-01T22:00:00Z", "duration": "2h", "reason": "moving to another rack"})),
    responses((status = 200, description = "The window as it is now", body = View), doc::Keyed, doc::Found, doc::Sent, doc::Conflict))]
async fn change(
    State(api): State<Api>,
    Path(id): Path<String>,
    peer: Peer,
    request: Request,
) -> Result<Json<View>, ApiError> {
    let target = format!("maintenance window {id}");
    let (caller, wanted): (_, Wanted) =
        agents::told(&api, Scope::Admin, &peer, "maintenance.change", &target, request).await?;
    let before = find(&api, &caller, &id).await?;
    let window = MaintenanceWindow { id: before.id, ..understand(&api, before.project, wanted).await? };
    put(&api, &caller, &peer, window).await
}

/// Deletes a maintenance window; if it holds, it is over.
#[utoipa::path(delete, path = "/api/v1/maintenance/{id}", tag = "Maintenance", security(("api_key" = ["admin"])), params(("id" = String, Path, description = "The window's number", example = "3")),
    responses((status = 204, description = "It is gone"), doc::Keyed, doc::Found))]
async fn end(
    State(api): State<Api>,
    Path(id): Path<String>,
    peer: Peer,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let target = format!("maintenance window {id}");
    let caller = api.admit(&headers, Scope::Admin, &peer, "maintenance.delete", &target).await?;
    let window = find(&api, &caller, &id).await?;
    api.administer(&caller, &peer, window.project, Change::DropWindow(window.id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn put(api: &Api, caller: &Caller, peer: &Peer, window: MaintenanceWindow) -> Result<Json<View>, ApiError> {
    let changed = api.administer(caller, peer, window.project, Change::PutWindow(window)).await?;
    let id = changed.window.ok_or_else(|| ApiError::not_found("Maintenance window"))?;
    Ok(Json(view(&find(api, caller, &id.to_string()).await?, api.clock.now())))
}

/// A window by its number. One that the caller does not administer looks like none.
async fn find(api: &Api, caller: &Caller, id: &str) -> Result<MaintenanceWindow, ApiError> {
    let id = id.parse().ok().map(WindowId);
    let mut windows = api.store.windows().await?.into_iter();
    let found = windows.find(|w| Some(w.id) == id && (w.project == caller.project || caller.global));
    found.ok_or_else(|| ApiError::not_found("Maintenance window"))
}

async fn understand(api: &Api, project: ProjectId, wanted: Wanted) -> Result<MaintenanceWindow, ApiError> {
    let wrong = |field: &str, problem: String| agents::wrong(vec!["body".into(), field.into()], problem);
    let now = api.clock.now();
    let covers = match (wanted.agent_id, wanted.pattern) {
        (Some(_), Some(_)) => return Err(wrong("pattern", "give `agent_id` or `pattern`, not both".into())),
        (Some(id), None) => {
            let row = api.store.agent(crate::model::AgentId(id)).await?.filter(|row| row.key.project == project);
            Covers::Agent(row.ok_or_else(|| wrong("agent_id", format!("there is no agent {id}")))?.id)
        }
        (None, Some(pattern)) => {
            Glob::new(&pattern).map_err(|problem| wrong("pattern", problem))?;
            Covers::Pattern(pattern.into())
        }
        (None, None) => Covers::Project,
    };
    let time = |field: &str, text: &str| {
        let at = text.parse::<jiff::Timestamp>().map(|at| Timestamp(at.as_microsecond()));
        at.map_err(|e| wrong(field, format!("{e}; write a time such as 2026-12-01T22:00:00Z")))
    };
    let when = match (wanted.cron, wanted.to, wanted.duration) {
        (Some(_), Some(_), _) => return Err(wrong("to", "give `cron` and `duration`, or `from` and `to`".into())),
        (Some(_), None, None) => return Err(wrong("duration", "is needed with `cron`".into())),
        (Some(cron), None, Some(span)) => When::Cron {
            cron,
            seconds: u32::try_from(span.0.as_secs()).unwrap_or(u32::MAX),
            timezone: wanted.timezone.unwrap_or_else(|| "UTC".into()),
        },
        (None, to, duration) => {
            let from = wanted.from.map_or(Ok(now), |from| time("from", &from))?;
            let to = match (to, duration) {
                (Some(to), None) => time("to", &to)?,
                (None, Some(span)) => from.plus(span.0),
                (Some(_), Some(_)) => return Err(wrong("duration", "give `to` or `duration`, not both".into())),
                (None, None) => {
                    let problem = "is missing: give `from` and `to` (or `duration`), or `cron` and `duration`";
                    return Err(wrong("to", problem.into()));
                }
            };
            When::Once { from, to }
        }
    };
    when.check().map_err(|(field, problem)| wrong(field, problem))?;
    if wanted.reason.len() > REASON_BYTES_MAX || wanted.reason.chars().any(char::is_control) {
        let problem = format!("at most {REASON_BYTES_MAX} bytes without control characters are allowed");
        return Err(wrong("reason", problem));
    }
    Ok(MaintenanceWindow { id: WindowId(0), project, covers, when, reason: wanted.reason, created_at: now })
}

fn view(window: &MaintenanceWindow, now: Timestamp) -> View {
    let mut view = View {
        window_id: window.id.0,
        agent_id: None,
        pattern: None,
        from: None,
        to: None,
        cron: None,
        duration_seconds: None,
        timezone: None,
        reason: window.reason.clone(),
        created_at: window.created_at.to_string(),
        active_until: window.when.holds_until(now).map(|t| t.to_string()),
        next_start: window.when.next_start(now).map(|t| t.to_string()),
    };
    match &window.covers {
        Covers::Project => {}
        Covers::Pattern(pattern) => view.pattern = Some(pattern.to_string()),
        Covers::Agent(id) => view.agent_id = Some(id.0),
    }
    match &window.when {
        When::Once { from, to } => (view.from, view.to) = (Some(from.to_string()), Some(to.to_string())),
        When::Cron { cron, seconds, timezone } => {
            view.cron = Some(cron.clone());
            view.duration_seconds = Some(*seconds);
            view.timezone = Some(timezone.clone());
        }
    }
    view
}
