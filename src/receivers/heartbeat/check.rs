//! What a beat's fields may be: from [`Wire`] to what it tells, or to the list of everything that is wrong with it.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;

use super::runner::{self, Clues};
use super::scalar::{Counted, Present, Scalar, Window};
use super::target;
use super::wire::Wire;
use crate::http::FieldError;
use crate::model::{
    AgentKey, AgentNameError, BeatStatus, Body, Heartbeat, Money, Observation, ProjectId, RESTART_TARGET_BYTES_MAX,
    RESTART_TYPE_BYTES_MAX, RestartTarget, Source, SupervisorReport, Timestamp,
};
use crate::receivers::json::wrong;

/// The largest number of tokens or tool calls one beat may report.
pub const COUNT_MAX: u64 = 1_000_000_000_000;
/// An interval a sender declares is held within these bounds.
pub const INTERVAL_MIN: Duration = Duration::from_secs(5);
/// See [`INTERVAL_MIN`].
pub const INTERVAL_MAX: Duration = Duration::from_hours(24);
/// The longest `agent_type` kept, in bytes; the rest is cut off.
pub const AGENT_TYPE_BYTES_MAX: usize = 64;

/// What one beat tells: of the agent by itself, of its process, or both.
#[derive(Debug, PartialEq)]
pub struct Told {
    agent: AgentKey,
    report: Option<(Source, SupervisorReport)>,
    started: bool,
    heartbeat: Option<Heartbeat>,
}

/// The mark by which a beat tells where the agent is in its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// A piece of work begins.
    Start,
    /// One is done.
    Done,
    /// There is nothing to do: no result is expected until there is.
    Idle,
}

impl Told {
    /// Appends the one to three observations it makes. The last one is the one to answer for: its result is how the
    /// agent is after the whole beat.
    pub fn push_to(self, received_at: Timestamp, out: &mut Vec<Observation>) {
        let observation = |source, body| Observation { agent: self.agent.clone(), received_at, at: None, source, body };
        // The report goes first, so that a sign of life in it cannot undo what the agent says of itself.
        out.extend(self.report.map(|(source, report)| observation(source, Body::SupervisorReport(report))));
        out.extend(self.started.then(|| observation(Source::Agent, Body::WorkStarted)));
        out.extend(self.heartbeat.map(|beat| observation(Source::Agent, Body::Heartbeat(Box::new(beat)))));
    }
}

/// Checks all fields of a beat that was found at `loc`. The error lists every field that is wrong, in a fixed order.
pub fn check(wire: Wire<'_>, project: ProjectId, loc: &[Value]) -> Result<Told, Vec<FieldError>> {
    let mut fields = Fields { loc, errors: Vec::new() };
    let agent = fields.agent(wire.agent, project);
    let status = fields.status(wire.status);
    let mut message = fields.text("message", wire.message);
    let tokens = match wire.tokens_used {
        Scalar::Absent => fields.count("tokens", wire.tokens),
        given => fields.count("tokens_used", given),
    };
    let cost = fields.cost(&wire.cost_usd);
    let calls = fields.count("tool_calls", wire.tool_calls);
    let iteration = fields.iteration(&wire.iteration_count);
    let memory = fields.number("memory_mb", &wire.memory_mb);
    let logged = fields.list("tool_call_log", wire.tool_call_log);
    let prompts = fields.window("prompt_hashes", wire.prompt_hashes);
    let agent_type = fields.text("agent_type", wire.agent_type);
    let restart = fields.restart(wire.restart_type, wire.restart_target);
    let container = fields.container(wire.container_id);
    let interval = fields.interval(&wire.interval);
    let mark = fields.mark(wire.progress);
    let (Some(agent), true) = (agent, fields.errors.is_empty()) else { return Err(fields.errors) };

    // `error` was a text in the first description of the API; whatever else it is belongs to the fields not known.
    let mut said = status;
    if let Scalar::Text(error) = wire.error
        && !error.is_empty()
    {
        if matches!(status, None | Some(BeatStatus::Ok)) {
            (said, message) = (Some(BeatStatus::Error), Some(error));
        } else if message.is_none() {
            message = Some(error);
        }
    }
    let mut beat = Heartbeat {
        message: message.map(Cow::into_owned),
        tokens,
        cost,
        // Clients count some calls and log others, and the log is cut at 20: the larger number is nearer the truth.
        tool_calls: calls.max(logged),
        iteration,
        prompts,
        // Only who works with a model names one; calls of it are counted where they are told one by one, in spans.
        has_details: matches!(&wire.model, Scalar::Text(model) if !model.is_empty())
            || memory.is_some()
            || wire.custom_data == Present(true)
            || wire.meta == Present(true)
            || mark == Some(Mark::Done),
        idle: mark == Some(Mark::Idle),
        agent_type: agent_type.map(|t| t[..t.floor_char_boundary(AGENT_TYPE_BYTES_MAX)].to_owned()),
        interval,
        ..Heartbeat::bare(said.unwrap_or(BeatStatus::Ok))
    };
    let clues = Clues { name: &agent.name, beat: &beat, restart: restart.is_some(), container: container.is_some() };
    if let Some(running) = runner::running(&clues) {
        let report = SupervisorReport { running, message: beat.message.take(), restart };
        return Ok(Told { agent, report: Some((Source::Supervisor, report)), started: false, heartbeat: None });
    }
    // An agent that names where it is restarted: it speaks, so its process runs, unless it just said goodbye.
    let restart = restart
        .or_else(|| container.map(|id| RestartTarget { kind: "docker".to_owned(), target: id.into_owned() }))
        .filter(|_| beat.status != BeatStatus::Shutdown);
    let report =
        restart.map(|target| (Source::Agent, SupervisorReport { running: true, message: None, restart: Some(target) }));
    Ok(Told { agent, report, started: mark == Some(Mark::Start), heartbeat: Some(beat) })
}

