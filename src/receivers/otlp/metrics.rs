//! From OTLP metrics to data points that tell something about agents. Pure.

use super::conventions::Attributes;
use super::conventions::measures::{self, Amount};
use super::naming::Naming;
use super::spans::Origin;
use crate::model::{DedupKey, Measured, Money, Point, ProjectId, Timestamp, digest64};
use crate::proto::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use crate::proto::opentelemetry::proto::common::v1::KeyValue;
use crate::proto::opentelemetry::proto::metrics::v1::{
    AggregationTemporality, Metric, metric::Data, number_data_point::Value as Number,
};

/// The flag of a data point without a value.
const NO_RECORDED_VALUE: u32 = 1;
/// The most a data point may tell of anything but money; more is taken for a mistake.
const VALUE_MAX: f64 = 1e15;
/// The kind of the keys by which points count once.
const DEDUP_KIND: &str = "otlp/metrics";

/// What a request of metrics told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecodedMetrics {
    /// The points that tell something about agents, by instance.
    pub measured: Vec<Measured>,
    /// How many these are.
    pub read: u64,
    /// How many tell nothing about agents, or nothing that can be added up.
    pub ignored: u64,
}

/// Reads a decoded request.
pub fn decode(request: &ExportMetricsServiceRequest, naming: &Naming) -> DecodedMetrics {
    let mut decoded = DecodedMetrics::default();
    for resource_metrics in &request.resource_metrics {
        let resource = resource_metrics.resource.as_ref().map(|resource| Attributes::Decoded(&resource.attributes));
        let origin = Origin::of(resource.as_slice(), naming);
        for metric in resource_metrics.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            each_point(metric, |raw| match point(metric, &raw, resource, naming) {
                Some(point) => {
                    decoded.read += 1;
                    let session = raw.session(metric);
                    put(&mut decoded.measured, &origin, origin.instance(session), point);
                }
                None => decoded.ignored += 1,
            });
        }
    }
    decoded
}

/// Names the points of one instance, so that they count once however often they are sent.
pub fn dedup_key(project: ProjectId, measured: &Measured) -> DedupKey {
    let mut bytes = measured.instance.to_le_bytes().to_vec();
    for point in &measured.points {
        for part in [point.series, point.start.0.cast_unsigned(), point.time.0.cast_unsigned(), point.value] {
            bytes.extend_from_slice(&part.to_le_bytes());
        }
    }
    DedupKey::of(project, DEDUP_KIND, &bytes)
}

fn put(all: &mut Vec<Measured>, origin: &Origin<'_>, instance: u64, point: Point) {
    let known = all.iter_mut().rev().find(|m| m.instance == instance && m.project == origin.project);
    if let Some(measured) = known {
        measured.points.push(point);
        return;
    }
    let (service, project) = (origin.service.into(), origin.project.clone());
    all.push(Measured { instance, service, project, points: vec![point] });
}

/// A data point of any kind.
struct Raw<'a> {
    attributes: &'a [KeyValue],
    start_nanos: u64,
    time_nanos: u64,
    /// The value of a sum, or the sum of a histogram.
    sum: Option<f64>,
    /// How many values a histogram has.
    count: Option<u64>,
    flags: u32,
    temporality: i32,
}

impl Raw<'_> {
    /// What tells processes of one program apart that have nothing else for it.
    fn session(&self, metric: &Metric) -> Option<u64> {
        measures::session(&metric.name, Attributes::Decoded(self.attributes)).map(|text| digest64(text.as_bytes()))
    }
}

/// Hands all points of a metric to `take`, those that cannot be added up included.
fn each_point<'a>(metric: &'a Metric, mut take: impl FnMut(Raw<'a>)) {
    let number = |value: Option<Number>| match value? {
        Number::AsDouble(n) => Some(n),
        Number::AsInt(n) => Some(n as f64),
    };
    let nothing = Raw {
        attributes: &[],
        start_nanos: 0,
        time_nanos: 0,
        sum: None,
        count: None,
        flags: NO_RECORDED_VALUE,
        temporality: 0,
    };
    match &metric.data {
        Some(Data::Sum(data)) => data.data_points.iter().for_each(|p| {
            take(Raw {
                attributes: &p.attributes,
                start_nanos: p.start_time_unix_nano,
                time_nanos: p.time_unix_nano,
                // What may fall tells no amount of anything that was done.
                sum: number(p.value).filter(|_| data.is_monotonic),
                count: None,
                flags: p.flags,
                temporality: data.aggregation_temporality,
            });
        }),
        Some(Data::Histogram(data)) => data.data_points.iter().for_each(|p| {
            take(Raw {
                attributes: &p.attributes,
                start_nanos: p.start_time_unix_nano,
                time_nanos: p.time_unix_nano,
                sum: p.sum,
                count: Some(p.count),
                flags: p.flags,
                temporality: data.aggregation_temporality,
            });
        }),
        Some(Data::ExponentialHistogram(data)) => data.data_points.iter().for_each(|p| {
            take(Raw {
                attributes: &p.attributes,
                start_nanos: p.start_time_unix_nano,
                time_nanos: p.time_unix_nano,
                sum: p.sum,
                count: Some(p.count),
                flags: p.flags,
                temporality: data.aggregation_temporality,
            });
        }),
        Some(Data::Gauge(data)) => data.data_points.iter().for_each(|_| take(Raw { ..nothing })),
        Some(Data::Summary(data)) => data.data_points.iter().for_each(|_| take(Raw { ..nothing })),
        None => {}
    }
}

fn point(metric: &Metric, raw: &Raw<'_>, resource: Option<Attributes<'_>>, naming: &Naming) -> Option<Point> {
    let own = Attributes::Decoded(raw.attributes);
    let rule = measures::rule(&metric.name, own)?;
    if raw.flags & NO_RECORDED_VALUE != 0 {
        return None;
    }
    let whole = |n: f64| (0.0..=VALUE_MAX).contains(&n).then(|| n.round() as u64);
    let value = match rule.amount {
        Amount::Sum => raw.sum.and_then(whole)?,
        // No cost often means that the sender has no price.
        Amount::Usd => raw.sum.and_then(Money::from_usd).filter(|cost| *cost > Money(0))?.0.cast_unsigned(),
        Amount::Count => raw.count?,
    };
    let cumulative = match AggregationTemporality::try_from(raw.temporality) {
        Ok(AggregationTemporality::Delta) => false,
        Ok(AggregationTemporality::Cumulative) => true,
        _ => return None,
    };
    let lists: Vec<_> = std::iter::once(own).chain(resource).collect();
    Some(Point {
        series: series(&metric.name, raw.attributes),
        agent: naming.agent(&lists).map(Into::into).or_else(|| measures::agent(own)),
        model: measures::model(own),
        measure: rule.measure,
        failed: measures::failed(own),
        cumulative,
        start: Timestamp::from_unix_nanos(raw.start_nanos),
        time: Timestamp::from_unix_nanos(raw.time_nanos),
        value,
    })
}

/// Names a series. The order of attributes means nothing.
fn series(metric: &str, attributes: &[KeyValue]) -> u64 {
    let mut encoded: Vec<_> = attributes.iter().map(prost::Message::encode_to_vec).collect();
    encoded.sort_unstable();
    let mut bytes = metric.as_bytes().to_vec();
    for attribute in encoded {
        bytes.extend_from_slice(&(attribute.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&attribute);
    }
    digest64(&bytes)
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
