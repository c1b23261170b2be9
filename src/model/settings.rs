//! Settings as people write them: the `health` section of the configuration and `PATCH /api/v1/agents/{id}`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Heartbeats, Money, Policy, Progress, Schedule, exact, human};

/// A duration written as text (`60s`, `5m`, `1h 30m`) or as a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&exact(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"60s\", \"5m\" or a number of seconds")
            }
            fn visit_u64<E: de::Error>(self, secs: u64) -> Result<Span, E> {
                Ok(Span(Duration::from_secs(secs)))
            }
            fn visit_i64<E: de::Error>(self, secs: i64) -> Result<Span, E> {
                u64::try_from(secs)
                    .map_err(|_| E::custom("a duration cannot be negative"))
                    .and_then(|s| self.visit_u64(s))
            }
            fn visit_f64<E: de::Error>(self, secs: f64) -> Result<Span, E> {
                Duration::try_from_secs_f64(secs).map(Span).map_err(E::custom)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                if let Ok(secs) = text.trim().parse::<u64>() {
                    return self.visit_u64(secs);
                }
                // A day is 24 hours here: expectations do not follow the calendar.
                let span =
                    text.parse::<jiff::Span>().and_then(|s| s.to_duration(jiff::SpanRelativeTo::days_are_24_hours()));
                let span = span.map_err(|_| {
                    E::custom(format!("{text:?} is not a duration; write for example \"60s\", \"5m\" or \"1h 30m\""))
                })?;
                span.try_into().map(Span).map_err(|_| E::custom("a duration cannot be negative"))
            }
        }
        d.deserialize_any(Visitor)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{"type": "string", "examples": ["60s", "5m", "1h 30m"]}, {"type": "number", "minimum": 0}],
            "description": "A duration such as \"60s\", \"5m\" or \"1h 30m\"; a bare number is seconds."
        })
    }
}

/// Settings that override a [`Policy`]: what is absent stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyPatch {
    /// How often an agent gives a sign of life. 1s to 24h; default 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// The interval of agents that only a runner reports on. 1s to 24h; default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supervisor_interval: Option<Span>,
    /// An agent is late after this many intervals of silence. 1 to 100; default 1.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_after: Option<f64>,
    /// An agent is down after this many intervals of silence plus down_grace. 1 to 1000; default 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down_after: Option<f64>,
    /// Added to the silence that makes an agent down. Up to 24h; default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down_grace: Option<Span>,
    /// Of whom silence means anything: always (default), never, or auto: only agents that beat or whose runner does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_heartbeats: Option<HeartbeatsWord>,
    /// Whether the agent is meant to run all the time: then a clean end is down after stop_grace. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_running: Option<bool>,
    /// How long an agent that is expected to run may be stopped. Up to 24h; default 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_grace: Option<Span>,
    /// An agent is stalled after this long without a result while one is expected. 1s to 30d; default 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalled_after: Option<Span>,
    /// When results are expected: auto (default), always, never, or schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressWord>,
    /// When results are expected by the calendar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<SchedulePatch>,
    /// An agent is erroring after this many failures in a row. 1 to 1000; default 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
    /// An agent is erroring when this share of at least ten results within ten minutes failed. 0.01 to 1; default 0.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// When an agent counts as going round in circles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loops: Option<LoopsPatch>,
    /// The longest time an agent stays starting. Up to 24h; default 2m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_grace: Option<Span>,
    /// How long a self-reported warning, a failure or a tool's error keeps an agent degraded when nothing follows. Up to 30d; default 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded_for: Option<Span>,
    /// Whether a restart command may be queued without a person asking. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_restart: Option<bool>,
    /// The dose limit of automatic restarts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartPatch>,
    /// Budgets in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetPatch>,
}

/// When results are expected by the calendar, in the project's time zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SchedulePatch {
    /// A cron expression such as "0 3 * * *"; where it is set, progress is schedule unless that is set too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// An agent is stalled when no result came this long after a time of the schedule. Up to 30d; default 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace: Option<Span>,
}

