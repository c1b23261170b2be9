//! Everything that comes in becomes an [`Observation`].

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AgentKey, CommandId, Money, Timestamp, ToolKey};

/// One thing learned about one agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Whom it is about.
    pub agent: AgentKey,
    /// When the gateway received it. Liveness is judged by this time.
    pub received_at: Timestamp,
    /// When it happened, by the sender's clock, where the sender said so.
    pub at: Option<Timestamp>,
    /// Who told it.
    pub source: Source,
    /// What was learned.
    pub body: Body,
}

/// Who tells something about an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The agent's own heartbeats.
    Agent,
    /// A runner that watches the agent's process from outside.
    Supervisor,
    /// OpenTelemetry spans, logs or metrics.
    Otlp,
    /// Langfuse webhooks and SDKs.
    Langfuse,
    /// OpAMP health reports.
    Opamp,
    /// The gateway itself: deadlines, command results, operators.
    Gateway,
    /// Probes of what agents depend on.
    Probe,
    /// Alerts of a Prometheus Alertmanager.
    Alertmanager,
}

impl Source {
    /// Every source that stands in labels and in `sources` of a status row.
    pub const ALL: [Self; 8] = [
        Self::Agent,
        Self::Supervisor,
        Self::Otlp,
        Self::Langfuse,
        Self::Opamp,
        Self::Gateway,
        Self::Probe,
        Self::Alertmanager,
    ];

    /// The word used in JSON and labels.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Supervisor => "supervisor",
            Self::Otlp => "otlp",
            Self::Langfuse => "langfuse",
            Self::Opamp => "opamp",
            Self::Gateway => "gateway",
            Self::Probe => "probe",
            Self::Alertmanager => "alertmanager",
        }
    }
}

/// What was learned.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A heartbeat of the agent itself.
    Heartbeat(Box<Heartbeat>),
    /// What a runner saw of the agent's process.
    SupervisorReport(SupervisorReport),
    /// A piece of work began.
    WorkStarted,
    /// All that one telemetry request told about the agent, folded.
    Activity(Box<Activity>),
    /// Someone else's word that the agent failed or is in trouble.
    Problem(Problem),
    /// Someone else's word that the trouble is over.
    Recovered,
    /// How something is that the agent depends on: trouble makes the agent `degraded`, and never restarts it.
    Dependency(DependencyReport),
    /// A command for the agent changed its state.
    Command(CommandUpdate),
    /// An operator paused the agent (`true`) or let it go on (`false`).
    Paused(bool),
    /// A maintenance window holds until this time (which may be moved by telling again), or is over (`None`). The end
    /// needs no second telling: it is a deadline.
    Maintenance(Option<Timestamp>),
    /// The agent's settings changed; deadlines are to be computed anew.
    PolicyChanged,
    /// Time passed.
    DeadlinePassed,
}

/// The word an agent says about itself in a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeatStatus {
    /// All well.
    Ok,
    /// The agent reports itself degraded.
    Warning,
    /// A failure result.
    Error,
    /// A deliberate end.
    Shutdown,
}

/// One heartbeat. Usage fields are what was used since the last one.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// The agent's own word.
    pub status: BeatStatus,
    /// Free text; never a label.
    pub message: Option<String>,
    /// Tokens since the last beat, input and output together.
    pub tokens: Option<u64>,
    /// Cost since the last beat.
    pub cost: Option<Money>,
    /// Tool calls since the last beat.
    pub tool_calls: Option<u64>,
    /// Sticky counter of the agent's loop; only a change tells anything.
    pub iteration: Option<i64>,
    /// Digest of the sender's rolling window of prompts; only a change tells anything.
    pub prompts: Option<u64>,
    /// Whether the beat carried something only a deliberate ping carries (memory, custom data).
    pub has_details: bool,
    /// The agent says that it has nothing to do: no result is expected until it works again.
    pub idle: bool,
    /// The framework the agent says it is built with.
    pub agent_type: Option<String>,
    /// How often the sender says it will beat.
    pub interval: Option<Duration>,
}

impl Heartbeat {
    /// A bare beat: alive, nothing else.
    pub const fn bare(status: BeatStatus) -> Self {
        Self {
            status,
            message: None,
            tokens: None,
            cost: None,
            tool_calls: None,
            iteration: None,
            prompts: None,
            has_details: false,
            idle: false,
            agent_type: None,
            interval: None,
        }
    }
}

/// What a runner saw.
#[derive(Clone, Debug, PartialEq)]
pub struct SupervisorReport {
    /// Whether the process, container or unit runs.
    pub running: bool,
    /// The runner's words.
    pub message: Option<String>,
    /// Where a restart command for the agent must go.
    pub restart: Option<RestartTarget>,
}

/// The longest kind of restart target, in bytes.
pub const RESTART_TYPE_BYTES_MAX: usize = 32;
/// The longest restart target, in bytes. It is used verbatim, so a longer one is refused, not cut.
pub const RESTART_TARGET_BYTES_MAX: usize = 256;
/// The longest class of an error kept, in bytes.
pub const ERROR_TYPE_BYTES_MAX: usize = 64;

/// What a runner restarts for an agent, exactly as the runner names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RestartTarget {
    /// `docker`, `systemd`, `launchd`, `process` or `k8s`.
    pub kind: String,
    /// The text after the colon of the runner's `--watch`.
    pub target: String,
}

/// Tokens and money. `None` is unknown, which is not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Input tokens, cached ones included.
    pub input: Option<u64>,
    /// Output tokens, reasoning included.
    pub output: Option<u64>,
    /// Of the input tokens, those read from a cache.
    pub cached_input: Option<u64>,
    /// Of the output tokens, those spent on reasoning.
    pub reasoning: Option<u64>,
    /// What it cost.
    pub cost: Option<Money>,
    /// Where [`Usage::cost`] comes from.
    pub cost_origin: CostOrigin,
}

