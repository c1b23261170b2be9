//! The gateway's own metrics as text: what its registry gathers, in either format.
//!
//! The registry crate writes only the older format, and in its own way; here both outputs come from one encoder.

use prometheus::Registry;
use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::text::{self, Family, FamilyKind, Format};
use crate::exporters::catalogue::Number;

/// Adds all that `registry` gathers to `out`.
pub fn write(out: &mut Vec<u8>, registry: &Registry, format: Format) {
    for gathered in registry.gather() {
        // Summaries and untyped metrics are never registered.
        let kind = match gathered.get_field_type() {
            MetricType::COUNTER => FamilyKind::Counter,
            MetricType::GAUGE if gathered.name().ends_with("_info") => FamilyKind::Info,
            MetricType::GAUGE => FamilyKind::Gauge,
            MetricType::HISTOGRAM => FamilyKind::Histogram,
            MetricType::SUMMARY | MetricType::UNTYPED => continue,
        };
        write_family(out, &gathered, kind, format);
    }
}

fn write_family(out: &mut Vec<u8>, gathered: &MetricFamily, kind: FamilyKind, format: Format) {
    let full = gathered.name();
    let name = match kind {
        FamilyKind::Counter => full.strip_suffix("_total"),
        FamilyKind::Info => full.strip_suffix("_info"),
        FamilyKind::Gauge | FamilyKind::Histogram => None,
    };
    let name = name.unwrap_or(full).to_owned();
    let unit = ["seconds", "bytes"].into_iter().find(|u| name.strip_suffix(u).is_some_and(|n| n.ends_with('_')));
    let family = Family { name, kind, unit, help: gathered.help() };
    family.head(out, format);
    let name = family.sample_name();
    for metric in gathered.get_metric() {
        let block = labels(metric);
        match kind {
            FamilyKind::Counter => sample(out, &name, &block, metric.get_counter().get_value()),
            FamilyKind::Gauge | FamilyKind::Info => sample(out, &name, &block, metric.get_gauge().get_value()),
            FamilyKind::Histogram => {
                let histogram = metric.get_histogram();
                let buckets = histogram.get_bucket().iter().filter(|b| b.upper_bound().is_finite());
                let buckets = buckets.map(|b| (b.upper_bound(), b.cumulative_count()));
                let totals = (histogram.get_sample_count(), histogram.get_sample_sum());
                text::histogram(out, format, &name, &block, buckets, totals);
            }
        }
    }
}

fn sample(out: &mut Vec<u8>, name: &str, block: &[u8], value: f64) {
    text::sample(out, name, block, &[], &[], Number::Float(value));
}

fn labels(metric: &Metric) -> Vec<u8> {
    let mut block = Vec::new();
    for pair in metric.get_label() {
        if !block.is_empty() {
            block.push(b',');
        }
        text::label(&mut block, pair.name(), pair.value());
    }
    block
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::{CommitFailure, IngestOutcome, ProcessMetrics};

    fn lines(format: Format) -> Vec<String> {
        let metrics = ProcessMetrics::new();
        metrics.ingest_request("heartbeat", IngestOutcome::Accepted);
        metrics.commit_failed(CommitFailure::Unavailable);
        metrics.commit_done(Duration::from_millis(4), 3);
        let mut out = Vec::new();
        write(&mut out, metrics.registry(), format);
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn both_formats_tell_the_same_in_their_own_words() {
        let version = env!("CARGO_PKG_VERSION");
        let expect = |format, expected: &[String]| {
            let lines = lines(format);
            for line in expected {
                assert!(lines.contains(line), "{line} is not in {lines:#?}");
            }
        };
        let both = [
            format!("pulsegate_build_info{{version=\"{version}\"}} 1"),
            "pulsegate_commits_total{outcome=\"unavailable\"} 1".into(),
            "pulsegate_commits_total{outcome=\"busy\"} 0".into(),
            "pulsegate_ingest_requests_total{outcome=\"accepted\",receiver=\"heartbeat\"} 1".into(),
            "pulsegate_commit_batch_requests_bucket{le=\"+Inf\"} 1".into(),
            "pulsegate_commit_batch_requests_sum 3".into(),
            "pulsegate_commit_duration_seconds_bucket{le=\"0.005\"} 1".into(),
            "pulsegate_commit_duration_seconds_count 1".into(),
        ];
        expect(Format::Text004, &both);
        expect(Format::OpenMetrics100, &both);
        expect(
            Format::Text004,
            &[
                "# TYPE pulsegate_build_info gauge".into(),
                "# TYPE pulsegate_commits_total counter".into(),
                "pulsegate_commit_batch_requests_bucket{le=\"5\"} 1".into(),
            ],
        );
        expect(
            Format::OpenMetrics100,
            &[
                "# TYPE pulsegate_build info".into(),
                "# TYPE pulsegate_commits counter".into(),
                "# UNIT pulsegate_commit_duration_seconds seconds".into(),
                "pulsegate_commit_batch_requests_bucket{le=\"5.0\"} 1".into(),
            ],
        );
        if cfg!(target_os = "linux") {
            expect(Format::OpenMetrics100, &["# UNIT process_cpu_seconds seconds".into()]);
        }
    }
}
