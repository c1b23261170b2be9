//! The one table of all metrics of the fleet. Every output (Prometheus text, OTLP, Datadog, the documentation) is
//! generated from it, so no two of them can tell different numbers. Nothing here knows how an output looks.

use super::readings as read;
use crate::model::{BUCKETS, COST_BOUNDS, DURATION_BOUNDS, Histogram, LATENCY_BOUNDS, Timestamp};
use crate::store::AgentRow;

/// One metric of an agent. `project` and `agent` are labels of every metric and not named here.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name without prefix, without unit and without what an output adds for its kind (as `_total`).
    pub name: &'static str,
    /// What the values are counted in.
    pub unit: Unit,
    /// What it tells, for people. One line.
    pub help: &'static str,
    /// The labels it has besides `project` and `agent`, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// How it behaves and how to read it.
    pub kind: Kind,
}

/// What a metric's values are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds; for a timestamp, since the Unix epoch.
    Seconds,
    /// US dollars.
    Usd,
    /// Things of this name.
    Of(&'static str),
    /// A code, a flag or a constant: not a quantity.
    None,
}

/// How a metric behaves and how to read it from a row.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A value that goes up and down.
    Gauge(Read),
    /// A value that only goes up, since the agent was first seen. Survives restarts of the gateway.
    Counter(Read),
    /// Always 1; what it tells is in its labels.
    Info(Read),
    /// A distribution, counted since the agent was first seen. An empty one is not told.
    Histogram(&'static [f64; BUCKETS], fn(&AgentRow) -> Option<&Histogram>),
}

/// How to read values from a row at a time.
#[derive(Clone, Copy, Debug)]
pub enum Read {
    /// At most one value, without labels of its own. `None`: unknown, so nothing is told.
    One(fn(&AgentRow, Timestamp) -> Option<Number>),
    /// Any number of values, each handed on with the values of the metric's labels.
    Each(fn(&AgentRow, &mut Each<'_>)),
}

/// Takes label values, in the order of [`Metric::labels`], and the value itself.
pub type Each<'a> = dyn FnMut(&[&str], Number) + 'a;

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole number, told exactly.
    Int(u64),
    /// Any other number.
    Float(f64),
}

impl Kind {
    /// The word for it in the documentation.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Gauge(_) => "gauge",
            Self::Counter(_) => "counter",
            Self::Info(_) => "info",
            Self::Histogram(..) => "histogram",
        }
    }
}

