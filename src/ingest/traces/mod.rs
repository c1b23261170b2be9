//! The trace fold: what the spans of one trace amount to, and what a request adds to what was counted before.
//!
//! Agent spans often repeat their children's tokens, parents arrive after their children or never, and one failure
//! shows as an error on several spans. So a trace is always judged as a whole, and only the difference goes on. What a
//! trace amounts to is a pure function of the set of its spans: order, batching and repetition do not matter.

mod attribute;
mod by_agent;
mod difference;
mod runs;
mod tell;
#[cfg(test)]
mod tests;
mod totals;
mod tree;
mod twins;
#[cfg(test)]
mod upsert_tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    AT_HOME, Activity, GIVEN_UP_MAX, Presence, ServiceAgents, ServiceRow, Signal, SpanFacts, TRACE_SPANS_MAX,
    Timestamp, TraceRow, TraceSpans, TraceTotals,
};
use by_agent::ByAgent;
use runs::Runs;
use tree::{Few, Index, Tree};

/// How long is waited for spans that do not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceRules {
    /// How long a span without a known agent is held; then it counts for its service.
    pub hold: Duration,
    /// A run whose own span is missing counts as failed when nothing of its trace came for this long; `None`: never.
    pub run_ends_after: Option<Duration>,
}

impl Default for TraceRules {
    fn default() -> Self {
        Self { hold: Duration::from_secs(30), run_ends_after: Some(Duration::from_secs(300)) }
    }
}

/// When something is judged.
#[derive(Clone, Copy)]
pub struct When<'a> {
    /// The time now.
    pub now: Timestamp,
    /// When the gateway was accepting: what could not arrive was not late.
    pub presence: &'a Presence,
    /// How long is waited.
    pub rules: &'a TraceRules,
}

impl When<'_> {
    /// When the wait for the agent of spans held since `since` ends.
    fn hold_ends(&self, since: Timestamp) -> Timestamp {
        self.presence.after(since, self.rules.hold)
    }

    /// When a run ends of which nothing came since `touched_at`; never is [`Timestamp::MAX`].
    fn run_ends(&self, touched_at: Timestamp) -> Timestamp {
        self.rules.run_ends_after.map_or(Timestamp::MAX, |after| self.presence.after(touched_at, after))
    }
}

/// What one request changes.
#[derive(Debug)]
pub struct Folded {
    /// The spans that were there before are forgotten.
    pub anew: bool,
    /// The places of spans that were there before and changed.
    pub changed: Vec<u32>,
    /// The name under which spans were counted for want of a better one, and the agent they turned out to be of.
    pub settled: Option<(Arc<str>, Arc<str>)>,
    /// What was learned about each agent, by name. Only agents about which something was learned.
    pub activities: ByAgent<Box<Activity>>,
    /// Whether something else was learned of the service.
    pub learned: bool,
}

/// Every agent name that folding `incoming` into `row` can lead to, some several times.
pub fn possible_agents<'a>(
    row: Option<&'a TraceRow>,
    incoming: Option<&'a TraceSpans>,
    known: Option<&'a ServiceRow>,
) -> impl Iterator<Item = &'a Arc<str>> {
    let spans = incoming.into_iter().flat_map(|i| &i.spans).chain(row.into_iter().flat_map(|row| &row.spans));
    let named = spans.filter_map(|s| s.agent.as_ref()).filter(|name| ***name != *AT_HOME);
    let home = row.and_then(|r| r.head.home.as_ref()).map(|home| &home.agent);
    let services = row.map(|r| &r.head.service).into_iter().chain(incoming.map(|i| &i.service));
    named.chain(home).chain(services).chain(known.and_then(ServiceRow::only))
}

