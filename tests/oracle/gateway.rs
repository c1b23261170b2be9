//! What the gateway makes of a trace: `health::apply`, with deadlines fired exactly when the state asks for it.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use pulsegate::health::{Fleet, Moment, apply};
use pulsegate::model::{
    AgentKey, AgentState, BeatStatus, Body, CommandChange, CommandId, CommandUpdate, DependencyReport, Heartbeat,
    Heartbeats, Level, Money, Observation, Policy, Presence, Problem, Progress, ProjectId, Schedule, Source,
    SupervisorReport, Timestamp,
};
use uuid::Uuid;

use crate::trace::{Expected, Trace, What};

/// One JSON text: for each step the status and the conditions after it, exactly as the oracle writes it.
pub fn run(trace: &Trace) -> String {
    let mut gateway = Gateway {
        state: AgentState { deadline: Timestamp::MAX, ..AgentState::default() },
        policy: policy(&trace.policy),
        presence: Presence::default(),
        trace,
        agent: AgentKey::new(ProjectId(1), "a").expect("a valid name"),
    };
    let mut text = String::from("[");
    for (i, step) in trace.steps.iter().enumerate() {
        let now = Timestamp::from_secs(step.at);
        gateway.until(now);
        for (source, body) in bodies(&step.what) {
            gateway.feed(now, source, body);
        }
        text.push_str(if i == 0 { "{" } else { ",{" });
        gateway.describe(&mut text);
        text.push('}');
    }
    text.push(']');
    text
}

struct Gateway<'a> {
    state: AgentState,
    policy: Policy,
    presence: Presence,
    trace: &'a Trace,
    agent: AgentKey,
}

impl Gateway<'_> {
    fn until(&mut self, now: Timestamp) {
        loop {
            let mut due = self.state.deadline;
            // Nothing is evaluated while the gateway is away.
            for (from, to) in self.gaps() {
                if from < due && due < to {
                    due = to;
                }
            }
            if due > now {
                return;
            }
            self.feed(due, Source::Gateway, Body::DeadlinePassed);
            assert!(self.state.deadline > due, "a deadline is never in the past after apply");
        }
    }

    fn gaps(&self) -> impl Iterator<Item = (Timestamp, Timestamp)> + '_ {
        self.trace.gaps.iter().map(|(from, to)| (Timestamp::from_secs(*from), Timestamp::from_secs(*to)))
    }

    fn feed(&mut self, now: Timestamp, source: Source, body: Body) {
        // The newest start is known from then on, a gap once it is over.
        let started_at = Some(Timestamp::from_secs(self.trace.started_at)).filter(|at| *at <= now);
        let known = self.gaps().filter(|(_, to)| *to <= now);
        self.presence = Presence::new(started_at.unwrap_or_default(), known.collect::<Vec<_>>());
        let observation = Observation { agent: self.agent.clone(), received_at: now, at: None, source, body };
        let moment = Moment {
            now,
            presence: &self.presence,
            restarts_from: Timestamp::MAX,
            group_silent: false,
            fleet: Fleet::default(),
        };
        apply(&mut self.state, &observation, &self.policy, &moment);
    }

    fn describe(&self, text: &mut String) {
        let _ = write!(text, "\"status\":\"{}\",\"conditions\":{{", self.state.status.word());
        for (i, (condition, active)) in self.state.conditions.active().enumerate() {
            let level = if active.level == Level::Hard { "hard" } else { "soft" };
            let comma = if i == 0 { "" } else { "," };
            let _ = write!(text, "{comma}\"{}\":\"{level}\"", condition.word());
        }
        text.push('}');
    }
}

fn policy(expected: &Expected) -> Policy {
    Policy {
        interval: Duration::from_secs(expected.interval),
        supervisor_interval: Duration::from_secs(expected.supervisor_interval),
        late_after: expected.late_after,
        down_after: expected.down_after,
        down_grace: Duration::from_secs(expected.down_grace),
        stalled_after: Duration::from_secs(expected.stalled_after),
        progress: match expected.progress {
            "always" => Progress::Always,
            "never" => Progress::Never,
            "schedule" => Progress::Schedule,
            _ => Progress::Auto,
        },
        failures: expected.failures,
        error_rate: expected.error_rate,
        loop_tool_calls: expected.tool_calls_per_minute,
        loop_messages: expected.identical_messages,
        loop_token_spike: expected.token_spike,
        start_grace: Duration::from_secs(expected.start_grace),
        degraded_for: Duration::from_secs(expected.degraded_for),
        budget_hourly: expected.hourly_usd.map(Money),
        budget_daily: expected.daily_usd.map(Money),
        timezone: TimeZone::UTC,
        schedule: Some(Arc::new(Schedule::parse(expected.schedule).expect("a cron expression"))),
        schedule_grace: Duration::from_secs(expected.schedule_grace),
        heartbeats: match expected.expect_heartbeats {
            "auto" => Heartbeats::Auto,
            "never" => Heartbeats::Never,
            _ => Heartbeats::Always,
        },
        expect_running: expected.expect_running,
        stop_grace: Duration::from_secs(expected.stop_grace),
        ..Policy::default()
    }
}

fn bodies(what: &What) -> Vec<(Source, Body)> {
    let command = |change| {
        let id = CommandId(Uuid::from_u128(1));
        (Source::Gateway, Body::Command(CommandUpdate { id, change }))
    };
    match what {
        What::Beat(beat) => {
            let status = match beat.status {
                "warning" => BeatStatus::Warning,
                "error" => BeatStatus::Error,
                "shutdown" => BeatStatus::Shutdown,
                _ => BeatStatus::Ok,
            };
            let heartbeat = Heartbeat {
                message: beat.message.clone(),
                tokens: beat.tokens,
                cost: beat.cost_nanos.map(Money),
                tool_calls: beat.tool_calls,
                iteration: beat.iteration,
                has_details: beat.details,
                idle: beat.idle,
                ..Heartbeat::bare(status)
            };
            vec![(Source::Agent, Body::Heartbeat(Box::new(heartbeat)))]
        }
        What::Supervisor { running } => {
            let report = SupervisorReport { running: *running, message: None, restart: None };
            vec![(Source::Supervisor, Body::SupervisorReport(report))]
        }
        What::WorkStarted => vec![(Source::Agent, Body::WorkStarted)],
        What::Problem { failure } => {
            let message = "told by a tool".into();
            let problem = Problem { message, failure: *failure, event: "langfuse_error", restart: false };
            vec![(Source::Langfuse, Body::Problem(problem))]
        }
        What::Maintenance { until } => vec![(Source::Gateway, Body::Maintenance(until.map(Timestamp::from_secs)))],
        What::Dependency { name, healthy } => {
            let report = DependencyReport { name: (*name).into(), healthy: *healthy, message: String::new() };
            vec![(Source::Probe, Body::Dependency(report))]
        }
        What::Paused { paused } => vec![(Source::Gateway, Body::Paused(*paused))],
        What::Restart { change: "started" } => {
            vec![command(CommandChange::Queued { automatic: false }), command(CommandChange::Started)]
        }
        What::Restart { change: "succeeded" } => vec![command(CommandChange::Succeeded)],
        What::Restart { change: "returned" } => vec![command(CommandChange::Returned)],
        What::Restart { .. } => vec![command(CommandChange::Ended)],
        What::Tick => vec![],
    }
}
