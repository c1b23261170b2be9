//! Price lists in the form of LiteLLM: one JSON object, model → fields, in US dollars per token.
//!
//! Source: <https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json>.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use super::{PriceList, Rates, Tokens};
use crate::model::{Money, Timestamp};

/// The largest file that is read, in bytes. LiteLLM's own has 3 MB.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The entry that describes the form.
const DOCUMENTATION: &str = "sample_spec";
/// Steps of prices by the length of the prompt: from how many input tokens, and how the field's name ends.
const STEPS: [(u64, &str); 4] = [
    (128_000, "_above_128k_tokens"),
    (200_000, "_above_200k_tokens"),
    (256_000, "_above_256k_tokens"),
    (272_000, "_above_272k_tokens"),
];

/// Why a file is no list of prices.
#[derive(Debug, thiserror::Error)]
#[error("the price list {path} cannot be used: {why}")]
pub struct PriceFileError {
    path: String,
    why: String,
}

/// A list of prices that the user gave.
#[derive(Clone, Debug, Default)]
pub struct Litellm {
    /// By lower-case name, with and without the provider before it.
    models: HashMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    rates: Rates,
    /// From how many input tokens on other rates hold, the longest first.
    steps: Vec<(u64, Rates)>,
}

impl Litellm {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, PriceFileError> {
        let wrong = |why: String| PriceFileError { path: path.display().to_string(), why };
        let file = File::open(path).map_err(|e| wrong(e.to_string()))?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|e| wrong(e.to_string()))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(wrong(format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        Self::parse(&text).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let all: Map<String, Value> = serde_json::from_str(text).map_err(|e| format!("not a JSON object: {e}"))?;
        let mut list = Self::default();
        for (name, fields) in all.iter().filter(|(name, _)| *name != DOCUMENTATION) {
            let fields = fields.as_object().ok_or_else(|| format!("{name}: the value must be an object of prices"))?;
            let Some(entry) = entry(name, fields)? else { continue };
            let name = name.to_lowercase();
            // The name without the provider is taken when nothing else has it.
            if let Some((_, bare)) = name.split_once('/') {
                list.models.entry(bare.to_owned()).or_insert_with(|| entry.clone());
            }
            if let Some(provider) = fields.get("litellm_provider").and_then(Value::as_str) {
                list.models.entry(format!("{}/{name}", provider.to_lowercase())).or_insert_with(|| entry.clone());
            }
            list.models.insert(name, entry);
        }
        Ok(list)
    }

    fn find(&self, provider: Option<&str>, model: &str) -> Option<&Entry> {
        let model = model.to_lowercase();
        let of_provider = provider.and_then(|p| self.models.get(&format!("{}/{model}", p.to_lowercase())));
        of_provider.or_else(|| self.models.get(&model))
    }
}

/// One model; `None` when it is not priced by token (pictures, speech).
fn entry(name: &str, fields: &Map<String, Value>) -> Result<Option<Entry>, String> {
    let field = |key: String| match fields.get(&key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(price) if price.is_finite() && price >= 0.0 => Ok(Some(price)),
            _ => Err(format!("{name}: {key} must be a price in US dollars per token, not {value}")),
        },
    };
    let rates = |ending: &str, base: Rates| -> Result<Rates, String> {
        let input = field(format!("input_cost_per_token{ending}"))?;
        // Without a rate of their own, cached tokens cost what others do.
        let other = |price: Option<f64>, base: f64| price.or(input).unwrap_or(base);
        Ok(Rates {
            input: input.unwrap_or(base.input),
            output: field(format!("output_cost_per_token{ending}"))?.unwrap_or(base.output),
            cached: other(field(format!("cache_read_input_token_cost{ending}"))?, base.cached),
            cache_written: other(field(format!("cache_creation_input_token_cost{ending}"))?, base.cache_written),
        })
    };
    let is_priced = |key: &str| fields.get(key).is_some_and(|value| !value.is_null());
    if !is_priced("input_cost_per_token") && !is_priced("output_cost_per_token") {
        return Ok(None);
    }
    let base = rates("", Rates::default())?;
    let mut steps = Vec::new();
    let mut below = base;
    for (from, ending) in STEPS {
        if fields.keys().any(|key| key.ends_with(ending)) {
            below = rates(ending, below)?;
            steps.insert(0, (from, below));
        }
    }
    Ok(Some(Entry { rates: base, steps }))
}

impl PriceList for Litellm {
    fn cost(&self, provider: Option<&str>, model: &str, tokens: &Tokens, _: Timestamp) -> Option<Money> {
        let entry = self.find(provider, model)?;
        let step = entry.steps.iter().find(|(from, _)| tokens.input > *from);
        step.map_or(entry.rates, |(_, rates)| *rates).cost(tokens)
    }

    fn rates(&self, provider: Option<&str>, model: &str, _: Timestamp) -> Option<Rates> {
        self.find(provider, model).filter(|entry| entry.steps.is_empty()).map(|entry| entry.rates)
    }
}
