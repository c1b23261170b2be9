//! Which agent a span counts for: the one it names, else the nearest one named above it, else the trace's only agent,
//! else the service.
//!
//! The first two are certain whatever else arrives. The others are not while parents are missing, and parents arrive
//! last: until then such spans are held. They lie in the trace's row, durable and not yet counted, until the trace is
//! complete, or the service is known to have one agent only, or waiting comes to its end. What was decided stays, so
//! that nothing is ever counted for two agents; but an agent that stands in for one whose name was not known becomes that
//! one ([`settle`]).

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::tree::{Few, Tree};
use crate::model::{AT_HOME, Home, ServiceRow, SpanClass, SpanFacts, Timestamp, TraceHead};

/// Decides what can be decided. `waited` tells that waiting has come to its end.
pub(super) fn attribute(
    head: &mut TraceHead,
    spans: &mut [SpanFacts],
    tree: &Tree,
    known: &ServiceRow,
    waited: bool,
    now: Timestamp,
) {
    let mut named_above: Few<Option<usize>> = smallvec![None; spans.len()];
    for &i in &tree.order {
        let above = tree.nodes[i].parent.and_then(|p| if is_named(&spans[p]) { Some(p) } else { named_above[p] });
        named_above[i] = above;
        if spans[i].agent.is_none()
            && let Some(above) = above
        {
            let agent = spans[above].agent.clone();
            spans[i].agent = agent;
        }
    }
    if head.home.is_none() {
        head.home = home(&head.service, spans, tree, known, waited);
    }
    if head.home.is_some() {
        for span in spans.iter_mut().filter(|s| s.agent.is_none() && s.class != SpanClass::Other) {
            span.agent = Some(Arc::from(AT_HOME));
        }
        head.held_since = None;
    } else if needs_home(spans, tree) {
        head.held_since.get_or_insert(now);
    } else {
        head.held_since = None;
    }
}

/// Where spans counted for their service only because nobody had named an agent in time, and it is known now that the
/// service has this agent and no other: they are its, from the beginning. Gives both names.
pub(super) fn settle(head: &mut TraceHead, named: &[Arc<str>], known: &ServiceRow) -> Option<(Arc<str>, Arc<str>)> {
    let home = head.home.as_mut().filter(|home| home.provisional)?;
    let only = known.only().filter(|only| **only != home.agent && named.iter().all(|name| name == *only))?;
    let before = std::mem::replace(&mut home.agent, only.clone());
    home.provisional = false;
    if let Some(counted) = head.counted.remove(&before) {
        head.counted.entry(only.clone()).or_default().join(&counted);
    }
    Some((before, only.clone()))
}

/// Whether the span itself, or one above it, names its agent.
fn is_named(span: &SpanFacts) -> bool {
    span.agent.as_ref().is_some_and(|name| **name != *AT_HOME)
}

/// The agents that spans of the trace name, in order.
pub(super) fn named(spans: &[SpanFacts]) -> SmallVec<[Arc<str>; 4]> {
    let names = spans.iter().filter(|s| is_named(s)).filter_map(|s| s.agent.as_ref());
    let mut named = SmallVec::<[Arc<str>; 4]>::new();
    for name in names {
        // Mostly all are one.
        if named.last().is_none_or(|last| !Arc::ptr_eq(last, name) && last != name) {
            named.push(name.clone());
        }
    }
    named.sort_unstable();
    named.dedup();
    named
}

fn home(service: &Arc<str>, spans: &[SpanFacts], tree: &Tree, known: &ServiceRow, waited: bool) -> Option<Home> {
    if !needs_home(spans, tree) {
        return None;
    }
    let named = named(spans);
    let certain = |agent: &Arc<str>| Some(Home { agent: agent.clone(), provisional: false });
    // A workflow of which nothing else is here yet may be one round agents.
    let closed = tree.is_closed() && has_work(spans);
    if let Some(only) = known.only().filter(|only| !closed && named.iter().all(|name| name == *only)) {
        return certain(only);
    }
    if !closed && !waited {
        return None;
    }
    match named.first() {
        Some(only) if named.len() == 1 => certain(only),
        _ => Some(Home { agent: service.clone(), provisional: !tree.is_closed() }),
    }
}

/// Whether there is more than workflows and steps.
pub(super) fn has_work(spans: &[SpanFacts]) -> bool {
    spans.iter().any(|s| matches!(s.class, SpanClass::Llm | SpanClass::Tool | SpanClass::Agent))
}

/// Whether something that counts has no agent yet.
fn needs_home(spans: &[SpanFacts], tree: &Tree) -> bool {
    let has_agents = spans.iter().any(is_named);
    spans.iter().enumerate().filter(|(_, s)| s.agent.is_none()).any(|(i, span)| match span.class {
        SpanClass::Llm | SpanClass::Tool | SpanClass::Agent => true,
        // A wrapper round agents is no agent, unless it fails by itself.
        SpanClass::Workflow => !has_agents || (span.failure.is_some() && !tree.nodes[i].failed_below),
        SpanClass::Definition | SpanClass::Step | SpanClass::Other => false,
    })
}
