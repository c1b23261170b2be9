//! What only a database on disk can meet: a second process, a newer release, damage, a full disk.

use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::sync::Arc;

use pulsegate::model::*;
use pulsegate::store::sqlite::{KeyFile, SqliteStore};
use pulsegate::store::*;

use crate::fixture::*;
use crate::states::Draw;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        KeyFile::open(&place.file()).unwrap().ensure_project("default").unwrap();
        place
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("pulsegate.db")
    }

    fn open(&self) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(&self.file())
    }

    /// Changes the closed database behind the store's back.
    fn tamper(&self, sql: &str) {
        rusqlite::Connection::open(self.file()).unwrap().execute_batch(sql).unwrap();
    }

    fn refusal(&self) -> StoreError {
        self.open().err().expect("it is refused")
    }
}

#[tokio::test]
async fn a_second_gateway_on_the_same_data_is_refused_with_the_remedy() {
    let place = Place::new();
    let first = place.open().unwrap();
    let error = place.refusal();
    assert!(matches!(error, StoreError::Busy(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("pulsegate.db") && text.contains("stop it or use another data directory"), "{text}");
    create(&first, P1, "bot", at(1)).await;
    drop(first);
    assert_eq!(place.open().unwrap().agents(P1, 0, 9).await.unwrap().total, 1, "the first one was not disturbed");
}

#[tokio::test]
async fn keys_can_be_made_while_the_gateway_runs() {
    let place = Place::new();
    let store = place.open().unwrap();
    let mut file = KeyFile::open(&place.file()).unwrap();
    let project = file.ensure_project("default").unwrap();
    let key = ApiKey {
        label: "from the command line".into(),
        ..ApiKey::new("aaaa".into(), project.id, [1; 32], Scopes::of(&[Scope::Read]), at(1))
    };
    file.put_key(&key, &[]).unwrap();
    assert_eq!(store.keys().await.unwrap().first(), Some(&key));
    assert_eq!(store.ensure_project("default").await.unwrap(), project);
    let revoked = ApiKey { revoked_at: Some(at(2)), ..key };
    store.put_key(revoked.clone()).await.unwrap();
    assert_eq!(file.keys().unwrap(), [revoked], "and the other way round");
    assert_eq!(file.projects().unwrap(), [project]);
    create(&store, P1, "bot", at(1)).await;
}

#[tokio::test]
async fn a_database_of_a_newer_release_is_refused_and_left_alone() {
    let place = Place::new();
    create(&place.open().unwrap(), P1, "bot", at(1)).await;
    place.tamper("INSERT INTO schema_migrations VALUES (99, '0099_future', 'x')");
    let error = place.refusal();
    assert!(matches!(&error, StoreError::Corrupt(text) if text.contains("99") && text.contains("newer")), "{error}");
    assert!(KeyFile::open(&place.file()).is_err(), "the command line keeps its hands off, too");
    place.tamper("DELETE FROM schema_migrations WHERE version = 99");
    assert_eq!(place.open().unwrap().agents(P1, 0, 9).await.unwrap().total, 1);
}

#[tokio::test]
async fn damage_is_told_with_the_row_that_cannot_be_read() {
    for (sql, hint) in [
        ("UPDATE agent_state SET state = x'0102'", "state of agent 1"),
        ("UPDATE agent_state SET state = x''", "empty"),
        ("UPDATE agent_state SET state = CAST(x'c8' || substr(state, 2) AS BLOB)", "format 200 is unknown"),
        ("UPDATE agents SET settings = '{\"interval\": \"soon\"}'", "soon"),
        ("UPDATE memory_blocks SET body = x'01ffffffffff'", "memory block"),
        ("UPDATE commands SET body = '{}'", "missing field"),
    ] {
        let place = Place::new();
        {
            let store = place.open().unwrap();
            let row = create(&store, P1, "bot", at(1)).await;
            let commands = vec![command(1, P1, row.id, CommandState::Queued)];
            commit(&store, WriteSet { dedup: vec![(dedup("k"), at(1))], commands, ..WriteSet::default() }).await;
        }
        place.tamper(sql);
        let error = place.refusal();
        assert!(matches!(error, StoreError::Corrupt(_)), "{sql}: {error}");
        assert!(error.to_string().contains(hint), "{sql}: {error}");
    }
}

#[test]
fn a_file_that_is_no_database_is_told_so() {
    let place = Place::new();
    std::fs::write(place.file(), "hello ".repeat(1000)).unwrap();
    let error = place.refusal();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    let nowhere = SqliteStore::open(&place.file().join("deeper").join("x.db")).err().expect("no such directory");
    assert!(matches!(nowhere, StoreError::Unavailable(_)), "{nowhere}");
}

#[tokio::test]
async fn a_commit_that_fails_half_way_leaves_nothing() {
    let place = Place::new();
    let store = place.open().unwrap();
    let good = create(&store, P1, "good", at(1)).await;
    let beaten = changed(&good, |row| row.state.totals.heartbeats = 1);
    let homeless = Arc::new(AgentRow::new(AgentId(50), key(ProjectId(404), "homeless"), at(1)));
    let (_, transaction) = store.begin(LoadSet::default()).await.unwrap();
    let writes = WriteSet { agents: vec![beaten, homeless], dedup: vec![(dedup("k"), at(1))], ..WriteSet::default() };
    transaction.commit(writes).await.unwrap_err();
    assert_eq!(store.scan_agents(AgentId(0), 9).await.unwrap().iter().collect::<Vec<_>>(), [&good]);
    create(&store, P1, "next", at(1)).await;
    drop(store);
    let kept = place.open().unwrap().scan_agents(AgentId(0), 9).await.unwrap();
    assert_eq!((kept.len(), &kept[0]), (2, &good));
}

/// Commits numbered rows one by one; after each, `look` sees the files as a power switch would leave them.
async fn commits(n: usize, mut look: impl FnMut(&Place, usize)) {
    let place = Place::new();
    let store = place.open().unwrap();
    for i in 0..n {
        let row = create(&store, P1, &format!("bot {i}"), at(1)).await;
        let events = vec![event(P1, Some(row.id), 1, "happened")];
        commit(&store, WriteSet { events, dedup: vec![(dedup(&i.to_string()), at(1))], ..WriteSet::default() }).await;
        look(&place, i + 1);
    }
}

/// A copy of the files, the last `lost` bytes of the log missing.
fn copy(place: &Place, lost: u64) -> Place {
    let copy = Place(tempfile::tempdir().unwrap());
    std::fs::copy(place.file(), copy.file()).unwrap();
    let log = |place: &Place| place.file().with_extension("db-wal");
    std::fs::copy(log(place), log(&copy)).unwrap();
    let file = std::fs::File::options().write(true).open(log(&copy)).unwrap();
    file.set_len(file.metadata().unwrap().len().saturating_sub(lost)).unwrap();
    copy
}

/// How many agents, and how many events of theirs, a store opened on the copy has.
async fn left(copy: &Place) -> (usize, usize) {
    let store = copy.open().unwrap();
    let query = EventQuery { project: P1, agent: None, before: None, limit: 100 };
    let left = (store.scan_agents(AgentId(0), 100).await.unwrap().len(), store.events(query).await.unwrap().len());
    create(&store, P1, "after", at(1)).await;
    left
}

#[tokio::test]
async fn killed_at_any_moment_it_has_all_that_was_acknowledged() {
    let mut copies = Vec::new();
    commits(12, |place, n| copies.push((copy(place, 0), n))).await;
    for (copy, n) in copies {
        assert_eq!(left(&copy).await, (n, n));
    }
}

#[tokio::test]
async fn a_log_torn_at_its_end_loses_whole_commits_only() {
    let mut copies = Vec::new();
    commits(6, |place, n| {
        if n == 6 {
            copies.extend((0..12).map(|step| copy(place, 1 + step * 7777)));
        }
    })
    .await;
    let mut before = (6, 6);
    for copy in copies {
        let (agents, events) = left(&copy).await;
        assert!(agents == events || agents == events + 1, "{agents} agents, {events} events");
        assert!(agents <= before.0 && events <= before.1, "the more is torn off, the less is left");
        before = (agents, events);
    }
    assert!(before.0 < 6, "something was torn off");
}

/// A file system of 1 MiB, gone with the value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, and a word about it, where this user may not mount.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Program::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(dir.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(dir)),
            Ok(output) => skipped(String::from_utf8_lossy(&output.stderr).trim()),
            Err(error) => skipped(&error.to_string()),
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

fn skipped<T>(why: &str) -> Option<T> {
    println!("SKIPPED 1: the full disk needs a small tmpfs mount: {why}");
    None
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Program::new("umount").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking(), "umount");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_tears_nothing_and_is_forgotten_when_space_returns() {
    let Some(disk) = SmallDisk::mount() else { return };
    let (file, ballast) = (disk.path().join("pulsegate.db"), disk.path().join("ballast"));
    let store = SqliteStore::open(&file).unwrap();
    store.ensure_project("default").await.unwrap();
    std::fs::write(&ballast, vec![1; 400 << 10]).unwrap();
    let mut kept = Vec::new();
    let (full, lost) = loop {
        let name = format!("bot {}", kept.len());
        let (loaded, transaction) = store.begin(lookup(P1, &name, true)).await.unwrap();
        let mut row = AgentRow::new(loaded.agent_ids[&key(P1, &name)], key(P1, &name), at(0));
        row.state = Draw::from(kept.len() as u64).state();
        row.state.deadline = at(0);
        let row = Arc::new(row);
        let events = vec![event(P1, Some(row.id), 1, &"long ".repeat(200))];
        match transaction.commit(WriteSet { agents: vec![row.clone()], events, ..WriteSet::default() }).await {
            Ok(()) => kept.push(row),
            Err(error) => break (error, row),
        }
        assert!(kept.len() < 10_000, "the disk is never full");
    };
    assert!(matches!(full, StoreError::Unavailable(_)), "{full}");
    assert!(kept.len() > 10, "{}", kept.len());

    assert_eq!(store.scan_agents(AgentId(0), 10_000).await.unwrap(), kept, "reads keep working");
    assert_eq!(store.due_agents(at(0), 10_000).await.unwrap().len(), kept.len(), "nothing of the lost one shows");
    let query = EventQuery { project: P1, agent: None, before: None, limit: 10_000 };
    assert_eq!(store.events(query.clone()).await.unwrap().len(), kept.len());
    assert_eq!(store.agent(lost.id).await.unwrap(), None);

    std::fs::remove_file(&ballast).unwrap();
    kept.push(create(&store, P1, "after", at(0)).await);
    drop(store);
    let store = SqliteStore::open(&file).unwrap();
    assert_eq!(store.scan_agents(AgentId(0), 10_000).await.unwrap(), kept, "all that was acknowledged, once");
    assert_eq!(store.events(query).await.unwrap().len(), kept.len() - 1);
    drop(store);
}
