//! What is sent: beats as the ClevAgent clients send them when they report work, and traces of agents as OpenTelemetry's
//! conventions describe them.

use std::io::Write as _;

use pulsegate::model::Timestamp;

use super::Load;
use super::gateway::Totals;
use super::spans::{MODEL_CALLS, SPANS, TOOL_CALLS, TRACES, Template};

/// Beats of a batch.
const BEATS: u64 = 100;
/// What a beat reports.
const TOKENS: u64 = 1532;
const BEAT_TOOL_CALLS: u64 = 2;

/// Makes requests.
pub struct Payload {
    agents: u64,
    kind: Kind,
}

enum Kind {
    Beat,
    Batch,
    Spans(Template),
}

impl Payload {
    /// Requests of `load` by `agents` agents in turn.
    pub fn new(load: Load, agents: u64, now: Timestamp) -> Self {
        let kind = match load {
            Load::Heartbeat => Kind::Beat,
            Load::Batch => Kind::Batch,
            Load::OtlpHttp | Load::OtlpGrpc => Kind::Spans(Template::new(now, false)),
        };
        Self { agents, kind }
    }

    /// Beats or spans of one request.
    pub const fn items(&self) -> u64 {
        match self.kind {
            Kind::Beat => 1,
            Kind::Batch => BEATS,
            Kind::Spans(_) => TRACES * SPANS,
        }
    }

    /// What so many requests amount to.
    pub fn totals_of(&self, requests: u64) -> Totals {
        let items = requests * self.items();
        match self.kind {
            Kind::Spans(_) => {
                let runs = requests * TRACES;
                Totals { runs, model_calls: runs * MODEL_CALLS, tool_calls: runs * TOOL_CALLS, ..Totals::default() }
            }
            _ => Totals {
                heartbeats: items,
                tokens: items * TOKENS,
                tool_calls: items * BEAT_TOOL_CALLS,
                ..Totals::default()
            },
        }
    }

    /// Appends the body of request `number`.
    pub fn fill(&self, number: u64, out: &mut Vec<u8>) {
        match &self.kind {
            Kind::Beat => beat(number % self.agents, number, out),
            Kind::Batch => {
                out.extend_from_slice(b"{\"heartbeats\":[");
                for item in number * BEATS..(number + 1) * BEATS {
                    beat(item % self.agents, item, out);
                    out.push(b',');
                }
                out.pop();
                out.extend_from_slice(b"]}");
            }
            Kind::Spans(template) => template.fill(number, number % self.agents, out),
        }
    }
}

fn beat(agent: u64, number: u64, out: &mut Vec<u8>) {
    let sequence = 1_000_000_000 + number;
    // Writing to memory cannot fail.
    let _ = write!(
        out,
        r#"{{"agent": "agent-{agent:08}", "status": "ok", "message": "handled order {sequence}", "tokens_used": {TOKENS}, "cost_usd": 0.0125, "tool_calls": {BEAT_TOOL_CALLS}, "iteration_count": {sequence}, "agent_type": "langchain", "memory_mb": 318.25, "custom_data": "{{\"queue\": 4}}", "tool_call_log": [{{"name": "search_orders", "args": "{{\"q\": 1}}"}}, {{"name": "send_email"}}], "prompt_hashes": ["3946ca64ff78d93c", "43bb00d0ce7790a5", "ab71fc4c8a1c4d62"]}}"#
    );
}
