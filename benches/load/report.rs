//! The table.

use std::time::Duration;

use super::Load;

/// A row of the table.
pub struct Report {
    pub load: Load,
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
        "| load      |   items/s | items per server CPU s | CPU µs per item | p50 / p99 ms    | peak RSS MB | requests per commit | refused |\n\
         |-----------|-----------|------------------------|-----------------|-----------------|-------------|---------------------|---------|"
    );
}

impl Report {
    /// Prints the row.
    pub fn print(&self) {
        let (items, cpu) = (self.items as f64, self.cpu.as_secs_f64().max(0.01));
        println!(
            "| {:<9} | {:>9.0} | {:>22.0} | {:>15.2} | {:>6.2} / {:>6.2} | {:>11.1} | {:>19.1} | {:>7} |",
            self.load.name(),
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
