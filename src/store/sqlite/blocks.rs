//! Memory blocks: what must be remembered so that nothing counts twice, as rows that are only ever added. One row a commit
//! has the spans and the keys of it, each in a column of its own, because spans are many bytes and have to make room
//! first.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use rusqlite::Connection;

use super::rows::{decode, encode, unreadable};
use crate::model::{DedupKey, Timestamp, TraceDelta, TraceKey};
use crate::store::traces::Piece;
use crate::store::{Forgotten, compact};

/// The format of encoded spans: frames of [`compact`], one a trace.
const SPANS_FORMAT: u8 = 5;
/// The format before: all traces share their names.
const SHARED_NAMES_FORMAT: u8 = 4;
/// The format before that: field by field.
const WIDE_SPANS_FORMAT: u8 = 3;
/// The format before those has the keys in it, too.
const SPANS_AND_KEYS_FORMAT: u8 = 2;
/// The format of encoded keys.
const KEYS_FORMAT: u8 = 1;

/// How much room keys may take, in bytes: about the two million that are remembered in memory.
const KEYS_BYTES_MAX: u64 = 40 << 20;

/// In how many steps one kind of memory is counted, and goes.
pub const STEPS: u64 = 32;

/// What one commit adds to the memory of what has been counted.
pub type Block = (Vec<(TraceKey, Piece)>, Vec<(DedupKey, Timestamp)>);

/// A block that was written.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Its id: the newest time in it, or just above the id of the last block.
    pub id: i64,
    /// What its spans take, in bytes.
    pub spans: u64,
    /// What its keys take, in bytes.
    pub keys: u64,
}

/// The two kinds of memory, each a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Spans, by trace.
    Spans,
    /// Keys of requests.
    Keys,
}

/// What all blocks take.
#[derive(Debug)]
pub struct Ledgers {
    /// Of spans.
    pub spans: Ledger,
    /// Of keys.
    pub keys: Ledger,
}

impl Ledgers {
    /// Of no blocks. Spans may take `spans_max` bytes.
    pub const fn new(spans_max: u64) -> Self {
        Self { spans: Ledger::new(spans_max), keys: Ledger::new(KEYS_BYTES_MAX) }
    }

    /// Takes in a new block.
    pub fn add(&mut self, block: Written) {
        self.spans.add(block.id, block.spans);
        self.keys.add(block.id, block.keys);
    }

    /// The blocks before `before` are gone.
    pub fn forget(&mut self, before: i64) {
        self.spans.forget(before);
        self.keys.forget(before);
    }
}

/// How many bytes of one kind lie in blocks, and in which: in steps, because blocks may be millions.
#[derive(Debug)]
pub struct Ledger {
    max: u64,
    total: u64,
    /// No block before this one has any.
    from: i64,
    /// The oldest first.
    steps: VecDeque<Step>,
}

#[derive(Debug)]
struct Step {
    last: i64,
    bytes: u64,
    blocks: u64,
}

impl Ledger {
    /// Of a kind that may take `max` bytes.
    pub const fn new(max: u64) -> Self {
        Self { max, total: 0, from: i64::MIN, steps: VecDeque::new() }
    }

    /// Takes in a new block.
    pub fn add(&mut self, id: i64, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.total += bytes;
        match self.steps.back_mut().filter(|step| step.bytes < self.max / STEPS) {
            Some(step) => *step = Step { last: id, bytes: step.bytes + bytes, blocks: step.blocks + 1 },
            None => self.steps.push_back(Step { last: id, bytes, blocks: 1 }),
        }
    }

    /// When there is too much: the ids of the blocks that must go, and what they are together. The newest step stays.
    pub fn too_much(&self) -> Option<(Range<i64>, Forgotten)> {
        let mut going = Forgotten::default();
        let mut before = None;
        for step in self.steps.iter().take(self.steps.len().saturating_sub(1)) {
            if self.total - going.bytes <= self.max {
                break;
            }
            before = Some(step.last + 1);
            going.bytes += step.bytes;
            going.blocks += step.blocks;
        }
        Some((self.from..before?, going))
    }

    /// The blocks before `before` are gone.
    pub fn forget(&mut self, before: i64) {
        self.from = self.from.max(before);
        while let Some(step) = self.steps.pop_front_if(|step| step.last < before) {
            self.total -= step.bytes;
        }
    }
}

/// Writes a block: one per commit, never a row per span.
pub fn write(
    db: &Connection,
    traces: &[(TraceKey, Piece)],
    dedup: &[(DedupKey, Timestamp)],
) -> rusqlite::Result<Written> {
    let touched = traces.iter().map(|(_, piece)| piece.touched_at);
    let newest = touched.chain(dedup.iter().map(|(_, at)| *at)).max().unwrap_or_default();
    let mut body = Vec::new();
    if !traces.is_empty() {
        // A key takes less than 32 bytes, with what goes before and after it.
        body.reserve_exact(1 + traces.iter().map(|(_, piece)| piece.bytes.len() + 32).sum::<usize>());
        body.push(SPANS_FORMAT);
        traces.iter().for_each(|(key, piece)| compact::frame(*key, &piece.bytes, &mut body));
    }
    let keys = if dedup.is_empty() { Vec::new() } else { encode(KEYS_FORMAT, &by_time(dedup))? };
    let (spans_bytes, keys_bytes) = (body.len() as u64, keys.len() as u64);
    db.prepare_cached(
        "INSERT INTO memory_blocks (id, body, keys)
         VALUES (max(?1, coalesce((SELECT max(id) FROM memory_blocks), 0) + 1), ?2, ?3)",
    )?
    .execute((newest.0, body, keys))?;
    Ok(Written { id: db.last_insert_rowid(), spans: spans_bytes, keys: keys_bytes })
}

