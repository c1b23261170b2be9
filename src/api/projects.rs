//! Projects: an administrator sees its own; a global key sees all and makes new ones.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, agents};
use crate::http::{ApiError, Path, Peer, doc};
use crate::ingest::Change;
use crate::model::{Caller, Project, Scope};

pub fn routes(api: Api) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(read)).with_state(api)
}

/// Projects.
#[derive(Debug, Serialize, ToSchema)]
pub struct Projects {
    /// In order of their number.
    pub projects: Vec<View>,
}

/// A project.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Project)]
pub struct View {
    /// Its number.
    #[schema(example = 1)]
    pub project_id: i64,
    /// Its name.
    #[schema(example = "default")]
    pub project: String,
    /// How many agents it has.
    #[schema(example = 40)]
    pub agents: u64,
    /// How many it may have.
    #[schema(example = 10000)]
    pub max_agents: u64,
    /// How new names come to be agents: `open`, `strict` or `approve`.
    #[schema(example = "open")]
    pub registration: &'static str,
    /// What its agents spend together, where the configuration gives it a budget.
    #[schema(required)]
    pub budget: Option<Budget>,
}

/// What a project may spend as a whole, and what it did. Decimal texts in US dollars.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProjectBudget)]
pub struct Budget {
    /// Spent in the last 60 minutes; `null` until something was spent under a budget.
    #[schema(required, example = "1.204410000")]
    pub spent_hour_usd: Option<String>,
    /// What may be spent in 60 minutes.
    #[schema(required, example = "20.000000000")]
    pub limit_hour_usd: Option<String>,
    /// Spent since midnight of `timezone`; `null` until something was spent under a budget.
    #[schema(required, example = "7.310000000")]
    pub spent_today_usd: Option<String>,
    /// What may be spent on one day.
    #[schema(required, example = json!(null))]
    pub limit_day_usd: Option<String>,
    /// Where the project's days begin and end.
    #[schema(example = "UTC")]
    pub timezone: String,
    /// Whether more was spent than may be: its agents are `over_budget` then.
    pub over_budget: bool,
}

/// A project to make.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewProject)]
#[serde(deny_unknown_fields)]
pub struct New {
    /// Its name: at most 100 bytes, no control characters.
    pub project: String,
}

/// The projects that the key administers: its own, or all of them with a global key.
#[utoipa::path(get, path = "/api/v1/projects", tag = "Projects", security(("api_key" = ["admin"])),
    responses((status = 200, description = "The projects", body = Projects), doc::Keyed))]
async fn list(State(api): State<Api>, headers: HeaderMap) -> Result<Json<Projects>, ApiError> {
    let caller = api.authorize(&headers, Scope::Admin)?;
    let mut projects = Vec::new();
    for project in api.store.projects().await?.into_iter().filter(|p| may_see(&caller, p)) {
        projects.push(view(&api, &project).await?);
    }
    Ok(Json(Projects { projects }))
}

/// One project.
#[utoipa::path(get, path = "/api/v1/projects/{name}", tag = "Projects", security(("api_key" = ["admin"])), params(("name" = String, Path, description = "The project's name", example = "default")),
    responses((status = 200, description = "The project", body = View), doc::Keyed, doc::Found))]
async fn read(State(api): State<Api>, Path(name): Path<String>, headers: HeaderMap) -> Result<Json<View>, ApiError> {
    let caller = api.authorize(&headers, Scope::Admin)?;
    let found = api.store.projects().await?.into_iter().find(|p| *p.name == *name && may_see(&caller, p));
    Ok(Json(view(&api, &found.ok_or_else(|| ApiError::not_found("Project"))?).await?))
}

/// Makes a project. Needs a global key.
#[utoipa::path(post, path = "/api/v1/projects", tag = "Projects", security(("api_key" = ["admin"])),
    request_body(content = New, example = json!({"project": "research"})),
    responses((status = 201, description = "The project", body = View), doc::Keyed, doc::Sent, doc::Conflict))]
async fn create(State(api): State<Api>, peer: Peer, request: Request) -> Result<(StatusCode, Json<View>), ApiError> {
    let (caller, told): (_, New) =
        agents::told(&api, Scope::Admin, &peer, "project.create", "projects", request).await?;
    if !caller.global {
        let reason = "the key is for one project only".to_owned();
        api.refused(&caller, &peer, "project.create", &format!("project {}", told.project), reason).await;
        return Err(ApiError::access_denied());
    }
    Project::check_name(&told.project)
        .map_err(|problem| agents::wrong(vec!["body".into(), "project".into()], problem))?;
    let named = |projects: Vec<Project>| projects.into_iter().find(|p| *p.name == *told.project);
    if named(api.store.projects().await?).is_some() {
        return Err(ApiError::new(StatusCode::CONFLICT, format!("there is a project {:?} already", told.project)));
    }
    api.administer(&caller, &peer, caller.project, Change::MakeProject(told.project.as_str().into())).await?;
    let made = named(api.store.projects().await?).ok_or_else(|| ApiError::not_found("Project"))?;
    Ok((StatusCode::CREATED, Json(view(&api, &made).await?)))
}

fn may_see(caller: &Caller, project: &Project) -> bool {
    caller.global || caller.project == project.id
}

async fn budget(api: &Api, project: &Project) -> Result<Option<Budget>, ApiError> {
    let Some(limits) = api.rules.project_budget(project.id) else { return Ok(None) };
    let (state, _) = api.store.project_state(project.id).await?;
    let spent = crate::health::spending(&state, api.clock.now());
    Ok(Some(Budget {
        spent_hour_usd: spent.map(|(hour, _)| hour.to_string()),
        limit_hour_usd: limits.hourly.map(|limit| limit.to_string()),
        spent_today_usd: spent.map(|(_, today)| today.to_string()),
        limit_day_usd: limits.daily.map(|limit| limit.to_string()),
        timezone: limits.timezone.iana_name().unwrap_or("UTC").to_owned(),
        over_budget: state.over_budget,
    }))
}

async fn view(api: &Api, project: &Project) -> Result<View, ApiError> {
    Ok(View {
        project_id: project.id.0,
        project: project.name.to_string(),
        agents: api.store.agents(project.id, 0, 0).await?.total,
        max_agents: api.rules.agents_max(project.id),
        registration: api.rules.registration(project.id).word(),
        budget: budget(api, project).await?,
    })
}
