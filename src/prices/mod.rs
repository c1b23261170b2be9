//! What model calls cost where nobody says it: tokens times a price list.
//!
//! A cost that senders report always goes first. Here it is looked up, in this order, in the list the user gave (in the
//! form of LiteLLM) and in the list that comes with the program. A model in neither has no price: its cost is unknown,
//! which is not zero. Lists are read once at the start; what a model costs is worked out once and remembered, so that a
//! call costs one look-up and a few multiplications.

mod bundled;
mod litellm;
mod rates;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use crate::model::{Money, QuickMap, Timestamp};

pub use bundled::Bundled;
pub use litellm::{Litellm, PriceFileError};
pub use rates::Rates;

/// How many models are remembered; beyond it the memory starts anew.
const REMEMBERED_MAX: usize = 4096;
/// For how many providers and hours what a model costs is remembered; beyond it, too.
const ANSWERS_MAX: usize = 64;
/// Names longer than this, in bytes, are no models.
const MODEL_BYTES_MAX: usize = 200;
/// Prices may depend on the hour: what was worked out holds for this long, in seconds of the call's own time.
const HOLDS_SECS: i64 = 3600;

/// A place where prices are known.
pub trait PriceList: Send + Sync {
    /// What a call costs that began at `at`; `None` where the model is not known.
    fn cost(&self, provider: Option<&str>, model: &str, tokens: &Tokens, at: Timestamp) -> Option<Money>;

    /// What the model costs per token, where that does not depend on how long the call is.
    fn rates(&self, provider: Option<&str>, model: &str, at: Timestamp) -> Option<Rates>;
}

/// The tokens of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Input tokens, cached ones included.
    pub input: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// Of the input tokens, those read from a cache.
    pub cached: u64,
    /// Of the input tokens, those written to a cache.
    pub cache_written: u64,
}

/// The price lists in force. Cheap to clone.
#[derive(Clone)]
pub struct Prices {
    lists: Arc<[Box<dyn PriceList>]>,
    /// By model: it is looked up for every call, and so that nothing need be allocated.
    remembered: Arc<RwLock<QuickMap<String, Vec<Answer>>>>,
}

/// What was found out of a model, for a provider and the hour of the call.
#[derive(Clone, Debug)]
struct Answer {
    provider: Option<String>,
    hour: i64,
    found: Remembered,
}

/// What is known of a model.
#[derive(Clone, Copy, Debug)]
enum Remembered {
    /// No list has it.
    Unknown,
    /// It costs the same however long the call is.
    Rates(Rates),
    /// The list must be asked each time.
    Ask(usize),
}

impl Prices {
    /// No prices: every cost that is not reported is unknown.
    pub fn none() -> Self {
        Self::of(Vec::new())
    }

    /// These lists; the first that knows a model is believed.
    pub fn of(lists: Vec<Box<dyn PriceList>>) -> Self {
        Self { lists: lists.into(), remembered: Arc::default() }
    }

    /// The list that comes with the program, below the one in `file`.
    ///
    /// Errors: when the file cannot be read as a list of prices.
    pub fn load(file: Option<&Path>) -> Result<Self, PriceFileError> {
        let mut lists: Vec<Box<dyn PriceList>> = Vec::new();
        if let Some(file) = file {
            lists.push(Box::new(Litellm::read(file)?));
        }
        lists.push(Box::new(Bundled::load()));
        Ok(Self::of(lists))
    }

    /// What a call costs that began at `at`; `None` where no list has the model.
    pub fn cost(&self, provider: Option<&str>, model: &str, tokens: &Tokens, at: Timestamp) -> Option<Money> {
        if model.is_empty() || model.len() > MODEL_BYTES_MAX || self.lists.is_empty() {
            return None;
        }
        let hour = at.0.div_euclid(HOLDS_SECS * 1_000_000);
        let remembered = {
            let known = self.remembered.read().unwrap_or_else(PoisonError::into_inner);
            let is_it = |answer: &&Answer| answer.hour == hour && answer.provider.as_deref() == provider;
            known.get(model).and_then(|answers| answers.iter().rev().find(is_it)).map(|answer| answer.found)
        };
        match remembered.unwrap_or_else(|| self.remember(provider, model, hour, at)) {
            Remembered::Unknown => None,
            Remembered::Rates(rates) => rates.cost(tokens),
            Remembered::Ask(list) => self.lists[list].cost(provider, model, tokens, at),
        }
    }

    /// Whether some list has the model.
    pub fn knows(&self, provider: Option<&str>, model: &str, at: Timestamp) -> bool {
        self.cost(provider, model, &Tokens::default(), at).is_some()
    }

