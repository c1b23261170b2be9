//! `/ping/{key}/{agent}`: the ping addresses of Healthchecks, so that a cron job only changes its URL.
//!
//! Source: the pinging API of <https://healthchecks.io/docs/http_api/>. Answers are its texts and codes: `OK`, 201 `Created`,
//! 404 `not found`, 409 `ambiguous slug`, 400 `invalid url format`. The key stands in the path; it is never logged.

mod names;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Submit;
use crate::clock::Clock;
use crate::http::auth::Keyring;
use crate::http::{ApiError, Path, doc};
use crate::ingest::Committer;
use crate::ingest::intake::{Intake, Notice, Outcome, Refusal, Tone, Work};
use crate::model::{AgentKey, BeatStatus, Heartbeat, Observation, ProjectId, Scope, Source};
use crate::store::Store;

pub use names::slug;

/// What is read of a body, in bytes; the rest is not waited for. Told in the header `Ping-Body-Limit`.
pub const BODY_BYTES_MAX: usize = 100_000;
/// What is kept of a log entry, in bytes.
const LOG_BYTES_MAX: usize = 1000;
/// A ping whose body stops coming is taken with what came of it.
const BODY_WAIT: std::time::Duration = std::time::Duration::from_secs(10);

/// The ping addresses.
#[derive(Clone)]
pub struct Pings<S = Committer> {
    /// Where pings go.
    pub committer: S,
    /// Who may send them.
    pub keyring: Keyring,
    /// When they arrived.
    pub clock: Clock,
    /// Where names are looked up that are no agent's as they stand.
    pub store: Arc<dyn Store>,
}

/// The ping addresses, with and without a signal.
pub fn routes<S: Submit>(pings: Pings<S>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(plain)).routes(routes!(signalled)).with_state(pings)
}

/// What a ping says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Success,
    Start,
    Log,
    /// With the exit code, where one was told.
    Fail(Option<u8>),
}

impl Signal {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "start" => Some(Self::Start),
            "fail" => Some(Self::Fail(None)),
            "log" => Some(Self::Log),
            "0" => Some(Self::Success),
            code if code.bytes().all(|b| b.is_ascii_digit()) => code.parse().ok().map(|code| Self::Fail(Some(code))),
            _ => None,
        }
    }
}

/// A job ended well. For cron jobs: `curl -fsS http://host/ping/KEY/backup`.
///
/// Compatible with Healthchecks. HEAD works too. A body is read up to 100 kB.
#[utoipa::path(method(get, post), path = "/ping/{key}/{agent}", tag = "Pings", security(()),
    params(("key" = String, Path, description = "An API key with the scope `ingest`"),
        ("agent" = String, Path, description = "The agent's name, or its slug (`database-backup` for `Database Backup`)"),
        ("create" = Option<String>, Query, description = "`1`: an agent that does not exist comes to exist", example = "1")),
    responses((status = 200, description = "Kept", content_type = "text/plain", body = String, example = "OK"),
        (status = 201, description = "Kept; the agent came to exist", content_type = "text/plain", body = String, example = "Created"),
        (status = 400, description = "The name cannot be an agent's", content_type = "text/plain", body = String, example = "invalid url format"),
        (status = 404, description = "No such agent", content_type = "text/plain", body = String, example = "not found"),
        (status = 409, description = "Several agents have this slug", content_type = "text/plain", body = String, example = "ambiguous slug"),
        doc::Keyed, doc::Paid))]
async fn plain<S: Submit>(
    State(pings): State<Pings<S>>,
    Path((key, agent)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    pings.answer(&key, &agent, Signal::Success, query, request).await
}

/// A job began, failed, ended with an exit code, or has something to say.
///
/// `start`: work began. `fail`, or an exit code from 1 to 255: it failed; the body says why. `0`: it ended well. `log`: only
/// kept as an event. Compatible with Healthchecks.
#[utoipa::path(method(get, post), path = "/ping/{key}/{agent}/{signal}", tag = "Pings", security(()),
    params(("key" = String, Path, description = "An API key with the scope `ingest`"),
        ("agent" = String, Path, description = "The agent's name, or its slug"),
        ("signal" = String, Path, description = "`start`, `fail`, `log` or an exit code from 0 to 255", example = "start"),
        ("create" = Option<String>, Query, description = "`1`: an agent that does not exist comes to exist", example = "1")),
    responses((status = 200, description = "Kept", content_type = "text/plain", body = String, example = "OK"),
        (status = 201, description = "Kept; the agent came to exist", content_type = "text/plain", body = String, example = "Created"),
        (status = 400, description = "No such signal, or the name cannot be an agent's", content_type = "text/plain", body = String, example = "invalid url format"),
        (status = 404, description = "No such agent", content_type = "text/plain", body = String, example = "not found"),
        (status = 409, description = "Several agents have this slug", content_type = "text/plain", body = String, example = "ambiguous slug"),
        doc::Keyed, doc::Paid))]
