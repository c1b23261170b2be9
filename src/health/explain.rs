//! Everything behind a status at one moment, for a person who asks why.

use serde_json::{Value, json};

use super::{Moment, conditions, flapping, reason, restart};
use crate::model::{AgentState, Policy, Timestamp};

/// The status and its reason, the active conditions, when each judgement can next change, the newest signals, and
/// whether an automatic restart would be allowed.
pub fn explain(state: &AgentState, policy: &Policy, moment: &Moment<'_>) -> Value {
    let time = |at: Option<Timestamp>| at.map(|t| t.to_string());
    let mut ahead = state.clone();
    let next = conditions::each(&mut ahead, policy, moment);
    let calm = ("flapping", flapping::judge(&mut ahead, moment.now));
    let deadlines: Vec<Value> = next
        .into_iter()
        .chain([calm])
        .filter(|(_, at)| *at < Timestamp::MAX)
        .map(|(what, at)| json!({"judges": what, "at": at.to_string(), "in_seconds": at.since(moment.now).as_secs_f64()}))
        .collect();
    let (life, work) = (&state.life, &state.work);
    json!({
        "status": state.status.wire_word(),
        "state": state.status,
        "since": state.status_since.to_string(),
        "reason": reason::reason(state, policy, moment.now),
        "conditions": reason::active(state, policy, moment.now),
        "deadlines": deadlines,
        "signals": {
            "own": time(life.own),
            "supervisor": time(life.supervisor),
            "heartbeat": time(life.heartbeat),
            "run_since": time(life.run_since),
            "last_result": time(work.last_result),
            "last_success": time(work.last_success),
            "in_flight_since": time(work.in_flight_since),
            "idle_since": time(work.idle_since),
            "by_source": life.signals().map(|(s, at)| (s.word().into(), at.to_string().into())).collect::<serde_json::Map<_, _>>(),
        },
        "automatic_restart": restart_view(state, policy, moment),
    })
}

fn restart_view(state: &AgentState, policy: &Policy, moment: &Moment<'_>) -> Value {
    let (allowed, why) = match restart::decide(state, policy, moment) {
        restart::Decision::Now => {
            (true, "allowed now, if the agent goes down or Langfuse tells of an error".to_owned())
        }
        restart::Decision::NotBefore(at) => {
            (false, format!("not before {at}: cool-down, back-off or the gateway's start"))
        }
        restart::Decision::No(obstacle) => (false, obstacle.to_string()),
    };
    json!({
        "allowed": allowed, "why": why, "used": state.restarts.automatic, "max": policy.restart_max,
        "last_at": state.restarts.last_at.map(|t| t.to_string()),
    })
}