/// When an agent counts as going round in circles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoopsPatch {
    /// Above this many tool calls in a minute. 1 to 60000; default 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls_per_minute: Option<u32>,
    /// At this many identical messages in a row. 2 to 10000; default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identical_messages: Option<u32>,
    /// Identical messages count as a row when they come closer together than this. 1s to 24h; default three quarters of
    /// the interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_gap: Option<Span>,
    /// A cycle with this many times the usual tokens is a spike; two of three are a loop. 1.1 to 1000; default 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_spike: Option<f64>,
    /// At this many calls of one tool with the same arguments in a row. 2 to 10000; default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identical_tool_calls: Option<u32>,
    /// At this many calls of one tool in a row when the arguments are not known. 2 to 10000; default 15.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_tool: Option<u32>,
}

/// The dose limit of automatic restarts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestartPatch {
    /// Whether an agent that is stalled is restarted as one that is down. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stalled: Option<bool>,
    /// Whether an agent that is looping is. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looping: Option<bool>,
    /// Whether an agent that is erroring is. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erroring: Option<bool>,
    /// No second automatic restart within this time. Up to 24h; default 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Span>,
    /// Automatic restarts without `reset` of health in between, after which a person must act. 1 to 100; default 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// This long healthy forgets earlier automatic restarts. Up to 30d; default 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<Span>,
}

/// Budgets in US dollars.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetPatch {
    /// One request above this makes a cost_spike event. Default 1.00.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_usd: Option<f64>,
    /// More than this in a rolling hour is over budget. Default 20.00.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hourly_usd: Option<f64>,
    /// More than this on a calendar day of the project is over budget. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_usd: Option<f64>,
}

/// When results are expected of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProgressWord {
    /// Decided by what the agent sends.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
    /// By the calendar.
    Schedule,
}

/// Of whom silence means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeartbeatsWord {
    /// Of every agent.
    Always,
    /// Of agents that beat, or whose runner does.
    Auto,
    /// Of none.
    Never,
}

/// A setting out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SettingError {
    /// Dotted path of the setting.
    pub field: String,
    /// What is wrong and what is allowed.
    pub problem: String,
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

impl PolicyPatch {
    /// Checks every range. The first setting that is out of its range is the error.
    pub fn check(&self) -> Result<(), SettingError> {
        let restart = self.restart.clone().unwrap_or_default();
        let budget = self.budget.clone().unwrap_or_default();
        span("interval", self.interval, SECOND, DAY)?;
        span("supervisor_interval", self.supervisor_interval, SECOND, DAY)?;
        number("late_after", self.late_after, 1.0, 100.0)?;
        number("down_after", self.down_after, 1.0, 1000.0)?;
        span("down_grace", self.down_grace, Duration::ZERO, DAY)?;
        span("stalled_after", self.stalled_after, SECOND, MONTH)?;
        span("stop_grace", self.stop_grace, Duration::ZERO, DAY)?;
        let schedule = self.schedule.clone().unwrap_or_default();
        if let Some(cron) = &schedule.cron {
            Schedule::parse(cron).map_err(|problem| SettingError { field: "schedule.cron".into(), problem })?;
        }
        span("schedule.grace", schedule.grace, Duration::ZERO, MONTH)?;
        number("failures", self.failures.map(f64::from), 1.0, 1000.0)?;
        number("error_rate", self.error_rate, 0.01, 1.0)?;
        let loops = self.loops.clone().unwrap_or_default();
        number("loops.tool_calls_per_minute", loops.tool_calls_per_minute.map(f64::from), 1.0, 60_000.0)?;
        number("loops.identical_messages", loops.identical_messages.map(f64::from), 2.0, 10_000.0)?;
        span("loops.message_gap", loops.message_gap, SECOND, DAY)?;
        number("loops.token_spike", loops.token_spike, 1.1, 1000.0)?;
        number("loops.identical_tool_calls", loops.identical_tool_calls.map(f64::from), 2.0, 10_000.0)?;
        number("loops.same_tool", loops.same_tool.map(f64::from), 2.0, 10_000.0)?;
        span("start_grace", self.start_grace, Duration::ZERO, DAY)?;
        span("degraded_for", self.degraded_for, Duration::ZERO, MONTH)?;
        span("restart.cooldown", restart.cooldown, Duration::ZERO, DAY)?;
        number("restart.max", restart.max.map(f64::from), 1.0, 100.0)?;
        span("restart.reset", restart.reset, Duration::ZERO, MONTH)?;
        number("budget.request_usd", budget.request_usd, 0.0, 1e6)?;
        number("budget.hourly_usd", budget.hourly_usd, 0.0, 1e6)?;
        number("budget.daily_usd", budget.daily_usd, 0.0, 1e6)
    }

