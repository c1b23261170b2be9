//! Log records.

use serde::Deserialize;

use super::scalars::{id, list, message, nullable, unsigned};
use super::{JsonAnyValue, JsonError, JsonKeyValue, JsonResource, JsonScope, parse};
use crate::proto::opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest;
use crate::proto::opentelemetry::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use crate::proto::opentelemetry::proto::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use crate::proto::opentelemetry::proto::resource::v1::Resource;

/// Reads an `ExportLogsServiceRequest`.
pub fn logs(body: &[u8]) -> Result<ExportLogsServiceRequest, JsonError> {
    parse::<JsonLogs>(body).map(|r| ExportLogsServiceRequest { resource_logs: r.resource_logs })
}

#[derive(Deserialize)]
struct JsonLogs {
    #[serde(default, rename = "resourceLogs", alias = "resource_logs")]
    #[serde(deserialize_with = "list::<_, JsonResourceLogs, _>")]
    resource_logs: Vec<ResourceLogs>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonResourceLogs {
    #[serde(deserialize_with = "message::<_, JsonResource, _>")]
    resource: Option<Resource>,
    #[serde(rename = "scopeLogs", alias = "scope_logs", deserialize_with = "list::<_, JsonScopeLogs, _>")]
    scope_logs: Vec<ScopeLogs>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonScopeLogs {
    #[serde(deserialize_with = "message::<_, JsonScope, _>")]
    scope: Option<InstrumentationScope>,
    #[serde(rename = "logRecords", alias = "log_records", deserialize_with = "list::<_, JsonLogRecord, _>")]
    log_records: Vec<LogRecord>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonLogRecord {
    #[serde(alias = "time_unix_nano", deserialize_with = "unsigned")]
    time_unix_nano: u64,
    #[serde(alias = "observed_time_unix_nano", deserialize_with = "unsigned")]
    observed_time_unix_nano: u64,
    #[serde(deserialize_with = "message::<_, JsonAnyValue, _>")]
    body: Option<AnyValue>,
    #[serde(deserialize_with = "list::<_, JsonKeyValue, _>")]
    attributes: Vec<KeyValue>,
    #[serde(alias = "trace_id", deserialize_with = "id")]
    trace_id: Vec<u8>,
    #[serde(alias = "span_id", deserialize_with = "id")]
    span_id: Vec<u8>,
    #[serde(alias = "event_name", deserialize_with = "nullable")]
    event_name: String,
}

impl From<JsonResourceLogs> for ResourceLogs {
    fn from(json: JsonResourceLogs) -> Self {
        Self { resource: json.resource, scope_logs: json.scope_logs }
    }
}

impl From<JsonScopeLogs> for ScopeLogs {
    fn from(json: JsonScopeLogs) -> Self {
        Self { scope: json.scope, log_records: json.log_records }
    }
}

impl From<JsonLogRecord> for LogRecord {
    fn from(json: JsonLogRecord) -> Self {
        Self {
            time_unix_nano: json.time_unix_nano,
            observed_time_unix_nano: json.observed_time_unix_nano,
            body: json.body,
            attributes: json.attributes,
            trace_id: json.trace_id,
            span_id: json.span_id,
            event_name: json.event_name,
        }
    }
}
