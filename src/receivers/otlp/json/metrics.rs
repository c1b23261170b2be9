//! Metrics. Of points only what is used is read: buckets, quantiles and exemplars are skipped.

use serde::Deserialize;

use super::scalars::{Double, Int, bits, list, message, nullable, temporality, unsigned};
use super::{JsonError, JsonKeyValue, JsonResource, parse};
use crate::proto::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use crate::proto::opentelemetry::proto::common::v1::KeyValue;
use crate::proto::opentelemetry::proto::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, metric::Data, number_data_point::Value,
};
use crate::proto::opentelemetry::proto::resource::v1::Resource;

/// Reads an `ExportMetricsServiceRequest`.
pub fn metrics(body: &[u8]) -> Result<ExportMetricsServiceRequest, JsonError> {
    parse::<JsonMetrics>(body).map(|r| ExportMetricsServiceRequest { resource_metrics: r.resource_metrics })
}

#[derive(Deserialize)]
struct JsonMetrics {
    #[serde(default, rename = "resourceMetrics", alias = "resource_metrics")]
    #[serde(deserialize_with = "list::<_, JsonResourceMetrics, _>")]
    resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonResourceMetrics {
    #[serde(deserialize_with = "message::<_, JsonResource, _>")]
    resource: Option<Resource>,
    #[serde(rename = "scopeMetrics", alias = "scope_metrics", deserialize_with = "list::<_, JsonScopeMetrics, _>")]
    scope_metrics: Vec<ScopeMetrics>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonScopeMetrics {
    #[serde(deserialize_with = "list::<_, JsonMetric, _>")]
    metrics: Vec<Metric>,
}

/// A metric has one kind of data; of several the last one holds, as in protobuf.
#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonMetric {
    #[serde(deserialize_with = "nullable")]
    name: String,
    gauge: Option<JsonNumbers>,
    sum: Option<JsonNumbers>,
    histogram: Option<JsonHistogram>,
    #[serde(rename = "exponentialHistogram", alias = "exponential_histogram")]
    exponential_histogram: Option<JsonHistogram>,
    summary: Option<JsonSummary>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonNumbers {
    #[serde(alias = "data_points", deserialize_with = "list::<_, JsonNumber, _>")]
    data_points: Vec<NumberDataPoint>,
    #[serde(alias = "aggregation_temporality", deserialize_with = "temporality")]
    aggregation_temporality: i32,
    #[serde(alias = "is_monotonic", deserialize_with = "nullable")]
    is_monotonic: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonHistogram {
    #[serde(alias = "data_points", deserialize_with = "list::<_, JsonHistogramPoint, _>")]
    data_points: Vec<HistogramDataPoint>,
    #[serde(alias = "aggregation_temporality", deserialize_with = "temporality")]
    aggregation_temporality: i32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonSummary {
    #[serde(rename = "dataPoints", alias = "data_points", deserialize_with = "list::<_, JsonSummaryPoint, _>")]
    data_points: Vec<SummaryDataPoint>,
}

#[derive(Deserialize)]
struct JsonSummaryPoint {}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonNumber {
    #[serde(deserialize_with = "list::<_, JsonKeyValue, _>")]
    attributes: Vec<KeyValue>,
    #[serde(alias = "start_time_unix_nano", deserialize_with = "unsigned")]
    start_time_unix_nano: u64,
    #[serde(alias = "time_unix_nano", deserialize_with = "unsigned")]
    time_unix_nano: u64,
    #[serde(alias = "as_double")]
    as_double: Option<Double>,
    #[serde(alias = "as_int")]
    as_int: Option<Int>,
    #[serde(deserialize_with = "bits")]
    flags: u32,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonHistogramPoint {
    #[serde(deserialize_with = "list::<_, JsonKeyValue, _>")]
    attributes: Vec<KeyValue>,
    #[serde(alias = "start_time_unix_nano", deserialize_with = "unsigned")]
    start_time_unix_nano: u64,
    #[serde(alias = "time_unix_nano", deserialize_with = "unsigned")]
    time_unix_nano: u64,
    #[serde(deserialize_with = "unsigned")]
    count: u64,
    sum: Option<Double>,
    #[serde(deserialize_with = "bits")]
    flags: u32,
}

impl From<JsonResourceMetrics> for ResourceMetrics {
    fn from(json: JsonResourceMetrics) -> Self {
        Self { resource: json.resource, scope_metrics: json.scope_metrics }
    }
}

impl From<JsonScopeMetrics> for ScopeMetrics {
    fn from(json: JsonScopeMetrics) -> Self {
        Self { metrics: json.metrics }
    }
}

impl From<JsonMetric> for Metric {
    fn from(json: JsonMetric) -> Self {
        let gauge = json.gauge.map(|data| Data::Gauge(Gauge { data_points: data.data_points }));
        let sum = json.sum.map(|data| {
            Data::Sum(Sum {
                data_points: data.data_points,
                aggregation_temporality: data.aggregation_temporality,
                is_monotonic: data.is_monotonic,
            })
        });
        let histogram = json.histogram.map(|data| {
            Data::Histogram(Histogram {
                data_points: data.data_points,
                aggregation_temporality: data.aggregation_temporality,
            })
        });
        let exponential = json.exponential_histogram.map(|data| {
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points: data.data_points.into_iter().map(exponential).collect(),
                aggregation_temporality: data.aggregation_temporality,
            })
        });
        let summary = json.summary.map(|data| Data::Summary(Summary { data_points: data.data_points }));
        Self { name: json.name, data: summary.or(exponential).or(histogram).or(sum).or(gauge) }
    }
}

/// What is read of both kinds of histograms is the same.
fn exponential(point: HistogramDataPoint) -> ExponentialHistogramDataPoint {
    ExponentialHistogramDataPoint {
        attributes: point.attributes,
        start_time_unix_nano: point.start_time_unix_nano,
        time_unix_nano: point.time_unix_nano,
        count: point.count,
        sum: point.sum,
        flags: point.flags,
    }
}

impl From<JsonSummaryPoint> for SummaryDataPoint {
    fn from(_: JsonSummaryPoint) -> Self {
        Self {}
    }
}

impl From<JsonNumber> for NumberDataPoint {
    fn from(json: JsonNumber) -> Self {
        let double = json.as_double.map(|n| Value::AsDouble(n.0));
        Self {
            attributes: json.attributes,
            start_time_unix_nano: json.start_time_unix_nano,
            time_unix_nano: json.time_unix_nano,
            flags: json.flags,
            value: json.as_int.map(|n| Value::AsInt(n.0)).or(double),
        }
    }
}

impl From<JsonHistogramPoint> for HistogramDataPoint {
    fn from(json: JsonHistogramPoint) -> Self {
        Self {
            attributes: json.attributes,
            start_time_unix_nano: json.start_time_unix_nano,
            time_unix_nano: json.time_unix_nano,
            count: json.count,
            sum: json.sum.map(|n| n.0),
            flags: json.flags,
        }
    }
}
