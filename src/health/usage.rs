//! Sums: tokens, money, calls. They only ever grow.

use serde_json::json;

use super::apply::Effects;
use super::budget;
use crate::model::{
    Activity, AgentState, COST_BOUNDS, CostOrigin, DURATION_BOUNDS, EventDraft, EventKind, Heartbeat,
    MODEL_NAME_BYTES_MAX, MODELS_MAX, ModelCalls, ModelTotals, Money, OTHER_MODELS, Policy, Timestamp, add,
};

/// Adds what a heartbeat reports; its figures are what was used since the last one.
pub fn beat(state: &mut AgentState, beat: &Heartbeat, policy: &Policy, now: Timestamp, effects: &mut Effects) {
    add(&mut state.totals.tokens_unspecified, beat.tokens);
    state.totals.tool_calls = state.totals.tool_calls.saturating_add(beat.tool_calls.unwrap_or(0));
    if let Some(cost) = beat.cost {
        spend(state, cost, CostOrigin::Reported, policy, now, effects);
    }
}

/// Adds what telemetry tells.
pub fn activity(state: &mut AgentState, told: &Activity, policy: &Policy, now: Timestamp, effects: &mut Effects) {
    let totals = &mut state.totals;
    totals.activities = totals.activities.saturating_add(1);
    totals.tool_calls = totals.tool_calls.saturating_add(told.tool_calls);
    totals.tool_calls_failed = totals.tool_calls_failed.saturating_add(told.tool_calls_failed);
    totals.runs = totals.runs.saturating_add(told.runs.len() as u64);
    for run in &told.runs {
        let durations = totals.run_duration.get_or_insert_default();
        durations.record(run.ended_at.since(run.started_at).as_secs_f64(), &DURATION_BOUNDS);
    }
    add(&mut totals.tokens_input, told.usage.input);
    add(&mut totals.tokens_output, told.usage.output);
    add(&mut totals.tokens_cached_input, told.usage.cached_input);
    add(&mut totals.tokens_reasoning, told.usage.reasoning);
    for calls in &told.model_calls {
        model_calls(state, calls);
    }
    if let Some(cost) = told.usage.cost {
        spend(state, cost, told.usage.cost_origin, policy, now, effects);
    }
}

fn model_calls(state: &mut AgentState, calls: &ModelCalls) {
    let totals = &mut state.totals;
    totals.model_calls = totals.model_calls.saturating_add(calls.calls);
    totals.model_calls_failed = totals.model_calls_failed.saturating_add(calls.failed);
    let cut = &calls.model[..calls.model.floor_char_boundary(MODEL_NAME_BYTES_MAX)];
    let models = &mut totals.models;
    let slot = match models.iter().position(|m| &*m.model == cut) {
        Some(slot) => slot,
        None => {
            // Beyond the first few models the rest shares one slot, so that sums stay right and state stays small.
            let name = if models.len() < MODELS_MAX { cut } else { OTHER_MODELS };
            models.iter().position(|m| &*m.model == name).unwrap_or_else(|| {
                models.push(ModelTotals { model: name.into(), ..ModelTotals::default() });
                models.len() - 1
            })
        }
    };
    models[slot].failed = models[slot].failed.saturating_add(calls.failed);
    models[slot].ok = models[slot].ok.saturating_add(calls.calls.saturating_sub(calls.failed));
}

fn spend(
    state: &mut AgentState,
    cost: Money,
    origin: CostOrigin,
    policy: &Policy,
    now: Timestamp,
    effects: &mut Effects,
) {
    let totals = &mut state.totals;
    totals.cost = Some(totals.cost.unwrap_or_default().plus(cost));
    totals.cost_origin = totals.cost_origin.and(origin);
    totals.cycle_cost.get_or_insert_default().record(cost.as_usd(), &COST_BOUNDS);
    budget::note(state, cost, policy, now, effects);
    let totals = &mut state.totals;
    if let Some(limit) = policy.budget_request.filter(|limit| cost > *limit) {
        totals.cost_spikes = totals.cost_spikes.saturating_add(1);
        effects.events.push(EventDraft {
            kind: EventKind::CostSpike,
            at: now,
            transition: None,
            hard: true,
            cause: format!("one request cost {cost} USD; the limit is {limit} USD"),
            evidence: json!({"cost_usd": cost.to_string(), "limit_usd": limit.to_string()}),
        });
    }
}
