//! `POST /api/public/ingestion`: events that create and update traces and observations, in any order and over several
//! requests. What the events of one request say of one observation is put together first; what earlier requests said is
//! in the trace's row, and the fold puts the two together.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::super::candidates;
use super::super::envelope::{Element, Kind};
use super::super::fields::text;
use super::{observation, scores};
use crate::model::{SpanId, TraceId};
use crate::proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use crate::proto::opentelemetry::proto::common::v1::InstrumentationScope;
use crate::proto::opentelemetry::proto::resource::v1::Resource;
use crate::proto::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};
use crate::receivers::otlp::naming::Naming;
use crate::receivers::otlp::spans::{self, Decoded};

/// The agent of traces that nobody named.
const NAMELESS: &str = "langfuse";
/// The scope of Langfuse's newer SDKs.
const SCOPE: &str = "langfuse-sdk";

/// What a batch amounts to.
pub(super) struct Read {
    /// Its observations as spans.
    pub decoded: Decoded,
    /// The events that were taken.
    pub successes: Vec<Value>,
    /// Those that were not, and why.
    pub errors: Vec<Failed>,
}

/// An event that was not taken, in Langfuse's form.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct Failed {
    /// The event's id.
    id: String,
    /// Always 400.
    status: u16,
    /// What kind of mistake it is.
    message: &'static str,
    /// What to change.
    error: String,
}

/// What the events of one batch say of one trace.
#[derive(Default)]
struct Trace {
    /// The trace's own fields, when it was told of.
    own: Option<Map<String, Value>>,
    /// When it was told of last, by the sender's clock, in nanoseconds since the epoch.
    told_at: u64,
    /// Its observations by id.
    observations: BTreeMap<String, Observation>,
}

/// What the events of one batch say of one observation.
#[derive(Default)]
struct Observation {
    /// Its type, once known.
    kind: Option<String>,
    /// Whether its creation is among the events.
    is_created: bool,
    /// Its fields.
    fields: Map<String, Value>,
}

/// Reads the events. Each stands for itself.
pub(super) fn read(events: &[Value]) -> Read {
    let mut traces: BTreeMap<String, Trace> = BTreeMap::new();
    let (mut successes, mut errors) = (Vec::new(), Vec::new());
    for event in events {
        let id = text(event, &["id"]).unwrap_or_default().to_owned();
        match take(event, &mut traces) {
            Ok(()) => successes.push(json!({ "id": id, "status": 201 })),
            Err(error) => errors.push(Failed { id, status: 400, message: "Invalid request data", error }),
        }
    }
    Read { decoded: decode(&traces), successes, errors }
}

fn take(event: &Value, traces: &mut BTreeMap<String, Trace>) -> Result<(), String> {
    let kind = text(event, &["type"]).ok_or("event.type is required")?;
    text(event, &["id"]).ok_or("event.id is required")?;
    let Some(Value::Object(body)) = event.get("body") else { return Err("event.body must be an object".into()) };
    let body_value = &event["body"];
    match kind {
        "trace-create" => {
            let id = text(body_value, &["id"]).ok_or("body.id is required: the trace's id")?;
            let trace = traces.entry(id.to_owned()).or_default();
            merge(trace.own.get_or_insert_default(), body);
            let told_at = observation::nanos(event, &["timestamp"]).unwrap_or_default();
            trace.told_at = trace.told_at.max(told_at);
            Ok(())
        }
        "score-create" => scores::check(body_value).map(drop).map_err(|flaw| flaw.message()),
        // What an SDK says of itself.
        "sdk-log" => Ok(()),
        _ => {
            let (kind, is_create) = observation_kind(kind, body_value)?;
            let id = observation::id_of(body_value).ok_or("body.id is required: the observation's id")?;
            let trace = observation::trace_of(body_value)
                .ok_or("body.traceId is required: the trace that the observation belongs to")?;
            let known = traces.entry(trace.to_owned()).or_default().observations.entry(id.to_owned()).or_default();
            known.kind = kind.or(known.kind.take());
            known.is_created |= is_create;
            merge(&mut known.fields, body);
            if known.kind.as_deref() == Some("event") && !known.fields.contains_key("endTime") {
                let start = known.fields.get("startTime").or_else(|| event.get("timestamp")).cloned();
                known.fields.insert("endTime".into(), start.unwrap_or_default());
            }
            Ok(())
        }
    }
}

