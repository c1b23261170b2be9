//! The trace fold: what the spans of one trace amount to, and what a request adds to what was counted before.
//!
//! Agent spans often repeat their children's tokens, parents arrive after their children or never, and one failure
//! shows as an error on several spans. So a trace is always judged as a whole, and only the difference goes on.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::{
    Activity, ErrorNote, ModelCalls, Money, Run, SpanClass, SpanFacts, SpanId, TRACE_SPANS_MAX, Timestamp, ToolKey,
    TraceDelta, TraceRow, TraceSpans, TraceTotals, Usage,
};

/// What one request changes.
#[derive(Debug, PartialEq)]
pub struct Folded {
    /// What the store takes in.
    pub delta: TraceDelta,
    /// What was learned about each agent, by name. Only agents about which something was learned.
    pub activities: BTreeMap<String, Activity>,
}

/// Every agent name that folding `incoming` into `row` can lead to.
pub fn possible_agents<'a>(row: Option<&'a TraceRow>, incoming: &'a TraceSpans) -> BTreeSet<&'a str> {
    let known = row.into_iter().flat_map(|row| row.spans.iter());
    let named = incoming.spans.iter().chain(known).filter_map(|s| s.agent.as_deref());
    named.chain(row.map(|r| r.service.as_str())).chain([incoming.service.as_str()]).collect()
}

/// Adds the spans of one request to `row`. `None` when all of them had been there.
pub fn fold(row: &mut TraceRow, incoming: TraceSpans, now: Timestamp) -> Option<Folded> {
    let known: BTreeSet<SpanId> = row.spans.iter().map(|s| s.span).collect();
    let mut fresh = BTreeSet::new();
    let mut added: Vec<SpanFacts> =
        incoming.spans.into_iter().filter(|s| !known.contains(&s.span) && fresh.insert(s.span)).collect();
    if added.is_empty() {
        return None;
    }
    let anew = row.spans.len() + added.len() > TRACE_SPANS_MAX;
    if anew {
        row.spans.clear();
        row.counted.clear();
    }
    let first_new = row.spans.len();
    let service = if row.service.is_empty() { incoming.service } else { row.service.clone() };
    row.spans.append(&mut added);
    name_agents(&mut row.spans, first_new, &service);

    let tree = Tree::of(&row.spans);
    let totals = tree.totals();
    let mut activities = BTreeMap::new();
    let mut counted = row.counted.clone();
    for (agent, total) in totals {
        let mut activity = count(counted.entry(agent.clone()).or_default(), &total);
        tree.describe(&agent, first_new, now, &mut activity);
        if activity != Activity::default() && !(agent == service && tree.is_only_a_frame(&agent, &activity)) {
            activities.insert(agent, activity);
        }
    }
    let added = row.spans[first_new..].to_vec();
    let delta = TraceDelta { service: service.clone(), touched_at: now, anew, added, counted: counted.clone() };
    (row.service, row.touched_at, row.counted) = (service, now, counted);
    Some(Folded { delta, activities })
}

/// Gives each new span the agent it counts for: the one it names, else that of its nearest agent span above, else the
/// trace's only agent, else the service. It stays: what was counted for one agent is never counted again for another.
fn name_agents(spans: &mut [SpanFacts], first_new: usize, service: &str) {
    let index: HashMap<SpanId, usize> = spans.iter().enumerate().map(|(i, s)| (s.span, i)).collect();
    let runs: BTreeSet<&str> =
        spans.iter().filter(|s| s.class == SpanClass::Agent).filter_map(|s| s.agent.as_deref()).collect();
    let only = if runs.len() == 1 { runs.first().copied() } else { None };
    let names: Vec<String> = (first_new..spans.len())
        .map(|i| {
            let above =
                ancestors(spans, &index, i).find(|a| spans[*a].class == SpanClass::Agent && spans[*a].agent.is_some());
            let named = spans[i].agent.as_deref().or_else(|| above.and_then(|a| spans[a].agent.as_deref()));
            named.or(only).unwrap_or(service).to_owned()
        })
        .collect();
    for (span, name) in spans[first_new..].iter_mut().zip(names) {
        span.agent = Some(name);
    }
}

