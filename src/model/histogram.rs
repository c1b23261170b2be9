//! A small fixed-size histogram that lives inside an agent's state.

use serde::{Deserialize, Serialize};

/// How many finite buckets a histogram has.
pub const BUCKETS: usize = 8;

/// Counts of values up to each of [`BUCKETS`] bounds (which the metric catalogue owns), and above. Not cumulative.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Values up to bound `i` and above bound `i - 1`; the last slot counts values above every bound.
    pub counts: [u32; BUCKETS + 1],
    /// Sum of all values.
    pub sum: f64,
}

/// Upper bounds of `heartbeat_latency_seconds`.
pub const LATENCY_BOUNDS: [f64; BUCKETS] = [0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];
/// Upper bounds of `run_duration_seconds`.
pub const DURATION_BOUNDS: [f64; BUCKETS] = [0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0];
/// Upper bounds of `cycle_cost_usd`.
pub const COST_BOUNDS: [f64; BUCKETS] = [0.0001, 0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

impl Histogram {
    /// Counts one value. Values that are not finite or are negative are not counted.
    pub fn record(&mut self, value: f64, bounds: &[f64; BUCKETS]) {
        if value.is_finite() && value >= 0.0 {
            let slot = bounds.iter().position(|b| value <= *b).unwrap_or(BUCKETS);
            self.counts[slot] = self.counts[slot].saturating_add(1);
            self.sum += value;
        }
    }

    /// Adds what another one counted, with the same bounds.
    pub fn absorb(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(sum, more)| *sum = sum.saturating_add(more));
        self.sum += other.sum;
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|n| u64::from(*n)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_belongs_to_it() {
        let mut h = Histogram::default();
        for v in [0.1, 0.10001, 300.0, 301.0, f64::NAN, -1.0] {
            h.record(v, &LATENCY_BOUNDS);
        }
        assert_eq!(h.counts, [1, 1, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(h.count(), 4);
    }
}
