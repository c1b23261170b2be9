//! The same requests in both encodings: whatever a capture tells in protobuf it tells in JSON.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::proto::opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest;
use crate::proto::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use crate::proto::opentelemetry::proto::common::v1::InstrumentationScope;
use crate::proto::opentelemetry::proto::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use crate::proto::opentelemetry::proto::metrics::v1::{
    AggregationTemporality, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, metric::Data, number_data_point::Value as Number,
};
use crate::proto::opentelemetry::proto::resource::v1::Resource;
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
            // As text, because the parser of JSON numbers may be off by the last bit.
            n if n.fract() != 0.0 => json!(n.to_string()),
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

    fn scope(self, scope: Option<&InstrumentationScope>) -> Json {
        scope.map_or(Json::Null, |scope| self.object([("name", json!(scope.name)), ("version", json!(scope.version))]))
    }

    fn resource(self, resource: Option<&Resource>) -> Json {
        resource.map_or(Json::Null, |resource| self.object([("attributes", self.attributes(&resource.attributes))]))
    }

    fn request(self, request: &ExportTraceServiceRequest) -> Json {
        let scope = |s: &ScopeSpans| {
            let spans = s.spans.iter().map(|span| self.span(span)).collect();
            self.object([("scope", self.scope(s.scope.as_ref())), ("spans", spans)])
        };
        let resource = |r: &ResourceSpans| {
            let scopes = r.scope_spans.iter().map(scope).collect();
            self.object([("resource", self.resource(r.resource.as_ref())), ("scopeSpans", scopes)])
        };
        self.object([("resourceSpans", request.resource_spans.iter().map(resource).collect())])
    }

    fn record(self, record: &LogRecord) -> Json {
        let id = |id: &[u8]| if id.is_empty() { Json::Null } else { self.id(id) };
        self.object([
            ("timeUnixNano", self.integer(record.time_unix_nano)),
            ("observedTimeUnixNano", self.integer(record.observed_time_unix_nano)),
            ("severityNumber", json!(9)),
            ("body", record.body.as_ref().map_or(Json::Null, |body| self.any(body))),
            ("attributes", self.attributes(&record.attributes)),
            ("traceId", id(&record.trace_id)),
            ("spanId", id(&record.span_id)),
            ("eventName", json!(record.event_name)),
        ])
    }

    fn logs(self, request: &ExportLogsServiceRequest) -> Json {
        let scope = |s: &ScopeLogs| {
            let records = s.log_records.iter().map(|record| self.record(record)).collect();
            self.object([("scope", self.scope(s.scope.as_ref())), ("logRecords", records)])
        };
        let resource = |r: &ResourceLogs| {
            let scopes = r.scope_logs.iter().map(scope).collect();
            self.object([("resource", self.resource(r.resource.as_ref())), ("scopeLogs", scopes)])
        };
        self.object([("resourceLogs", request.resource_logs.iter().map(resource).collect())])
    }

    fn temporality(self, temporality: i32) -> Json {
        match self {
            Self::Generic => json!(AggregationTemporality::try_from(temporality).unwrap().as_str_name()),
            _ => json!(temporality),
        }
    }

    fn number(self, point: &NumberDataPoint) -> Json {
        let (double, int) = match point.value {
            Some(Number::AsDouble(n)) => (Self::double(n), Json::Null),
            Some(Number::AsInt(n)) => (Json::Null, self.integer(n)),
            None => (Json::Null, Json::Null),
        };
        self.object([
            ("attributes", self.attributes(&point.attributes)),
            ("startTimeUnixNano", self.integer(point.start_time_unix_nano)),
            ("timeUnixNano", self.integer(point.time_unix_nano)),
            ("asDouble", double),
            ("asInt", int),
        ])
    }

    fn histogram(self, attributes: &[KeyValue], times: [u64; 2], count: u64, sum: Option<f64>) -> Json {
        self.object([
            ("attributes", self.attributes(attributes)),
            ("startTimeUnixNano", self.integer(times[0])),
            ("timeUnixNano", self.integer(times[1])),
            ("count", self.integer(count)),
            ("sum", sum.map_or(Json::Null, Self::double)),
            ("bucketCounts", json!([self.integer(count)])),
        ])
    }

    fn metric(self, metric: &Metric) -> Json {
        let (kind, points, temporality): (_, Vec<Json>, _) = match metric.data.as_ref().unwrap() {
            Data::Gauge(data) => ("gauge", data.data_points.iter().map(|p| self.number(p)).collect(), 0),
            Data::Sum(data) => {
                let points = data.data_points.iter().map(|p| self.number(p)).collect();
                ("sum", points, data.aggregation_temporality)
            }
            Data::Histogram(data) => {
                let point = |p: &HistogramDataPoint| {
                    self.histogram(&p.attributes, [p.start_time_unix_nano, p.time_unix_nano], p.count, p.sum)
                };
                ("histogram", data.data_points.iter().map(point).collect(), data.aggregation_temporality)
            }
            Data::ExponentialHistogram(data) => {
                let point = |p: &ExponentialHistogramDataPoint| {
                    self.histogram(&p.attributes, [p.start_time_unix_nano, p.time_unix_nano], p.count, p.sum)
                };
                ("exponentialHistogram", data.data_points.iter().map(point).collect(), data.aggregation_temporality)
            }
            Data::Summary(data) => ("summary", data.data_points.iter().map(|_| json!({})).collect(), 0),
        };
        let monotonic = matches!(&metric.data, Some(Data::Sum(sum)) if sum.is_monotonic);
        let data = self.object([
            ("dataPoints", json!(points)),
            ("aggregationTemporality", self.temporality(temporality)),
            ("isMonotonic", json!(monotonic)),
        ]);
        self.object([("name", json!(metric.name)), ("unit", json!("1")), (kind, data)])
    }

    fn metrics(self, request: &ExportMetricsServiceRequest) -> Json {
        let scope =
            |s: &ScopeMetrics| self.object([("metrics", s.metrics.iter().map(|metric| self.metric(metric)).collect())]);
        let resource = |r: &ResourceMetrics| {
            let scopes = r.scope_metrics.iter().map(scope).collect();
            self.object([("resource", self.resource(r.resource.as_ref())), ("scopeMetrics", scopes)])
        };
        self.object([("resourceMetrics", request.resource_metrics.iter().map(resource).collect())])
    }
}

