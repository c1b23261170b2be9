//! What a span tells about an agent, whatever convention it follows.
//!
//! Each convention is a file of tables: attribute → [`Fact`], and class word → class. Here the tables are put together
//! and read in one pass over the attributes; for each fact the best alias that is present wins, and aliases are never
//! added up (several packages send one number under three names).
//!
//! The rules of classification and their order come from payloads captured from the packages themselves.

mod ai_sdk;
mod arguments;
mod canonical;
mod class;
mod claude_code;
mod codex;
mod gen_ai;
mod index;
mod langfuse;
pub(super) mod measures;
mod names;
mod openinference;
mod others;
mod outputs;
pub(super) mod records;
#[cfg(test)]
mod tests;
mod traceloop;
mod usage;
mod value;

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::LazyLock;

use crate::model::{ERROR_TEXT_BYTES_MAX, Failure, SpanClass, Usage, digest64, text_digest};
use crate::proto::opentelemetry::proto::trace::v1::{Span, status::StatusCode};
use crate::receivers::otlp::naming::{Naming, Watched};
use index::{Alias, Index};
pub(super) use value::{Attributes, Events, Nested, Value};

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
    Provider,
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
    OutputText,
    Session,
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

/// Some facts, a bit each.
#[derive(Clone, Copy, Debug, Default)]
struct Facts(u64);

impl Facts {
    const fn of(facts: &[Fact]) -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < facts.len() {
            bits |= 1 << facts[i] as u64;
            i += 1;
        }
        Self(bits)
    }

    const fn has_any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    const fn has(self, fact: Fact) -> bool {
        self.has_any(Self::of(&[fact]))
    }
}

const _: () = assert!(Fact::COUNT <= u64::BITS as usize, "there is a bit for each fact");

/// All tables in order of preference; within a table the best name stands first.
const TABLES: [&[(&str, Fact)]; 6] =
    [gen_ai::FACTS, openinference::FACTS, traceloop::FACTS, ai_sdk::FACTS, langfuse::FACTS, others::FACTS];

static INDEX: LazyLock<Index> = LazyLock::new(Index::new);

/// What a span tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading<'a> {
    pub class: SpanClass,
    pub agent: Option<Cow<'a, str>>,
    pub model: Option<&'a str>,
    pub response: Option<u64>,
    pub output: Option<u64>,
    pub scope: u32,
    pub provider_sdk: bool,
    pub session: Option<u64>,
    /// Processes of the program are told apart by their sessions.
    pub apart_by_session: bool,
    pub price: Option<PriceQuery<'a>>,
    pub usage: Usage,
    pub tool: Option<Tool<'a>>,
    pub failure: Option<Box<Failure>>,
}

/// A tool call's identity.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tool<'a> {
    pub name: &'a str,
    pub digest: Option<u64>,
}

/// What a price list is asked for a call whose cost nobody told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PriceQuery<'a> {
    /// The provider, as price lists call it.
    pub provider: Option<&'static str>,
    /// The model that was asked for, where it has another name than the one that answered.
    pub request_model: Option<&'a str>,
    /// Input tokens written to a cache.
    pub cache_written: u64,
}

/// Reads a decoded span of the instrumentation scope `scope` of `resource`.
pub(super) fn read<'a>(naming: &'a Naming, resource: &[Attributes<'a>], scope: &'a str, span: &'a Span) -> Reading<'a> {
    let mut marks = Marks::new(naming, Events::of(&span.events));
    marks.watched.resource(resource);
    marks.enter(scope);
    marks.name = &span.name;
    marks.is_root = span.parent_span_id.iter().all(|b| *b == 0);
    if let Some(status) = &span.status {
        (marks.status_code, marks.status_message) = (status.code, &status.message);
    }
    for attribute in &span.attributes {
        let Ok(()) = marks.attribute(attribute.key.as_bytes(), || Ok::<_, Infallible>(Value::of(attribute)));
    }
    reading(&marks)
}

/// What the marks of a span tell.
pub(super) fn reading<'a>(marks: &Marks<'a>) -> Reading<'a> {
    reading_as(marks, class::class(marks))
}

