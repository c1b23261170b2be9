//! `GET /api/v1/dependencies` and `/api/v1/dependencies/{name}/ready`: what is known of what agents depend on.

use std::sync::PoisonError;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::streak::Health;
use super::{Board, Watched};
use crate::http::auth::Keyring;
use crate::http::{ApiError, Path, doc};
use crate::model::{ProjectId, Scope};

/// What the routes work with.
#[derive(Clone)]
pub struct Dependencies {
    /// The targets.
    pub board: Board,
    /// Who may see them.
    pub keyring: Keyring,
}

/// The routes.
pub fn routes(dependencies: Dependencies) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(ready)).with_state(dependencies)
}

/// What agents of the project depend on, and how it is.
#[utoipa::path(get, path = "/api/v1/dependencies", tag = "Dependencies", security(("api_key" = ["read"])),
    responses((status = 200, description = "The dependencies", body = Object, example = json!({"total": 0, "dependencies": []})), doc::Keyed))]
async fn list(State(state): State<Dependencies>, headers: HeaderMap) -> Result<Response, ApiError> {
    let caller = state.keyring.authorize(&headers, Scope::Read)?;
    let rows: Vec<Value> = state.board.of(caller.project).map(|watched| row(watched).1).collect();
    Ok(Json(json!({ "dependencies": rows, "total": rows.len() })).into_response())
}

/// 200 when the dependency is healthy, else 503, also while nothing is known yet.
#[utoipa::path(get, path = "/api/v1/dependencies/{name}/ready", tag = "Dependencies", security(("api_key" = ["read"])),
    params(("name" = String, Path, description = "Its name in the configuration")),
    responses(doc::Keyed, doc::Found, (status = 200, description = "It is healthy", body = Object,
        example = json!({"name": "vector-db", "kind": "http", "target": "http://vectors.internal:6333/readyz", "status": "healthy",
            "since": "2026-11-22T12:39:02Z", "probed_at": "2026-11-22T12:39:32Z", "latency_ms": 2.1, "consecutive_failures": 0,
            "last_error": null, "agents": ["research-*"], "interval_seconds": 30.0})),
        (status = 503, description = "It is not, or nothing is known yet", body = Object, example = json!({"name": "vector-db", "status": "unhealthy"}))))]
async fn ready(
    State(state): State<Dependencies>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let caller = state.keyring.authorize(&headers, Scope::Read)?;
    let found = state.board.of(caller.project).find(|watched| *watched.target.name == *name);
    let (health, row) = row(found.ok_or_else(|| ApiError::not_found("Dependency"))?);
    let status = if health == Health::Healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(row)).into_response())
}

impl Board {
    /// What a project may see.
    fn of(&self, project: ProjectId) -> impl Iterator<Item = &Watched> {
        self.0.iter().map(|watched| &**watched).filter(move |watched| (watched.target.in_project)(project))
    }
}

fn row(watched: &Watched) -> (Health, Value) {
    let target = &watched.target;
    let streak = watched.streak.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let error = streak.last_error.as_ref();
    let row = json!({
        "name": &*target.name,
        "kind": target.probe.kind(),
        "target": target.probe.shown(),
        "status": streak.health.word(),
        "since": streak.since.map(|at| at.to_string()),
        "probed_at": streak.probed_at.map(|at| at.to_string()),
        "latency_ms": streak.latency.map(|l| (l.as_secs_f64() * 1e6).round() / 1e3),
        "consecutive_failures": streak.failures,
        "last_error": error.map(|(at, why)| json!({ "at": at.to_string(), "message": why })),
        "agents": target.agents,
        "interval_seconds": target.interval.as_secs_f64(),
    });
    (streak.health, row)
}
