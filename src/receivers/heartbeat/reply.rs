//! The answers to heartbeats.
//!
//! Always a JSON *object* with status 200: the published SDK's sending thread dies of a list or a bare value, and sends the
//! beat again after an empty body. `warning` is a kill switch (a client set to stop ends its process when it sees
//! the field, whatever is in it), so it is absent unless the health model says so, never `null` or empty.

use axum::http::StatusCode;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use utoipa::ToSchema;

use super::check::name_error_kind;
use crate::http::doc::Detail;
use crate::http::{ApiError, FieldError};
use crate::ingest::intake::{Refusal, Seen};
use crate::receivers::json::wrong;

/// The answer to one beat that was kept.
#[derive(Debug, ToSchema)]
#[schema(as = HeartbeatAccepted)]
pub struct Accepted {
    received: bool,
    /// The agent's number.
    #[schema(example = 7, minimum = 1)]
    agent_id: i64,
    /// The word old clients know.
    #[schema(example = "healthy")]
    status: &'static str,
    /// The full word.
    #[schema(example = "healthy")]
    state: &'static str,
    /// Only for an agent that should stop itself.
    #[schema(example = "loop_detected")]
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
    /// Why, with a warning.
    #[schema(example = "the same message 5 times in a row")]
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

// By hand, because with `flatten` each line of a batch goes through a buffer of its own.
impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_map(None)?;
        line.serialize_entry("index", &self.index)?;
        match &self.verdict {
            Verdict::Accepted(accepted) => accepted.write_to(&mut line)?,
            Verdict::Rejected { received, detail } => {
                line.serialize_entry("received", received)?;
                line.serialize_entry("detail", detail)?;
            }
        }
        line.end()
    }
}

impl Accepted {
    fn write_to<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("received", &self.received)?;
        map.serialize_entry("agent_id", &self.agent_id)?;
        map.serialize_entry("status", self.status)?;
        map.serialize_entry("state", self.state)?;
        self.warning.map_or(Ok(()), |warning| map.serialize_entry("warning", warning))?;
        self.reason.as_ref().map_or(Ok(()), |reason| map.serialize_entry("reason", reason))
    }
}

impl Serialize for Accepted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.write_to(&mut map)?;
        map.end()
    }
}

impl From<Seen> for Accepted {
    fn from(seen: Seen) -> Self {
        Self {
            received: true,
            agent_id: seen.agent.0,
            status: seen.status.wire_word(),
            state: seen.status.word(),
            warning: seen.warning,
            reason: Some(seen.reason).filter(|r| seen.warning.is_some() && !r.is_empty()),
        }
    }
}

/// One beat of a batch.
#[derive(Debug, ToSchema)]
#[schema(as = HeartbeatResult)]
pub struct Line {
    /// Its position in the batch.
    index: usize,
    #[serde(flatten)]
    verdict: Verdict,
}

/// What became of a heartbeat.
#[derive(Debug, ToSchema)]
#[schema(as = HeartbeatVerdict)]
#[serde(untagged)]
enum Verdict {
    Accepted(Accepted),
    /// It was not kept.
    Rejected {
        received: bool,
        #[schema(value_type = Detail)]
        detail: Value,
    },
}

/// The answer to a batch.
#[derive(Debug, serde::Serialize, ToSchema)]
#[schema(as = BatchReply)]
pub struct BatchReply {
    received: bool,
    accepted: usize,
    rejected: usize,
    results: Vec<Line>,
    /// Only when nothing was accepted: what a client that knows nothing of batches looks for in an error.
    #[schema(value_type = Option<Detail>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Value>,
}

/// What became of one beat of a batch: seen, with wrong fields, or refused.
pub type ItemResult = Result<Seen, Rejection>;

/// Why a beat of a batch was not kept.
#[derive(Debug)]
pub enum Rejection {
    /// Its fields are wrong.
    Fields(Vec<FieldError>),
    /// It was refused, with this error.
    Refused(ApiError),
}

impl Rejection {
    /// How `refusal` of the beat at `loc` is told.
    pub fn refused(refusal: &Refusal, loc: &[Value]) -> Self {
        match refusal {
            Refusal::Name(_) => Self::Fields(name_fields(refusal, loc)),
            _ => Self::Refused(refused(refusal, loc)),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Fields(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Refused(error) => error.status(),
        }
    }

    fn detail(&self) -> Value {
        match self {
            Self::Fields(fields) => serde_json::json!(fields),
            Self::Refused(error) => Value::String(error.detail_text()),
        }
    }
}

/// The answer to a batch, with its status: 200 as soon as one beat was kept (or none was sent), else what is wrong with
/// all of them.
pub fn batch(results: Vec<ItemResult>) -> (StatusCode, BatchReply) {
    let accepted = results.iter().filter(|r| r.is_ok()).count();
    let rejected = results.len() - accepted;
    let (mut status, mut detail) = (StatusCode::OK, None);
    if accepted == 0 && rejected > 0 {
        let rejections = || results.iter().filter_map(|r| r.as_ref().err());
        let mut statuses = rejections().map(Rejection::status);
        let first = statuses.next().unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
        status = if statuses.all(|s| s == first) { first } else { StatusCode::UNPROCESSABLE_ENTITY };
        // One list of all wrong fields, as for a single beat; `loc` says which beat each belongs to.
        let fields: Vec<_> =
            rejections().filter_map(|r| if let Rejection::Fields(f) = r { Some(f) } else { None }).flatten().collect();
        detail = if fields.is_empty() {
            rejections().next().map(Rejection::detail)
        } else {
            Some(serde_json::json!(fields))
        };
    }
    let line = |(index, result): (usize, ItemResult)| {
        let verdict = match result {
            Ok(seen) => Verdict::Accepted(seen.into()),
            Err(rejection) => Verdict::Rejected { received: false, detail: rejection.detail() },
        };
        Line { index, verdict }
    };
    let results = results.into_iter().enumerate().map(line).collect();
    (status, BatchReply { received: accepted > 0 || rejected == 0, accepted, rejected, results, detail })
}

/// The error a refusal of a beat at `loc` makes: 402 at the agent limit, 403 for names that must be registered, 404 where no agent may come to exist.
pub fn refused(refusal: &Refusal, loc: &[Value]) -> ApiError {
    match refusal {
        Refusal::AgentLimit => ApiError::new(StatusCode::PAYMENT_REQUIRED, refusal.to_string()),
        Refusal::NotRegistered { .. } | Refusal::AwaitsApproval { .. } | Refusal::TurnedAway { .. } => {
            ApiError::new(StatusCode::FORBIDDEN, refusal.to_string())
        }
        Refusal::Name(_) => ApiError::invalid(&name_fields(refusal, loc)),
        _ => ApiError::not_found("Agent"),
    }
}

fn name_fields(refusal: &Refusal, loc: &[Value]) -> Vec<FieldError> {
    let kind = if let Refusal::Name(error) = refusal { name_error_kind(*error) } else { "value_error" };
    vec![wrong(&[loc, &["agent".into()]].concat(), kind, refusal.to_string())]
}
