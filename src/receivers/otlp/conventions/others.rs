//! What single products send beside, or instead of, the conventions: pydantic-ai and Logfire, OpenLIT, Claude Code,
//! Codex CLI.

use super::Fact;
use crate::model::SpanClass::{self, Agent, Llm, Step, Tool};

/// Attribute → fact, the best name first. Logfire's sums over a run stand last: they are for agent spans only.
pub(super) const FACTS: &[(&str, Fact)] = &[
    ("operation.cost", Fact::OperationCost),
    ("gen_ai.usage.cost", Fact::CostIfPositive),
    ("codex.usage.reasoning_output_tokens", Fact::Reasoning),
    ("tool_arguments", Fact::ToolArguments),
    ("logfire.span_type", Fact::LogfireType),
    ("gen_ai.aggregated_usage.input_tokens", Fact::Input),
    ("gen_ai.aggregated_usage.output_tokens", Fact::Output),
    ("gen_ai.aggregated_usage.cache_read.input_tokens", Fact::CacheRead),
    ("gen_ai.aggregated_usage.details.reasoning_tokens", Fact::Reasoning),
    ("span.type", Fact::CliSpanType),
    ("model", Fact::CliModel),
    ("input_tokens", Fact::CliInput),
    ("output_tokens", Fact::CliOutput),
    ("cache_read_tokens", Fact::CliCacheRead),
    ("cache_creation_tokens", Fact::CliCacheWrite),
    ("cost_usd", Fact::CliCost),
    ("tool_name", Fact::CliToolName),
    ("full_command", Fact::CliCommand),
    ("success", Fact::CliSuccess),
    ("status_code", Fact::CliStatus),
    ("error", Fact::CliError),
];

/// How span names of Claude Code begin. Its attributes have names anyone may use, so they are read on these spans only.
pub(super) const CLAUDE_CODE_PREFIX: &str = "claude_code.";

/// `span.type` of Claude Code → class. `tool.execution` and `tool.blocked_on_user` are parts of a tool call.
pub(super) const CLAUDE_CODE_TYPES: &[(&str, SpanClass)] = &[
    ("llm_request", Llm),
    ("tool", Tool),
    ("interaction", Agent),
    ("tool.execution", Step),
    ("tool.blocked_on_user", Step),
];

/// Codex CLI: the span name of a turn, which is a run.
pub(super) const CODEX_TURN: &str = "session_task.turn";

/// Codex CLI: the span name of a model call, if it has token counts.
pub(super) const CODEX_CALL: &str = "handle_responses";

/// `logfire.span_type` of the copy that announces a span before it has ended: a sign of life, nothing to count.
pub(super) const PENDING: &str = "pending_span";

/// Scopes of providers' own SDKs, which tell of calls beside whatever else instruments them.
pub(super) const PROVIDER_SDKS: &[&str] = &["com.anthropic.sdk.python"];

/// Scope in which every node of a graph is called an agent.
pub(super) const GRAPH_NODES_SCOPE: &str = "openlit.instrumentation.langgraph";
