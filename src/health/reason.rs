//! Why an agent has its status: for people as a sentence, for machines as fields.
//!
//! Each active condition has a [`Finding`]: what was expected, what was seen, and the likely cause. The status's reason
//! is made of the findings that led to it.

use serde_json::{Value, json};

use super::{budget, conditions, flapping, loops};
use crate::model::{AgentState, Condition, Expected, Policy, Progress, Source, Status, Timestamp, human};

/// What is known about one condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What was expected, what was seen, and the likely cause, as a sentence.
    pub text: String,
    /// The same as fields.
    pub fields: Value,
}

/// Why the agent has its status. Empty while all is well.
pub fn reason(state: &AgentState, policy: &Policy, now: Timestamp) -> String {
    let text = |condition| finding(condition, state, policy, now).text;
    match state.status {
        Status::Unknown if state.life.gone_since.is_some() => gone(state),
        Status::Unknown => "nothing heard from this agent yet".into(),
        Status::Starting | Status::Healthy => String::new(),
        Status::Maintenance => match state.life.maintenance_until {
            Some(until) => format!("under maintenance until {until}"),
            None => "under maintenance".into(),
        },
        Status::Paused => "paused by an operator".into(),
        Status::Stopped => match state.life.stopped_at {
            Some(at) => format!("shut down cleanly at {}", at.time_of_day()),
            None => "shut down cleanly".into(),
        },
        Status::Restarting if state.restarts.awaits_signal => "restarted; waiting for its first sign of life".into(),
        Status::Restarting => "a runner is restarting it".into(),
        Status::Down => text(Condition::Down),
        Status::Stalled => text(Condition::Stalled),
        Status::Erroring => text(Condition::Erroring),
        // What is asked for with each beat while it lasts: without the fields.
        Status::Looping => loops::reason(state, policy, now),
        Status::OverBudget => budget::reason(state, policy, now),
        Status::Degraded => {
            let active = state.conditions.active().filter(|(c, _)| super::status::degrades(*c));
            active.map(|(condition, _)| text(condition)).collect::<Vec<_>>().join("; ")
        }
    }
}

/// What is known about one condition, active or not.
pub fn finding(condition: Condition, state: &AgentState, policy: &Policy, now: Timestamp) -> Finding {
    match condition {
        Condition::Late => late(state, policy, now),
        Condition::Down => down(state, policy, now),
        Condition::Stalled => stalled(state, policy, now),
        Condition::Erroring => erroring(state, policy, now),
        Condition::Looping => Finding {
            text: loops::reason(state, policy, now),
            fields: json!({"signal": state.loops.as_ref().and_then(|m| m.signal).map(|s| s.word())}),
        },
        Condition::OverBudget => {
            Finding { text: budget::reason(state, policy, now), fields: budget::fields(state, policy, now) }
        }
        Condition::Degraded => degraded(state),
        Condition::Flapping => Finding {
            text: flapping::reason(state),
            fields: json!({"hard_changes": state.flaps.iter().map(ToString::to_string).collect::<Vec<_>>()}),
        },
        Condition::SilentGroup => {
            Finding { text: "many agents of its group fell silent together".into(), fields: json!({}) }
        }
    }
}

/// The conditions that are active, as JSON.
pub fn active(state: &AgentState, policy: &Policy, now: Timestamp) -> Vec<Value> {
    let view = |(condition, active): (Condition, crate::model::Active)| {
        let found = finding(condition, state, policy, now);
        json!({
            "name": condition.word(), "level": active.level, "since": active.since.to_string(),
            "reason": found.text, "evidence": found.fields,
        })
    };
    state.conditions.active().map(view).collect()
}

fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(|t| t.to_string())
}

fn silence(state: &AgentState, policy: &Policy, now: Timestamp, allowed: std::time::Duration) -> Value {
    json!({
        "expected_every_seconds": conditions::interval(state, policy).as_secs_f64(),
        "allowed_silence_seconds": allowed.as_secs_f64(),
        "silent_seconds": state.life.alive().map(|at| now.since(at).as_secs_f64()),
        "last_alive": time(state.life.alive()),
    })
}

fn late(state: &AgentState, policy: &Policy, now: Timestamp) -> Finding {
    let expected = human(conditions::interval(state, policy));
    let silent = state.life.alive().map_or_else(String::new, |at| human(now.since(at)));
    Finding {
        text: format!("no sign of life for {silent} (expected every {expected})"),
        fields: silence(state, policy, now, conditions::late_span(state, policy)),
    }
}

fn down(state: &AgentState, policy: &Policy, now: Timestamp) -> Finding {
    if let Some(end) = state.life.stopped_at {
        let text = format!(
            "shut down at {} and not started again for {}, although it is expected to run",
            end.time_of_day(),
            human(now.since(end))
        );
        return Finding {
            text,
            fields: json!({"stopped_at": end.to_string(), "allowed_seconds": policy.stop_grace.as_secs_f64()}),
        };
    }
    let mut fields = silence(state, policy, now, conditions::down_span(state, policy));
    fields["process"] = json!(match (state.life.gone_since, state.life.supervisor) {
        (Some(_), _) => "not running",
        (None, Some(_)) => "running when last looked at",
        (None, None) => "not watched",
    });
    fields["mute"] = json!(is_mute(state));
    let Some(alive) = state.life.alive() else {
        let text = match state.life.gone_since {
            Some(_) => gone(state),
            None => "nothing heard since it was restarted".into(),
        };
        return Finding { text, fields };
    };
    let cause = if state.life.gone_since.is_some() {
        "the runner says it does not run"
    } else if is_mute(state) {
        "its process runs but the agent is mute; likely cause: agent hung or its network is cut"
    } else {
        "likely cause: process ended, host unreachable or network cut"
    };
    let text = format!("{}; last at {}; {cause}", late(state, policy, now).text, alive.time_of_day());
    Finding { text, fields }
}

