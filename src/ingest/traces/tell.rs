//! What only new spans tell: how fresh they are, which runs ended, what failed, what repeats.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use super::by_agent::ByAgent;
use super::runs::{Runs, abandoned};
use super::totals::{Place, agent_of, is_same_tool};
use super::tree::Tree;
use crate::model::{Activity, ErrorNote, Run, SpanClass, SpanFacts, Timestamp, ToolKey, TraceHead};

/// The class of the error of a run that was left without its end.
const ABANDONED: &str = "abandoned";

/// What new spans tell, by agent.
pub(super) fn tell(
    head: &TraceHead,
    spans: &[SpanFacts],
    tree: &Tree,
    runs: &Runs,
    is_new: impl Fn(usize) -> bool,
    now: Timestamp,
) -> ByAgent<Box<Activity>> {
    let mut told: ByAgent<Box<Activity>> = ByAgent::default();
    let mut tools: ByAgent<SmallVec<[(Place, &ToolKey); 8]>> = ByAgent::default();
    let mut outputs: ByAgent<SmallVec<[(Place, u64); 8]>> = ByAgent::default();
    // Of two spans of one execution the outer one has the arguments; where the inner one came first, it was told instead.
    let told_inside: BTreeSet<usize> = (0..spans.len())
        .filter(|i| is_same_tool(spans, tree, *i) && !is_new(*i))
        .filter_map(|i| tree.nodes[i].parent)
        .collect();
    for (i, span) in spans.iter().enumerate().filter(|(i, s)| s.class != SpanClass::Other && is_new(*i)) {
        let Some(agent) = agent_of(head, span) else { continue };
        let activity = told.of(agent);
        activity.newest_end = activity.newest_end.max(Some(span.end));
        if span.open {
            continue;
        }
        let place = (span.start, span.span);
        if let Some(tool) = &span.tool
            && span.class == SpanClass::Tool
            && !is_same_tool(spans, tree, i)
            && !told_inside.contains(&i)
        {
            tools.of(agent).push((place, tool));
        }
        if let Some(output) = span.output.filter(|_| tree.nodes[i].llm_below == 0 && !span.twin) {
            outputs.of(agent).push((place, output));
        }
        if runs.is_run(i) {
            activity.runs.push(run(span, runs.failed(i), span.start));
        }
        if let Some(failure) = span.failure.as_ref().filter(|_| !tree.nodes[i].failed_below) {
            let text = if failure.message.is_empty() { &failure.kind } else { &failure.message };
            activity.error = Some(ErrorNote::new(now, text));
        }
    }
    for (agent, mut tools) in tools {
        tools.sort_unstable_by_key(|(place, _)| *place);
        told.of(&agent).tools = tools.into_iter().map(|(_, tool)| tool.clone()).collect();
    }
    for (agent, mut outputs) in outputs {
        outputs.sort_unstable();
        told.of(&agent).outputs = outputs.into_iter().map(|(_, output)| output).collect();
    }
    if head.abandoned && head.touched_at < now {
        for i in (0..spans.len()).filter(|i| spans[*i].open && runs.is_run(*i)) {
            let Some(agent) = agent_of(head, &spans[i]) else { continue };
            let ended = run(&spans[i], runs.failed(i), spans[i].start);
            let activity = told.of(agent);
            activity.newest_end = activity.newest_end.max(Some(ended.ended_at));
            activity.runs.push(ended);
        }
    }
    if let Some(last) = abandoned(head, spans, tree).filter(|_| head.touched_at < now)
        && let Some(agent) = agent_of(head, &spans[last])
    {
        let began = spans.iter().map(|s| s.start).min().unwrap_or(spans[last].start);
        let activity = told.of(agent);
        activity.newest_end = activity.newest_end.max(Some(spans[last].end));
        let mut run = run(&spans[last], true, began);
        run.error_type.get_or_insert_with(|| ABANDONED.to_owned());
        activity.runs.push(run);
        if spans[last].failure.is_none() {
            activity.error = Some(ErrorNote::new(now, "the run was left without its end: was its process killed?"));
        }
    }
    told
}

fn run(span: &SpanFacts, failed: bool, started_at: Timestamp) -> Run {
    Run {
        failed,
        started_at,
        ended_at: span.end,
        error_type: span.failure.as_ref().map(|f| f.kind.clone()),
        session: span.session,
    }
}
