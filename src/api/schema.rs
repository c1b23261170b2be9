//! What the API's documentation says of its JSON. The JSON itself is made in `view` and beside the handlers; a test that
//! asks a running gateway holds the two together.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A page of agents.
#[derive(Serialize, ToSchema)]
pub struct AgentPage {
    /// The agents, by number.
    pub agents: Vec<Agent>,
    /// How many there are in all.
    pub total: u64,
    /// Rows asked for.
    pub limit: u64,
    /// Rows skipped.
    pub offset: u64,
}

/// An agent. `null` is unknown, `0` is zero; times are RFC 3339 in UTC.
#[derive(Serialize, ToSchema)]
pub struct Agent {
    /// Its number.
    #[schema(example = 7, minimum = 1)]
    pub agent_id: i64,
    /// Its name.
    #[schema(example = "research-agent")]
    pub agent: String,
    /// Its project.
    #[schema(example = "default")]
    pub project: String,
    /// The coarse word that ClevAgent clients know: unknown, healthy, degraded, error, down, stopped or paused.
    #[schema(example = "degraded")]
    pub status: String,
    /// The exact word: unknown, starting, healthy, degraded, stalled, erroring, looping, over_budget, down, stopped,
    /// paused, maintenance or restarting.
    #[schema(example = "stalled")]
    pub state: String,
    /// Since when.
    #[schema(example = "2026-11-22T12:39:02Z")]
    pub since: String,
    /// Why, in words; empty while all is well.
    #[schema(example = "heartbeats normal (1m); no completion for 5m; last completion 12:34:02Z")]
    pub reason: String,
    /// Everything that is not as it should be.
    pub conditions: Vec<Condition>,
    /// Restored from an earlier run of the gateway and not heard by this one yet.
    pub stale: bool,
    /// Whether an operator paused it.
    pub paused: bool,
    /// How often it is expected to give a sign of life, in seconds.
    #[schema(example = 60.0)]
    pub interval_seconds: f64,
    /// When it was first heard of.
    #[schema(example = "2026-11-22T08:00:00Z")]
    pub created_at: String,
    /// Its last heartbeat.
    #[schema(required, example = "2026-11-22T12:39:00Z")]
    pub last_heartbeat: Option<String>,
    /// Its last sign of life of any kind.
    #[schema(required, example = "2026-11-22T12:39:00Z")]
    pub last_alive: Option<String>,
    /// Its last result, good or bad.
    #[schema(required, example = "2026-11-22T12:34:02Z")]
    pub last_result: Option<String>,
    /// The last error told of it.
    #[schema(required)]
    pub last_error: Option<LastError>,
    /// The framework it says it is built with.
    #[schema(required, example = "langgraph")]
    pub agent_type: Option<String>,
    /// Who tells of it: agent, supervisor, otlp, langfuse, opamp, gateway.
    #[schema(example = json!(["agent", "otlp"]))]
    pub sources: Vec<String>,
    /// All that was ever counted.
    pub totals: Totals,
    /// Its last finished run.
    #[schema(required)]
    pub last_run: Option<LastRun>,
    /// What kind of thing a runner restarts for it.
    #[schema(required, example = "docker")]
    pub restart_type: Option<String>,
    /// What a runner restarts for it.
    #[schema(required, example = "research-agent")]
    pub restart_target: Option<String>,
    /// The open restart command.
    #[schema(required, example = json!(null))]
    pub restart_open: Option<String>,
}

/// An agent with its settings.
#[derive(Serialize, ToSchema)]
pub struct AgentWithPolicy {
    /// The agent.
    #[serde(flatten)]
    pub agent: Agent,
    /// Every threshold it is judged by.
    #[schema(value_type = AgentSettings)]
    pub policy: Map<String, Value>,
    /// What was set for it by hand; the rest comes from the configuration.
    #[schema(value_type = AgentSettings)]
    pub settings: Map<String, Value>,
    /// What sets a value of `policy`: `health`, `project` or `pattern …` of the configuration, or `agent` (by hand). Values
    /// that are not here are built in.
    #[schema(value_type = BTreeMap<String, String>, example = json!({"interval": "pattern research-*", "budget.hourly_usd": "agent"}))]
    pub policy_from: Map<String, Value>,
    /// Other names that still reach it, from renaming and merging.
    #[schema(example = json!(["reserch-agent"]))]
    pub former_names: Vec<String>,
}

