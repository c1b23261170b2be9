//! Requests of spans: traces of agents as OpenTelemetry's conventions describe them, without prompts ("lean", the
//! conventions' default, some 830 bytes a span) or with them ("rich", some 2,800).

use prost::Message;
use pulsegate::model::Timestamp;
use pulsegate::proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use pulsegate::proto::opentelemetry::proto::common::v1::any_value::Value;
use pulsegate::proto::opentelemetry::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use pulsegate::proto::opentelemetry::proto::resource::v1::Resource;
use pulsegate::proto::opentelemetry::proto::trace::v1::span::Event;
use pulsegate::proto::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

/// Traces of a request.
pub const TRACES: u64 = 10;
/// Spans of a trace: a run, its model calls and its tool calls.
pub const SPANS: u64 = 1 + MODEL_CALLS + TOOL_CALLS;
/// Model calls of a trace.
pub const MODEL_CALLS: u64 = 4;
/// Tool calls of a trace.
pub const TOOL_CALLS: u64 = 5;

/// An encoded request of spans with the places that differ from one request to the next.
pub struct Template {
    bytes: Vec<u8>,
    agents: Vec<usize>,
    /// Where the eight bytes are that stand for a trace or a span, and which of them.
    ids: Vec<(usize, u64)>,
}

/// Stands for the agent's number.
const AGENT: &str = "@AGENT#@";
/// The first four bytes of eight that stand for a trace or a span; the others are its number.
const ID: u32 = 0xfeed_f00d;

impl Template {
    /// With prompts, answers and what tools said when `is_rich`.
    pub fn new(now: Timestamp, is_rich: bool) -> Self {
        let bytes = request(now, is_rich).encode_to_vec();
        let mut template = Self { agents: Vec::new(), ids: Vec::new(), bytes };
        for (at, window) in template.bytes.windows(8).enumerate() {
            if window == AGENT.as_bytes() {
                template.agents.push(at);
            } else if window[..4] == ID.to_be_bytes() {
                template.ids.push((at, window[4..].iter().fold(0, |n, b| n << 8 | u64::from(*b))));
            }
        }
        template
    }

    /// Appends request `number`, of the agent of this number.
    pub fn fill(&self, number: u64, agent: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let body = &mut out[start..];
        let name = format!("{agent:08}");
        self.agents.iter().for_each(|at| body[*at..at + 8].copy_from_slice(name.as_bytes()));
        for (at, id) in &self.ids {
            // One step of a bijection: every pair of request and id gives another value, never zero.
            let id = (number << 10 | id).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            body[*at..at + 8].copy_from_slice(&id.to_be_bytes());
        }
    }
}

fn request(now: Timestamp, is_rich: bool) -> ExportTraceServiceRequest {
    let agent = format!("agent-{AGENT}");
    let attributes = vec![
        text("service.name", &agent),
        text("service.version", "1.14.2"),
        text("service.namespace", "support"),
        text("service.instance.id", &format!("pod-{AGENT}-7d4b9c")),
        text("deployment.environment.name", "production"),
        text("host.name", "ip-10-0-12-7"),
        text("k8s.namespace.name", "agents"),
        text("k8s.pod.name", &format!("agent-{AGENT}-7d4b9c-x2x9z")),
        number("process.pid", 1),
        text("process.runtime.name", "cpython"),
        text("telemetry.sdk.language", "python"),
        text("telemetry.sdk.name", "opentelemetry"),
        text("telemetry.sdk.version", "1.45.2"),
    ];
    let scope = InstrumentationScope { name: "opentelemetry.instrumentation.agents".into(), version: "0.9.1".into() };
    let spans = (0..TRACES * SPANS).map(|i| span(&agent, i / SPANS, i % SPANS, now, is_rich)).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    let resource = Some(Resource { attributes });
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource, scope_spans }] }
}

