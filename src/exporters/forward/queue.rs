//! What waits for a destination: bounded in bodies and bytes, never waiting for anything itself.
//!
//! There are two lines. Bodies that arrive stand in the fresh one. When a destination comes back after an outage, all of
//! it becomes the backlog, and the two are served in turn, so that what is new does not wait for all that is old.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::body::Item;
use super::disk::{Place, Restored};
use super::settings::{OnFull, QueueSettings};
use crate::clock::Stopwatch;
use crate::telemetry::{ForwardMetrics, Loss};

/// Of a queue on disk, bodies of so many bytes stay in memory as well, so that they need not be read again.
const HELD_BYTES_MAX: u64 = 16 << 20;
/// So many bytes may wait to be written to disk; what comes when the disk is slower than that is dropped.
const UNWRITTEN_BYTES_MAX: u64 = 32 << 20;
/// So many bodies are written before others may have their turn.
const WRITE_MAX: usize = 256;

/// A queue. Shared by those who fill it, who send from it, and who write it.
pub struct Queue {
    settings: QueueSettings,
    metrics: ForwardMetrics,
    /// Where the files are, for reading.
    pub folder: Option<PathBuf>,
    state: Mutex<State>,
    /// Something may be there to send.
    pub arrived: Notify,
    /// Something may be there to write.
    to_write: Condvar,
}

#[derive(Default)]
struct State {
    /// Everything that is not done, those on their way included.
    slots: HashMap<u64, Slot>,
    backlog: VecDeque<u64>,
    fresh: VecDeque<u64>,
    /// Whose turn it is when both have some.
    fresh_next: bool,
    next: u64,
    bytes: u64,
    held: u64,
    unwritten: VecDeque<u64>,
    unwritten_bytes: u64,
    done: Vec<Place>,
    closed: bool,
}

struct Slot {
    /// Absent when it must be read from disk.
    item: Option<Item>,
    place: Option<Place>,
    weight: u64,
    tries: Tries,
}

/// What was tried with a body.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tries {
    /// Since when it is tried in vain.
    pub since: Option<Stopwatch>,
    /// How often it failed while others were taken.
    pub strikes: u32,
    /// How many the destination had taken when it failed last.
    pub taken_then: u64,
}

/// A body to send.
pub struct Job {
    pub seq: u64,
    pub item: Option<Item>,
    pub tries: Tries,
}

/// What is to be written.
pub struct ToWrite {
    pub bodies: Vec<(u64, Item)>,
    pub done: Vec<Place>,
    /// Nothing will come after this.
    pub last: bool,
}

