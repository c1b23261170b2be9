//! One agent as JSON: a row of `/api/v1/status`, and `/api/v1/agents/{id}`. `null` is unknown, `0` is zero; times are
//! RFC 3339 in UTC; money is decimal text in US dollars.

use serde_json::{Map, Value, json};

use crate::health::{self, conditions};
use crate::model::{Policy, PolicyPatch, Presence, Timestamp};
use crate::store::AgentRow;

/// The agent as JSON.
pub fn agent(row: &AgentRow, project: &str, policy: &Policy, presence: &Presence, now: Timestamp) -> Value {
    let (state, life) = (&row.state, &row.state.life);
    let time = |at: Option<Timestamp>| at.map(|t| t.to_string());
    let totals = &state.totals;
    json!({
        "agent_id": row.id,
        "agent": row.key.name,
        "project": project,
        "status": state.status.wire_word(),
        "state": state.status,
        "since": state.status_since.to_string(),
        "reason": health::reason(state, policy, now),
        "conditions": health::active(state, policy, now),
        // Restored from an earlier run of the gateway and not heard by this one yet.
        "stale": life.alive().is_some_and(|at| at < presence.started_at) && life.stopped_at.is_none(),
        "paused": life.paused,
        "interval_seconds": conditions::interval(state, policy).as_secs_f64(),
        "created_at": row.created_at.to_string(),
        "last_heartbeat": time(life.heartbeat.max(life.supervisor)),
        "last_alive": time(life.alive()),
        "last_result": time(state.work.last_result),
        "last_error": state.last_error.as_ref().map(|e| json!({"at": e.at.to_string(), "message": e.message})),
        "agent_type": state.agent_type,
        "sources": life.sources().map(|s| s.word()).collect::<Vec<_>>(),
        "totals": {
            "heartbeats": totals.heartbeats,
            "supervisor_beats": totals.supervisor_beats,
            "runs": totals.runs,
            "results_success": totals.successes,
            "results_failure": totals.failures,
            "model_calls": totals.model_calls,
            "model_calls_failed": totals.model_calls_failed,
            "models": models(row),
            "tool_calls": totals.tool_calls,
            "tool_calls_failed": totals.tool_calls_failed,
            "tokens_used": totals.tokens_unspecified,
            "tokens_input": totals.tokens_input,
            "tokens_output": totals.tokens_output,
            "tokens_cached_input": totals.tokens_cached_input,
            "tokens_reasoning": totals.tokens_reasoning,
            "cost_usd": totals.cost.map(|c| c.to_string()),
            "cost_origin": totals.cost_origin.word(),
            "loops_detected": totals.loops.iter().map(|n| u64::from(*n)).sum::<u64>(),
            "langfuse_errors": totals.langfuse_errors,
            "restarts": totals.restarts[0] + totals.restarts[2],
            "restarts_failed": totals.restarts[1] + totals.restarts[3],
        },
        "last_run": state.last_run.as_ref().map(|run| json!({
            "outcome": if run.failed { "failure" } else { "success" },
            "started_at": run.started_at.to_string(),
            "ended_at": run.ended_at.to_string(),
            "error_type": run.error_type,
            "session": run.session.map(|digest| format!("{digest:016x}")),
        })),
        "restart_type": state.restart_target.as_ref().map(|t| &t.kind),
        "restart_target": state.restart_target.as_ref().map(|t| &t.target),
        "restart_open": state.restarts.open.map(|o| o.id.to_string()),
    })
}

/// The agent as JSON, with the policy it is judged by, what was set for it by hand, and what of the policy the
/// configuration's `layers` set.
pub fn agent_with_policy(
    row: &AgentRow,
    project: &str,
    policy: &Policy,
    layers: &[(String, PolicyPatch)],
    presence: &Presence,
    now: Timestamp,
) -> Value {
    let mut view = agent(row, project, policy, presence, now);
    view["policy"] = json!(PolicyPatch::of(policy));
    view["settings"] = json!(*row.settings);
    let mut from = Map::new();
    let own = ("agent".to_owned(), (*row.settings).clone());
    for (layer, patch) in layers.iter().chain([&own]) {
        note_layer(&mut from, "", &json!(patch), layer);
    }
    view["policy_from"] = Value::Object(from);
    view
}

/// Notes that `layer` sets every value of `patch`, over what layers below it set.
fn note_layer(from: &mut Map<String, Value>, prefix: &str, patch: &Value, layer: &str) {
    for (name, value) in patch.as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        if value.is_object() {
            note_layer(from, &format!("{path}."), value, layer);
        } else {
            from.insert(path, layer.into());
        }
    }
}

fn models(row: &AgentRow) -> Map<String, Value> {
    let models = row.state.totals.models.iter();
    models.map(|m| (m.model.to_string(), json!({"success": m.ok, "failure": m.failed}))).collect()
}