/// What the marks of a span of this class tell.
fn reading_as<'a>(marks: &Marks<'a>, class: SpanClass) -> Reading<'a> {
    // Such a span only holds a place in the tree. Its failure is told better by the span of ours above it.
    if class == SpanClass::Other {
        return Reading { class, ..Reading::default() };
    }
    let is_call = class == SpanClass::Llm;
    // A step's tokens are not a model call's: embeddings, or an old response that was read again.
    let has_usage = is_call || class.is_run();
    let usage = if has_usage { usage::usage(marks) } else { Usage::default() };
    Reading {
        class,
        agent: marks
            .watched
            .agent()
            .map(|name| cut(&name, NAME_BYTES_MAX).to_owned().into())
            .or_else(|| names::agent(marks, class)),
        model: has_usage.then(|| names::model(marks)).flatten(),
        response: is_call.then(|| marks.text(Fact::ResponseId).map(|id| text_digest(id.as_bytes()))).flatten(),
        output: is_call.then(|| outputs::digest(marks)).flatten(),
        scope: if is_call { marks.scope_print } else { 0 },
        provider_sdk: is_call && marks.provider_sdk,
        // All spans of Claude Code carry it, and nothing else tells its processes apart.
        session: marks
            .text(Fact::Session)
            .filter(|_| class.is_run() || marks.is_claude_code())
            .map(|text| session_digest(text, marks.is_claude_code())),
        apart_by_session: marks.is_claude_code(),
        price: usage::price_query(marks, &usage),
        usage,
        tool: (class == SpanClass::Tool).then(|| arguments::tool_key(marks)),
        failure: failure(marks),
    }
}

/// The facts of one span, as they came. It can be used for one span after another.
pub(super) struct Marks<'a> {
    index: &'static Index,
    /// Name of the instrumentation scope.
    scope: &'a str,
    /// Digest of it.
    scope_print: u32,
    /// Whether it is the provider's own SDK.
    provider_sdk: bool,
    /// Name of the span.
    pub name: &'a str,
    /// Whether the span has no parent.
    pub is_root: bool,
    /// Code of the span's status.
    pub status_code: i32,
    /// Message of the span's status.
    pub status_message: &'a str,
    /// The span's events.
    pub events: Events<'a>,
    /// What the operator's rules read.
    pub watched: Watched<'a>,
    /// What the span has. Rank and value of other facts are those of a span before.
    present: Facts,
    ranks: [u16; Fact::COUNT],
    values: [Value<'a>; Fact::COUNT],
}

impl<'a> Marks<'a> {
    /// Of a span of which nothing is known.
    pub fn new(naming: &'a Naming, events: Events<'a>) -> Self {
        Self {
            index: &INDEX,
            scope: "",
            scope_print: fingerprint(""),
            provider_sdk: false,
            name: "",
            is_root: true,
            status_code: 0,
            status_message: "",
            events,
            watched: Watched::new(naming),
            present: Facts::default(),
            ranks: [0; Fact::COUNT],
            values: [Value::Bool(false); Fact::COUNT],
        }
    }

    /// The spans that follow are of this instrumentation scope.
    pub fn enter(&mut self, scope: &'a str) {
        (self.scope, self.scope_print) = (scope, fingerprint(scope));
        self.provider_sdk = others::PROVIDER_SDKS.contains(&scope);
    }

    /// Forgets the span, but not its scope.
    #[inline]
    pub fn clear(&mut self) {
        (self.name, self.is_root, self.status_code, self.status_message) = ("", true, 0, "");
        self.events.clear();
        self.watched.clear();
        self.present = Facts::default();
    }

    /// Takes in an attribute; `value` is asked only when it tells something. What is known stays as it is when `value` knows
    /// none.
    pub fn attribute<E>(&mut self, key: &[u8], value: impl FnOnce() -> Result<Option<Value<'a>>, E>) -> Result<(), E> {
        let (alias, watched) = (self.alias(key), self.watched.place(key));
        if alias.is_none() && watched.is_none() {
            return Ok(());
        }
        let Some(value) = value()? else { return Ok(()) };
        if let Some(place) = watched {
            self.watched.put(place, value);
        }
        if let Some(alias) = alias {
            self.put(alias, value);
        }
        Ok(())
    }

    /// What an attribute of this name tells, if anything.
    #[inline(always)]
    pub fn alias(&self, key: &[u8]) -> Option<Alias> {
        self.index.get(key)
    }

