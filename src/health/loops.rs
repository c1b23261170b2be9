//! Going round in circles: what repeats, when it is too much, and when it is over.
//!
//! A false alarm here can end a healthy process (clients may be set to stop when told of a loop), so only what proves
//! work is looked at: background beats, sticky counters and a runner's messages never are.

use std::time::Duration;

use super::conditions;
use crate::model::{
    Activity, AgentState, Condition, Heartbeat, Level, LoopMemory, LoopSignal, Policy, Repeat, TOKEN_SAMPLES_MAX,
    Timestamp, Window, text_digest,
};

/// Tool calls are counted over a minute.
const MINUTE: Window = Window { buckets: 60, width: Duration::from_secs(1) };
/// Something that came several times in a row counts as still going on for this long.
const REPEAT_LASTS: Duration = Duration::from_secs(600);
/// A signal is calm below this share of its threshold.
const CALM_SHARE: f64 = 0.8;
/// A loop is over after this long without any signal.
const CALM_FOR: Duration = Duration::from_secs(120);
/// A loop is over after this many cycles without any signal.
const CALM_CYCLES: u8 = 2;
/// Token spikes are judged once there are this many cycles to compare with.
const TOKEN_SAMPLES_MIN: usize = 10;
/// This many spikes among the newest three cycles are a loop.
const SPIKES_HARD: u32 = 2;

/// Takes in a heartbeat that carries work.
pub fn note_beat(state: &mut AgentState, beat: &Heartbeat, policy: &Policy, now: Timestamp) {
    let gap = message_gap(state, policy);
    let memory = state.loops.get_or_insert_default();
    memory.tool_calls.add(now, beat.tool_calls.unwrap_or(0), MINUTE);
    if let Some(message) = &beat.message {
        repeat(&mut memory.message, text_digest(message.as_bytes()), now, gap);
    }
    cycle(memory, beat.tokens, policy, now);
}

/// Takes in the tool calls and tokens of one telemetry request.
pub fn note_activity(state: &mut AgentState, told: &Activity, policy: &Policy, now: Timestamp) {
    let memory = state.loops.get_or_insert_default();
    memory.tool_calls.add(now, told.tool_calls, MINUTE);
    for output in &told.outputs {
        repeat(&mut memory.output, *output, now, REPEAT_LASTS);
    }
    for tool in &told.tools {
        repeat(&mut memory.tool, text_digest(tool.name.as_bytes()), now, REPEAT_LASTS);
        match tool.digest {
            Some(digest) => repeat(&mut memory.call, digest, now, REPEAT_LASTS),
            // What is not known to be the same is taken to be another call.
            None => memory.call = None,
        }
    }
    // Tokens of a request are no cycle's: requests are cut by the exporter's clock, not by the agent's work.
    cycle(memory, None, policy, now);
}

/// How close together identical messages are a row: closer than a routine text with every beat would come.
fn message_gap(state: &AgentState, policy: &Policy) -> Duration {
    let routine = conditions::interval(state, policy) * 3 / 4;
    policy.loop_message_gap.unwrap_or(routine).min(REPEAT_LASTS)
}

fn repeat(slot: &mut Option<Repeat>, digest: u64, now: Timestamp, within: Duration) {
    *slot = Some(match slot.take() {
        Some(r) if r.digest == digest && now.since(r.at) < within => {
            Repeat { count: r.count.saturating_add(1), at: now, ..r }
        }
        _ => Repeat { digest, count: 1, at: now },
    });
}

fn cycle(memory: &mut LoopMemory, tokens: Option<u64>, policy: &Policy, now: Timestamp) {
    if memory.calm_since.is_some() {
        memory.calm_cycles = memory.calm_cycles.saturating_add(1);
    }
    // A cycle that tells of no tokens neither continues a spike nor ends it.
    let Some(tokens) = tokens.filter(|n| *n > 0) else { return };
    memory.cycle_at = now;
    let sum: u64 = memory.tokens.iter().map(|n| u64::from(*n)).sum();
    let is_judged = memory.tokens.len() >= TOKEN_SAMPLES_MIN;
    let usual = sum as f64 / memory.tokens.len().max(1) as f64;
    let is_spike = is_judged && tokens as f64 > usual * policy.loop_token_spike;
    memory.spikes = (memory.spikes << 1 | u8::from(is_spike)) & 0b111;
    if memory.tokens.len() == TOKEN_SAMPLES_MAX {
        memory.tokens.remove(0);
    }
    memory.tokens.push(u32::try_from(tokens).unwrap_or(u32::MAX));
}

/// How strong one signal is.
struct Reading {
    signal: LoopSignal,
    level: Option<Level>,
    is_calm: bool,
}

/// Judges `looping` at `now`; gives the time at which the judgement can next change by itself.
pub fn judge(state: &mut AgentState, policy: &Policy, now: Timestamp) -> Timestamp {
    let Some(memory) = &mut state.loops else { return Timestamp::MAX };
    let readings = read(memory, policy, now);
    let worst = readings.iter().filter(|r| r.level.is_some()).max_by_key(|r| r.level);
    let before = state.conditions.get(Condition::Looping).map(|a| a.level);
    let Some(worst) = worst else {
        return if before.is_some() { calm_down(state, &readings, now) } else { Timestamp::MAX };
    };
    memory.calm_since = None;
    memory.calm_cycles = 0;
    memory.signal = Some(worst.signal);
    let level = worst.level.max(before);
    if level == Some(Level::Hard) && before != Some(Level::Hard) {
        let count = &mut state.totals.loops[worst.signal as usize];
        *count = count.saturating_add(1);
    }
    state.conditions.set(Condition::Looping, level, now);
    next_change(state, now)
}

