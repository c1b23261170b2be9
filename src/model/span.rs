//! A span as it is remembered: what the receivers make of any convention, and what the trace fold reads.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{SpanId, Teller, Timestamp, TraceId, Usage};

/// A span as the trace fold needs it: identity, class, facts. Made by the receivers from any convention.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpanFacts {
    /// The span's id.
    pub span: SpanId,
    /// Its parent's, `None` for a root.
    pub parent: Option<SpanId>,
    /// The parent belongs to another process, and may never be sent here.
    pub remote_parent: bool,
    /// What kind of work it is.
    pub class: SpanClass,
    /// The agent the span itself names; in a trace's row the agent it counts for, once that is decided.
    pub agent: Option<Arc<str>>,
    /// The model of a model call.
    pub model: Option<Arc<str>>,
    /// Digest of the instrumentation that made the span.
    pub scope: u32,
    /// The instrumentation is the provider's own SDK, which others may wrap.
    pub provider_sdk: bool,
    /// Digest of what a model call answered.
    pub output: Option<u64>,
    /// Digest of the session, thread or conversation of a run.
    pub session: Option<u64>,
    /// The call was counted in another trace; only what was missing there is in `usage`.
    pub twin: bool,
    /// The provider's id of the model's response.
    pub response: Option<u64>,
    /// Tokens and cost the span reports.
    pub usage: Usage,
    /// The tool's name and a digest of name and arguments.
    pub tool: Option<ToolKey>,
    /// Start by the sender's clock.
    pub start: Timestamp,
    /// End by the sender's clock.
    pub end: Timestamp,
    /// The failure, when the span failed.
    pub failure: Option<Box<Failure>>,
    /// It has only been told to have begun: it is a sign of life, and counts once its end is told.
    pub open: bool,
}

impl SpanFacts {
    /// Takes in what is told later of the same span. What that does not say stays as it was.
    pub fn update(&mut self, later: Self) {
        self.parent = later.parent.or(self.parent);
        self.remote_parent &= later.remote_parent;
        // A step is what a span is called that says nothing of its kind.
        if later.class != SpanClass::Step {
            self.class = later.class;
        }
        self.agent = self.agent.take().or(later.agent);
        self.model = later.model.or(self.model.take());
        self.output = later.output.or(self.output);
        self.session = later.session.or(self.session.take());
        self.response = later.response.or(self.response);
        // One record may know the arguments, and another one of the same call not.
        self.tool = match (later.tool, self.tool.take()) {
            (Some(later), Some(earlier)) if later.digest.is_none() && earlier.name == later.name => Some(earlier),
            (later, earlier) => later.or(earlier),
        };
        self.failure = later.failure.or(self.failure.take());
        self.usage.replace(&later.usage);
        if self.start == Timestamp(0) || (later.start != Timestamp(0) && later.start < self.start) {
            self.start = later.start;
        }
        self.end = self.end.max(later.end).max(self.start);
        self.open &= later.open;
    }
}

/// A failed span's error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A class name, a status code or `_OTHER`.
    pub kind: String,
    /// The status message, cut to [`ERROR_TEXT_BYTES_MAX`] bytes.
    pub message: String,
}

/// A tool call's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolKey {
    /// The tool's name.
    pub name: Arc<str>,
    /// Digest of name and canonical arguments; `None` when the arguments are not on the wire.
    pub digest: Option<u64>,
}

/// What kind of work a span is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanClass {
    /// One call of a language model.
    Llm,
    /// One execution of a tool.
    Tool,
    /// One run of an agent.
    Agent,
    /// A wrapper round agents.
    Workflow,
    /// An agent is defined; not a run.
    Definition,
    /// A step inside a run.
    Step,
    /// Nothing of ours; kept for its place in the tree.
    #[default]
    Other,
}

impl SpanClass {
    /// Whether a span of this class is the run of an agent or of a workflow of agents.
    pub const fn is_run(self) -> bool {
        matches!(self, Self::Agent | Self::Workflow)
    }
}

/// The spans of one trace that arrived in one request.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSpans {
    /// The trace on the wire.
    pub trace: TraceId,
    /// `service.name` of the resource: the agent of spans that name none.
    pub service: Arc<str>,
    /// The project that a rule names for the resource; `None`: that of the sender's key.
    pub project: Option<String>,
    /// Who told it.
    pub teller: Teller,
    /// Spans that are known already have new facts; otherwise they were sent again and change nothing.
    pub upsert: bool,
    /// The spans, in order of arrival.
    pub spans: Vec<SpanFacts>,
}
