//! The table.

use std::time::Duration;

use super::Load;
use super::sink::Forward;

/// A row of the table.
pub struct Report {
    pub load: Load,
    pub forward: Forward,
    /// Beats or spans acknowledged.
    pub items: u64,
    /// How long the load lasted.
    pub took: Duration,
    /// What the gateway used of the processor for it.
    pub cpu: Duration,
    pub p50: Duration,
    pub p99: Duration,
    pub peak_rss_kb: u64,
    pub requests_per_commit: f64,
    /// Requests told to come again later. They count nowhere else.
    pub refused: u64,
}

/// Prints the table's head.
pub fn head() {
    println!(
        "| load           |   items/s | items per server CPU s | CPU µs per item | p50 / p99 ms    | peak RSS MB | requests per commit | refused |\n\
         |----------------|-----------|------------------------|-----------------|-----------------|-------------|---------------------|---------|"
    );
}

impl Report {
    /// Prints the row.
    pub fn print(&self) {
        let (items, cpu) = (self.items as f64, self.cpu.as_secs_f64().max(0.01));
        println!(
            "| {:<14} | {:>9.0} | {:>22.0} | {:>15.2} | {:>6.2} / {:>6.2} | {:>11.1} | {:>19.1} | {:>7} |",
            match self.forward {
                Forward::Off => self.load.name().to_owned(),
                forward => format!("{} {}", self.load.name(), forward.name()),
            },
            items / self.took.as_secs_f64(),
            items / cpu,
            cpu * 1e6 / items,
            self.p50.as_secs_f64() * 1e3,
            self.p99.as_secs_f64() * 1e3,
            self.peak_rss_kb as f64 / 1024.0,
            self.requests_per_commit,
            self.refused,
        );
    }
}

/// Prints how the reports of a comparison differ: the median with passing on over that without.
pub fn ratio(forward: Forward, without: &[Report], with: &[Report]) {
    let median = |reports: &[Report], of: fn(&Report) -> f64| {
        let mut values: Vec<f64> = reports.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let ratio = |of| median(with, of) / median(without, of);
    println!(
        "{} destination: p50 x {:.2}, p99 x {:.2}, items/s x {:.2}, server CPU per item x {:.2}",
        forward.name(),
        ratio(|r| r.p50.as_secs_f64()),
        ratio(|r| r.p99.as_secs_f64()),
        ratio(|r| r.items as f64 / r.took.as_secs_f64()),
        ratio(|r| r.cpu.as_secs_f64() / r.items as f64),
    );
}
