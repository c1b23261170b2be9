//! What is remembered of one agent.

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::{
    CommandId, Condition, Conditions, CostOrigin, ErrorNote, Money, RestartTarget, Rolling, Run, Source, Status,
    Timestamp,
};

/// The upper bound of an encoded [`AgentState`], in bytes.
pub const STATE_BYTES_MAX: usize = 2048;

/// All that is remembered of one agent and changes with its signals. Bounded: at most [`STATE_BYTES_MAX`] encoded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentState {
    /// The newest time `apply` has seen; time never runs backwards for an agent.
    pub updated_at: Timestamp,
    /// The status derived last, and since when it holds.
    pub status: Status,
    /// When [`AgentState::status`] began.
    pub status_since: Timestamp,
    /// The active conditions.
    pub conditions: Conditions,
    /// When the evaluator must look again; [`Timestamp::MAX`] when never. It may be earlier than needed, never later.
    pub deadline: Timestamp,
    /// Signs of life.
    pub life: Life,
    /// Work and results.
    pub work: Work,
    /// What repeats; `None` until something could.
    pub loops: Option<Box<LoopMemory>>,
    /// What was spent lately; `None` until something was.
    pub spend: Option<Box<Spend>>,
    /// When the status last changed hard, newest last; at most [`FLAPS_MAX`].
    pub flaps: Vec<Timestamp>,
    /// Trouble told by the agent or by others, short of a failure.
    pub report: Option<Report>,
    /// What the agent depends on and does not work, by name; at most [`DEPENDENCIES_MAX`].
    pub dependencies: Vec<FailingDependency>,
    /// The newest error, of whatever kind.
    pub last_error: Option<ErrorNote>,
    /// The newest run seen.
    pub last_run: Option<Box<Run>>,
    /// Restarts: the open command and the dose so far.
    pub restarts: RestartLedger,
    /// Where restart commands go, as the runner reported it.
    pub restart_target: Option<Box<RestartTarget>>,
    /// The framework the agent says it is built with.
    pub agent_type: Option<Box<str>>,
    /// Counters since the agent was first seen.
    pub totals: Totals,
}

impl AgentState {
    /// What the agent adds to its project's [`ProjectCounts`].
    pub fn counts(&self) -> ProjectCounts {
        let grouped = self.conditions.get(Condition::SilentGroup).is_some();
        let late = self.conditions.get(Condition::Late).is_some();
        let watched = match self.status {
            Status::Unknown | Status::Stopped | Status::Paused | Status::Maintenance => false,
            // One that died alone, and perhaps long ago, says nothing about the others.
            Status::Down => grouped,
            _ => true,
        };
        ProjectCounts {
            agents: 1,
            watched: watched.into(),
            silent: (watched && (late || grouped)).into(),
            grouped: grouped.into(),
            restarting: self.restarts.open.is_some_and(|open| open.automatic).into(),
        }
    }
}

/// How many agents of a project there are, and how many are silent at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProjectCounts {
    /// All of them.
    pub agents: u64,
    /// Those that are expected to be heard.
    pub watched: u64,
    /// Of the watched ones, those that are late, or down together.
    pub silent: u64,
    /// Those that are down together with others.
    pub grouped: u64,
    /// Those with an automatic restart under way.
    pub restarting: u64,
}

impl ProjectCounts {
    /// Takes out what an agent added before, and adds what it adds now.
    pub fn replace(&mut self, before: Self, after: Self) {
        let change = |n: &mut u64, before: u64, after: u64| *n = n.saturating_sub(before).saturating_add(after);
        change(&mut self.agents, before.agents, after.agents);
        change(&mut self.watched, before.watched, after.watched);
        change(&mut self.silent, before.silent, after.silent);
        change(&mut self.grouped, before.grouped, after.grouped);
        change(&mut self.restarting, before.restarting, after.restarting);
    }
}

