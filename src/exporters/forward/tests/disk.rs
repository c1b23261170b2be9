//! Queues on disk: what is in them outlives the process, whatever happens to it and to the files.

use std::path::PathBuf;

use super::super::disk::Folder;
use super::*;

fn dead(folder: &Path) -> Rig {
    Rig::start(on_disk(folder), Script::new(|_| (MS, later(None))))
}

fn alive(folder: &Path) -> Rig {
    Rig::start(on_disk(folder), Script::new(|_| (MS, taken())))
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("v1")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|p| p.extension().is_some_and(|e| e == ending)).collect();
    files.sort();
    files
}

fn size(folder: &Path) -> u64 {
    files(folder, "seg").iter().map(|p| p.metadata().map_or(0, |m| m.len())).sum()
}

/// Fills a folder with bodies and ends as `kill -9` would: nothing is closed, nothing is said.
async fn filled(folder: &Path, count: u32) {
    let metrics = ProcessMetrics::new().forward("vendor");
    let (mut written, _) = Folder::open(folder).unwrap();
    for (seq, text) in numbers(0..count).enumerate() {
        written.append(seq as u64, &item(text)).unwrap();
    }
    drop((written, metrics));
}

async fn drained(folder: &Path) -> (Vec<String>, (u64, u64, u64, u64), u64) {
    let rig = alive(folder);
    until(|| rig.metrics.account().3 == 0).await;
    let mut seen = rig.seen();
    seen.sort();
    let told = (rig.metrics.account(), rig.metrics.troubles().2);
    rig.stop().await;
    (seen, told.0, told.1)
}

/// DUR-6: retry is off, the destination is down, the gateway is stopped.
#[tokio::test]
async fn what_waits_at_the_stop_is_there_after_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = on_disk(directory.path());
    settings.retry.enabled = false;
    settings.queue.consumers = 1;
    let rig = Rig::start(settings, Script::new(|_| (MS, later(None))));
    rig.push(numbers(0..100));
    // One was tried, and given up as configured; all others wait for the end of the pause.
    until(|| rig.metrics.account().2 == 1).await;
    rig.stop().await;
    let (seen, account, damaged) = drained(directory.path()).await;
    assert_eq!((seen.len(), account, damaged), (99, (99, 99, 0, 0), 0));
    assert_eq!(drained(directory.path()).await.0, Vec::<String>::new(), "what was sent is not sent again");
}

#[tokio::test]
async fn what_was_written_outlives_an_end_without_warning() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 500).await;
    let (seen, account, damaged) = drained(directory.path()).await;
    assert_eq!(seen, numbers(0..500).collect::<Vec<_>>());
    assert_eq!((account, damaged), ((500, 500, 0, 0), 0));
    assert_eq!(files(directory.path(), "seg"), Vec::<PathBuf>::new(), "what is done leaves the disk");
}

/// DUR-5: every byte of the files, one after the other, is damaged or the last one.
#[tokio::test]
async fn damage_costs_the_record_it_is_in_and_is_set_aside() {
    let pristine = tempfile::tempdir().unwrap();
    filled(pristine.path(), 6).await;
    let segment = files(pristine.path(), "seg").remove(0);
    let whole = std::fs::read(&segment).unwrap();
    let record = whole.len() / 6;
    for at in (0..whole.len()).step_by(7) {
        let damaged = tempfile::tempdir().unwrap();
        let to = damaged.path().join("v1").join(segment.file_name().unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&to, &bytes).unwrap();
        let (_, restored) = Folder::open(damaged.path()).unwrap();
        let left: Vec<u64> = restored.bodies.iter().map(|(seq, ..)| *seq).collect();
        let others: Vec<u64> = (0..6).filter(|seq| *seq != (at / record) as u64).collect();
        assert_eq!((left, restored.damaged), (others, 1), "bit at {at}");
        let aside = std::fs::read_dir(damaged.path().join("v1/corrupt")).unwrap().count();
        assert_eq!(aside, 1);

        std::fs::write(&to, &whole[..at]).unwrap();
        let cut = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(cut.path().join("v1")).unwrap();
        std::fs::rename(&to, cut.path().join("v1").join(to.file_name().unwrap())).unwrap();
        let (_, restored) = Folder::open(cut.path()).unwrap();
        assert_eq!(restored.bodies.len(), at / record, "cut at {at}");
        assert_eq!(restored.damaged, usize::from(at % record != 0));
    }
}

#[tokio::test]
async fn damage_is_counted_and_everything_else_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 100).await;
    let segment = files(directory.path(), "seg").remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&segment, &bytes).unwrap();
    let (seen, account, damaged) = drained(directory.path()).await;
    assert_eq!((seen.len(), account, damaged), (99, (99, 99, 0, 0), 1));
}

#[tokio::test]
async fn a_damaged_list_of_what_is_done_sends_something_twice_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (mut folder, _) = Folder::open(directory.path()).unwrap();
    let places: Vec<_> =
        numbers(0..10).enumerate().map(|(seq, text)| folder.append(seq as u64, &item(text)).unwrap()).collect();
    places[..5].iter().for_each(|place| folder.done_with(*place).unwrap());
    drop(folder);
    let done = files(directory.path(), "done").remove(0);
    let mut bytes = std::fs::read(&done).unwrap();
    bytes[13] ^= 1;
    // And the last entry was written in half.
    bytes.truncate(bytes.len() - 4);
    std::fs::write(&done, &bytes).unwrap();
    let (seen, ..) = drained(directory.path()).await;
    let expected: Vec<String> = [1, 4].into_iter().chain(5..10).flat_map(|n| numbers(n..n + 1)).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_second_gateway_does_not_get_the_folder() {
    let directory = tempfile::tempdir().unwrap();
    let rig = alive(directory.path());
    let error = open(&on_disk(directory.path()), &rig.metrics).err().unwrap();
    assert!(error.contains("another process uses it"), "{error}");
    rig.stop().await;
}

/// One body that is never taken keeps its segment; the disk must not fill with what is done around it.
#[tokio::test]
async fn what_is_done_does_not_stay_for_the_sake_of_one_that_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = on_disk(directory.path());
    settings.queue.bytes_max = 8 << 20;
    settings.retry.initial_interval = 10 * MS;
    settings.retry.max_interval = 10 * MS;
    let script =
        Script::new(|item| (Duration::ZERO, if item.body.starts_with(b"stuck") { later(None) } else { taken() }));
    let rig = Rig::start(settings, script);
    rig.push(["stuck".to_owned()]);
    let mut largest = 0;
    for _ in 0..60 {
        // 60 MiB in all.
        rig.push((0..4).map(|_| "x".repeat(256 << 10)));
        until(|| rig.metrics.account().3 <= 1).await;
        largest = largest.max(size(directory.path()));
    }
    assert!(largest <= 50 << 20, "{largest} bytes on disk");
    rig.adds_up();
    rig.stop().await;
}

#[tokio::test]
async fn more_than_memory_holds_is_read_back_from_disk_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let rig = dead(directory.path());
    let bodies: Vec<String> = (0..30).map(|n| format!("{n:03}").repeat(350_000)).collect();
    for body in &bodies {
        rig.push([body.clone()]);
        tokio::time::sleep(20 * MS).await;
    }
    until(|| size(directory.path()) > 30_000_000).await;
    rig.stop().await;
    let (seen, account, _) = drained(directory.path()).await;
    assert_eq!(account, (30, 30, 0, 0));
    assert!(seen == bodies, "unchanged");
}