/// Adds the spans of one request to `row`. `None` when all of them had been there.
pub fn fold(row: &mut TraceRow, incoming: TraceSpans, known: &mut ServiceRow, when: When<'_>) -> Option<Folded> {
    let TraceSpans { service, spans, upsert, teller, .. } = incoming;
    let (mut added, replaced) = sift(row, spans, upsert);
    let mut before = Before::of(row);
    for (place, later) in replaced {
        let earlier = &mut row.spans[place];
        // What was counted for an agent stays there: `update` keeps the agent.
        let mut span = SpanFacts::clone(earlier);
        span.update(later);
        if span != *earlier {
            before.replaced.insert(place, std::mem::replace(earlier, span));
        }
    }
    if added.is_empty() && before.replaced.is_empty() {
        return None;
    }
    if row.spans.len() + added.len() > TRACE_SPANS_MAX {
        row.spans.clear();
        row.head.counted.clear();
        before = Before { anew: true, ..Before::of(row) };
    }
    if row.head.service.is_empty() {
        row.head.service = service;
    }
    // Log records of a call are no second telling of it in another trace: they are another signal.
    let called = teller.signal == Signal::Spans && twins::mark(&mut added, known);
    // Mostly a trace comes as a whole: then the list stays the one it came in.
    if row.spans.is_empty() {
        row.spans = added;
    } else {
        row.spans.append(&mut added);
    }
    row.head.touched_at = when.now;
    row.head.abandoned = false;
    let mut folded = judge(row, before, known, when);
    folded.learned |= called;
    Some(folded)
}

/// Which of `spans` are new, and which tell later facts of a span that is there, by its place.
fn sift(row: &TraceRow, spans: Vec<SpanFacts>, upsert: bool) -> (Vec<SpanFacts>, BTreeMap<usize, SpanFacts>) {
    let repeated = repeated(&spans);
    let mut replaced = BTreeMap::new();
    if row.spans.is_empty() && repeated.is_empty() {
        return (spans, replaced);
    }
    let places = Index::of(&row.spans);
    let mut repeated = repeated.into_iter().peekable();
    let mut added: Vec<SpanFacts> = Vec::with_capacity(spans.len());
    for (i, span) in spans.into_iter().enumerate() {
        let is_first = repeated.next_if_eq(&i).is_none();
        match places.get(span.span) {
            None if is_first => added.push(span),
            None if upsert => {
                if let Some(earlier) = added.iter_mut().find(|s| s.span == span.span) {
                    earlier.update(span);
                }
            }
            Some(place) if upsert => drop(replaced.insert(place, span)),
            _ => {}
        }
    }
    (added, replaced)
}

/// The places of spans whose id another one before has, in order.
fn repeated(spans: &[SpanFacts]) -> Vec<usize> {
    let mut ids: Few<_> = spans.iter().enumerate().map(|(i, span)| (span.span, i)).collect();
    ids.sort_unstable();
    let again = ids.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[1].1);
    let mut again: Vec<usize> = again.collect();
    again.sort_unstable();
    again
}

/// Looks at `row` again because time passed. `None` when it was not due.
pub fn expire(row: &mut TraceRow, known: &mut ServiceRow, when: When<'_>) -> Option<Folded> {
    if row.head.deadline > when.now {
        return None;
    }
    let before = Before::of(row);
    let given_up = known.given_up;
    let is_over = when.run_ends(row.head.touched_at) <= when.now && !row.head.abandoned;
    let may_be_cut_off = tells_of_runs(known, &attribute::named(&row.spans));
    if is_over && (may_be_cut_off || row.spans.iter().any(|s| s.open && s.class.is_run())) {
        row.head.abandoned = true;
        if may_be_cut_off && !known.tells_runs && known.given_up < GIVEN_UP_MAX {
            known.given_up += 1;
        }
    }
    let mut folded = judge(row, before, known, when);
    folded.learned |= known.given_up != given_up;
    Some(folded)
}

/// The spans as they were.
struct Before {
    /// They were forgotten.
    anew: bool,
    /// Whether it was decided for which agent each counts.
    decided: Vec<bool>,
    /// Those that were replaced.
    replaced: BTreeMap<usize, SpanFacts>,
}

impl Before {
    fn of(row: &TraceRow) -> Self {
        let decided = row.spans.iter().map(|s| s.agent.is_some()).collect();
        Self { anew: false, decided, replaced: BTreeMap::new() }
    }

