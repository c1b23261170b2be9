//! `docs/metrics.md`, generated from the catalogue so that it cannot tell anything else than the outputs do.

use std::fmt::Write as _;

use super::catalogue::{Kind, METRICS, Unit};
use super::prometheus::fleet::family;
use crate::model::{Condition, Status};
use crate::telemetry::DEFINITIONS;

/// The whole text of `docs/metrics.md`.
pub fn metrics_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## The fleet\n\nEvery metric has the labels `project` and `agent`, and those named here.\n\n");
    page.push_str("| metric | type | labels | counted in | what it tells |\n|---|---|---|---|---|\n");
    for metric in METRICS {
        let unit = match metric.unit {
            Unit::Seconds => "seconds",
            Unit::Usd => "US dollars",
            Unit::Of(things) => things,
            Unit::None => "–",
        };
        row(&mut page, &family(metric).sample_name(), metric.kind.word(), metric.labels, Some(unit), metric.help);
    }
    page.push_str(RULES);
    page.push_str("\n## Buckets\n\n| histogram | upper bounds |\n|---|---|\n");
    for metric in METRICS {
        if let Kind::Histogram(bounds, _) = metric.kind {
            let bounds: Vec<_> = bounds.iter().map(f64::to_string).collect();
            let _ = writeln!(page, "| `{}` | {}, +Inf |", family(metric).sample_name(), bounds.join(", "));
        }
    }
    page.push_str("\n## Status codes\n\n| code | status | severity | |\n|---|---|---|---|\n");
    for status in Status::ALL {
        let severity = ["fine", "worth a look", "warning", "critical"];
        let severity = severity.get(usize::from(status.severity())).copied().unwrap_or("");
        let _ = writeln!(page, "| {} | `{}` | {} | {severity} |", status.code(), status.word(), status.severity());
    }
    let conditions: Vec<_> = Condition::ALL.into_iter().filter(|c| *c != Condition::SilentGroup).collect();
    let words: Vec<_> = conditions.iter().map(|c| format!("`{}`", c.word())).collect();
    let _ = write!(
        page,
        "\nCodes never change their meaning; new statuses get new codes. Conditions: {}.\n",
        words.join(", ")
    );
    page.push_str("\n## The gateway itself\n\n| metric | type | labels | what it tells |\n|---|---|---|---|\n");
    for definition in DEFINITIONS {
        row(&mut page, definition.name, definition.kind, definition.labels, None, definition.help);
    }
    page.push_str(PROCESS);
    page
}

fn row(page: &mut String, name: &str, kind: &str, labels: &[&str], unit: Option<&str>, help: &str) {
    let labels: Vec<_> = labels.iter().map(|l| format!("`{l}`")).collect();
    let unit = unit.map(|u| format!(" {u} |")).unwrap_or_default();
    let _ = writeln!(page, "| `{name}` | {kind} | {} |{unit} {help} |", labels.join(", "));
}

const INTRODUCTION: &str = "\
# Metrics

<!-- Generated from the metric catalogue in src/exporters. Do not edit: UPDATE_DOCS=1 cargo test --lib exporters -->

`GET /metrics` tells how the fleet is and how the gateway is. The fleet's numbers are computed from stored state when
they are asked for, so they survive restarts of the gateway; the gateway's own counters begin at 0 with each start.

| query | |
|---|---|
| `collect[]=agents`, `collect[]=process` | only the fleet, only the gateway. May be given twice; both by default. `process` needs no store. |
| `shard=i/n` | only the agents whose number leaves the remainder i when divided by n. n scrape jobs with `shard=0/n` … `shard=n-1/n` see every agent once. Use `collect[]=agents` with it, so that the gateway's own metrics are not told n times. |

When a key is needed, its scope is `read`, and the fleet is that of the key's project. The formats are Prometheus' text
0.0.4 and OpenMetrics 1.0.0, chosen by `Accept`; gzip is used where `Accept-Encoding` allows it. In OpenMetrics the
family of a counter is named without `_total` and that of an info without `_info`; the names of the samples are the same
in both. No sample has a timestamp.
";

const RULES: &str = "
What is unknown is absent; it is never told as 0. An agent that does not report tokens has no `tokens_total`, and
`cost_usd_total` begins with the first known cost.

To keep large fleets readable by Prometheus, not every series that could ever count is told from the beginning:

* always: counters without labels of their own, `results_total` with both outcomes, `heartbeats_total{source=\"agent\"}`,
  `status_changes_total{to=\"down\"}`, and `condition_active` for every condition;
* once a runner has said how the agent is restarted: all four series of `restarts_total`;
* from the first count on: all others, histograms included. `increase()` cannot see the count a series begins with; where
  the first one matters, alert on `up`, `status` or `condition_active` instead.

`status_changes_total` has one series for each status in `to`. `outcome` is `success` or `failure`; `origin` is
`automatic` or `manual`; `direction` is `input`, `output` or `unspecified`. The only texts from outside that become labels
are the names of projects, agents and models, the agent's framework and its restart type.
";

const PROCESS: &str = "
On Linux the usual `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_virtual_memory_bytes`,
`process_open_fds`, `process_max_fds`, `process_threads` and `process_start_time_seconds` are there as well.

`outcome` of a request is `accepted`, `refused` (the sender's mistake), `throttled`, `overloaded` (the queue was full) or
`failed`; `outcome` of a commit is `ok`, `busy`, `unavailable`, `outcome_unknown` or `corrupt`.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_page_is_the_generated_one() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, metrics_page()).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == metrics_page(),
            "docs/metrics.md is out of date: UPDATE_DOCS=1 cargo test --lib exporters"
        );
    }
}
