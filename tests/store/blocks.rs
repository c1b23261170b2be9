//! The memory of spans on disk: it has a bound, what must go goes oldest first, and what is still needed stays.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pulsegate::model::*;
use pulsegate::store::sqlite::SqliteStore;
use pulsegate::store::*;

use crate::fixture::*;

/// Room for some four hundred commits of [`request`].
const SPANS_MAX: u64 = 256 << 10;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("pulsegate.db")
    }

    fn open(&self) -> SqliteStore {
        SqliteStore::open_with(&self.file(), SPANS_MAX).unwrap()
    }

    fn number(&self, sql: &str) -> u64 {
        rusqlite::Connection::open(self.file()).unwrap().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() as u64
    }

    /// What the database takes on disk, its log included.
    fn bytes(&self) -> u64 {
        let log = self.file().with_extension("db-wal");
        [self.file(), log].iter().filter_map(|file| Some(std::fs::metadata(file).ok()?.len())).sum()
    }
}

const fn trace(n: u64) -> TraceKey {
    let mut id = [7; 16];
    let low = n.to_be_bytes();
    let mut i = 0;
    while i < 8 {
        id[8 + i] = low[i];
        i += 1;
    }
    TraceKey { project: P1, trace: TraceId(id) }
}

fn delta(n: u64, span: u64) -> TraceDelta {
    let facts = SpanFacts {
        span: SpanId(span.to_be_bytes()),
        class: SpanClass::Llm,
        agent: Some("research-agent".into()),
        model: Some("some-model-2026".into()),
        start: at(n as i64),
        end: at(n as i64 + 1),
        ..SpanFacts::default()
    };
    let head = TraceHead { service: "research".into(), touched_at: at(n as i64), ..TraceHead::default() };
    TraceDelta { head, added: vec![facts], ..TraceDelta::default() }
}

/// What request `n` writes: a trace of its own, one more span of trace 0, and its key.
fn request(n: u64) -> WriteSet {
    let traces = vec![(trace(0), delta(n, n)), (trace(n), delta(n, 1)), (trace(1_000_000 + n), delta(n, 2))];
    WriteSet { traces, dedup: vec![(dedup(&n.to_string()), at(n as i64))], ..WriteSet::default() }
}

async fn known(store: &SqliteStore, keys: &[TraceKey]) -> BTreeMap<TraceKey, usize> {
    let found = load(store, LoadSet { traces: keys.to_vec(), ..LoadSet::default() }).await.traces;
    found.into_iter().map(|(key, row)| (key, row.spans.len())).collect()
}

async fn unseen(store: &SqliteStore, requests: u64) -> usize {
    let keys: Vec<DedupKey> = (1..=requests).map(|n| dedup(&n.to_string())).collect();
    let seen = load(store, LoadSet { dedup: keys.clone(), ..LoadSet::default() }).await.seen;
    keys.iter().filter(|key| !seen.contains(key)).count()
}

#[tokio::test]
async fn under_a_flood_the_oldest_spans_make_room_and_nothing_else_is_lost() {
    let place = Place::new();
    let mut store = place.open();
    store.ensure_project("default").await.unwrap();
    let (mut gone, mut most, mut early) = (Forgotten::default(), 0, 0);
    let requests = 3_000;
    for n in 1..=requests {
        commit(&store, request(n)).await;
        if n % 50 == 0 {
            let forgotten = store.bound_memory().await.unwrap();
            gone.add(forgotten);
            most = most.max(place.number("SELECT sum(length(body)) FROM memory_blocks"));
        }
        if n == requests / 3 {
            early = place.bytes();
        }
    }
    assert!(gone.blocks > 1_500 && gone.bytes > SPANS_MAX, "{gone:?}");
    // A step beside the bound, and the trace that goes on, written again.
    assert!(most <= SPANS_MAX + SPANS_MAX / 2, "{most} bytes of spans");
    assert!(place.bytes() < early + early / 2, "freed pages are used again: {early} bytes, then {}", place.bytes());
    for opened in 0..2 {
        let young = trace(requests - 10);
        let found = known(&store, &[trace(0), trace(1), trace(1_000), young]).await;
        assert_eq!(found, [(trace(0), requests as usize), (young, 1)].into(), "opened {opened}");
        assert_eq!(unseen(&store, requests).await, 0, "keys take little room: all stay");
        drop(store);
        store = place.open();
    }
    assert_eq!(store.bound_memory().await.unwrap(), Forgotten::default(), "there is room");
    store.sweep(at(requests as i64 + 1), &[]).await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM memory_blocks"), 0, "by age all of it goes");
}

#[tokio::test]
async fn blocks_of_the_release_before_are_read_and_go_like_any_other() {
    let place = Place::new();
    place.open().ensure_project("default").await.unwrap();
    // Format 2: spans and keys in one.
    let WriteSet { traces, dedup, .. } = request(1);
    let body = postcard::to_extend(&(&traces, &dedup), vec![2]).unwrap();
    let db = rusqlite::Connection::open(place.file()).unwrap();
    db.execute("INSERT INTO memory_blocks (id, body) VALUES (?1, ?2)", (at(1).0, body)).unwrap();
    drop(db);
    let store = place.open();
    assert_eq!(known(&store, &[trace(0), trace(1)]).await, [(trace(0), 1), (trace(1), 1)].into());
    assert_eq!(unseen(&store, 1).await, 0);
    store.sweep(at(2), &[]).await.unwrap();
    assert_eq!((known(&store, &[trace(1)]).await.len(), unseen(&store, 1).await), (0, 1));
}