/// Signs of life.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Life {
    /// When this run of the agent was first heard: reset by `down`, `stopped` and a restart.
    pub run_since: Option<Timestamp>,
    /// Signs of life in this run.
    pub run_signals: u32,
    /// Newest sign of life of the agent itself (heartbeats, spans, OpAMP).
    pub own: Option<Timestamp>,
    /// Newest report of a runner that the process runs.
    pub supervisor: Option<Timestamp>,
    /// Set while a runner says that the process does not run: since when.
    pub gone_since: Option<Timestamp>,
    /// Newest heartbeat.
    pub heartbeat: Option<Timestamp>,
    /// Set by a deliberate end, until the next sign of life.
    pub stopped_at: Option<Timestamp>,
    /// An operator does not want the agent watched.
    pub paused: bool,
    /// Set while a maintenance window holds: until when.
    pub maintenance_until: Option<Timestamp>,
    /// Silence counts from here at the earliest: set when watching begins anew (resumed, new settings, restarted, there
    /// again after a deliberate end).
    pub watched_since: Option<Timestamp>,
    /// When each source was last heard, by index in [`Source::ALL`]; zero for never.
    pub heard: [Timestamp; Source::ALL.len()],
    /// Interval the sender declared, in milliseconds.
    pub declared_interval_ms: Option<u32>,
}

impl Life {
    /// Newest sign of life that counts: the agent's own where there ever was one, else the runner's.
    pub fn alive(&self) -> Option<Timestamp> {
        self.own.or(self.supervisor)
    }

    /// Remembers that `source` was heard at `now`.
    pub fn hear(&mut self, source: Source, now: Timestamp) {
        self.heard[source as usize] = now;
    }

    /// The sources heard from, each with when it was last.
    pub fn signals(&self) -> impl Iterator<Item = (Source, Timestamp)> + '_ {
        Source::ALL.into_iter().zip(self.heard).filter(|(_, at)| *at != Timestamp::default())
    }

    /// The sources heard from.
    pub fn sources(&self) -> impl Iterator<Item = Source> + '_ {
        self.signals().map(|(source, _)| source)
    }

    /// Whether an operator took the agent out of the watch, for good or for a while.
    pub const fn is_off_watch(&self) -> bool {
        self.paused || self.maintenance_until.is_some()
    }
}

/// Work and results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Whether the agent ever told of starts.
    pub sends_starts: bool,
    /// When the oldest unfinished piece of work began.
    pub in_flight_since: Option<Timestamp>,
    /// Set while the agent says that it has nothing to do: since when.
    pub idle_since: Option<Timestamp>,
    /// When the next result is expected by the calendar, once that was worked out.
    pub expected: Option<Box<Expected>>,
    /// Newest result of any kind.
    pub last_result: Option<Timestamp>,
    /// Newest success.
    pub last_success: Option<Timestamp>,
    /// Failures since the last success.
    pub failures_in_row: u32,
    /// Successes since the last failure.
    pub successes_in_row: u32,
    /// Results lately; `None` until there was one.
    pub recent: Option<Box<RecentResults>>,
    /// The agent's own loop counter, as last reported.
    pub iteration: Option<i64>,
    /// Digest of the sender's prompt window, as last reported.
    pub prompts: Option<u64>,
}

/// A time of a schedule, kept so that the calendar is asked once per result and not once per signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// It is the first time after this.
    pub after: Timestamp,
    /// The time; [`Timestamp::MAX`] when there is none.
    pub at: Timestamp,
    /// Digest of the schedule and time zone it was worked out with.
    pub rule: u32,
}

/// Results lately.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecentResults {
    /// Successes of the last ten minutes.
    pub successes: Rolling,
    /// Failures of the last ten minutes.
    pub failures: Rolling,
    /// Successes of the last hour.
    pub hour_successes: Rolling,
    /// Failures of the last hour.
    pub hour_failures: Rolling,
}

/// How many hard changes of the status are remembered.
pub const FLAPS_MAX: usize = 8;