async fn signalled<S: Submit>(
    State(pings): State<Pings<S>>,
    Path((key, agent, signal)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    match Signal::parse(&signal) {
        Some(signal) => pings.answer(&key, &agent, signal, query, request).await,
        None => told(StatusCode::BAD_REQUEST, "invalid url format"),
    }
}

fn told(status: StatusCode, text: &'static str) -> Response {
    let mut response = (status, text).into_response();
    let headers = response.headers_mut();
    headers.insert("ping-body-limit", HeaderValue::from(BODY_BYTES_MAX));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl<S: Submit> Pings<S> {
    async fn answer(
        &self,
        key: &str,
        agent: &str,
        signal: Signal,
        query: Option<String>,
        request: Request,
    ) -> Response {
        match self.take(key, agent, signal, query, request).await {
            Ok((status, text)) => told(status, text),
            Err(error) => error.into_response(),
        }
    }

    async fn take(
        &self,
        key: &str,
        agent: &str,
        signal: Signal,
        query: Option<String>,
        request: Request,
    ) -> Result<(StatusCode, &'static str), ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::from_str(key).map_err(|_| ApiError::not_authenticated())?);
        let project = self.keyring.authorize(&headers, Scope::Ingest)?.project;
        let Ok(key) = AgentKey::new(project, agent) else {
            return Ok((StatusCode::BAD_REQUEST, "invalid url format"));
        };
        let text = read(request.into_body()).await;
        let create = query.is_some_and(|query| query.split('&').any(|pair| pair == "create=1"));
        if self.tell(&key, signal, &text, true).await? {
            return Ok((StatusCode::OK, "OK"));
        }
        let mut named = names::with_slug(&*self.store, project, agent).await?;
        match (named.pop(), named.is_empty()) {
            (Some(name), true) => {
                let known = AgentKey { project, name };
                return if self.tell(&known, signal, &text, true).await? {
                    Ok((StatusCode::OK, "OK"))
                } else {
                    Ok((StatusCode::NOT_FOUND, "not found"))
                };
            }
            (Some(_), false) => return Ok((StatusCode::CONFLICT, "ambiguous slug")),
            (None, _) if !create => return Ok((StatusCode::NOT_FOUND, "not found")),
            (None, _) => {}
        }
        if signal == Signal::Log {
            // A log entry says nothing of the agent that could make one: it has to have been there.
            return Ok((StatusCode::NOT_FOUND, "not found"));
        }
        self.tell(&key, signal, &text, false).await?;
        Ok((StatusCode::CREATED, "Created"))
    }

    /// Hands a ping in; whether there is such an agent. Unless it must be `known`, it comes to exist.
    async fn tell(&self, agent: &AgentKey, signal: Signal, text: &str, known: bool) -> Result<bool, ApiError> {
        let received_at = self.clock.now();
        let body = match signal {
            Signal::Log => return self.log(agent, text).await,
            Signal::Start => crate::model::Body::WorkStarted,
            // What a job prints when all is well is the same each time: that is no loop, and nobody reads it.
            Signal::Success => beat(BeatStatus::Ok, None),
            Signal::Fail(code) => {
                let said = text.trim();
                let message = match (code, said.is_empty()) {
                    (Some(code), true) => format!("exit code {code}"),
                    (Some(code), false) => format!("exit code {code}: {said}"),
                    (None, true) => "the job failed".to_owned(),
                    (None, false) => said.to_owned(),
                };
                beat(BeatStatus::Error, Some(message))
            }
        };
        let observation = Observation { agent: agent.clone(), received_at, at: None, source: Source::Agent, body };
        let observations = vec![observation];
        let work = if known { Work::ObserveKnown(observations) } else { Work::Observe(observations) };
        match self.submit(agent.project, text.len(), work).await? {
            Outcome::Observed(seen) => match seen.into_iter().next() {
                Some(Ok(_)) => Ok(true),
                Some(Err(Refusal::NoAgent)) if known => Ok(false),
                Some(Err(Refusal::AgentLimit)) => {
                    Err(ApiError::new(StatusCode::PAYMENT_REQUIRED, Refusal::AgentLimit.to_string()))
                }
                Some(Err(refusal)) => Err(ApiError::new(StatusCode::FORBIDDEN, refusal.to_string())),
                None => Err(internal()),
            },
            _ => Err(internal()),
        }
    }

    /// Keeps a text as an event and changes nothing; whether there is such an agent.
    async fn log(&self, agent: &AgentKey, text: &str) -> Result<bool, ApiError> {
        let candidate =
            crate::ingest::intake::Candidate { name: agent.name.to_string(), matched_by: "path".to_owned() };
        let notice = Notice {
            source: Source::Agent,
            candidates: vec![candidate],
            message: text[..text.floor_char_boundary(LOG_BYTES_MAX)].to_owned(),
            tone: Tone::Neutral,
            dedup: None,
            received_at: self.clock.now(),
            evidence: Value::Null,
        };
        match self.submit(agent.project, text.len(), Work::Notices(vec![notice])).await? {
            Outcome::Noticed(outcomes) => Ok(outcomes.first().is_some_and(|outcome| outcome.agent.is_some())),
            _ => Err(internal()),
        }
    }

    async fn submit(&self, project: ProjectId, bytes: usize, work: Work) -> Result<Outcome, ApiError> {
        Ok(self.committer.submit(Intake { project, dedup: None, bytes: bytes.max(1), work }).await?)
    }
}

fn internal() -> ApiError {
    tracing::error!("unexpected outcome of a ping");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
}

fn beat(status: BeatStatus, message: Option<String>) -> crate::model::Body {
    crate::model::Body::Heartbeat(Box::new(Heartbeat { message, has_details: true, ..Heartbeat::bare(status) }))
}

/// The beginning of a body as text. A ping counts whatever becomes of its body.
async fn read(mut body: Body) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        while bytes.len() < BODY_BYTES_MAX {
            let Some(Ok(frame)) = body.frame().await else { break };
            if let Some(data) = frame.data_ref() {
                bytes.extend_from_slice(&data[..data.len().min(BODY_BYTES_MAX - bytes.len())]);
            }
        }
    };
    // Whether it came in time or not, what came is what there is.
    let _ = tokio::time::timeout(BODY_WAIT, reading).await;
    String::from_utf8_lossy(&bytes).into_owned()
}
