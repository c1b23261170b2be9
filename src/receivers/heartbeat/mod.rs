//! `POST /api/v1/heartbeat` and `POST /api/v1/heartbeat/batch`: the wire of the ClevAgent clients.
//!
//! A request is decoded (`wire`), checked (`check`), told apart from a runner's (`runner`), committed and answered
//! (`reply`). The answer goes out after the commit, so "received" means kept. Every usage field is a difference since
//! the last beat; published clients repeat a failed request at once and unmarked, so nothing is ever kept of a request
//! that is answered with an error. Clients of our own can send `Idempotency-Key` and repeat safely.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, body::Body};
use bytes::Bytes;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Submit, json};
use crate::clock::Clock;
use crate::http::auth::Keyring;
use crate::http::{ApiError, body, doc};
use crate::ingest::Committer;
use crate::ingest::intake::{Intake, Outcome, Refusal, Seen, Work};
use crate::model::{DedupKey, Observation, ProjectId, Scope};

mod batch;
mod check;
mod described;
mod reply;
mod runner;
mod scalar;
mod target;
mod wire;

#[cfg(test)]
mod field_tests;
#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod tests;

/// The largest body of a single beat, in bytes, after decompression.
pub const BEAT_BYTES_MAX: usize = 1 << 20;
/// The largest body of a batch, in bytes, after decompression.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
/// The longest `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// The heartbeat API.
#[derive(Clone)]
pub struct Heartbeats<S = Committer> {
    /// Where beats go.
    pub committer: S,
    /// Who may send them.
    pub keyring: Keyring,
    /// When they arrived.
    pub clock: Clock,
}

/// The routes of the heartbeat API. A trailing slash is served, not redirected: clients follow a 301 or 302 as a GET
/// without body and would lose the beat.
pub fn routes<S: Submit>(heartbeats: Heartbeats<S>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(single))
        .route("/api/v1/heartbeat/", post(single))
        .routes(routes!(many))
        .route("/api/v1/heartbeat/batch/", post(many))
        .with_state(Arc::new(heartbeats))
}

/// A sign of life. The first one of a name makes the agent.
///
/// Usage fields are what was used since the last beat. What was answered 200 is on disk and counted.
#[utoipa::path(post, path = "/api/v1/heartbeat", tag = "Heartbeats", security(("api_key" = ["ingest"])), params(described::IdempotencyKey),
    request_body = described::Beat,
    responses((status = 200, description = "Kept", body = reply::Accepted), doc::Keyed, doc::Sent, doc::Paid))]
async fn single<S: Submit>(State(api): State<Arc<Heartbeats<S>>>, request: Request) -> Result<Response, ApiError> {
    let call = api.open(request, BEAT_BYTES_MAX).await?;
    let body = [Value::from("body")];
    let text = json::text(&call.body)?;
    let wire::Item(wire) = serde_json::from_str(text).map_err(|e| json::invalid(text, &e))?;
    let told = match wire {
        Some(wire) => check::check(wire, call.project, &body),
        None => Err(vec![not_an_object(&body)]),
    };
    let mut observations = Vec::with_capacity(1);
    told.map_err(|fields| ApiError::invalid(&fields))?.push_to(api.clock.now(), &mut observations);
    match api.submit(call, observations).await?.pop() {
        Some(Ok(seen)) => Ok(Json(reply::Accepted::from(seen)).into_response()),
        Some(Err(refusal)) => Err(reply::refused(&refusal, &body)),
        None => Err(internal("no result for a heartbeat")),
    }
}

/// Up to 100 heartbeats, each with its own result; one that is wrong does not sink the others.
#[utoipa::path(post, path = "/api/v1/heartbeat/batch", tag = "Heartbeats", security(("api_key" = ["ingest"])), params(described::IdempotencyKey),
    request_body = described::Beats,
    responses((status = 200, description = "At least one was kept", body = reply::BatchReply,
        example = json!({"received": true, "accepted": 1, "rejected": 0, "results": [
            {"index": 0, "received": true, "agent_id": 7, "status": "healthy", "state": "healthy"}]})), doc::Keyed, doc::Sent, doc::Paid))]
