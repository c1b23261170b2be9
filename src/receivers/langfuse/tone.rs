//! Whether an element tells of a failure, of trouble, of the end of trouble, or of none of these; and in which words.
//!
//! A Langfuse trace has no status and no level of its own: it failed when one of its observations did. Relays add a
//! `status`, an `error`, or OpenTelemetry's status object.

use serde_json::Value;

use super::envelope::{Element, Kind};
use super::fields::{STATUS_MESSAGE, get, observations, text};
use crate::ingest::intake::Tone;

/// Longest message kept, in bytes.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Words for "it failed" that a `status` may be, in lower case.
const FAILED: [&str; 11] = [
    "error",
    "errored",
    "failed",
    "failure",
    "fatal",
    "critical",
    "crashed",
    "exception",
    "timeout",
    "timed_out",
    "status_code_error",
];

/// What `element` means for the agent it is about.
pub fn of(element: &Element<'_>) -> Tone {
    match element.kind {
        Kind::Prompt => Tone::Neutral,
        // Trouble of Langfuse, not of an agent: worth a warning, never a failure for which something is restarted.
        Kind::Notification => match severity(element.value).as_deref() {
            Some("ALERT" | "WARNING") => Tone::Warning,
            _ => Tone::Neutral,
        },
        Kind::Monitor => from_severity(element.value),
        Kind::Trace | Kind::Observation => {
            let tones = || element.speakers().map(of_object);
            [Tone::Error, Tone::Warning, Tone::Recovery]
                .into_iter()
                .find(|wanted| tones().any(|t| t == *wanted))
                .unwrap_or(Tone::Neutral)
        }
    }
}

/// The nested observation that failed first, by order in the list.
pub fn first_failing<'v>(element: &Element<'v>) -> Option<&'v Value> {
    element.speakers().flat_map(observations).find(|o| failed(o))
}

/// The words of `element`, for people.
pub fn message(element: &Element<'_>) -> String {
    let words = match element.kind {
        Kind::Monitor | Kind::Notification => of_envelope(element.value),
        Kind::Prompt => None,
        Kind::Trace | Kind::Observation => {
            element.speakers().find_map(words).or_else(|| words(first_failing(element)?))
        }
    };
    let message = words.unwrap_or_else(|| fallback(element));
    message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned()
}

fn of_object(value: &Value) -> Tone {
    if failed(value) || observations(value).any(failed) {
        return Tone::Error;
    }
    let warns = |name| text(value, &[name]).is_some_and(|t| ["warning", "warn"].contains(&&*t.to_ascii_lowercase()));
    if warns("level") || warns("status") || observations(value).any(|o| of_level(o) == Some(Tone::Warning)) {
        return Tone::Warning;
    }
    from_severity(value)
}

fn failed(value: &Value) -> bool {
    of_level(value) == Some(Tone::Error)
        || value.get("error").is_some_and(truthy)
        || value.get("status").is_some_and(|s| failed_status(s) || s.get("code").is_some_and(failed_code))
}

fn of_level(value: &Value) -> Option<Tone> {
    match text(value, &["level"])?.to_ascii_uppercase().as_str() {
        "ERROR" | "FATAL" | "CRITICAL" => Some(Tone::Error),
        "WARNING" | "WARN" => Some(Tone::Warning),
        _ => None,
    }
}

fn failed_status(status: &Value) -> bool {
    status.as_str().is_some_and(|s| FAILED.contains(&&*s.trim().to_ascii_lowercase()))
}

/// OpenTelemetry's status code: 2 as a number, `STATUS_CODE_ERROR` as a word.
fn failed_code(code: &Value) -> bool {
    code.as_i64() == Some(2) || code.as_str() == Some("2") || failed_status(code)
}

/// As JavaScript and Python would have it: anything but nothing.
fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

fn severity(value: &Value) -> Option<String> {
    text(value, &["severity"]).map(str::to_ascii_uppercase)
}

/// `NO_DATA`, `UNKNOWN` and `PAUSED` say nothing about the agent.
fn from_severity(value: &Value) -> Tone {
    match severity(value).as_deref() {
        Some("ALERT") => Tone::Error,
        Some("WARNING") => Tone::Warning,
        Some("OK") => Tone::Recovery,
        _ => Tone::Neutral,
    }
}

fn words(value: &Value) -> Option<String> {
    text(value, &STATUS_MESSAGE)
        .or_else(|| text(value.get("status")?, &["message", "description"]))
        .or_else(|| text(value.get("error")?, &["message"]))
        .or_else(|| text(value, &["error"]))
        .or_else(|| text(value, &["message"]))
        .or_else(|| text(value.get("message")?, &["body"]))
        .map(str::to_owned)
}

/// The message of an envelope: a text, or a title and a body.
fn of_envelope(value: &Value) -> Option<String> {
    let message = get(value, &["message"])?;
    match (text(message, &["title"]), text(message, &["body"])) {
        (Some(title), Some(body)) => Some(format!("{title}: {body}")),
        (title, body) => title.or(body).or_else(|| message.as_str()).map(str::to_owned),
    }
}

