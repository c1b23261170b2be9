//! Langfuse SDKs, versions 3 to 5 (`langfuse.observation.*`).
//!
//! Source: <https://langfuse.com/integrations/native/opentelemetry#property-mapping>.

use super::Fact;
use crate::model::SpanClass::{self, Agent, Llm, Step, Tool};

/// Attribute → fact, the best name first.
pub(super) const FACTS: &[(&str, Fact)] = &[
    ("langfuse.observation.type", Fact::ObservationType),
    ("langfuse.observation.model.name", Fact::ResponseModel),
    ("langfuse.observation.usage_details", Fact::UsageDetails),
    ("langfuse.observation.cost_details", Fact::CostDetails),
    ("langfuse.observation.input", Fact::InputText),
    ("langfuse.observation.output", Fact::OutputText),
    ("langfuse.session.id", Fact::Session),
    ("langfuse.observation.level", Fact::Level),
    ("langfuse.observation.status_message", Fact::StatusMessage),
];

/// `langfuse.observation.type` → class.
pub(super) const TYPES: &[(&str, SpanClass)] = &[
    ("generation", Llm),
    ("tool", Tool),
    ("agent", Agent),
    ("span", Step),
    ("event", Step),
    ("chain", Step),
    ("retriever", Step),
    ("embedding", Step),
    ("evaluator", Step),
    ("guardrail", Step),
];

/// Field of `cost_details` that holds the sum.
pub(super) const COST_TOTAL: &str = "total";

/// Names of the input count in the form providers use; cached tokens are part of it.
pub(super) const PROVIDER_INPUT: &[&str] = &["prompt_tokens", "input_tokens"];

/// Names of the output count in the form providers use; reasoning is part of it.
pub(super) const PROVIDER_OUTPUT: &[&str] = &["completion_tokens", "output_tokens"];

/// Where the form providers use keeps the cached part: object and field.
pub(super) const PROVIDER_CACHED: &[(&str, &str)] =
    &[("prompt_tokens_details", "cached_tokens"), ("input_tokens_details", "cached_tokens")];

/// Where the form providers use keeps the reasoning part: object and field.
pub(super) const PROVIDER_REASONING: &[(&str, &str)] =
    &[("completion_tokens_details", "reasoning_tokens"), ("output_tokens_details", "reasoning_tokens")];

/// Buckets of tokens read from a cache. In this form the buckets are disjoint.
pub(super) const BUCKETS_CACHE_READ: &[&str] =
    &["input_cache_read", "input_cached_tokens", "cache_read_input_tokens", "input_cached"];

/// Buckets of tokens written to a cache that do not begin with `input`.
pub(super) const BUCKETS_CACHE_WRITE: &[&str] = &["cache_creation_input_tokens", "cache_write_input_tokens"];

/// Buckets of reasoning tokens.
pub(super) const BUCKETS_REASONING: &[&str] = &["output_reasoning", "output_reasoning_tokens"];
