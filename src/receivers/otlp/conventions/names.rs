//! Names of agents, models and tools.

use std::borrow::Cow;

use serde::Deserialize;

use super::{Fact, Marks, NAME_BYTES_MAX, cut, gen_ai, openinference, others};
use crate::model::SpanClass;

/// The longest OpenInference `metadata` that is searched for an agent's name, in bytes.
const METADATA_BYTES_MAX: usize = 64 * 1024;

/// The agent the span itself names.
pub(super) fn agent<'a>(marks: &Marks<'a>, class: SpanClass) -> Option<Cow<'a, str>> {
    // Here every node of a graph is an "agent".
    if marks.scope == others::GRAPH_NODES_SCOPE {
        return None;
    }
    let own = marks.text(Fact::Agent).or_else(|| marks.text(Fact::GraphAgent));
    let name = match own {
        Some(name) => name,
        None if class == SpanClass::Agent => match of_agent_span(marks) {
            Some(name) => name,
            None => return in_metadata(marks).map(Cow::from),
        },
        None => return in_metadata(marks).map(Cow::from),
    };
    Some(cut(name, NAME_BYTES_MAX).into())
}

/// Where a span which is the run of an agent has the name, if no attribute is made for it.
fn of_agent_span<'a>(marks: &Marks<'a>) -> Option<&'a str> {
    if marks.text(Fact::TraceloopKind) == Some("agent") {
        return marks.text(Fact::EntityName);
    }
    if let Some(node) = marks.text(Fact::GraphNode) {
        return Some(node);
    }
    let named_by_span =
        openinference::NAMED_BY_SPAN.contains(&marks.scope) || marks.text(Fact::ObservationType) == Some("agent");
    let name = marks.name;
    let name = name.strip_suffix(openinference::RUN_SUFFIX).unwrap_or(name).trim();
    (named_by_span && !name.is_empty()).then_some(name)
}

/// LangGraph's name of the agent in OpenInference's `metadata`, which is JSON text.
fn in_metadata(marks: &Marks) -> Option<String> {
    #[derive(Deserialize)]
    struct Metadata {
        lc_agent_name: Option<String>,
    }
    let text = marks.text(Fact::Metadata)?;
    // Most metadata has no such field; looking for the word is cheaper than parsing.
    if text.len() > METADATA_BYTES_MAX || !text.contains("lc_agent_name") {
        return None;
    }
    let name = serde_json::from_str::<Metadata>(text).ok()?.lc_agent_name?;
    let name = name.trim();
    (!name.is_empty()).then(|| cut(name, NAME_BYTES_MAX).to_owned())
}

/// The model: as the response names it, else as the request does.
pub(super) fn model<'a>(marks: &Marks<'a>) -> Option<&'a str> {
    let name = marks
        .text(Fact::ResponseModel)
        .or_else(|| marks.text(Fact::RequestModel))
        .or_else(|| marks.text(Fact::CliModel).filter(|_| marks.is_claude_code()))?;
    Some(cut(name, NAME_BYTES_MAX))
}

/// The name of the tool a tool span is about: the span's name when nothing else tells.
pub(super) fn tool<'a>(marks: &Marks<'a>) -> &'a str {
    let name = marks.name;
    marks
        .text(Fact::ToolName)
        .or_else(|| marks.text(Fact::EntityName))
        .or_else(|| marks.text(Fact::CliToolName))
        .unwrap_or_else(|| name.strip_prefix(gen_ai::TOOL_SPAN_PREFIX).unwrap_or(name).trim())
}
