//! The runs of a trace: where one begins, how it ended, and whether one was left without its end.

use std::sync::Arc;

use super::totals::{Place, agent_of};
use super::tree::Tree;
use crate::model::{SpanClass, SpanFacts, TraceHead};

/// The runs of a trace.
pub(super) struct Runs {
    is_run: Vec<bool>,
    failed: Vec<bool>,
}

impl Runs {
    pub fn of(head: &TraceHead, spans: &[Arc<SpanFacts>], tree: &Tree) -> Self {
        let n = spans.len();
        let has_agents = spans.iter().any(|s| s.class == SpanClass::Agent);
        // The run a span belongs to, and whether a tool lies between.
        let mut run: Vec<Option<usize>> = vec![None; n];
        let mut inside_tool = vec![false; n];
        let mut runs = Self { is_run: vec![false; n], failed: vec![false; n] };
        let counts_as_run = |i: usize| match spans[i].class {
            SpanClass::Agent => true,
            SpanClass::Workflow => !has_agents,
            _ => false,
        };
        for &i in &tree.order {
            if let Some(p) = tree.parent[i] {
                run[i] = if runs.is_run[p] { Some(p) } else { run[p] };
                inside_tool[i] = !runs.is_run[p] && (inside_tool[p] || spans[p].class == SpanClass::Tool);
            }
            // The same agent right inside itself is the same run told twice; workflows nest as they like.
            let agent = |i: usize| agent_of(head, &spans[i]);
            let same = run[i].is_some_and(|r| spans[i].class == SpanClass::Workflow || agent(r) == agent(i));
            runs.is_run[i] = counts_as_run(i) && !same;
            runs.failed[i] = spans[i].failure.is_some();
        }
        runs.judge(spans, tree, &run, &inside_tool);
        runs
    }

    /// A run also failed when an agent right inside it did, or when its last model call did and nothing went well since:
    /// several frameworks leave the outer span unset.
    fn judge(&mut self, spans: &[Arc<SpanFacts>], tree: &Tree, run: &[Option<usize>], inside_tool: &[bool]) {
        let mut last_call: Vec<Option<(Place, bool)>> = vec![None; spans.len()];
        let mut last_success: Vec<Option<Place>> = vec![None; spans.len()];
        for &i in tree.order.iter().rev() {
            let Some(r) = run[i] else { continue };
            let span = &spans[i];
            let place = (span.start, span.span);
            let failed = span.failure.is_some();
            match span.class {
                SpanClass::Agent if !inside_tool[i] && self.failed[i] => self.failed[r] = true,
                SpanClass::Llm if tree.llm_below[i] == 0 => {
                    last_call[r] = last_call[r].max(Some((place, failed)));
                    if !failed {
                        last_success[r] = last_success[r].max(Some(place));
                    }
                }
                SpanClass::Tool if !failed => last_success[r] = last_success[r].max(Some(place)),
                _ => {}
            }
        }
        for i in (0..spans.len()).filter(|i| self.is_run[*i]) {
            if let Some((place, true)) = last_call[i] {
                self.failed[i] |= last_success[i].is_none_or(|success| success < place);
            }
        }
    }

    /// Whether span `i` is a run that counts.
    pub fn is_run(&self, i: usize) -> bool {
        self.is_run[i]
    }

    /// Whether a run is told to have begun and not to have ended.
    pub fn has_open(&self, spans: &[Arc<SpanFacts>]) -> bool {
        spans.iter().zip(&self.is_run).any(|(span, is_run)| *is_run && span.open)
    }

    /// Whether span `i` is a run that is over: its end was told, or nothing more came for so long that there is none.
    pub fn is_over(&self, head: &TraceHead, spans: &[Arc<SpanFacts>], i: usize) -> bool {
        self.is_run[i] && (!spans[i].open || head.abandoned)
    }

    /// Whether run `i` failed.
    pub fn failed(&self, i: usize) -> bool {
        self.failed[i]
    }
}

/// The newest call of a run whose own span is missing: its process may have been killed.
pub(super) fn unfinished(spans: &[Arc<SpanFacts>], tree: &Tree) -> Option<usize> {
    let is_call = |i: &usize| matches!(spans[*i].class, SpanClass::Llm | SpanClass::Tool) && !spans[*i].twin;
    let newest = (0..spans.len()).filter(is_call).max_by_key(|i| (spans[*i].end, spans[*i].start, spans[*i].span))?;
    (tree.open[newest] && !tree.under_run[newest]).then_some(newest)
}

/// The newest call of a run that was given up, while its own span is still missing.
pub(super) fn abandoned(head: &TraceHead, spans: &[Arc<SpanFacts>], tree: &Tree) -> Option<usize> {
    unfinished(spans, tree).filter(|_| head.abandoned)
}
