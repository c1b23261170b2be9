//! Tokens and cost of one span: inclusive counts, unknown where nothing usable was sent.

use serde_json::Value as Json;

use super::{Fact, Facts, Marks, PriceQuery, Value, langfuse};
use crate::model::{CostOrigin, Money, Usage};

/// The most tokens one span may report; more is taken for a mistake.
const TOKENS_MAX: u64 = 1_000_000_000_000;

/// The longest JSON text of usage or cost that is read, in bytes.
const DETAILS_BYTES_MAX: usize = 16 * 1024;

/// The usage a span reports.
pub(super) fn usage(marks: &Marks) -> Usage {
    let mut usage = if [Fact::Input, Fact::Output].into_iter().any(|fact| marks.has(fact)) {
        named(marks)
    } else if let Some(details) = details(marks, Fact::UsageDetails) {
        of_details(&details)
    } else if marks.is_claude_code() {
        claude_code(marks)
    } else {
        named(marks)
    };
    if let Some(cost) = cost(marks) {
        (usage.cost, usage.cost_origin) = (Some(cost), CostOrigin::Reported);
    }
    usage
}

/// Providers as the conventions call them → as price lists do. What follows a dot is the kind of API.
const PROVIDERS: &[(&str, &str)] = &[
    ("openai", "openai"),
    ("anthropic", "anthropic"),
    ("google", "google"),
    ("gcp", "google"),
    ("vertexai", "google"),
    ("vertex_ai", "google"),
    ("gemini", "google"),
    ("aws", "aws"),
    ("bedrock", "aws"),
    ("azure", "azure"),
    ("az", "azure"),
    ("mistral", "mistral"),
    ("mistral_ai", "mistral"),
    ("mistralai", "mistral"),
    ("cohere", "cohere"),
    ("deepseek", "deepseek"),
    ("groq", "groq"),
    ("xai", "x-ai"),
    ("x_ai", "x-ai"),
    ("perplexity", "perplexity"),
    ("together", "together"),
    ("fireworks", "fireworks"),
    ("openrouter", "openrouter"),
];

/// What a price list is asked, where tokens are known and the cost is not.
pub(super) fn price_query<'a>(marks: &Marks<'a>, usage: &Usage) -> Option<PriceQuery<'a>> {
    if usage.cost.is_some() || (usage.input.is_none() && usage.output.is_none()) {
        return None;
    }
    let word = marks.text(Fact::Provider).map(|text| text.split('.').next().unwrap_or(text));
    let provider =
        |word: &str| PROVIDERS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, list)| *list);
    let cache_write = if marks.is_claude_code() { Fact::CliCacheWrite } else { Fact::CacheWrite };
    Some(PriceQuery {
        provider: word.and_then(provider),
        request_model: marks
            .text(Fact::RequestModel)
            .filter(|asked| marks.text(Fact::ResponseModel).is_some_and(|answered| answered != *asked))
            .map(|asked| super::cut(asked, super::NAME_BYTES_MAX)),
        cache_written: tokens(marks, cache_write).unwrap_or(0),
    })
}

/// Counts under names of their own. They include cached tokens, unless more is cached than was sent.
fn named(marks: &Marks) -> Usage {
    let cached_input = tokens(marks, Fact::CacheRead);
    let input = tokens(marks, Fact::Input).map(|input| match cached_input {
        Some(cached) if cached > input => sum([input, cached, tokens(marks, Fact::CacheWrite).unwrap_or(0)]),
        _ => input,
    });
    Usage {
        input,
        output: tokens(marks, Fact::Output),
        cached_input,
        reasoning: tokens(marks, Fact::Reasoning),
        ..Usage::default()
    }
}

/// Claude Code's input count excludes what was read from or written to a cache.
fn claude_code(marks: &Marks) -> Usage {
    let [cached_input, written] = [Fact::CliCacheRead, Fact::CliCacheWrite].map(|fact| tokens(marks, fact));
    Usage {
        input: tokens(marks, Fact::CliInput).map(|input| sum([input, cached_input.unwrap_or(0), written.unwrap_or(0)])),
        output: tokens(marks, Fact::CliOutput),
        cached_input,
        ..Usage::default()
    }
}

