//! The list that comes with the program: `genai-prices`, with the prices of some fifty providers.
//!
//! Source: <https://github.com/pydantic/genai-prices>.

use std::time::{Duration, UNIX_EPOCH};

use genai_prices::{Calculator, PriceRequest, Usage, UsageKey};

use super::{PriceList, Rates, Tokens};
use crate::model::{Money, Timestamp};

/// Tokens of the calls by which rates are found. The long one is longer than any step of prices.
const PROBES: [u64; 3] = [1_000, 150_000, 4_000_000];
/// How far rates of short and long calls may differ by rounding.
const SAME_RATE: f64 = 1e-9;

/// The list that comes with the program.
#[derive(Clone, Copy, Debug)]
pub struct Bundled(&'static Calculator);

impl Bundled {
    /// Decodes the list, which takes tens of milliseconds the first time.
    pub fn load() -> Self {
        Self(Calculator::bundled())
    }

    fn usd(self, provider: Option<&str>, model: &str, tokens: &Tokens, at: Timestamp) -> Option<f64> {
        let usage = Usage::from([
            (UsageKey::INPUT_TOKENS, tokens.input as f64),
            (UsageKey::OUTPUT_TOKENS, tokens.output as f64),
            (UsageKey::CACHE_READ_TOKENS, tokens.cached.min(tokens.input) as f64),
            (
                UsageKey::CACHE_WRITE_TOKENS,
                tokens.cache_written.min(tokens.input - tokens.cached.min(tokens.input)) as f64,
            ),
        ]);
        let when = UNIX_EPOCH + Duration::from_micros(u64::try_from(at.0).unwrap_or(0));
        let mut request = PriceRequest::new(model, &usage).with_timestamp(when);
        if let Some(provider) = provider {
            request = request.with_provider_id(provider);
        }
        let price = self.0.calculate(&request).ok()?.total_price;
        price.is_finite().then_some(price)
    }

    /// With the provider as told, else whichever provider has the model.
    fn usd_anywhere(self, provider: Option<&str>, model: &str, tokens: &Tokens, at: Timestamp) -> Option<f64> {
        self.usd(provider, model, tokens, at).or_else(|| self.usd(provider.and(None), model, tokens, at))
    }
}

impl PriceList for Bundled {
    fn cost(&self, provider: Option<&str>, model: &str, tokens: &Tokens, at: Timestamp) -> Option<Money> {
        Money::from_usd(self.usd_anywhere(provider, model, tokens, at)?)
    }

    fn rates(&self, provider: Option<&str>, model: &str, at: Timestamp) -> Option<Rates> {
        let per_token = |of: fn(u64) -> Tokens| {
            let rates = PROBES.map(|n| Some(self.usd_anywhere(provider, model, &of(n), at)? / n as f64));
            let [Some(short), Some(middle), Some(long)] = rates else { return None };
            let same = |other: f64| (short - other).abs() <= SAME_RATE * short.abs().max(1e-12);
            (same(middle) && same(long)).then_some(short)
        };
        let rates = Rates {
            input: per_token(|n| Tokens { input: n, ..Tokens::default() })?,
            output: per_token(|n| Tokens { output: n, ..Tokens::default() })?,
            cached: per_token(|n| Tokens { input: n, cached: n, ..Tokens::default() })?,
            cache_written: per_token(|n| Tokens { input: n, cache_written: n, ..Tokens::default() })?,
        };
        // Some models cost something for the call itself.
        let is_free_when_empty = self.usd_anywhere(provider, model, &Tokens::default(), at) == Some(0.0);
        is_free_when_empty.then_some(rates)
    }
}
