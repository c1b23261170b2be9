//! The thread that writes a queue's files, so that neither receivers nor senders wait for a disk.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::super::queue::{Queue, ToWrite};
use super::{Folder, Place, SEGMENT_BYTES, SYNC_EVERY};
use crate::clock::Stopwatch;
use crate::telemetry::ForwardMetrics;

/// After an error, the next attempt to write comes this much later.
const PAUSE: Duration = Duration::from_secs(1);
/// After so many failed attempts in a row, what is left at the end is given up.
const LAST_ATTEMPTS: u32 = 2;

/// Writes what the queue has until it is closed and empty.
pub fn run(name: &str, queue: &Arc<Queue>, mut folder: Folder, metrics: &ForwardMetrics) {
    let mut synced = Stopwatch::start();
    let mut failures = 0;
    loop {
        let work = queue.to_write(SYNC_EVERY);
        let last = work.last;
        let result = write(queue, &mut folder, work).and_then(|()| {
            compact(queue, &mut folder)?;
            if last || synced.elapsed() >= SYNC_EVERY {
                synced = Stopwatch::start();
                folder.sync()?;
            }
            Ok(())
        });
        match result {
            Ok(()) if last => return,
            Ok(()) if failures > 0 => {
                failures = 0;
                info!(destination = name, "the pass-through queue's files can be written again");
            }
            Ok(()) => {}
            Err(error) => {
                metrics.storage_error();
                failures += 1;
                if failures == 1 {
                    warn!(destination = name, %error, path = %folder.path().display(), "the pass-through queue's files cannot be written; bodies stay in memory while there is room");
                }
                if last && failures >= LAST_ATTEMPTS {
                    return;
                }
                std::thread::sleep(PAUSE);
            }
        }
    }
}

fn write(queue: &Queue, folder: &mut Folder, work: ToWrite) -> io::Result<()> {
    let mut failed = None;
    for (i, (seq, item)) in work.bodies.iter().enumerate() {
        match folder.append(*seq, item) {
            Ok(place) => queue.written(*seq, place),
            Err(error) => {
                queue.not_written(work.bodies[i..].iter().map(|(seq, _)| *seq));
                failed = Some(error);
                break;
            }
        }
    }
    for place in work.done {
        // One that is not noted is sent once more after a restart, no worse.
        if let Err(error) = folder.done_with(place) {
            failed = Some(error);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// A body that waits for long keeps its whole segment. When that wastes more than the queue may hold, the oldest ones
/// are written anew.
fn compact(queue: &Queue, folder: &mut Folder) -> io::Result<()> {
    while folder.waste() > queue.bytes_max().max(2 * SEGMENT_BYTES) {
        let Some(segment) = folder.oldest() else { return Ok(()) };
        let bodies: Vec<(u64, Place)> = queue.in_segment(segment);
        for (seq, place) in bodies {
            // What is damaged by now is found out by whoever sends it.
            let Some(item) = Folder::read(folder.path(), place)? else { continue };
            let to = folder.append(seq, &item)?;
            let old = if queue.moved(seq, place, to) { place } else { to };
            folder.done_with(old)?;
        }
        if folder.oldest() == Some(segment) {
            // Not empty after all: it holds what is being finished right now.
            return Ok(());
        }
    }
    Ok(())
}