/// What repeats, and how calm it has been since.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoopMemory {
    /// Tool calls of the last minute.
    pub tool_calls: Rolling,
    /// The newest message and how often it came in a row.
    pub message: Option<Repeat>,
    /// The newest tool call with its arguments, and how often it came in a row.
    pub call: Option<Repeat>,
    /// The newest tool by name alone, and how often it came in a row.
    pub tool: Option<Repeat>,
    /// What the model answered last, and how often it did so in a row.
    pub output: Option<Repeat>,
    /// Tokens of the newest cycles, oldest first; at most [`TOKEN_SAMPLES_MAX`].
    pub tokens: Vec<u32>,
    /// Whether each of the newest cycles was a spike, the newest in bit 0.
    pub spikes: u8,
    /// When the newest cycle was that told of tokens.
    pub cycle_at: Timestamp,
    /// Since when nothing repeats too much any more, while the condition is active.
    pub calm_since: Option<Timestamp>,
    /// Cycles since then.
    pub calm_cycles: u8,
    /// The signal that made the condition active.
    pub signal: Option<LoopSignal>,
}

/// How many cycles the mean of tokens is taken over.
pub const TOKEN_SAMPLES_MAX: usize = 20;

/// Something that came several times in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeat {
    /// What, as a digest.
    pub digest: u64,
    /// How often in a row.
    pub count: u32,
    /// When last.
    pub at: Timestamp,
}

/// What shows that an agent is going round in circles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoopSignal {
    /// Too many tool calls in a minute.
    ToolCallRate,
    /// The same message again and again.
    RepeatedMessage,
    /// Far more tokens than usual.
    TokenSpike,
    /// The same tool with the same arguments again and again.
    RepeatedToolCall,
    /// The same tool again and again, arguments unknown.
    RepeatedTool,
    /// The same answer of a model again and again.
    RepeatedOutput,
}

impl LoopSignal {
    /// Every signal.
    pub const ALL: [Self; 6] = [
        Self::ToolCallRate,
        Self::RepeatedMessage,
        Self::TokenSpike,
        Self::RepeatedToolCall,
        Self::RepeatedTool,
        Self::RepeatedOutput,
    ];

    /// The word used in JSON, labels and texts.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ToolCallRate => "tool_call_rate",
            Self::RepeatedMessage => "repeated_message",
            Self::TokenSpike => "token_spike",
            Self::RepeatedToolCall => "repeated_tool_call",
            Self::RepeatedTool => "repeated_tool",
            Self::RepeatedOutput => "repeated_output",
        }
    }
}

/// What was spent lately.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spend {
    /// Nano-dollars of the last hour.
    pub hour: Rolling,
    /// Spent on [`Spend::day`].
    pub today: Money,
    /// When the day ends whose spending is counted, in the project's time zone.
    pub day_ends: Timestamp,
    /// Whether 80 % of the hourly budget has been told of.
    pub hour_warned: bool,
    /// Whether 80 % of the daily budget has been told of.
    pub day_warned: bool,
}

/// The longest text of a [`Report`] kept, in bytes.
pub const REPORT_TEXT_BYTES_MAX: usize = 80;

/// Trouble that is not (yet) a failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Who told it.
    pub source: Source,
    /// When it was told first.
    pub since: Timestamp,
    /// When it was told last.
    pub at: Timestamp,
    /// Good reports since.
    pub good_since: u8,
    /// What was told, at most [`REPORT_TEXT_BYTES_MAX`] bytes.
    pub message: Box<str>,
}

/// How many failing dependencies of an agent are remembered; of more, the first ones are.
pub const DEPENDENCIES_MAX: usize = 2;

/// Something the agent depends on that does not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingDependency {
    /// Its name.
    pub name: Box<str>,
    /// When that was told first.
    pub since: Timestamp,
    /// When it was told last.
    pub at: Timestamp,
    /// What is wrong with it.
    pub message: Box<str>,
}

