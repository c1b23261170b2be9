//! Attribute → fact, found without hashing the whole key: most attributes of a span are none of ours, and there are a
//! dozen or two on each.

use super::{Fact, TABLES, same};

/// Places for keys; a power of two, some ten times as many as there are keys, so that few share one.
const PLACES: usize = 2048;

/// What an attribute tells, and how good a name for it this is: the lowest rank wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::receivers::otlp) struct Alias {
    pub(super) fact: Fact,
    pub(super) rank: u16,
}

/// The tables, ready to be looked up in.
pub(super) struct Index {
    /// Number of the entry, from 1; 0 is empty. A key stands at its place or in the next one that was free.
    places: [u16; PLACES],
    entries: Vec<(&'static str, Alias)>,
}

impl Index {
    pub(super) fn new() -> Self {
        let mut index = Self { places: [0; PLACES], entries: Vec::new() };
        for (rank, (key, fact)) in TABLES.iter().copied().flatten().enumerate() {
            index.add(key, Alias { fact: *fact, rank: u16::try_from(rank).unwrap_or(u16::MAX) });
        }
        index
    }

    fn add(&mut self, key: &'static str, alias: Alias) {
        // At most half of the places may be taken, or looking for what is not there would take long (or for ever).
        if self.get(key.as_bytes()).is_some() || self.entries.len() >= PLACES / 2 {
            return;
        }
        self.entries.push((key, alias));
        let mut place = place(key.as_bytes());
        while self.places[place] != 0 {
            place = (place + 1) % PLACES;
        }
        self.places[place] = u16::try_from(self.entries.len()).unwrap_or(0);
    }

    /// What the attribute `key` tells, if anything.
    #[inline(always)]
    pub(super) fn get(&self, key: &[u8]) -> Option<Alias> {
        let mut place = place(key);
        loop {
            let (name, alias) = self.entries.get(usize::from(self.places[place]).checked_sub(1)?)?;
            if same(name.as_bytes(), key) {
                return Some(*alias);
            }
            place = (place + 1) % PLACES;
        }
    }
}

/// Mixes the length with the first and the last eight bytes: the names differ in them, mostly.
#[inline(always)]
fn place(key: &[u8]) -> usize {
    let (first, last) = match (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => (key.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)), 0),
    };
    let mixed = (first ^ last.rotate_left(29) ^ (key.len() as u64) << 57).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    // The high bits are the well mixed ones.
    (mixed >> (u64::BITS - PLACES.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_with_its_fact_and_no_other() {
        let index = Index::new();
        let names: Vec<_> = TABLES.iter().copied().flatten().collect();
        assert_eq!(index.entries.len(), names.len(), "a name stands twice in the tables");
        for (rank, (key, fact)) in names.iter().enumerate() {
            assert_eq!(index.get(key.as_bytes()), Some(Alias { fact: *fact, rank: rank as u16 }), "{key}");
            for other in [format!("{key}x"), format!("x{key}"), key[1..].to_owned(), key.to_uppercase()] {
                let known = names.iter().any(|(name, _)| *name == other);
                assert!(known || index.get(other.as_bytes()).is_none(), "{other}");
            }
        }
        assert_eq!(index.get(b""), None);
    }

    /// Looking up stays cheap: a key is found near its place.
    #[test]
    fn few_names_share_a_place() {
        let index = Index::new();
        let shared = index.entries.iter().filter(|(key, _)| {
            let own = usize::from(index.places[place(key.as_bytes())]);
            index.entries[own - 1].0 != *key
        });
        assert!(shared.count() <= index.entries.len() / 8);
    }
}