/// Keys as they are encoded: those of one time together, each as it is.
fn by_time(dedup: &[(DedupKey, Timestamp)]) -> Vec<(Timestamp, Vec<[u8; 16]>)> {
    let same_time = dedup.chunk_by(|a, b| a.1 == b.1);
    same_time.map(|keys| (keys[0].1, keys.iter().map(|(key, _)| key.0.to_le_bytes()).collect())).collect()
}

fn read_spans(id: i64, body: &[u8]) -> rusqlite::Result<Block> {
    type Deltas = Vec<(TraceKey, TraceDelta)>;
    let pieces = |deltas: Deltas| deltas.iter().map(|(key, delta)| (*key, Piece::of(delta))).collect();
    let damaged = || unreadable("memory block", id, "damaged");
    Ok(match body.first() {
        None => Block::default(),
        Some(&SPANS_AND_KEYS_FORMAT) => {
            let (deltas, keys) = decode::<(Deltas, _)>("memory block", id, SPANS_AND_KEYS_FORMAT, body)?;
            (pieces(deltas), keys)
        }
        Some(&WIDE_SPANS_FORMAT) => (pieces(decode("memory block", id, WIDE_SPANS_FORMAT, body)?), Vec::new()),
        Some(&SHARED_NAMES_FORMAT) => (pieces(compact::read_block_before(&body[1..]).ok_or_else(damaged)?), Vec::new()),
        Some(&SPANS_FORMAT) => {
            let (mut frames, mut traces) = (&body[1..], Vec::new());
            while !frames.is_empty() {
                let (key, bytes) = compact::next_frame(&mut frames).ok_or_else(damaged)?;
                traces.push((key, Piece::read(bytes).ok_or_else(damaged)?));
            }
            (traces, Vec::new())
        }
        Some(format) => return Err(unreadable("memory block", id, &format!("format {format} is unknown"))),
    })
}

/// The traces of which a block has a part; what it tells of them is not read.
fn keys_in(id: i64, body: &[u8]) -> rusqlite::Result<Vec<TraceKey>> {
    let Some((&SPANS_FORMAT, mut frames)) = body.split_first() else {
        return Ok(read_spans(id, body)?.0.into_iter().map(|(key, _)| key).collect());
    };
    let mut keys = Vec::new();
    while !frames.is_empty() {
        let (key, _) = compact::next_frame(&mut frames).ok_or_else(|| unreadable("memory block", id, "damaged"))?;
        keys.push(key);
    }
    Ok(keys)
}

fn read_keys(id: i64, keys: &[u8]) -> rusqlite::Result<Vec<(DedupKey, Timestamp)>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let by_time: Vec<(Timestamp, Vec<[u8; 16]>)> = decode("keys of memory block", id, KEYS_FORMAT, keys)?;
    let one =
        |at: Timestamp, keys: Vec<[u8; 16]>| keys.into_iter().map(move |k| (DedupKey(u128::from_le_bytes(k)), at));
    Ok(by_time.into_iter().flat_map(|(at, keys)| one(at, keys)).collect())
}

/// Hands all blocks to `take`, the oldest first.
pub fn read(db: &Connection, mut take: impl FnMut(Written, Block)) -> rusqlite::Result<()> {
    let mut statement = db.prepare("SELECT id, body, keys FROM memory_blocks ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, body, keys) = (row.get(0)?, row.get_ref(1)?.as_blob()?, row.get_ref(2)?.as_blob()?);
        let (traces, mut dedup) = read_spans(id, body)?;
        dedup.append(&mut read_keys(id, keys)?);
        take(Written { id, spans: body.len() as u64, keys: keys.len() as u64 }, (traces, dedup));
    }
    Ok(())
}

/// The traces of which a part lies in these blocks.
pub fn traces_in(db: &Connection, ids: Range<i64>) -> rusqlite::Result<BTreeSet<TraceKey>> {
    let mut statement =
        db.prepare_cached("SELECT id, body FROM memory_blocks WHERE id >= ?1 AND id < ?2 AND length(body) > 0")?;
    let mut rows = statement.query([ids.start, ids.end])?;
    let mut found = BTreeSet::new();
    while let Some(row) = rows.next()? {
        found.extend(keys_in(row.get(0)?, row.get_ref(1)?.as_blob()?)?);
    }
    Ok(found)
}

/// Empties one column of these blocks; what has nothing left goes.
pub fn empty(db: &Connection, kind: Kind, ids: Range<i64>) -> rusqlite::Result<()> {
    let (column, other) = match kind {
        Kind::Spans => ("body", "keys"),
        Kind::Keys => ("keys", "body"),
    };
    let transaction = db.unchecked_transaction()?;
    for what in [
        format!("DELETE FROM memory_blocks WHERE id >= ?1 AND id < ?2 AND length({other}) = 0"),
        format!("UPDATE memory_blocks SET {column} = x'' WHERE id >= ?1 AND id < ?2 AND length({column}) > 0"),
    ] {
        transaction.prepare_cached(&what)?.execute([ids.start, ids.end])?;
    }
    transaction.commit()
}
