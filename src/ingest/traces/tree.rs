//! How the spans of a trace hang together, found in one pass: linear in the number of spans, whatever their shape.

use smallvec::{SmallVec, smallvec};

use crate::model::{SpanClass, SpanFacts, SpanId};

/// A list about the spans of a trace, which are few, mostly: then it needs no memory of its own.
pub(super) type Few<T> = SmallVec<[T; 16]>;

/// Where each span is in a list, by its id. Of a few they are looked through, which takes less than to sort them; and
/// sorted, because hashing so little takes longer.
pub(super) enum Index {
    Few(Few<SpanId>),
    Sorted(Vec<(SpanId, usize)>),
}

impl Index {
    pub fn of(spans: &[SpanFacts]) -> Self {
        if spans.len() <= FEW {
            return Self::Few(spans.iter().map(|span| span.span).collect());
        }
        let mut places: Vec<_> = spans.iter().enumerate().map(|(i, span)| (span.span, i)).collect();
        places.sort_unstable();
        Self::Sorted(places)
    }

    pub fn get(&self, id: SpanId) -> Option<usize> {
        match self {
            Self::Few(ids) => ids.iter().position(|span| *span == id),
            Self::Sorted(places) => {
                places.binary_search_by_key(&id, |(span, _)| *span).ok().map(|found| places[found].1)
            }
        }
    }
}

/// So many spans are looked through.
const FEW: usize = 16;

/// Where a span stands among the others. Places are those in the list of spans.
#[derive(Clone, Default)]
pub(super) struct Node {
    /// The parent, where it is here.
    pub parent: Option<usize>,
    /// The way up ends at a span that is not here.
    pub open: bool,
    /// There is an agent or a workflow above.
    pub under_run: bool,
    /// The nearest model call above.
    pub llm_above: Option<usize>,
    /// How many innermost model calls are below.
    pub llm_below: u32,
    /// Something below failed.
    pub failed_below: bool,
}

/// How the spans of a list hang together.
pub(super) struct Tree {
    /// One for each span.
    pub nodes: Few<Node>,
    /// All places, parents before their children.
    pub order: Few<usize>,
}

impl Tree {
    pub fn of(spans: &[SpanFacts]) -> Self {
        let index = Index::of(spans);
        let place = |span: &SpanFacts| Node { parent: span.parent.and_then(|id| index.get(id)), ..Node::default() };
        let mut nodes: Few<Node> = spans.iter().map(place).collect();
        let order = order(&mut nodes);
        let mut tree = Self { nodes, order };
        tree.look_up(spans, &index);
        tree.look_down(spans);
        tree
    }

    fn look_up(&mut self, spans: &[SpanFacts], index: &Index) {
        for &i in &self.order {
            let Some(p) = self.nodes[i].parent else {
                let missing = spans[i].parent.is_some_and(|id| index.get(id).is_none());
                self.nodes[i].open = missing && !spans[i].remote_parent;
                continue;
            };
            let (above, class) = (&self.nodes[p], spans[p].class);
            let (open, under_run) = (above.open, above.under_run || class.is_run());
            let llm_above = if class == SpanClass::Llm { Some(p) } else { above.llm_above };
            let node = &mut self.nodes[i];
            (node.open, node.under_run, node.llm_above) = (open, under_run, llm_above);
        }
    }

    fn look_down(&mut self, spans: &[SpanFacts]) {
        for &i in self.order.iter().rev() {
            let node = &self.nodes[i];
            let Some(p) = node.parent else { continue };
            let innermost = spans[i].class == SpanClass::Llm && node.llm_below == 0;
            let (calls, failed) = (node.llm_below + u32::from(innermost), node.failed_below);
            let above = &mut self.nodes[p];
            above.llm_below = above.llm_below.saturating_add(calls);
            above.failed_below |= failed || spans[i].failure.is_some();
        }
    }

    /// Whether the whole trace is here as far as one can tell: it has a root, and no parent is missing.
    pub fn is_closed(&self) -> bool {
        !self.nodes.iter().any(|node| node.open)
    }
}

/// Puts parents before children. Where bad data goes in a circle, the circle is cut, so that every way up ends.
fn order(nodes: &mut [Node]) -> Few<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        OnTheWay,
        Done,
    }
    let mut marks: Few<Mark> = smallvec![Mark::New; nodes.len()];
    let mut order = Few::with_capacity(nodes.len());
    for start in 0..nodes.len() {
        // The way up from here, to be turned round.
        let (way, mut at) = (order.len(), start);
        while marks[at] == Mark::New {
            marks[at] = Mark::OnTheWay;
            order.push(at);
            match nodes[at].parent {
                Some(up) if marks[up] == Mark::OnTheWay => nodes[at].parent = None,
                Some(up) => at = up,
                None => {}
            }
        }
        order[way..].reverse();
        order[way..].iter().for_each(|&i| marks[i] = Mark::Done);
    }
    order
}
