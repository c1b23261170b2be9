//! Captured payloads of real packages, decoded as they came.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;
use serde::Deserialize;

use crate::model::{Money, SpanClass, SpanFacts, Usage};
use crate::proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use crate::receivers::otlp::naming::Naming;
use crate::receivers::otlp::{json, spans};

#[derive(Deserialize)]
struct Capture {
    id: String,
    files: Vec<Export>,
    agents: Vec<String>,
    service: Vec<String>,
    llm: Llm,
    tools: Tools,
    on_wire: OnWire,
    cost_on_wire: Option<f64>,
}

#[derive(Deserialize)]
struct Export {
    file: PathBuf,
    signal: String,
}

/// What the scripted model really did.
#[derive(Deserialize)]
struct Llm {
    succeeded: u64,
    failed: u64,
    input_tokens: u64,
    output_tokens: u64,
    cached_input_tokens: u64,
    reasoning_output_tokens: u64,
}

/// What the tools really did.
#[derive(Deserialize)]
struct Tools {
    executed: usize,
    distinct_calls: usize,
}

/// Which of that the payloads carry: `exact`, `absent`, `present`, …
#[derive(Deserialize)]
struct OnWire {
    tokens: String,
    cached_tokens: String,
    reasoning_tokens: String,
    llm_attempts: String,
    tool_executions: String,
    tool_args: String,
    agent_name: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/otlp")
}

fn captures() -> Vec<Capture> {
    let all: Vec<Capture> = serde_json::from_slice(&fs::read(folder().join("index.json")).unwrap()).unwrap();
    all.into_iter().filter(|c| c.files.iter().any(|export| export.signal == "traces")).collect()
}

struct Story {
    services: BTreeSet<String>,
    spans: Vec<SpanFacts>,
}

impl Story {
    fn of(capture: &Capture) -> Self {
        let mut story = Self { services: BTreeSet::new(), spans: Vec::new() };
        for Export { file, .. } in capture.files.iter().filter(|export| export.signal == "traces") {
            let body = fs::read(folder().join(file)).unwrap();
            let request = if file.extension().is_some_and(|e| e == "json") {
                json::traces(&body).unwrap()
            } else {
                ExportTraceServiceRequest::decode(&body[..]).unwrap()
            };
            let decoded = spans::decode(&request, &Naming::default());
            assert_eq!((decoded.rejected, decoded.reject_reason), (0, None), "{}", file.display());
            for trace in decoded.traces {
                story.services.insert(trace.service.to_string());
                story.spans.extend(trace.spans);
            }
        }
        story
    }

    /// Model calls without a model call below them, each response once: what a fold would count, roughly.
    fn leaf_calls(&self) -> Vec<&SpanFacts> {
        let parents: HashMap<_, _> = self.spans.iter().map(|s| (s.span, s.parent)).collect();
        let mut covered = HashSet::new();
        for span in self.spans.iter().filter(|s| s.class == SpanClass::Llm) {
            let mut up = span.parent;
            while let Some(id) = up {
                covered.insert(id);
                up = parents.get(&id).copied().flatten();
            }
        }
        let mut responses = HashSet::new();
        self.spans
            .iter()
            .filter(|s| s.class == SpanClass::Llm && !covered.contains(&s.span))
            .filter(|s| s.response.is_none_or(|id| responses.insert(id)))
            .collect()
    }

    /// Tool executions; a tool under a tool of the same name is the same one.
    fn tool_calls(&self) -> Vec<&SpanFacts> {
        let names: HashMap<_, _> = self.spans.iter().filter_map(|s| Some((s.span, &*s.tool.as_ref()?.name))).collect();
        self.spans
            .iter()
            .filter(|s| s.class == SpanClass::Tool)
            .filter(|s| {
                let outer = s.parent.and_then(|parent| names.get(&parent));
                outer.is_none() || outer.copied() != s.tool.as_ref().map(|t| &*t.name)
            })
            .collect()
    }
}

#[test]
fn captured_payloads_tell_what_really_happened() {
    let mut wrong = Vec::new();
    let captures = captures();
    assert!(captures.len() >= 100);
    for capture in &captures {
        let story = Story::of(capture);
        let mut check = |what: &str, holds: bool, seen: &dyn std::fmt::Debug| {
            if !holds {
                wrong.push(format!("{}: {what}: {seen:?}", capture.id));
            }
        };
        check("service", story.services.iter().all(|s| capture.service.contains(s)), &story.services);

        let calls = story.leaf_calls();
        let mut usage = Usage::default();
        calls.iter().for_each(|call| usage.add(&call.usage));
        let (llm, wire) = (&capture.llm, &capture.on_wire);
        // A stream of the Anthropic package is told twice in two traces: by the SDK itself and by its instrumentation.
        let twins = capture.id == "openinference-anthropic__stream";
        if wire.tokens == "exact" && llm.succeeded > 0 && !twins {
            let seen = (usage.input, usage.output);
            check("tokens", seen == (Some(llm.input_tokens), Some(llm.output_tokens)), &seen);
            // A call that failed may name no model.
            check("models", calls.iter().all(|c| c.model.is_some() || c.failure.is_some()), &calls.len());
        }
        if wire.tokens == "absent" {
            check("tokens", usage.input.unwrap_or(0) == 0, &usage);
        }
        if wire.cached_tokens == "exact" && llm.cached_input_tokens > 0 && !twins {
            check("cached", usage.cached_input == Some(llm.cached_input_tokens), &usage.cached_input);
        }
        if wire.reasoning_tokens == "exact" && llm.reasoning_output_tokens > 0 && !twins {
            check("reasoning", usage.reasoning == Some(llm.reasoning_output_tokens), &usage.reasoning);
        }
        if wire.llm_attempts == "exact" && !twins {
            let failed = calls.iter().filter(|c| c.failure.is_some()).count() as u64;
            check("failed calls", failed == llm.failed, &failed);
        }
        if let Some(cost) = capture.cost_on_wire.filter(|_| usage.cost.is_some()) {
            check("cost", usage.cost == Money::from_usd(cost), &usage.cost);
        }

        let tools = story.tool_calls();
        if wire.tool_executions == "exact" {
            check("tools", tools.len() == capture.tools.executed, &tools.len());
        }
        if wire.tool_args == "present" && wire.tool_executions == "exact" {
            let distinct: HashSet<_> = tools.iter().filter_map(|t| t.tool.as_ref()?.digest).collect();
            check("distinct calls", distinct.len() == capture.tools.distinct_calls, &distinct.len());
        }
        if wire.agent_name == "exact" {
            let named: BTreeSet<_> = story.spans.iter().filter_map(|s| s.agent.as_deref()).collect();
            check("agents", capture.agents.iter().all(|a| named.contains(a.as_str())), &named);
        }
    }
    assert!(wrong.is_empty(), "{} of {} captures:\n{}", wrong.len(), captures.len(), wrong.join("\n"));
}
