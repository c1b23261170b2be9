//! Calls that two instrumentations tell of in two traces: a provider's own SDK, and one that wraps it and loses the
//! context on the way (streams of Anthropic's Python package are told so).

use super::totals::{intervals_overlap, print};
use crate::model::{CostOrigin, RECENT_CALLS_MAX, RecentCall, ServiceRow, SpanClass, SpanFacts, Usage};

/// The models whose provider's SDK tells of calls itself.
const PROVIDER_MODELS: &str = "claude";

/// Marks those of `added` that tell again what another trace of the service told, and remembers the others. Whether there
/// were any of either kind.
pub(super) fn mark(added: &mut [SpanFacts], known: &mut ServiceRow) -> bool {
    let mut any = false;
    for span in added.iter_mut().filter(|s| may_be_twin(s)) {
        let Some(print) = print(span) else { continue };
        let when = (span.start, span.end);
        let is_twin = |call: &RecentCall| {
            call.print == print
                && call.provider_sdk != span.provider_sdk
                && intervals_overlap((call.start, call.end), when)
        };
        any = true;
        let place = known.recent_calls.iter().position(is_twin);
        match place.and_then(|place| known.recent_calls.remove(place)) {
            Some(first) => {
                span.twin = true;
                span.usage = missing(&span.usage, &first);
            }
            None => {
                if known.recent_calls.len() >= RECENT_CALLS_MAX {
                    known.recent_calls.pop_front();
                }
                known.recent_calls.push_back(RecentCall {
                    print,
                    provider_sdk: span.provider_sdk,
                    start: span.start,
                    end: span.end,
                    cache_known: span.usage.cached_input.is_some(),
                    cost_reported: span.usage.cost_origin == CostOrigin::Reported,
                });
            }
        }
    }
    any
}

/// Within one trace twins are found by the tree; a provider's span without a parent may have lost it.
fn may_be_twin(span: &SpanFacts) -> bool {
    let model = || span.model.as_ref().is_some_and(|model| model.contains(PROVIDER_MODELS));
    span.class == SpanClass::Llm && if span.provider_sdk { span.parent.is_none() } else { model() }
}

/// What the second one adds to what the first one told.
fn missing(usage: &Usage, first: &RecentCall) -> Usage {
    let (cost, cost_origin) = match usage.cost_origin {
        CostOrigin::Reported if !first.cost_reported => (usage.cost, usage.cost_origin),
        _ => (None, CostOrigin::Unknown),
    };
    Usage { cached_input: usage.cached_input.filter(|_| !first.cache_known), cost, cost_origin, ..Usage::default() }
}
