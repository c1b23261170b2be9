//! From OTLP spans to the facts the trace fold needs. Pure.

use std::sync::Arc;

use super::conventions::{self, Attributes, PriceQuery, Reading, Value, same};
use super::naming::Naming;
use crate::model::{
    CostOrigin, QuickMap, QuickSet, SpanClass, SpanFacts, SpanId, Teller, Timestamp, ToolKey, TraceId, TraceSpans,
    digest64,
};
use crate::prices::{Prices, Tokens};
use crate::proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;

/// The service of resources that name none, as the OpenTelemetry SDKs call it.
const UNKNOWN_SERVICE: &str = "unknown_service";
/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK` and `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK` of `trace.proto`: the sender knows where
/// the parent is, and it is in another process.
const REMOTE_PARENT: u32 = 0x100 | 0x200;

/// What a request of spans told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The spans by trace and service, in order of arrival. Traces that tell nothing about agents are left out.
    pub traces: Vec<TraceSpans>,
    /// The other traces: they matter only where others told something of them.
    pub silent: Vec<TraceSpans>,
    /// How many spans the request had.
    pub spans: u64,
    /// How many of them could not be taken.
    pub rejected: u64,
    /// Why the first of those could not be taken.
    pub reject_reason: Option<&'static str>,
    /// Spans with tokens whose cost nobody told.
    unpriced: Vec<Unpriced>,
}

/// A span with tokens whose cost nobody told.
#[derive(Clone, Debug, PartialEq)]
struct Unpriced {
    /// The place of its trace in [`Decoded::traces`].
    place: usize,
    /// Its place among the spans of that trace.
    span: usize,
    /// The provider, as price lists call it.
    provider: Option<&'static str>,
    /// The model that was asked for, where it has another name than the one that answered.
    request_model: Option<Arc<str>>,
    /// Input tokens written to a cache.
    cache_written: u64,
}

impl Decoded {
    /// Works out what calls cost whose cost nobody told. Gives how many there are whose model has no price.
    pub fn price(&mut self, prices: &Prices) -> u64 {
        let mut unknown = 0;
        for Unpriced { place, span, provider, request_model, cache_written } in std::mem::take(&mut self.unpriced) {
            let Some(facts) = self.traces.get_mut(place).and_then(|trace| trace.spans.get_mut(span)) else { continue };
            let tokens = Tokens {
                input: facts.usage.input.unwrap_or(0),
                output: facts.usage.output.unwrap_or(0),
                cached: facts.usage.cached_input.unwrap_or(0),
                cache_written,
            };
            let cost = |model: &str| prices.cost(provider, model, &tokens, facts.start);
            let answered = facts.model.as_deref().and_then(cost);
            match answered.or_else(|| request_model.as_deref().and_then(cost)) {
                Some(cost) => (facts.usage.cost, facts.usage.cost_origin) = (Some(cost), CostOrigin::Computed),
                None => unknown += u64::from(facts.class == SpanClass::Llm),
            }
        }
        unknown
    }
}

/// Reads a decoded request. Spans without valid ids are rejected and counted; the others go on.
///
/// The ids' rules are those of the W3C trace context and of `trace.proto`: 16 bytes for a trace and 8 for a span, not
/// all zero.
pub fn decode(request: &ExportTraceServiceRequest, naming: &Naming) -> Decoded {
    let mut gatherer = Gatherer::default();
    for resource_spans in &request.resource_spans {
        let resource = resource_spans.resource.as_ref().map(|resource| Attributes::Decoded(&resource.attributes));
        let resource = resource.as_slice();
        gatherer.enter(Origin::of(resource, naming));
        for scope_spans in &resource_spans.scope_spans {
            let scope = scope_spans.scope.as_ref().map_or("", |scope| scope.name.as_str());
            for span in &scope_spans.spans {
                let frame = SpanFrame {
                    trace: &span.trace_id,
                    span: &span.span_id,
                    parent: &span.parent_span_id,
                    start_nanos: span.start_time_unix_nano,
                    end_nanos: span.end_time_unix_nano,
                    flags: span.flags,
                };
                gatherer.take(frame, || conventions::read(naming, resource, scope, span));
            }
        }
    }
    gatherer.finish()
}

/// The agent of spans that name none: `service.name` of their resource, whose attributes may come in pieces.
pub(super) fn service_name<'a>(resource: &[Attributes<'a>]) -> &'a str {
    match resource.iter().find_map(|attributes| attributes.first("service.name")) {
        Some(Value::Text(name)) if !name.trim().is_empty() => name.trim(),
        _ => UNKNOWN_SERVICE,
    }
}

/// Where spans come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Origin<'a> {
    pub service: &'a str,
    /// The project that a rule names.
    pub project: Option<String>,
    /// Digest of the service and of what tells its instances apart.
    instance: u64,
    /// Whether the resource has anything that does.
    told_apart: bool,
}

/// What tells the instances of a service apart, the best first.
const INSTANCE_KEYS: [&str; 2] = ["service.instance.id", "host.name"];

impl<'a> Origin<'a> {
    /// What the attributes of a resource tell, which may come in pieces.
    pub fn of(resource: &[Attributes<'a>], naming: &Naming) -> Self {
        let service = service_name(resource);
        let id = INSTANCE_KEYS.into_iter().find_map(|key| {
            match resource.iter().find_map(|attributes| attributes.first(key))? {
                Value::Text(id) if !id.trim().is_empty() => Some(id.trim()),
                _ => None,
            }
        });
        // The zero byte keeps the two apart.
        let instance = digest64(&[service.as_bytes(), b"\0", id.unwrap_or_default().as_bytes()].concat());
        Self { service, project: naming.project(resource), instance, told_apart: id.is_some() }
    }

    /// The instance. Of some programs only the `session` tells processes apart.
    pub fn instance(&self, session: Option<u64>) -> u64 {
        match session.filter(|_| !self.told_apart) {
            Some(session) => digest64(&[self.instance.to_le_bytes(), session.to_le_bytes()].concat()),
            None => self.instance,
        }
    }
}

/// Where and when a span is, as sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SpanFrame<'a> {
    pub trace: &'a [u8],
    pub span: &'a [u8],
    pub parent: &'a [u8],
    pub start_nanos: u64,
    pub end_nanos: u64,
    pub flags: u32,
}

impl SpanFrame<'_> {
    /// When it began.
    pub fn start(&self) -> Timestamp {
        Timestamp::from_unix_nanos(self.start_nanos)
    }

    /// When it ended. A sender that leaves the end out, or whose clock went back, must not make a span end before it began.
    pub fn end(&self) -> Timestamp {
        Timestamp::from_unix_nanos(self.end_nanos).max(self.start())
    }
}

/// Puts together what the spans of one request tell, whichever encoding they are read from.
#[derive(Default)]
pub(super) struct Gatherer<'a> {
    decoded: Decoded,
    /// Where the spans come from that are taken in.
    origin: Origin<'a>,
    places: QuickMap<(TraceId, Origin<'a>), usize>,
    /// The trace of the last span of this origin, and its place: mostly those of the next one too.
    last: Option<(TraceId, usize)>,
    /// Of each place, whether a span of it tells something.
    tells: Vec<bool>,
    agents: Names,
    models: Names,
    tools: Names,
}

/// Names that came lately: spans of one request name the same few agents, models and tools, which share one text each.
#[derive(Default)]
struct Names {
    known: Vec<Arc<str>>,
    /// The place that the next new one takes.
    next: usize,
}

/// For how many spans of a trace room is made before they are seen.
const ROOM_MAX: usize = 16;

impl Names {
    const MAX: usize = 16;

    #[inline]
    fn share(&mut self, name: &str) -> Arc<str> {
        match self.known.iter().find(|known| same(known.as_bytes(), name.as_bytes())) {
            Some(known) => known.clone(),
            None => self.add(name),
        }
    }

    #[inline(never)]
    fn add(&mut self, name: &str) -> Arc<str> {
        let new: Arc<str> = name.into();
        match self.known.get_mut(self.next) {
            Some(place) => *place = new.clone(),
            None => self.known.push(new.clone()),
        }
        self.next = (self.next + 1) % Self::MAX;
        new
    }
}

impl<'a> Gatherer<'a> {
    /// The spans that follow come from `origin`.
    pub fn enter(&mut self, origin: Origin<'a>) {
        self.origin = origin;
        self.last = None;
    }

    /// How many spans there were.
    pub const fn seen(&self) -> u64 {
        self.decoded.spans
    }

    /// Takes in a span; `read` tells what it is about.
    #[inline]
    pub fn take<'r>(&mut self, frame: SpanFrame<'_>, read: impl FnOnce() -> Reading<'r>) {
        self.decoded.spans += 1;
        let (trace, span) = match ids(&frame) {
            Ok(ids) => ids,
            Err(reason) => {
                self.decoded.rejected += 1;
                self.decoded.reject_reason.get_or_insert(reason);
                return;
            }
        };
        let Reading {
            class,
            agent,
            model,
            response,
            output,
            scope,
            provider_sdk,
            session,
            apart_by_session,
            price,
            usage,
            tool,
            failure,
        } = read();
        let place = self.place(trace, session.filter(|_| apart_by_session));
        self.tells[place] |= class != SpanClass::Other;
        let spans = &mut self.decoded.traces[place].spans;
        if let Some(PriceQuery { provider, request_model, cache_written }) = price {
            let request_model = request_model.map(|name| self.models.share(name));
            self.decoded.unpriced.push(Unpriced { place, span: spans.len(), provider, request_model, cache_written });
        }
        spans.push(SpanFacts {
            span,
            parent: id::<8>(frame.parent).map(SpanId),
            remote_parent: frame.flags & REMOTE_PARENT == REMOTE_PARENT,
            scope,
            provider_sdk,
            twin: false,
            output,
            session,
            class,
            agent: agent.map(|name| self.agents.share(&name)),
            model: model.map(|name| self.models.share(name)),
            response,
            usage,
            tool: tool.map(|tool| ToolKey { name: self.tools.share(tool.name), digest: tool.digest }),
            start: frame.start(),
            end: frame.end(),
            failure,
            // Exporters send spans when they have ended.
            open: false,
        });
    }

    #[inline]
    fn place(&mut self, trace: TraceId, session: Option<u64>) -> usize {
        match self.last {
            Some((last, place)) if last == trace => place,
            _ => self.new_place(trace, session),
        }
    }

    #[inline(never)]
    fn new_place(&mut self, trace: TraceId, session: Option<u64>) -> usize {
        let (traces, tells, names, origin) =
            (&mut self.decoded.traces, &mut self.tells, &mut self.agents, &self.origin);
        let place = *self.places.entry((trace, origin.clone())).or_insert_with(|| {
            tells.push(false);
            let (service, project) = (names.share(origin.service), origin.project.clone());
            // Traces of one request are mostly of one size.
            let spans = Vec::with_capacity(traces.last().map_or(0, |last| last.spans.len().min(ROOM_MAX)));
            let teller = Teller { instance: Some(origin.instance(session)), ..Teller::default() };
            traces.push(TraceSpans { trace, service, project, teller, upsert: false, spans });
            traces.len() - 1
        });
        self.last = Some((trace, place));
        place
    }

    /// What was gathered.
    pub fn finish(mut self) -> Decoded {
        if self.tells.contains(&false) {
            // A trace tells something when it does for any service.
            let telling = self.decoded.traces.iter().zip(&self.tells).filter(|(_, tells)| **tells);
            let telling: QuickSet<TraceId> = telling.map(|(spans, _)| spans.trace).collect();
            // A span whose tokens are known tells something: its trace stays, and moves up.
            let mut left_out = 0;
            let before: Vec<usize> = self
                .decoded
                .traces
                .iter()
                .map(|spans| {
                    left_out += usize::from(!telling.contains(&spans.trace));
                    left_out
                })
                .collect();
            self.decoded.unpriced.iter_mut().for_each(|span| span.place -= before[span.place]);
            let all = std::mem::take(&mut self.decoded.traces);
            (self.decoded.traces, self.decoded.silent) = all.into_iter().partition(|t| telling.contains(&t.trace));
        }
        self.decoded
    }
}

fn ids(frame: &SpanFrame<'_>) -> Result<(TraceId, SpanId), &'static str> {
    let trace = id::<16>(frame.trace).ok_or("trace_id must be 16 bytes, not all zero")?;
    let span = id::<8>(frame.span).ok_or("span_id must be 8 bytes, not all zero")?;
    Ok((TraceId(trace), SpanId(span)))
}

fn id<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let id: [u8; N] = bytes.try_into().ok()?;
    (id != [0; N]).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value::Value};
    use crate::proto::opentelemetry::proto::resource::v1::Resource;
    use crate::proto::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};

    fn attribute(key: &str, value: &str) -> KeyValue {
        KeyValue { key: key.into(), value: Some(AnyValue { value: Some(Value::StringValue(value.into())) }) }
    }

    fn span(trace: u8, span: u8, operation: Option<&str>) -> Span {
        Span {
            trace_id: vec![trace; 16],
            span_id: vec![span; 8],
            attributes: operation.map(|o| attribute("gen_ai.operation.name", o)).into_iter().collect(),
            start_time_unix_nano: 2_000,
            ..Span::default()
        }
    }

    fn of_service(service: Option<&str>, spans: Vec<Span>) -> ResourceSpans {
        let attributes = service.map(|s| attribute("service.name", s)).into_iter().collect();
        ResourceSpans { resource: Some(Resource { attributes }), scope_spans: vec![ScopeSpans { scope: None, spans }] }
    }

    fn decode_all(resource_spans: Vec<ResourceSpans>) -> Decoded {
        decode(&ExportTraceServiceRequest { resource_spans }, &Naming::default())
    }

    #[test]
    fn spans_are_grouped_by_trace_and_service() {
        let decoded = decode_all(vec![
            of_service(Some("shop"), vec![span(1, 1, Some("chat")), span(2, 2, Some("chat")), span(1, 3, None)]),
            of_service(None, vec![span(1, 4, None)]),
            of_service(Some("shop"), vec![span(1, 5, Some("invoke_agent"))]),
        ]);
        let seen: Vec<_> = decoded.traces.iter().map(|t| (t.trace.0[0], &*t.service, t.spans.len())).collect();
        assert_eq!(seen, [(1, "shop", 3), (2, "shop", 1), (1, "unknown_service", 1)]);
        assert_eq!(decoded.rejected, 0);
    }

    #[test]
    fn traces_without_agents_make_no_row() {
        let decoded = decode_all(vec![of_service(Some("web"), vec![span(1, 1, None), span(1, 2, None)])]);
        assert_eq!((decoded.spans, decoded.traces.len(), decoded.silent.len()), (2, 0, 1));
    }

    #[test]
    fn invalid_ids_are_rejected_and_the_rest_goes_on() {
        let zero_trace = span(0, 1, Some("chat"));
        let zero_span = span(1, 0, Some("chat"));
        let short = Span { trace_id: vec![1; 8], ..span(1, 1, Some("chat")) };
        let long = Span { span_id: vec![1; 16], ..span(1, 1, Some("chat")) };
        let empty = Span::default();
        let decoded = decode_all(vec![of_service(
            Some("shop"),
            vec![zero_trace, zero_span, short, span(1, 1, Some("chat")), long, empty],
        )]);
        assert_eq!((decoded.rejected, decoded.traces.len()), (5, 1));
        assert_eq!(decoded.reject_reason, Some("trace_id must be 16 bytes, not all zero"));
    }

    #[test]
    fn a_parent_is_remote_when_the_sender_knows_and_says_so() {
        for (flags, remote) in [(0, false), (0x1ff, false), (0x200, false), (0x300, true), (0x301, true), (!0, true)] {
            let told = Span { parent_span_id: vec![9; 8], flags, ..span(1, 1, Some("chat")) };
            let facts = decode_all(vec![of_service(None, vec![told])]).traces.remove(0).spans.remove(0);
            assert_eq!(facts.remote_parent, remote, "{flags:#x}");
        }
    }

    #[test]
    fn a_span_never_ends_before_it_began_and_a_zero_parent_is_none() {
        let odd = Span { parent_span_id: vec![0; 8], ..span(1, 1, Some("chat")) };
        let facts = decode_all(vec![of_service(None, vec![odd])]).traces.remove(0).spans.remove(0);
        assert_eq!((facts.parent, facts.start, facts.end), (None, Timestamp(2), Timestamp(2)));
    }
}
