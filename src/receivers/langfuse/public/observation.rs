//! An observation of Langfuse's own API as the span that its newer SDKs would send for it: the same attributes, so that
//! one set of rules reads both.

use jiff::Timestamp as Time;
use serde_json::{Map, Value};

use super::super::fields::{OBSERVATION_ID, PARENT_ID, STATUS_MESSAGE, TRACE_ID, get, text};
use crate::model::{SpanId, TraceId};
use crate::proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value::Value as Any};
use crate::proto::opentelemetry::proto::trace::v1::Span;

/// Fields that are carried over as text, and the attribute each becomes.
const TEXTS: [(&str, &[&str]); 3] = [
    ("langfuse.observation.model.name", &["model"]),
    ("langfuse.observation.level", &["level"]),
    ("langfuse.observation.status_message", &STATUS_MESSAGE),
];
/// Fields that are carried over as JSON text. `usage` is the older name; its units are tokens unless it says otherwise.
const OBJECTS: [(&str, &[&str]); 3] = [
    ("langfuse.observation.usage_details", &["usageDetails", "usage_details", "usage"]),
    ("langfuse.observation.cost_details", &["costDetails", "cost_details"]),
    ("langfuse.observation.input", &["input"]),
];
/// Fields of the older `usage` that are no counts of tokens.
const NOT_TOKENS: [&str; 4] = ["unit", "inputCost", "outputCost", "totalCost"];

/// The trace an observation belongs to.
pub(super) fn trace_of(body: &Value) -> Option<&str> {
    text(body, &TRACE_ID)
}

/// An observation's own id.
pub(super) fn id_of(body: &Value) -> Option<&str> {
    text(body, &["id"]).or_else(|| text(body, &OBSERVATION_ID))
}

/// A trace's id as OTLP has it. Ids of another form than 32 hex digits are digested, always to the same.
pub(super) fn trace_id(id: &str) -> TraceId {
    TraceId(hex_or_digest(id, "langfuse-trace"))
}

/// An observation's id as OTLP has it. Ids of another form than 16 hex digits are digested, always to the same.
pub(super) fn span_id(id: &str) -> SpanId {
    SpanId(hex_or_digest(id, "langfuse-observation"))
}

/// The id of the span that stands for a trace itself.
pub(super) fn root_id(trace: &str) -> SpanId {
    SpanId(digest(trace, "langfuse-root"))
}

fn hex_or_digest<const N: usize>(id: &str, kind: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let is_hex = id.len() == 2 * N
        && id.bytes().all(|b| b.is_ascii_hexdigit())
        && bytes.iter_mut().zip(id.as_bytes().chunks(2)).all(|(byte, pair)| {
            let parsed = std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok());
            parsed.is_some_and(|value| {
                *byte = value;
                true
            })
        });
    if is_hex && bytes != [0; N] { bytes } else { digest(id, kind) }
}

fn digest<const N: usize>(id: &str, kind: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind.as_bytes()).update(&[0]).update(id.as_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// The span of an observation of type `kind` (`span`, `generation`, …). Without an end it is not over yet.
pub(super) fn span(trace: &str, id: &str, kind: &str, body: &Value, parent: Option<SpanId>) -> Span {
    let mut attributes = vec![attribute("langfuse.observation.type", &kind.to_ascii_lowercase())];
    for (name, fields) in TEXTS {
        if let Some(value) = text(body, fields) {
            attributes.push(attribute(name, value));
        }
    }
    for (name, fields) in OBJECTS {
        match get(body, fields) {
            Some(Value::Object(map)) if name.ends_with("usage_details") => {
                if let Some(tokens) = tokens(map) {
                    attributes.push(attribute(name, &tokens));
                }
            }
            Some(Value::Object(map)) if !map.is_empty() => {
                attributes.push(attribute(name, &Value::Object(map.clone()).to_string()));
            }
            _ => {}
        }
    }
    if get(body, OBJECTS[1].1).is_none()
        && let Some(total) = body.get("usage").and_then(|usage| usage.get("totalCost")).and_then(Value::as_f64)
    {
        attributes.push(attribute(OBJECTS[1].0, &serde_json::json!({ "total": total }).to_string()));
    }
    Span {
        trace_id: trace_id(trace).0.to_vec(),
        span_id: span_id(id).0.to_vec(),
        parent_span_id: parent.map(|p| p.0.to_vec()).unwrap_or_default(),
        name: text(body, &["name"]).unwrap_or_default().to_owned(),
        start_time_unix_nano: nanos(body, &["startTime", "start_time"]).unwrap_or_default(),
        end_time_unix_nano: nanos(body, &["endTime", "end_time"]).unwrap_or_default(),
        attributes,
        ..Span::default()
    }
}

/// Where the observation stands in its trace, when it says so.
pub(super) fn parent_of(body: &Value) -> Option<SpanId> {
    text(body, &PARENT_ID).map(span_id)
}

/// The counts of a `usage` in tokens, as JSON text. Other units (characters, images) are none.
fn tokens(usage: &Map<String, Value>) -> Option<String> {
    let unit = usage.get("unit").and_then(Value::as_str).unwrap_or("TOKENS");
    if !unit.eq_ignore_ascii_case("tokens") {
        return None;
    }
    let mut counts = Map::new();
    for (name, count) in usage.iter().filter(|(name, _)| !NOT_TOKENS.contains(&name.as_str())) {
        // The form OpenAI's older integrations sent.
        let name = match name.as_str() {
            "promptTokens" => "prompt_tokens",
            "completionTokens" => "completion_tokens",
            "totalTokens" => "total",
            other => other,
        };
        counts.insert(name.to_owned(), count.clone());
    }
    (!counts.is_empty()).then(|| Value::Object(counts).to_string())
}

/// A time in RFC 3339, as nanoseconds since the epoch.
pub(super) fn nanos(body: &Value, names: &[&str]) -> Option<u64> {
    let time: Time = text(body, names)?.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}

/// A text attribute.
pub(super) fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Any::StringValue(value.to_owned())) }) }
}