/// Reads fields and gathers what is wrong with them.
struct Fields<'l> {
    loc: &'l [Value],
    errors: Vec<FieldError>,
}

impl Fields<'_> {
    fn wrong<T>(&mut self, field: &str, kind: &'static str, msg: impl Into<String>) -> Option<T> {
        let loc = [self.loc, &[Value::from(field)]].concat();
        self.errors.push(wrong(&loc, kind, msg));
        None
    }

    fn agent(&mut self, value: Scalar<'_>, project: ProjectId) -> Option<AgentKey> {
        if value == Scalar::Absent {
            return self.wrong("agent", "missing", "Field required");
        }
        let Scalar::Text(name) = value else {
            return self.wrong("agent", "string_type", "Input should be a valid string");
        };
        AgentKey::new(project, &name).or_else(|e| self.wrong("agent", name_error_kind(e), e.to_string()).ok_or(())).ok()
    }

    fn status(&mut self, value: Scalar<'_>) -> Option<BeatStatus> {
        let text = self.text_or_empty("status", value)?;
        match &*text {
            "ok" => Some(BeatStatus::Ok),
            "warning" => Some(BeatStatus::Warning),
            "error" => Some(BeatStatus::Error),
            "shutdown" => Some(BeatStatus::Shutdown),
            _ => self.wrong("status", "literal_error", "Input should be 'ok', 'warning', 'error' or 'shutdown'"),
        }
    }

    fn text_or_empty<'a>(&mut self, field: &str, value: Scalar<'a>) -> Option<Cow<'a, str>> {
        match value {
            Scalar::Absent => None,
            Scalar::Text(text) => Some(text),
            _ => self.wrong(field, "string_type", "Input should be a valid string"),
        }
    }

    /// A text; an empty one tells nothing.
    fn text<'a>(&mut self, field: &str, value: Scalar<'a>) -> Option<Cow<'a, str>> {
        self.text_or_empty(field, value).filter(|t| !t.is_empty())
    }

    fn bounded<'a>(&mut self, field: &str, value: Scalar<'a>, bytes_max: usize) -> Option<Cow<'a, str>> {
        let text = self.text(field, value)?;
        if text.len() > bytes_max {
            let msg = format!("String should have at most {bytes_max} bytes of UTF-8, not {}", text.len());
            return self.wrong(field, "string_too_long", msg);
        }
        Some(text)
    }

    /// Half a target is of no use, and of no harm.
    fn restart(&mut self, kind: Scalar<'_>, target: Scalar<'_>) -> Option<RestartTarget> {
        let kind = self.bounded("restart_type", kind, RESTART_TYPE_BYTES_MAX);
        let target = self.bounded("restart_target", target, RESTART_TARGET_BYTES_MAX);
        let (kind, target) = (kind?, target?);
        if let Some(msg) = target::flaw_of_kind(&kind) {
            return self.wrong("restart_type", "string_pattern_mismatch", msg);
        }
        if let Some(msg) = target::flaw(&kind, &target) {
            return self.wrong("restart_target", "string_pattern_mismatch", msg);
        }
        Some(RestartTarget { kind: kind.into_owned(), target: target.into_owned() })
    }

    /// A container the agent says it runs in: where it can be restarted.
    fn container<'a>(&mut self, value: Scalar<'a>) -> Option<Cow<'a, str>> {
        let id = self.bounded("container_id", value, RESTART_TARGET_BYTES_MAX)?;
        match target::flaw("docker", &id) {
            Some(msg) => self.wrong("container_id", "string_pattern_mismatch", msg),
            None => Some(id),
        }
    }

    /// A whole number from 0 to [`COUNT_MAX`]; `10.0` is one, as JavaScript and spreadsheets write it.
    fn count(&mut self, field: &str, value: Scalar<'_>) -> Option<u64> {
        let kind = match value {
            Scalar::Absent => return None,
            Scalar::Whole(n) if n <= COUNT_MAX => return Some(n),
            Scalar::Float(n) if n.fract() == 0.0 && (0.0..=COUNT_MAX as f64).contains(&n) => return Some(n as u64),
            Scalar::Float(n) if n.fract() != 0.0 => "int_from_float",
            Scalar::Negative(_) | Scalar::Float(..0.0) => "greater_than_equal",
            Scalar::Whole(_) | Scalar::Float(_) => "less_than_equal",
            Scalar::Text(_) | Scalar::Other => "int_type",
        };
        self.wrong(field, kind, format!("Input should be a whole number from 0 to {COUNT_MAX}"))
    }

    fn iteration(&mut self, value: &Scalar<'_>) -> Option<i64> {
        // Floats are exact integers up to 2^53 only; beyond that a sender's counter would be rounded.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let kind = match *value {
            Scalar::Absent => return None,
            Scalar::Negative(n) => return Some(n),
            Scalar::Whole(n) if n <= i64::MAX as u64 => return i64::try_from(n).ok(),
            Scalar::Float(n) if n.fract() == 0.0 && n.abs() <= EXACT => return Some(n as i64),
            Scalar::Float(n) if n.fract() != 0.0 => "int_from_float",
            Scalar::Whole(_) | Scalar::Float(_) => "int_parsing_size",
            Scalar::Text(_) | Scalar::Other => "int_type",
        };
        self.wrong("iteration_count", kind, "Input should be a whole number of at most 64 bits")
    }

    fn number(&mut self, field: &str, value: &Scalar<'_>) -> Option<f64> {
        match *value {
            Scalar::Absent => None,
            Scalar::Whole(n) => Some(n as f64),
            Scalar::Negative(n) => Some(n as f64),
            Scalar::Float(n) => Some(n),
            Scalar::Text(_) | Scalar::Other => self.wrong(field, "float_type", "Input should be a valid number"),
        }
    }

    fn cost(&mut self, value: &Scalar<'_>) -> Option<Money> {
        let usd = self.number("cost_usd", value)?;
        Money::from_usd(usd).or_else(|| {
            let kind = if usd < 0.0 { "greater_than_equal" } else { "less_than_equal" };
            let most = Money::REPORT_MAX.as_usd();
            self.wrong("cost_usd", kind, format!("Input should be a number of US dollars from 0 to {most}"))
        })
    }

    /// What is not a text belongs to the fields that are not known.
    fn mark(&mut self, value: Scalar<'_>) -> Option<Mark> {
        let Scalar::Text(word) = value else { return None };
        match &*word {
            "start" => Some(Mark::Start),
            "done" => Some(Mark::Done),
            "idle" => Some(Mark::Idle),
            _ => self.wrong("progress", "literal_error", "Input should be 'start', 'done' or 'idle'"),
        }
    }

    fn interval(&mut self, value: &Scalar<'_>) -> Option<Duration> {
        let secs = self.number("interval", value)?;
        if secs < 0.0 {
            return self.wrong("interval", "greater_than_equal", "Input should be a number of seconds, 0 or more");
        }
        Some(Duration::from_secs_f64(secs.clamp(INTERVAL_MIN.as_secs_f64(), INTERVAL_MAX.as_secs_f64())))
    }

    /// The length of a list; an empty one tells nothing.
    fn list(&mut self, field: &str, value: Counted) -> Option<u64> {
        match value {
            Counted::Absent | Counted::List(0) => None,
            Counted::List(n) => Some(n),
            Counted::Other => self.wrong(field, "list_type", "Input should be a valid list"),
        }
    }

    fn window(&mut self, field: &str, value: Window) -> Option<u64> {
        match value {
            Window::Absent => None,
            Window::Digest(digest) => Some(digest),
            Window::Other => self.wrong(field, "list_type", "Input should be a valid list of strings"),
            Window::NotText(index) => {
                let loc = [self.loc, &[field.into(), index.into()]].concat();
                self.errors.push(wrong(&loc, "string_type", "Input should be a valid string"));
                None
            }
        }
    }
}

/// The stable word for what is wrong with a name.
pub const fn name_error_kind(error: AgentNameError) -> &'static str {
    match error {
        AgentNameError::Empty => "string_too_short",
        AgentNameError::TooLong(_) => "string_too_long",
        AgentNameError::Control => "string_pattern_mismatch",
    }
}
