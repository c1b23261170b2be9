//! OpenInference (`openinference.span.kind`).
//!
//! Source: <https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md>.

use super::Fact;
use crate::model::SpanClass::{self, Agent, Llm, Step, Tool};

/// Attribute → fact, the best name first.
pub(super) const FACTS: &[(&str, Fact)] = &[
    ("openinference.span.kind", Fact::InferenceKind),
    ("agent.name", Fact::Agent),
    ("graph.node.id", Fact::GraphNode),
    ("metadata", Fact::Metadata),
    ("llm.provider", Fact::Provider),
    ("llm.system", Fact::Provider),
    ("llm.request.model_name", Fact::RequestModel),
    ("llm.model_name", Fact::ResponseModel),
    ("llm.token_count.prompt", Fact::Input),
    ("llm.token_count.completion", Fact::Output),
    ("llm.token_count.prompt_details.cache_read", Fact::CacheRead),
    ("llm.token_count.prompt_details.cache_input", Fact::CacheRead),
    ("llm.token_count.prompt_details.cache_write", Fact::CacheWrite),
    ("llm.token_count.completion_details.reasoning", Fact::Reasoning),
    ("llm.cost.total", Fact::Cost),
    ("session.id", Fact::Session),
    ("llm.output_messages.0.message.content", Fact::OutputText),
    ("tool.name", Fact::ToolName),
    ("input.value", Fact::InputText),
    ("tool.parameters", Fact::ToolParameters),
];

/// `openinference.span.kind` → class.
pub(super) const KINDS: &[(&str, SpanClass)] = &[
    ("LLM", Llm),
    ("TOOL", Tool),
    ("AGENT", Agent),
    ("CHAIN", Step),
    ("RETRIEVER", Step),
    ("EMBEDDING", Step),
    ("RERANKER", Step),
    ("GUARDRAIL", Step),
    ("EVALUATOR", Step),
    ("PROMPT", Step),
    ("DECISION", Step),
    ("HUMAN", Step),
    ("CODE", Step),
    ("UNKNOWN", Step),
];

/// The kind which, at the root of a trace, is the run itself (CrewAI's `kickoff`, LlamaIndex's `FunctionAgent.run`).
pub(super) const RUN_AT_ROOT: &str = "CHAIN";

/// How the span name ends where LlamaIndex only prepares a call, under the kind `LLM`.
pub(super) const PREPARATION_SUFFIX: &str = "_prepare_chat_with_tools";

/// Scope whose nameless root `AGENT` is the workflow, and whose tools named `handoff to …` are hand-overs.
pub(super) const OPENAI_AGENTS_SCOPE: &str = "openinference.instrumentation.openai_agents";

/// How the name of a hand-over begins.
pub(super) const HANDOFF_PREFIX: &str = "handoff to ";

/// Scopes whose `AGENT` spans carry the agent's name in the span name.
pub(super) const NAMED_BY_SPAN: &[&str] =
    &["openinference.instrumentation.langchain", "openinference.instrumentation.smolagents"];

/// What smolagents adds to the agent's name in the span name.
pub(super) const RUN_SUFFIX: &str = ".run";

/// Scope and name of the tool by which smolagents hands back its answer: no tool execution.
pub(super) const ANSWER_TOOL: (&str, &str) = ("openinference.instrumentation.smolagents", "final_answer");
