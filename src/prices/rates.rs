//! Prices per token.

use super::Tokens;
use crate::model::Money;

/// What a model costs per token, in US dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// An input token.
    pub input: f64,
    /// An output token.
    pub output: f64,
    /// An input token read from a cache.
    pub cached: f64,
    /// An input token written to a cache.
    pub cache_written: f64,
}

impl Rates {
    /// What a call costs; `None` when that is more than can be told.
    pub fn cost(&self, tokens: &Tokens) -> Option<Money> {
        let cached = tokens.cached.min(tokens.input);
        let written = tokens.cache_written.min(tokens.input - cached);
        let fresh = tokens.input - cached - written;
        let parts =
            [(fresh, self.input), (cached, self.cached), (written, self.cache_written), (tokens.output, self.output)];
        Money::from_usd(parts.iter().map(|(count, rate)| *count as f64 * rate).sum())
    }

    /// Whether every rate is a price.
    pub fn are_sound(&self) -> bool {
        [self.input, self.output, self.cached, self.cache_written].iter().all(|rate| rate.is_finite() && *rate >= 0.0)
    }
}
