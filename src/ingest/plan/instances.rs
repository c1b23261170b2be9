//! Instances of services: which of their signals is believed, and what their metrics add.

use std::sync::Arc;

use super::Planner;
use crate::ingest::intake::{Outcome, Uncounted};
use crate::ingest::signals::{self, Told};
use crate::model::{
    DedupKey, InstanceKey, InstanceRow, Measured, ProjectId, ServiceKey, Signal, SpanFacts, Teller, Timestamp,
    TraceKey, TraceTotals,
};

/// The instance that told something, if it is known to have several signals.
pub(super) fn key(project: ProjectId, teller: Teller) -> Option<InstanceKey> {
    teller.instance.map(|instance| InstanceKey { project, instance })
}

/// The instance whose log records a trace is made of: its id begins with it. Of other traces it is none.
pub(super) fn of_trace(trace: TraceKey) -> InstanceKey {
    let mut first = [0; 8];
    first.copy_from_slice(&trace.trace.0[..8]);
    InstanceKey { project: trace.project, instance: u64::from_be_bytes(first) }
}

impl Planner<'_> {
    /// Notes which signal of the instance tells what, before any of it counts.
    pub(super) fn arrive(&mut self, project: ProjectId, teller: Teller, spans: &[SpanFacts]) {
        let Some(key) = key(project, teller) else { return };
        let topics = signals::topics_of(spans);
        self.arrive_with(key, teller.signal, topics);
    }

    fn arrive_with(&mut self, key: InstanceKey, signal: Signal, topics: [bool; 3]) {
        let now = self.context.now;
        let known = self.instances.get(&key);
        let is_news = |row: &InstanceRow| {
            let better = |(told, tells): (&Option<Signal>, &bool)| *tells && *told < Some(signal);
            row.told_by.iter().zip(&topics).any(better) || signals::is_stale(row, now)
        };
        // Most of what comes is of instances that are known well: their rows stay as they are.
        if !topics.contains(&true) || known.is_some_and(|row| !is_news(row)) {
            return;
        }
        signals::arrive(self.instance(key), signal, topics, now);
    }

    /// The row of an instance, to be changed.
    fn instance(&mut self, key: InstanceKey) -> &mut InstanceRow {
        let now = self.context.now;
        self.changed_instances.insert(key);
        let row = Arc::make_mut(self.instances.entry(key).or_insert_with(|| Arc::new(InstanceRow::new(now))));
        row.touched_at = now;
        row
    }

    /// Leaves in what one signal told whatever counts now; gives how many kinds of facts were left out because a better
    /// signal tells them.
    pub(super) fn settle_signals(&mut self, project: ProjectId, teller: Teller, by_agent: &mut Told) -> u64 {
        let Some(key) = key(project, teller).filter(|_| !by_agent.is_empty()) else { return 0 };
        let Some(known) = self.instances.get(&key) else { return 0 };
        if teller.signal == Signal::Spans && known.debt == TraceTotals::default() {
            return 0;
        }
        let now = self.context.now;
        let mut row = InstanceRow::clone(known);
        let (mut changed, outranked) = signals::settle(&mut row, teller.signal, by_agent, now);
        if teller.signal < Signal::Spans {
            let until = self.context.presence.after(row.first_at, self.context.rules.traces().hold);
            if teller.waits && until > now {
                signals::hold(&mut row, by_agent, until);
            }
            signals::note_counted(&mut row, by_agent, now);
            changed = true;
        }
        if changed {
            *self.instance(key) = InstanceRow { touched_at: now, ..row };
        }
        outranked
    }

    /// Takes in data points of metrics.
    pub(super) fn measured(
        &mut self,
        project: ProjectId,
        received_at: Timestamp,
        measured: Vec<(DedupKey, Measured)>,
    ) -> Outcome {
        let (mut all, mut uncounted) = (Told::new(), Uncounted::default());
        for (dedup, mut measured) in measured {
            if !self.first_time(dedup) {
                continue;
            }
            let key = InstanceKey { project, instance: measured.instance };
            let mut topics = [false; 3];
            measured.points.iter().for_each(|point| topics[point.measure.topic() as usize] = true);
            self.arrive_with(key, Signal::Metrics, topics);
            let service = ServiceKey { project, name: std::mem::take(&mut measured.service) };
            let known = self.services.get(&service).cloned();
            let home = known.as_ref().and_then(|known| known.only()).unwrap_or(&service.name);
            let row = self.instance(key);
            let (mut by_agent, too_many) = signals::measure(row, measured.points, home);
            let teller = Teller { signal: Signal::Metrics, instance: Some(key.instance), waits: true };
            uncounted.too_many_series += too_many;
            uncounted.outranked += self.settle_signals(project, teller, &mut by_agent);
            by_agent.into_iter().for_each(|(agent, activity)| super::spans::merge(&mut all, agent, activity));
        }
        self.tell_activities(project, received_at, all);
        if uncounted == Uncounted::default() { Outcome::Done } else { Outcome::Uncounted(uncounted) }
    }

    /// What was held back of an instance may count. Claimed twice, or told better meanwhile: then there is nothing to do.
    pub(super) fn instance_deadline(&mut self, key: InstanceKey) {
        let now = self.context.now;
        if self.instances.get(&key).is_none_or(|row| row.deadline > now) {
            return;
        }
        let row = self.instance(key);
        let by_agent = signals::release(row);
        signals::note_counted(row, &by_agent, now);
        self.tell_activities(key.project, now, by_agent);
    }
}