fn fallback(element: &Element<'_>) -> String {
    let name = |names: &[&str]| element.speakers().find_map(|v| text(v, names)).unwrap_or("?").to_owned();
    match element.kind {
        Kind::Monitor => format!("monitor is {}", name(&["severity"])),
        Kind::Notification => format!("Langfuse reports {}", name(&["eventType", "event_type"])),
        Kind::Prompt => format!("prompt {} was {}", name(&["name"]), name(&["action"])),
        Kind::Trace | Kind::Observation => {
            let what = match of(element) {
                Tone::Error => "an error",
                Tone::Warning => "a warning",
                Tone::Recovery => "recovery",
                Tone::Neutral => "no error",
            };
            format!("{} {} reports {what}", element.kind.word(), name(&["name", "id", "traceId", "trace_id"]))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::envelope::{Content, classify};
    use super::*;

    fn told(body: &Value) -> (Tone, String) {
        let Content::One(Some(element)) = classify(body) else { panic!("{body}") };
        (of(&element), message(&element))
    }

    #[test]
    fn tones_are_read_from_every_known_sign() {
        for (body, expected) in [
            (json!({"id": "t", "status": "error"}), Tone::Error),
            (json!({"id": "t", "status": "FAILED"}), Tone::Error),
            (json!({"id": "t", "status": {"code": 2}}), Tone::Error),
            (json!({"id": "t", "status": {"code": "STATUS_CODE_ERROR"}}), Tone::Error),
            (json!({"id": "t", "level": "fatal"}), Tone::Error),
            (json!({"id": "t", "error": true}), Tone::Error),
            (json!({"id": "t", "error": {"message": "x"}}), Tone::Error),
            (json!({"id": "t", "observations": [{"level": "DEFAULT"}, {"level": "ERROR"}]}), Tone::Error),
            (json!({"id": "t", "severity": "ALERT"}), Tone::Error),
            (json!({"status": "error", "trace": {"id": "t"}}), Tone::Error),
            (json!({"id": "t", "level": "WARN"}), Tone::Warning),
            (json!({"id": "t", "status": "warning"}), Tone::Warning),
            (json!({"id": "t", "observations": [{"level": "WARNING"}]}), Tone::Warning),
            (json!({"id": "t", "severity": "OK"}), Tone::Recovery),
            (json!({"id": "t", "status": "success", "error": null}), Tone::Neutral),
            (json!({"id": "t", "error": "", "status": {"code": 1}, "level": "DEFAULT"}), Tone::Neutral),
            (json!({"id": "t", "error": {}, "observations": ["o1"]}), Tone::Neutral),
            (json!({"type": "project-notification", "event": {"severity": "ALERT"}}), Tone::Warning),
            (json!({"type": "project-notification", "event": {"severity": "INFO"}}), Tone::Neutral),
            (json!({"type": "prompt-version", "prompt": {"status": "error"}}), Tone::Neutral),
        ] {
            assert_eq!(told(&body).0, expected, "{body}");
        }
        for (severity, expected) in [
            ("ALERT", Tone::Error),
            ("WARNING", Tone::Warning),
            ("OK", Tone::Recovery),
            ("NO_DATA", Tone::Neutral),
            ("UNKNOWN", Tone::Neutral),
            ("PAUSED", Tone::Neutral),
        ] {
            let body = json!({"type": "monitor-alert", "payload": {"severity": severity, "status": "error"}});
            assert_eq!(told(&body).0, expected, "{severity}");
        }
    }

    #[test]
    fn messages_are_the_nearest_words() {
        for (body, expected) in [
            (json!({"id": "t", "statusMessage": "a", "error": {"message": "b"}, "message": "c"}), "a"),
            (json!({"id": "t", "status_message": "a"}), "a"),
            (json!({"id": "t", "error": {"message": "b"}, "message": "c"}), "b"),
            (json!({"id": "t", "error": "b", "message": "c"}), "b"),
            (json!({"id": "t", "error": true, "message": {"title": "t", "body": "c"}}), "c"),
            (json!({"id": "t", "status": {"code": 2, "message": "s"}}), "s"),
            (
                json!({"id": "t", "observations": [{"statusMessage": "fine"}, {"level": "ERROR", "statusMessage": "429"}]}),
                "429",
            ),
            (json!({"message": "outer", "trace": {"id": "t"}}), "outer"),
            (json!({"id": "t", "name": "n", "status": "error"}), "trace n reports an error"),
            (
                json!({"type": "monitor-alert", "payload": {"message": {"title": "[ALERT] x", "body": "b"}}}),
                "[ALERT] x: b",
            ),
            (json!({"type": "monitor-alert", "payload": {"severity": "OK"}}), "monitor is OK"),
            (json!({"type": "project-notification", "event": {"message": "m"}}), "m"),
            (json!({"type": "prompt-version", "action": "updated", "prompt": {"name": "p"}}), "prompt p was updated"),
        ] {
            assert_eq!(told(&body).1, expected, "{body}");
        }
        let long = told(&json!({"id": "t", "message": "é".repeat(2000)})).1;
        assert_eq!(long.len(), MESSAGE_BYTES_MAX);
    }
}