impl Queue {
    /// An empty queue, or one with what was found on disk, whose files are in `folder`.
    pub fn new(settings: QueueSettings, metrics: ForwardMetrics, restored: Restored, folder: Option<PathBuf>) -> Self {
        let mut state = State { next: restored.next, ..State::default() };
        metrics.restored(restored.bodies.len());
        (0..restored.damaged).for_each(|_| metrics.corrupt_record());
        for (seq, place, weight) in restored.bodies {
            let weight = weight as u64;
            state.bytes += weight;
            state.backlog.push_back(seq);
            let slot = Slot { item: None, place: Some(place), weight, tries: Tries::default() };
            state.slots.insert(seq, slot);
        }
        metrics.queue(state.slots.len(), state.bytes);
        let (arrived, to_write) = (Notify::new(), Condvar::new());
        Self { settings, metrics, folder, state: Mutex::new(state), arrived, to_write }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is done under the lock that could panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a body in, if there is room. Takes a short lock and nothing else.
    pub fn push(&self, item: Item) {
        self.metrics.received();
        let weight = item.weight() as u64;
        let mut state = self.lock();
        let on_disk = self.folder.is_some();
        if on_disk && state.unwritten_bytes + weight > UNWRITTEN_BYTES_MAX {
            self.metrics.dropped(Loss::Storage);
            return;
        }
        if !self.make_room(&mut state, weight) || state.closed {
            self.metrics.dropped(if state.closed { Loss::Shutdown } else { Loss::QueueFull });
            return;
        }
        let seq = state.next;
        state.next += 1;
        state.bytes += weight;
        state.held += weight;
        state.slots.insert(seq, Slot { item: Some(item), place: None, weight, tries: Tries::default() });
        state.fresh.push_back(seq);
        if on_disk {
            state.unwritten.push_back(seq);
            state.unwritten_bytes += weight;
            self.to_write.notify_one();
        }
        self.metrics.queue(state.slots.len(), state.bytes);
        drop(state);
        self.arrived.notify_one();
    }

    fn make_room(&self, state: &mut State, weight: u64) -> bool {
        let fits = |state: &State| {
            state.slots.len() < self.settings.requests_max && state.bytes + weight <= self.settings.bytes_max
        };
        if self.settings.on_full == OnFull::DropOld && weight <= self.settings.bytes_max {
            while !fits(state) {
                // What is on its way is not taken back.
                let Some(oldest) = state.backlog.pop_front().or_else(|| state.fresh.pop_front()) else { break };
                self.forget(state, oldest);
                self.metrics.dropped(Loss::QueueFull);
            }
        }
        fits(state)
    }

    /// The next body to send, unless there is none.
    pub fn take(&self) -> Option<Job> {
        let mut state = self.lock();
        let seq = if state.fresh_next || state.backlog.is_empty() {
            state.fresh.pop_front().or_else(|| state.backlog.pop_front())
        } else {
            state.backlog.pop_front()
        }?;
        state.fresh_next = !state.fresh_next;
        let slot = state.slots.get(&seq)?;
        Some(Job { seq, item: slot.item.clone(), tries: slot.tries })
    }

    /// Where a body is on disk.
    pub fn place(&self, seq: u64) -> Option<Place> {
        self.lock().slots.get(&seq)?.place
    }

    /// A body is sent, or lost: either way it is done.
    pub fn finish(&self, seq: u64) {
        let mut state = self.lock();
        self.forget(&mut state, seq);
        self.metrics.queue(state.slots.len(), state.bytes);
    }

    fn forget(&self, state: &mut State, seq: u64) {
        let Some(slot) = state.slots.remove(&seq) else { return };
        state.bytes -= slot.weight;
        if slot.item.is_some() {
            state.held -= slot.weight;
        }
        match slot.place {
            Some(place) => {
                state.done.push(place);
                self.to_write.notify_one();
            }
            None if self.folder.is_some() => state.unwritten_bytes -= slot.weight,
            None => {}
        }
    }

    /// A body was not taken for now: it goes to the end of the backlog, so that it cannot hold up all others.
    pub fn put_back(&self, seq: u64, tries: Tries) {
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(&seq) else { return };
        slot.tries = tries;
        state.backlog.push_back(seq);
    }

    /// An outage is over: what waited is the backlog now.
    pub fn outage_over(&self) {
        let mut state = self.lock();
        let mut fresh = std::mem::take(&mut state.fresh);
        state.backlog.append(&mut fresh);
    }

    /// Nothing more is taken in. What is only in memory is lost; says how much.
    pub fn close(&self) -> usize {
        let mut state = self.lock();
        state.closed = true;
        let mut lost = 0;
        if self.folder.is_none() {
            let slots: Vec<u64> = state.slots.keys().copied().collect();
            lost = slots.len();
            for seq in slots {
                self.forget(&mut state, seq);
                self.metrics.dropped(Loss::Shutdown);
            }
            self.metrics.queue(0, 0);
        }
        self.to_write.notify_all();
        lost
    }

    /// Waits up to `patience` for something to write. For the writer's thread.
    pub fn to_write(&self, patience: Duration) -> ToWrite {
        let state = self.lock();
        let idle = |s: &mut State| s.unwritten.is_empty() && s.done.is_empty() && !s.closed;
        let waited = self.to_write.wait_timeout_while(state, patience, idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let count = state.unwritten.len().min(WRITE_MAX);
        let seqs: Vec<u64> = state.unwritten.drain(..count).collect();
        let mut bodies = Vec::with_capacity(count);
        for seq in seqs {
            // What was sent in the meantime needs no writing.
            if let Some(item) = state.slots.get(&seq).and_then(|slot| slot.item.clone()) {
                bodies.push((seq, item));
            }
        }
        ToWrite { bodies, done: std::mem::take(&mut state.done), last: state.closed && state.unwritten.is_empty() }
    }

    /// A body is on disk now.
    pub fn written(&self, seq: u64, place: Place) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(slot) = state.slots.get_mut(&seq) else {
            // It was sent while it was written.
            state.done.push(place);
            return;
        };
        state.unwritten_bytes -= slot.weight;
        slot.place = Some(place);
        if state.held > HELD_BYTES_MAX && slot.item.take().is_some() {
            state.held -= slot.weight;
        }
    }

    /// A body is in another place on disk, unless it is done by now; then its old place is as well.
    pub fn moved(&self, seq: u64, from: Place, to: Place) -> bool {
        let mut state = self.lock();
        match state.slots.get_mut(&seq).filter(|slot| slot.place == Some(from)) {
            Some(slot) => {
                slot.place = Some(to);
                true
            }
            None => false,
        }
    }

    /// Bodies could not be written; they stand first in that line again.
    pub fn not_written(&self, seqs: impl DoubleEndedIterator<Item = u64>) {
        let mut state = self.lock();
        for seq in seqs.rev() {
            state.unwritten.push_front(seq);
        }
    }

    /// The bodies in one of the folder's segments.
    pub fn in_segment(&self, segment: u64) -> Vec<(u64, Place)> {
        let state = self.lock();
        let placed = state.slots.iter().filter_map(|(seq, slot)| Some((*seq, slot.place?)));
        placed.filter(|(_, place)| super::disk::Folder::is_in(*place, segment)).collect()
    }

    /// How many bytes may be on disk.
    pub const fn bytes_max(&self) -> u64 {
        self.settings.bytes_max
    }
}