/// Something that is not as it should be.
#[derive(Serialize, ToSchema)]
pub struct Condition {
    /// Its name: late, down, stalled, erroring, looping, over_budget, degraded, flapping or silent_group.
    #[schema(example = "stalled")]
    pub name: String,
    /// `soft` is visible, `hard` alerts and acts.
    #[schema(example = "hard")]
    pub level: String,
    /// Since when.
    #[schema(example = "2026-11-22T12:39:02Z")]
    pub since: String,
    /// What was expected and what was seen.
    #[schema(example = "no completion for 5m")]
    pub reason: String,
    /// The same as fields.
    pub evidence: Map<String, Value>,
}

/// An error told of an agent.
#[derive(Serialize, ToSchema)]
pub struct LastError {
    /// When it was told.
    #[schema(example = "2026-11-22T12:34:02Z")]
    pub at: String,
    /// In part.
    #[schema(example = "429 Too Many Requests")]
    pub message: String,
}

/// All that was ever counted of an agent.
#[derive(Serialize, ToSchema)]
pub struct Totals {
    /// Heartbeats of its own.
    #[schema(example = 812)]
    pub heartbeats: u64,
    /// Reports of a runner.
    #[schema(example = 0)]
    pub supervisor_beats: u64,
    /// Finished runs.
    #[schema(example = 40)]
    pub runs: u64,
    /// Good results.
    #[schema(example = 38)]
    pub results_success: u64,
    /// Failures.
    #[schema(example = 2)]
    pub results_failure: u64,
    /// Calls of models.
    #[schema(example = 120)]
    pub model_calls: u64,
    /// Of these, the failed ones.
    #[schema(example = 3)]
    pub model_calls_failed: u64,
    /// By model: `{"success": n, "failure": n}`.
    pub models: Map<String, Value>,
    /// Calls of tools.
    #[schema(example = 96)]
    pub tool_calls: u64,
    /// Of these, the failed ones.
    #[schema(example = 1)]
    pub tool_calls_failed: u64,
    /// Tokens told without direction.
    #[schema(required, example = json!(null))]
    pub tokens_used: Option<u64>,
    /// Input tokens, cached ones included.
    #[schema(required, example = 51230)]
    pub tokens_input: Option<u64>,
    /// Output tokens, reasoning included.
    #[schema(required, example = 8810)]
    pub tokens_output: Option<u64>,
    /// Of the input tokens, those from a cache.
    #[schema(required, example = 1024)]
    pub tokens_cached_input: Option<u64>,
    /// Of the output tokens, those spent on reasoning.
    #[schema(required, example = json!(null))]
    pub tokens_reasoning: Option<u64>,
    /// Decimal text in US dollars.
    #[schema(required, example = "1.204410000")]
    pub cost_usd: Option<String>,
    /// reported, computed, mixed or unknown.
    #[schema(example = "reported")]
    pub cost_origin: String,
    /// Loops found.
    #[schema(example = 0)]
    pub loops_detected: u64,
    /// Errors that Langfuse told.
    #[schema(example = 0)]
    pub langfuse_errors: u64,
    /// Restarts carried out.
    #[schema(example = 1)]
    pub restarts: u64,
    /// Restarts that failed.
    #[schema(example = 0)]
    pub restarts_failed: u64,
}

/// The last finished run of an agent.
#[derive(Serialize, ToSchema)]
pub struct LastRun {
    /// success or failure.
    #[schema(example = "failure")]
    pub outcome: String,
    /// When it began.
    #[schema(example = "2026-11-22T12:33:00Z")]
    pub started_at: String,
    /// When it ended.
    #[schema(example = "2026-11-22T12:34:02Z")]
    pub ended_at: String,
    /// The class of its error.
    #[schema(required, example = "RateLimitError")]
    pub error_type: Option<String>,
    /// A digest of the conversation or session it belongs to, where the sender named one.
    #[schema(required, example = "9c56cc51b374c3ba")]
    pub session: Option<String>,
}

/// How an agent is, for probes.
#[derive(Serialize, ToSchema)]
pub struct AgentHealth {
    /// Its number.
    #[schema(example = 7)]
    pub agent_id: i64,
    /// Its name.
    #[schema(example = "research-agent")]
    pub agent: String,
    /// The coarse word.
    #[schema(example = "down")]
    pub status: String,
    /// The exact word.
    #[schema(example = "down")]
    pub state: String,
    /// Why, in words.
    #[schema(example = "no sign of life for 3m 10s (expected every 1m)")]
    pub reason: String,
}

