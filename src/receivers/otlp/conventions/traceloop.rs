//! OpenLLMetry by Traceloop (`traceloop.span.kind`, and `llm.request.type` of its older versions).
//!
//! Source: <https://github.com/traceloop/openllmetry/tree/main/packages/opentelemetry-semantic-conventions-ai>.

use super::Fact;
use crate::model::SpanClass::{self, Agent, Llm, Step, Tool, Workflow};

/// Attribute → fact, the best name first.
pub(super) const FACTS: &[(&str, Fact)] = &[
    ("traceloop.span.kind", Fact::TraceloopKind),
    ("llm.request.type", Fact::RequestType),
    ("traceloop.association.properties.lc_agent_name", Fact::GraphAgent),
    ("traceloop.association.properties.session_id", Fact::Session),
    ("traceloop.entity.name", Fact::EntityName),
    ("traceloop.entity.input", Fact::InputText),
];

/// `traceloop.span.kind` → class. Model calls carry no kind.
pub(super) const KINDS: &[(&str, SpanClass)] =
    &[("workflow", Workflow), ("agent", Agent), ("task", Step), ("tool", Tool)];

/// `llm.request.type` → class.
pub(super) const REQUEST_TYPES: &[(&str, SpanClass)] =
    &[("chat", Llm), ("completion", Llm), ("embedding", Step), ("rerank", Step), ("unknown", Step)];
