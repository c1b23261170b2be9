//! Two agents that turn out to be one: what is remembered of both, as if it had been one agent all along.
//!
//! Every field is named, so that a new one cannot be forgotten here.

use crate::health::{budget, conditions};
use crate::model::{
    AgentState, FLAPS_MAX, Life, MODELS_MAX, ModelTotals, Money, OTHER_MODELS, RestartLedger, Spend, Timestamp, Totals,
    Work,
};

/// Adds what is remembered of `from` to `into`. Sums are added, of what is newest the newer stays, and what cannot be
/// joined (conditions, what repeats, the dose of restarts) stays as it is in `into`, to be judged anew.
pub(super) fn absorb(into: &mut AgentState, from: &AgentState) {
    let AgentState {
        updated_at,
        status: _,
        status_since: _,
        conditions: _,
        deadline: _,
        life,
        work,
        loops,
        spend,
        flaps,
        report,
        dependencies: _,
        last_error,
        last_run,
        restarts,
        restart_target,
        agent_type,
        totals,
    } = from;
    into.updated_at = into.updated_at.max(*updated_at);
    absorb_life(&mut into.life, life);
    absorb_work(&mut into.work, work);
    into.loops = into.loops.take().or_else(|| loops.clone());
    into.spend = absorb_spend(into.spend.take(), spend.as_deref());
    into.flaps.extend(flaps);
    into.flaps.sort_unstable();
    let surplus = into.flaps.len().saturating_sub(FLAPS_MAX);
    into.flaps.drain(..surplus);
    newer(&mut into.report, report, |r| r.at);
    newer(&mut into.last_error, last_error, |e| e.at);
    newer(&mut into.last_run, last_run, |r| r.ended_at);
    absorb_restarts(&mut into.restarts, restarts);
    into.restart_target = into.restart_target.take().or_else(|| restart_target.clone());
    into.agent_type = into.agent_type.take().or_else(|| agent_type.clone());
    absorb_totals(&mut into.totals, totals);
}

fn newer<T: Clone>(into: &mut Option<T>, from: &Option<T>, at: fn(&T) -> Timestamp) {
    if from.as_ref().map(at) > into.as_ref().map(at) {
        into.clone_from(from);
    }
}

fn absorb_life(into: &mut Life, from: &Life) {
    let Life {
        run_since,
        run_signals,
        own,
        supervisor,
        gone_since,
        heartbeat,
        stopped_at,
        paused: _,
        maintenance_until: _,
        watched_since,
        heard,
        declared_interval_ms,
    } = from;
    // Which of the two was heard last tells whether the one agent is at rest.
    if from.alive() > into.alive() {
        into.stopped_at = *stopped_at;
        into.gone_since = *gone_since;
    }
    into.run_since = match (into.run_since, *run_since) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    into.run_signals = into.run_signals.saturating_add(*run_signals);
    into.own = into.own.max(*own);
    into.supervisor = into.supervisor.max(*supervisor);
    into.heartbeat = into.heartbeat.max(*heartbeat);
    into.watched_since = into.watched_since.max(*watched_since);
    into.heard.iter_mut().zip(heard).for_each(|(a, b)| *a = (*a).max(*b));
    into.declared_interval_ms = into.declared_interval_ms.or(*declared_interval_ms);
}

fn absorb_work(into: &mut Work, from: &Work) {
    let Work {
        sends_starts,
        in_flight_since,
        idle_since,
        expected: _,
        last_result,
        last_success,
        failures_in_row,
        successes_in_row,
        recent,
        iteration,
        prompts,
    } = from;
    if last_result > &into.last_result {
        (into.failures_in_row, into.successes_in_row) = (*failures_in_row, *successes_in_row);
        into.idle_since = *idle_since;
    }
    into.sends_starts |= sends_starts;
    into.in_flight_since = into.in_flight_since.or(*in_flight_since);
    into.last_result = into.last_result.max(*last_result);
    into.last_success = into.last_success.max(*last_success);
    match (&mut into.recent, recent) {
        (Some(into), Some(from)) => {
            into.successes.absorb(&from.successes, conditions::RESULTS);
            into.failures.absorb(&from.failures, conditions::RESULTS);
            into.hour_successes.absorb(&from.hour_successes, conditions::HOUR);
            into.hour_failures.absorb(&from.hour_failures, conditions::HOUR);
        }
        (into, from) => *into = into.take().or_else(|| from.clone()),
    }
    into.iteration = into.iteration.or(*iteration);
    into.prompts = into.prompts.or(*prompts);
}

