//! From OTLP spans to the facts the trace fold needs. Pure.

use std::collections::{HashMap, HashSet};

use super::conventions::{self, Reading};
use crate::model::{SpanClass, SpanFacts, SpanId, Timestamp, TraceId, TraceSpans};
use crate::proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use crate::proto::opentelemetry::proto::common::v1::any_value::Value;
use crate::proto::opentelemetry::proto::resource::v1::Resource;
use crate::proto::opentelemetry::proto::trace::v1::Span;

/// The service of resources that name none, as the OpenTelemetry SDKs call it.
const UNKNOWN_SERVICE: &str = "unknown_service";

/// What a request of spans told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The spans by trace and service, in order of arrival. Traces that tell nothing about agents are left out.
    pub traces: Vec<TraceSpans>,
    /// How many spans the request had.
    pub spans: u64,
    /// How many of them could not be taken.
    pub rejected: u64,
    /// Why the first of those could not be taken.
    pub reject_reason: Option<&'static str>,
}

/// Reads a request. Spans without valid ids are rejected and counted; the others go on.
///
/// The ids' rules are those of the W3C trace context and of `trace.proto`: 16 bytes for a trace and 8 for a span, not
/// all zero.
pub fn decode(request: &ExportTraceServiceRequest) -> Decoded {
    let mut decoded = Decoded::default();
    let mut places: HashMap<(TraceId, &str), usize> = HashMap::new();
    // Traces with at least one span that tells something.
    let mut telling: HashSet<TraceId> = HashSet::new();

    for resource_spans in &request.resource_spans {
        let service = service_name(resource_spans.resource.as_ref());
        for scope_spans in &resource_spans.scope_spans {
            let scope = scope_spans.scope.as_ref().map_or("", |scope| scope.name.as_str());
            decoded.spans += scope_spans.spans.len() as u64;
            for span in &scope_spans.spans {
                let (trace, facts) = match facts(scope, span) {
                    Ok(read) => read,
                    Err(reason) => {
                        decoded.rejected += 1;
                        decoded.reject_reason.get_or_insert(reason);
                        continue;
                    }
                };
                if facts.class != SpanClass::Other {
                    telling.insert(trace);
                }
                let place = *places.entry((trace, service)).or_insert_with(|| {
                    decoded.traces.push(TraceSpans { trace, service: service.to_owned(), spans: Vec::new() });
                    decoded.traces.len() - 1
                });
                decoded.traces[place].spans.push(facts);
            }
        }
    }
    decoded.traces.retain(|spans| telling.contains(&spans.trace));
    decoded
}

fn service_name(resource: Option<&Resource>) -> &str {
    let attribute = resource.and_then(|r| r.attributes.iter().find(|a| a.key == "service.name"));
    match attribute.and_then(|a| a.value.as_ref()).and_then(|v| v.value.as_ref()) {
        Some(Value::StringValue(name)) if !name.trim().is_empty() => name.trim(),
        _ => UNKNOWN_SERVICE,
    }
}

fn facts(scope: &str, span: &Span) -> Result<(TraceId, SpanFacts), &'static str> {
    let trace = id::<16>(&span.trace_id).ok_or("trace_id must be 16 bytes, not all zero")?;
    let own = id::<8>(&span.span_id).ok_or("span_id must be 8 bytes, not all zero")?;
    let Reading { class, agent, model, response, usage, tool, failure } = conventions::read(scope, span);
    let start = Timestamp::from_unix_nanos(span.start_time_unix_nano);
    let facts = SpanFacts {
        span: SpanId(own),
        parent: id::<8>(&span.parent_span_id).map(SpanId),
        class,
        agent,
        model,
        response,
        usage,
        tool,
        start,
        // A sender that leaves the end out, or whose clock went back, must not make a span end before it began.
        end: Timestamp::from_unix_nanos(span.end_time_unix_nano).max(start),
        failure,
    };
    Ok((TraceId(trace), facts))
}

fn id<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let id: [u8; N] = bytes.try_into().ok()?;
    (id != [0; N]).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue};
    use crate::proto::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans};

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
        decode(&ExportTraceServiceRequest { resource_spans })
    }

    #[test]
    fn spans_are_grouped_by_trace_and_service() {
        let decoded = decode_all(vec![
            of_service(Some("shop"), vec![span(1, 1, Some("chat")), span(2, 2, Some("chat")), span(1, 3, None)]),
            of_service(None, vec![span(1, 4, None)]),
            of_service(Some("shop"), vec![span(1, 5, Some("invoke_agent"))]),
        ]);
        let seen: Vec<_> = decoded.traces.iter().map(|t| (t.trace.0[0], t.service.as_str(), t.spans.len())).collect();
        assert_eq!(seen, [(1, "shop", 3), (2, "shop", 1), (1, "unknown_service", 1)]);
        assert_eq!(decoded.rejected, 0);
    }

    #[test]
    fn traces_without_agents_make_no_row() {
        let decoded = decode_all(vec![of_service(Some("web"), vec![span(1, 1, None), span(1, 2, None)])]);
        assert_eq!(decoded, Decoded { spans: 2, ..Decoded::default() });
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
    fn a_span_never_ends_before_it_began_and_a_zero_parent_is_none() {
        let odd = Span { parent_span_id: vec![0; 8], ..span(1, 1, Some("chat")) };
        let facts = decode_all(vec![of_service(None, vec![odd])]).traces.remove(0).spans.remove(0);
        assert_eq!((facts.parent, facts.start, facts.end), (None, Timestamp(2), Timestamp(2)));
    }
}
