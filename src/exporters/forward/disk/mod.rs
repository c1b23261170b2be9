//! A queue's files: segments of records, and beside each a list of those that are done.
//!
//! A segment is only ever appended to, and removed when all of its records are done. A new one is begun at every start
//! and when the last one is full. What is damaged is set aside and counted; nothing has to be deleted by hand.
//!
//! Writing survives the end of the process at once (the system has it), and a loss of power after [`SYNC_EVERY`].

pub mod record;
mod writer;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use super::body::{Item, Meta};
use record::{Found, HEAD_BYTES};

pub use writer::run;

/// What is written is given to the device this often.
pub const SYNC_EVERY: Duration = Duration::from_secs(1);
/// A segment is full with so many bytes; the last record may go beyond.
const SEGMENT_BYTES: u64 = 16 << 20;
/// Of what is damaged, no more than this is kept, in bytes: enough to look at, too little to fill a disk.
const ASIDE_BYTES_MAX: u64 = 64 << 20;
/// One entry of the list of what is done: the record's number and its CRC-32.
const DONE_BYTES: usize = 12;
/// The folder's format. Another one stays as it is beside this one.
const VERSION: &str = "v1";

/// Where a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    segment: u64,
    found: Found,
}

/// What was found at the start.
#[derive(Debug, Default)]
pub struct Restored {
    /// The bodies that are not done, in their order: number, place, and what each weighs in the queue.
    pub bodies: Vec<(u64, Place, usize)>,
    /// Damaged places, set aside.
    pub damaged: usize,
    /// The first number that is free.
    pub next: u64,
}

/// The files.
pub struct Folder {
    path: PathBuf,
    segments: BTreeMap<u64, Segment>,
    /// The highest number a segment ever had here.
    last: u64,
    /// The segment that is written, if there is one already.
    tail: Option<(u64, File)>,
    dirty: bool,
    /// Held as long as the folder is in use.
    _lock: File,
}

struct Segment {
    bytes: u64,
    /// How many of its records are not done.
    live: usize,
    live_bytes: u64,
    done: Option<File>,
}

