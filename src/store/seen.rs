//! The keys of what has had its effect, in segments of a fixed size: a single large table would stall everything while it
//! grows, and forgetting by age would look at every key.

use std::collections::VecDeque;

use crate::model::{DedupKey, QuickMap, Timestamp};

/// Keys in a segment.
const SEGMENT_KEYS: usize = 65_536;
/// How many segments are remembered: some two million keys. Beyond it the oldest ones are forgotten, so that a flood of
/// requests cannot take all memory.
const SEGMENTS_MAX: usize = 32;

/// Keys seen, and when.
#[derive(Debug, Default)]
pub struct Seen {
    /// The oldest first.
    segments: VecDeque<Segment>,
    /// What was seen before this time is forgotten.
    from: Timestamp,
}

#[derive(Debug, Default)]
struct Segment {
    keys: QuickMap<DedupKey, Timestamp>,
    newest: Timestamp,
}

impl Seen {
    /// Whether `key` is remembered.
    pub fn contains(&self, key: &DedupKey) -> bool {
        self.segments.iter().rev().any(|segment| segment.keys.get(key).is_some_and(|at| *at >= self.from))
    }

    /// Remembers `key`.
    pub fn insert(&mut self, key: DedupKey, at: Timestamp) {
        if self.segments.back().is_none_or(|segment| segment.keys.len() >= SEGMENT_KEYS) {
            self.segments.push_back(Segment::default());
            if self.segments.len() > SEGMENTS_MAX {
                self.segments.pop_front();
            }
        }
        if let Some(segment) = self.segments.back_mut() {
            segment.newest = segment.newest.max(at);
            segment.keys.insert(key, at);
        }
    }

    /// Forgets what was seen before `before`.
    pub fn forget(&mut self, before: Timestamp) {
        self.from = self.from.max(before);
        self.segments.retain(|segment| segment.newest >= before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bounded_in_number_and_in_age() {
        let mut seen = Seen::default();
        let many = SEGMENT_KEYS * SEGMENTS_MAX;
        for n in 0..many + 1 {
            seen.insert(DedupKey(n as u128), Timestamp(n as i64));
        }
        assert!(seen.segments.len() <= SEGMENTS_MAX);
        assert!(!seen.contains(&DedupKey(0)), "the oldest segment made room");
        assert!(seen.contains(&DedupKey(SEGMENT_KEYS as u128)) && seen.contains(&DedupKey(many as u128)));
        seen.forget(Timestamp(many as i64 - 1));
        assert!(!seen.contains(&DedupKey(many as u128 - 2)) && seen.contains(&DedupKey(many as u128 - 1)));
        assert_eq!(seen.segments.len(), 2);
        seen.forget(Timestamp::MAX);
        assert!(seen.segments.is_empty());
    }
}
