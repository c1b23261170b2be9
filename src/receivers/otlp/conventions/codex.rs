//! Codex CLI: log records and metrics. (Its spans are in `others`.)
//!
//! Source: the crate `codex-otel` of <https://github.com/openai/codex>, and payloads of version 0.1. Each event comes twice,
//! once without what people wrote; only one of the two has the token counts, and only one the arguments of a tool.

use super::measures::{Amount, Rule};
use super::records::{Convention, Detail};
use crate::model::Measure;
use crate::model::SpanClass::{Llm, Step, Tool};

/// Log records. Responses come over server-sent events or a web socket.
pub(super) const RECORDS: Convention = Convention {
    prefix: "codex.",
    events: &[("user_prompt", Step), ("sse_event", Llm), ("websocket_event", Llm), ("tool_result", Tool)],
    failures: &[],
    kind: Some(("event.kind", "response.completed")),
    needs_tokens: true,
    cache_beside_input: false,
    provider: "openai",
    details: &[
        ("conversation.id", Detail::Session),
        ("turn.id", Detail::Turn),
        ("call_id", Detail::CallId),
        ("model", Detail::Model),
        ("input_token_count", Detail::Input),
        ("output_token_count", Detail::Output),
        ("cached_token_count", Detail::CacheRead),
        ("reasoning_token_count", Detail::Reasoning),
        ("duration_ms", Detail::DurationMs),
        ("tool_name", Detail::ToolName),
        ("arguments", Detail::Arguments),
        ("success", Detail::Success),
        ("error.message", Detail::Error),
    ],
};

/// Metrics. Token counts are told once a turn; cached ones are among the input.
pub(super) const MEASURES: &[Rule] = &[
    Rule::marked("codex.turn.token_usage", ("token_type", &["input"]), Amount::Sum, Measure::Input),
    Rule::marked("codex.turn.token_usage", ("token_type", &["output"]), Amount::Sum, Measure::Output),
    Rule::marked("codex.turn.token_usage", ("token_type", &["cached_input"]), Amount::Sum, Measure::CachedInput),
    Rule::marked("codex.turn.token_usage", ("token_type", &["reasoning_output"]), Amount::Sum, Measure::Reasoning),
    Rule::all("codex.tool.call", Amount::Sum, Measure::ToolCalls),
];