/// The spans above span `i`, the nearest first. Ends at a missing parent, and after as many steps as there are spans,
/// so that a circle in bad data ends too.
fn ancestors<'a>(
    spans: &'a [SpanFacts],
    index: &'a HashMap<SpanId, usize>,
    i: usize,
) -> impl Iterator<Item = usize> + 'a {
    let parent = move |i: &usize| spans[*i].parent.and_then(|p| index.get(&p).copied());
    std::iter::successors(parent(&i), parent).take(spans.len())
}

struct Tree<'a> {
    spans: &'a [SpanFacts],
    /// Model calls that contain other model calls: the inner ones count.
    wrappers: BTreeSet<usize>,
    /// Tool spans round a span of the same tool: one execution.
    same_tool: BTreeSet<usize>,
    /// Spans that are the run of their agent.
    runs: BTreeSet<usize>,
    /// Failing spans above other failing spans: the same incident.
    outer_failures: BTreeSet<usize>,
}

impl<'a> Tree<'a> {
    fn of(spans: &'a [SpanFacts]) -> Self {
        let index: HashMap<SpanId, usize> = spans.iter().enumerate().map(|(i, s)| (s.span, i)).collect();
        let mut tree = Self {
            spans,
            wrappers: BTreeSet::new(),
            same_tool: BTreeSet::new(),
            runs: BTreeSet::new(),
            outer_failures: BTreeSet::new(),
        };
        let has_agents = spans.iter().any(|s| s.class == SpanClass::Agent);
        for (i, span) in spans.iter().enumerate() {
            let mut is_outermost = true;
            for a in ancestors(spans, &index, i) {
                let above = &spans[a];
                if span.class == SpanClass::Llm && above.class == SpanClass::Llm {
                    tree.wrappers.insert(a);
                }
                if span.failure.is_some() && above.failure.is_some() {
                    tree.outer_failures.insert(a);
                }
                // An agent inside a differently named one is a run of its own; the same name again is the same run.
                is_outermost &= !(above.class == span.class && (above.agent == span.agent || !has_agents));
            }
            let parent = span.parent.and_then(|p| index.get(&p));
            if span.class == SpanClass::Tool
                && parent.is_some_and(|p| spans[*p].class == SpanClass::Tool && same_tool(&spans[*p], span))
            {
                tree.same_tool.insert(i);
            }
            let is_run = span.class == SpanClass::Agent || (span.class == SpanClass::Workflow && !has_agents);
            if is_run && is_outermost {
                tree.runs.insert(i);
            }
        }
        tree
    }

    /// What the whole trace amounts to, by agent.
    fn totals(&self) -> BTreeMap<String, TraceTotals> {
        let mut totals: BTreeMap<String, TraceTotals> = BTreeMap::new();
        let mut responses = BTreeSet::new();
        let mut leaf_usage = false;
        for (i, span) in self.spans.iter().enumerate() {
            let total = totals.entry(span.agent.clone().unwrap_or_default()).or_default();
            let failed = u64::from(span.failure.is_some());
            match span.class {
                // One response reported by two instrumentations is one call.
                SpanClass::Llm if !self.wrappers.contains(&i) && span.response.is_none_or(|r| responses.insert(r)) => {
                    let calls = total.models.entry(span.model.clone().unwrap_or_default()).or_default();
                    calls.0 += 1;
                    calls.1 += failed;
                    total.usage.add(&span.usage);
                    leaf_usage |= span.usage != Usage::default();
                }
                SpanClass::Tool if !self.same_tool.contains(&i) => {
                    total.tool_calls += 1;
                    total.tool_calls_failed += failed;
                }
                _ => {}
            }
            let stands_alone = span.parent.is_none() && matches!(span.class, SpanClass::Llm | SpanClass::Tool);
            if self.runs.contains(&i) || stands_alone {
                total.runs += u64::from(!stands_alone);
                total.failures += failed;
                total.successes += 1 - failed;
            }
        }
        if !leaf_usage {
            self.add_run_usage(&mut totals);
        }
        totals
    }

    /// Where no model call tells what it used, the outermost run that does is believed.
    fn add_run_usage(&self, totals: &mut BTreeMap<String, TraceTotals>) {
        let runs = self.spans.iter().filter(|s| s.class.is_run() && s.usage != Usage::default());
        // Outermost: the one that began first; a parent never begins after its child.
        if let Some(run) = runs.min_by_key(|s| (s.start, std::cmp::Reverse(s.end))) {
            totals.entry(run.agent.clone().unwrap_or_default()).or_default().usage.add(&run.usage);
        }
    }

