//! What a span tells about an agent, whatever convention it follows.
//!
//! Each convention is a file of tables: attribute → [`Fact`], and class word → class. Here the tables are put together
//! and read in one pass over the attributes; for each fact the best alias that is present wins, and aliases are never
//! added up (several packages send one number under three names).
//!
//! The rules of classification and their order come from payloads captured from the packages themselves.

mod ai_sdk;
mod arguments;
mod class;
mod gen_ai;
mod langfuse;
mod names;
mod openinference;
mod others;
#[cfg(test)]
mod tests;
mod traceloop;
mod usage;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::model::{ERROR_TEXT_BYTES_MAX, Failure, SpanClass, ToolKey, Usage, digest64};
use crate::proto::opentelemetry::proto::common::v1::any_value::Value;
use crate::proto::opentelemetry::proto::trace::v1::{Span, status::StatusCode};

/// The longest name (agent, model, tool, error class) kept, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// What an attribute tells. Facts that begin with `Cli` are Claude Code's: names anyone may use for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    Operation,
    AiOperation,
    InferenceKind,
    TraceloopKind,
    RequestType,
    ObservationType,
    LogfireType,
    Agent,
    GraphNode,
    GraphAgent,
    Metadata,
    EntityName,
    ResponseModel,
    RequestModel,
    ResponseId,
    Input,
    Output,
    CacheRead,
    CacheWrite,
    Reasoning,
    UsageDetails,
    OperationCost,
    Cost,
    CostIfPositive,
    CostDetails,
    ToolName,
    ToolArguments,
    InputText,
    ToolParameters,
    ToolStatus,
    ErrorType,
    HttpStatus,
    Level,
    StatusMessage,
    CliSpanType,
    CliModel,
    CliInput,
    CliOutput,
    CliCacheRead,
    CliCacheWrite,
    CliCost,
    CliToolName,
    CliCommand,
    CliSuccess,
    CliStatus,
    /// Stands last: gives the number of facts.
    CliError,
}

impl Fact {
    const COUNT: usize = Self::CliError as usize + 1;
}

/// All tables in order of preference; within a table the best name stands first.
const TABLES: [&[(&str, Fact)]; 6] =
    [gen_ai::FACTS, openinference::FACTS, traceloop::FACTS, ai_sdk::FACTS, langfuse::FACTS, others::FACTS];

/// Attribute → fact and rank; the lowest rank present wins.
static ALIASES: LazyLock<HashMap<&'static str, (Fact, usize)>> = LazyLock::new(|| {
    TABLES.iter().copied().flatten().enumerate().map(|(rank, (key, fact))| (*key, (*fact, rank))).collect()
});

/// What a span tells.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub class: SpanClass,
    pub agent: Option<String>,
    pub model: Option<String>,
    pub response: Option<u64>,
    pub usage: Usage,
    pub tool: Option<ToolKey>,
    pub failure: Option<Failure>,
}

/// Reads a span of the instrumentation scope `scope`.
pub(super) fn read(scope: &str, span: &Span) -> Reading {
    let marks = Marks::of(scope, span);
    let class = class::class(&marks);
    // Such a span only holds a place in the tree. Its failure is told better by the span of ours above it.
    if class == SpanClass::Other {
        return Reading {
            class,
            agent: None,
            model: None,
            response: None,
            usage: Usage::default(),
            tool: None,
            failure: None,
        };
    }
    let is_call = class == SpanClass::Llm;
    // A step's tokens are not a model call's: embeddings, or an old response that was read again.
    let has_usage = is_call || class.is_run();
    Reading {
        class,
        agent: names::agent(&marks, class),
        model: has_usage.then(|| names::model(&marks)).flatten(),
        response: is_call.then(|| marks.text(Fact::ResponseId).map(|id| digest64(id.as_bytes()))).flatten(),
        usage: if has_usage { usage::usage(&marks) } else { Usage::default() },
        tool: (class == SpanClass::Tool).then(|| arguments::tool_key(&marks)),
        failure: failure(&marks),
    }
}

