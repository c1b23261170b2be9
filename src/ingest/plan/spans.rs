//! Spans: folded per trace, then one observation per agent and request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::debug;

use crate::model::{
    Activity, AgentKey, Body, Observation, PolicyPatch, ProjectId, RegistrationMode, ServiceKey, ServiceRow, Signal,
    Source, SpanClass, Teller, Timestamp, TraceDelta, TraceKey, TraceRow, TraceSpans,
};

use super::Planner;
use super::identity::FormerName;
use super::instances;
use crate::ingest::intake::{Outcome, Uncounted};
use crate::ingest::signals::Told;
use crate::ingest::traces::{self, Folded, When};

impl Planner<'_> {
    pub(super) fn spans(&mut self, project: ProjectId, received_at: Timestamp, spans: Vec<TraceSpans>) -> Outcome {
        let mut by_teller: BTreeMap<Teller, Told> = BTreeMap::new();
        for incoming in spans {
            let key = TraceKey { project, trace: incoming.trace };
            // Spans that only hold a place in a tree make no trace of their own.
            if !self.traces.contains_key(&key) && incoming.spans.iter().all(|s| s.class == SpanClass::Other) {
                continue;
            }
            let service = ServiceKey { project, name: incoming.service.clone() };
            let teller = incoming.teller;
            self.arrive(project, teller, &incoming.spans);
            let by_agent = by_teller.entry(teller).or_default();
            // Records of a new instance may name whom spans know better: nothing is learned of the service from them.
            let learns = teller.signal == Signal::Spans;
            self.fold(key, service, learns, by_agent, |row, known, when| traces::fold(row, incoming, known, when));
        }
        let (mut all, mut uncounted) = (BTreeMap::new(), Uncounted::default());
        for (teller, mut by_agent) in by_teller {
            uncounted.outranked += self.settle_signals(project, teller, &mut by_agent);
            by_agent.into_iter().for_each(|(agent, activity)| merge(&mut all, agent, activity));
        }
        self.tell_activities(project, received_at, all);
        if uncounted == Uncounted::default() { Outcome::Done } else { Outcome::Uncounted(uncounted) }
    }

    /// A trace's deadline may have passed. Claimed twice, or moved meanwhile: then there is nothing to do.
    pub(super) fn trace_deadline(&mut self, key: TraceKey, service: Arc<str>) {
        // Forgotten meanwhile.
        if !self.traces.contains_key(&key) {
            return;
        }
        let mut by_agent = BTreeMap::new();
        let service = ServiceKey { project: key.project, name: service };
        self.fold(key, service, true, &mut by_agent, traces::expire);
        // Of spans that were held the instance is not known; it is of log records.
        let instance = instances::of_trace(key);
        if self.instances.contains_key(&instance) {
            let teller = Teller { signal: Signal::Logs, instance: Some(instance.instance), waits: false };
            self.settle_signals(key.project, teller, &mut by_agent);
        }
        self.tell_activities(key.project, self.context.now, by_agent);
    }

    fn fold(
        &mut self,
        key: TraceKey,
        service: ServiceKey,
        learns: bool,
        by_agent: &mut BTreeMap<Arc<str>, Box<Activity>>,
        fold: impl FnOnce(&mut TraceRow, &mut ServiceRow, When<'_>) -> Option<Folded>,
    ) {
        let row = self.traces.entry(key).or_default();
        let stored = row.spans.len();
        // A trace that passes through several services is judged by what is known of the first.
        let is_first = row.head.service.is_empty() || row.head.service == service.name;
        // What need not be kept is worked on in a copy.
        let copied = self.services.get(&service).filter(|_| is_first && !learns);
        let mut nobody = copied.cloned().unwrap_or_default();
        let known = if is_first && learns { self.services.entry(service.clone()).or_default() } else { &mut nobody };
        let rules = self.context.rules.traces();
        let when = When { now: self.context.now, presence: self.context.presence, rules: &rules };
        let known = Arc::make_mut(known);
        let Some(folded) = fold(row, known, when) else { return };
        if is_first && learns && folded.learned {
            known.learned_at = self.context.now;
            self.changed_services.insert(service);
        }
        self.touched.entry(key).or_insert_with(|| Touched::new(stored)).add(folded.anew, folded.changed);
        if let Some((stand_in, agent)) = folded.settled {
            self.settle(key.project, &stand_in, &agent);
        }
        for (agent, activity) in folded.activities {
            merge(by_agent, agent, activity);
        }
    }

    /// An agent that was named after its service, until its own name was known, gets that name. It must not stay behind: it
    /// would fall silent and alarm people. Where others speak of an agent of that name, it is one of its own, and stays.
    fn settle(&mut self, project: ProjectId, stand_in: &Arc<str>, agent: &Arc<str>) {
        let find = |name: &Arc<str>| AgentKey::shared(project, name);
        let Some((stand_in, agent)) = find(stand_in).zip(find(agent)) else { return };
        let is_there = |key: &AgentKey| self.agent_ids.get(key).and_then(|id| self.agents.get(id));
        let Some(row) = is_there(&stand_in).filter(|row| row.key == stand_in) else { return };
        let is_only_that = row.state.life.sources().all(|source| source == Source::Otlp)
            && *row.settings == PolicyPatch::default()
            && !row.state.life.paused
            && row.state.restarts.open.is_none();
        let from = row.id;
        let into = is_there(&agent).map(|row| row.id);
        let may_be_named = into.is_some() || self.context.rules.registration(project) == RegistrationMode::Open;
        if !is_only_that || !may_be_named {
            return;
        }
        let done = match into {
            Some(into) => self.merge(from, into, FormerName::Free),
            None => self.rename(from, &agent, FormerName::Free),
        };
        if let Err(refusal) = done {
            debug!(agent = %stand_in.name, into = %agent.name, %refusal, "the agent keeps the name of its service");
        }
    }

    pub(super) fn tell_activities(
        &mut self,
        project: ProjectId,
        received_at: Timestamp,
        by_agent: BTreeMap<Arc<str>, Box<Activity>>,
    ) {
        for (name, mut activity) in by_agent {
            activity.newest_end = activity.newest_end.map(|at| at.plus(self.context.ahead));
            let Some(agent) = AgentKey::shared(project, &name) else { continue };
            // What was told better elsewhere still proves life, but makes nobody known.
            let is_bare = *activity == Activity { newest_end: activity.newest_end, ..Activity::default() };
            if is_bare && !self.agent_ids.get(&agent).is_some_and(|id| self.agents.contains_key(id)) {
                continue;
            }
            match self.find_or_create(&agent) {
                Ok(id) => {
                    let body = Body::Activity(activity);
                    self.apply(id, &Observation { agent, received_at, at: None, source: Source::Otlp, body });
                }
                // The sender cannot do anything about one agent too many; its other agents go on.
                Err(refusal) => debug!(agent = %agent.name, %refusal, "spans of a new agent were not counted"),
            }
        }
    }
}

