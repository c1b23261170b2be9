//! OTLP/JSON: the protobuf JSON mapping with OTLP's exceptions, read tolerantly.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>. Beyond it, base64 ids, enum names,
//! `snake_case` names and `null` for "absent" are taken, because senders in the field use them. Nesting is bounded by
//! `serde_json`'s recursion limit. The structs here mirror the generated ones field by field.

mod logs;
mod metrics;
mod scalars;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

pub use self::logs::logs;
pub use self::metrics::metrics;
use self::scalars::{Base64, Double, Int, bits, budget, id, list, message, nullable, span_kind, status_code, unsigned};
use crate::model::ERROR_TEXT_BYTES_MAX;
use crate::proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use crate::proto::opentelemetry::proto::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use crate::proto::opentelemetry::proto::resource::v1::Resource;
use crate::proto::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};

/// Why a body is not the JSON it should be: what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct JsonError {
    path: String,
    message: String,
}

/// Reads an `ExportTraceServiceRequest`.
pub fn traces(body: &[u8]) -> Result<ExportTraceServiceRequest, JsonError> {
    parse::<JsonTraces>(body).map(|r| ExportTraceServiceRequest { resource_spans: r.resource_spans })
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, JsonError> {
    // Serde would take an array for a struct's fields in order.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(JsonError::new(".", "invalid type: array, expected an object"));
    }
    budget::reset();
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|e| JsonError::new(&e.path().to_string(), &e.into_inner().to_string()))?;
    json.end().map_err(|e| JsonError::new(".", &e.to_string()))?;
    Ok(value)
}

impl JsonError {
    /// The sender's own text may be in both, so they are cut.
    fn new(path: &str, message: &str) -> Self {
        let cut = |text: &str| text[..text.floor_char_boundary(ERROR_TEXT_BYTES_MAX)].to_owned();
        Self { path: cut(path), message: cut(message) }
    }
}

