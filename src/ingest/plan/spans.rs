//! Spans: folded per trace, then one observation per agent and request.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::debug;

use crate::model::{
    Activity, AgentKey, Body, Observation, ProjectId, Source, Timestamp, TraceDelta, TraceKey, TraceSpans,
};

use super::Planner;
use crate::ingest::intake::Outcome;
use crate::ingest::traces;

impl Planner<'_> {
    pub(super) fn spans(&mut self, project: ProjectId, received_at: Timestamp, spans: Vec<TraceSpans>) -> Outcome {
        let mut by_agent: BTreeMap<String, Activity> = BTreeMap::new();
        for incoming in spans {
            let key = TraceKey { project, trace: incoming.trace };
            let row = Arc::make_mut(self.traces.entry(key).or_default());
            let Some(folded) = traces::fold(row, incoming, self.context.now) else { continue };
            match self.deltas.get_mut(&key) {
                Some(earlier) => join(earlier, folded.delta),
                None => {
                    self.deltas.insert(key, folded.delta);
                }
            }
            for (agent, activity) in folded.activities {
                match by_agent.get_mut(&agent) {
                    Some(sum) => add(sum, activity),
                    None => {
                        by_agent.insert(agent, activity);
                    }
                }
            }
        }
        for (name, mut activity) in by_agent {
            activity.newest_end = activity.newest_end.map(|at| at.plus(self.context.ahead));
            let Some(agent) = AgentKey::lenient(project, &name) else { continue };
            match self.find_or_create(&agent) {
                Ok(id) => {
                    let body = Body::Activity(Box::new(activity));
                    self.apply(id, &Observation { agent, received_at, at: None, source: Source::Otlp, body });
                }
                // The sender cannot do anything about one agent too many; its other agents go on.
                Err(refusal) => debug!(agent = %agent.name, %refusal, "spans of a new agent were not counted"),
            }
        }
        Outcome::Done
    }
}

/// Two deltas of one trace within one batch become one.
fn join(earlier: &mut TraceDelta, later: TraceDelta) {
    if later.anew {
        earlier.anew = true;
        earlier.added.clear();
    }
    earlier.added.extend(later.added);
    earlier.service = later.service;
    earlier.touched_at = later.touched_at;
    earlier.counted = later.counted;
}

/// Adds up what several traces of one request told of one agent.
fn add(sum: &mut Activity, more: Activity) {
    sum.newest_end = sum.newest_end.max(more.newest_end);
    for calls in more.model_calls {
        match sum.model_calls.iter_mut().find(|m| m.model == calls.model) {
            Some(same) => {
                same.calls += calls.calls;
                same.failed += calls.failed;
            }
            None => sum.model_calls.push(calls),
        }
    }
    sum.usage.add(&more.usage);
    sum.tool_calls += more.tool_calls;
    sum.tool_calls_failed += more.tool_calls_failed;
    sum.tools.extend(more.tools);
    sum.successes += more.successes;
    sum.failures += more.failures;
    sum.runs.extend(more.runs);
    sum.error = more.error.or(sum.error.take());
}
