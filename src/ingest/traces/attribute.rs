//! Which agent a span counts for: the one it names, else the nearest one named above it, else the trace's only agent,
//! else the service.
//!
//! The first two are certain whatever else arrives. The others are not while parents are missing, and parents arrive
//! last: until then such spans are held. They lie in the trace's row, durable and not yet counted, until the trace is
//! complete, or the service is known to have one agent only, or waiting comes to its end. What was decided stays, so
//! that nothing is ever counted for two agents; but an agent that stands in for one whose name was not known becomes that
//! one ([`settle`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::tree::Tree;
use crate::model::{AT_HOME, Home, ServiceRow, SpanClass, SpanFacts, Timestamp, TraceHead};

/// Decides what can be decided. `waited` tells that waiting has come to its end.
pub(super) fn attribute(
    head: &mut TraceHead,
    spans: &mut [Arc<SpanFacts>],
    tree: &Tree,
    known: &ServiceRow,
    waited: bool,
    now: Timestamp,
) {
    let mut named_above: Vec<Option<usize>> = vec![None; spans.len()];
    for &i in &tree.order {
        let above = tree.parent[i].and_then(|p| if is_named(&spans[p]) { Some(p) } else { named_above[p] });
        named_above[i] = above;
        if spans[i].agent.is_none()
            && let Some(above) = above
        {
            let agent = spans[above].agent.clone();
            Arc::make_mut(&mut spans[i]).agent = agent;
        }
    }
    if head.home.is_none() {
        head.home = home(&head.service, spans, tree, known, waited);
    }
    if head.home.is_some() {
        for span in spans.iter_mut().filter(|s| s.agent.is_none() && s.class != SpanClass::Other) {
            Arc::make_mut(span).agent = Some(AT_HOME.to_owned());
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
pub(super) fn settle(head: &mut TraceHead, spans: &[Arc<SpanFacts>], known: &ServiceRow) -> Option<(String, String)> {
    let home = head.home.as_mut().filter(|home| home.provisional)?;
    let only = known.only().filter(|only| *only != home.agent && named(spans).iter().all(|name| name == only))?;
    let before = std::mem::replace(&mut home.agent, only.to_owned());
    home.provisional = false;
    if let Some(counted) = head.counted.remove(&before) {
        head.counted.entry(only.to_owned()).or_default().join(&counted);
    }
    Some((before, only.to_owned()))
}

/// Whether the span itself, or one above it, names its agent.
fn is_named(span: &SpanFacts) -> bool {
    span.agent.as_ref().is_some_and(|name| name != AT_HOME)
}

/// The agents that spans of the trace name.
pub(super) fn named(spans: &[Arc<SpanFacts>]) -> BTreeSet<&str> {
    spans.iter().filter(|s| is_named(s)).filter_map(|s| s.agent.as_deref()).collect()
}

fn home(service: &str, spans: &[Arc<SpanFacts>], tree: &Tree, known: &ServiceRow, waited: bool) -> Option<Home> {
    let named = named(spans);
    let certain = |agent: &str| Some(Home { agent: agent.to_owned(), provisional: false });
    // A workflow of which nothing else is here yet may be one round agents.
    let closed = tree.is_closed() && has_work(spans);
    if !needs_home(spans, tree) {
        return None;
    }
    if let Some(only) = known.only().filter(|only| !closed && named.iter().all(|name| name == only)) {
        return certain(only);
    }
    if !closed && !waited {
        return None;
    }
    match named.first() {
        Some(only) if named.len() == 1 => certain(only),
        _ => Some(Home { agent: service.to_owned(), provisional: !tree.is_closed() }),
    }
}

/// Whether there is more than workflows and steps.
pub(super) fn has_work(spans: &[Arc<SpanFacts>]) -> bool {
    spans.iter().any(|s| matches!(s.class, SpanClass::Llm | SpanClass::Tool | SpanClass::Agent))
}

/// Whether something that counts has no agent yet.
fn needs_home(spans: &[Arc<SpanFacts>], tree: &Tree) -> bool {
    let has_agents = spans.iter().any(|s| is_named(s));
    spans.iter().enumerate().filter(|(_, s)| s.agent.is_none()).any(|(i, span)| match span.class {
        SpanClass::Llm | SpanClass::Tool | SpanClass::Agent => true,
        // A wrapper round agents is no agent, unless it fails by itself.
        SpanClass::Workflow => !has_agents || (span.failure.is_some() && !tree.failed_below[i]),
        SpanClass::Definition | SpanClass::Step | SpanClass::Other => false,
    })
}
