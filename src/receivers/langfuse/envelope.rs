//! What a body is: one of Langfuse's own three envelopes, a trace, an observation, or a list of these.
//!
//! Langfuse sends `monitor-alert`, `project-notification` and `prompt-version` (source of August 2026; it has no webhook for
//! a trace with an error). Traces and observations come from scripts and relays in whatever shape the API gave them, so
//! they are recognised by what is in them. Unknown fields never fail.

use serde_json::Value;

use super::fields::{PARENT_ID, TRACE_ID, get};

/// The most elements of one list.
pub const ELEMENTS_MAX: usize = 1000;

/// What one element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A monitor changed its severity.
    Monitor,
    /// Langfuse tells of trouble of its own: an export, an evaluator.
    Notification,
    /// A version of a prompt was made, changed or removed.
    Prompt,
    /// A trace.
    Trace,
    /// An observation: a span, a generation, an event.
    Observation,
}

impl Kind {
    /// The word used in answers and evidence.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Notification => "notification",
            Self::Prompt => "prompt",
            Self::Trace => "trace",
            Self::Observation => "observation",
        }
    }
}

/// One thing told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Element<'v> {
    /// What it is.
    pub kind: Kind,
    /// The thing itself.
    pub value: &'v Value,
    /// The object round it, when it was wrapped. It belongs to the thing: a script may put `status` there.
    pub wrapper: Option<&'v Value>,
    /// The object round the list it is in. It may name the agent of all, but its `status` may be that of an API's answer.
    pub list: Option<&'v Value>,
}

impl<'v> Element<'v> {
    /// The objects that speak about this element, the nearest first.
    pub fn speakers(&self) -> impl Iterator<Item = &'v Value> {
        [Some(self.value), self.wrapper].into_iter().flatten()
    }
}

/// The elements of a body.
#[derive(Debug, PartialEq)]
pub enum Content<'v> {
    /// One element, or `None` for what is nothing we know.
    One(Option<Element<'v>>),
    /// A list of elements, each of which may be nothing we know.
    Many(Vec<Option<Element<'v>>>),
    /// A list of so many elements, more than [`ELEMENTS_MAX`].
    TooMany(usize),
}

/// Says what `body` is.
pub fn classify(body: &Value) -> Content<'_> {
    // A GitHub dispatch carries the envelope one level down.
    let body = body.get("client_payload").filter(|p| p.is_object()).unwrap_or(body);
    if let Some(element) = langfuse_envelope(body) {
        return Content::One(Some(element));
    }
    match list(body) {
        Some(list) if list.len() > ELEMENTS_MAX => Content::TooMany(list.len()),
        Some(list) => {
            let outer = body.is_object().then_some(body);
            let in_list = |v| element(v).map(|e| Element { list: outer, ..e });
            Content::Many(list.iter().map(in_list).collect())
        }
        None => Content::One(element(body)),
    }
}

fn element(value: &Value) -> Option<Element<'_>> {
    langfuse_envelope(value).or_else(|| wrapped(value)).or_else(|| of_shape(value))
}

/// One of the envelopes Langfuse itself makes.
fn langfuse_envelope(value: &Value) -> Option<Element<'_>> {
    let (kind, inner) = match value.get("type")?.as_str()? {
        "monitor-alert" => (Kind::Monitor, value.get("payload")?),
        "project-notification" => (Kind::Notification, value.get("event")?),
        "prompt-version" => (Kind::Prompt, value.get("prompt").unwrap_or(value)),
        _ => return None,
    };
    (inner.is_object() || kind == Kind::Prompt).then_some(Element {
        kind,
        value: inner,
        wrapper: Some(value),
        list: None,
    })
}

/// The list a body consists of: itself, or as the API's list calls wrap it.
fn list(body: &Value) -> Option<&Vec<Value>> {
    if let Some(list) = body.as_array() {
        return Some(list);
    }
    let under = |name: &str| body.get(name).and_then(Value::as_array);
    let has = |names: &[&str]| get(body, names).is_some();
    // What has an id is a thing with a list in it. A `status` beside a list is that of an API's answer, but beside an
    // empty one it is all that was told.
    let listed = under("data").or_else(|| under("traces")).filter(|l| !l.is_empty() || of_shape(body).is_none());
    listed.filter(|_| !has(&["id", "traceId", "trace_id"])).or_else(|| {
        // A single trace has `observations` too; there they are part of it.
        under("observations").filter(|_| !has(&["id", "traceId", "trace_id", "name", "status", "trace"]))
    })
}

