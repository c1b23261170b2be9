//! What kind of work a span is: the first rule that fits.

use super::{Fact, Marks, ai_sdk, gen_ai, langfuse, lookup, names, openinference, others, traceloop};
use crate::model::SpanClass;

/// The attributes that tell the class, in order, each with its words.
const RULES: [(Fact, &[(&str, SpanClass)]); 6] = [
    (Fact::AiOperation, ai_sdk::OPERATIONS),
    (Fact::Operation, gen_ai::OPERATIONS),
    (Fact::InferenceKind, openinference::KINDS),
    (Fact::TraceloopKind, traceloop::KINDS),
    (Fact::RequestType, traceloop::REQUEST_TYPES),
    (Fact::ObservationType, langfuse::TYPES),
];

/// The class of a span.
pub(super) fn class(marks: &Marks) -> SpanClass {
    if marks.text(Fact::LogfireType) == Some(others::PENDING) {
        return SpanClass::Step;
    }
    let mut marked = false;
    let by_word = RULES.iter().find_map(|(fact, words)| {
        let word = marks.text(*fact)?;
        marked = true;
        lookup(words, word).map(|class| (*fact, class))
    });
    match by_word {
        Some((fact, class)) => refine(marks, fact, class),
        // A word that no table knows is work of some kind: a newer version of a convention, or a product's own.
        None if marked => SpanClass::Step,
        None => by_product(marks),
    }
}

/// Corrects the class of spans that are called something they are not.
fn refine(marks: &Marks, rule: Fact, class: SpanClass) -> SpanClass {
    let name = marks.name;
    match class {
        SpanClass::Llm if name.ends_with(openinference::PREPARATION_SUFFIX) => SpanClass::Step,
        SpanClass::Tool if !is_tool_execution(marks) => SpanClass::Step,
        SpanClass::Agent if marks.scope == others::GRAPH_NODES_SCOPE => SpanClass::Step,
        SpanClass::Agent
            if marks.scope == openinference::OPENAI_AGENTS_SCOPE && marks.is_root && !marks.has(Fact::Agent) =>
        {
            SpanClass::Workflow
        }
        SpanClass::Step
            if rule == Fact::InferenceKind
                && marks.is_root
                && marks.text(Fact::InferenceKind) == Some(openinference::RUN_AT_ROOT) =>
        {
            SpanClass::Workflow
        }
        other => other,
    }
}

fn is_tool_execution(marks: &Marks) -> bool {
    let tool = names::tool(marks);
    let hand_over =
        marks.scope == openinference::OPENAI_AGENTS_SCOPE && tool.starts_with(openinference::HANDOFF_PREFIX);
    !hand_over && !gen_ai::NOT_TOOLS.contains(&tool) && (marks.scope, tool) != openinference::ANSWER_TOOL
}

/// Products that follow no convention.
fn by_product(marks: &Marks) -> SpanClass {
    if marks.is_claude_code() {
        let kind = marks.text(Fact::CliSpanType).unwrap_or_default();
        return lookup(others::CLAUDE_CODE_TYPES, kind).unwrap_or(SpanClass::Step);
    }
    match marks.name {
        others::CODEX_TURN => SpanClass::Agent,
        others::CODEX_CALL if marks.has(Fact::Input) => SpanClass::Llm,
        _ => SpanClass::Other,
    }
}
