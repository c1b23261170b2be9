//! The runs of a trace: where one begins, how it ended, and whether one was left without its end.

use smallvec::smallvec;

use super::totals::{Place, agent_of};
use super::tree::{Few, Tree};
use crate::model::{SpanClass, SpanFacts, TraceHead};

/// The runs of a trace: what there is to say of each span.
pub(super) struct Runs(Few<Standing>);

#[derive(Clone, Default)]
struct Standing {
    /// It is a run that counts.
    is_run: bool,
    failed: bool,
    /// The run it belongs to.
    run: Option<usize>,
    /// A tool lies between.
    inside_tool: bool,
    /// The last model call of the run, and whether it failed.
    last_call: Option<(Place, bool)>,
    /// The last thing that went well in the run.
    last_success: Option<Place>,
}

impl Runs {
    pub fn of(head: &TraceHead, spans: &[SpanFacts], tree: &Tree) -> Self {
        let has_agents = spans.iter().any(|s| s.class == SpanClass::Agent);
        let mut runs = Self(smallvec![Standing::default(); spans.len()]);
        let counts_as_run = |i: usize| match spans[i].class {
            SpanClass::Agent => true,
            SpanClass::Workflow => !has_agents,
            _ => false,
        };
        for &i in &tree.order {
            let (mut run, mut inside_tool) = (None, false);
            if let Some(p) = tree.nodes[i].parent {
                let above = &runs.0[p];
                run = if above.is_run { Some(p) } else { above.run };
                inside_tool = !above.is_run && (above.inside_tool || spans[p].class == SpanClass::Tool);
            }
            // The same agent right inside itself is the same run told twice; workflows nest as they like.
            let agent = |i: usize| agent_of(head, &spans[i]);
            let is_same = |r: usize| spans[i].class == SpanClass::Workflow || agent(r) == agent(i);
            let is_run = counts_as_run(i) && !run.is_some_and(is_same);
            let failed = spans[i].failure.is_some();
            runs.0[i] = Standing { is_run, failed, run, inside_tool, ..Standing::default() };
        }
        runs.judge(spans, tree);
        runs
    }

    /// A run also failed when an agent right inside it did, or when its last model call did and nothing went well since:
    /// several frameworks leave the outer span unset.
    fn judge(&mut self, spans: &[SpanFacts], tree: &Tree) {
        for &i in tree.order.iter().rev() {
            let own = &self.0[i];
            let Some(r) = own.run else { continue };
            let span = &spans[i];
            let place = (span.start, span.span);
            let failed = span.failure.is_some();
            let agent_failed = !own.inside_tool && own.failed;
            let run = &mut self.0[r];
            match span.class {
                SpanClass::Agent if agent_failed => run.failed = true,
                SpanClass::Llm if tree.nodes[i].llm_below == 0 => {
                    run.last_call = run.last_call.max(Some((place, failed)));
                    if !failed {
                        run.last_success = run.last_success.max(Some(place));
                    }
                }
                SpanClass::Tool if !failed => run.last_success = run.last_success.max(Some(place)),
                _ => {}
            }
        }
        for run in self.0.iter_mut().filter(|run| run.is_run) {
            if let Some((place, true)) = run.last_call {
                run.failed |= run.last_success.is_none_or(|success| success < place);
            }
        }
    }

    /// Whether span `i` is a run that counts.
    pub fn is_run(&self, i: usize) -> bool {
        self.0[i].is_run
    }

    /// Whether a run is told to have begun and not to have ended.
    pub fn has_open(&self, spans: &[SpanFacts]) -> bool {
        spans.iter().zip(&self.0).any(|(span, own)| own.is_run && span.open)
    }

    /// Whether span `i` is a run that is over: its end was told, or nothing more came for so long that there is none.
    pub fn is_over(&self, head: &TraceHead, spans: &[SpanFacts], i: usize) -> bool {
        self.0[i].is_run && (!spans[i].open || head.abandoned)
    }

    /// Whether run `i` failed.
    pub fn failed(&self, i: usize) -> bool {
        self.0[i].failed
    }
}

/// The newest call of a run whose own span is missing: its process may have been killed.
pub(super) fn unfinished(spans: &[SpanFacts], tree: &Tree) -> Option<usize> {
    let is_call = |i: &usize| matches!(spans[*i].class, SpanClass::Llm | SpanClass::Tool) && !spans[*i].twin;
    let newest = (0..spans.len()).filter(is_call).max_by_key(|i| (spans[*i].end, spans[*i].start, spans[*i].span))?;
    (tree.nodes[newest].open && !tree.nodes[newest].under_run).then_some(newest)
}

/// The newest call of a run that was given up, while its own span is still missing.
pub(super) fn abandoned(head: &TraceHead, spans: &[SpanFacts], tree: &Tree) -> Option<usize> {
    if head.abandoned { unfinished(spans, tree) } else { None }
}
