//! OpenTelemetry GenAI semantic conventions, all generations that are still sent.
//!
//! Source: <https://github.com/open-telemetry/semantic-conventions-genai>, before that the main semantic conventions
//! up to 1.41. The newest name of each fact stands first.

use super::Fact;
use crate::model::SpanClass::{self, Agent, Definition, Llm, Step, Tool, Workflow};

/// Attribute → fact, the best name first.
pub(super) const FACTS: &[(&str, Fact)] = &[
    ("gen_ai.operation.name", Fact::Operation),
    ("gen_ai.agent.name", Fact::Agent),
    ("gen_ai.provider.name", Fact::Provider),
    ("gen_ai.system", Fact::Provider),
    ("gen_ai.response.model", Fact::ResponseModel),
    ("gen_ai.request.model", Fact::RequestModel),
    ("gen_ai.response.id", Fact::ResponseId),
    ("gen_ai.usage.input_tokens", Fact::Input),
    ("gen_ai.usage.prompt_tokens", Fact::Input),
    ("gen_ai.usage.output_tokens", Fact::Output),
    ("gen_ai.usage.completion_tokens", Fact::Output),
    ("gen_ai.usage.cache_read.input_tokens", Fact::CacheRead),
    ("gen_ai.usage.cache_read_input_tokens", Fact::CacheRead),
    ("gen_ai.usage.details.cache_read_tokens", Fact::CacheRead),
    ("gen_ai.usage.cache_write.input_tokens", Fact::CacheWrite),
    ("gen_ai.usage.cache_creation.input_tokens", Fact::CacheWrite),
    ("gen_ai.usage.cache_creation_input_tokens", Fact::CacheWrite),
    ("gen_ai.usage.cache_write_input_tokens", Fact::CacheWrite),
    ("gen_ai.usage.details.cache_write_tokens", Fact::CacheWrite),
    ("gen_ai.usage.reasoning.output_tokens", Fact::Reasoning),
    ("gen_ai.usage.reasoning_tokens", Fact::Reasoning),
    ("gen_ai.usage.details.reasoning_tokens", Fact::Reasoning),
    ("gen_ai.conversation.id", Fact::Session),
    ("gen_ai.output.messages", Fact::OutputText),
    ("gen_ai.completion.0.content", Fact::OutputText),
    ("gen_ai.tool.name", Fact::ToolName),
    ("gen_ai.tool.call.arguments", Fact::ToolArguments),
    ("gen_ai.tool.status", Fact::ToolStatus),
    ("error.type", Fact::ErrorType),
    ("http.response.status_code", Fact::HttpStatus),
];

/// `gen_ai.operation.name` → class. `fetch_response` reads an old response again: its tokens are not new ones.
pub(super) const OPERATIONS: &[(&str, SpanClass)] = &[
    ("chat", Llm),
    ("text_completion", Llm),
    ("generate_content", Llm),
    ("execute_tool", Tool),
    ("invoke_agent", Agent),
    ("invoke_workflow", Workflow),
    ("create_agent", Definition),
    ("embeddings", Step),
    ("retrieval", Step),
    ("fetch_response", Step),
    ("plan", Step),
];

/// The log event that repeats what the span of a model call tells.
pub(super) const CALL_EVENT: &str = "gen_ai.client.inference.operation.details";

/// How the name of an `execute_tool` span begins; the tool's name follows.
pub(super) const TOOL_SPAN_PREFIX: &str = "execute_tool ";

/// The span event that carries a tool's arguments in its `content`, where no attribute does (Strands).
pub(super) const TOOL_EVENT: &str = "gen_ai.tool.message";

/// Tools which are no tool executions: a wrapper round parallel calls, and a hand-over (both Google ADK).
pub(super) const NOT_TOOLS: &[&str] = &["(merged tools)", "transfer_to_agent"];
