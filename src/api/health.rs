//! The gateway's own health, open to everyone: `/health` says that the process runs, `/ready` that it can do its work.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::schema;
use crate::clock::Stopwatch;
use crate::store::Store;

/// A dependency that has not answered by then counts as out; `/ready` itself answers in less than 100 ms.
const PROBE_TIMEOUT: Duration = Duration::from_millis(80);

/// What the health routes look at.
#[derive(Clone)]
pub struct HealthRoutes {
    /// The store: the one dependency without which nothing can be acknowledged.
    pub store: Arc<dyn Store>,
}

impl HealthRoutes {
    /// The routes.
    pub fn routes(self) -> OpenApiRouter {
        OpenApiRouter::new().routes(routes!(alive)).routes(routes!(ready)).with_state(self)
    }
}

/// That the process runs.
#[utoipa::path(get, path = "/health", tag = "Gateway", security(()),
    responses((status = 200, description = "It runs", body = schema::Alive)))]
async fn alive() -> Response {
    Json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")})).into_response()
}

/// Whether the gateway can do its work; answers in less than 100 ms.
#[utoipa::path(get, path = "/ready", tag = "Gateway", security(()),
    responses((status = 200, description = "It can", body = schema::Ready), (status = 503, description = "Something that matters is out", body = schema::Ready)))]
async fn ready(State(state): State<HealthRoutes>) -> Response {
    let watch = Stopwatch::start();
    let problem = match tokio::time::timeout(PROBE_TIMEOUT, state.store.ping()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => {
            // Everyone may ask, so the cause is for the log.
            tracing::warn!(%error, "the store does not answer");
            Some("it does not answer; the gateway's log says why".to_owned())
        }
        Err(_) => Some(format!("no answer within {} ms", PROBE_TIMEOUT.as_millis())),
    };
    let latency_ms = watch.elapsed().as_secs_f64() * 1e3;
    let (code, word) = match problem {
        None => (StatusCode::OK, "ready"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
    };
    let store = json!({
        "status": if problem.is_none() { "ok" } else { "error" }, "latency_ms": latency_ms, "detail": problem,
    });
    (code, Json(json!({"status": word, "checks": {"store": store}}))).into_response()
}
