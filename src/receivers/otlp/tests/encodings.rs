//! The same requests in both encodings: whatever a capture tells in protobuf it tells in JSON.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::proto::opentelemetry::proto::trace::v1::{Status, span::Event};
use crate::receivers::otlp::json as reader;

/// How senders spell the same JSON.
#[derive(Clone, Copy, Debug)]
enum Spelling {
    /// As the specification says: ids in hex, 64-bit integers as text, enums as numbers.
    Specified,
    /// As a generic protobuf library does: ids in base64, enums by name, snake case.
    Generic,
    /// With `null` and empty lists for what is absent, and integers as numbers.
    Nulls,
}

impl Spelling {
    fn id(self, id: &[u8]) -> Json {
        match self {
            Self::Generic => json!(base64::engine::general_purpose::STANDARD.encode(id)),
            _ => json!(id.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        }
    }

    fn key(self, camel: &str) -> String {
        if !matches!(self, Self::Generic) {
            return camel.to_owned();
        }
        camel
            .chars()
            .flat_map(|c| [c.is_ascii_uppercase().then_some('_'), Some(c.to_ascii_lowercase())])
            .flatten()
            .collect()
    }

    fn object<const N: usize>(self, members: [(&str, Json); N]) -> Json {
        let mut object = Map::new();
        for (key, value) in members {
            let is_absent = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            if !is_absent || matches!(self, Self::Nulls) {
                object.insert(self.key(key), value);
            }
        }
        Json::Object(object)
    }

    fn integer(self, n: impl ToString + Into<i128>) -> Json {
        match self {
            Self::Nulls => serde_json::from_str(&n.to_string()).unwrap(),
            _ => json!(n.to_string()),
        }
    }

    fn double(n: f64) -> Json {
        match n {
            n if n.is_nan() => json!("NaN"),
            n if n.is_infinite() => json!(if n > 0.0 { "Infinity" } else { "-Infinity" }),
            n => json!(n),
        }
    }

    fn any(self, any: &AnyValue) -> Json {
        match &any.value {
            None => json!({}),
            Some(Value::StringValue(text)) => self.object([("stringValue", json!(text))]),
            Some(Value::BoolValue(b)) => self.object([("boolValue", json!(b))]),
            Some(Value::IntValue(n)) => self.object([("intValue", self.integer(*n))]),
            Some(Value::DoubleValue(n)) => self.object([("doubleValue", Self::double(*n))]),
            Some(Value::BytesValue(bytes)) => {
                self.object([("bytesValue", json!(base64::engine::general_purpose::STANDARD.encode(bytes)))])
            }
            Some(Value::ArrayValue(array)) => {
                let values: Vec<_> = array.values.iter().map(|v| self.any(v)).collect();
                self.object([("arrayValue", json!({ "values": values }))])
            }
            Some(Value::KvlistValue(list)) => {
                self.object([("kvlistValue", json!({ "values": self.attributes(&list.values) }))])
            }
        }
    }

    fn attributes(self, attributes: &[KeyValue]) -> Json {
        let one = |a: &KeyValue| {
            self.object([("key", json!(a.key)), ("value", a.value.as_ref().map_or(Json::Null, |v| self.any(v)))])
        };
        attributes.iter().map(one).collect()
    }

    fn event(self, event: &Event) -> Json {
        self.object([
            ("timeUnixNano", self.integer(event.time_unix_nano)),
            ("name", json!(event.name)),
            ("attributes", self.attributes(&event.attributes)),
        ])
    }

    fn status(self, status: &Status) -> Json {
        let code = match (self, status.code) {
            (Self::Generic, 1) => json!("STATUS_CODE_OK"),
            (Self::Generic, 2) => json!("STATUS_CODE_ERROR"),
            (_, code) => json!(code),
        };
        self.object([("message", json!(status.message)), ("code", code)])
    }

    fn span(self, span: &Span) -> Json {
        let parent = if span.parent_span_id.is_empty() { Json::Null } else { self.id(&span.parent_span_id) };
        self.object([
            ("traceId", self.id(&span.trace_id)),
            ("spanId", self.id(&span.span_id)),
            ("parentSpanId", parent),
            ("name", json!(span.name)),
            ("kind", json!(span.kind)),
            ("startTimeUnixNano", self.integer(span.start_time_unix_nano)),
            ("endTimeUnixNano", self.integer(span.end_time_unix_nano)),
            ("attributes", self.attributes(&span.attributes)),
            ("events", span.events.iter().map(|event| self.event(event)).collect()),
            ("status", span.status.as_ref().map_or(Json::Null, |status| self.status(status))),
            ("flags", json!(span.flags)),
        ])
    }

    fn request(self, request: &ExportTraceServiceRequest) -> Json {
        let scope = |s: &ScopeSpans| {
            let scope = s.scope.as_ref().map_or(Json::Null, |scope| {
                self.object([("name", json!(scope.name)), ("version", json!(scope.version))])
            });
            self.object([("scope", scope), ("spans", s.spans.iter().map(|span| self.span(span)).collect())])
        };
        let resource = |r: &ResourceSpans| {
            let resource = r
                .resource
                .as_ref()
                .map_or(Json::Null, |resource| self.object([("attributes", self.attributes(&resource.attributes))]));
            self.object([("resource", resource), ("scopeSpans", r.scope_spans.iter().map(scope).collect())])
        };
        self.object([("resourceSpans", request.resource_spans.iter().map(resource).collect())])
    }
}

/// A request in JSON as the specification says.
pub(super) fn as_json(request: &ExportTraceServiceRequest) -> String {
    Spelling::Specified.request(request).to_string()
}

#[test]
fn every_capture_tells_the_same_in_json() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/otlp");
    let index: Vec<Json> = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let files = index.iter().flat_map(|capture| capture["files"].as_array().unwrap());
    let mut bodies = 0;
    for file in files.filter(|file| file["signal"] == "traces") {
        let path = folder.join(file["file"].as_str().unwrap());
        if path.extension().is_none_or(|extension| extension != "pb") {
            continue;
        }
        let body = fs::read(&path).unwrap();
        let walked = crate::receivers::otlp::wire::decode(&body, &Naming::default()).unwrap();
        let message = ExportTraceServiceRequest::decode(&body[..]).unwrap();
        for spelling in [Spelling::Specified, Spelling::Generic, Spelling::Nulls] {
            let json = spelling.request(&message).to_string();
            let read =
                reader::traces(json.as_bytes()).unwrap_or_else(|e| panic!("{} {spelling:?}: {e}", path.display()));
            assert_eq!(spans::decode(&read, &Naming::default()), walked, "{} {spelling:?}", path.display());
        }
        bodies += 1;
    }
    assert!(bodies > 80);
}
