//! Traces in memory, as the encoded pieces that commits made of them: a fifth of what they take as values, allocated once a
//! trace and commit, and decoded only when more of a trace comes.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{WriteSet, compact};
use crate::model::{QuickMap, Timestamp, TraceDelta, TraceKey, TraceRow};

/// How much room remembered traces may take over all projects, in bytes. Beyond it the traces touched longest ago are
/// forgotten, so that a flood of spans cannot take all memory; a span of such a trace that is sent again would count again.
pub const TRACES_BYTES_MAX: usize = 128 << 20;

/// What a trace takes beside its pieces, in bytes: its places in the tables, and what the allocator adds.
const TRACE_BYTES: usize = 192;
/// What a piece takes beside its bytes.
const PIECE_BYTES: usize = 32;

/// So many later pieces are put together into one: a sender of one span a request must not make each request read hundreds
/// of them.
const LATER_PIECES_MAX: usize = 8;

/// How many times may be passed over beside those of the traces themselves, before they are sorted out.
const PASSED_OVER_MAX: usize = 1024;

/// What one commit changed of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// When it was.
    pub touched_at: Timestamp,
    /// When the trace must be looked at, and its service; `None` when never.
    deadline: Option<(Timestamp, Arc<str>)>,
    /// What was before is forgotten.
    anew: bool,
    /// A [`TraceDelta`], encoded.
    pub bytes: Box<[u8]>,
}

/// What a commit changed of traces, each at most once.
pub type Pieces = Vec<(TraceKey, Piece)>;

/// Takes what changed of traces out of a write set.
pub fn pieces(writes: &mut WriteSet) -> Pieces {
    let mut buffer = Vec::new();
    let mut piece = |(key, delta): (TraceKey, TraceDelta)| {
        buffer.clear();
        buffer = compact::write(&delta, std::mem::take(&mut buffer));
        (key, Piece::with(&delta, &buffer))
    };
    std::mem::take(&mut writes.traces).into_iter().map(&mut piece).collect()
}

impl Piece {
    /// Encodes `delta`.
    pub fn of(delta: &TraceDelta) -> Self {
        Self::with(delta, &compact::write(delta, Vec::new()))
    }

    /// Of encoded bytes; `None` when they are damaged.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self::with(&compact::read(bytes)?, bytes))
    }

    fn with(delta: &TraceDelta, bytes: &[u8]) -> Self {
        let head = &delta.head;
        Self {
            touched_at: head.touched_at,
            deadline: (head.deadline < Timestamp::MAX).then(|| (head.deadline, head.service.clone())),
            anew: delta.anew,
            bytes: bytes.into(),
        }
    }
}

/// What a piece weighs.
fn weight(piece: &[u8]) -> usize {
    piece.len() + PIECE_BYTES
}

/// The traces that are remembered.
#[derive(Debug, Default)]
pub struct Traces {
    kept: QuickMap<TraceKey, Kept>,
    /// When which trace was touched, the oldest first. Only a trace's last time counts; earlier ones are passed over.
    touched: VecDeque<(Timestamp, TraceKey)>,
    /// Those that must be looked at, by when; and their services.
    deadlines: BTreeMap<(Timestamp, TraceKey), Arc<str>>,
    /// What all of it weighs.
    bytes: usize,
}

#[derive(Debug, Default)]
struct Kept {
    touched_at: Timestamp,
    deadline: Option<Timestamp>,
    /// The first piece, and those after it: mostly there are none.
    first: Box<[u8]>,
    later: Vec<Box<[u8]>>,
    bytes: usize,
}

impl Kept {
    /// The trace, put together from its pieces.
    fn row(&self) -> Option<TraceRow> {
        let mut row = TraceRow::default();
        for piece in std::iter::once(&self.first).chain(&self.later) {
            // Encoded by this program, or read and checked when the store was opened.
            row.absorb(compact::read(piece)?);
        }
        Some(row)
    }

    /// Makes one piece of all.
    fn join(&mut self) {
        if let Some(row) = self.row() {
            (self.first, self.later) = (compact::write(&TraceDelta::whole(row), Vec::new()).into(), Vec::new());
            self.bytes = TRACE_BYTES + weight(&self.first);
        }
    }
}

