//! What can be asked of the committer, and what it answers. Every change of stored state is one of these.

use std::sync::Arc;

use super::administer::{Audited, Change, Changed};
pub use super::refusal::Refusal;
use crate::model::{
    AgentId, Body, Command, CommandId, DedupKey, InstanceKey, Measured, Observation, PolicyPatch, ProjectId, Source,
    Status, Timestamp, TraceKey, TraceSpans,
};
use crate::store::PresenceWrite;

/// One thing to do, answered after the commit that made it durable.
#[derive(Clone, Debug)]
pub struct Intake {
    /// The project of the key that came with it.
    pub project: ProjectId,
    /// Has its effect once: when the key has been seen, the answer says so and nothing changes.
    pub dedup: Option<DedupKey>,
    /// What it weighs in the queue, in bytes.
    pub bytes: usize,
    /// What to do.
    pub work: Work,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Work {
    /// Take in observations; agents that do not exist come to exist. → [`Outcome::Observed`], one per observation.
    Observe(Vec<Observation>),
    /// Take in observations of agents that exist; for others the answer is [`Refusal::NoAgent`]. → [`Outcome::Observed`]
    ObserveKnown(Vec<Observation>),
    /// Take in spans, or log records read as spans. → [`Outcome::Done`] or [`Outcome::Uncounted`]
    Spans {
        /// When they arrived.
        received_at: Timestamp,
        /// The spans by trace.
        traces: Vec<TraceSpans>,
    },
    /// Take in notices of a third party, whose agents must be found first. → [`Outcome::Noticed`], one per notice.
    Notices(Vec<Notice>),
    /// Queue a restart because someone asked. → [`Outcome::Restart`]
    Restart {
        /// Whom.
        agent: AgentId,
        /// Why, in words.
        reason: String,
        /// Even while a maintenance window holds.
        during_maintenance: bool,
    },
    /// Hand all queued commands of the project to the runner at `peer`. → [`Outcome::Commands`]
    HandOut {
        /// `address:port` of the runner's connection.
        peer: String,
    },
    /// A runner tells what became of a command. → [`Outcome::Result`]
    CommandResult {
        /// Which command.
        id: CommandId,
        /// What became of it.
        verdict: Verdict,
        /// `address:port` of the connection that tells it.
        peer: String,
        /// The runner's words.
        message: Option<String>,
    },
    /// Replace an agent's settings. → [`Outcome::Changed`]
    Settings {
        /// Whose.
        agent: AgentId,
        /// All of its settings.
        settings: Box<PolicyPatch>,
        /// Only if [`AgentRow::version`](crate::store::AgentRow::version) is still this.
        only_if: Option<u64>,
    },
    /// Pause (`true`) or resume an agent. → [`Outcome::Changed`]
    Pause {
        /// Whom.
        agent: AgentId,
        /// Pause or resume.
        paused: bool,
    },
    /// The gateway itself tells agents (of any project) something: a maintenance window, how a dependency is. Agents
    /// that do not exist any more are passed over. → [`Outcome::Done`]
    Tell {
        /// Whom.
        agents: Vec<AgentId>,
        /// What.
        body: Body,
    },
    /// Deadlines of agents (of any project) may have passed. → [`Outcome::Done`]
    Deadlines(Vec<AgentId>),
    /// Leases or last moments of commands (of any project) may have passed. → [`Outcome::Done`]
    CommandDeadlines(Vec<CommandId>),
    /// Deadlines of traces (of any project) may have passed: which, and of which service. → [`Outcome::Done`]
    TraceDeadlines(Vec<(TraceKey, Arc<str>)>),
    /// Take in data points of metrics. → [`Outcome::Done`] or [`Outcome::Uncounted`]
    Measured {
        /// When they arrived.
        received_at: Timestamp,
        /// The points by instance, each with the key that makes them count once.
        measured: Vec<(DedupKey, Measured)>,
    },
    /// What is held back of instances (of any project) may count now. → [`Outcome::Done`]
    InstanceDeadlines(Vec<InstanceKey>),
    /// A change by an administrator. → [`Outcome::Administered`]
    Administer(Box<Change>),
    /// Something that somebody answers for. → the outcome of the work inside
    Audited(Box<Audited>),
    /// The gateway was there. → [`Outcome::Done`]
    Presence(PresenceWrite),
}

impl Work {
    /// The work itself, whoever answers for it.
    pub fn inner(&self) -> &Self {
        match self {
            Self::Audited(audited) => audited.work.inner(),
            work => work,
        }
    }
}

/// What a runner says of a command it was handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Carried out.
    Completed,
    /// Tried, and failed.
    Failed,
    /// Not tried: the runner does not watch the target, or does not know the action.
    Rejected,
}

/// What a third party told, before it is known which agent it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Who tells it.
    pub source: Source,
    /// Possible agents, the best first, each with how it was found. Only agents that exist are taken.
    pub candidates: Vec<Candidate>,
    /// What is told of the agent.
    pub message: String,
    /// Error, warning, recovery, or none of these.
    pub tone: Tone,
    /// Makes the notice have its effect once.
    pub dedup: Option<DedupKey>,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Fields to keep with the event (ids and names, never prompts or outputs).
    pub evidence: serde_json::Value,
}

/// An agent's name found in a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The name.
    pub name: String,
    /// Where it was found, for example `metadata.agent`.
    pub matched_by: String,
}

/// What a notice means for the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// It failed.
    Error,
    /// It is in trouble.
    Warning,
    /// The trouble is over.
    Recovery,
    /// Neither good nor bad.
    Neutral,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// To [`Work::Observe`] and [`Work::ObserveKnown`].
    Observed(Vec<Result<Seen, Refusal>>),
    /// To [`Work::Notices`].
    Noticed(Vec<NoticeOutcome>),
    /// To [`Work::Restart`].
    Restart(Result<RestartOutcome, Refusal>),
    /// To [`Work::HandOut`].
    Commands(Vec<Command>),
    /// To [`Work::CommandResult`].
    Result(Result<Command, Refusal>),
    /// To [`Work::Settings`] and [`Work::Pause`].
    Changed(Result<(), Refusal>),
    /// To [`Work::Administer`].
    Administered(Result<Changed, Refusal>),
    /// To [`Work::Spans`] and [`Work::Measured`]: what was left out because it is known better.
    Uncounted(Uncounted),
    /// Done; nothing to tell.
    Done,
    /// The intake's dedup key had been seen: nothing was changed.
    Duplicate,
}

/// What was not counted, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uncounted {
    /// Kinds of facts about agents that a better signal of the instance tells.
    pub outranked: u64,
    /// Points of series beyond the limit of an instance.
    pub too_many_series: u64,
}

/// What one observation led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The agent's number.
    pub agent: AgentId,
    /// Its status now.
    pub status: Status,
    /// The word for a client that may stop itself: only for a hard loop (or an exhausted budget).
    pub warning: Option<&'static str>,
    /// Why, in words, with a warning; else empty.
    pub reason: String,
}

/// What one notice led to.
#[derive(Clone, Debug, PartialEq)]
pub struct NoticeOutcome {
    /// The agent it was tied to: number, name, and how it was found.
    pub agent: Option<(AgentId, String, String)>,
    /// Whether a restart command was queued.
    pub restart_queued: bool,
    /// Whether the notice had been seen before.
    pub duplicate: bool,
}

/// What a wish for a restart led to.
#[derive(Clone, Debug, PartialEq)]
pub struct RestartOutcome {
    /// The open command.
    pub command: Command,
    /// Whether it had been open before.
    pub joined: bool,
}