/// Everything behind an agent's status.
#[derive(Serialize, ToSchema)]
pub struct Explained {
    /// Its number.
    #[schema(example = 7)]
    pub agent_id: i64,
    /// Its name.
    #[schema(example = "research-agent")]
    pub agent: String,
    /// Status and reason, conditions, deadlines to come, the newest signals by source, and whether an automatic restart
    /// would be allowed.
    pub explanation: Map<String, Value>,
}

/// Events, newest first.
#[derive(Serialize, ToSchema)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
}

/// Something that happened.
#[derive(Serialize, ToSchema)]
pub struct Event {
    /// Its number; rises with time.
    #[schema(example = 42)]
    pub id: i64,
    /// The agent it is about, where one could be found.
    #[schema(required, example = 7)]
    pub agent_id: Option<i64>,
    /// When.
    #[schema(example = "2026-11-22T12:39:02Z")]
    pub at: String,
    /// What kind of thing: transition, restart, langfuse_error, cost_spike and others.
    #[schema(example = "transition")]
    pub kind: String,
    /// For transitions the state before.
    #[schema(required, example = "healthy")]
    pub from: Option<String>,
    /// For transitions the state after.
    #[schema(required, example = "stalled")]
    pub to: Option<String>,
    /// Whether it is confirmed: hard transitions alert and act.
    pub hard: bool,
    /// Why, in words.
    #[schema(example = "no completion for 5m")]
    pub cause: String,
    /// Why, as fields.
    pub evidence: Value,
}

/// Commands, newest first.
#[derive(Serialize, ToSchema)]
pub struct CommandPage {
    /// The commands.
    pub commands: Vec<Command>,
}

/// A command for a runner, and what became of it.
#[derive(Serialize, ToSchema)]
pub struct Command {
    /// Its id.
    #[schema(example = "019390a1-7c53-7000-8000-3f1f0c9a1b2c")]
    pub id: String,
    /// The agent it is about.
    #[schema(example = 7)]
    pub agent_id: i64,
    /// What is to be done.
    #[schema(example = "restart")]
    pub action: String,
    /// What kind of thing is restarted.
    #[schema(example = "docker")]
    pub r#type: String,
    /// What is restarted.
    #[schema(example = "research-agent")]
    pub target: String,
    /// Who asked for it.
    #[schema(example = "manual")]
    pub origin: String,
    /// Why.
    #[schema(example = "stuck since noon")]
    pub reason: String,
    /// Where it stands.
    #[schema(example = "queued")]
    pub state: String,
    /// When it was queued.
    #[schema(example = "2026-11-22T12:39:02Z")]
    pub created_at: String,
    /// After this it is not begun any more.
    #[schema(example = "2026-11-22T12:44:02Z")]
    pub not_after: String,
    /// Until when its result is waited for.
    #[schema(required, example = json!(null))]
    pub lease_until: Option<String>,
    /// How often it was handed out.
    #[schema(example = 0)]
    pub attempts: u64,
    /// When it was over.
    #[schema(required, example = json!(null))]
    pub ended_at: Option<String>,
    /// The runner's words about the outcome.
    #[schema(required, example = json!(null))]
    pub result: Option<String>,
}

/// A restart that was asked for.
#[derive(Serialize, ToSchema)]
pub struct Restart {
    /// The open command.
    pub command: Command,
    /// Whether it had been open before.
    pub joined: bool,
}

/// Who did something.
#[derive(Serialize, ToSchema)]
pub struct Actor {
    /// `key` (whoever holds an API key), `cli` (whoever may run the program on the data directory) or `system` (the gateway
    /// itself, by policy).
    #[schema(example = "key")]
    pub kind: String,
    /// The id of its API key, if it used one.
    #[schema(example = "3f1f0c9a")]
    pub key_id: Option<String>,
    /// The address its request came from.
    #[schema(example = "192.0.2.7")]
    pub address: Option<String>,
}

/// Whether the gateway can do its work.
#[derive(Serialize, ToSchema)]
pub struct Ready {
    /// ready or not_ready.
    #[schema(example = "ready")]
    pub status: String,
    /// What it depends on, by name, each with status, latency in milliseconds and what is wrong.
    #[schema(example = json!({"store": {"status": "ok", "latency_ms": 0.2, "detail": null}}))]
    pub checks: Map<String, Value>,
}

/// That the process runs.
#[derive(Serialize, ToSchema)]
pub struct Alive {
    /// ok.
    #[schema(example = "ok")]
    pub status: String,
    /// The gateway's version.
    #[schema(example = "0.1.0")]
    pub version: String,
}

/// What can be set for an agent; the document has the fields from the type that is read (`model::PolicyPatch`).
#[derive(Serialize, ToSchema)]
pub struct AgentSettings {}
