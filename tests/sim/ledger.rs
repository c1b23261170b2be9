//! What is true, kept apart from what the gateway believes, and the invariants that compare the two.
//!
//! Times here are the world's (milliseconds since the simulation began), whatever any clock shows. Time in which the
//! gateway could accept is the time outside of [`Ledger::outages`], which the simulation itself causes. The gateway finds
//! an outage out by its ticks, and writes down every few seconds that it is there: [`BLUR`] a piece.
//!
//! - I1 *counted once*: what is stored of an agent is the sum over the distinct keys that were committed (heartbeats with
//!   a key: to the nano-dollar), or between what was acknowledged and what was attempted (senders without a key, spans).
//! - I2 *no reply before the commit*: whatever was acknowledged is in what was committed by then.
//! - I3 *silence is found*: an agent silent for its deadline of accepted time is down, within one period of the evaluator.
//! - I4 *no false alarm*: an agent goes down only after that much accepted time without an acknowledged sign of life, and
//!   comes back only by one (or by new settings, a resume, a restart).
//! - I5 *transitions chain*: each begins with the status that the one before ended with, and the last one is the status.
//! - I6 (one outbox row per transition and route) does not apply: there is no outbox; events are rows, and I5 has them.
//! - I7 *restarts have a dose*: at most one is open per agent; no fourth automatic one without ten minutes of health.
//! - I8 *state is bounded*: at most 2 KiB encoded; and its time never goes back, its deadline never lies in its past.
//! - I9 *no lease is held by two* runners.
//! - I10 (replicas agree) does not apply: there is one gateway.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use pulsegate::clock::Stopwatch;
use pulsegate::model::{
    Command, CommandId, CommandState, Condition, DedupKey, EventKind, Money, STATE_BYTES_MAX, Status, Timestamp,
};
use pulsegate::store::{AgentRow, WriteSet};

use crate::dice::Digest;

/// How far the gateway's idea of one outage may be from the truth, in ms: it writes its presence down every 5 s, and
/// looks every second.
const BLUR: u64 = 8_000;
/// One period of the evaluator, and the time a commit takes.
const PERIOD: u64 = 6_000;
/// After its start the gateway waits this long at least, in ms.
const GRACE: u64 = 120_000;
/// Automatic restarts without health in between.
const DOSES_MAX: u32 = 3;
/// So much health forgets earlier doses, in µs.
const RESET: i64 = 600_000_000;

/// What is expected and known of one agent.
#[derive(Debug, Default)]
pub struct Truth {
    /// How often it says it beats, in ms.
    pub interval: u64,
    /// Whether each beat has a key, so that sums are exact.
    pub keyed: bool,
    pub acked_at: Option<u64>,
    pub acked: u64,
    pub attempted: u64,
    /// Of a sender of spans: tokens acknowledged and attempted.
    pub tokens: (u64, u64),
    /// Whether it began a new life after its goodbye.
    pub reborn: bool,
    committed: Money,
    row: Option<Arc<AgentRow>>,
    /// Newest time at which its silence began anew.
    base: u64,
    open: HashSet<CommandId>,
    doses: u32,
    healthy_since: Option<Timestamp>,
}

impl Truth {
    pub fn new(interval: u64, keyed: bool) -> Self {
        Self { interval, keyed, ..Self::default() }
    }
}

/// The books of one simulation.
pub struct Ledger {
    watch: Stopwatch,
    /// Time that passed while the machine slept, in ms: no clock of the gateway's but the wall clock went on.
    pub slept: u64,
    pub agents: BTreeMap<String, Truth>,
    /// Beats with a key: whose, and what they cost.
    pub keys: HashMap<DedupKey, (String, Money)>,
    pub committed_keys: HashSet<DedupKey>,
    /// Times in which nothing could be accepted; the last one may be open.
    outages: Vec<(u64, Option<u64>)>,
    /// Why nothing can be accepted right now.
    out_for: BTreeSet<&'static str>,
    /// When gateways started.
    pub starts: Vec<u64>,
    leases: HashMap<CommandId, String>,
    pub violation: Option<String>,
    pub digest: Digest,
    pub commits: u64,
    /// Statuses entered and faults done, so that a test can see that something happened.
    pub seen: BTreeSet<&'static str>,
    pub restarts: u64,
}

