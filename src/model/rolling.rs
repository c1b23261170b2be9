//! A sum over a rolling window, in buckets of fixed width.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// Amounts by bucket of time, newest last. Width and number of buckets are the caller's, and always the same ones for
/// the same window. Empty until something is added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rolling {
    /// The number of the newest bucket: time divided by width.
    newest: i64,
    /// The buckets up to the newest, at most as many as the window has.
    buckets: Vec<u64>,
}

/// A window: how many buckets, and how wide.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// How many buckets.
    pub buckets: usize,
    /// How wide each is.
    pub width: Duration,
}

impl Window {
    fn number(self, at: Timestamp) -> i64 {
        at.0.div_euclid(self.width.as_micros() as i64)
    }

    fn start(self, number: i64) -> Timestamp {
        Timestamp(number.saturating_mul(self.width.as_micros() as i64))
    }
}

impl Rolling {
    /// Adds `amount` at `at`. Times before the newest bucket count in the newest. Nothing added takes no room.
    pub fn add(&mut self, at: Timestamp, amount: u64, window: Window) {
        if amount == 0 {
            return;
        }
        let number = window.number(at);
        if self.buckets.is_empty() {
            self.newest = number;
            self.buckets.push(0);
        }
        let ahead = usize::try_from(number.saturating_sub(self.newest)).unwrap_or(0);
        if ahead >= window.buckets {
            self.buckets.clear();
            self.buckets.push(0);
        } else {
            self.buckets.resize(self.buckets.len() + ahead, 0);
            let surplus = self.buckets.len().saturating_sub(window.buckets);
            self.buckets.drain(..surplus);
        }
        self.newest = self.newest.max(number);
        if let Some(last) = self.buckets.last_mut() {
            *last = last.saturating_add(amount);
        }
    }

    /// Adds what another one holds of the same window.
    pub fn absorb(&mut self, other: &Self, window: Window) {
        let mut parts: Vec<(i64, u64)> = Vec::new();
        for rolling in [&*self, other] {
            let numbers = (0..rolling.buckets.len() as i64).map(|back| rolling.newest.saturating_sub(back));
            parts.extend(numbers.zip(rolling.buckets.iter().rev().copied()));
        }
        parts.sort_unstable();
        *self = Self::default();
        for (number, amount) in parts {
            self.add(window.start(number), amount, window);
        }
    }

    /// The sum over the window that ends at `now`.
    pub fn sum(&self, now: Timestamp, window: Window) -> u64 {
        let gone = usize::try_from(window.number(now).saturating_sub(self.newest)).unwrap_or(0);
        let kept = window.buckets.saturating_sub(gone);
        self.buckets.iter().rev().take(kept).fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// When the sum next falls by itself; `None` when nothing is in the window.
    pub fn next_fall(&self, now: Timestamp, window: Window) -> Option<Timestamp> {
        let oldest = self.newest - (self.buckets.len() as i64 - 1);
        let first = self
            .buckets
            .iter()
            .zip(oldest..)
            .find(|(n, number)| **n > 0 && window.start(number.saturating_add(window.buckets as i64)) > now);
        first.map(|(_, number)| window.start(number.saturating_add(window.buckets as i64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Window = Window { buckets: 60, width: Duration::from_secs(1) };
    const fn t(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn the_window_is_open_at_its_old_end() {
        let mut r = Rolling::default();
        for secs in (300..=350).step_by(5) {
            r.add(t(secs), 1, MINUTE);
        }
        assert_eq!([350, 359, 360, 375, 409, 410].map(|s| r.sum(t(s), MINUTE)), [11, 11, 10, 7, 1, 0]);
        assert_eq!(r.next_fall(t(350), MINUTE), Some(t(360)));
        assert_eq!(r.next_fall(t(360), MINUTE), Some(t(365)));
        assert_eq!(r.next_fall(t(410), MINUTE), None);
    }

    #[test]
    fn two_windows_become_one() {
        let filled = |at: &[i64]| {
            let mut r = Rolling::default();
            at.iter().for_each(|secs| r.add(t(*secs), 1, MINUTE));
            r
        };
        for (a, b) in
            [(&[300, 350][..], &[310, 355][..]), (&[], &[301]), (&[301], &[]), (&[100], &[355]), (&[355], &[100])]
        {
            let mut joined = filled(a);
            joined.absorb(&filled(b), MINUTE);
            let mut all = [a, b].concat();
            all.sort_unstable();
            for now in [355, 365, 400] {
                assert_eq!(joined.sum(t(now), MINUTE), filled(&all).sum(t(now), MINUTE), "{a:?} {b:?} at {now}");
            }
        }
    }

    #[test]
    fn gaps_clocks_that_step_back_and_far_jumps_are_fine() {
        let mut r = Rolling::default();
        assert_eq!((r.sum(t(9), MINUTE), r.next_fall(t(9), MINUTE)), (0, None));
        r.add(t(100), 2, MINUTE);
        r.add(t(90), 3, MINUTE);
        assert_eq!(r.sum(t(100), MINUTE), 5);
        r.add(t(158), 1, MINUTE);
        assert_eq!(r.sum(t(158), MINUTE), 6);
        r.add(t(100_000), 1, MINUTE);
        assert_eq!(r.sum(t(100_000), MINUTE), 1);
        r.add(Timestamp::MAX, u64::MAX, MINUTE);
        r.add(Timestamp(i64::MIN), u64::MAX, MINUTE);
        assert_eq!(r.sum(Timestamp::MAX, MINUTE), u64::MAX);
    }
}
