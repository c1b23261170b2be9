//! Vercel AI SDK, versions 4 to 6 (`ai.operationId`); version 7 speaks GenAI.
//!
//! Source: <https://ai-sdk.dev/docs/ai-sdk-core/telemetry>.

use super::Fact;
use crate::model::SpanClass::{self, Agent, Llm, Step, Tool};

/// Attribute → fact, the best name first.
pub(super) const FACTS: &[(&str, Fact)] = &[
    ("ai.operationId", Fact::AiOperation),
    ("ai.telemetry.functionId", Fact::Agent),
    ("ai.model.provider", Fact::Provider),
    ("ai.response.model", Fact::ResponseModel),
    ("ai.model.id", Fact::RequestModel),
    ("ai.response.id", Fact::ResponseId),
    ("ai.usage.inputTokens", Fact::Input),
    ("ai.usage.promptTokens", Fact::Input),
    ("ai.usage.outputTokens", Fact::Output),
    ("ai.usage.completionTokens", Fact::Output),
    ("ai.usage.cachedInputTokens", Fact::CacheRead),
    ("ai.usage.inputTokenDetails.cacheReadTokens", Fact::CacheRead),
    ("ai.usage.inputTokenDetails.cacheWriteTokens", Fact::CacheWrite),
    ("ai.usage.reasoningTokens", Fact::Reasoning),
    ("ai.usage.outputTokenDetails.reasoningTokens", Fact::Reasoning),
    ("ai.response.text", Fact::OutputText),
    ("ai.telemetry.metadata.sessionId", Fact::Session),
    ("ai.toolCall.name", Fact::ToolName),
    ("ai.toolCall.args", Fact::ToolArguments),
];

/// `ai.operationId` → class. The outer operation is the run, the inner one a model call.
pub(super) const OPERATIONS: &[(&str, SpanClass)] = &[
    ("ai.generateText", Agent),
    ("ai.streamText", Agent),
    ("ai.generateObject", Agent),
    ("ai.streamObject", Agent),
    ("ai.generateText.doGenerate", Llm),
    ("ai.streamText.doStream", Llm),
    ("ai.generateObject.doGenerate", Llm),
    ("ai.streamObject.doStream", Llm),
    ("ai.toolCall", Tool),
    ("ai.embed", Step),
    ("ai.embed.doEmbed", Step),
    ("ai.embedMany", Step),
    ("ai.embedMany.doEmbed", Step),
];
