//! Reading JSON whose fields may be spelled in camel case (Langfuse's API) or snake case (scripts that relay it), and whose
//! values may be JSON inside a string (as some SDKs write metadata).

use std::borrow::Cow;

use serde_json::{Map, Value};

/// The first of `names` that is there and not `null`.
pub fn get<'v>(object: &'v Value, names: &[&str]) -> Option<&'v Value> {
    names.iter().find_map(|name| object.get(name).filter(|v| !v.is_null()))
}

/// The first of `names` that is a text with something in it.
pub fn text<'v>(object: &'v Value, names: &[&str]) -> Option<&'v str> {
    names.iter().find_map(|name| object.get(name)?.as_str().map(str::trim).filter(|t| !t.is_empty()))
}

/// The object under `name`, also when it is JSON inside a string.
pub fn object<'v>(value: &'v Value, name: &str) -> Option<Cow<'v, Map<String, Value>>> {
    match value.get(name)? {
        Value::Object(map) => Some(Cow::Borrowed(map)),
        Value::String(text) if text.trim_start().starts_with('{') => serde_json::from_str(text).ok().map(Cow::Owned),
        _ => None,
    }
}

/// The longest text that can be a name, in bytes: one of 200 bytes, written with escapes twice.
const NAME_BYTES_MAX: usize = 4096;

/// A name, also when it is a JSON string inside a string: `"\"my-agent\""` is `my-agent`. Decoded once.
pub fn plain(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|t| t.len() <= NAME_BYTES_MAX)?.trim();
    let decoded = text.starts_with('"').then(|| serde_json::from_str::<String>(text).ok()).flatten();
    Some(decoded.map_or_else(|| text.to_owned(), |d| d.trim().to_owned())).filter(|t| !t.is_empty())
}

/// The observations nested in a trace. In lists of the API they are ids only, which tell nothing.
pub fn observations(value: &Value) -> impl Iterator<Item = &Value> {
    value.get("observations").and_then(Value::as_array).into_iter().flatten().filter(|o| o.is_object())
}

/// Names of a trace's id.
pub const TRACE_ID: [&str; 2] = ["traceId", "trace_id"];
/// Names of an observation's parent.
pub const PARENT_ID: [&str; 2] = ["parentObservationId", "parent_observation_id"];
/// Names of the id of an observation, where it is not `id`.
pub const OBSERVATION_ID: [&str; 2] = ["observationId", "observation_id"];
/// Names of a status message.
pub const STATUS_MESSAGE: [&str; 2] = ["statusMessage", "status_message"];
/// Names of a trace's name on an observation.
pub const TRACE_NAME: [&str; 2] = ["traceName", "trace_name"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_inside_strings_is_decoded_once() {
        for (value, expected) in [
            (json!("my-agent"), Some("my-agent")),
            (json!("\"my-agent\""), Some("my-agent")),
            (json!("\"\\\"x\\\"\""), Some("\"x\"")),
            (json!("\"broken"), Some("\"broken")),
            (json!("  "), None),
            (json!("\"\""), None),
            (json!(7), None),
        ] {
            assert_eq!(plain(&value).as_deref(), expected, "{value}");
        }
        let of = |metadata: Value| object(&json!({"metadata": metadata}), "metadata").map(|m| m["agent"].clone());
        assert_eq!(of(json!({"agent": "a"})), Some(json!("a")));
        assert_eq!(of(json!("{\"agent\": \"a\"}")), Some(json!("a")));
        assert_eq!(of(json!("{broken")), None);
        assert_eq!(of(json!(["agent"])), None);
    }
}