/// A request in JSON as the specification says.
pub(super) fn as_json(request: &ExportTraceServiceRequest) -> String {
    Spelling::Specified.request(request).to_string()
}

/// The captured bodies of one signal, each with its name.
fn bodies(signal: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/otlp");
    let index: Vec<Json> = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let files = index.iter().flat_map(|capture| capture["files"].as_array().unwrap());
    let names = files.filter(|file| file["signal"] == signal).filter_map(|file| file["file"].as_str());
    names.filter(|name| name.ends_with(".pb")).map(|name| (name.into(), fs::read(folder.join(name)).unwrap())).collect()
}

const SPELLINGS: [Spelling; 3] = [Spelling::Specified, Spelling::Generic, Spelling::Nulls];

#[test]
fn every_capture_tells_the_same_in_json() {
    let bodies = bodies("traces");
    assert!(bodies.len() > 80);
    for (name, body) in bodies {
        let walked = crate::receivers::otlp::wire::decode(&body, &Naming::default()).unwrap();
        let message = ExportTraceServiceRequest::decode(&body[..]).unwrap();
        for spelling in SPELLINGS {
            let json = spelling.request(&message).to_string();
            let read = reader::traces(json.as_bytes()).unwrap_or_else(|e| panic!("{name} {spelling:?}: {e}"));
            assert_eq!(spans::decode(&read, &Naming::default()), walked, "{name} {spelling:?}");
        }
    }
}

#[test]
fn every_captured_log_record_is_the_same_in_json() {
    let bodies = bodies("logs");
    assert!(bodies.len() > 30);
    for (name, body) in bodies {
        let message = ExportLogsServiceRequest::decode(&body[..]).unwrap();
        for spelling in SPELLINGS {
            let json = spelling.logs(&message).to_string();
            let read = reader::logs(json.as_bytes()).unwrap_or_else(|e| panic!("{name} {spelling:?}: {e}"));
            assert_eq!(read, message, "{name} {spelling:?}");
        }
    }
}

#[test]
fn every_captured_metric_is_the_same_in_json() {
    let bodies = bodies("metrics");
    assert!(bodies.len() > 80);
    for (name, body) in bodies {
        let message = ExportMetricsServiceRequest::decode(&body[..]).unwrap();
        for spelling in SPELLINGS {
            let json = spelling.metrics(&message).to_string();
            let read = reader::metrics(json.as_bytes()).unwrap_or_else(|e| panic!("{name} {spelling:?}: {e}"));
            assert_eq!(read, message, "{name} {spelling:?}");
        }
    }
}