/// What a batch changed of a trace.
pub(super) struct Touched {
    /// How many spans were there before.
    stored: usize,
    anew: bool,
    /// The places of those that changed.
    changed: BTreeSet<u32>,
}

impl Touched {
    const fn new(stored: usize) -> Self {
        Self { stored, anew: false, changed: BTreeSet::new() }
    }

    fn add(&mut self, anew: bool, changed: Vec<u32>) {
        if anew {
            *self = Self { anew, ..Self::new(0) };
        }
        // What changed of spans that this batch added is in them already.
        self.changed.extend(changed.into_iter().filter(|place| (*place as usize) < self.stored));
    }

    /// What the store takes in, with what has become of `row`.
    pub fn delta(self, row: TraceRow) -> TraceDelta {
        if self.anew { TraceDelta::whole(row) } else { TraceDelta::since(row, self.stored, self.changed) }
    }
}

/// Adds what was told of an agent to what was told of it before.
pub(super) fn merge(by_agent: &mut Told, agent: Arc<str>, activity: Box<Activity>) {
    match by_agent.get_mut(&agent) {
        Some(sum) => add(sum, *activity),
        None => {
            by_agent.insert(agent, activity);
        }
    }
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
    sum.outputs.extend(more.outputs);
    sum.successes += more.successes;
    sum.failures += more.failures;
    sum.runs.extend(more.runs);
    sum.error = more.error.or(sum.error.take());
}