/// Span `place` of trace `trace`: the run, then model calls and tool calls in turn.
fn span(agent: &str, trace: u64, place: u64, now: Timestamp, is_rich: bool) -> Span {
    let marker = |n: u64| (u64::from(ID) << 32 | n).to_be_bytes();
    let id = |place: u64| marker(1 + trace * SPANS + place).to_vec();
    let start = now.0 as u64 * 1000 - 4_000_000_000 + place * 100_000_000;
    let operation = match place {
        0 => "invoke_agent",
        n if n % 2 == 1 && n < 2 * MODEL_CALLS => "chat",
        _ => "execute_tool",
    };
    let mut attributes = vec![
        text("gen_ai.operation.name", operation),
        text("gen_ai.provider.name", "openai"),
        text("gen_ai.agent.name", agent),
        text("gen_ai.agent.id", &format!("asst_{AGENT}")),
        text("gen_ai.conversation.id", &format!("conv_5j66UpCpwteGg4YSxUnt{trace:012x}")),
        text("server.address", "api.example.com"),
        number("server.port", 443),
        text("deployment.tenant", "tenant-eu-1"),
        text("thread.name", "MainThread"),
        number("thread.id", 139_921_331),
    ];
    attributes.extend(match operation {
        "invoke_agent" => vec![
            text("gen_ai.agent.description", "Handles customer orders and refunds"),
            text("gen_ai.request.model", "gpt-4.1-mini-2026-04-14"),
            number("gen_ai.usage.input_tokens", 4200),
            number("gen_ai.usage.output_tokens", 800),
            text("gen_ai.output.type", "text"),
            number("agent.steps", 9),
        ],
        "chat" => vec![
            text("gen_ai.request.model", "gpt-4.1-mini"),
            text("gen_ai.response.model", "gpt-4.1-mini-2026-04-14"),
            text("gen_ai.response.id", &format!("chatcmpl-{:024x}", trace * SPANS + place)),
            text("gen_ai.response.finish_reasons", "stop"),
            attribute("gen_ai.request.temperature", Value::DoubleValue(0.2)),
            attribute("gen_ai.request.top_p", Value::DoubleValue(0.95)),
            number("gen_ai.request.max_tokens", 4096),
            number("gen_ai.usage.input_tokens", 1050),
            number("gen_ai.usage.output_tokens", 200),
            number("gen_ai.usage.cache_read.input_tokens", 400),
            text("openai.request.service_tier", "auto"),
        ],
        _ => vec![
            text("gen_ai.tool.name", "search_orders"),
            text("gen_ai.tool.type", "function"),
            text("gen_ai.tool.call.id", &format!("call_{:024x}", trace * SPANS + place)),
            text("gen_ai.tool.description", "Looks up rows in the order database by key"),
            number("tool.retry_count", 0),
            text("code.function.name", "app.tools.search_orders"),
        ],
    });
    if is_rich {
        attributes.extend(match operation {
            "invoke_agent" => vec![text("gen_ai.system_instructions", &prose(1700, place))],
            "chat" => vec![
                text("gen_ai.input.messages", &message("user", 2500, place)),
                text("gen_ai.output.messages", &message("assistant", 750, place)),
            ],
            _ => vec![
                text(
                    "gen_ai.tool.call.arguments",
                    &format!("{{\"query\": \"{}\", \"limit\": {place}}}", prose(170, place)),
                ),
                text("gen_ai.tool.call.result", &prose(600, place)),
            ],
        });
    }
    // One span of twenty fails: the last tool call of every second trace.
    let failed = place == SPANS - 1 && trace % 2 == 1;
    let mut events = Vec::new();
    if failed {
        attributes.push(text("error.type", "timeout"));
        events.push(Event {
            time_unix_nano: start,
            name: "exception".into(),
            attributes: vec![
                text("exception.type", "TimeoutError"),
                text("exception.message", "upstream did not answer in 30 s"),
                text("exception.stacktrace", &"  File \"tools.py\", line 12, in call\n".repeat(16)),
            ],
        });
    }
    Span {
        trace_id: [marker(1 + TRACES * SPANS + trace), marker(1 + TRACES * SPANS + TRACES + trace)].concat(),
        span_id: id(place),
        parent_span_id: if place == 0 { Vec::new() } else { id(0) },
        name: operation.into(),
        kind: if operation == "chat" { 3 } else { 1 },
        start_time_unix_nano: start,
        end_time_unix_nano: start + 90_000_000,
        attributes,
        events,
        status: Some(Status { code: if failed { 2 } else { 0 }, ..Status::default() }),
        flags: 256,
    }
}

fn message(role: &str, bytes: usize, seed: u64) -> String {
    format!(r#"[{{"role":"{role}","parts":[{{"type":"text","content":"{}"}}]}}]"#, prose(bytes, seed))
}

/// So many bytes of words.
fn prose(bytes: usize, seed: u64) -> String {
    let words = ["the", "customer", "order", "refund", "policy", "summarise", "latency", "because", "invoice", "retry"];
    let mut text = String::new();
    let mut at = seed;
    while text.len() < bytes {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(words[(at >> 33) as usize % words.len()]);
        text.push(' ');
    }
    text.truncate(bytes);
    text
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }) }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}