impl Ledger {
    pub fn new() -> Self {
        Self {
            watch: Stopwatch::start(),
            slept: 0,
            agents: BTreeMap::new(),
            keys: HashMap::new(),
            committed_keys: HashSet::new(),
            outages: vec![],
            out_for: BTreeSet::new(),
            starts: vec![],
            leases: HashMap::new(),
            violation: None,
            digest: Digest::default(),
            commits: 0,
            seen: BTreeSet::new(),
            restarts: 0,
        }
    }

    pub fn broken(&mut self, invariant: &str, why: String) {
        self.violation.get_or_insert(format!("{invariant}: {why}"));
    }

    /// The world's time, in ms.
    pub fn now(&self) -> u64 {
        u64::try_from(self.watch.elapsed().as_millis()).unwrap_or(u64::MAX) + self.slept
    }

    /// From now on nothing can be accepted, for this reason and until it is gone.
    pub fn outage(&mut self, reason: &'static str) {
        if self.out_for.is_empty() {
            self.outages.push((self.now(), None));
        }
        self.out_for.insert(reason);
    }

    /// One reason is gone.
    pub fn outage_ends(&mut self, reason: &'static str) {
        let now = self.now();
        if self.out_for.remove(reason)
            && self.out_for.is_empty()
            && let Some((_, to)) = self.outages.last_mut()
        {
            *to = Some(now);
        }
    }

    /// Accepted time since `from`, and how far off the gateway may be.
    fn accepted(&self, from: u64) -> (u64, u64) {
        let (now, mut out) = (self.now(), (0, 0));
        for (a, b) in self.outages.iter().rev() {
            let b = b.unwrap_or(now);
            if b + BLUR <= from {
                break;
            }
            out.0 += b.saturating_sub((*a).max(from));
            out.1 += BLUR;
        }
        ((now.saturating_sub(from)).saturating_sub(out.0), out.1)
    }

    fn down_span(row: &AgentRow, truth: &Truth) -> u64 {
        row.settings.down_after.unwrap_or(3.0).mul_add(truth.interval as f64, 10_000.0) as u64
    }

    /// What was sent is answered with 200. It proves the agent alive at `sign_at`.
    pub fn acknowledged(&mut self, agent: &str, key: Option<DedupKey>, tokens: u64, sign_at: u64) {
        let is_there = key.is_none_or(|key| self.committed_keys.contains(&key));
        let Some(truth) = self.agents.get_mut(agent) else { return };
        truth.acked_at = truth.acked_at.max(Some(sign_at));
        truth.acked += u64::from(tokens == 0);
        truth.tokens.0 += tokens;
        let totals = truth.row.as_ref().map(|row| &row.state.totals);
        let beats = totals.map_or(0, |t| t.heartbeats);
        let counted = totals.and_then(|t| t.tokens_input).unwrap_or(0);
        let (acked, wanted) = (truth.acked, truth.tokens.0);
        if !is_there {
            self.broken("I2", format!("{agent}: a beat was acknowledged that was not committed"));
        } else if tokens == 0 && beats < acked {
            self.broken("I2", format!("{agent}: {acked} beats acknowledged, {beats} committed"));
        } else if counted < wanted {
            self.broken("I2", format!("{agent}: {wanted} tokens acknowledged, {counted} committed"));
        }
    }

    /// A runner was handed a command, and has it from now on.
    pub fn handed(&mut self, runner: &str, id: CommandId) {
        if let Some(other) = self.leases.insert(id, runner.to_owned())
            && other != runner
        {
            self.broken("I9", format!("command {id:?} is held by {other} and was handed to {runner}"));
        }
    }