/// The facts of one span, as they came.
struct Marks<'a> {
    scope: &'a str,
    span: &'a Span,
    slots: [Option<(usize, &'a Value)>; Fact::COUNT],
}

impl<'a> Marks<'a> {
    fn of(scope: &'a str, span: &'a Span) -> Self {
        let mut slots: [Option<(usize, &Value)>; Fact::COUNT] = [None; Fact::COUNT];
        for attribute in &span.attributes {
            let Some((fact, rank)) = ALIASES.get(attribute.key.as_str()) else { continue };
            let Some(value) = attribute.value.as_ref().and_then(|v| v.value.as_ref()) else { continue };
            let slot = &mut slots[*fact as usize];
            if slot.is_none_or(|(best, _)| *rank < best) {
                *slot = Some((*rank, value));
            }
        }
        Self { scope, span, slots }
    }

    fn value(&self, fact: Fact) -> Option<&'a Value> {
        self.slots[fact as usize].map(|(_, value)| value)
    }

    fn has(&self, fact: Fact) -> bool {
        self.value(fact).is_some()
    }

    /// A text that is not empty.
    fn text(&self, fact: Fact) -> Option<&'a str> {
        match self.value(fact)? {
            Value::StringValue(text) if !text.trim().is_empty() => Some(text.trim()),
            _ => None,
        }
    }

    /// A text that is not empty, or the text of a number.
    fn word(&self, fact: Fact) -> Option<String> {
        match self.value(fact)? {
            Value::IntValue(n) => Some(n.to_string()),
            _ => self.text(fact).map(|text| cut(text, NAME_BYTES_MAX)),
        }
    }

    /// An attribute of the first event called `event`.
    fn of_event(&self, event: &str, key: &str) -> Option<&'a str> {
        let event = self.span.events.iter().find(|e| e.name == event)?;
        match event.attributes.iter().find(|a| a.key == key)?.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// Whether the span is Claude Code's, so that the `Cli` facts mean what they say.
    fn is_claude_code(&self) -> bool {
        self.span.name.starts_with(others::CLAUDE_CODE_PREFIX) && self.has(Fact::CliSpanType)
    }

    fn is_root(&self) -> bool {
        self.span.parent_span_id.iter().all(|b| *b == 0)
    }
}

/// The failure, when the span failed. An `exception` event alone is none: several packages attach one to spans that
/// went well.
fn failure(marks: &Marks) -> Option<Failure> {
    let status = marks.span.status.as_ref();
    let cli = marks.is_claude_code();
    let is_error = status.is_some_and(|s| s.code == i32::from(StatusCode::Error));
    let failed = is_error
        || marks.word(Fact::ErrorType).is_some()
        || marks.text(Fact::Level).is_some_and(|level| level.eq_ignore_ascii_case("error"))
        || marks.text(Fact::ToolStatus).is_some_and(|s| s.eq_ignore_ascii_case("error"))
        || (cli && matches!(marks.value(Fact::CliSuccess), Some(Value::BoolValue(false))))
        || (cli && marks.text(Fact::CliSuccess) == Some("false"));
    if !failed {
        return None;
    }
    let http = || marks.word(Fact::HttpStatus).or_else(|| marks.word(Fact::CliStatus).filter(|_| cli));
    let kind = marks
        .word(Fact::ErrorType)
        .or_else(|| marks.of_event("exception", "exception.type").map(|kind| cut(kind, NAME_BYTES_MAX)))
        .or_else(|| http().filter(|status| !status.starts_with(['1', '2', '3'])))
        .unwrap_or_else(|| "_OTHER".to_owned());
    let message = status
        .map(|s| s.message.trim())
        .filter(|message| !message.is_empty())
        .or_else(|| marks.text(Fact::StatusMessage))
        .or_else(|| marks.text(Fact::CliError).filter(|_| cli))
        .or_else(|| marks.of_event("exception", "exception.message"))
        .unwrap_or_default();
    Some(Failure { kind, message: cut(message, ERROR_TEXT_BYTES_MAX) })
}

/// `text`, cut at a character's edge to at most `bytes_max` bytes.
fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

/// Looks `word` up in a table of words.
fn lookup<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
    table.iter().find(|(key, _)| *key == word).map(|(_, value)| *value)
}