#[derive(Deserialize)]
struct JsonTraces {
    #[serde(default, rename = "resourceSpans", alias = "resource_spans")]
    #[serde(deserialize_with = "list::<_, JsonResourceSpans, _>")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonResourceSpans {
    #[serde(deserialize_with = "message::<_, JsonResource, _>")]
    resource: Option<Resource>,
    #[serde(rename = "scopeSpans", alias = "scope_spans", deserialize_with = "list::<_, JsonScopeSpans, _>")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonResource {
    #[serde(deserialize_with = "list::<_, JsonKeyValue, _>")]
    attributes: Vec<KeyValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonScopeSpans {
    #[serde(deserialize_with = "message::<_, JsonScope, _>")]
    scope: Option<InstrumentationScope>,
    #[serde(deserialize_with = "list::<_, JsonSpan, _>")]
    spans: Vec<Span>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonScope {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    version: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonSpan {
    #[serde(alias = "trace_id", deserialize_with = "id")]
    trace_id: Vec<u8>,
    #[serde(alias = "span_id", deserialize_with = "id")]
    span_id: Vec<u8>,
    #[serde(alias = "parent_span_id", deserialize_with = "id")]
    parent_span_id: Vec<u8>,
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "span_kind")]
    kind: i32,
    #[serde(alias = "start_time_unix_nano", deserialize_with = "unsigned")]
    start_time_unix_nano: u64,
    #[serde(alias = "end_time_unix_nano", deserialize_with = "unsigned")]
    end_time_unix_nano: u64,
    #[serde(deserialize_with = "list::<_, JsonKeyValue, _>")]
    attributes: Vec<KeyValue>,
    #[serde(deserialize_with = "list::<_, JsonEvent, _>")]
    events: Vec<span::Event>,
    #[serde(deserialize_with = "message::<_, JsonStatus, _>")]
    status: Option<Status>,
    #[serde(deserialize_with = "bits")]
    flags: u32,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonEvent {
    #[serde(alias = "time_unix_nano", deserialize_with = "unsigned")]
    time_unix_nano: u64,
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "list::<_, JsonKeyValue, _>")]
    attributes: Vec<KeyValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonStatus {
    #[serde(deserialize_with = "nullable")]
    message: String,
    #[serde(deserialize_with = "status_code")]
    code: i32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonKeyValue {
    #[serde(deserialize_with = "nullable")]
    key: String,
    #[serde(deserialize_with = "message::<_, JsonAnyValue, _>")]
    value: Option<AnyValue>,
}

impl From<JsonResourceSpans> for ResourceSpans {
    fn from(json: JsonResourceSpans) -> Self {
        Self { resource: json.resource, scope_spans: json.scope_spans }
    }
}

impl From<JsonResource> for Resource {
    fn from(json: JsonResource) -> Self {
        Self { attributes: json.attributes }
    }
}

impl From<JsonScopeSpans> for ScopeSpans {
    fn from(json: JsonScopeSpans) -> Self {
        Self { scope: json.scope, spans: json.spans }
    }
}

impl From<JsonScope> for InstrumentationScope {
    fn from(json: JsonScope) -> Self {
        Self { name: json.name, version: json.version }
    }
}

impl From<JsonSpan> for Span {
    fn from(json: JsonSpan) -> Self {
        Self {
            trace_id: json.trace_id,
            span_id: json.span_id,
            parent_span_id: json.parent_span_id,
            name: json.name,
            kind: json.kind,
            start_time_unix_nano: json.start_time_unix_nano,
            end_time_unix_nano: json.end_time_unix_nano,
            attributes: json.attributes,
            events: json.events,
            status: json.status,
            flags: json.flags,
        }
    }
}

impl From<JsonEvent> for span::Event {
    fn from(json: JsonEvent) -> Self {
        Self { time_unix_nano: json.time_unix_nano, name: json.name, attributes: json.attributes }
    }
}

impl From<JsonStatus> for Status {
    fn from(json: JsonStatus) -> Self {
        Self { message: json.message, code: json.code }
    }
}

impl From<JsonKeyValue> for KeyValue {
    fn from(json: JsonKeyValue) -> Self {
        Self { key: json.key, value: json.value }
    }
}

/// `AnyValue`: an object with at most one of these keys.
struct JsonAnyValue(AnyValue);

impl From<JsonAnyValue> for AnyValue {
    fn from(json: JsonAnyValue) -> Self {
        json.0
    }
}

#[derive(Deserialize)]
#[serde(field_identifier)]
enum Variant {
    #[serde(rename = "stringValue", alias = "string_value")]
    String,
    #[serde(rename = "boolValue", alias = "bool_value")]
    Bool,
    #[serde(rename = "intValue", alias = "int_value")]
    Int,
    #[serde(rename = "doubleValue", alias = "double_value")]
    Double,
    #[serde(rename = "arrayValue", alias = "array_value")]
    Array,
    #[serde(rename = "kvlistValue", alias = "kvlist_value")]
    Kvlist,
    #[serde(rename = "bytesValue", alias = "bytes_value")]
    Bytes,
    #[serde(other)]
    Unknown,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonArray {
    #[serde(deserialize_with = "list::<_, JsonAnyValue, _>")]
    values: Vec<AnyValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonKvlist {
    #[serde(deserialize_with = "list::<_, JsonKeyValue, _>")]
    values: Vec<KeyValue>,
}

impl<'de> Deserialize<'de> for JsonAnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyVisitor;
        impl<'de> Visitor<'de> for AnyVisitor {
            type Value = JsonAnyValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value such as {\"stringValue\": \"…\"}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut value = None;
                while let Some(variant) = map.next_key()? {
                    let next = match variant {
                        Variant::String => map.next_value::<Option<String>>()?.map(Value::StringValue),
                        Variant::Bool => map.next_value::<Option<bool>>()?.map(Value::BoolValue),
                        Variant::Int => map.next_value::<Option<Int>>()?.map(|n| Value::IntValue(n.0)),
                        Variant::Double => map.next_value::<Option<Double>>()?.map(|n| Value::DoubleValue(n.0)),
                        Variant::Array => map
                            .next_value::<Option<JsonArray>>()?
                            .map(|array| Value::ArrayValue(ArrayValue { values: array.values })),
                        Variant::Kvlist => map
                            .next_value::<Option<JsonKvlist>>()?
                            .map(|list| Value::KvlistValue(KeyValueList { values: list.values })),
                        Variant::Bytes => map.next_value::<Option<Base64>>()?.map(|b| Value::BytesValue(b.0)),
                        Variant::Unknown => map.next_value::<IgnoredAny>().map(|_| None)?,
                    };
                    value = next.or(value);
                }
                Ok(JsonAnyValue(AnyValue { value }))
            }
        }
        deserializer.deserialize_map(AnyVisitor)
    }
}
