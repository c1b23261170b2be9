//! How the spans of a trace hang together, found in one pass: linear in the number of spans, whatever their shape.

use std::sync::Arc;

use crate::model::{SpanClass, SpanFacts, SpanId};

/// Where each span is in a list, by its id. Sorted, because hashing so little takes longer.
pub(super) struct Index(Vec<(SpanId, usize)>);

impl Index {
    pub fn of(spans: &[Arc<SpanFacts>]) -> Self {
        let mut places: Vec<_> = spans.iter().enumerate().map(|(i, span)| (span.span, i)).collect();
        places.sort_unstable();
        Self(places)
    }

    pub fn get(&self, id: SpanId) -> Option<usize> {
        self.0.binary_search_by_key(&id, |(span, _)| *span).ok().map(|found| self.0[found].1)
    }
}

/// Places in the list of spans, and what follows from how they hang together.
pub(super) struct Tree {
    /// The parent, where it is here.
    pub parent: Vec<Option<usize>>,
    /// All places, parents before their children.
    pub order: Vec<usize>,
    /// The way up ends at a span that is not here.
    pub open: Vec<bool>,
    /// There is an agent or a workflow above.
    pub under_run: Vec<bool>,
    /// The nearest agent span above.
    pub agent_above: Vec<Option<usize>>,
    /// The nearest model call above.
    pub llm_above: Vec<Option<usize>>,
    /// How many innermost model calls are below.
    pub llm_below: Vec<u32>,
    /// Something below failed.
    pub failed_below: Vec<bool>,
}

impl Tree {
    pub fn of(spans: &[Arc<SpanFacts>]) -> Self {
        let index = Index::of(spans);
        let mut parent: Vec<Option<usize>> = spans.iter().map(|s| s.parent.and_then(|id| index.get(id))).collect();
        let order = order(&mut parent);
        let n = spans.len();
        let mut tree = Self {
            parent,
            order,
            open: vec![false; n],
            under_run: vec![false; n],
            agent_above: vec![None; n],
            llm_above: vec![None; n],
            llm_below: vec![0; n],
            failed_below: vec![false; n],
        };
        tree.look_up(spans, &index);
        tree.look_down(spans);
        tree
    }

    fn look_up(&mut self, spans: &[Arc<SpanFacts>], index: &Index) {
        for &i in &self.order {
            let Some(p) = self.parent[i] else {
                let missing = spans[i].parent.is_some_and(|id| index.get(id).is_none());
                self.open[i] = missing && !spans[i].remote_parent;
                continue;
            };
            let above = spans[p].class;
            self.open[i] = self.open[p];
            self.under_run[i] = self.under_run[p] || above.is_run();
            self.agent_above[i] = if above == SpanClass::Agent { Some(p) } else { self.agent_above[p] };
            self.llm_above[i] = if above == SpanClass::Llm { Some(p) } else { self.llm_above[p] };
        }
    }

    fn look_down(&mut self, spans: &[Arc<SpanFacts>]) {
        for &i in self.order.iter().rev() {
            let Some(p) = self.parent[i] else { continue };
            let innermost = spans[i].class == SpanClass::Llm && self.llm_below[i] == 0;
            self.llm_below[p] = self.llm_below[p].saturating_add(self.llm_below[i] + u32::from(innermost));
            self.failed_below[p] |= self.failed_below[i] || spans[i].failure.is_some();
        }
    }

    /// Whether the whole trace is here as far as one can tell: it has a root, and no parent is missing.
    pub fn is_closed(&self) -> bool {
        !self.open.contains(&true)
    }
}

/// Puts parents before children. Where bad data goes in a circle, the circle is cut, so that every way up ends.
fn order(parent: &mut [Option<usize>]) -> Vec<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        OnTheWay,
        Done,
    }
    let mut marks = vec![Mark::New; parent.len()];
    let mut order = Vec::with_capacity(parent.len());
    let mut way = Vec::new();
    for start in 0..parent.len() {
        let mut at = start;
        while marks[at] == Mark::New {
            marks[at] = Mark::OnTheWay;
            way.push(at);
            match parent[at] {
                Some(up) if marks[up] == Mark::OnTheWay => parent[at] = None,
                Some(up) => at = up,
                None => {}
            }
        }
        while let Some(i) = way.pop() {
            marks[i] = Mark::Done;
            order.push(i);
        }
    }
    order
}