/// The type of an observation that an event of this type is about, and whether the event creates it.
fn observation_kind(event: &str, body: &Value) -> Result<(Option<String>, bool), String> {
    let (kind, verb) = event.rsplit_once('-').unwrap_or((event, ""));
    let of_body = || text(body, &["type"]).map(str::to_ascii_lowercase);
    match (kind, verb) {
        ("span" | "generation" | "event", "create") => Ok((Some(kind.to_owned()), true)),
        ("span" | "generation", "update") => Ok((Some(kind.to_owned()), false)),
        ("observation", "create") => Ok((of_body(), true)),
        ("observation", "update") => Ok((of_body(), false)),
        _ => Err(format!(
            "event.type {event:?} is not known; use trace-create, span-create, span-update, generation-create, \
             generation-update, event-create, observation-create, observation-update, score-create or sdk-log"
        )),
    }
}

/// Later fields replace earlier ones; `null` says nothing.
fn merge(known: &mut Map<String, Value>, more: &Map<String, Value>) {
    for (name, value) in more.iter().filter(|(_, value)| !value.is_null()) {
        known.insert(name.clone(), value.clone());
    }
}

fn decode(traces: &BTreeMap<String, Trace>) -> Decoded {
    let mut open = BTreeSet::new();
    let resource_spans = traces.iter().map(|(id, trace)| resource_spans(id, trace, &mut open)).collect();
    let mut decoded = spans::decode(&ExportTraceServiceRequest { resource_spans }, &Naming::default());
    for trace in &mut decoded.traces {
        trace.upsert = true;
        for span in &mut trace.spans {
            span.open = open.contains(&(trace.trace, span.span));
        }
    }
    decoded
}

fn resource_spans(id: &str, trace: &Trace, open: &mut BTreeSet<(TraceId, SpanId)>) -> ResourceSpans {
    let own = trace.own.clone().map(Value::Object);
    let agent = own.as_ref().and_then(agent_of);
    let mut spans: Vec<Span> = own.iter().map(|own| root(id, own, agent.as_deref(), trace.told_at)).collect();
    for (observation, Observation { kind, is_created, fields }) in &trace.observations {
        let body = Value::Object(fields.clone());
        // Only its creation says that an observation has no parent; then it stands below the trace itself.
        let below_trace = is_created.then(|| observation::root_id(id));
        let parent = observation::parent_of(&body).or(below_trace);
        // An observation of unknown type was created by an earlier request: it has its type already.
        let kind = kind.as_deref().unwrap_or("span");
        spans.push(observation::span(id, observation, kind, &body, parent));
    }
    for span in &spans {
        if let (0, Ok(own)) = (span.end_time_unix_nano, span.span_id.as_slice().try_into()) {
            open.insert((observation::trace_id(id), SpanId(own)));
        }
    }
    let service = agent.as_deref().unwrap_or(NAMELESS);
    ResourceSpans {
        resource: Some(Resource { attributes: vec![observation::attribute("service.name", service)] }),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope { name: SCOPE.into(), ..InstrumentationScope::default() }),
            spans,
        }],
    }
}

/// Whom a trace is about: as webhooks are read, and of its names the surest.
fn agent_of(trace: &Value) -> Option<String> {
    let element = Element { kind: Kind::Trace, value: trace, wrapper: None, list: None };
    candidates::of(&element).into_iter().next().map(|candidate| candidate.name)
}

/// The run that a trace stands for. It is over when the trace has an end, or an output, as its SDKs write last.
fn root(id: &str, own: &Value, agent: Option<&str>, told_at: u64) -> Span {
    let mut span = observation::span(id, id, "agent", own, None);
    span.span_id = observation::root_id(id).0.to_vec();
    span.name = agent.unwrap_or_default().to_owned();
    if span.start_time_unix_nano == 0 {
        span.start_time_unix_nano = observation::nanos(own, &["timestamp"]).unwrap_or_default();
    }
    if span.end_time_unix_nano == 0 && own.get("output").is_some() {
        span.end_time_unix_nano = told_at;
    }
    if let Some(session) = text(own, &["sessionId", "session_id"]) {
        span.attributes.push(observation::attribute("session.id", session));
    }
    span
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
