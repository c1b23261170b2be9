//! What the API's documentation says of a heartbeat's body and headers. Decoding is `wire`'s: more forms are taken than
//! told here (numbers as text, names of an early description), since published clients send them.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

/// A heartbeat. Only `agent` is needed; usage is what was used since the last beat; fields that are not known are ignored.
#[derive(Serialize, ToSchema)]
#[schema(as = Heartbeat, example = json!({
    "agent": "research-agent", "status": "ok", "message": "step 3 of 5", "tokens_used": 1500, "cost_usd": 0.045, "tool_calls": 3
}))]
pub struct Beat {
    /// The agent's name: 1 to 200 bytes, no control characters.
    #[schema(min_length = 1, max_length = 200)]
    agent: String,
    /// `ok`, `warning`, `error` or `shutdown`.
    #[schema(default = "ok", pattern = "^(ok|warning|error|shutdown)$")]
    status: Option<String>,
    /// For people; kept in part.
    message: Option<String>,
    /// Tokens, input and output together.
    #[schema(minimum = 0)]
    tokens_used: Option<i64>,
    /// US dollars.
    #[schema(minimum = 0)]
    cost_usd: Option<f64>,
    /// Calls of tools.
    #[schema(minimum = 0)]
    tool_calls: Option<i64>,
    /// The agent's own loop counter; only a change tells anything.
    iteration_count: Option<i64>,
    /// Memory of the process, in MB.
    #[schema(minimum = 0)]
    memory_mb: Option<f64>,
    /// Anything; only its presence counts.
    custom_data: Option<Map<String, Value>>,
    /// The newest calls of tools; only their number counts.
    tool_call_log: Option<Vec<Map<String, Value>>>,
    /// Digests of the newest prompts.
    prompt_hashes: Option<Vec<String>>,
    /// The framework the agent is built with.
    agent_type: Option<String>,
    /// Sent by runners: what kind of thing a restart is for.
    #[schema(max_length = 32)]
    restart_type: Option<String>,
    /// Sent by runners: what is restarted.
    #[schema(max_length = 256)]
    restart_target: Option<String>,
    /// How often the agent will give a sign of life, in seconds.
    #[schema(minimum = 1)]
    interval: Option<f64>,
}

/// A batch: a list, or an object with the list.
#[derive(Serialize, ToSchema)]
#[schema(as = HeartbeatBatch, example = json!({"heartbeats": [{"agent": "a", "status": "ok"}, {"agent": "b", "tokens_used": 20}]}))]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `batch` reads")]
pub enum Beats {
    /// A list of at most 100.
    List(Vec<Beat>),
    /// An object with a list of at most 100.
    Object {
        /// The heartbeats.
        #[schema(max_items = 100)]
        heartbeats: Vec<Beat>,
    },
}

/// The header that makes a retry harmless.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes a header that is read by name")]
pub struct IdempotencyKey {
    /// The same for every repeat of one request: within two hours it is counted once.
    #[param(rename = "Idempotency-Key", max_length = 255)]
    idempotency_key: Option<String>,
}
