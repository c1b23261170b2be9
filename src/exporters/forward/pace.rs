//! How many requests are on their way at once: one more after each round of quick answers, half as many when answers
//! become slow or fail (additive increase, multiplicative decrease).

use std::time::Duration;

/// Answers within this time are never slow.
const QUICK: Duration = Duration::from_millis(100);
/// An answer is slow when it took this many times what is usual.
const SLOW: f64 = 2.5;
/// How much one answer moves what is usual. Only quick ones do, so that slowness does not become usual at once.
const WEIGHT: f64 = 0.1;
/// How much a slow one does: what is slow for good becomes usual after some hundred answers.
const WEIGHT_SLOW: f64 = 0.01;

/// The limit, and what it is decided by.
#[derive(Debug)]
pub struct Pace {
    max: f64,
    limit: f64,
    /// What is usual, in seconds.
    usual: Option<f64>,
    /// Answers that still belong to requests sent before the last cut; they do not cut again.
    grace: usize,
}

impl Pace {
    /// Starts with one at a time, up to `max`.
    pub fn new(max: usize) -> Self {
        Self { max: max.max(1) as f64, limit: 1.0, usual: None, grace: 0 }
    }

    /// How many may be on their way.
    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// A request was answered well after `took`, while `flying` others were on their way.
    pub fn answered(&mut self, took: Duration, flying: usize) {
        let seconds = took.as_secs_f64();
        let usual = *self.usual.get_or_insert(seconds);
        let slow = took > QUICK && seconds > usual * SLOW;
        self.usual = Some(usual + (seconds - usual) * if slow { WEIGHT_SLOW } else { WEIGHT });
        if slow {
            self.cut(flying);
        } else {
            self.grace = self.grace.saturating_sub(1);
            self.limit = (self.limit + 1.0 / self.limit.floor()).min(self.max);
        }
    }

    /// A request failed for now, while `flying` others were on their way.
    pub fn failed(&mut self, flying: usize) {
        self.cut(flying);
    }

    /// An outage is over: it begins with one at a time again.
    pub fn restart(&mut self) {
        self.limit = 1.0;
        self.grace = 0;
    }

    fn cut(&mut self, flying: usize) {
        if self.grace > 0 {
            self.grace -= 1;
            return;
        }
        self.grace = flying;
        self.limit = (self.limit / 2.0).max(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_grows_one_by_one_and_halves_when_answers_get_slow() {
        let mut pace = Pace::new(10);
        assert_eq!(pace.limit(), 1);
        pace.answered(20 * MS, 0);
        assert_eq!(pace.limit(), 2);
        (0..100).for_each(|_| pace.answered(20 * MS, 9));
        assert_eq!(pace.limit(), 10);
        pace.answered(900 * MS, 9);
        assert_eq!(pace.limit(), 5);
        // The rest of that round tells the same once more.
        (0..9).for_each(|_| pace.answered(900 * MS, 9));
        assert_eq!(pace.limit(), 5);
        (0..30).for_each(|_| pace.answered(900 * MS, 4));
        assert_eq!(pace.limit(), 1);
    }

    #[test]
    fn failures_leave_one_at_a_time() {
        let mut pace = Pace::new(64);
        (0..5000).for_each(|_| pace.answered(5 * MS, 1));
        assert_eq!(pace.limit(), 64);
        (0..10).for_each(|_| pace.failed(0));
        assert_eq!(pace.limit(), 1);
    }

    #[test]
    fn what_is_always_slow_is_not_slower_than_usual() {
        let mut pace = Pace::new(4);
        (0..40).for_each(|_| pace.answered(800 * MS, 3));
        assert_eq!(pace.limit(), 4);
    }
}
