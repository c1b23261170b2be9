//! Holds the API's documentation to what is answered: every answer that any story here gets must have a status that
//! `docs/openapi.json` names for its operation, and a body without a field too many or too few.

use std::sync::LazyLock;

use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::gateway::{FIRST_KEY, Gateway};

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap());

/// What is untrue of this answer in the document; empty when nothing is, or when the document has no such operation.
pub fn faults(method: &Method, path: &str, status: StatusCode, body: &Value) -> Vec<String> {
    let Some(operation) = operation(method, path) else { return Vec::new() };
    let Some(answer) = operation["responses"].get(status.as_str()) else {
        return vec![format!("{method} {path}: {status} is not documented; it said {body}")];
    };
    let mut faults = Vec::new();
    match &answer["content"] {
        Value::Null if !body.is_null() => faults.push(format!("an answer without a body is documented, not {body}")),
        Value::Object(kinds) => {
            if let Some(json) = kinds.get("application/json") {
                compare(&json["schema"], body, "body", &mut faults);
            }
        }
        _ => {}
    }
    faults.iter().map(|fault| format!("{method} {path} {status}: {fault}")).collect()
}

fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let path = path.split('?').next()?;
    let method = if method == Method::HEAD { "get".into() } else { method.as_str().to_lowercase() };
    let fits = |template: &str| {
        let (wanted, given): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        wanted.len() == given.len() && wanted.iter().zip(&given).all(|(w, g)| w.starts_with('{') || w == g)
    };
    let templates = DOCUMENT["paths"].as_object()?.iter().filter(|(template, _)| fits(template));
    // A path in so many words goes before one with a place to fill.
    templates.min_by_key(|(template, _)| template.matches('{').count())?.1.get(&method)
}

fn compare(schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let schema = named(schema);
    if let Some(forms) = forms(schema) {
        let tried = forms.iter().map(|form| {
            let mut faults = Vec::new();
            compare(form, value, at, &mut faults);
            faults
        });
        // Of several forms the one that is nearest tells what is wrong.
        faults.extend(tried.min_by_key(Vec::len).unwrap_or_default());
        return;
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.iter().any(|kind| is(kind, value)) {
        faults.push(format!("{at} should be {}, not {value}", types.join(" or ")));
        return;
    }
    match value {
        Value::Object(fields) => compare_fields(schema, fields, at, faults),
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                compare(&schema["items"], item, &format!("{at}[{i}]"), faults);
            }
        }
        _ => {}
    }
}

/// The forms that a value may have, where there are several; also where only a part of it has several.
fn forms(schema: &Value) -> Option<Vec<Value>> {
    if let Some(choices) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        return Some(choices.clone());
    }
    let parts = schema["allOf"].as_array()?;
    let (place, choices) = parts.iter().enumerate().find_map(|(i, part)| Some((i, forms(named(part))?)))?;
    let with = |choice: Value| {
        let mut parts = parts.clone();
        parts[place] = choice;
        json!({ "allOf": parts })
    };
    Some(choices.into_iter().map(with).collect())
}

fn named(schema: &Value) -> &Value {
    let Some(name) = schema["$ref"].as_str() else { return schema };
    DOCUMENT.pointer(name.trim_start_matches('#')).expect("a reference leads somewhere")
}

fn compare_fields(schema: &Value, fields: &Map<String, Value>, at: &str, faults: &mut Vec<String>) {
    let (mut known, mut required, mut others) = (Map::new(), Vec::new(), None);
    gather(schema, &mut known, &mut required, &mut others);
    for name in required.iter().filter(|name| !fields.contains_key(**name)) {
        faults.push(format!("{at}.{name} is missing"));
    }
    for (name, value) in fields {
        match (known.get(name), others) {
            (Some(schema), _) => compare(schema, value, &format!("{at}.{name}"), faults),
            (None, Some(schema)) if schema.is_object() => compare(schema, value, &format!("{at}.{name}"), faults),
            // An object of which nothing is said can hold anything.
            (None, None) if known.is_empty() => {}
            (None, Some(Value::Bool(true))) => {}
            (None, _) => faults.push(format!("{at}.{name} is not documented")),
        }
    }
}

/// The fields of an object, with those of everything it consists of.
fn gather<'a>(
    schema: &'a Value,
    known: &mut Map<String, Value>,
    required: &mut Vec<&'a str>,
    others: &mut Option<&'a Value>,
) {
    let schema = named(schema);
    known.extend(schema["properties"].as_object().cloned().unwrap_or_default());
    required.extend(schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str));
    *others = others.or(schema.get("additionalProperties"));
    for part in schema["allOf"].as_array().into_iter().flatten() {
        gather(part, known, required, others);
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

/// A run told by spans fills what heartbeats leave empty; an answer that is untrue fails in `Gateway::call`.
#[tokio::test]
async fn an_agent_known_by_spans_is_described_as_it_is_shown() {
    let gateway = Gateway::start().await;
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let attributes = json!([
        text("gen_ai.operation.name", "invoke_agent"),
        text("gen_ai.agent.name", "bot"),
        text("gen_ai.conversation.id", "talk-1"),
        text("error.type", "TimeoutError"),
    ]);
    let end = gateway.now().0 * 1000;
    let span = json!({"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "invoke_agent bot",
        "startTimeUnixNano": (end - 1_000_000_000).to_string(), "endTimeUnixNano": end.to_string(),
        "status": {"code": 2, "message": "timeout"}, "attributes": attributes});
    let resource = json!({"attributes": [text("service.name", "svc")]});
    let body = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]});
    gateway.post(FIRST_KEY, "/v1/traces", body).await.expect(200);
    let page = gateway.get(FIRST_KEY, "/api/v1/status").await.expect(200);
    let run = &page["agents"][0]["last_run"];
    assert_eq!(run["outcome"], "failure", "{page}");
    assert!(run["session"].is_string() && run["error_type"] == "TimeoutError", "{run}");
    let agent = gateway.get(FIRST_KEY, &format!("/api/v1/agents/{}", page["agents"][0]["agent_id"])).await.expect(200);
    assert_eq!(agent["last_run"], *run);
    gateway.post(FIRST_KEY, "/v1/traces", json!({"resourceSpans": 7})).await.expect(400);
    gateway.stop().await;
}

#[test]
fn what_is_untrue_is_noticed() {
    let told = |method: Method, path: &str, status: u16, body: Value| {
        faults(&method, path, StatusCode::from_u16(status).unwrap(), &body).join("\n")
    };
    let run = json!({"received": true, "agent_id": "7", "status": "healthy", "colour": "red"});
    let said = told(Method::POST, "/api/v1/heartbeat", 200, run);
    for word in ["agent_id should be integer", "colour is not documented", "state is missing"] {
        assert!(said.contains(word), "{said}");
    }
    assert!(told(Method::GET, "/api/v1/agents/7?a=b", 418, Value::Null).contains("418 I'm a teapot is not documented"));
    assert_eq!(told(Method::GET, "/api/v1/agents/7", 404, json!({"detail": "Agent not found"})), "");
    assert!(told(Method::DELETE, "/api/v1/agents/7", 204, Value::Bool(true)).contains("without a body"));
    assert_eq!(told(Method::GET, "/nowhere", 404, Value::Null), "");
}
