//! Metrics that tell how much agents do. A rule is a row of a table: metric, what its attributes must be, what it measures.

use std::sync::Arc;

use super::value::{Attributes, Value};
use super::{NAME_BYTES_MAX, claude_code, codex, cut};
use crate::model::Measure;

/// What of a data point is the amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::receivers::otlp) enum Amount {
    /// The value of a sum, or the sum of a histogram.
    Sum,
    /// The same, in US dollars.
    Usd,
    /// How many values a histogram has.
    Count,
}

/// An attribute, and the words of which it must be one.
type Words = (&'static str, &'static [&'static str]);

/// A metric that is read.
#[derive(Clone, Copy, Debug)]
pub(in crate::receivers::otlp) struct Rule {
    metric: &'static str,
    only: Option<Words>,
    pub amount: Amount,
    pub measure: Measure,
}

impl Rule {
    /// All points of a metric.
    pub(super) const fn all(metric: &'static str, amount: Amount, measure: Measure) -> Self {
        Self { metric, only: None, amount, measure }
    }

    /// The points of a metric that one attribute marks.
    pub(super) const fn marked(metric: &'static str, only: Words, amount: Amount, measure: Measure) -> Self {
        Self { metric, only: Some(only), amount, measure }
    }

    fn fits(&self, attributes: Attributes<'_>) -> bool {
        self.only.is_none_or(|(key, words)| match attributes.first(key) {
            Some(Value::Text(text)) => words.contains(&text),
            _ => false,
        })
    }
}

/// The GenAI conventions, all generations. Durations are of calls, runs and tools alike, one value each.
const GEN_AI: &[Rule] = &[
    Rule::marked(TOKEN_USAGE, (TOKEN_TYPE, &["input"]), Amount::Sum, Measure::Input),
    // The second word is an older one.
    Rule::marked(TOKEN_USAGE, (TOKEN_TYPE, &["output", "completion"]), Amount::Sum, Measure::Output),
    Rule::all("gen_ai.client.inference.usage.input_tokens", Amount::Sum, Measure::Input),
    Rule::all("gen_ai.client.inference.usage.output_tokens", Amount::Sum, Measure::Output),
    Rule::all("gen_ai.client.inference.usage.cache_read.input_tokens", Amount::Sum, Measure::CachedInput),
    Rule::all("gen_ai.client.inference.usage.reasoning.output_tokens", Amount::Sum, Measure::Reasoning),
    Rule::marked("gen_ai.client.operation.duration", CALLS, Amount::Count, Measure::Calls),
    Rule::all("gen_ai.client.inference.duration", Amount::Count, Measure::Calls),
    Rule::all("gen_ai.execute_tool.duration", Amount::Count, Measure::ToolCalls),
    Rule::all("gen_ai.invoke_agent.duration", Amount::Count, Measure::Runs),
    Rule::all("operation.cost", Amount::Usd, Measure::Cost),
    Rule::all("gen_ai.usage.cost", Amount::Usd, Measure::Cost),
];

const TOKEN_USAGE: &str = "gen_ai.client.token.usage";
const TOKEN_TYPE: &str = "gen_ai.token.type";
/// Operations that are model calls; embeddings are not.
const CALLS: Words = ("gen_ai.operation.name", &["chat", "text_completion", "generate_content"]);

/// Strands. Its tools have an id in every series, which is no way to count them.
const STRANDS: &[Rule] = &[
    Rule::all("strands.event_loop.input.tokens", Amount::Sum, Measure::Input),
    Rule::all("strands.event_loop.output.tokens", Amount::Sum, Measure::Output),
    Rule::all("strands.event_loop.cache_read.input.tokens", Amount::Sum, Measure::CachedInput),
];

const TABLES: [&[Rule]; 4] = [GEN_AI, claude_code::MEASURES, codex::MEASURES, STRANDS];

/// The session of a point of a program whose processes nothing else tells apart.
pub(in crate::receivers::otlp) fn session<'a>(metric: &str, attributes: Attributes<'a>) -> Option<&'a str> {
    match attributes.first("session.id").filter(|_| metric.starts_with(claude_code::RECORDS.prefix))? {
        Value::Text(session) => Some(session.trim()),
        _ => None,
    }
}

/// The rule for a data point.
pub(in crate::receivers::otlp) fn rule(metric: &str, attributes: Attributes<'_>) -> Option<&'static Rule> {
    TABLES.iter().copied().flatten().find(|rule| rule.metric == metric && rule.fits(attributes))
}

/// The agent that a data point names.
pub(in crate::receivers::otlp) fn agent(attributes: Attributes<'_>) -> Option<Arc<str>> {
    first_text(attributes, &["gen_ai.agent.name"])
}

/// The model that a data point names.
pub(in crate::receivers::otlp) fn model(attributes: Attributes<'_>) -> Option<Arc<str>> {
    first_text(attributes, &["gen_ai.response.model", "gen_ai.request.model", "model"])
}

/// Whether a data point counts what failed.
pub(in crate::receivers::otlp) fn failed(attributes: Attributes<'_>) -> bool {
    let unsuccessful = match attributes.first("success") {
        Some(Value::Bool(success)) => !success,
        Some(Value::Text(text)) => text == "false",
        _ => false,
    };
    unsuccessful || matches!(attributes.first("error.type"), Some(Value::Text(kind)) if !kind.is_empty())
}

fn first_text(attributes: Attributes<'_>, keys: &[&str]) -> Option<Arc<str>> {
    keys.iter().find_map(|key| match attributes.first(key)? {
        Value::Text(text) if !text.trim().is_empty() => Some(cut(text.trim(), NAME_BYTES_MAX).into()),
        _ => None,
    })
}