async fn many<S: Submit>(State(api): State<Arc<Heartbeats<S>>>, request: Request) -> Result<Response, ApiError> {
    let call = api.open(request, BATCH_BYTES_MAX).await?;
    let batch::Batch { items, loc } = batch::Batch::read(json::text(&call.body)?)?;
    let now = api.clock.now();
    let at = |index: usize| [loc.as_slice(), &[index.into()]].concat();
    let mut observations = Vec::with_capacity(items.len());
    // For every beat the place of the observation that answers for it, or what is wrong with the beat.
    let mut places = Vec::with_capacity(items.len());
    let mut item_loc = at(0);
    for (index, wire::Item(wire)) in items.into_iter().enumerate() {
        if let Some(last) = item_loc.last_mut() {
            *last = index.into();
        }
        let told = match wire {
            Some(wire) => check::check(wire, call.project, &item_loc),
            None => Err(vec![not_an_object(&item_loc)]),
        };
        places.push(told.map(|told| {
            told.push_to(now, &mut observations);
            observations.len() - 1
        }));
    }
    let seen = if observations.is_empty() { Vec::new() } else { api.submit(call, observations).await? };
    let results = places.into_iter().enumerate().map(|(index, place)| match place {
        Ok(place) => seen[place].clone().map_err(|refusal| reply::Rejection::refused(&refusal, &at(index))),
        Err(fields) => Err(reply::Rejection::Fields(fields)),
    });
    let (status, reply) = reply::batch(results.collect());
    Ok((status, Json(reply)).into_response())
}

/// A request whose key is good, with its body.
struct Call {
    project: ProjectId,
    dedup: Option<DedupKey>,
    body: Bytes,
}

impl<S: Submit> Heartbeats<S> {
    /// Checks the key before a byte of the body is read, and the headers before the body is waited for.
    async fn open(&self, request: Request<Body>, bytes_max: usize) -> Result<Call, ApiError> {
        let (parts, body) = request.into_parts();
        let caller = self.keyring.authorize(&parts.headers, Scope::Ingest)?;
        json::check_content_type(&parts.headers)?;
        let dedup = idempotency_key(&parts.headers, caller.project)?;
        let body = body::read(&parts.headers, body, bytes_max).await?;
        Ok(Call { project: caller.project, dedup, body })
    }

    /// One result for every observation, in their order.
    async fn submit(&self, call: Call, observations: Vec<Observation>) -> Result<Vec<Result<Seen, Refusal>>, ApiError> {
        let Call { project, dedup, body } = call;
        let bytes = body.len();
        // While the commit is awaited the connection looks for what comes next, into the buffer this lies in if it is free.
        drop(body);
        let expected = observations.len();
        let intake = Intake { project, dedup, bytes, work: Work::Observe(observations) };
        match self.committer.submit(intake).await? {
            Outcome::Observed(seen) if seen.len() == expected => Ok(seen),
            // A repeated key is answered with `Observed` too, so there is nothing else to expect.
            other => Err(internal(&format!("unexpected outcome of heartbeats: {other:?}"))),
        }
    }
}

/// The key under which a sender may repeat its request without effect.
fn idempotency_key(headers: &HeaderMap, project: ProjectId) -> Result<Option<DedupKey>, ApiError> {
    let Some(key) = headers.get("idempotency-key").map(|v| v.as_bytes()).filter(|k| !k.is_empty()) else {
        return Ok(None);
    };
    if key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        let msg = format!("String should have at most {IDEMPOTENCY_KEY_BYTES_MAX} bytes, not {}", key.len());
        let loc = ["header".into(), "idempotency-key".into()];
        return Err(ApiError::invalid(&[json::wrong(&loc, "string_too_long", msg)]));
    }
    Ok(Some(DedupKey::of(project, "idempotency-key", key)))
}

fn not_an_object(loc: &[Value]) -> crate::http::FieldError {
    json::wrong(loc, "model_attributes_type", "Input should be an object with the fields of a heartbeat")
}

/// 500 for a broken promise inside the gateway; the cause goes to the log only.
fn internal(cause: &str) -> ApiError {
    tracing::error!(cause, "heartbeat could not be answered");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
}
