//! Log records of Codex and of the GenAI conventions, and what must not be read. Claude Code's are among the captures.

use super::*;
use crate::model::{CostOrigin, Failure, Money, TraceSpans};
use crate::prices::Prices;
use crate::proto::opentelemetry::proto::common::v1::{AnyValue, any_value::Value};
use crate::proto::opentelemetry::proto::logs::v1::{ResourceLogs, ScopeLogs};
use crate::proto::opentelemetry::proto::resource::v1::Resource;

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(Value::StringValue(value.into())) }) }
}

fn int(key: &str, value: i64) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(Value::IntValue(value)) }) }
}

fn record(nanos: u64, attributes: Vec<KeyValue>) -> LogRecord {
    LogRecord { time_unix_nano: nanos, attributes, ..LogRecord::default() }
}

fn request(service: &str, log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let resource = Some(Resource { attributes: vec![text("service.name", service)] });
    let scope_logs = vec![ScopeLogs { scope: None, log_records }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { resource, scope_logs }] }
}

fn read(service: &str, records: Vec<LogRecord>) -> DecodedLogs {
    decode(&request(service, records), &Naming::default())
}

/// The spans of one trace by class, the run last.
fn spans(decoded: &DecodedLogs) -> &[SpanFacts] {
    let [TraceSpans { spans, teller, upsert: true, .. }] = &decoded.decoded.traces[..] else {
        panic!("one trace: {decoded:?}")
    };
    assert_eq!(teller.signal, Signal::Logs);
    spans
}

fn codex(nanos: u64, name: &str, more: &[KeyValue]) -> LogRecord {
    let mut attributes = vec![text("event.name", name), text("conversation.id", "c-1"), text("model", "gpt-5")];
    attributes.extend_from_slice(more);
    // The field holds a place in Codex's source.
    LogRecord { event_name: "event otel/src/events.rs:7".into(), ..record(nanos, attributes) }
}