/// Restarts of one agent: at most one open, and a dose limit on automatic ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RestartLedger {
    /// The open restart command.
    pub open: Option<OpenRestart>,
    /// When the newest restart was asked for or ended.
    pub last_at: Option<Timestamp>,
    /// Restarted, and not yet heard of since.
    pub awaits_signal: bool,
    /// Automatic restarts without a longer time of health in between.
    pub automatic: u32,
    /// Since when the agent has been healthy without a break.
    pub healthy_since: Option<Timestamp>,
    /// By how much the back-off after the newest automatic restart differs from the plan, in thousandths; -200 to 200.
    pub jitter: i16,
    /// Whether it has been told that no further automatic restart comes.
    pub exhausted: bool,
}

/// A restart command that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRestart {
    /// Which command.
    pub id: CommandId,
    /// Whether a policy asked for it, not a person.
    pub automatic: bool,
    /// Whether a runner has taken it.
    pub running: bool,
}

/// Counters since the agent was first seen. They never go down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Heartbeats of the agent itself.
    pub heartbeats: u64,
    /// Heartbeats of a runner on its behalf.
    pub supervisor_beats: u64,
    /// Telemetry requests that told something about it.
    pub activities: u64,
    /// Successful results.
    pub successes: u64,
    /// Failed results.
    pub failures: u64,
    /// Finished runs.
    pub runs: u64,
    /// Finished model calls.
    pub model_calls: u64,
    /// Of these, the failed ones.
    pub model_calls_failed: u64,
    /// Model calls by model: the first few models seen, then one slot for all others.
    pub models: Vec<ModelTotals>,
    /// Finished tool calls.
    pub tool_calls: u64,
    /// Of these, the failed ones.
    pub tool_calls_failed: u64,
    /// Tokens of heartbeats, which do not tell input from output.
    pub tokens_unspecified: Option<u64>,
    /// Input tokens, cached ones included.
    pub tokens_input: Option<u64>,
    /// Output tokens, reasoning included.
    pub tokens_output: Option<u64>,
    /// Of the input tokens, those read from a cache.
    pub tokens_cached_input: Option<u64>,
    /// Of the output tokens, those spent on reasoning.
    pub tokens_reasoning: Option<u64>,
    /// What it cost, as reported, else as computed from a price list.
    pub cost: Option<Money>,
    /// Where [`Totals::cost`] comes from.
    pub cost_origin: CostOrigin,
    /// Requests that cost more than `budget.request_usd`.
    pub cost_spikes: u64,
    /// Loops detected, by [`LoopSignal`].
    pub loops: [u32; LoopSignal::ALL.len()],
    /// Errors told by Langfuse.
    pub langfuse_errors: u64,
    /// Signals whose sender dated them more than a day before their arrival, or more than five minutes after it.
    pub skewed_signals: u64,
    /// Restarts by origin and outcome: automatic succeeded, automatic not, manual succeeded, manual not.
    pub restarts: [u32; 4],
    /// Times each status was entered, by code.
    pub entered: [u32; Status::ALL.len()],
    /// How late heartbeats came against their interval, in seconds.
    pub heartbeat_latency: Histogram,
    /// How long runs took, in seconds; `None` until one ended.
    pub run_duration: Option<Box<Histogram>>,
    /// Cost of a cycle (a beat or a run), in USD; `None` until one was told.
    pub cycle_cost: Option<Box<Histogram>>,
}

/// How many models an agent's totals tell apart; the rest is added up under [`OTHER_MODELS`].
pub const MODELS_MAX: usize = 6;
/// The name under which models beyond [`MODELS_MAX`] are added up.
pub const OTHER_MODELS: &str = "_other";
/// The longest model name kept, in bytes.
pub const MODEL_NAME_BYTES_MAX: usize = 48;

/// Calls of one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelTotals {
    /// The model's name, at most [`MODEL_NAME_BYTES_MAX`] bytes.
    pub model: Box<str>,
    /// Successful calls.
    pub ok: u64,
    /// Failed calls.
    pub failed: u64,
}
