//! Logs and metrics: only how many there are.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::scalars::{list, nullable};
use super::{JsonError, parse};

/// Counts the log records of an `ExportLogsServiceRequest`.
pub fn log_records(body: &[u8]) -> Result<usize, JsonError> {
    let request = parse::<JsonLogs>(body)?;
    Ok(request.resource_logs.iter().flat_map(|r| &r.scope_logs).map(|s| s.log_records.len()).sum())
}

/// Counts the data points of an `ExportMetricsServiceRequest`.
pub fn data_points(body: &[u8]) -> Result<usize, JsonError> {
    let request = parse::<JsonMetrics>(body)?;
    let metrics = request.resource_metrics.iter().flat_map(|r| &r.scope_metrics).flat_map(|s| &s.metrics);
    Ok(metrics.map(JsonMetric::points).sum())
}

#[derive(Deserialize)]
struct JsonLogs {
    #[serde(
        default,
        rename = "resourceLogs",
        alias = "resource_logs",
        deserialize_with = "list::<_, JsonResourceLogs, _>"
    )]
    resource_logs: Vec<JsonResourceLogs>,
}

#[derive(Deserialize)]
struct JsonResourceLogs {
    #[serde(default, rename = "scopeLogs", alias = "scope_logs", deserialize_with = "list::<_, JsonScopeLogs, _>")]
    scope_logs: Vec<JsonScopeLogs>,
}

#[derive(Deserialize)]
struct JsonScopeLogs {
    #[serde(default, rename = "logRecords", alias = "log_records", deserialize_with = "nullable")]
    log_records: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct JsonMetrics {
    #[serde(
        default,
        rename = "resourceMetrics",
        alias = "resource_metrics",
        deserialize_with = "list::<_, JsonResourceMetrics, _>"
    )]
    resource_metrics: Vec<JsonResourceMetrics>,
}

#[derive(Deserialize)]
struct JsonResourceMetrics {
    #[serde(
        default,
        rename = "scopeMetrics",
        alias = "scope_metrics",
        deserialize_with = "list::<_, JsonScopeMetrics, _>"
    )]
    scope_metrics: Vec<JsonScopeMetrics>,
}

#[derive(Deserialize)]
struct JsonScopeMetrics {
    #[serde(default, deserialize_with = "list::<_, JsonMetric, _>")]
    metrics: Vec<JsonMetric>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonMetric {
    #[serde(deserialize_with = "nullable")]
    gauge: JsonPoints,
    #[serde(deserialize_with = "nullable")]
    sum: JsonPoints,
    #[serde(deserialize_with = "nullable")]
    histogram: JsonPoints,
    #[serde(rename = "exponentialHistogram", alias = "exponential_histogram", deserialize_with = "nullable")]
    exponential_histogram: JsonPoints,
    #[serde(deserialize_with = "nullable")]
    summary: JsonPoints,
}

impl JsonMetric {
    /// A metric has one kind of data; the others are empty.
    fn points(&self) -> usize {
        [&self.gauge, &self.sum, &self.histogram, &self.exponential_histogram, &self.summary]
            .map(|data| data.data_points.len())
            .iter()
            .sum()
    }
}

#[derive(Default, Deserialize)]
struct JsonPoints {
    #[serde(default, rename = "dataPoints", alias = "data_points", deserialize_with = "nullable")]
    data_points: Vec<IgnoredAny>,
}