impl Traces {
    /// The trace, put together from its pieces.
    pub fn get(&self, key: &TraceKey) -> Option<TraceRow> {
        self.kept.get(key)?.row()
    }

    /// Adds what a commit changed.
    pub fn put(&mut self, key: TraceKey, piece: Piece) {
        let Piece { touched_at, deadline, anew, bytes } = piece;
        let weight = weight(&bytes);
        let at = deadline.as_ref().map(|(at, _)| *at);
        let (touched_before, deadline_before) = match self.kept.entry(key) {
            Entry::Vacant(place) => {
                let (later, bytes_in_all) = (Vec::new(), TRACE_BYTES + weight);
                place.insert(Kept { touched_at, deadline: at, first: bytes, later, bytes: bytes_in_all });
                self.bytes += bytes_in_all;
                (None, None)
            }
            Entry::Occupied(mut place) => {
                let kept = place.get_mut();
                self.bytes -= kept.bytes;
                if anew {
                    (kept.first, kept.later, kept.bytes) = (bytes, Vec::new(), TRACE_BYTES);
                } else {
                    kept.later.push(bytes);
                }
                kept.bytes += weight;
                if kept.later.len() >= LATER_PIECES_MAX {
                    kept.join();
                }
                self.bytes += kept.bytes;
                let before = (Some(kept.touched_at), kept.deadline);
                (kept.touched_at, kept.deadline) = (touched_at, at);
                before
            }
        };
        if touched_before != Some(touched_at) {
            self.touch(touched_at, key);
        }
        if deadline_before != at {
            deadline_before.into_iter().for_each(|before| drop(self.deadlines.remove(&(before, key))));
            deadline.into_iter().for_each(|(at, service)| drop(self.deadlines.insert((at, key), service)));
        }
        while self.bytes > TRACES_BYTES_MAX && self.forget_oldest(Timestamp::MAX) {}
    }

    fn touch(&mut self, at: Timestamp, key: TraceKey) {
        // Time goes forward, so that this is the end, always.
        let place = match self.touched.back() {
            Some((last, _)) if *last > at => self.touched.partition_point(|(other, _)| *other <= at),
            _ => self.touched.len(),
        };
        self.touched.insert(place, (at, key));
        if self.touched.len() > 2 * self.kept.len() + PASSED_OVER_MAX {
            let kept = &self.kept;
            self.touched.retain(|(at, key)| kept.get(key).is_some_and(|kept| kept.touched_at == *at));
        }
    }

    /// Forgets the trace touched longest ago, if that was before `before`; whether there may be more.
    fn forget_oldest(&mut self, before: Timestamp) -> bool {
        let Some((at, key)) = self.touched.pop_front_if(|(at, _)| *at < before) else { return false };
        if let Entry::Occupied(kept) = self.kept.entry(key)
            && kept.get().touched_at == at
        {
            let kept = kept.remove();
            kept.deadline.into_iter().for_each(|at| drop(self.deadlines.remove(&(at, key))));
            self.bytes -= kept.bytes;
        }
        true
    }

    /// Traces whose deadline is `now` or earlier, the oldest first, each with its service.
    pub fn due(&self, now: Timestamp, limit: usize) -> Vec<(TraceKey, Arc<str>)> {
        let due = self.deadlines.iter().take_while(|((at, _), _)| *at <= now).take(limit);
        due.map(|((_, key), service)| (*key, service.clone())).collect()
    }

    /// Those of `keys` that were touched at `since` or later, each as one piece that tells all of it.
    pub fn whole(&self, keys: &[TraceKey], since: Timestamp) -> Pieces {
        let recent = keys.iter().filter(|key| self.kept.get(key).is_some_and(|kept| kept.touched_at >= since));
        recent.filter_map(|key| Some((*key, Piece::of(&TraceDelta::whole(self.get(key)?))))).collect()
    }

    /// Forgets traces untouched since `before`.
    pub fn sweep(&mut self, before: Timestamp) {
        while self.forget_oldest(before) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ProjectId, SpanFacts, SpanId, TraceHead, TraceId};