    /// A text that a span before had for the same fact.
    #[inline(always)]
    pub fn before(&self, alias: Alias) -> &'a str {
        if let Value::Text(text) = self.values[alias.fact as usize] { text } else { "" }
    }

    /// Takes in what an attribute tells.
    #[inline(always)]
    pub fn put(&mut self, Alias { fact, rank }: Alias, value: Value<'a>) {
        if !self.present.has(fact) || rank < self.ranks[fact as usize] {
            self.present.0 |= Facts::of(&[fact]).0;
            self.ranks[fact as usize] = rank;
            self.values[fact as usize] = value;
        }
    }

    fn value(&self, fact: Fact) -> Option<Value<'a>> {
        self.present.has(fact).then(|| self.values[fact as usize])
    }

    fn has(&self, fact: Fact) -> bool {
        self.present.has(fact)
    }

    /// A text that is not empty.
    fn text(&self, fact: Fact) -> Option<&'a str> {
        match self.value(fact)? {
            Value::Text(text) => Some(trimmed(text)).filter(|text| !text.is_empty()),
            _ => None,
        }
    }

    /// A text that is not empty, or the text of a number.
    fn word(&self, fact: Fact) -> Option<String> {
        match self.value(fact)? {
            Value::Int(n) => Some(n.to_string()),
            _ => self.text(fact).map(|text| cut(text, NAME_BYTES_MAX).to_owned()),
        }
    }

    /// An attribute of the first event called `event`.
    fn of_event(&self, event: &str, key: &str) -> Option<&'a str> {
        match self.events.named(event)?.first(key)? {
            Value::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// Whether the span is Claude Code's, so that the `Cli` facts mean what they say.
    fn is_claude_code(&self) -> bool {
        self.name.starts_with(others::CLAUDE_CODE_PREFIX) && self.has(Fact::CliSpanType)
    }
}

/// The failure, when the span failed. An `exception` event alone is none: several packages attach one to spans that
/// went well.
fn failure(marks: &Marks) -> Option<Box<Failure>> {
    const SIGNS: Facts = Facts::of(&[Fact::ErrorType, Fact::Level, Fact::ToolStatus, Fact::CliSuccess]);
    let is_error = marks.status_code == i32::from(StatusCode::Error);
    if !is_error && !marks.present.has_any(SIGNS) {
        return None;
    }
    let cli = marks.is_claude_code();
    let failed = is_error
        || marks.word(Fact::ErrorType).is_some()
        || marks.text(Fact::Level).is_some_and(|level| level.eq_ignore_ascii_case("error"))
        || marks.text(Fact::ToolStatus).is_some_and(|s| s.eq_ignore_ascii_case("error"))
        || (cli && matches!(marks.value(Fact::CliSuccess), Some(Value::Bool(false))))
        || (cli && marks.text(Fact::CliSuccess) == Some("false"));
    if !failed {
        return None;
    }
    let http = || marks.word(Fact::HttpStatus).or_else(|| marks.word(Fact::CliStatus).filter(|_| cli));
    let kind = marks
        .word(Fact::ErrorType)
        .or_else(|| marks.of_event("exception", "exception.type").map(|kind| cut(kind, NAME_BYTES_MAX).to_owned()))
        .or_else(|| http().filter(|status| !status.starts_with(['1', '2', '3'])))
        .unwrap_or_else(|| "_OTHER".to_owned());
    let message = Some(marks.status_message.trim())
        .filter(|message| !message.is_empty())
        .or_else(|| marks.text(Fact::StatusMessage))
        .or_else(|| marks.text(Fact::CliError).filter(|_| cli))
        .or_else(|| marks.of_event("exception", "exception.message"))
        .unwrap_or_default();
    Some(Box::new(Failure { kind, message: cut(message, ERROR_TEXT_BYTES_MAX).to_owned() }))
}

/// The digest of a session. Where it tells processes apart it is part of the name of an instance.
fn session_digest(session: &str, tells_apart: bool) -> u64 {
    if tells_apart { digest64(session.as_bytes()) } else { text_digest(session.as_bytes()) }
}

/// Tells one text from another; FNV-1a, which is quick for short ones.
fn fingerprint(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// `text` without white space round it, which it mostly has none of.
fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [b'!'..=b'~', .., b'!'..=b'~'] => text,
        _ => text.trim(),
    }
}

/// `text`, cut at a character's edge to at most `bytes_max` bytes.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Whether two texts are the same; quick for short ones, and for others.
#[inline(always)]
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    // Two pieces that overlap are all of it.
    if let (Some(a), Some(b), 16..=32) = (one.first_chunk::<16>(), other.first_chunk::<16>(), one.len()) {
        return a == b && one.last_chunk::<16>() == other.last_chunk::<16>();
    }
    one == other
}

/// Looks `word` up in a table of words.
fn lookup<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
    table.iter().find(|(key, _)| *key == word).map(|(_, value)| *value)
}