    fn remember(&self, provider: Option<&str>, model: &str, hour: i64, at: Timestamp) -> Remembered {
        let knows = |list: &dyn PriceList| list.cost(provider, model, &Tokens::default(), at).is_some();
        let found = match self.lists.iter().position(|list| knows(&**list)) {
            None => Remembered::Unknown,
            Some(i) => self.lists[i].rates(provider, model, at).map_or(Remembered::Ask(i), Remembered::Rates),
        };
        let mut remembered = self.remembered.write().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        let answers = remembered.entry(model.to_owned()).or_default();
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        answers.push(Answer { provider: provider.map(str::to_owned), hour, found });
        found
    }
}

impl std::fmt::Debug for Prices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prices").field("lists", &self.lists.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(1_796_083_200_000_000);

    fn usd(text: &str) -> Money {
        Money::from_usd(text.parse().unwrap()).unwrap()
    }

    fn tokens() -> Tokens {
        Tokens { input: 477, output: 60, cached: 64, cache_written: 0 }
    }

    /// What pydantic-ai and Claude Code themselves report for these calls.
    #[test]
    fn known_models_cost_what_their_providers_say() {
        let prices = Prices::load(None).unwrap();
        for (provider, model, cost) in [
            (Some("openai"), "gpt-4o-mini", "0.00010275"),
            (Some("openai"), "gpt-4o-mini-2024-07-18", "0.00010275"),
            (None, "gpt-4o-mini", "0.00010275"),
            (Some("anthropic"), "claude-sonnet-4-5", "0.0021582"),
            (None, "claude-sonnet-4-5-20250929", "0.0021582"),
            (Some("google"), "gemini-2.5-flash", "0.00027582"),
            (Some("openai"), "gpt-5", "0.00112425"),
        ] {
            // The first time, and from memory.
            for _ in 0..2 {
                assert_eq!(prices.cost(provider, model, &tokens(), AT), Some(usd(cost)), "{model}");
            }
        }
    }

    #[test]
    fn unknown_models_have_no_price() {
        let prices = Prices::load(None).unwrap();
        assert_eq!(prices.cost(Some("openai"), "house-model-7", &tokens(), AT), None);
        assert_eq!(prices.cost(None, "", &tokens(), AT), None);
        assert_eq!(prices.cost(None, &"x".repeat(10_000), &tokens(), AT), None);
        assert!(!prices.knows(None, "house-model-7", AT) && prices.knows(None, "gpt-5", AT));
        assert_eq!(Prices::none().cost(None, "gpt-5", &tokens(), AT), None);
    }

    /// A long prompt may cost more a token; what was worked out for a short one must not be used for it.
    #[test]
    fn long_calls_cost_what_the_list_says() {
        let prices = Prices::load(None).unwrap();
        let list = Bundled::load();
        for model in ["gemini-2.5-pro", "claude-sonnet-4-5", "gpt-5"] {
            for input in [1_000, 150_000, 250_000, 900_000] {
                let tokens = Tokens { input, output: 1_000, cached: input / 10, cache_written: 0 };
                let told = list.cost(None, model, &tokens, AT).unwrap();
                let ours = prices.cost(None, model, &tokens, AT).unwrap();
                assert!((told.0 - ours.0).abs() <= 1, "{model} {input}: {told} {ours}");
            }
        }
    }

    #[test]
    fn the_users_list_goes_first() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            r#"{"sample_spec": {"input_cost_per_token": "text"},
                "gpt-5": {"litellm_provider": "openai", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6},
                "openai/house-model": {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-5,
                    "cache_read_input_token_cost": 5e-7, "input_cost_per_token_above_200k_tokens": 2e-6}}"#,
        )
        .unwrap();
        let prices = Prices::load(Some(file.path())).unwrap();
        let cost = |provider, model, tokens| prices.cost(provider, model, &tokens, AT);
        assert_eq!(cost(Some("openai"), "gpt-5", tokens()), Some(usd("0.000597")));
        assert_eq!(cost(Some("openai"), "house-model", tokens()), Some(usd("0.001045")));
        assert_eq!(cost(None, "House-Model", tokens()), Some(usd("0.001045")));
        let long = Tokens { input: 200_001, ..Tokens::default() };
        assert_eq!(cost(None, "house-model", long), Some(usd("0.400002")));
        assert_eq!(cost(Some("openai"), "gpt-4o-mini", tokens()), Some(usd("0.00010275")), "others stay");
        assert_eq!(cost(None, "sample_spec", tokens()), None);
    }

    #[test]
    fn a_file_that_is_no_price_list_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in ["", "[]", "{", r#"{"gpt-5": 7}"#, r#"{"gpt-5": {"input_cost_per_token": -1}}"#] {
            std::fs::write(file.path(), text).unwrap();
            let refused = Prices::load(Some(file.path())).unwrap_err().to_string();
            assert!(refused.contains("price"), "{text}: {refused}");
        }
        assert!(Prices::load(Some(Path::new("/nowhere/prices.json"))).is_err());
    }
}