/// Where a cost comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostOrigin {
    /// No cost is known.
    #[default]
    Unknown,
    /// Senders reported it.
    Reported,
    /// It was computed from tokens and a price list.
    Computed,
    /// One part was reported, the other computed.
    Mixed,
}

impl CostOrigin {
    /// The word used in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Reported => "reported",
            Self::Computed => "computed",
            Self::Mixed => "mixed",
        }
    }

    /// The origin of a sum of two costs.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, origin) | (origin, Self::Unknown) => origin,
            (a, b) if a == b => a,
            _ => Self::Mixed,
        }
    }
}

impl Usage {
    /// Adds `other`, quantity by quantity; unknown plus something is something.
    pub fn add(&mut self, other: &Self) {
        add(&mut self.input, other.input);
        add(&mut self.output, other.output);
        add(&mut self.cached_input, other.cached_input);
        add(&mut self.reasoning, other.reasoning);
        if let Some(cost) = other.cost {
            self.cost = Some(self.cost.unwrap_or_default().plus(cost));
            self.cost_origin = self.cost_origin.and(other.cost_origin);
        }
    }

    /// Takes over what `later` knows, quantity by quantity.
    pub fn replace(&mut self, later: &Self) {
        self.input = later.input.or(self.input);
        self.output = later.output.or(self.output);
        self.cached_input = later.cached_input.or(self.cached_input);
        self.reasoning = later.reasoning.or(self.reasoning);
        if later.cost.is_some() {
            (self.cost, self.cost_origin) = (later.cost, later.cost_origin);
        }
    }

    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// Adds `more` to `sum`, where `None` is unknown: unknown plus something is something.
pub fn add(sum: &mut Option<u64>, more: Option<u64>) {
    if let Some(more) = more {
        *sum = Some(sum.unwrap_or(0).saturating_add(more));
    }
}

/// All that one telemetry request told about one agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Activity {
    /// When the newest of it ended, by the sender's clock; bounds how alive it proves the agent to be.
    pub newest_end: Option<Timestamp>,
    /// Finished model calls.
    pub model_calls: Vec<ModelCalls>,
    /// What all of it used.
    pub usage: Usage,
    /// Finished tool calls.
    pub tool_calls: u64,
    /// Of these, the failed ones.
    pub tool_calls_failed: u64,
    /// The tool calls in the order in which they began.
    pub tools: Vec<ToolKey>,
    /// Digests of what the models answered, in the order in which the calls began.
    pub outputs: Vec<u64>,
    /// Successful results: runs, and calls that stand alone.
    pub successes: u64,
    /// Failed results.
    pub failures: u64,
    /// Finished runs.
    pub runs: Vec<Run>,
    /// The deepest failure, when there was one.
    pub error: Option<ErrorNote>,
}

/// Model calls of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelCalls {
    /// The model's name as reported; empty when unknown.
    pub model: Arc<str>,
    /// Finished calls, failed ones included.
    pub calls: u64,
    /// Of these, the failed ones.
    pub failed: u64,
}

/// One finished run of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Whether it failed.
    pub failed: bool,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// The class of its error, when it failed: a class name, a status code or `_OTHER`.
    pub error_type: Option<String>,
    /// Digest of the session, thread or conversation it belongs to.
    pub session: Option<u64>,
}

/// The longest error text kept, in bytes.
pub const ERROR_TEXT_BYTES_MAX: usize = 128;

/// An error as told. Its text is shown to people and never used as a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorNote {
    /// When it was told.
    pub at: Timestamp,
    /// What was told, at most [`ERROR_TEXT_BYTES_MAX`] bytes.
    pub message: String,
}

impl ErrorNote {
    /// Cuts `message` to [`ERROR_TEXT_BYTES_MAX`] bytes at a character's edge.
    pub fn new(at: Timestamp, message: &str) -> Self {
        Self { at, message: message[..message.floor_char_boundary(ERROR_TEXT_BYTES_MAX)].to_owned() }
    }
}

/// Trouble told by a third party, for example a Langfuse webhook.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// What was told.
    pub message: String,
    /// Whether it is a failure (`true`) or a warning.
    pub failure: bool,
    /// The name of the event it makes, for example `langfuse_error`.
    pub event: &'static str,
    /// Whether a restart may be asked for, if the agent's policy allows it.
    pub restart: bool,
}

/// The longest name of a dependency kept, in bytes.
pub const DEPENDENCY_NAME_BYTES_MAX: usize = 24;
/// The longest text about a failing dependency kept, in bytes.
pub const DEPENDENCY_TEXT_BYTES_MAX: usize = 40;

/// How something is that an agent depends on, as its prober decided after its own patience (three failures in a row).
/// Trouble is told again while it lasts, at least every five minutes: what nobody tells of any more lapses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyReport {
    /// Which dependency; cut to [`DEPENDENCY_NAME_BYTES_MAX`].
    pub name: String,
    /// Whether it works.
    pub healthy: bool,
    /// What is wrong with it; cut to [`DEPENDENCY_TEXT_BYTES_MAX`].
    pub message: String,
}

/// A change of one of the agent's commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandUpdate {
    /// Which command.
    pub id: CommandId,
    /// What became of it.
    pub change: CommandChange,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandChange {
    /// A restart was queued.
    Queued {
        /// Whether a policy asked for it, not a person.
        automatic: bool,
    },
    /// A runner took it.
    Started,
    /// The runner does not know the target; the command waits for another one.
    Returned,
    /// The restart was carried out.
    Succeeded,
    /// It was not, and it is over.
    Ended,
}