fn absorb_spend(into: Option<Box<Spend>>, from: Option<&Spend>) -> Option<Box<Spend>> {
    let (mut into, from) = match (into, from) {
        (Some(into), Some(from)) => (into, from),
        (into, from) => return into.or_else(|| from.cloned().map(Box::new)),
    };
    let Spend { hour, today, day_ends, hour_warned, day_warned } = from;
    into.hour.absorb(hour, budget::HOUR);
    if *day_ends > into.day_ends {
        (into.today, into.day_ends) = (Money(0), *day_ends);
    }
    if *day_ends == into.day_ends {
        into.today = Money(into.today.0.saturating_add(today.0));
    }
    into.hour_warned |= hour_warned;
    into.day_warned |= day_warned;
    Some(into)
}

fn absorb_restarts(into: &mut RestartLedger, from: &RestartLedger) {
    // An open restart of the one that ends is given up with it.
    let RestartLedger { open: _, last_at, awaits_signal: _, automatic, healthy_since: _, jitter, exhausted } = from;
    if *last_at > into.last_at {
        (into.last_at, into.jitter) = (*last_at, *jitter);
    }
    into.exhausted |= exhausted;
    into.automatic = into.automatic.max(*automatic);
}

fn absorb_totals(into: &mut Totals, from: &Totals) {
    let Totals {
        heartbeats,
        supervisor_beats,
        activities,
        successes,
        failures,
        runs,
        model_calls,
        model_calls_failed,
        models,
        tool_calls,
        tool_calls_failed,
        tokens_unspecified,
        tokens_input,
        tokens_output,
        tokens_cached_input,
        tokens_reasoning,
        cost,
        cost_origin,
        cost_spikes,
        loops,
        langfuse_errors,
        skewed_signals,
        restarts,
        entered,
        heartbeat_latency,
        run_duration,
        cycle_cost,
    } = from;
    for (sum, more) in [
        (&mut into.heartbeats, heartbeats),
        (&mut into.supervisor_beats, supervisor_beats),
        (&mut into.activities, activities),
        (&mut into.successes, successes),
        (&mut into.failures, failures),
        (&mut into.runs, runs),
        (&mut into.model_calls, model_calls),
        (&mut into.model_calls_failed, model_calls_failed),
        (&mut into.tool_calls, tool_calls),
        (&mut into.tool_calls_failed, tool_calls_failed),
        (&mut into.cost_spikes, cost_spikes),
        (&mut into.langfuse_errors, langfuse_errors),
        (&mut into.skewed_signals, skewed_signals),
    ] {
        *sum = sum.saturating_add(*more);
    }
    for (sum, more) in [
        (&mut into.tokens_unspecified, tokens_unspecified),
        (&mut into.tokens_input, tokens_input),
        (&mut into.tokens_output, tokens_output),
        (&mut into.tokens_cached_input, tokens_cached_input),
        (&mut into.tokens_reasoning, tokens_reasoning),
    ] {
        if let Some(more) = more {
            *sum = Some(sum.unwrap_or(0).saturating_add(*more));
        }
    }
    if let Some(more) = cost {
        into.cost = Some(Money(into.cost.unwrap_or_default().0.saturating_add(more.0)));
    }
    into.cost_origin = into.cost_origin.and(*cost_origin);
    models.iter().for_each(|more| add_model(&mut into.models, more));
    add_each(&mut into.loops, loops);
    add_each(&mut into.restarts, restarts);
    add_each(&mut into.entered, entered);
    into.heartbeat_latency.absorb(heartbeat_latency);
    for (sum, more) in [(&mut into.run_duration, run_duration), (&mut into.cycle_cost, cycle_cost)] {
        if let Some(more) = more {
            sum.get_or_insert_default().absorb(more);
        }
    }
}

fn add_each<const N: usize>(into: &mut [u32; N], from: &[u32; N]) {
    into.iter_mut().zip(from).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
}

/// As when calls are counted: the first few models by name, the others together.
fn add_model(models: &mut Vec<ModelTotals>, more: &ModelTotals) {
    let place_of = |models: &[ModelTotals], name: &str| models.iter().position(|m| &*m.model == name);
    let place = place_of(models, &more.model).unwrap_or_else(|| {
        let name = if models.len() < MODELS_MAX { &*more.model } else { OTHER_MODELS };
        place_of(models, name).unwrap_or_else(|| {
            models.push(ModelTotals { model: name.into(), ..ModelTotals::default() });
            models.len() - 1
        })
    });
    models[place].ok = models[place].ok.saturating_add(more.ok);
    models[place].failed = models[place].failed.saturating_add(more.failed);
}
