//! Log records that tell what an agent does: each is read as the span that it could have been.
//!
//! A convention is a table, as those of spans are. Records of products have attributes with names that anyone may use, so
//! they are read by their own table only; events of the GenAI conventions have the attributes of the spans they repeat.

use super::value::{Attributes, Value};
use super::{
    Events, Fact, Marks, NAME_BYTES_MAX, PriceQuery, Reading, Tool, arguments, claude_code, codex, cut, fingerprint,
    gen_ai, lookup, reading_as, session_digest, usage,
};
use crate::model::{CostOrigin, ERROR_TEXT_BYTES_MAX, Failure, Money, SpanClass, Usage};
use crate::proto::opentelemetry::proto::common::v1::any_value;
use crate::proto::opentelemetry::proto::logs::v1::LogRecord;
use crate::receivers::otlp::naming::Naming;

/// What an attribute of a log record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    Session,
    /// One prompt and what follows from it, within a session.
    Turn,
    CallId,
    Model,
    Input,
    Output,
    CacheRead,
    CacheWrite,
    Reasoning,
    Cost,
    DurationMs,
    ToolName,
    Arguments,
    Success,
    Status,
    ErrorType,
    Error,
}

/// How a product writes log records.
pub(super) struct Convention {
    /// How the names of its events begin. `event.name` may lack it, where the body has the whole name.
    pub prefix: &'static str,
    /// Event, without the prefix → class. Others tell nothing that counts.
    pub events: &'static [(&'static str, SpanClass)],
    /// The events that tell of a failure.
    pub failures: &'static [&'static str],
    /// An attribute and the value it must have for a model call to be one.
    pub kind: Option<(&'static str, &'static str)>,
    /// Whether a record of a model call without token counts is none.
    pub needs_tokens: bool,
    /// Whether cached tokens are not among the input tokens.
    pub cache_beside_input: bool,
    /// The provider, as price lists call it.
    pub provider: &'static str,
    /// Attribute → detail, the best name first.
    pub details: &'static [(&'static str, Detail)],
}

const PRODUCTS: [&Convention; 2] = [&claude_code::RECORDS, &codex::RECORDS];

/// A log record that tells something.
pub(in crate::receivers::otlp) struct Record<'a> {
    /// What it tells.
    pub reading: Reading<'a>,
    /// The session it belongs to, and the turn within it. What has one is part of a run.
    pub turn: Option<(&'a str, &'a str)>,
    /// What names the thing that happened, where records of it may differ.
    pub call_id: Option<&'a str>,
    /// How long it took, in nanoseconds; it ended when the record was made.
    pub took_nanos: u64,
    /// Spans that may come know better whom it is about.
    pub waits: bool,
}

/// Reads a log record; `None` when it tells nothing about agents.
pub(in crate::receivers::otlp) fn read<'a>(
    naming: &'a Naming,
    scope: &'a str,
    record: &'a LogRecord,
) -> Option<Record<'a>> {
    let attributes = Attributes::Decoded(&record.attributes);
    let name = event_name(record, attributes);
    if name == gen_ai::CALL_EVENT {
        return Some(gen_ai_call(naming, scope, record));
    }
    PRODUCTS.iter().find_map(|product| {
        let event = name.strip_prefix(product.prefix)?;
        let class = lookup(product.events, event)?;
        let record = Details { product, attributes };
        record.read(event, class)
    })
}

/// The name of an event: in the field made for it, or in an attribute, where some have it without the prefix that the body
/// has.
fn event_name<'a>(record: &'a LogRecord, attributes: Attributes<'a>) -> &'a str {
    let body = match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.as_str(),
        _ => "",
    };
    let own = record.event_name.as_str();
    match attributes.first("event.name") {
        Some(Value::Text(name)) => {
            let is_whole = |whole: &&str| PRODUCTS.iter().any(|p| whole.strip_prefix(p.prefix) == Some(name));
            [body, own].into_iter().find(is_whole).unwrap_or(name)
        }
        _ if own.is_empty() => body,
        _ => own,
    }
}

/// The event that repeats what the span of a model call tells.
fn gen_ai_call<'a>(naming: &'a Naming, scope: &'a str, record: &'a LogRecord) -> Record<'a> {
    let mut marks = Marks::new(naming, Events::default());
    marks.enter(scope);
    for attribute in &record.attributes {
        let Ok(()) =
            marks.attribute(attribute.key.as_bytes(), || Ok::<_, std::convert::Infallible>(Value::of(attribute)));
    }
    let told = marks.text(Fact::Operation).and_then(|word| lookup(gen_ai::OPERATIONS, word));
    let reading = reading_as(&marks, told.unwrap_or(SpanClass::Llm));
    Record { reading, turn: None, call_id: None, took_nanos: 0, waits: true }
}