    /// A runner gives a command back, and does nothing more about it.
    pub fn given_back(&mut self, runner: &str, id: CommandId) {
        if self.leases.get(&id).is_some_and(|holder| holder == runner) {
            self.leases.remove(&id);
        }
    }

    /// What a commit is about to make durable.
    pub fn committed(&mut self, writes: &WriteSet) {
        self.commits += 1;
        for (key, _) in &writes.dedup {
            let Some((agent, cost)) = self.keys.get(key).cloned() else { continue };
            if !self.committed_keys.insert(*key) {
                self.broken("I1", format!("{agent}: a key was counted twice"));
            } else if let Some(truth) = self.agents.get_mut(&agent) {
                truth.committed = truth.committed.plus(cost);
            }
        }
        for command in &writes.commands {
            self.command(command, writes);
        }
        for row in &writes.agents {
            self.row(row, writes);
        }
    }

    fn row(&mut self, row: &Arc<AgentRow>, writes: &WriteSet) {
        let name = &*row.key.name;
        let now = self.now();
        let state = &row.state;
        self.digest.add(name.as_bytes());
        self.digest.add(&state.deadline.0.to_le_bytes());
        self.digest.add(&[state.status.code()]);
        self.seen.insert(state.status.word());
        let mut faults = Vec::new();
        let (accepted, blur) = self.accepted(self.agents.get(name).and_then(|t| t.acked_at).unwrap_or(0));
        let Some(truth) = self.agents.get_mut(name) else { return };
        let before = truth.row.as_deref().map(|row| &row.state);

        // I1
        let totals = &state.totals;
        if truth.keyed && totals.cost.unwrap_or_default() != truth.committed {
            faults.push(("I1", format!("cost {:?}, committed keys {:?}", totals.cost, truth.committed)));
        }
        if totals.heartbeats > truth.attempted || totals.tokens_input.unwrap_or(0) > truth.tokens.1 {
            faults.push(("I1", format!("{} beats counted, {} sent", totals.heartbeats, truth.attempted)));
        }
        // I4
        let is_down = |state: &pulsegate::model::AgentState| state.conditions.get(Condition::Down).is_some();
        let was_down = before.is_some_and(is_down);
        let signs = |state: &pulsegate::model::AgentState| (state.totals.heartbeats, state.totals.activities);
        let is_sign = before.is_none_or(|before| signs(before) != signs(state));
        let is_rebased = before.is_some_and(|b| b.life.watched_since != state.life.watched_since);
        let is_set = truth.row.as_ref().is_some_and(|old| old.settings != row.settings);
        let span = Self::down_span(row, truth);
        if is_down(state) && !was_down && truth.acked_at.is_some() && accepted + blur + 2_000 < span {
            faults.push(("I4", format!("down after {accepted} ms of accepted silence; {span} ms are allowed")));
        }
        let is_excused = is_rebased || is_set || state.life.stopped_at.is_some();
        if was_down && !is_down(state) && !is_sign && !is_excused {
            faults.push(("I4", "no longer down, without a sign of life".into()));
        }
        let is_heard = before.is_none_or(|before| before.life.own != state.life.own);
        if is_heard || is_rebased || is_set {
            truth.base = now;
        }
        // What is flushed after a goodbye is no new life.
        truth.reborn &= state.life.stopped_at.is_none() || before.is_some_and(|b| b.life.stopped_at.is_some());
        let said =
            before.is_some_and(|b| b.life.stopped_at.is_some() && b.totals.heartbeats == state.totals.heartbeats);
        let said = said && !truth.reborn;
        if said
            && state.life.stopped_at.is_none()
            && state.totals.restarts == before.map_or([0; 4], |b| b.totals.restarts)
        {
            faults.push(("I4", "not stopped any more, without a beat".into()));
        }
        // I5
        let mut status = before.map_or(Status::Unknown, |b| b.status);
        let events = writes.events.iter().filter(|e| e.agent == Some(row.id));
        for event in events.filter(|e| e.draft.kind == EventKind::Transition) {
            let (from, to) = event.draft.transition.unwrap_or_default();
            if from != status || from == to {
                faults.push(("I5", format!("{from:?} → {to:?} follows {status:?}")));
            }
            if let Some(since) = truth.healthy_since.take()
                && event.draft.at.0 - since.0 >= RESET
            {
                truth.doses = 0;
            }
            truth.healthy_since = (to == Status::Healthy).then_some(event.draft.at);
            status = to;
        }
        if status != state.status {
            faults.push(("I5", format!("transitions end at {status:?}, the status is {:?}", state.status)));
        }
        // I8
        let bytes = postcard::to_stdvec(state).map_or(usize::MAX, |bytes| bytes.len());
        if bytes >= STATE_BYTES_MAX {
            faults.push(("I8", format!("{bytes} bytes of state")));
        }
        if before.is_some_and(|b| b.updated_at > state.updated_at) || state.deadline <= state.updated_at {
            faults.push(("I8", format!("updated at {}, deadline {}", state.updated_at, state.deadline)));
        }
        truth.row = Some(row.clone());
        for (invariant, why) in faults {
            self.broken(invariant, format!("{name}: {why}"));
        }
    }