/// Whether a runner still sees the process of an agent that says nothing itself.
fn is_mute(state: &AgentState) -> bool {
    state.life.own.is_some_and(|own| state.life.supervisor.is_some_and(|seen| seen > own))
}

fn stalled(state: &AgentState, policy: &Policy, now: Timestamp) -> Finding {
    if let (Some(expected), Progress::Schedule) = (&state.work.expected, policy.progress) {
        return missed(state, expected, policy, now);
    }
    let beats = format!("heartbeats normal ({} interval)", human(conditions::interval(state, policy)));
    let completions = match state.work.last_result {
        Some(at) => format!("no completion for {}; last completion {}", human(now.since(at)), at.time_of_day()),
        None => "no completion yet".into(),
    };
    Finding {
        text: format!("{beats}; {completions}; likely cause: agent logic stalled or upstream API unresponsive"),
        fields: json!({
            "allowed_seconds": policy.stalled_after.as_secs_f64(),
            "last_result": time(state.work.last_result),
            "in_flight_since": time(state.work.in_flight_since),
        }),
    }
}

fn missed(state: &AgentState, expected: &Expected, policy: &Policy, now: Timestamp) -> Finding {
    let cron = policy.schedule.as_ref().map_or("", |s| s.text());
    let last = match state.work.last_result {
        Some(at) => format!("last completion {at}"),
        None => "no completion yet".into(),
    };
    Finding {
        text: format!(
            "no completion for {} since the scheduled time {} ({cron}, grace {}); {last}; likely cause: the job was not \
             started, hangs or failed",
            human(now.since(expected.at)),
            expected.at,
            human(policy.schedule_grace),
        ),
        fields: json!({
            "schedule": cron, "time_zone": policy.timezone.iana_name(), "expected_at": expected.at.to_string(),
            "allowed_seconds": policy.schedule_grace.as_secs_f64(), "last_result": time(state.work.last_result),
        }),
    }
}

fn erroring(state: &AgentState, policy: &Policy, now: Timestamp) -> Finding {
    let rate = conditions::error_rate(state, now);
    let (_, results) = conditions::recent_results(state, now);
    let what = match (state.work.failures_in_row, rate) {
        (n, _) if n >= policy.failures => format!("{n} failures in a row"),
        (_, Some(rate)) if rate >= policy.error_rate => {
            format!("failed {:.0} % of {results} results in the last 10 min", rate * 100.0)
        }
        (0, _) => "recovering from failures".into(),
        (1, _) => "1 failure".into(),
        (n, _) => format!("{n} failures in a row"),
    };
    let (failed, all) = conditions::hour_of_results(state, now);
    let hour = match all {
        0 | 1 => String::new(),
        _ => format!("; failed {:.0} % of {all} requests in the last hour", failed as f64 / all as f64 * 100.0),
    };
    let error = state.last_error.as_ref().map_or_else(String::new, |e| format!("; last error: {}", e.message));
    Finding {
        text: what + &hour + &error,
        fields: json!({
            "failures_in_row": state.work.failures_in_row, "allowed_in_row": policy.failures,
            "successes_in_row": state.work.successes_in_row, "recent_results": results, "recent_error_rate": rate,
            "hour_results": all, "hour_failures": failed,
            "last_error": state.last_error.as_ref().map(|e| &e.message),
        }),
    }
}

fn degraded(state: &AgentState) -> Finding {
    let text = state.report.as_ref().map_or_else(String::new, |report| match report.source {
        Source::Supervisor => gone(state),
        Source::Agent => format!("the agent reports: {}", report.message),
        Source::Langfuse => format!("Langfuse reports: {}", report.message),
        other => format!("{} reports: {}", other.word(), report.message),
    });
    let broken = state.dependencies.iter().map(|d| format!("dependency {} fails: {}", d.name, d.message));
    let text = Some(text).filter(|t| !t.is_empty()).into_iter().chain(broken).collect::<Vec<_>>().join("; ");
    Finding {
        text,
        fields: json!({
            "not_running_since": time(state.life.gone_since),
            "dependencies": state.dependencies.iter().map(|d| json!({
                "name": d.name, "since": d.since.to_string(), "at": d.at.to_string(), "message": d.message,
            })).collect::<Vec<_>>(),
            "report": state.report.as_ref().map(|r| json!({
                "source": r.source.word(), "since": r.since.to_string(), "at": r.at.to_string(), "message": r.message,
            })),
        }),
    }
}

fn gone(state: &AgentState) -> String {
    let never = if state.life.alive().is_none() { " and has never seen it run" } else { "" };
    let said = state.last_error.as_ref().map_or_else(String::new, |e| format!(": {}", e.message));
    format!("the runner says it does not run{never}{said}")
}
