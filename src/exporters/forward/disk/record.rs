//! How a body is written in a queue's file, and how a file is read in which something may be damaged.
//!
//! A record is a head of 32 bytes, then the payload (what is known of the body, then the body itself). Numbers are
//! little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `PGFWD\x01\r\n`: the mark by which records are found again after damage; 1 is the format's version |
//! | 8 | number of the record |
//! | 4 | length of the payload |
//! | 4 | how much of it is what is known of the body |
//! | 4 | CRC-32 of the payload |
//! | 4 | CRC-32 of the 28 bytes before |

use std::ops::Range;

/// What every record begins with.
pub const MARK: [u8; 8] = *b"PGFWD\x01\r\n";
/// The length of a head, in bytes.
pub const HEAD_BYTES: usize = 32;
/// The largest payload, in bytes: above what any receiver takes.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// Where a record is in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub seq: u64,
    /// Where its head begins.
    pub offset: u64,
    /// The length of its payload.
    pub length: usize,
    /// How much of the payload is what is known of the body.
    pub meta: usize,
}

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The records, in their order.
    pub records: Vec<Found>,
    /// What is none, each as long as it goes on.
    pub damaged: Vec<Range<usize>>,
}

/// The head of a record with this payload, which is in two parts.
pub fn head(seq: u64, meta: &[u8], body: &[u8]) -> [u8; HEAD_BYTES] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(meta);
    crc.update(body);
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(&MARK);
    head[8..16].copy_from_slice(&seq.to_le_bytes());
    // Both fit: a payload is at most PAYLOAD_BYTES_MAX.
    head[16..20].copy_from_slice(&((meta.len() + body.len()) as u32).to_le_bytes());
    head[20..24].copy_from_slice(&(meta.len() as u32).to_le_bytes());
    head[24..28].copy_from_slice(&crc.finalize().to_le_bytes());
    let crc = crc32fast::hash(&head[..28]);
    head[28..].copy_from_slice(&crc.to_le_bytes());
    head
}

/// Reads all records of a file. What is damaged costs the record it is in and no other.
pub fn scan(file: &[u8]) -> Scan {
    let mut scan = Scan::default();
    let mut at = 0;
    while at < file.len() {
        match record(file, at) {
            Read::Whole(found) => {
                at += HEAD_BYTES + found.length;
                scan.records.push(found);
            }
            Read::Damaged(end) => {
                let end = end.unwrap_or_else(|| next_head(file, at + 1));
                match scan.damaged.last_mut() {
                    Some(last) if last.end == at => last.end = end,
                    _ => scan.damaged.push(at..end),
                }
                at = end;
            }
        }
    }
    scan
}

/// The payload of the record at `offset` of what was read from there on; `None` when it is damaged.
pub fn payload(record_bytes: &[u8], expected: Found) -> Option<&[u8]> {
    match record(record_bytes, 0) {
        Read::Whole(found) if Found { offset: expected.offset, ..found } == expected => {
            record_bytes.get(HEAD_BYTES..HEAD_BYTES + found.length)
        }
        _ => None,
    }
}

enum Read {
    Whole(Found),
    /// Where the damage ends, if the head tells.
    Damaged(Option<usize>),
}

fn record(file: &[u8], at: usize) -> Read {
    let Some(found) = file.get(at..at + HEAD_BYTES).and_then(|head| head_at(head, at)) else {
        return Read::Damaged(None);
    };
    let start = at + HEAD_BYTES;
    let Some(payload) = file.get(start..start + found.length) else {
        // The rest was never written; or the file was cut, then nothing comes after.
        return Read::Damaged(Some(file.len()));
    };
    if crc32fast::hash(payload).to_le_bytes()[..] == file[at + 24..at + 28] {
        Read::Whole(found)
    } else {
        Read::Damaged(Some(start + found.length))
    }
}

fn head_at(head: &[u8], offset: usize) -> Option<Found> {
    let number = |range: Range<usize>| head[range].iter().rev().fold(0_u64, |n, b| n << 8 | u64::from(*b));
    if head[..8] != MARK || u64::from(crc32fast::hash(&head[..28])) != number(28..32) {
        return None;
    }
    let (length, meta) = (number(16..20) as usize, number(20..24) as usize);
    let found = Found { seq: number(8..16), offset: offset as u64, length, meta };
    (length <= PAYLOAD_BYTES_MAX && meta <= length).then_some(found)
}

/// Where the next good head is, from `from` on; else the end.
fn next_head(file: &[u8], from: usize) -> usize {
    let is_head = |at: &usize| file.get(*at..at + HEAD_BYTES).is_some_and(|head| head_at(head, *at).is_some());
    // Looking for one byte first is much faster than comparing eight everywhere.
    let marks = (from..file.len()).filter(|at| file[*at] == MARK[0]);
    marks.into_iter().find(is_head).unwrap_or(file.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(bodies: &[Vec<u8>]) -> (Vec<u8>, Vec<Found>) {
        let mut file = Vec::new();
        let mut found = Vec::new();
        for (seq, body) in bodies.iter().enumerate() {
            found.push(Found { seq: seq as u64, offset: file.len() as u64, length: 3 + body.len(), meta: 3 });
            file.extend(head(seq as u64, b"abc", body));
            file.extend(b"abc");
            file.extend(body);
        }
        (file, found)
    }

    fn bodies() -> impl Strategy<Value = Vec<Vec<u8>>> {
        // Some look like records themselves.
        let body = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            Just(MARK.repeat(5)),
            Just(b"PPGFWD\x01\r\n\0".to_vec()),
        ];
        prop::collection::vec(body, 1..8)
    }

    proptest! {
        #[test]
        fn what_is_whole_is_found(bodies in bodies()) {
            let (file, found) = file(&bodies);
            prop_assert_eq!(scan(&file), Scan { records: found, damaged: vec![] });
        }

        #[test]
        fn one_flipped_bit_costs_one_record(bodies in bodies(), place in any::<prop::sample::Index>(), bit in 0..8) {
            let (mut file, found) = file(&bodies);
            let at = place.index(file.len());
            file[at] ^= 1_u8 << bit;
            let scanned = scan(&file);
            let hit = found.iter().rposition(|f| f.offset as usize <= at).unwrap();
            let others: Vec<_> = found.iter().enumerate().filter(|(i, _)| *i != hit).map(|(_, f)| *f).collect();
            prop_assert_eq!(scanned.records, others);
            prop_assert_eq!(scanned.damaged.len(), 1);
        }

        #[test]
        fn a_cut_costs_only_what_was_cut(bodies in bodies(), place in any::<prop::sample::Index>()) {
            let (file, found) = file(&bodies);
            let at = place.index(file.len());
            let scanned = scan(&file[..at]);
            let whole: Vec<_> = found.into_iter().filter(|f| f.offset as usize + HEAD_BYTES + f.length <= at).collect();
            prop_assert_eq!(scanned.records.len(), whole.len());
            prop_assert_eq!(scanned.records, whole);
            prop_assert!(scanned.damaged.len() <= 1);
        }

        #[test]
        fn anything_is_read_to_its_end(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let scanned = scan(&bytes);
            let covered: usize = scanned.damaged.iter().map(ExactSizeIterator::len).sum::<usize>()
                + scanned.records.iter().map(|f| HEAD_BYTES + f.length).sum::<usize>();
            prop_assert_eq!(covered, bytes.len());
        }
    }
}