/// Langfuse's `usage_details`: either as the provider sent it (inclusive), or in buckets (disjoint).
fn of_details(details: &serde_json::Map<String, Json>) -> Usage {
    let count = |key: &str| details.get(key).and_then(count);
    let first = |keys: &[&str]| keys.iter().find_map(|key| count(key));
    let nested = |paths: &[(&str, &str)]| {
        paths.iter().find_map(|(object, field)| details.get(*object)?.get(*field).and_then(self::count))
    };
    let total_of =
        |keys: &mut dyn Iterator<Item = &String>| keys.filter_map(|key| count(key)).reduce(|a, b| sum([a, b]));

    let cached_bucket = first(langfuse::BUCKETS_CACHE_READ);
    let is_written = |key: &str| langfuse::BUCKETS_CACHE_WRITE.contains(&key);
    let written = total_of(&mut details.keys().filter(|key| is_written(key)));
    if langfuse::PROVIDER_INPUT.iter().any(|key| details.contains_key(*key)) {
        // Anthropic's own form has the cached tokens beside the input, not among the details, and not in the count.
        let extra = sum([cached_bucket.unwrap_or(0), written.unwrap_or(0)]);
        return Usage {
            input: first(langfuse::PROVIDER_INPUT).map(|input| sum([input, extra])),
            output: first(langfuse::PROVIDER_OUTPUT),
            cached_input: nested(langfuse::PROVIDER_CACHED).or(cached_bucket),
            reasoning: nested(langfuse::PROVIDER_REASONING),
            ..Usage::default()
        };
    }
    let (base_input, base_output) = (count("input"), count("output"));
    // Applications that fill the buckets themselves often keep the whole in `input` and `output`; then `total` tells.
    let inclusive = base_input.is_some()
        && base_output.is_some()
        && base_input.zip(base_output).map(|(i, o)| sum([i, o])) == count("total");
    let is_input =
        |key: &str| key.starts_with("input") || langfuse::BUCKETS_CACHE_READ.contains(&key) || is_written(key);
    Usage {
        input: if inclusive { base_input } else { total_of(&mut details.keys().filter(|key| is_input(key))) },
        output: if inclusive {
            base_output
        } else {
            total_of(&mut details.keys().filter(|key| key.starts_with("output")))
        },
        cached_input: cached_bucket,
        reasoning: first(langfuse::BUCKETS_REASONING),
        ..Usage::default()
    }
}

/// The cost the sender reports. Under one name zero means that the sender has no price.
fn cost(marks: &Marks) -> Option<Money> {
    const TELLING: Facts =
        Facts::of(&[Fact::OperationCost, Fact::Cost, Fact::CostIfPositive, Fact::CostDetails, Fact::CliCost]);
    if !marks.present.has_any(TELLING) {
        return None;
    }
    let usd = |fact| marks.value(fact).and_then(number);
    [
        usd(Fact::OperationCost),
        usd(Fact::Cost),
        usd(Fact::CostIfPositive).filter(|usd| *usd > 0.0),
        details(marks, Fact::CostDetails).and_then(|details| details.get(langfuse::COST_TOTAL)?.as_f64()),
        usd(Fact::CliCost).filter(|_| marks.is_claude_code()),
    ]
    .into_iter()
    .flatten()
    .find_map(Money::from_usd)
}

/// A fact whose value is the text of a JSON object.
fn details(marks: &Marks, fact: Fact) -> Option<serde_json::Map<String, Json>> {
    let text = marks.text(fact).filter(|text| text.len() <= DETAILS_BYTES_MAX)?;
    serde_json::from_str(text).ok()
}

fn tokens(marks: &Marks, fact: Fact) -> Option<u64> {
    count_of(marks.value(fact)?)
}

/// A count of tokens, if it is one.
pub(super) fn count_of(value: Value<'_>) -> Option<u64> {
    let count = match value {
        Value::Int(n) => u64::try_from(n).ok()?,
        Value::Text(text) => text.trim().parse().ok()?,
        Value::Double(n) => whole(n)?,
        _ => return None,
    };
    (count <= TOKENS_MAX).then_some(count)
}

fn count(json: &Json) -> Option<u64> {
    json.as_u64().or_else(|| json.as_f64().and_then(whole)).filter(|count| *count <= TOKENS_MAX)
}

/// A float that is a whole number of tokens.
fn whole(n: f64) -> Option<u64> {
    ((0.0..=TOKENS_MAX as f64).contains(&n) && n.fract() == 0.0).then_some(n as u64)
}

/// A number, or the text of one.
pub(super) fn number(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Double(n) => Some(n),
        Value::Int(n) => Some(n as f64),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn sum<const N: usize>(counts: [u64; N]) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}