/// An object wrapped in another one: `{"type": "trace.error", "trace": {…}}`, or an event of the ingestion API.
fn wrapped(value: &Value) -> Option<Element<'_>> {
    ["trace", "observation", "data", "payload", "event", "body"].into_iter().find_map(|name| {
        let inner = value.get(name).filter(|v| v.is_object())?;
        let kind = match name {
            "trace" => Some(Kind::Trace),
            "observation" => Some(Kind::Observation),
            // Only one level is taken off: what is inside tells by itself what it is, or the object round it does.
            _ => of_shape(inner).or_else(|| of_shape(value)).map(|e| e.kind),
        };
        Some(Element { kind: kind?, value: inner, wrapper: Some(value), list: None })
    })
}

/// A bare trace or observation, by its fields.
fn of_shape(value: &Value) -> Option<Element<'_>> {
    let has = |names: &[&str]| get(value, names).is_some();
    let observation = has(&["traceId"])
        || has(&PARENT_ID)
        || has(&["level"]) && has(&["startTime", "start_time"])
        // `trace_id` alone is how scripts name a trace; beside an id of its own, or a level, it is the observation's.
        || has(&TRACE_ID) && has(&["id", "level", "observation_id"]);
    let trace = has(&["id", "trace_id", "name", "status"]);
    let kind = match (observation, trace) {
        (true, _) => Kind::Observation,
        (false, true) => Kind::Trace,
        (false, false) => return None,
    };
    Some(Element { kind, value, wrapper: None, list: None })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(body: &Value) -> Option<Kind> {
        match classify(body) {
            Content::One(element) => element.map(|e| e.kind),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_shape_is_known_by_its_fields() {
        for (body, expected) in [
            (json!({"type": "monitor-alert", "id": "e", "payload": {"severity": "ALERT"}}), Some(Kind::Monitor)),
            (json!({"type": "project-notification", "event": {"severity": "INFO"}}), Some(Kind::Notification)),
            (json!({"type": "prompt-version", "action": "deleted"}), Some(Kind::Prompt)),
            (
                json!({"event_type": "x", "client_payload": {"type": "prompt-version", "prompt": {}}}),
                Some(Kind::Prompt),
            ),
            (json!({"id": "o", "traceId": "t"}), Some(Kind::Observation)),
            (json!({"id": "o", "trace_id": "t"}), Some(Kind::Observation)),
            (json!({"parent_observation_id": "p"}), Some(Kind::Observation)),
            (json!({"level": "ERROR", "start_time": "x"}), Some(Kind::Observation)),
            (json!({"trace_id": "t", "status": "error"}), Some(Kind::Trace)),
            (json!({"id": "t", "name": "n", "observations": [{"level": "ERROR"}]}), Some(Kind::Trace)),
            (json!({"status": "error", "agent": "a"}), Some(Kind::Trace)),
            (json!({"trace": {"foo": 1}, "observations": []}), Some(Kind::Trace)),
            (json!({"observation": {"foo": 1}}), Some(Kind::Observation)),
            (json!({"type": "trace-create", "id": "ev", "body": {"id": "t"}}), Some(Kind::Trace)),
            (json!({"type": "span-create", "body": {"id": "s", "traceId": "t"}}), Some(Kind::Observation)),
            (json!({"type": "monitor-alert", "payload": "x"}), None),
            (json!({"level": "ERROR"}), None),
            (json!({"id": "t", "data": [{"id": "x"}]}), Some(Kind::Trace)),
            (json!({"status": "error", "data": []}), Some(Kind::Trace)),
            (json!({"id": null}), None),
            (json!({}), None),
            (json!("trace"), None),
            (json!(null), None),
        ] {
            assert_eq!(kind(&body), expected, "{body}");
        }
    }

    #[test]
    fn lists_are_taken_apart() {
        for body in [
            json!([{"id": "t"}, {"id": "o", "traceId": "t"}, 7]),
            json!({"data": [{"id": "t"}, {"id": "o", "traceId": "t"}, 7], "status": "success"}),
            json!({"traces": [{"id": "t"}, {"trace": {}, "x": 1, "observation": {"traceId": "t"}, "id": 1}, 7]}),
            json!({"observations": [{"id": "t"}, {"id": "o", "traceId": "t"}, 7], "agent": "a"}),
        ] {
            let Content::Many(elements) = classify(&body) else { panic!("{body}") };
            assert_eq!(elements.len(), 3);
            assert_eq!(elements[0].map(|e| e.kind), Some(Kind::Trace));
            assert!(elements[1].is_some() && elements[2].is_none());
            assert_eq!(elements[0].and_then(|e| e.list), Some(&body).filter(|b| b.is_object()));
        }
        assert_eq!(classify(&Value::from(vec![json!({"id": 1}); 1001])), Content::TooMany(1001));
        assert_eq!(classify(&json!([])), Content::Many(vec![]));
    }
}
