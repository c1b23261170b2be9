//! The part of Langfuse's public API that its SDKs send to, so that an unmodified SDK can point at the gateway.
//!
//! Source: Langfuse's OpenAPI document (<https://cloud.langfuse.com/generated/api/openapi.yml>) and requests captured
//! from the Python SDKs 2.60, 3.10 and 5.0 and the JS SDK 5. OTLP traces under `/api/public/otel` are the OTLP receiver's.
//!
//! | path | what |
//! |---|---|
//! | `POST /api/public/ingestion` | batches of the SDKs before version 3, and scores of version 3; answered with 207 |
//! | `POST /api/public/scores` | taken and dropped: a score says nothing about an agent's health |
//! | `GET /api/public/projects` | what `auth_check()` asks |
//! | `GET /api/public/health` | open |

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::BODY_BYTES_MAX;
use crate::clock::Clock;
use crate::exporters::forward::{Forward, Onward, Signal};
use crate::http::auth::Keyring;
use crate::http::{ApiError, body, doc};
use crate::ingest::{Committer, Intake, Work};
use crate::model::{Caller, Scope};
use crate::receivers::{Submit, json as wire};
use crate::store::Store;
use crate::telemetry::ProcessMetrics;

mod batch;
mod observation;
mod scores;

/// What the routes work with.
#[derive(Clone)]
pub struct LangfusePublic<S = Committer> {
    /// Where observations go: they are spans under another name.
    pub committer: S,
    /// The keys in force.
    pub keyring: Keyring,
    /// Tells when a request arrived.
    pub clock: Clock,
    /// Counters of this process.
    pub metrics: ProcessMetrics,
    /// Where bodies go on to after their commit.
    pub forward: Forward,
    /// Knows the projects' names.
    pub store: Arc<dyn Store>,
}

/// The routes.
pub fn routes<S: Submit>(public: LangfusePublic<S>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(ingestion))
        .routes(routes!(take_scores))
        .routes(routes!(projects))
        .routes(routes!(health))
        .with_state(public)
}

/// What became of each event.
#[derive(Serialize, ToSchema)]
struct Ingested {
    /// Ids of the events that were taken, each with the status 201.
    successes: Vec<Value>,
    /// Events that were not, each with its id, the status 400 and why.
    errors: Vec<batch::Failed>,
}

/// Events of the Langfuse SDKs before version 3: every event is answered for itself, so that a bad one does not sink the
/// others.
#[utoipa::path(post, path = "/api/public/ingestion", tag = "Langfuse", security(("api_key" = ["ingest"])),
    request_body(content = Value, description = "A batch of Langfuse's ingestion API",
        example = json!({"batch": [{"id": "e1", "type": "trace-create", "timestamp": "2026-11-22T12:34:02Z", "body": {"id": "t1", "name": "research-agent"}}]})),
    responses((status = 207, description = "What became of each event", body = Ingested,
        example = json!({"successes": [{"id": "e1", "status": 201}], "errors": []})), doc::Keyed, doc::Sent))]
async fn ingestion<S: Submit>(State(public): State<LangfusePublic<S>>, request: Request) -> Result<Response, ApiError> {
    let Received { caller, bytes, json, onward } = receive(&public, "/api/public/ingestion", request).await?;
    let events = json.get("batch").and_then(Value::as_array).ok_or_else(|| {
        let loc = ["body".into(), "batch".into()];
        ApiError::invalid(&[wire::wrong(&loc, "list_type", "Field \"batch\" is required and must be a list of events")])
    })?;
    let read = batch::read(events);
    public.metrics.otlp_spans(read.decoded.spans);
    if !read.decoded.traces.is_empty() {
        // No dedup key: to be told the same again changes nothing, and the same ids may come with news.
        let work = Work::Spans { received_at: public.clock.now(), traces: read.decoded.traces };
        public.committer.submit(Intake { project: caller.project, dedup: None, bytes, work }).await?;
    }
    onward.send(caller.project);
    let answer = Ingested { successes: read.successes, errors: read.errors };
    Ok((StatusCode::MULTI_STATUS, Json(answer)).into_response())
}