    /// A flood of spans: the traces touched longest ago make room.
    #[test]
    fn spans_are_bounded_over_all_traces() {
        let span = SpanFacts { span: SpanId([1; 8]), ..SpanFacts::default() };
        let mut traces = Traces::default();
        let key = |n: u64| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&n.to_be_bytes());
            TraceKey { project: ProjectId(1), trace: TraceId(id) }
        };
        let piece = |n: u64| {
            let head =
                TraceHead { service: "s".into(), touched_at: Timestamp::from_secs(n as i64), ..TraceHead::default() };
            Piece::of(&TraceDelta { head, added: vec![span.clone(); 4096], ..TraceDelta::default() })
        };
        let enough = (TRACES_BYTES_MAX / weight(&piece(0).bytes) + 10) as u64;
        for n in 0..enough {
            traces.put(key(n), piece(n));
            assert!(traces.bytes <= TRACES_BYTES_MAX);
        }
        assert!(traces.get(&key(0)).is_none() && traces.get(&key(enough - 1)).is_some());
        assert_eq!(traces.touched.len(), traces.kept.len());
        traces.sweep(Timestamp::MAX);
        assert_eq!((traces.bytes, traces.touched.len(), traces.kept.len(), traces.deadlines.len()), (0, 0, 0, 0));
    }

    /// A sender of one span a request: what comes is read in a few pieces, and is what came.
    #[test]
    fn many_pieces_become_one() {
        let (mut traces, mut row) = (Traces::default(), TraceRow::default());
        let key = TraceKey { project: ProjectId(1), trace: TraceId([1; 16]) };
        for n in 0..100_i64 {
            let head = TraceHead { service: "s".into(), touched_at: Timestamp(n), ..TraceHead::default() };
            let added = vec![SpanFacts { span: SpanId(n.to_be_bytes()), ..SpanFacts::default() }];
            let named = SpanFacts { agent: Some("bot".into()), ..row.spans.last().cloned().unwrap_or_default() };
            let changed = row.spans.len().checked_sub(1).map(|last| (last as u32, named)).into_iter().collect();
            let delta = TraceDelta { head, anew: false, changed, added };
            traces.put(key, Piece::of(&delta));
            row.absorb(delta);
            assert_eq!(traces.get(&key).as_ref(), Some(&row));
            let kept = &traces.kept[&key];
            assert!(kept.later.len() < LATER_PIECES_MAX);
            let pieces = std::iter::once(&kept.first).chain(&kept.later);
            assert_eq!(traces.bytes, TRACE_BYTES + pieces.map(|piece| weight(piece)).sum::<usize>());
        }
        traces.sweep(Timestamp::MAX);
        assert_eq!((traces.bytes, traces.kept.len()), (0, 0));
    }

    /// What is touched again and again stays, and costs no more for it.
    #[test]
    fn a_trace_is_as_old_as_its_last_piece() {
        let mut traces = Traces::default();
        let key = |n: u8| TraceKey { project: ProjectId(1), trace: TraceId([n; 16]) };
        let at = Timestamp::from_secs;
        let piece = |secs: i64, anew| {
            let head =
                TraceHead { service: "s".into(), touched_at: at(secs), deadline: at(secs), ..TraceHead::default() };
            let added = vec![SpanFacts { span: SpanId(secs.to_be_bytes()), ..SpanFacts::default() }];
            Piece::of(&TraceDelta { head, anew, added, ..TraceDelta::default() })
        };
        traces.put(key(1), piece(1, false));
        traces.put(key(2), piece(2, false));
        for secs in 3..10_000 {
            traces.put(key(1), piece(secs, secs % 100 == 0));
        }
        assert!(traces.touched.len() <= 2 * traces.kept.len() + PASSED_OVER_MAX);
        assert_eq!(traces.get(&key(1)).unwrap().spans.len(), 100, "from the last time it began anew");
        assert_eq!(traces.due(at(20_000), 9), [(key(2), "s".into()), (key(1), "s".into())]);
        traces.sweep(at(9_999));
        assert!(traces.get(&key(2)).is_none() && traces.get(&key(1)).is_some());
        traces.put(key(3), piece(5, false));
        traces.sweep(at(6));
        assert!(traces.get(&key(3)).is_none(), "should time ever go back, order is kept");
        traces.sweep(at(10_000));
        assert_eq!((traces.bytes, traces.touched.len(), traces.kept.len(), traces.deadlines.len()), (0, 0, 0, 0));
    }
}
