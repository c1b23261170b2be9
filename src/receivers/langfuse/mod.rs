//! `POST /api/v1/webhooks/langfuse`: what Langfuse, and scripts in its name, tell about agents.
//!
//! A body is proved (`signature`), taken apart (`envelope`), understood (`tone`, `candidates`) and handed on as notices
//! (`notice`); which agent each is about is found by the committer, among the agents that exist.
//!
//! Langfuse switches an automation off after five failed deliveries in a row, so every authentic body that can be read is
//! answered with 200, also when nothing comes of it.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Submit, json as wire};
use crate::clock::Clock;
use crate::exporters::forward::{Forward, Signal};
use crate::http::auth::Keyring;
use crate::http::{ApiError, FieldError, body, doc};
use crate::ingest::Committer;
use crate::ingest::intake::{Intake, Notice, NoticeOutcome, Outcome, Work};
use crate::model::{ProjectId, Scope};

mod candidates;
mod envelope;
mod fields;
mod notice;
mod signature;
mod tone;

pub mod public;

#[cfg(test)]
mod tests;

use envelope::{Content, ELEMENTS_MAX, Element, Kind};

/// The largest body, in bytes: 4.5 MiB, Langfuse's own limit for what it takes in.
pub const BODY_BYTES_MAX: usize = 4_718_592;
/// How far a signature's time may be from ours, unless configured otherwise. Langfuse itself names no limit.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// What can be configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Signing secrets, whole (`lf-whsec_…`). With at least one, every request must be signed with one of them.
    pub signing_secrets: Vec<SecretString>,
    /// How far a signature's time may be from the gateway's.
    pub tolerance: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { signing_secrets: Vec::new(), tolerance: TOLERANCE }
    }
}

/// The webhook.
#[derive(Clone)]
pub struct LangfuseWebhook<S = Committer> {
    /// Where notices go.
    pub committer: S,
    /// Who may send them.
    pub keyring: Keyring,
    /// When they arrived.
    pub clock: Clock,
    /// See [`Settings`].
    pub settings: Settings,
    /// Where webhooks go on to once they are committed.
    pub forward: Forward,
}

/// The route of the webhook, with and without a trailing slash.
pub fn routes<S: Submit>(webhook: LangfuseWebhook<S>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(receive)).route("/api/v1/webhooks/langfuse/", post(receive)).with_state(webhook)
}

/// What became of one element.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LangfuseReply)]
#[serde(untagged)]
enum Reply {
    /// It was understood.
    Told {
        received: bool,
        kind: &'static str,
        event: &'static str,
        agent_id: Option<i64>,
        agent: Option<String>,
        matched_by: Option<String>,
        restart_queued: bool,
        duplicate: bool,
    },
    /// It is nothing that Langfuse sends.
    Unknown {
        received: bool,
        #[schema(value_type = Vec<doc::WrongField>)]
        detail: [FieldError; 1],
    },
}

/// The answer to a list.
#[derive(Serialize, ToSchema)]
#[schema(as = LangfuseReplies)]
struct Replies {
    received: bool,
    /// One for every element, in their order.
    results: Vec<Reply>,
}

/// The answer to a webhook: one reply, or one for every element of a list.
#[derive(Serialize, ToSchema)]
#[schema(as = LangfuseAnswer)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the two forms of the answer")]
enum Answer {
    /// To one element.
    One(Reply),
    /// To a list.
    Many(Replies),
}

/// Webhooks of Langfuse, and trace or observation JSON sent by scripts.
///
/// Every authentic body that can be read is answered with 200, also when nothing comes of it: Langfuse switches a webhook
/// off after five failures.
#[utoipa::path(post, path = "/api/v1/webhooks/langfuse", tag = "Webhooks", security(("api_key" = ["ingest"])),
    request_body(content = Value, description = "A Langfuse envelope (monitor-alert, project-notification, prompt-version), a trace, an observation, or a list of these",
        example = json!({"id": "trace-1", "status": "error", "error": "timeout", "metadata": {"agent": "research-agent"}})),
    responses((status = 200, description = "Taken in; says which agent it was tied to, and how", body = Answer,
        example = json!({"received": true, "kind": "trace", "event": "langfuse_error", "agent_id": 7, "agent": "research-agent",
            "matched_by": "metadata.agent", "restart_queued": false, "duplicate": false})), doc::Keyed, doc::Sent))]