    /// Puts what is present into `policy`.
    pub fn apply_to(&self, policy: &mut Policy) {
        put(&mut policy.interval, self.interval.map(|s| s.0));
        put(&mut policy.supervisor_interval, self.supervisor_interval.map(|s| s.0));
        put(&mut policy.late_after, self.late_after);
        put(&mut policy.down_after, self.down_after);
        put(&mut policy.down_grace, self.down_grace.map(|s| s.0));
        put(&mut policy.stalled_after, self.stalled_after.map(|s| s.0));
        put(&mut policy.heartbeats, self.expect_heartbeats.map(HeartbeatsWord::meaning));
        put(&mut policy.expect_running, self.expect_running);
        put(&mut policy.stop_grace, self.stop_grace.map(|s| s.0));
        if let Some(schedule) = &self.schedule {
            // Checked before; one that cannot be read is none.
            let cron = schedule.cron.as_deref().and_then(|text| Schedule::parse(text).ok());
            if let Some(cron) = cron {
                policy.schedule = Some(Arc::new(cron));
                policy.progress = Progress::Schedule;
            }
            put(&mut policy.schedule_grace, schedule.grace.map(|s| s.0));
        }
        put(&mut policy.progress, self.progress.map(ProgressWord::meaning));
        put(&mut policy.failures, self.failures);
        put(&mut policy.error_rate, self.error_rate);
        if let Some(loops) = &self.loops {
            put(&mut policy.loop_tool_calls, loops.tool_calls_per_minute);
            put(&mut policy.loop_messages, loops.identical_messages);
            if let Some(Span(gap)) = loops.message_gap {
                policy.loop_message_gap = Some(gap);
            }
            put(&mut policy.loop_token_spike, loops.token_spike);
            put(&mut policy.loop_same_calls, loops.identical_tool_calls);
            put(&mut policy.loop_same_tool, loops.same_tool);
        }
        put(&mut policy.start_grace, self.start_grace.map(|s| s.0));
        put(&mut policy.degraded_for, self.degraded_for.map(|s| s.0));
        put(&mut policy.auto_restart, self.auto_restart);
        if let Some(restart) = &self.restart {
            put(&mut policy.restart_stalled, restart.stalled);
            put(&mut policy.restart_looping, restart.looping);
            put(&mut policy.restart_erroring, restart.erroring);
            put(&mut policy.restart_cooldown, restart.cooldown.map(|s| s.0));
            put(&mut policy.restart_max, restart.max);
            put(&mut policy.restart_reset, restart.reset.map(|s| s.0));
        }
        if let Some(budget) = &self.budget {
            put(&mut policy.budget_request, budget.request_usd.map(Money::from_usd));
            put(&mut policy.budget_hourly, budget.hourly_usd.map(Money::from_usd));
            put(&mut policy.budget_daily, budget.daily_usd.map(Money::from_usd));
        }
    }

    /// The settings that say all of `policy`: what `GET /api/v1/agents/{id}` shows.
    pub fn of(policy: &Policy) -> Self {
        Self {
            interval: Some(Span(policy.interval)),
            supervisor_interval: Some(Span(policy.supervisor_interval)),
            late_after: Some(policy.late_after),
            down_after: Some(policy.down_after),
            down_grace: Some(Span(policy.down_grace)),
            expect_heartbeats: Some(match policy.heartbeats {
                Heartbeats::Always => HeartbeatsWord::Always,
                Heartbeats::Auto => HeartbeatsWord::Auto,
                Heartbeats::Never => HeartbeatsWord::Never,
            }),
            expect_running: Some(policy.expect_running),
            stop_grace: Some(Span(policy.stop_grace)),
            stalled_after: Some(Span(policy.stalled_after)),
            progress: Some(match policy.progress {
                Progress::Auto => ProgressWord::Auto,
                Progress::Always => ProgressWord::Always,
                Progress::Never => ProgressWord::Never,
                Progress::Schedule => ProgressWord::Schedule,
            }),
            schedule: Some(SchedulePatch {
                cron: policy.schedule.as_ref().map(|s| s.text().to_owned()),
                grace: Some(Span(policy.schedule_grace)),
            }),
            failures: Some(policy.failures),
            error_rate: Some(policy.error_rate),
            loops: Some(LoopsPatch {
                tool_calls_per_minute: Some(policy.loop_tool_calls),
                identical_messages: Some(policy.loop_messages),
                message_gap: policy.loop_message_gap.map(Span),
                token_spike: Some(policy.loop_token_spike),
                identical_tool_calls: Some(policy.loop_same_calls),
                same_tool: Some(policy.loop_same_tool),
            }),
            start_grace: Some(Span(policy.start_grace)),
            degraded_for: Some(Span(policy.degraded_for)),
            auto_restart: Some(policy.auto_restart),
            restart: Some(RestartPatch {
                stalled: Some(policy.restart_stalled),
                looping: Some(policy.restart_looping),
                erroring: Some(policy.restart_erroring),
                cooldown: Some(Span(policy.restart_cooldown)),
                max: Some(policy.restart_max),
                reset: Some(Span(policy.restart_reset)),
            }),
            budget: Some(BudgetPatch {
                request_usd: policy.budget_request.map(Money::as_usd),
                hourly_usd: policy.budget_hourly.map(Money::as_usd),
                daily_usd: policy.budget_daily.map(Money::as_usd),
            }),
        }
    }
}

