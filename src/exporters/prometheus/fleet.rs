//! The metrics of the whole fleet as text, a piece at a time.
//!
//! All series of a family must stand together, while a row holds something of every family. So the rows (shared, not
//! copied) are collected first and then walked once per family. What is made for it is one block of label bytes per
//! agent; the text itself never exists as a whole.

use std::collections::HashMap;
use std::sync::Arc;

use super::text::{self, Family, FamilyKind, Format};
use crate::exporters::catalogue::{Kind, METRICS, Metric, Read, Unit};
use crate::model::{ProjectId, Timestamp};
use crate::store::AgentRow;

/// What the name of every metric of the fleet begins with.
pub const PREFIX: &str = "pulsegate_agent";

/// A metric of the catalogue under the name Prometheus knows it by.
pub fn family(metric: &Metric) -> Family<'static> {
    let unit = match metric.unit {
        Unit::Seconds => Some("seconds"),
        Unit::Usd => Some("usd"),
        Unit::Of(_) | Unit::None => None,
    };
    let kind = match metric.kind {
        Kind::Gauge(_) => FamilyKind::Gauge,
        Kind::Counter(_) => FamilyKind::Counter,
        Kind::Info(_) => FamilyKind::Info,
        Kind::Histogram(..) => FamilyKind::Histogram,
    };
    let mut name = PREFIX.to_owned();
    // The name of an info family is that of what it describes; `_info` is added to its samples.
    let own = if kind == FamilyKind::Info { metric.name.strip_suffix("info") } else { Some(metric.name) };
    for part in [own, unit].into_iter().flatten().filter(|p| !p.is_empty()) {
        name.push('_');
        name.push_str(part.trim_end_matches('_'));
    }
    Family { name, kind, unit, help: metric.help }
}

/// The fleet's metrics, being written.
pub struct FleetText {
    format: Format,
    now: Timestamp,
    rows: Vec<Arc<AgentRow>>,
    labels: Labels,
    /// Where writing goes on: the metric, and the row within it.
    metric: usize,
    row: usize,
}

impl FleetText {
    /// The metrics of `rows` at `now`. A project that is not in `projects` is named by its number.
    pub fn new(
        rows: Vec<Arc<AgentRow>>,
        projects: &HashMap<ProjectId, Arc<str>>,
        now: Timestamp,
        format: Format,
    ) -> Self {
        let labels = Labels::of(&rows, projects);
        Self { format, now, rows, labels, metric: 0, row: 0 }
    }

    /// Adds text to `out` until it holds `bytes` or a little more. `false` when there is nothing left to add.
    pub fn fill(&mut self, out: &mut Vec<u8>, bytes: usize) -> bool {
        while let Some(metric) = METRICS.get(self.metric) {
            let family = family(metric);
            if self.row == 0 {
                family.head(out, self.format);
            }
            let name = family.sample_name();
            while let Some(row) = self.rows.get(self.row) {
                write(out, self.format, metric, &name, self.labels.get(self.row), row, self.now);
                self.row += 1;
                if out.len() >= bytes {
                    return true;
                }
            }
            self.metric += 1;
            self.row = 0;
        }
        false
    }
}

fn write(out: &mut Vec<u8>, format: Format, metric: &Metric, name: &str, block: &[u8], row: &AgentRow, now: Timestamp) {
    match metric.kind {
        Kind::Gauge(Read::One(read)) | Kind::Counter(Read::One(read)) | Kind::Info(Read::One(read)) => {
            if let Some(number) = read(row, now) {
                text::sample(out, name, block, &[], &[], number);
            }
        }
        Kind::Gauge(Read::Each(read)) | Kind::Counter(Read::Each(read)) | Kind::Info(Read::Each(read)) => {
            read(row, &mut |values, number| text::sample(out, name, block, metric.labels, values, number));
        }
        Kind::Histogram(bounds, read) => {
            if let Some((histogram, count)) = read(row).map(|h| (h, h.count())).filter(|(_, count)| *count > 0) {
                let mut below = 0;
                let buckets = bounds.iter().zip(histogram.counts).map(|(bound, n)| {
                    below += u64::from(n);
                    (*bound, below)
                });
                text::histogram(out, format, name, block, buckets, (count, histogram.sum));
            }
        }
    }
}

/// `project="…",agent="…"` of every row, written and escaped once.
struct Labels {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Labels {
    fn of(rows: &[Arc<AgentRow>], projects: &HashMap<ProjectId, Arc<str>>) -> Self {
        let mut labels = Self { bytes: Vec::with_capacity(rows.len() * 40), ends: Vec::with_capacity(rows.len()) };
        for row in rows {
            let project = row.key.project;
            match projects.get(&project) {
                Some(name) => text::label(&mut labels.bytes, "project", name),
                None => text::label(&mut labels.bytes, "project", &project.to_string()),
            }
            labels.bytes.push(b',');
            text::label(&mut labels.bytes, "agent", &row.key.name);
            labels.ends.push(labels.bytes.len());
        }
        labels
    }

    fn get(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[row]]
    }
}
