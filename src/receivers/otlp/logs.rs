//! From OTLP log records to the facts the trace fold needs: a record that tells of a model call or of a tool call is read
//! as the span that it could have been. Pure.
//!
//! Such a span's trace is made of the instance and of the turn (a prompt and what follows from it); its id is made of what
//! the record tells, so that a record that is sent again counts once. A turn is a run without an end of its own: it is over
//! when nothing more came for a while.

use std::borrow::Cow;
use std::collections::HashMap;

use super::conventions::Attributes;
use super::conventions::records::{self, Record};
use super::naming::Naming;
use super::spans::{Decoded, Gatherer, Origin, SpanFrame};
use crate::model::{Signal, SpanClass, SpanFacts, SpanId, Teller, TraceId, digest64};
use crate::proto::opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest;
use crate::proto::opentelemetry::proto::common::v1::KeyValue;
use crate::proto::opentelemetry::proto::logs::v1::LogRecord;

/// What a request of log records told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecodedLogs {
    /// The records that tell something, as spans.
    pub decoded: Decoded,
    /// How many there are of these.
    pub read: u64,
    /// How many tell nothing about agents.
    pub ignored: u64,
}

/// What becomes of the records of one trace.
struct Frame {
    teller: Teller,
    /// The run they are part of.
    run: Option<SpanFacts>,
}

/// Reads a decoded request.
pub fn decode(request: &ExportLogsServiceRequest, naming: &Naming) -> DecodedLogs {
    let mut gatherer = Gatherer::default();
    let mut frames: HashMap<TraceId, Frame> = HashMap::new();
    let (mut read, mut ignored) = (0, 0);
    for resource_logs in &request.resource_logs {
        let resource = resource_logs.resource.as_ref().map(|resource| Attributes::Decoded(&resource.attributes));
        let origin = Origin::of(resource.as_slice(), naming);
        gatherer.enter(origin.clone());
        for scope_logs in &resource_logs.scope_logs {
            let scope = scope_logs.scope.as_ref().map_or("", |scope| scope.name.as_str());
            for log_record in &scope_logs.log_records {
                let Some(mut record) = records::read(naming, scope, log_record) else {
                    ignored += 1;
                    continue;
                };
                read += 1;
                let own = Attributes::Decoded(&log_record.attributes);
                let lists: Vec<_> = std::iter::once(own).chain(resource).collect();
                record.reading.agent = naming.agent(&lists).map(Cow::Owned).or(record.reading.agent);
                take(&mut gatherer, &mut frames, &origin, log_record, record);
            }
        }
    }
    let mut decoded = gatherer.finish();
    for spans in &mut decoded.traces {
        let Some(frame) = frames.remove(&spans.trace) else { continue };
        spans.teller = frame.teller;
        // Two records may tell of one call, each a part.
        spans.upsert = true;
        spans.spans.extend(frame.run);
    }
    DecodedLogs { decoded, read, ignored }
}

fn take<'a>(
    gatherer: &mut Gatherer<'a>,
    frames: &mut HashMap<TraceId, Frame>,
    origin: &Origin<'a>,
    log_record: &LogRecord,
    record: Record<'_>,
) {
    let session = record.reading.session.filter(|_| record.reading.apart_by_session);
    let instance = origin.instance(session);
    let end =
        if log_record.time_unix_nano == 0 { log_record.observed_time_unix_nano } else { log_record.time_unix_nano };
    let id = record_id(log_record, &record);
    let turn = match record.turn {
        Some((session, turn)) => digest64(&[session.as_bytes(), b"\0", turn.as_bytes()].concat()),
        None if log_record.trace_id.is_empty() => id,
        None => digest64(&log_record.trace_id),
    };
    // The plan finds the instance by the first half.
    let trace = TraceId([instance.to_be_bytes(), turn.to_be_bytes()].concat().try_into().unwrap_or_default());
    let run_id = (!turn).to_be_bytes();
    let (trace_bytes, span_bytes) = (trace.0, id.to_be_bytes());
    let span = SpanFrame {
        trace: &trace_bytes,
        span: &span_bytes,
        parent: if record.turn.is_some() { &run_id } else { &[] },
        start_nanos: end.saturating_sub(record.took_nanos),
        end_nanos: end,
        flags: 0,
    };
    let teller = Teller { signal: Signal::Logs, instance: Some(instance), waits: record.waits };
    let frame = frames.entry(trace).or_insert(Frame { teller, run: None });
    if record.turn.is_some() {
        let (start, end) = (span.start(), span.end());
        let run = frame.run.get_or_insert_with(|| SpanFacts {
            span: SpanId(run_id),
            class: SpanClass::Agent,
            agent: record.reading.agent.as_deref().map(Into::into),
            session: record.reading.session,
            start,
            open: true,
            ..SpanFacts::default()
        });
        run.start = run.start.min(start);
        run.end = run.end.max(end);
    }
    gatherer.take(span, || record.reading);
}

/// Names what a record tells. The same call may be told by several records, which have its id in common; other records
/// are the same when all of them is.
fn record_id(log_record: &LogRecord, record: &Record<'_>) -> u64 {
    let mut bytes = Vec::new();
    let mut put = |part: &[u8]| {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    };
    if let (Some(call), Some((session, _))) = (record.call_id, record.turn) {
        put(session.as_bytes());
        put(call.as_bytes());
        return digest64(&bytes);
    }
    let LogRecord { time_unix_nano, observed_time_unix_nano, attributes, trace_id, span_id, event_name, body: _ } =
        log_record;
    let time = if *time_unix_nano == 0 { observed_time_unix_nano } else { time_unix_nano };
    put(&time.to_le_bytes());
    put(trace_id);
    put(span_id);
    put(event_name.as_bytes());
    for attribute in attributes {
        put(&encoded(attribute));
    }
    digest64(&bytes)
}

fn encoded(attribute: &KeyValue) -> Vec<u8> {
    prost::Message::encode_to_vec(attribute)
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;