async fn receive<S: Submit>(State(hook): State<LangfuseWebhook<S>>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let caller = hook.keyring.authorize(&parts.headers, Scope::Ingest)?;
    wire::check_content_type(&parts.headers)?;
    let body::Whole { raw, decoded: body } = body::read_whole(&parts.headers, body, BODY_BYTES_MAX).await?;
    let onward = hook.forward.http(Signal::Webhooks, "", &parts.headers, raw, body.clone());
    let now = hook.clock.now();
    let signed_at = if hook.settings.signing_secrets.is_empty() {
        None
    } else {
        // Langfuse sends its bytes as they were signed. Should a proxy have compressed them, what was signed is what
        // comes out of that again.
        let wall = hook.clock.wall();
        let secs =
            signature::verify(&parts.headers, &body, &hook.settings.signing_secrets, wall, hook.settings.tolerance);
        Some(secs.map_err(|flaw| ApiError::new(StatusCode::UNAUTHORIZED, format!("Invalid signature: {flaw}")))?)
    };
    let text = wire::text(&body)?;
    let json: Value = serde_json::from_str(text).map_err(|e| wire::invalid(text, &e))?;
    let submit = |elements: &[Element<'_>]| {
        let notices = elements.iter().map(|e| notice::build(e, caller.project, now, signed_at)).collect();
        hook.submit(caller.project, body.len(), elements.iter().map(|e| e.kind).collect(), notices)
    };
    let response = match envelope::classify(&json) {
        Content::One(Some(element)) => {
            let replies = submit(&[element]).await?;
            Ok(Json(replies.into_iter().next()).into_response())
        }
        Content::One(None) => Err(ApiError::invalid(&[unknown(None)])),
        Content::TooMany(n) => {
            let msg = format!("List should have at most {ELEMENTS_MAX} items, not {n}; send them in several requests");
            Err(ApiError::invalid(&[wire::wrong(&["body".into()], "too_long", msg)]))
        }
        Content::Many(elements) => {
            let known: Vec<_> = elements.iter().copied().flatten().collect();
            if known.is_empty() && !elements.is_empty() {
                let all: Vec<_> = (0..elements.len()).map(|index| unknown(Some(index))).collect();
                return Err(ApiError::invalid(&all));
            }
            let mut replies = if known.is_empty() { Vec::new() } else { submit(&known).await? }.into_iter();
            let reply = |(index, element): (usize, &Option<Element<'_>>)| match element {
                Some(_) => replies.next(),
                None => Some(Reply::Unknown { received: false, detail: [unknown(Some(index))] }),
            };
            let results: Vec<_> = elements.iter().enumerate().filter_map(reply).collect();
            Ok(Json(Replies { received: true, results }).into_response())
        }
    }?;
    onward.send(caller.project);
    Ok(response)
}

impl<S: Submit> LangfuseWebhook<S> {
    /// One reply for every notice, in their order.
    async fn submit(
        &self,
        project: ProjectId,
        bytes: usize,
        kinds: Vec<Kind>,
        notices: Vec<Notice>,
    ) -> Result<Vec<Reply>, ApiError> {
        let events: Vec<_> = notices.iter().map(|n| notice::event(n.tone)).collect();
        let intake = Intake { project, dedup: None, bytes, work: Work::Notices(notices) };
        match self.committer.submit(intake).await? {
            Outcome::Noticed(outcomes) if outcomes.len() == events.len() => {
                let replies = outcomes.into_iter().zip(kinds).zip(events);
                Ok(replies.map(|((outcome, kind), event)| reply(outcome, kind, event)).collect())
            }
            other => {
                tracing::error!(?other, "unexpected outcome of Langfuse notices");
                Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error"))
            }
        }
    }
}

fn reply(outcome: NoticeOutcome, kind: Kind, event: &'static str) -> Reply {
    let NoticeOutcome { agent, restart_queued, duplicate } = outcome;
    let (agent_id, agent, matched_by) = match agent {
        Some((id, name, matched_by)) => (Some(id.0), Some(name), Some(matched_by)),
        None => (None, None, None),
    };
    Reply::Told { received: true, kind: kind.word(), event, agent_id, agent, matched_by, restart_queued, duplicate }
}

fn unknown(index: Option<usize>) -> FieldError {
    let loc: Vec<Value> = std::iter::once("body".into()).chain(index.map(Value::from)).collect();
    let msg = "Input should be a Langfuse envelope (monitor-alert, project-notification, prompt-version), or a trace or \
               observation with at least one of id, trace_id, name, status";
    wire::wrong(&loc, "union_tag_not_found", msg)
}
