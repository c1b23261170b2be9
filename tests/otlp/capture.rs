//! The captures of `tests/data/otlp`: what was sent, and what is known to be true of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Clone, Deserialize)]
pub struct Capture {
    pub id: String,
    files: Vec<Export>,
    agents: BTreeSet<String>,
    pub service: BTreeSet<String>,
    llm: Llm,
    tools: Tools,
    pub outcome: Outcome,
    on_wire: OnWire,
    cost_on_wire: Option<f64>,
}

/// A request: path, content type and body.
pub type Sent = (&'static str, &'static str, Vec<u8>);

/// One request as it was captured.
#[derive(Clone, Deserialize)]
pub struct Export {
    file: PathBuf,
    pub signal: String,
}

/// What the scripted model really did.
#[derive(Clone, Deserialize)]
struct Llm {
    succeeded: u64,
    failed: u64,
    input_tokens: u64,
    output_tokens: u64,
    cached_input_tokens: u64,
    reasoning_output_tokens: u64,
}

/// What the tools really did.
#[derive(Clone, Deserialize)]
struct Tools {
    executed: u64,
    failed: u64,
}

/// How the run ended.
#[derive(Clone, Deserialize)]
pub struct Outcome {
    pub status: String,
}

/// Which of that the payloads carry.
#[derive(Clone, Deserialize)]
struct OnWire {
    tokens: Carried,
    cached_tokens: Carried,
    reasoning_tokens: Carried,
    llm_attempts: Carried,
    tool_executions: Carried,
    tool_failures: Carried,
    agent_name: Carried,
    run_status: Carried,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Carried {
    #[serde(rename = "exact")]
    Exact,
    #[serde(rename = "absent")]
    Absent,
    /// The package tells something else than what happened, for example one call where it retried twice.
    #[serde(rename = "differs")]
    Differs,
    /// There is no such thing: the program has no agent.
    #[serde(rename = "n/a")]
    Nothing,
}

/// One thing that must come out right: what it is, what it is in truth, and what the gateway says.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    pub name: &'static str,
    pub truth: Value,
    pub told: Value,
}

impl Fact {
    pub fn is_exact(&self) -> bool {
        self.truth == self.told
    }
}

impl Capture {
    /// All captures.
    pub fn all() -> Vec<Self> {
        let all: Vec<Self> = serde_json::from_slice(&fs::read(folder().join("index.json")).unwrap()).unwrap();
        assert_eq!(all.len(), 109);
        all
    }

    /// The exports of all signals in order of arrival: path, content type and body.
    pub fn exports(&self) -> impl Iterator<Item = Sent> {
        self.files.iter().map(Export::read)
    }

    /// Every fact that the payloads carry exactly, beside what `agents` (rows of `/api/v1/status`) say of it. A fact
    /// that is not on the wire must be unknown, which is not zero.
    pub fn facts(&self, agents: &[Value]) -> Vec<Fact> {
        let sum = |field: &str| {
            let known = agents.iter().filter_map(|agent| agent["totals"][field].as_u64());
            known.reduce(|a, b| a + b)
        };
        let mut facts = Vec::new();
        let mut tokens = |name, carried, truth: u64| match carried {
            // A package that has nothing to say of a quantity which is zero may leave it out.
            Carried::Exact if truth == 0 => {
                facts.push(Fact { name, truth: json!(0), told: json!(sum(name).unwrap_or(0)) });
            }
            Carried::Exact => facts.push(Fact { name, truth: json!(truth), told: json!(sum(name)) }),
            Carried::Absent => facts.push(Fact { name, truth: Value::Null, told: json!(sum(name)) }),
            Carried::Differs | Carried::Nothing => {}
        };
        let (llm, wire) = (&self.llm, &self.on_wire);
        tokens("tokens_input", wire.tokens, llm.input_tokens);
        tokens("tokens_output", wire.tokens, llm.output_tokens);
        tokens("tokens_cached_input", wire.cached_tokens, llm.cached_input_tokens);
        tokens("tokens_reasoning", wire.reasoning_tokens, llm.reasoning_output_tokens);
        let mut count = |name, carried, truth: u64| {
            if carried == Carried::Exact {
                facts.push(Fact { name, truth: json!(truth), told: json!(sum(name)) });
            }
        };
        count("model_calls", wire.llm_attempts, llm.succeeded + llm.failed);
        count("model_calls_failed", wire.llm_attempts, llm.failed);
        count("tool_calls", wire.tool_executions, self.tools.executed);
        if wire.tool_executions == Carried::Exact {
            count("tool_calls_failed", wire.tool_failures, self.tools.failed);
        }
        if let Some(usd) = self.cost_on_wire {
            let costs = agents.iter().filter_map(|agent| agent["totals"]["cost_usd"].as_str());
            let told = costs.map(|usd| usd.parse::<f64>().unwrap()).reduce(|a, b| a + b);
            // Nine digits are what the gateway keeps.
            let digits = |usd: f64| format!("{usd:.9}");
            facts.push(Fact { name: "cost_usd", truth: json!(digits(usd)), told: json!(told.map(digits)) });
        }
        if wire.run_status == Carried::Exact {
            let failed = self.outcome.status != "ok";
            let told = sum("results_failure").unwrap_or(0) > 0;
            facts.push(Fact { name: "failed", truth: json!(failed), told: json!(told) });
        }
        // Where no agent has a name on the wire, the service stands for it.
        let names = match wire.agent_name {
            Carried::Exact => &self.agents,
            Carried::Absent | Carried::Differs | Carried::Nothing => &self.service,
        };
        let told: BTreeSet<_> = agents.iter().filter_map(|agent| agent["agent"].as_str()).collect();
        facts.push(Fact { name: "agents", truth: json!(names), told: json!(told) });
        facts
    }
}

impl Export {
    fn read(&self) -> Sent {
        let path = match &self.signal[..] {
            "traces" => "/v1/traces",
            "logs" => "/v1/logs",
            "metrics" => "/v1/metrics",
            other => panic!("a signal called {other}"),
        };
        let json = self.file.extension().is_some_and(|e| e == "json");
        let content_type = if json { "application/json" } else { "application/x-protobuf" };
        (path, content_type, fs::read(folder().join(&self.file)).unwrap())
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/otlp")
}
