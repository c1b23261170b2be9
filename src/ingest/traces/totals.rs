//! What a trace amounts to, by agent: a pure function of the set of its spans, whatever order they came in.

use std::sync::Arc;

use smallvec::SmallVec;

use super::by_agent::ByAgent;
use super::runs::{Runs, abandoned};
use super::tree::{Few, Tree};
use crate::model::{
    AT_HOME, CostOrigin, QuickMap, QuickSet, SpanClass, SpanFacts, SpanId, Timestamp, TraceHead, TraceTotals, Usage,
    text_digest, text_digest_after,
};

/// The agent a span counts for; `None` while it is held.
pub(super) fn agent_of<'a>(head: &'a TraceHead, span: &'a SpanFacts) -> Option<&'a Arc<str>> {
    let name = span.agent.as_ref()?;
    if **name == *AT_HOME { head.home.as_ref().map(|home| &home.agent) } else { Some(name) }
}

/// What the whole trace amounts to, by agent. Spans that are held do not count yet.
pub(super) fn totals(head: &TraceHead, spans: &[SpanFacts], tree: &Tree, runs: &Runs) -> ByAgent<Box<TraceTotals>> {
    let mut sums = Sums { head, by_agent: ByAgent::default() };
    let calls = Calls::of(spans, tree);
    let mut leaf_usage = false;
    for (first, call) in &calls.by_first {
        let Some(total) = sums.of(&spans[*first]) else { continue };
        let counts = match call.model.and_then(|model| total.models.get_mut(model)) {
            Some(counts) => counts,
            None => total.models.entry(call.model.cloned().unwrap_or_default()).or_default(),
        };
        counts.0 += 1;
        counts.1 += u64::from(call.failed);
        total.usage.add(&call.usage);
        leaf_usage |= !call.usage.is_unknown();
    }
    for (i, span) in spans.iter().enumerate() {
        let failed = u64::from(span.failure.is_some());
        let Some(total) = sums.of(span) else { continue };
        if span.twin {
            total.usage.add(&span.usage);
            continue;
        }
        if span.class == SpanClass::Tool && !span.open && !is_same_tool(spans, tree, i) {
            total.tool_calls += 1;
            total.tool_calls_failed += failed;
        }
        if stands_alone(span) && !calls.merged.contains(&i) {
            total.failures += failed;
            total.successes += 1 - failed;
        }
        if runs.is_over(head, spans, i) {
            let failed = u64::from(runs.failed(i));
            total.runs += 1;
            total.failures += failed;
            total.successes += 1 - failed;
        }
    }
    if let Some(total) = abandoned(head, spans, tree).and_then(|last| sums.of(&spans[last])) {
        total.runs += 1;
        total.failures += 1;
    }
    if !leaf_usage {
        // Where no model call tells what it used, the outermost run that does is believed: the one that began first,
        // because a parent never begins after its child.
        let told = spans.iter().filter(|s| s.class.is_run() && !s.usage.is_unknown());
        if let Some(run) = told.min_by_key(|s| (s.start, std::cmp::Reverse(s.end), s.span))
            && let Some(total) = sums.of(run)
        {
            total.usage.add(&run.usage);
        }
    }
    sums.by_agent
}

struct Sums<'a> {
    head: &'a TraceHead,
    by_agent: ByAgent<Box<TraceTotals>>,
}

impl Sums<'_> {
    fn of(&mut self, span: &SpanFacts) -> Option<&mut TraceTotals> {
        Some(self.by_agent.of(agent_of(self.head, span)?))
    }
}

/// A model call or a tool call that is a trace of its own, or the first thing a request from elsewhere leads to.
pub(super) fn stands_alone(span: &SpanFacts) -> bool {
    !span.open
        && (span.parent.is_none() || span.remote_parent)
        && matches!(span.class, SpanClass::Llm | SpanClass::Tool)
}

/// Whether span `i` is a tool right inside a span of the same tool: one execution told by two instrumentations.
pub(super) fn is_same_tool(spans: &[SpanFacts], tree: &Tree, i: usize) -> bool {
    let name = |i: usize| spans[i].tool.as_ref().filter(|_| spans[i].class == SpanClass::Tool).map(|t| &t.name);
    tree.nodes[i].parent.is_some_and(|p| name(p).is_some() && name(p) == name(i))
}

/// One model call, however many spans tell of it.
struct Call<'a> {
    usage: Usage,
    model: Option<&'a Arc<str>>,
    failed: bool,
}

