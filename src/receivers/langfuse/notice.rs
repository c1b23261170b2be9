//! From an element to the [`Notice`] that is handed to the committer.
//!
//! Evidence keeps ids, names, severities and links. Inputs, outputs, metadata, users and e-mail addresses stay out of it:
//! what is not listed here is not kept.

use serde_json::{Map, Value, json};

use super::envelope::{Element, Kind};
use super::fields::{OBSERVATION_ID, PARENT_ID, TRACE_ID, TRACE_NAME, get, text};
use super::{candidates, tone};
use crate::ingest::intake::{Notice, Tone};
use crate::model::{DedupKey, ProjectId, Source, Timestamp};

/// Longest text kept as evidence, in bytes.
const EVIDENCE_BYTES_MAX: usize = 256;
/// For elements without any id: within so many seconds the same content is the same element. Langfuse's retries come
/// within a minute; a script that posts the same fixed text for a new failure an hour later must be heard again.
const SAME_CONTENT_SECS: i64 = 600;

/// Fields kept of the element itself: the name in the evidence, and the names it may have on the wire.
const KEPT: [(&str, &[&str]); 21] = [
    ("observation_type", &["type"]),
    ("name", &["name"]),
    ("trace_name", &TRACE_NAME),
    ("parent_observation_id", &PARENT_ID),
    ("session_id", &["sessionId", "session_id"]),
    ("environment", &["environment"]),
    ("release", &["release"]),
    ("version", &["version"]),
    ("level", &["level"]),
    ("status", &["status"]),
    ("severity", &["severity"]),
    ("monitor_id", &["monitorId", "monitor_id"]),
    ("project_id", &["projectId", "project_id"]),
    ("project_name", &["projectName", "project_name"]),
    ("view", &["view"]),
    ("window", &["window"]),
    ("event_type", &["eventType", "event_type"]),
    ("resource_id", &["resourceId", "resource_id"]),
    ("resource_name", &["resourceName", "resource_name"]),
    ("block_reason", &["blockReason", "block_reason"]),
    ("timestamp", &["timestamp", "startTime", "start_time"]),
];
/// Links kept, where they are links.
const LINKS: [(&str, &[&str]); 3] =
    [("permalink", &["permalink"]), ("data_permalink", &["dataPermalink", "data_permalink"]), ("url", &["url"])];

/// Makes the notice of `element`; `signed_at` is the time in its signature, if it had one that holds.
pub fn build(element: &Element<'_>, project: ProjectId, received_at: Timestamp, signed_at: Option<i64>) -> Notice {
    let tone = tone::of(element);
    let ids = Ids::of(element);
    Notice {
        source: Source::Langfuse,
        candidates: candidates::of(element),
        message: tone::message(element),
        tone,
        dedup: Some(DedupKey::of(project, "langfuse", &ids.content(element, tone, received_at, signed_at))),
        received_at,
        evidence: evidence(element, &ids),
    }
}

/// The name of the event a notice of this tone makes.
pub const fn event(tone: Tone) -> &'static str {
    match tone {
        Tone::Error => "langfuse_error",
        Tone::Warning => "langfuse_warning",
        Tone::Recovery => "langfuse_recovery",
        Tone::Neutral => "langfuse_notice",
    }
}

/// What an element is called by.
struct Ids<'v> {
    envelope: Option<&'v str>,
    trace: Option<&'v str>,
    observation: Option<&'v str>,
}

impl<'v> Ids<'v> {
    fn of(element: &Element<'v>) -> Self {
        let value = element.value;
        let anywhere = |names: &[&str]| element.speakers().find_map(|v| text(v, names));
        let own = || text(value, &["id"]);
        let failing = || text(tone::first_failing(element)?, &["id"]);
        let (trace, observation) = match element.kind {
            Kind::Trace => (own().or_else(|| anywhere(&TRACE_ID)), failing().or_else(|| anywhere(&OBSERVATION_ID))),
            Kind::Observation => {
                let of_wrapper = || text(element.wrapper?.get("trace")?, &["id"]);
                (anywhere(&TRACE_ID).or_else(of_wrapper), own().or_else(|| anywhere(&OBSERVATION_ID)))
            }
            _ => (None, None),
        };
        let envelope = element.wrapper.filter(|w| !std::ptr::eq(*w, value)).and_then(|w| text(w, &["id"]));
        // A deleted prompt may come without the prompt; then the envelope is all there is.
        let envelope = envelope.or_else(|| if element.kind == Kind::Prompt { own() } else { None });
        Self { envelope, trace, observation }
    }

    /// What is the same for every delivery of one element and different for another one.
    fn content(&self, element: &Element<'_>, tone: Tone, received_at: Timestamp, signed_at: Option<i64>) -> Vec<u8> {
        let parts = match self {
            Self { envelope: Some(id), trace: None, observation: None } => json!(["envelope", id]),
            // With the tone: the same trace may come first while it runs, and again when it has failed.
            Self { envelope: Some(id), .. } => json!(["envelope", id, event(tone)]),
            Self { trace: Some(_), .. } | Self { observation: Some(_), .. } => {
                json!(["trace", self.trace, self.observation, event(tone)])
            }
            // Every try of one delivery has one signature, and another delivery has a later one.
            _ => match signed_at {
                Some(secs) => json!(["signed", element.value, element.wrapper, secs]),
                None => json!(["content", element.value, element.wrapper, received_at.as_secs() / SAME_CONTENT_SECS]),
            },
        };
        parts.to_string().into_bytes()
    }
}

fn evidence(element: &Element<'_>, ids: &Ids<'_>) -> Value {
    let mut kept = Map::new();
    let mut keep = |name: &str, text: &str| {
        let cut = text[..text.floor_char_boundary(EVIDENCE_BYTES_MAX)].to_owned();
        kept.entry(name).or_insert(Value::String(cut));
    };
    keep("kind", element.kind.word());
    for (name, id) in [("envelope_id", ids.envelope), ("trace_id", ids.trace), ("observation_id", ids.observation)] {
        if let Some(id) = id {
            keep(name, id);
        }
    }
    for (name, names) in KEPT {
        if let Some(text) = text(element.value, names) {
            keep(name, text);
        }
    }
    for (name, names) in LINKS {
        // Links are shown as links: nothing else may look like one.
        if let Some(link) = text(element.value, names).filter(|l| l.starts_with("https://") || l.starts_with("http://"))
        {
            keep(name, link);
        }
    }
    if element.kind == Kind::Prompt {
        if let Some(action) = element.wrapper.and_then(|w| text(w, &["action"])) {
            keep("action", action);
        }
        if let Some(version) = get(element.value, &["version"]).and_then(Value::as_i64) {
            kept.insert("version".to_owned(), version.into());
        }
    }
    Value::Object(kept)
}