#[test]
fn codex_responses_and_tools_are_calls_of_one_run() {
    let counts = [
        text("event.kind", "response.completed"),
        text("input_token_count", "112"),
        text("cached_token_count", "64"),
        text("output_token_count", "17"),
        text("reasoning_token_count", "8"),
    ];
    let tool = |more: &[KeyValue]| {
        let own = [text("tool_name", "shell"), text("call_id", "call_7"), text("success", "false")];
        codex(3_000_000_000, "codex.tool_result", &[&own[..], more].concat())
    };
    let decoded = read(
        "codex_cli_rs",
        vec![
            codex(1_000_000_000, "codex.user_prompt", &[text("prompt", "delete everything")]),
            codex(2_000_000_000, "codex.sse_event", &counts),
            // The same response without counts.
            codex(2_000_000_000, "codex.sse_event", &counts[..1]),
            codex(2_500_000_000, "codex.sse_event", &[text("event.kind", "response.created"), counts[1].clone()]),
            tool(&[text("duration_ms", "500")]),
            // The same call again, with what the first record of it leaves out.
            tool(&[text("duration_ms", "500"), text("arguments", r#"{"command":["ls"]}"#)]),
            codex(4_000_000_000, "codex.api_request", &[text("success", "true")]),
            codex(5_000_000_000, "codex.startup_phase", &[]),
        ],
    );
    assert_eq!((decoded.read, decoded.ignored), (4, 4));
    let [prompt, call, tool, again, run] = spans(&decoded) else { panic!("{decoded:?}") };
    assert_eq!((prompt.class, call.class, tool.class), (SpanClass::Step, SpanClass::Llm, SpanClass::Tool));
    let usage = &call.usage;
    assert_eq!(
        (usage.input, usage.cached_input, usage.output, usage.reasoning),
        (Some(112), Some(64), Some(17), Some(8))
    );
    assert_eq!((call.model.as_deref(), usage.cost), (Some("gpt-5"), None));
    assert_eq!(tool.span, again.span, "one call");
    assert!(tool.tool.as_ref().unwrap().digest.is_none() && again.tool.as_ref().unwrap().digest.is_some());
    let mut merged = again.clone();
    merged.update(tool.clone());
    assert!(merged.tool.unwrap().digest.is_some(), "whichever comes last");
    assert_eq!(tool.failure, Some(Box::new(Failure { kind: "_OTHER".into(), message: String::new() })));
    assert_eq!((tool.start.0, tool.end.0), (2_500_000, 3_000_000));
    assert!(run.open && run.class == SpanClass::Agent && run.session.is_some());
    assert_eq!((run.start.0, run.end.0), (1_000_000, 3_000_000));
    assert!([prompt, call, tool].iter().all(|span| span.parent == Some(run.span)));
    assert!(!format!("{decoded:?}").contains("delete everything"));
}

#[test]
fn codex_calls_get_a_price() {
    let counts = [
        text("event.kind", "response.completed"),
        text("input_token_count", "477"),
        text("cached_token_count", "64"),
        text("output_token_count", "60"),
    ];
    let mut decoded = read("codex_cli_rs", vec![codex(1_795_318_464_000_000_000, "codex.sse_event", &counts)]);
    assert_eq!(decoded.decoded.price(&Prices::load(None).unwrap()), 0);
    let usage = spans(&decoded)[0].usage;
    assert_eq!((usage.cost, usage.cost_origin), (Some(Money(1_124_250)), CostOrigin::Computed));
}

fn claude(nanos: u64, event: &str, more: &[KeyValue]) -> LogRecord {
    let mut attributes = vec![text("event.name", event), text("session.id", "s-1"), text("prompt.id", "p-1")];
    attributes.extend_from_slice(more);
    let body = AnyValue { value: Some(Value::StringValue(format!("claude_code.{event}"))) };
    LogRecord { body: Some(body), ..record(nanos, attributes) }
}

#[test]
fn claude_code_counts_the_cache_beside_the_input_and_errors_as_failed_calls() {
    let tokens = [
        text("model", "claude-sonnet-4-5"),
        int("input_tokens", 142),
        int("output_tokens", 23),
        int("cache_read_tokens", 64),
        int("cache_creation_tokens", 10),
        KeyValue { key: "cost_usd".into(), value: Some(AnyValue { value: Some(Value::DoubleValue(0.000_790_2)) }) },
    ];
    let error = [text("model", "claude-sonnet-4-5"), text("error", "Overloaded"), int("status_code", 529)];
    let tool = [text("tool_name", "Bash"), text("success", "false"), text("error", "rm: notes.txt: secret")];
    let decoded = read(
        "claude-code",
        vec![
            claude(1_000, "api_request", &tokens),
            claude(2_000, "api_error", &error),
            claude(3_000, "tool_result", &tool),
            claude(3_000, "tool_decision", &tool),
        ],
    );
    let [call, failed, tool, run] = spans(&decoded) else { panic!("{decoded:?}") };
    assert_eq!((call.usage.input, call.usage.cached_input), (Some(216), Some(64)));
    assert_eq!((call.usage.cost, call.usage.cost_origin), (Some(Money(790_200)), CostOrigin::Reported));
    let failure = failed.failure.as_ref().unwrap();
    assert_eq!((failed.class, &failure.kind[..], &failure.message[..]), (SpanClass::Llm, "529", "Overloaded"));
    assert!(tool.failure.is_some() && run.open);
    assert!(!format!("{decoded:?}").contains("secret"), "what a tool wrote is nobody's business");

    let session = |id: &str| {
        read(
            "claude-code",
            vec![record(
                1,
                vec![text("event.name", "claude_code.api_request"), text("session.id", id), int("input_tokens", 1)],
            )],
        )
    };
    let [a, b] = ["s-1", "s-2"].map(|id| session(id).decoded.traces[0].teller.instance);
    assert_ne!(a, b, "only sessions tell its processes apart");
    assert_eq!(a, decoded.decoded.traces[0].teller.instance);
}

#[test]
fn an_event_of_the_genai_conventions_is_the_call_it_repeats() {
    let details = |trace: u8, more: &[KeyValue]| LogRecord {
        event_name: "gen_ai.client.inference.operation.details".into(),
        trace_id: vec![trace; 16],
        span_id: vec![7; 8],
        observed_time_unix_nano: 5_000,
        attributes: [&[int("gen_ai.usage.input_tokens", 112), text("gen_ai.output.messages", "[]")], more].concat(),
        ..LogRecord::default()
    };
    let named = details(1, &[text("gen_ai.agent.name", "support"), text("gen_ai.response.model", "gemini-2.5-flash")]);
    let decoded = read("shop", vec![named.clone(), named]);
    let [call, again] = spans(&decoded) else { panic!("{decoded:?}") };
    assert_eq!(call, again, "sent again");
    assert_eq!((call.class, call.parent, call.usage.input), (SpanClass::Llm, None, Some(112)));
    assert_eq!((call.agent.as_deref(), call.model.as_deref()), (Some("support"), Some("gemini-2.5-flash")));
    assert!(decoded.decoded.traces[0].teller.waits && call.end.0 == 5);

    let embedding = read("shop", vec![details(1, &[text("gen_ai.operation.name", "embeddings")])]);
    assert_eq!((spans(&embedding)[0].class, spans(&embedding)[0].usage.input), (SpanClass::Step, None));
}

#[test]
fn what_is_not_about_agents_is_left_alone() {
    let said = AnyValue { value: Some(Value::StringValue("GET /health 200".into())) };
    let decoded = read(
        "web",
        vec![
            LogRecord { body: Some(said), ..LogRecord::default() },
            record(1, vec![text("event.name", "gen_ai.choice"), text("gen_ai.system", "openai")]),
            record(1, vec![text("event.name", "api_request"), int("input_tokens", 5)]),
        ],
    );
    assert_eq!((decoded.read, decoded.ignored), (0, 3));
    assert_eq!(decoded.decoded, Decoded::default());
}