    /// Whether what the span tells has not been told: it is new, or its agent was only now decided, or it has new facts.
    fn is_news(&self, i: usize, span: &SpanFacts) -> bool {
        let is_other = |old: &SpanFacts| {
            old.class != span.class || (old.failure.is_none() && span.failure.is_some()) || (old.open && !span.open)
        };
        span.agent.is_some()
            && (!self.decided.get(i).is_some_and(|decided| *decided) || self.replaced.get(&i).is_some_and(is_other))
    }

    fn is_changed(&self, i: usize, span: &SpanFacts) -> bool {
        self.decided[i] != span.agent.is_some() || self.replaced.contains_key(&i)
    }
}

fn judge(row: &mut TraceRow, before: Before, known: &mut ServiceRow, when: When<'_>) -> Folded {
    let TraceRow { head, spans } = row;
    let now = when.now;
    let waited = head.held_since.is_some_and(|since| when.hold_ends(since) <= now);
    let tree = Tree::of(spans);
    attribute::attribute(head, spans, &tree, known, waited, now);
    let named = attribute::named(spans);
    let learned = learn(known, spans, &tree, &named, &head.service, waited, now);
    let settled = attribute::settle(head, &named, known);

    let runs = Runs::of(head, spans, &tree);
    let totals = totals::totals(head, spans, &tree, &runs);
    let mut activities = tell::tell(head, spans, &tree, &runs, |i| before.is_news(i, &spans[i]), now);
    let mut frames: Few<Arc<str>> = Few::new();
    for (agent, total) in totals {
        let activity = activities.of(&agent);
        // A service with only spans round the agents of the trace is no agent, only where the agents live.
        let is_frame = *total == TraceTotals::default() && !named.contains(&agent) && known.only() != Some(&agent);
        if is_frame && activity.error.is_none() {
            frames.push(agent);
            continue;
        }
        match head.counted.get_mut(&agent) {
            Some(counted) => difference::count(counted, &total, activity),
            None => {
                difference::count_all(&total, activity);
                head.counted.insert(agent, total);
            }
        }
    }
    activities.retain(|agent, activity| **activity != Activity::default() && !frames.contains(agent));

    let held = head.held_since.map(|since| when.hold_ends(since));
    let is_cut_off = tells_of_runs(known, &named) && runs::unfinished(spans, &tree).is_some();
    let is_waited_for = !head.abandoned && (is_cut_off || runs.has_open(spans));
    let given_up = is_waited_for.then(|| when.run_ends(head.touched_at));
    head.deadline = held.into_iter().chain(given_up).min().unwrap_or(Timestamp::MAX);

    let known_before = before.decided.len();
    let changed = spans[..known_before].iter().enumerate().filter(|(i, span)| before.is_changed(*i, span));
    let changed = changed.map(|(i, _)| i as u32).collect();
    Folded { anew: before.anew, changed, settled, activities, learned }
}

/// Whether a missing parent means a run that has not ended, and not a span that is never sent here.
fn tells_of_runs(known: &ServiceRow, named: &[Arc<str>]) -> bool {
    known.tells_runs || known.given_up < GIVEN_UP_MAX || !named.is_empty()
}

/// Takes in which agents the traces of a service name: where it is but one, spans of later traces need not wait. Whether
/// that was news.
fn learn(
    known: &mut ServiceRow,
    spans: &[SpanFacts],
    tree: &Tree,
    named: &[Arc<str>],
    service: &Arc<str>,
    waited: bool,
    now: Timestamp,
) -> bool {
    let is_news = !known.tells_runs && spans.iter().any(|s| s.class.is_run());
    known.tells_runs |= is_news;
    let closed = tree.is_closed();
    let seen = match named.first() {
        _ if named.len() > 1 => ServiceAgents::Several,
        Some(only) if closed || waited => ServiceAgents::Only(only.clone()),
        // Traces of many spans in which nobody is named: the service is the agent.
        None if closed && (waited || (spans.len() > 1 && attribute::has_work(spans))) => {
            ServiceAgents::Only(service.clone())
        }
        _ => return is_news,
    };
    let agents = match &known.agents {
        ServiceAgents::Unknown => seen,
        same if *same == seen => return is_news,
        _ => ServiceAgents::Several,
    };
    if known.agents == agents {
        return is_news;
    }
    known.agents = agents;
    known.learned_at = now;
    true
}
