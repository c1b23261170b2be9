//! Batches as the SDKs before version 3 send them.

use serde_json::json;

use super::*;
use crate::model::{Money, SpanClass, SpanFacts};

fn events(events: &[(&str, Value)]) -> Vec<Value> {
    let event = |(i, (kind, body)): (usize, &(&str, Value))| json!({"id": format!("e{i}"), "type": kind, "timestamp": "2026-11-24T22:12:31.5Z", "body": body});
    events.iter().enumerate().map(event).collect()
}

fn spans(read: &Read) -> Vec<&SpanFacts> {
    read.decoded.traces.iter().flat_map(|t| &t.spans).collect()
}

fn of_class(read: &Read, class: SpanClass) -> Vec<&SpanFacts> {
    spans(read).into_iter().filter(|s| s.class == class).collect()
}

#[test]
fn what_one_batch_says_of_an_observation_is_put_together() {
    let read = read(&events(&[
        ("trace-create", json!({"id": "t", "name": "research-agent", "timestamp": "2026-11-24T22:12:30Z"})),
        (
            "generation-create",
            json!({"id": "g", "traceId": "t", "name": "chat", "model": "gpt-4o-mini", "startTime": "2026-11-24T22:12:30Z", "endTime": null}),
        ),
        (
            "generation-update",
            json!({"id": "g", "traceId": "t", "endTime": "2026-11-24T22:12:31Z", "usage": {"input": 100, "output": 20, "unit": "TOKENS", "totalCost": 0.5}}),
        ),
    ]));
    assert!(read.errors.is_empty(), "{:?}", read.errors);
    assert_eq!(read.successes.len(), 3);
    let trace = &read.decoded.traces[0];
    assert!(trace.upsert);
    assert_eq!(&*trace.service, "research-agent");
    let call = of_class(&read, SpanClass::Llm)[0];
    assert_eq!((call.usage.input, call.usage.output), (Some(100), Some(20)));
    assert_eq!((call.usage.cost, call.open), (Some(Money(500_000_000)), false));
    let run = of_class(&read, SpanClass::Agent)[0];
    assert_eq!((run.agent.as_deref(), run.open), (Some("research-agent"), true));
    assert_eq!(call.parent, Some(run.span));
}

#[test]
fn a_trace_with_an_output_or_an_end_is_over() {
    for over in [json!({"id": "t", "output": "x"}), json!({"id": "t", "end_time": "2026-11-24T22:12:31Z"})] {
        let read = read(&events(&[("trace-create", json!({"id": "t", "name": "a"})), ("trace-create", over)]));
        assert!(!of_class(&read, SpanClass::Agent)[0].open);
    }
}

#[test]
fn an_update_alone_does_not_move_an_observation() {
    let body = json!({"id": "g", "traceId": "t", "level": "ERROR", "statusMessage": "boom", "endTime": "2026-11-24T22:12:31Z"});
    let read = read(&events(&[("generation-update", body)]));
    let call = of_class(&read, SpanClass::Llm)[0];
    assert_eq!((call.parent, call.open), (None, false));
    assert_eq!(call.failure.as_ref().map(|f| f.message.as_str()), Some("boom"));
}

#[test]
fn other_units_than_tokens_are_no_tokens() {
    let body = json!({"id": "g", "traceId": "t", "usage": {"input": 100, "unit": "CHARACTERS"}});
    let read = read(&events(&[("generation-create", body)]));
    assert_eq!(of_class(&read, SpanClass::Llm)[0].usage.input, None);
}

#[test]
fn a_bad_event_does_not_sink_the_others() {
    let mut batch = events(&[
        ("trace-create", json!({"name": "no id"})),
        ("span-create", json!({"id": "s"})),
        ("dance-create", json!({"id": "d", "traceId": "t"})),
        ("score-create", json!({"name": "q"})),
        ("score-create", json!({"name": "q", "value": 1})),
        ("sdk-log", json!({"log": "x"})),
        ("span-create", json!({"id": "s", "traceId": "t"})),
    ]);
    batch.push(json!({"id": "x", "type": "span-create"}));
    batch.push(json!(7));
    let read = read(&batch);
    let failed: Vec<_> = read.errors.iter().map(|e| (e.id.as_str(), e.error.as_str())).collect();
    assert_eq!(read.successes.len(), 3);
    assert_eq!(failed.len(), 6);
    assert!(failed[1].1.starts_with("body.traceId is required"), "{failed:?}");
    assert!(failed[2].1.contains("\"dance-create\" is not known"), "{failed:?}");
    assert_eq!(failed[4], ("x", "event.body must be an object"));
    assert_eq!(failed[5], ("", "event.type is required"));
}

#[test]
fn ids_of_opentelemetry_stay_as_they_are() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    assert_eq!(observation::trace_id(trace).0[..2], [0x0a, 0xf7]);
    assert_eq!(observation::span_id("b7ad6b7169203331").0[7], 0x31);
    for id in ["", "x", "00000000000000000000000000000000", "af849dad-cbba-4cf4-ad0f-e4bcf14ae3bd"] {
        assert_ne!(observation::trace_id(id).0, [0; 16], "{id}");
        assert_eq!(observation::trace_id(id), observation::trace_id(id));
    }
}
