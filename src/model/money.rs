//! Money as whole nano-dollars, so that sums commute and "counted once" can be tested.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount in nano-dollars (1 USD = 10⁹). Addition saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(pub i64);

impl Money {
    /// The largest amount one report may carry: one million dollars.
    pub const REPORT_MAX: Self = Self(1_000_000_000_000_000);

    /// From a float number of US dollars, rounded to the nearest nano-dollar. `None` for a negative, non-finite
    /// or absurd (over [`Money::REPORT_MAX`]) amount.
    pub fn from_usd(usd: f64) -> Option<Self> {
        let nanos = (usd * 1e9).round();
        (nanos >= 0.0 && nanos <= Self::REPORT_MAX.0 as f64).then_some(Self(nanos as i64))
    }

    /// As a float number of US dollars: for metric outputs only, never for sums.
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The sum, held at the largest amount instead of wrapping round.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, held at the ends of the range instead of wrapping round.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Money {
    /// Decimal US dollars with all nine digits: `1.204410000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let abs = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:09}", abs / 1_000_000_000, abs % 1_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn float_sums_of_clients_round_to_what_was_meant() {
        assert_eq!(Money::from_usd(0.300_000_000_000_000_04), Some(Money(300_000_000)));
        assert_eq!(Money::from_usd(0.0125).unwrap().to_string(), "0.012500000");
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [-0.01, f64::NAN, f64::INFINITY, 1e300, 1_000_001.0] {
            assert_eq!(Money::from_usd(bad), None, "{bad}");
        }
    }
}