    fn command(&mut self, command: &Command, writes: &WriteSet) {
        self.digest.add(command.state.word().as_bytes());
        if !command.state.is_open() {
            self.leases.remove(&command.id);
        }
        if command.state == CommandState::Succeeded {
            self.restarts += 1;
        }
        let held = self.agents.iter_mut().find(|(_, t)| t.row.as_ref().is_some_and(|row| row.id == command.agent));
        let Some((name, truth)) = held else { return };
        let is_new = command.state.is_open() && truth.open.insert(command.id);
        if !command.state.is_open() {
            truth.open.remove(&command.id);
        }
        // One that ends in this very commit makes room for the next.
        let ended = writes.commands.iter().filter(|c| !c.state.is_open() && truth.open.contains(&c.id)).count();
        let name = name.clone();
        let open = truth.open.len() - ended;
        if is_new && command.origin.is_automatic() {
            if truth.healthy_since.is_some_and(|since| command.created_at.0 - since.0 >= RESET) {
                truth.doses = 0;
            }
            truth.doses += 1;
        }
        let doses = truth.doses;
        if open > 1 {
            self.broken("I7", format!("{name}: {open} restarts are open"));
        } else if doses > DOSES_MAX {
            self.broken("I7", format!("{name}: {doses} automatic restarts without health in between"));
        }
    }

    /// I3, looked at whenever the simulation stops to look.
    pub fn check(&mut self) {
        if !self.out_for.is_empty() {
            return;
        }
        let last_start = self.starts.last().copied().unwrap_or(0);
        let mut found = None;
        for (name, truth) in &self.agents {
            let Some(row) = &truth.row else { continue };
            let state = &row.state;
            if state.life.stopped_at.is_some() || state.conditions.get(Condition::Down).is_some() {
                continue;
            }
            let span = Self::down_span(row, truth);
            let (silent, blur) = self.accepted(truth.base);
            // While the gateway's time is ahead of the wall clock it runs a hundredth slower.
            let slack = blur + PERIOD + span / 50;
            let (since_start, start_blur) = self.accepted(last_start);
            let grace = GRACE.max(2 * truth.interval);
            // Spans prove life a while before they arrive: what was heard just after a start can be from before it.
            let is_graced =
                truth.base <= last_start + 2 * truth.interval && since_start < grace + start_blur + PERIOD + grace / 50;
            if silent > span + slack && !is_graced && state.life.alive().is_some() {
                found = Some(format!("{name}: silent for {silent} ms of accepted time, and {}", state.status.word()));
            }
        }
        if let Some(why) = found {
            self.broken("I3", why);
        }
    }

    pub fn id(&self, agent: &str) -> Option<i64> {
        Some(self.agents.get(agent)?.row.as_ref()?.id.0)
    }
}