/// The details of a record of a product.
struct Details<'a> {
    product: &'static Convention,
    attributes: Attributes<'a>,
}

impl<'a> Details<'a> {
    fn value(&self, detail: Detail) -> Option<Value<'a>> {
        let mut names = self.product.details.iter().filter(|(_, of)| *of == detail);
        names.find_map(|(name, _)| self.attributes.first(name))
    }

    fn text(&self, detail: Detail) -> Option<&'a str> {
        match self.value(detail)? {
            Value::Text(text) if !text.trim().is_empty() => Some(text.trim()),
            _ => None,
        }
    }

    fn tokens(&self, detail: Detail) -> Option<u64> {
        usage::count_of(self.value(detail)?)
    }

    fn read(&self, event: &str, class: SpanClass) -> Option<Record<'a>> {
        let usage = if class == SpanClass::Llm { self.usage() } else { Usage::default() };
        let failure = self.failure(event);
        let is_call = class == SpanClass::Llm && !self.product.failures.contains(&event);
        if is_call {
            let is_kind = |(key, word)| matches!(self.attributes.first(key), Some(Value::Text(text)) if text == word);
            let lacks_tokens = usage.input.is_none() && usage.output.is_none();
            if !self.product.kind.is_none_or(is_kind) || (self.product.needs_tokens && lacks_tokens) {
                return None;
            }
        }
        let session = self.text(Detail::Session).unwrap_or_default();
        let model = self.text(Detail::Model).filter(|_| class == SpanClass::Llm);
        let apart_by_session = self.product.prefix == claude_code::RECORDS.prefix;
        let has_tokens = usage.input.is_some() || usage.output.is_some();
        let reading = Reading {
            class,
            agent: None,
            model: model.map(|name| cut(name, NAME_BYTES_MAX)),
            response: None,
            output: None,
            scope: fingerprint(self.product.prefix),
            provider_sdk: false,
            session: Some(session).filter(|text| !text.is_empty()).map(|text| session_digest(text, apart_by_session)),
            apart_by_session,
            price: (has_tokens && usage.cost.is_none()).then(|| PriceQuery {
                provider: Some(self.product.provider),
                request_model: None,
                cache_written: self.tokens(Detail::CacheWrite).unwrap_or(0),
            }),
            usage,
            tool: (class == SpanClass::Tool).then(|| self.tool()),
            failure,
        };
        Some(Record {
            reading,
            turn: Some((session, self.text(Detail::Turn).unwrap_or_default())),
            call_id: self.text(Detail::CallId),
            took_nanos: self.tokens(Detail::DurationMs).unwrap_or(0).saturating_mul(1_000_000),
            waits: false,
        })
    }

    fn usage(&self) -> Usage {
        let [cached_input, written] = [Detail::CacheRead, Detail::CacheWrite].map(|detail| self.tokens(detail));
        let beside = if self.product.cache_beside_input { [cached_input, written] } else { [None, None] };
        let all = |input: u64| beside.into_iter().flatten().fold(input, u64::saturating_add);
        let cost = self.value(Detail::Cost).and_then(usage::number).and_then(Money::from_usd);
        Usage {
            input: self.tokens(Detail::Input).map(all),
            output: self.tokens(Detail::Output),
            cached_input,
            reasoning: self.tokens(Detail::Reasoning),
            cost,
            cost_origin: if cost.is_some() { CostOrigin::Reported } else { CostOrigin::Unknown },
        }
    }

    fn tool(&self) -> Tool<'a> {
        let name = cut(self.text(Detail::ToolName).unwrap_or_default(), NAME_BYTES_MAX);
        arguments::key_of(name, self.value(Detail::Arguments))
    }

    fn failure(&self, event: &str) -> Option<Box<Failure>> {
        let unsuccessful = match self.value(Detail::Success) {
            Some(Value::Bool(success)) => !success,
            Some(Value::Text(text)) => text.eq_ignore_ascii_case("false"),
            _ => false,
        };
        if !unsuccessful && !self.product.failures.contains(&event) {
            return None;
        }
        let status = match self.value(Detail::Status) {
            Some(Value::Int(status)) => Some(status.to_string()),
            Some(Value::Text(text)) if !text.is_empty() => Some(cut(text, NAME_BYTES_MAX).to_owned()),
            _ => None,
        };
        let kind = self.text(Detail::ErrorType).map(|kind| cut(kind, NAME_BYTES_MAX).to_owned()).or(status);
        // What a failing tool wrote may be anything: only the text of a failing model call is kept.
        let message = self.text(Detail::Error).filter(|_| self.product.failures.contains(&event)).unwrap_or_default();
        Some(Box::new(Failure {
            kind: kind.unwrap_or_else(|| "_OTHER".to_owned()),
            message: cut(message, ERROR_TEXT_BYTES_MAX).to_owned(),
        }))
    }
}