/// The model calls of a trace.
struct Calls<'a> {
    /// By the span that stands for the call.
    by_first: SmallVec<[(usize, Call<'a>); 8]>,
    /// Spans for which another one stands.
    merged: QuickSet<usize>,
}

impl<'a> Calls<'a> {
    fn of(spans: &'a [SpanFacts], tree: &Tree) -> Self {
        let is_innermost = |i: &usize| {
            let span = &spans[*i];
            span.class == SpanClass::Llm && tree.nodes[*i].llm_below == 0 && !span.twin && !span.open
        };
        let mut innermost: Few<usize> = (0..spans.len()).filter(is_innermost).collect();
        // The provider's own SDK comes last: others know more of the agent.
        innermost.sort_by_key(|i| (spans[*i].provider_sdk, spans[*i].start, spans[*i].span));
        let mut calls = Self { by_first: SmallVec::with_capacity(innermost.len()), merged: QuickSet::default() };
        let mut known = Known::of(&innermost, spans);
        for i in innermost {
            let span = &spans[i];
            let mut usage = span.usage;
            let mut model = span.model.as_ref();
            // Calls round this one repeat it, and may know what it does not tell.
            let mut above = tree.nodes[i].llm_above;
            while let Some(a) = above.filter(|a| tree.nodes[*a].llm_below == 1) {
                lend(&mut usage, &spans[a].usage);
                model = model.or(spans[a].model.as_ref());
                above = tree.nodes[a].llm_above;
            }
            match known.find(i, span, spans) {
                Some(call) => {
                    calls.merged.insert(i);
                    lend(&mut calls.by_first[call].1.usage, &usage);
                }
                None => {
                    known.add(calls.by_first.len(), i, span);
                    calls.by_first.push((i, Call { usage, model, failed: span.failure.is_some() }));
                }
            }
        }
        calls
    }
}

/// How many calls with the same model and counts are compared.
const SAME_COUNTS_MAX: usize = 8;

/// Calls seen, by what the same call told twice has in common.
struct Known<'a> {
    /// Whether any two can be one call.
    is_needed: bool,
    responses: QuickMap<u64, usize>,
    counts: QuickMap<Counts<'a>, Vec<(usize, usize)>>,
}

impl<'a> Known<'a> {
    /// Mostly one instrumentation tells of all calls, each with a response of its own: then no two can be one.
    fn of(calls: &[usize], spans: &[SpanFacts]) -> Self {
        let same_scope = calls.windows(2).all(|pair| spans[pair[0]].scope == spans[pair[1]].scope);
        let mut responses: Few<u64> = calls.iter().filter_map(|i| spans[*i].response).collect();
        responses.sort_unstable();
        let own_responses = responses.windows(2).all(|pair| pair[0] != pair[1]);
        Self { is_needed: !(same_scope && own_responses), responses: QuickMap::default(), counts: QuickMap::default() }
    }

    /// The call that `span` tells again: the same response, or the same model and counts at the same time seen by
    /// another instrumentation.
    fn find(&self, i: usize, span: &'a SpanFacts, spans: &[SpanFacts]) -> Option<usize> {
        if !self.is_needed {
            return None;
        }
        if let Some(call) = span.response.and_then(|id| self.responses.get(&id)) {
            return Some(*call);
        }
        let same = self.counts.get(&counts(span)?)?;
        let is_same = |first: &SpanFacts| {
            first.scope != span.scope && (first.response.is_none() || span.response.is_none()) && overlap(first, span)
        };
        same.iter().find(|(_, first)| *first != i && is_same(&spans[*first])).map(|(call, _)| *call)
    }

    fn add(&mut self, call: usize, i: usize, span: &'a SpanFacts) {
        if !self.is_needed {
            return;
        }
        if let Some(id) = span.response {
            self.responses.insert(id, call);
        }
        if let Some(counts) = counts(span) {
            let same = self.counts.entry(counts).or_default();
            if same.len() < SAME_COUNTS_MAX {
                same.push((call, i));
            }
        }
    }
}

/// Model, input and output.
type Counts<'a> = (&'a str, u64, u64);

/// What two spans of one call have in common whoever tells it; `None` where the counts are unknown or the call failed.
fn counts(span: &SpanFacts) -> Option<Counts<'_>> {
    let (input, output) = span.usage.input.zip(span.usage.output).filter(|_| span.failure.is_none())?;
    Some((span.model.as_deref()?, input, output))
}

/// The same as a digest, to be kept.
pub(super) fn print(span: &SpanFacts) -> Option<u64> {
    let (model, input, output) = counts(span)?;
    Some(text_digest_after(
        text_digest_after(text_digest(model.as_bytes()), &input.to_le_bytes()),
        &output.to_le_bytes(),
    ))
}

fn overlap(a: &SpanFacts, b: &SpanFacts) -> bool {
    intervals_overlap((a.start, a.end), (b.start, b.end))
}

pub(super) fn intervals_overlap(a: (Timestamp, Timestamp), b: (Timestamp, Timestamp)) -> bool {
    a.0 <= b.1 && b.0 <= a.1
}

/// Fills in what is unknown in `usage`. A reported cost is better than a computed one.
fn lend(usage: &mut Usage, other: &Usage) {
    usage.input = usage.input.or(other.input);
    usage.output = usage.output.or(other.output);
    usage.cached_input = usage.cached_input.or(other.cached_input);
    usage.reasoning = usage.reasoning.or(other.reasoning);
    let better = usage.cost.is_none() || usage.cost_origin == CostOrigin::Computed;
    if other.cost.is_some() && better && (usage.cost.is_none() || other.cost_origin == CostOrigin::Reported) {
        (usage.cost, usage.cost_origin) = (other.cost, other.cost_origin);
    }
}

/// The span's id makes orders definite.
pub(super) type Place = (Timestamp, SpanId);
