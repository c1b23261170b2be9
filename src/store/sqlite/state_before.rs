//! States as the format before stored them: read once, at the start, and written in the present form when they change.

use serde::Deserialize;

use crate::model::{
    AgentState, Conditions, CostOrigin, ErrorNote, Expected, FailingDependency, Histogram, Life, LoopMemory,
    LoopSignal, ModelTotals, Money, RecentResults, Repeat, Report, RestartLedger, RestartTarget, Rolling, Run, Spend,
    Status, Timestamp, Totals, Work,
};

/// Its number.
pub const STATE_FORMAT_BEFORE: u8 = 3;

/// [`AgentState`], as it was.
#[derive(Deserialize)]
pub struct StateBefore {
    updated_at: Timestamp,
    status: Status,
    status_since: Timestamp,
    conditions: Conditions,
    deadline: Timestamp,
    life: Life,
    work: WorkBefore,
    loops: Option<Box<LoopMemoryBefore>>,
    spend: Option<Box<Spend>>,
    flaps: Vec<Timestamp>,
    report: Option<Report>,
    dependencies: Vec<FailingDependency>,
    last_error: Option<ErrorNote>,
    last_run: Option<Run>,
    restarts: RestartLedger,
    restart_target: Option<Box<RestartTarget>>,
    agent_type: Option<Box<str>>,
    totals: TotalsBefore,
}

#[derive(Deserialize)]
struct WorkBefore {
    sends_starts: bool,
    in_flight_since: Option<Timestamp>,
    idle_since: Option<Timestamp>,
    expected: Option<Box<Expected>>,
    last_result: Option<Timestamp>,
    last_success: Option<Timestamp>,
    failures_in_row: u32,
    successes_in_row: u32,
    recent_successes: Rolling,
    recent_failures: Rolling,
    hour: Option<Box<HourBefore>>,
    iteration: Option<i64>,
    prompts: Option<u64>,
}

#[derive(Deserialize)]
struct HourBefore {
    successes: Rolling,
    failures: Rolling,
}

#[derive(Deserialize)]
struct LoopMemoryBefore {
    tool_calls: Rolling,
    message: Option<Repeat>,
    call: Option<Repeat>,
    tool: Option<Repeat>,
    tokens: Vec<u32>,
    spikes: u8,
    cycle_at: Timestamp,
    calm_since: Option<Timestamp>,
    calm_cycles: u8,
    signal: Option<LoopSignal>,
}

#[derive(Deserialize)]
struct TotalsBefore {
    heartbeats: u64,
    supervisor_beats: u64,
    activities: u64,
    successes: u64,
    failures: u64,
    runs: u64,
    model_calls: u64,
    model_calls_failed: u64,
    models: Vec<ModelTotals>,
    tool_calls: u64,
    tool_calls_failed: u64,
    tokens_unspecified: Option<u64>,
    tokens_input: Option<u64>,
    tokens_output: Option<u64>,
    tokens_cached_input: Option<u64>,
    tokens_reasoning: Option<u64>,
    cost: Option<Money>,
    cost_origin: CostOrigin,
    cost_spikes: u64,
    loops: [u32; 5],
    langfuse_errors: u64,
    restarts: [u32; 4],
    entered: [u32; Status::ALL.len()],
    heartbeat_latency: Histogram,
    run_duration: Histogram,
    cycle_cost: Histogram,
}

impl From<StateBefore> for AgentState {
    fn from(before: StateBefore) -> Self {
        Self {
            updated_at: before.updated_at,
            status: before.status,
            status_since: before.status_since,
            conditions: before.conditions,
            deadline: before.deadline,
            life: before.life,
            work: before.work.into(),
            loops: before.loops.map(|loops| Box::new((*loops).into())),
            spend: before.spend,
            flaps: before.flaps,
            report: before.report,
            dependencies: before.dependencies,
            last_error: before.last_error,
            last_run: before.last_run.map(Box::new),
            restarts: before.restarts,
            restart_target: before.restart_target,
            agent_type: before.agent_type,
            totals: before.totals.into(),
        }
    }
}

impl From<WorkBefore> for Work {
    fn from(before: WorkBefore) -> Self {
        let hour = before.hour.map(|hour| (hour.successes, hour.failures));
        let (hour_successes, hour_failures) = hour.unwrap_or_default();
        let recent = RecentResults {
            successes: before.recent_successes,
            failures: before.recent_failures,
            hour_successes,
            hour_failures,
        };
        Self {
            sends_starts: before.sends_starts,
            in_flight_since: before.in_flight_since,
            idle_since: before.idle_since,
            expected: before.expected,
            last_result: before.last_result,
            last_success: before.last_success,
            failures_in_row: before.failures_in_row,
            successes_in_row: before.successes_in_row,
            recent: (recent != RecentResults::default()).then(|| Box::new(recent)),
            iteration: before.iteration,
            prompts: before.prompts,
        }
    }
}

impl From<LoopMemoryBefore> for LoopMemory {
    fn from(before: LoopMemoryBefore) -> Self {
        Self {
            tool_calls: before.tool_calls,
            message: before.message,
            call: before.call,
            tool: before.tool,
            output: None,
            tokens: before.tokens,
            spikes: before.spikes,
            cycle_at: before.cycle_at,
            calm_since: before.calm_since,
            calm_cycles: before.calm_cycles,
            signal: before.signal,
        }
    }
}

