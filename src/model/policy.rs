//! What is expected of an agent: thresholds, and what may be done for it.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::{Money, SCHEDULE_GRACE, Schedule};

/// The expectations that `health::apply` judges one agent by. Every value is also a key of the configuration's
/// `health` section and of `PATCH /api/v1/agents/{id}`, under the same name.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// How often the agent gives a sign of life. 1 s to 24 h.
    pub interval: Duration,
    /// The interval of agents that only a runner reports on. 1 s to 24 h.
    pub supervisor_interval: Duration,
    /// `late` after this many intervals of silence. 1.0 to 100.
    pub late_after: f64,
    /// `down` after this many intervals of silence, plus `down_grace`. 1.0 to 1000.
    pub down_after: f64,
    /// Added to the silence that makes an agent `down`.
    pub down_grace: Duration,
    /// Of whom silence means anything.
    pub heartbeats: Heartbeats,
    /// Whether the agent is meant to run all the time: then a clean end is `down` after `stop_grace`.
    pub expect_running: bool,
    /// How long an agent that is expected to run may be `stopped`.
    pub stop_grace: Duration,
    /// `stalled` after this long without any result while one is expected.
    pub stalled_after: Duration,
    /// When a result is expected.
    pub progress: Progress,
    /// When results are expected under [`Progress::Schedule`], by the clocks of `timezone`.
    pub schedule: Option<Arc<Schedule>>,
    /// `stalled` when no result came this long after a time of the schedule.
    pub schedule_grace: Duration,
    /// `erroring` after this many failures in a row. 1 to 1000.
    pub failures: u32,
    /// `erroring` when this share of at least ten results within ten minutes failed. 0.01 to 1.
    pub error_rate: f64,
    /// `looping` above this many tool calls in a minute. 1 to 60 000.
    pub loop_tool_calls: u32,
    /// `looping` at this many identical messages in a row. 2 to 10 000.
    pub loop_messages: u32,
    /// Identical messages count as a row when they come closer together than this; `None` is three quarters of the
    /// interval, so that a routine text with every beat is no loop.
    pub loop_message_gap: Option<Duration>,
    /// A cycle that uses this many times the usual tokens is a spike. 1.1 to 1000.
    pub loop_token_spike: f64,
    /// `looping` at this many calls of one tool with the same arguments in a row. 2 to 10 000.
    pub loop_same_calls: u32,
    /// `looping` at this many calls of one tool in a row when their arguments are unknown. 2 to 10 000.
    pub loop_same_tool: u32,
    /// The longest time an agent stays `starting`.
    pub start_grace: Duration,
    /// How long a self-reported warning, a failure or an error told by a tool keeps the agent `degraded` when nothing
    /// follows.
    pub degraded_for: Duration,
    /// Whether a restart command may be queued without a person asking for it.
    pub auto_restart: bool,
    /// Whether `stalled` asks for an automatic restart, as `down` does.
    pub restart_stalled: bool,
    /// Whether `looping` does.
    pub restart_looping: bool,
    /// Whether `erroring` does.
    pub restart_erroring: bool,
    /// No second automatic restart within this time.
    pub restart_cooldown: Duration,
    /// Automatic restarts without `restart_reset` of health in between, after which a person must act. 1 to 100.
    pub restart_max: u32,
    /// This long healthy forgets earlier automatic restarts.
    pub restart_reset: Duration,
    /// One request above this amount counts as a cost spike.
    pub budget_request: Option<Money>,
    /// `over_budget` when more than this is spent in a rolling hour.
    pub budget_hourly: Option<Money>,
    /// `over_budget` when more than this is spent on a calendar day of `timezone`.
    pub budget_daily: Option<Money>,
    /// Where the project's days begin and end.
    pub timezone: TimeZone,
}

/// When a lack of results means that the agent is stuck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// Decided by what the agent sends: nothing about work → never; starts and results → while work is in flight;
    /// results only → always.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
    /// By the calendar: after each time of the policy's schedule, by its grace.
    Schedule,
}

/// Of whom silence means anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Heartbeats {
    /// Of every agent.
    #[default]
    Always,
    /// Of agents that beat, or whose runner does: not of those known by telemetry alone, nor of those whose results are
    /// expected by the calendar.
    Auto,
    /// Of none: the agent is never late or down.
    Never,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            supervisor_interval: Duration::from_secs(30),
            late_after: 1.5,
            down_after: 3.0,
            down_grace: Duration::from_secs(10),
            heartbeats: Heartbeats::Always,
            expect_running: false,
            stop_grace: Duration::from_secs(300),
            stalled_after: Duration::from_secs(300),
            progress: Progress::Auto,
            schedule: None,
            schedule_grace: SCHEDULE_GRACE,
            failures: 3,
            error_rate: 0.5,
            loop_tool_calls: 10,
            loop_messages: 5,
            loop_message_gap: None,
            loop_token_spike: 3.0,
            loop_same_calls: 5,
            loop_same_tool: 15,
            start_grace: Duration::from_secs(120),
            degraded_for: Duration::from_secs(600),
            auto_restart: false,
            restart_stalled: true,
            restart_looping: false,
            restart_erroring: false,
            restart_cooldown: Duration::from_secs(60),
            restart_max: 3,
            restart_reset: Duration::from_secs(600),
            budget_request: Some(Money(1_000_000_000)),
            budget_hourly: Some(Money(20_000_000_000)),
            budget_daily: None,
            timezone: TimeZone::UTC,
        }
    }
}
