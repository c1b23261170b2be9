//! Claude Code: log records and metrics. (Its spans are in `others`.)
//!
//! Source: <https://docs.claude.com/en/docs/claude-code/monitoring-usage>, and payloads of version 2.1.

use super::measures::{Amount, Rule};
use super::records::{Convention, Detail};
use crate::model::Measure;
use crate::model::SpanClass::{Llm, Step, Tool};

/// Log records. What is read from or written to a cache is not among the input tokens.
pub(super) const RECORDS: Convention = Convention {
    prefix: "claude_code.",
    events: &[("user_prompt", Step), ("api_request", Llm), ("api_error", Llm), ("tool_result", Tool)],
    failures: &["api_error"],
    kind: None,
    needs_tokens: false,
    cache_beside_input: true,
    provider: "anthropic",
    details: &[
        ("session.id", Detail::Session),
        ("prompt.id", Detail::Turn),
        ("tool_use_id", Detail::CallId),
        ("model", Detail::Model),
        ("input_tokens", Detail::Input),
        ("output_tokens", Detail::Output),
        ("cache_read_tokens", Detail::CacheRead),
        ("cache_creation_tokens", Detail::CacheWrite),
        ("cost_usd", Detail::Cost),
        ("duration_ms", Detail::DurationMs),
        ("tool_name", Detail::ToolName),
        ("tool_input", Detail::Arguments),
        ("tool_parameters", Detail::Arguments),
        ("success", Detail::Success),
        ("status_code", Detail::Status),
        ("error_type", Detail::ErrorType),
        ("error", Detail::Error),
    ],
};

/// Metrics. No metric counts requests.
pub(super) const MEASURES: &[Rule] = &[
    Rule::marked("claude_code.token.usage", ("type", &["input"]), Amount::Sum, Measure::Input),
    Rule::marked("claude_code.token.usage", ("type", &["output"]), Amount::Sum, Measure::Output),
    Rule::marked("claude_code.token.usage", ("type", &["cacheRead"]), Amount::Sum, Measure::CachedBesideInput),
    Rule::marked("claude_code.token.usage", ("type", &["cacheCreation"]), Amount::Sum, Measure::Input),
    Rule::all("claude_code.cost.usage", Amount::Usd, Measure::Cost),
];