impl ProgressWord {
    const fn meaning(self) -> Progress {
        match self {
            Self::Auto => Progress::Auto,
            Self::Always => Progress::Always,
            Self::Never => Progress::Never,
            Self::Schedule => Progress::Schedule,
        }
    }
}

impl HeartbeatsWord {
    const fn meaning(self) -> Heartbeats {
        match self {
            Self::Always => Heartbeats::Always,
            Self::Auto => Heartbeats::Auto,
            Self::Never => Heartbeats::Never,
        }
    }
}

fn put<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

fn span(field: &str, value: Option<Span>, min: Duration, max: Duration) -> Result<(), SettingError> {
    match value {
        Some(Span(v)) if v < min || v > max => Err(SettingError {
            field: field.into(),
            problem: format!("{} is out of range; allowed is {} to {}", human(v), human(min), human(max)),
        }),
        _ => Ok(()),
    }
}

fn number(field: &str, value: Option<f64>, min: f64, max: f64) -> Result<(), SettingError> {
    match value {
        Some(v) if !(min..=max).contains(&v) => Err(SettingError {
            field: field.into(),
            problem: format!("{v} is out of range; allowed is {min} to {max}"),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(json: &str) -> Result<PolicyPatch, String> {
        serde_json::from_str::<PolicyPatch>(json)
            .map_err(|e| e.to_string())
            .and_then(|p| p.check().map(|()| p).map_err(|e| e.to_string()))
    }

    #[test]
    fn durations_are_text_or_seconds() {
        let p = patch(r#"{"interval": "1m 30s", "down_grace": 5, "stalled_after": "2d 1s"}"#).unwrap();
        assert_eq!(p.interval, Some(Span(Duration::from_secs(90))));
        assert_eq!(serde_json::to_value(&p).unwrap()["stalled_after"], "48h 1s");
        assert_eq!(p.down_grace, Some(Span(Duration::from_secs(5))));
        assert_eq!(serde_json::to_value(&p).unwrap()["interval"], "1m 30s");
    }

    #[test]
    fn nonsense_is_refused_with_the_remedy() {
        assert!(patch(r#"{"interval": "soon"}"#).unwrap_err().contains("write for example \"60s\""));
        assert!(patch(r#"{"interval": 0}"#).unwrap_err().contains("interval: 0s is out of range; allowed is 1s to 1d"));
        assert!(patch(r#"{"intervall": 5}"#).unwrap_err().contains("unknown field `intervall`"));
        assert!(patch(r#"{"late_after": 0.5}"#).unwrap_err().contains("late_after"));
    }

    #[test]
    fn a_policy_written_out_and_read_back_is_the_same() {
        let policy = Policy { auto_restart: true, down_after: 4.5, ..Policy::default() };
        let text = serde_json::to_string(&PolicyPatch::of(&policy)).unwrap();
        let mut again = Policy { interval: DAY, failures: 9, ..Policy::default() };
        serde_json::from_str::<PolicyPatch>(&text).unwrap().apply_to(&mut again);
        assert_eq!(again, policy);
    }
}