fn calm_down(state: &mut AgentState, readings: &[Reading], now: Timestamp) -> Timestamp {
    let Some(memory) = &mut state.loops else { return Timestamp::MAX };
    if !readings.iter().all(|r| r.is_calm) {
        memory.calm_since = None;
        memory.calm_cycles = 0;
        return next_change(state, now);
    }
    let since = *memory.calm_since.get_or_insert(now);
    let over = since.plus(CALM_FOR);
    if now >= over || memory.calm_cycles >= CALM_CYCLES {
        memory.calm_since = None;
        memory.calm_cycles = 0;
        memory.signal = None;
        state.conditions.set(Condition::Looping, None, now);
        return Timestamp::MAX;
    }
    over
}

fn read(memory: &LoopMemory, policy: &Policy, now: Timestamp) -> [Reading; LoopSignal::ALL.len()] {
    let count = |slot: &Option<Repeat>| {
        // Without anything further for as long as calm takes, a repetition has ended.
        slot.filter(|r| now.since(r.at) < CALM_FOR).map_or(0, |r| u64::from(r.count))
    };
    let at_least = |signal, n: u64, threshold: u32| Reading {
        signal,
        level: (n >= u64::from(threshold)).then_some(Level::Hard),
        is_calm: (n as f64) < f64::from(threshold) * CALM_SHARE,
    };
    let calls = memory.tool_calls.sum(now, MINUTE);
    let spikes = memory.spikes.count_ones();
    let spiked_last = memory.spikes & 1 == 1 && now.since(memory.cycle_at) < CALM_FOR;
    let level = match spikes {
        n if n >= SPIKES_HARD && spiked_last => Some(Level::Hard),
        _ => spiked_last.then_some(Level::Soft),
    };
    let same_output = at_least(LoopSignal::RepeatedOutput, count(&memory.output), policy.loop_same_tool);
    [
        Reading {
            signal: LoopSignal::ToolCallRate,
            level: (calls > u64::from(policy.loop_tool_calls)).then_some(Level::Hard),
            is_calm: (calls as f64) < f64::from(policy.loop_tool_calls) * CALM_SHARE,
        },
        at_least(LoopSignal::RepeatedMessage, count(&memory.message), policy.loop_messages),
        Reading { signal: LoopSignal::TokenSpike, level, is_calm: !spiked_last },
        at_least(LoopSignal::RepeatedToolCall, count(&memory.call), policy.loop_same_calls),
        at_least(LoopSignal::RepeatedTool, count(&memory.tool), policy.loop_same_tool),
        // Healthy agents, too, give the same short answer many times: it is seen, and proves nothing.
        Reading { level: same_output.level.map(|_| Level::Soft), ..same_output },
    ]
}

/// While the condition is active: when a signal next weakens by itself.
fn next_change(state: &AgentState, now: Timestamp) -> Timestamp {
    let Some(memory) = &state.loops else { return Timestamp::MAX };
    let repeats = [memory.message, memory.call, memory.tool, memory.output].into_iter().flatten().map(|r| r.at);
    let ends = repeats.chain([memory.cycle_at]).map(|at| at.plus(CALM_FOR)).filter(|at| *at > now);
    ends.chain(memory.tool_calls.next_fall(now, MINUTE)).min().unwrap_or_else(|| now.plus(CALM_FOR))
}

/// Why the agent counts as going round in circles, in the form the heartbeat API's clients print.
pub fn reason(state: &AgentState, policy: &Policy, now: Timestamp) -> String {
    let Some(memory) = &state.loops else { return String::new() };
    let times = |slot: Option<Repeat>| slot.map_or(0, |r| r.count);
    match memory.signal {
        None => String::new(),
        Some(LoopSignal::ToolCallRate) => match (memory.tool_calls.sum(now, MINUTE), policy.loop_tool_calls) {
            (calls, most) if calls > u64::from(most) => format!("tool_call_rate: {calls}/min > {most}/min"),
            // The condition outlives the rate until it is calm for a while.
            (calls, most) => format!("tool_call_rate: was > {most}/min, now {calls}/min"),
        },
        Some(LoopSignal::RepeatedMessage) => format!(
            "repeated_message: the same message {} times in a row (threshold {})",
            times(memory.message),
            policy.loop_messages
        ),
        Some(LoopSignal::TokenSpike) => format!(
            "token_spike: {} tokens in a cycle, more than {} times the usual",
            memory.tokens.last().copied().unwrap_or(0),
            policy.loop_token_spike
        ),
        Some(LoopSignal::RepeatedToolCall) => format!(
            "repeated_tool_call: the same tool with the same arguments {} times in a row (threshold {})",
            times(memory.call),
            policy.loop_same_calls
        ),
        Some(LoopSignal::RepeatedTool) => format!(
            "repeated_tool: the same tool {} times in a row, arguments unknown (threshold {}); weak evidence",
            times(memory.tool),
            policy.loop_same_tool
        ),
        Some(LoopSignal::RepeatedOutput) => format!(
            "repeated_output: the model gave the same answer {} times in a row (threshold {}); weak evidence",
            times(memory.output),
            policy.loop_same_tool
        ),
    }
}
