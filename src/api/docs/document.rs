//! The OpenAPI document: what the handlers say of themselves, and what is the same for all of them.

use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::OpenApi;

use crate::http::doc::ErrorBody;
use crate::model::PolicyPatch;

const ABOUT: &str = "Health of AI agents: heartbeats, OpenTelemetry and webhooks in; statuses, reasons, events and restart \
commands out.\n\nA key is sent as `X-API-Key`, as `Authorization: Bearer`, or as either half of `Authorization: Basic`. It \
opens one project, and each route names the scope it needs: `ingest`, `read`, `runner`, `command`, `approve` or `admin`. What \
belongs to another project looks like what does not exist. Errors are JSON with `detail`, which says what to change.";

/// What the groups of routes are about.
const TAGS: [(&str, &str); 17] = [
    ("Heartbeats", "Signs of life, as ClevAgent clients send them."),
    ("Pings", "One address for a cron job, as Healthchecks has them."),
    ("OpenTelemetry", "OTLP over HTTP; gRPC has a port of its own."),
    ("Langfuse", "Where Langfuse's SDKs send."),
    ("Webhooks", "What other services tell about agents."),
    ("Agents", "Agents, their status and the reasons for it, their settings."),
    ("Events", "What happened."),
    ("Commands", "Restarts, and what became of them."),
    ("Runners", "The wire of the programs that restart agents."),
    ("Registrations", "Names that wait for approval, where a project wants that."),
    ("Maintenance", "Times in which nothing alerts and nothing is restarted."),
    ("Projects", "Who is apart from whom."),
    ("Keys", "API keys: made, listed, revoked."),
    ("Audit", "Who changed what, and who was refused."),
    ("Dependencies", "What agents depend on, asked by the gateway."),
    ("Metrics", "For Prometheus."),
    ("Gateway", "The gateway's own health."),
];

/// The document as it is served.
pub fn document(api: OpenApi) -> Value {
    let mut document = serde_json::to_value(api).unwrap_or_default();
    document["info"] = json!({
        "title": "Pulsegate", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT,
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    });
    document["servers"] = json!([{"url": "/"}]);
    tags(&mut document);
    operations(&mut document);
    components(&mut document);
    document
}

fn tags(document: &mut Value) {
    let mut tags: Vec<Value> = TAGS.iter().map(|(name, about)| json!({"name": name, "description": about})).collect();
    let known = |name: &str| TAGS.iter().any(|(tag, _)| *tag == name);
    let mut more: Vec<&str> = each_operation(document)
        .flat_map(|operation| operation["tags"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .filter(|name| !known(name))
        .collect();
    more.sort_unstable();
    more.dedup();
    tags.extend(more.into_iter().map(|name| json!({ "name": name })));
    document["tags"] = tags.into();
}

fn each_operation(document: &Value) -> impl Iterator<Item = &Value> {
    let items = document["paths"].as_object().into_iter().flat_map(Map::values);
    items.flat_map(|item| item.as_object().into_iter().flat_map(Map::values)).filter(|o| o["responses"].is_object())
}

/// Gives every operation a name of its own, and says all ways to send a key.
fn operations(document: &mut Value) {
    let Some(paths) = document["paths"].as_object_mut() else { return };
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            let Some(operation) = operation.as_object_mut().filter(|o| o.contains_key("responses")) else { continue };
            operation.insert("operationId".into(), operation_id(method, path).into());
            let Some(Value::Array(ways)) = operation.get_mut("security") else { continue };
            let Some(scopes) = ways.iter().find_map(|way| way.get("api_key")).cloned() else { continue };
            ways.extend(["bearer", "basic"].map(|way| json!({ way: scopes })));
        }
    }
}

/// `get_agents_id_health` for `GET /api/v1/agents/{id}/health`.
fn operation_id(method: &str, path: &str) -> String {
    let path = path.trim_start_matches("/api/v1");
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

fn components(document: &mut Value) {
    let components = &mut document["components"];
    components["securitySchemes"] = json!({
        "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
        "basic": {"type": "http", "scheme": "basic", "description": "The key is the user name or the password."},
    });
    let mut errors = vec![(ErrorBody::name().into_owned(), <ErrorBody as utoipa::PartialSchema>::schema())];
    ErrorBody::schemas(&mut errors);
    for (name, schema) in errors {
        components["schemas"][name] = json!(schema);
    }
    let (settings, parts) = settings();
    components["schemas"]["AgentSettings"] = settings;
    for (name, part) in parts {
        components["schemas"][name] = part;
    }
    if let Some(Value::Object(schemas)) = components.get_mut("schemas") {
        schemas.sort_keys();
    }
}

/// The schema of an agent's settings, as the type that is read has it, and its parts.
fn settings() -> (Value, Map<String, Value>) {
    let generator = schemars::generate::SchemaSettings::draft2020_12()
        .with(|s| s.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut schema = generator.into_root_schema_for::<PolicyPatch>().to_value();
    let parts = match schema.as_object_mut().map(|s| {
        s.remove("$schema");
        s.remove("title");
        s.remove("components")
    }) {
        Some(Some(mut components)) => components["schemas"].take(),
        _ => Value::Null,
    };
    let parts = if let Value::Object(parts) = parts { parts } else { Map::new() };
    (schema, parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_named_by_method_and_path() {
        assert_eq!(operation_id("get", "/api/v1/agents/{id}/health"), "get_agents_id_health");
        assert_eq!(operation_id("post", "/v1/traces"), "post_v1_traces");
    }

    #[test]
    fn settings_are_described_by_the_type_that_is_read() {
        let (schema, parts) = settings();
        assert_eq!(schema["properties"]["auto_restart"]["type"], json!(["boolean", "null"]), "{schema:#}");
        assert!(parts.contains_key("LoopsPatch"), "{parts:?}");
        let text = schema.to_string();
        assert!(text.contains("#/components/schemas/LoopsPatch") && !text.contains("$defs"), "{text}");
    }
}