impl From<TotalsBefore> for Totals {
    fn from(before: TotalsBefore) -> Self {
        let [rate, message, spike, call, tool] = before.loops;
        let counted = |histogram: Histogram| (histogram.count() > 0).then(|| Box::new(histogram));
        Self {
            heartbeats: before.heartbeats,
            supervisor_beats: before.supervisor_beats,
            activities: before.activities,
            successes: before.successes,
            failures: before.failures,
            runs: before.runs,
            model_calls: before.model_calls,
            model_calls_failed: before.model_calls_failed,
            models: before.models,
            tool_calls: before.tool_calls,
            tool_calls_failed: before.tool_calls_failed,
            tokens_unspecified: before.tokens_unspecified,
            tokens_input: before.tokens_input,
            tokens_output: before.tokens_output,
            tokens_cached_input: before.tokens_cached_input,
            tokens_reasoning: before.tokens_reasoning,
            cost: before.cost,
            cost_origin: before.cost_origin,
            cost_spikes: before.cost_spikes,
            loops: [rate, message, spike, call, tool, 0],
            langfuse_errors: before.langfuse_errors,
            skewed_signals: 0,
            restarts: before.restarts,
            entered: before.entered,
            heartbeat_latency: before.heartbeat_latency,
            run_duration: counted(before.run_duration),
            cycle_cost: counted(before.cycle_cost),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{Condition, LoopSignal, Money, Rolling, Status};
    use crate::store::sqlite::rows::decode_state;

    /// What a program of that time stored of an agent that told of a run, worked, failed once and called tools too often.
    const STORED: &str = "\
        03f4a594afa0c4b006068c8c90afa0c4b00600000001009ce293afa0c4b00601018c8c90afa0c4b00600000000809caae8a0\
        c4b006018c8c90afa0c4b00609019ce293afa0c4b0060000019ce293afa0c4b006000000009ce293afa0c4b00600f4a594af\
        a0c4b00600000000000000000000019ce293afa0c4b0060192be92afa0c4b0060001e68dc51c0108e68dc51c010101e2a7ed\
        020108e2a7ed020101010c000180bcb2b00d01d30101a797d18dcd9af9a60a019ce293afa0c4b00601a491f89497f5d08a45\
        01f4a594afa0c4b00601d6f0efc58dbf8dd23001f4a594afa0c4b00607646464646464640092be92afa0c4b0060000010001\
        f2c6a20e01b4fdb021e8fae1428080d5fed3c8b0060000018c8c90afa0c4b0060000019ce293afa0c4b00604626f6f6d0100\
        c4ed9fada0c4b006c4f699aea0c4b00600000000000000000000000800010801010100010a6770742d352d6d696e690100d3\
        010001bc05010a0103000001e8fae14203000100000000000000000000000000000001000000000000070000000000000000\
        0000000000000000000100000000000000000000000000f03f010007000000000000f627f1b913ecb13f";

    #[test]
    fn what_was_stored_before_is_read_with_every_count() {
        let bytes: Vec<u8> =
            (0..STORED.len()).step_by(2).map(|i| u8::from_str_radix(&STORED[i..i + 2], 16).unwrap()).collect();
        let state = decode_state(1, &bytes).unwrap();
        assert_eq!(state.status, Status::Looping);
        assert!(
            state.conditions.get(Condition::Looping).is_some() && state.conditions.get(Condition::Erroring).is_some()
        );
        let totals = &state.totals;
        assert_eq!((totals.heartbeats, totals.successes, totals.failures, totals.runs), (8, 8, 1, 1));
        assert_eq!((totals.tool_calls, totals.tokens_unspecified, totals.tokens_input), (211, Some(700), Some(10)));
        assert_eq!((totals.cost, totals.cost_origin.word()), (Some(Money(70_008_500)), "mixed"));
        assert_eq!((&*totals.models[0].model, totals.models[0].ok), ("gpt-5-mini", 1));
        assert_eq!(totals.loops[LoopSignal::ToolCallRate as usize], 1);
        assert_eq!(totals.run_duration.as_ref().map(|runs| runs.count()), Some(1));
        assert_eq!(totals.cycle_cost.as_ref().map(|cycles| cycles.count()), Some(8));
        let recent = state.work.recent.unwrap();
        assert_ne!((recent.successes, recent.hour_failures), (Rolling::default(), Rolling::default()));
        let loops = state.loops.unwrap();
        assert_eq!((loops.message.map(|m| m.count), loops.tokens.len()), (Some(1), 7));
        assert_eq!(state.last_error.unwrap().message, "boom");
        assert!(state.last_run.is_some_and(|run| !run.failed));
    }

    #[test]
    fn what_is_cut_off_is_refused_and_says_which_agent() {
        let error = decode_state(7, &[super::STATE_FORMAT_BEFORE, 1, 2]).unwrap_err();
        assert!(error.to_string().contains("state of agent 7"), "{error}");
    }
}