/// Scores of the Langfuse SDKs: checked, and dropped, because they say nothing about an agent's health. A list is answered
/// with 207.
#[utoipa::path(post, path = "/api/public/scores", tag = "Langfuse", security(("api_key" = ["ingest"])),
    request_body(content = Value, description = "A score, or a list of scores", example = json!({"traceId": "t1", "name": "quality", "value": 0.9})),
    responses((status = 200, description = "The score's id", body = Value, example = json!({"id": "s1"})),
        (status = 207, description = "How many of a list were taken", body = Value, example = json!({"accepted": 1, "rejected": 0, "errors": []})), doc::Keyed, doc::Sent))]
async fn take_scores<S: Submit>(
    State(public): State<LangfusePublic<S>>,
    request: Request,
) -> Result<Response, ApiError> {
    let Received { caller, json, onward, .. } = receive(&public, "/api/public/scores", request).await?;
    let Value::Array(scores) = &json else {
        let id = scores::check(&json).map_err(|flaw| {
            ApiError::invalid(&[wire::wrong(&["body".into(), flaw.field.into()], "missing", flaw.message())])
        })?;
        onward.send(caller.project);
        return Ok(Json(json!({ "id": id })).into_response());
    };
    let errors: Vec<Value> = scores
        .iter()
        .enumerate()
        .filter_map(|(index, score)| scores::check(score).err().map(|flaw| (index, flaw)))
        .map(|(index, flaw)| json!({ "index": index, "status": 400, "message": flaw.message() }))
        .collect();
    onward.send(caller.project);
    let answer = json!({ "accepted": scores.len() - errors.len(), "rejected": errors.len(), "errors": errors });
    Ok((StatusCode::MULTI_STATUS, Json(answer)).into_response())
}

/// The project of the key, as Langfuse tells it.
// An empty list would make `auth_check()` raise.
#[utoipa::path(get, path = "/api/public/projects", tag = "Langfuse", security(("api_key" = ["ingest"])),
    responses((status = 200, description = "A list of one", body = Value,
        example = json!({"data": [{"id": "1", "name": "default", "organization": {"id": "pulsegate", "name": "Pulsegate"}, "metadata": {}}]})), doc::Keyed, doc::Found))]
async fn projects<S: Submit>(
    State(public): State<LangfusePublic<S>>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let caller = public.keyring.authorize(&headers, Scope::Ingest)?;
    let projects =
        public.store.projects().await.map_err(|_| ApiError::unavailable("the store cannot be read right now", 1))?;
    let own = projects.into_iter().find(|p| p.id == caller.project).ok_or_else(|| ApiError::not_found("Project"))?;
    let project = json!({
        "id": own.id.to_string(), "name": own.name,
        "organization": { "id": "pulsegate", "name": "Pulsegate" }, "metadata": {},
    });
    Ok(Json(json!({ "data": [project] })))
}

/// Whether the gateway runs, as Langfuse tells it.
#[utoipa::path(get, path = "/api/public/health", tag = "Langfuse", security(()),
    responses((status = 200, description = "It runs", body = Value, example = json!({"status": "OK", "version": "0.1.0"}))))]
async fn health() -> Json<Value> {
    Json(json!({ "status": "OK", "version": env!("CARGO_PKG_VERSION") }))
}

/// A request whose key is in order and whose body is JSON.
struct Received {
    caller: Caller,
    /// How large the body is, in bytes.
    bytes: usize,
    json: Value,
    /// The body as it came, to be sent on.
    onward: Onward,
}

/// Checks the key, then reads the body.
async fn receive<S: Submit>(
    public: &LangfusePublic<S>,
    path: &'static str,
    request: Request,
) -> Result<Received, ApiError> {
    let (parts, body) = request.into_parts();
    let caller = public.keyring.authorize(&parts.headers, Scope::Ingest)?;
    wire::check_content_type(&parts.headers)?;
    let body = body::read_whole(&parts.headers, body, BODY_BYTES_MAX).await?;
    let onward = public.forward.http(Signal::Langfuse, path, &parts.headers, body.raw, body.decoded.clone());
    let text = wire::text(&body.decoded)?;
    let json = serde_json::from_str(text).map_err(|e| wire::invalid(text, &e))?;
    Ok(Received { caller, bytes: body.decoded.len(), json, onward })
}