impl Folder {
    /// Opens or makes the folder and reads what is there. The error says that it cannot be used; another process may
    /// have it.
    pub fn open(path: &Path) -> io::Result<(Self, Restored)> {
        let path = path.join(VERSION);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let lock = open(&path.join("lock"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::new(io::ErrorKind::ResourceBusy, "another process uses it"))?;
        let mut folder = Self { path, segments: BTreeMap::new(), last: 0, tail: None, dirty: false, _lock: lock };
        let restored = folder.restore()?;
        Ok((folder, restored))
    }

    /// Where the files are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn restore(&mut self) -> io::Result<Restored> {
        let mut restored = Restored::default();
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            names.extend(name.to_str().and_then(|n| n.strip_suffix(".seg")).and_then(|n| n.parse::<u64>().ok()));
        }
        names.sort_unstable();
        for segment in names {
            self.last = segment;
            match std::fs::read(self.segment(segment)) {
                Ok(file) => self.restore_segment(segment, &file, &mut restored),
                Err(error) => {
                    tracing::warn!(%error, path = %self.segment(segment).display(), "a queue's file cannot be read");
                    restored.damaged += 1;
                }
            }
        }
        // Records move to later segments; the end may have come before the first copy was done with.
        restored.bodies.sort_unstable_by_key(|(seq, place, _)| (*seq, place.segment));
        let mut copies = Vec::new();
        restored.bodies.dedup_by(|(seq, place, _), (before, ..)| {
            let again = seq == before;
            copies.extend(again.then_some(*place));
            again
        });
        for copy in copies {
            self.done_with(copy)?;
        }
        Ok(restored)
    }

    fn restore_segment(&mut self, segment: u64, file: &[u8], restored: &mut Restored) {
        let scan = record::scan(file);
        for damaged in &scan.damaged {
            restored.damaged += 1;
            self.set_aside(&format!("{segment:020}-{}", damaged.start), &file[damaged.clone()]);
        }
        let done = read_done(&self.done(segment));
        let (mut live, mut live_bytes) = (0, 0);
        for found in scan.records {
            restored.next = restored.next.max(found.seq + 1);
            if done.binary_search(&found.seq).is_ok() {
                continue;
            }
            let start = found.offset as usize + HEAD_BYTES;
            match Meta::from_bytes(&file[start..start + found.meta]) {
                Some(meta) => {
                    live += 1;
                    live_bytes += (HEAD_BYTES + found.length) as u64;
                    let weight = meta.weight(found.length - found.meta);
                    restored.bodies.push((found.seq, Place { segment, found }, weight));
                }
                // Whole, but not ours: as good as damaged.
                None => restored.damaged += 1,
            }
        }
        self.segments.insert(segment, Segment { bytes: file.len() as u64, live, live_bytes, done: None });
        if live == 0 {
            self.remove(segment);
        }
    }

    /// Keeps what is damaged for whoever wants to look at it. That it cannot be kept is no reason not to start.
    fn set_aside(&self, name: &str, bytes: &[u8]) {
        let aside = self.path.join("corrupt");
        let kept: u64 = std::fs::read_dir(&aside)
            .map(|entries| entries.flatten().filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum())
            .unwrap_or(0);
        if kept + bytes.len() as u64 <= ASIDE_BYTES_MAX {
            let write = || {
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&aside)?;
                open(&aside.join(name))?.write_all(bytes)
            };
            if let Err(error) = write() {
                tracing::warn!(%error, path = %aside.display(), "damaged records cannot be set aside");
            }
        }
    }

    /// Writes a body under its number.
    pub fn append(&mut self, seq: u64, item: &Item) -> io::Result<Place> {
        let meta = item.meta.to_bytes();
        let head = record::head(seq, &meta, &item.body);
        let full = |(id, _): &(u64, File)| self.segments.get(id).is_none_or(|s| s.bytes >= SEGMENT_BYTES);
        if self.tail.as_ref().is_some_and(full) {
            self.sync()?;
            self.tail = None;
        }
        let (id, file) = match &mut self.tail {
            Some(tail) => tail,
            None => {
                let id = self.last + 1;
                let file = open(&self.segment(id))?;
                self.last = id;
                self.segments.insert(id, Segment { bytes: 0, live: 0, live_bytes: 0, done: None });
                File::open(&self.path)?.sync_all()?;
                self.tail.insert((id, file))
            }
        };
        let Some(segment) = self.segments.get_mut(id) else { return Err(io::ErrorKind::NotFound.into()) };
        let found = Found { seq, offset: segment.bytes, length: meta.len() + item.body.len(), meta: meta.len() };
        if let Err(error) = write_all(file, &head, &meta, &item.body) {
            // Half a record must not be followed by others; where it cannot be taken back, a new segment is begun.
            if file.set_len(segment.bytes).and_then(|()| file.seek(SeekFrom::Start(segment.bytes))).is_err() {
                self.tail = None;
            }
            return Err(error);
        }
        let length = (HEAD_BYTES + found.length) as u64;
        segment.bytes += length;
        segment.live += 1;
        segment.live_bytes += length;
        self.dirty = true;
        Ok(Place { segment: *id, found })
    }

    /// Reads a body; `None` when it is damaged by now.
    pub fn read(path: &Path, place: Place) -> io::Result<Option<Item>> {
        let file = File::open(path.join(format!("{:020}.seg", place.segment)))?;
        let mut bytes = vec![0; HEAD_BYTES + place.found.length];
        match file.read_exact_at(&mut bytes, place.found.offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let bytes = Bytes::from(bytes);
        let Some(payload) = record::payload(&bytes, place.found) else { return Ok(None) };
        let (meta, body) = payload.split_at(place.found.meta);
        Ok(Meta::from_bytes(meta).map(|meta| Item { meta: meta.into(), body: bytes.slice_ref(body) }))
    }

    /// Notes that a body is done, so that it is not sent again after a restart.
    pub fn done_with(&mut self, place: Place) -> io::Result<()> {
        let path = self.done(place.segment);
        let Some(segment) = self.segments.get_mut(&place.segment) else { return Ok(()) };
        segment.live = segment.live.saturating_sub(1);
        segment.live_bytes = segment.live_bytes.saturating_sub((HEAD_BYTES + place.found.length) as u64);
        let is_tail = self.tail.as_ref().is_some_and(|(id, _)| *id == place.segment);
        if segment.live == 0 && (!is_tail || segment.bytes >= SEGMENT_BYTES) {
            // (A tail that is not full is written on.)
            self.remove(place.segment);
            return Ok(());
        }
        let file = match &mut segment.done {
            Some(file) => file,
            none => none.insert(open_done(&path)?),
        };
        let number = place.found.seq.to_le_bytes();
        let mut entry = [0; DONE_BYTES];
        entry[..8].copy_from_slice(&number);
        entry[8..].copy_from_slice(&crc32fast::hash(&number).to_le_bytes());
        self.dirty = true;
        file.write_all(&entry)
    }

    /// Bytes of files beyond what is not done.
    pub fn waste(&self) -> u64 {
        self.segments.values().map(|s| s.bytes - s.live_bytes.min(s.bytes)).sum()
    }

    /// The oldest segment, unless it is the one that is written.
    pub fn oldest(&self) -> Option<u64> {
        let (oldest, _) = self.segments.first_key_value()?;
        self.tail.as_ref().is_none_or(|(id, _)| id != oldest).then_some(*oldest)
    }

    /// Whether `place` is in `segment`.
    pub const fn is_in(place: Place, segment: u64) -> bool {
        place.segment == segment
    }

    /// Gives what was written to the device.
    pub fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.dirty) {
            let tail = self.tail.iter().map(|(_, file)| file);
            let done = self.segments.values().filter_map(|s| s.done.as_ref());
            for file in tail.chain(done) {
                file.sync_data()?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, segment: u64) {
        self.segments.remove(&segment);
        self.tail.take_if(|(id, _)| *id == segment);
        // The segment goes first: the list alone says nothing, while a segment without it would be sent again.
        for path in [self.segment(segment), self.done(segment)] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, path = %path.display(), "a queue's file cannot be removed");
                }
                _ => {}
            }
        }
    }

    fn segment(&self, id: u64) -> PathBuf {
        self.path.join(format!("{id:020}.seg"))
    }

    fn done(&self, id: u64) -> PathBuf {
        self.path.join(format!("{id:020}.done"))
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Opens a list for appending. An entry that was written in half is cut off, or those after it would be misread.
fn open_done(path: &Path) -> io::Result<File> {
    let mut file = open(path)?;
    let bytes = file.metadata()?.len();
    file.set_len(bytes - bytes % DONE_BYTES as u64)?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

/// The numbers of what is done, sorted. A damaged entry is as if it were not there: its body is sent once more.
fn read_done(path: &Path) -> Vec<u64> {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let _ = file.read_to_end(&mut bytes);
    }
    let entries = bytes.chunks_exact(DONE_BYTES).filter(|e| crc32fast::hash(&e[..8]).to_le_bytes()[..] == e[8..]);
    let mut done: Vec<u64> = entries.map(|e| e[..8].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))).collect();
    done.sort_unstable();
    done
}

fn write_all(file: &mut File, head: &[u8], meta: &[u8], body: &[u8]) -> io::Result<()> {
    let mut parts = [IoSlice::new(head), IoSlice::new(meta), IoSlice::new(body)];
    let mut rest = &mut parts[..];
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut rest, n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        // Empty parts are never advanced over.
        while rest.first().is_some_and(|part| part.is_empty()) {
            rest = &mut rest[1..];
        }
    }
    Ok(())
}