/// All metrics of the fleet, in the order in which they are told.
pub static METRICS: &[Metric] = &[
    Metric {
        name: "up",
        unit: Unit::None,
        help: "1 while the agent runs, 0 while it is down, stopped or being restarted; absent while nothing was heard of it.",
        labels: &[],
        kind: Kind::Gauge(Read::One(|row, _| read::up(row).map(|up| Number::Int(up.into())))),
    },
    Metric {
        name: "status",
        unit: Unit::None,
        help: "The agent's status as its stable code.",
        labels: &[],
        kind: Kind::Gauge(Read::One(|row, _| Some(Number::Int(row.state.status.code().into())))),
    },
    Metric {
        name: "condition_active",
        unit: Unit::None,
        help: "1 while the condition holds, soft or hard, else 0. Several can hold at once.",
        labels: &["condition"],
        kind: Kind::Gauge(Read::Each(read::conditions)),
    },
    Metric {
        name: "status_changes",
        unit: Unit::Of("changes"),
        help: "Times the agent entered a status.",
        labels: &["to"],
        kind: Kind::Counter(Read::Each(read::status_changes)),
    },
    Metric {
        name: "uptime",
        unit: Unit::Seconds,
        help: "Time since this run of the agent was first heard; absent while it is not up.",
        labels: &[],
        kind: Kind::Gauge(Read::One(read::uptime)),
    },
    Metric {
        name: "last_heartbeat_timestamp",
        unit: Unit::Seconds,
        help: "When the newest heartbeat arrived, since the Unix epoch.",
        labels: &[],
        kind: Kind::Gauge(Read::One(|row, _| row.state.life.heartbeat.map(read::time))),
    },
    Metric {
        name: "last_result_timestamp",
        unit: Unit::Seconds,
        help: "When the newest result of any kind arrived, since the Unix epoch.",
        labels: &[],
        kind: Kind::Gauge(Read::One(|row, _| row.state.work.last_result.map(read::time))),
    },
    Metric {
        name: "heartbeats",
        unit: Unit::Of("heartbeats"),
        help: "Heartbeats received, from the agent itself or from a runner (supervisor) on its behalf.",
        labels: &["source"],
        kind: Kind::Counter(Read::Each(read::heartbeats)),
    },
    Metric {
        name: "heartbeat_latency",
        unit: Unit::Seconds,
        help: "How late heartbeats came against the agent's interval.",
        labels: &[],
        kind: Kind::Histogram(&LATENCY_BOUNDS, |row| Some(&row.state.totals.heartbeat_latency)),
    },
    Metric {
        name: "results",
        unit: Unit::Of("results"),
        help: "Results of the agent's work.",
        labels: &["outcome"],
        kind: Kind::Counter(Read::Each(read::results)),
    },
    Metric {
        name: "run_duration",
        unit: Unit::Seconds,
        help: "How long finished runs took.",
        labels: &[],
        kind: Kind::Histogram(&DURATION_BOUNDS, |row| row.state.totals.run_duration.as_deref()),
    },
    Metric {
        name: "model_calls",
        unit: Unit::Of("calls"),
        help: "Finished model calls. The first models an agent uses have their own series, all others are added up as _other.",
        labels: &["model", "outcome"],
        kind: Kind::Counter(Read::Each(read::model_calls)),
    },
    Metric {
        name: "tokens",
        unit: Unit::Of("tokens"),
        help: "Tokens used: input (cached ones included), output (reasoning included), or unspecified where the sender does not tell which.",
        labels: &["direction"],
        kind: Kind::Counter(Read::Each(read::tokens)),
    },
    Metric {
        name: "cost",
        unit: Unit::Usd,
        help: "Cost of model use; absent while none is known.",
        labels: &[],
        kind: Kind::Counter(Read::One(|row, _| row.state.totals.cost.map(|cost| Number::Float(cost.as_usd())))),
    },
    Metric {
        name: "cycle_cost",
        unit: Unit::Usd,
        help: "Cost of one cycle (a heartbeat or a run).",
        labels: &[],
        kind: Kind::Histogram(&COST_BOUNDS, |row| row.state.totals.cycle_cost.as_deref()),
    },
    Metric {
        name: "tool_calls",
        unit: Unit::Of("calls"),
        help: "Finished tool calls, failed ones included.",
        labels: &[],
        kind: Kind::Counter(Read::One(|row, _| Some(Number::Int(row.state.totals.tool_calls)))),
    },
    Metric {
        name: "restarts",
        unit: Unit::Of("restarts"),
        help: "Restarts that ended, by who asked for them and whether they succeeded.",
        labels: &["origin", "outcome"],
        kind: Kind::Counter(Read::Each(read::restarts)),
    },
    Metric {
        name: "loops_detected",
        unit: Unit::Of("loops"),
        help: "Times the agent was found to go round in circles, by what showed it.",
        labels: &["signal"],
        kind: Kind::Counter(Read::Each(read::loops)),
    },
    Metric {
        name: "langfuse_errors",
        unit: Unit::Of("errors"),
        help: "Errors told by Langfuse.",
        labels: &[],
        kind: Kind::Counter(Read::One(|row, _| Some(Number::Int(row.state.totals.langfuse_errors)))),
    },
    Metric {
        name: "skewed_signals",
        unit: Unit::Of("signals"),
        help: "Signals that their sender's clock dated more than a day before they arrived, or more than five minutes after it.",
        labels: &[],
        kind: Kind::Counter(Read::One(|row, _| Some(Number::Int(row.state.totals.skewed_signals)))),
    },
    Metric {
        name: "cost_spikes",
        unit: Unit::Of("requests"),
        help: "Requests that cost more than one request may.",
        labels: &[],
        kind: Kind::Counter(Read::One(|row, _| Some(Number::Int(row.state.totals.cost_spikes)))),
    },
    Metric {
        name: "info",
        unit: Unit::None,
        help: "What the agent is: the framework it says it is built with, and how it is restarted. Empty where unknown.",
        labels: &["agent_type", "restart_type"],
        kind: Kind::Info(Read::Each(read::info)),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_told_once() {
        let mut seen = std::collections::HashSet::new();
        for metric in METRICS {
            assert!(seen.insert(metric.name), "{} twice", metric.name);
            for word in metric.labels.iter().chain([&metric.name]) {
                assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{word}");
                assert!(!["project", "agent", "le"].contains(word), "{word} is taken");
            }
            assert!(!metric.help.contains(['\n', '|']) && metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