    /// Whether `service` has only spans round the agents of the trace (workflow, steps) and nothing of its own to tell:
    /// then it is no agent, only where the agents live.
    fn is_only_a_frame(&self, service: &str, activity: &Activity) -> bool {
        let mut agents = self.spans.iter().filter(|s| s.class == SpanClass::Agent).peekable();
        let life = Activity { newest_end: activity.newest_end, ..Activity::default() };
        *activity == life && agents.peek().is_some() && agents.all(|s| s.agent.as_deref() != Some(service))
    }

    /// Adds what only the new spans tell: how fresh they are, which runs ended, what failed.
    fn describe(&self, agent: &str, first_new: usize, now: Timestamp, activity: &mut Activity) {
        let mut tools: Vec<(Timestamp, ToolKey)> = Vec::new();
        let new = self.spans.iter().enumerate().skip(first_new);
        for (i, span) in new.filter(|(_, s)| s.agent.as_deref() == Some(agent) && s.class != SpanClass::Other) {
            activity.newest_end = activity.newest_end.max(Some(span.end));
            if let Some(tool) =
                span.tool.as_ref().filter(|_| span.class == SpanClass::Tool && !self.same_tool.contains(&i))
            {
                tools.push((span.start, tool.clone()));
            }
            if self.runs.contains(&i) {
                activity.runs.push(Run {
                    failed: span.failure.is_some(),
                    started_at: span.start,
                    ended_at: span.end,
                    error_type: span.failure.as_ref().map(|f| f.kind.clone()),
                });
            }
            if let Some(failure) = span.failure.as_ref().filter(|_| !self.outer_failures.contains(&i)) {
                let text = if failure.message.is_empty() { &failure.kind } else { &failure.message };
                activity.error = Some(ErrorNote::new(now, text));
            }
        }
        tools.sort_by_key(|(start, _)| *start);
        activity.tools = tools.into_iter().map(|(_, tool)| tool).collect();
    }
}

fn same_tool(outer: &SpanFacts, inner: &SpanFacts) -> bool {
    let name = |s: &SpanFacts| s.tool.as_ref().map(|t| t.name.clone());
    name(outer).is_some() && name(outer) == name(inner)
}

/// The difference between `total` and what was `counted`, which is brought up to date. Counters never go down: where a
/// total fell, the difference waits until the total has grown beyond what was counted.
fn count(counted: &mut TraceTotals, total: &TraceTotals) -> Activity {
    let mut activity = Activity::default();
    for (model, (calls, failed)) in &total.models {
        let done = counted.models.entry(model.clone()).or_default();
        let calls =
            ModelCalls { model: model.clone(), calls: step(&mut done.0, *calls), failed: step(&mut done.1, *failed) };
        if calls.calls > 0 || calls.failed > 0 {
            activity.model_calls.push(calls);
        }
    }
    let (used, done) = (&total.usage, &mut counted.usage);
    activity.usage.input = step_known(&mut done.input, used.input);
    activity.usage.output = step_known(&mut done.output, used.output);
    activity.usage.cached_input = step_known(&mut done.cached_input, used.cached_input);
    activity.usage.reasoning = step_known(&mut done.reasoning, used.reasoning);
    if let Some(cost) = used.cost {
        let before = done.cost.unwrap_or_default();
        let more = Money(cost.0.saturating_sub(before.0).max(0));
        activity.usage.cost = (more > Money(0) || done.cost.is_none()).then_some(more);
        done.cost = Some(before.max(cost));
    }
    activity.tool_calls = step(&mut counted.tool_calls, total.tool_calls);
    activity.tool_calls_failed = step(&mut counted.tool_calls_failed, total.tool_calls_failed);
    activity.successes = step(&mut counted.successes, total.successes);
    activity.failures = step(&mut counted.failures, total.failures);
    step(&mut counted.runs, total.runs);
    activity
}

fn step(done: &mut u64, total: u64) -> u64 {
    let more = total.saturating_sub(*done);
    *done += more;
    more
}

fn step_known(done: &mut Option<u64>, total: Option<u64>) -> Option<u64> {
    let total = total?;
    let mut before = done.unwrap_or(0);
    let more = step(&mut before, total);
    let first = done.is_none();
    *done = Some(before);
    (more > 0 || first).then_some(more)
}

#[cfg(test)]
#[path = "traces_tests.rs"]
mod tests;
