//! The pure core alone: one state per agent, judged again and again.

use std::hint::black_box;
use std::time::Duration;

use pulsegate::clock::Stopwatch;
use pulsegate::health::{Fleet, Moment, apply};
use pulsegate::model::{
    AgentKey, AgentState, BeatStatus, Body, Heartbeat, Observation, Policy, Presence, ProjectId, Source, Timestamp,
};

/// When the measured fleet lives.
pub const T0: Timestamp = Timestamp::from_secs(1_795_000_000);
/// Rounds of beats over the whole fleet.
const ROUNDS: u32 = 5;

pub fn measure(agents: usize) {
    println!("health: {agents} agents, {} bytes a bare state", size_of::<AgentState>());
    let mut states = vec![AgentState { deadline: Timestamp::MAX, ..AgentState::default() }; agents];
    for (kind, body) in [("bare beat", bare()), ("beat with work", work())] {
        let watch = Stopwatch::start();
        for round in 0..ROUNDS {
            beat(&mut states, &body, T0.plus(Duration::from_secs(60) * (round + 1)));
        }
        let (rate, encoded) = (per_second(agents * ROUNDS as usize, watch.elapsed()), encoded(&states));
        println!("  {kind:<15} {rate:>10.0} applied/s   {encoded:>5} bytes encoded, each agent");
    }
    black_box(&states);
}

fn beat(states: &mut [AgentState], body: &Body, now: Timestamp) {
    let (policy, presence) = (Policy::default(), Presence::new(T0, []));
    let Ok(agent) = AgentKey::new(ProjectId(1), "a") else { return };
    let observation = Observation { agent, received_at: now, at: None, source: Source::Agent, body: body.clone() };
    let moment = Moment {
        now,
        presence: &presence,
        restarts_from: Timestamp::MAX,
        group_silent: false,
        fleet: Fleet::default(),
    };
    for state in states {
        black_box(apply(state, &observation, &policy, &moment));
    }
}

pub fn bare() -> Body {
    Body::Heartbeat(Box::new(Heartbeat::bare(BeatStatus::Ok)))
}

fn work() -> Body {
    let beat = Heartbeat { tokens: Some(1200), tool_calls: Some(2), ..Heartbeat::bare(BeatStatus::Ok) };
    Body::Heartbeat(Box::new(beat))
}

fn encoded(states: &[AgentState]) -> usize {
    let some = states.iter().take(1000);
    let sum: usize = some.clone().map(|state| postcard::to_stdvec(state).map_or(0, |bytes| bytes.len())).sum();
    sum / some.count().max(1)
}

pub fn per_second(n: usize, took: Duration) -> f64 {
    n as f64 / took.as_secs_f64()
}

/// Resident memory of this process, in bytes.
pub fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok());
    pages.unwrap_or(0) * rustix::param::page_size()
}
