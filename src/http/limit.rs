//! How many requests a key may make.
//!
//! Two rules at once, as the service this API comes from documents them: on average no more than the rate, and in any
//! minute no more than twice the rate. The first is a bucket that holds twice the rate and fills at the rate; the second
//! counts the last sixty seconds of the clock, one by one. A key that rested may so send twice its rate at once, and
//! then its rate.
//!
//! Published clients repeat a failed request at once, without looking at `Retry-After`: such a repeat costs nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::Timestamp;

/// Seconds in which no more than twice the rate is taken.
const WINDOW_SECS: i64 = 60;
const WINDOW: usize = WINDOW_SECS as usize;
/// In one minute so many times the rate.
const BURST: u64 = 2;
/// A failed request may be repeated for nothing within this time, in microseconds.
const REPEAT_MICROS: i64 = 2_000_000;
/// How many failed requests of a key may wait for their repeat; more are not remembered.
const REPEATS_MAX: usize = 64;
const SECOND_MICROS: i64 = 1_000_000;

/// What a key has used of its rate. All clones are one.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Mutex<Used>>);

/// A request that was paid for.
#[derive(Debug)]
pub struct Charge {
    budget: Budget,
    shape: u64,
}

/// A refusal: there are no more requests left for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Requests a minute.
    pub per_minute: u32,
    /// When the next one may come, in whole seconds, at least 1.
    pub retry_after: u64,
}

#[derive(Debug)]
struct Used {
    /// Requests left in the bucket, in request-microseconds-of-a-minute: one request is 60 000 000.
    left: u64,
    /// The time of `left`.
    at: Timestamp,
    /// Requests of the last sixty seconds; the slot of second `s` is `s % 60`.
    seconds: [u32; WINDOW],
    /// The newest second counted.
    second: i64,
    /// The sum of `seconds`.
    sum: u64,
    /// Failed requests that may be repeated: until when, and their shape.
    repeats: Vec<(Timestamp, u64)>,
    per_minute: u32,
}

/// What one request takes from the bucket.
const REQUEST: u64 = 60 * SECOND_MICROS as u64;

impl Budget {
    /// A full budget of `per_minute` requests (at least 1).
    pub fn new(per_minute: u32) -> Self {
        let per_minute = per_minute.max(1);
        Self(Arc::new(Mutex::new(Used {
            left: BURST * u64::from(per_minute) * REQUEST,
            at: Timestamp(0),
            seconds: [0; WINDOW],
            second: 0,
            sum: 0,
            repeats: Vec::new(),
            per_minute,
        })))
    }

    /// Another rate from now on; what was used stays used.
    pub fn set_rate(&self, per_minute: u32) {
        let per_minute = per_minute.max(1);
        let mut used = self.used();
        used.per_minute = per_minute;
        used.left = used.left.min(BURST * u64::from(per_minute) * REQUEST);
    }

    /// Takes one request of `shape` at `now`.
    pub fn take(&self, shape: u64, now: Timestamp) -> Result<Option<Charge>, Exceeded> {
        self.used().take(shape, now).map(|paid| paid.then(|| Charge { budget: self.clone(), shape }))
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Charge {
    /// The request failed: its repeat within two seconds is free.
    pub fn failed(&self, now: Timestamp) {
        let mut used = self.budget.used();
        used.repeats.retain(|(until, _)| *until > now);
        if used.repeats.len() < REPEATS_MAX {
            used.repeats.push((Timestamp(now.0.saturating_add(REPEAT_MICROS)), self.shape));
        }
    }
}

impl Used {
    /// Whether it had to be paid for.
    fn take(&mut self, shape: u64, now: Timestamp) -> Result<bool, Exceeded> {
        let now = now.max(self.at);
        if let Some(at) = self.repeats.iter().position(|(until, s)| *s == shape && *until > now) {
            self.repeats.swap_remove(at);
            return Ok(false);
        }
        self.advance(now);
        let most = BURST * u64::from(self.per_minute);
        let wait_micros = self.bucket_wait().max(if self.sum < most { 0 } else { self.window_wait(now, most) });
        if wait_micros > 0 {
            let retry_after = u64::try_from(wait_micros).unwrap_or(0).div_ceil(SECOND_MICROS as u64).max(1);
            return Err(Exceeded { per_minute: self.per_minute, retry_after });
        }
        self.left -= REQUEST;
        self.seconds[slot(self.second)] += 1;
        self.sum += 1;
        Ok(true)
    }

    fn advance(&mut self, now: Timestamp) {
        let rate = u64::from(self.per_minute);
        let micros = u64::try_from(now.0.saturating_sub(self.at.0)).unwrap_or(0);
        self.left = self.left.saturating_add(micros.saturating_mul(rate)).min(BURST * rate * REQUEST);
        self.at = now;
        let second = now.0.div_euclid(SECOND_MICROS);
        if second - self.second >= WINDOW_SECS {
            (self.seconds, self.sum) = ([0; WINDOW], 0);
        } else {
            for gone in self.second + 1..=second {
                self.sum -= u64::from(std::mem::take(&mut self.seconds[slot(gone)]));
            }
        }
        self.second = second;
    }

    /// Until the bucket has one request, in microseconds.
    fn bucket_wait(&self) -> i64 {
        let lacking = REQUEST.saturating_sub(self.left);
        i64::try_from(lacking.div_ceil(u64::from(self.per_minute))).unwrap_or(i64::MAX)
    }

    /// Until the last sixty seconds have fewer than `most` requests, in microseconds.
    fn window_wait(&self, now: Timestamp, most: u64) -> i64 {
        let mut sum = self.sum;
        for ahead in 1..=WINDOW_SECS {
            let begins = self.second + ahead;
            sum -= u64::from(self.seconds[slot(begins)]);
            if sum < most {
                return begins * SECOND_MICROS - now.0;
            }
        }
        WINDOW_SECS * SECOND_MICROS
    }
}

const fn slot(second: i64) -> usize {
    second.rem_euclid(WINDOW_SECS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_795_318_398;

    fn at(secs: f64) -> Timestamp {
        Timestamp(START * SECOND_MICROS + (secs * 1e6) as i64)
    }

    fn taken(budget: &Budget, secs: f64, tries: u32) -> u32 {
        (0..tries).filter(|_| budget.take(0, at(secs)).is_ok()).count() as u32
    }

    fn refusal(budget: &Budget, secs: f64) -> u64 {
        budget.take(0, at(secs)).unwrap_err().retry_after
    }

    #[test]
    fn lim_7_twice_the_rate_in_a_minute_and_not_one_more() {
        for rate in [200, 500, 1000, 10_000] {
            let budget = Budget::new(rate);
            assert_eq!(taken(&budget, 0.0, 2 * rate), 2 * rate, "request n");
            assert_eq!(refusal(&budget, 0.0), 60, "request n + 1");
            assert_eq!(refusal(&budget, 0.5), 60);
            assert_eq!(refusal(&budget, 59.0), 1);
            assert_eq!(refusal(&budget, 59.999_999), 1);
            assert_eq!(taken(&budget, 60.0, 3 * rate), rate, "what the minute has brought");
        }
    }

    #[test]
    fn lim_7_retry_after_is_exactly_when_the_next_one_passes() {
        let budget = Budget::new(200);
        // 300 in the first second, then one a second: the bucket runs dry before the window is full.
        assert_eq!(taken(&budget, 0.0, 300), 300);
        let mut now = 0.0;
        for _ in 0..2_000 {
            match budget.take(0, at(now)) {
                Ok(_) => now += 0.01,
                Err(exceeded) => {
                    let wait = exceeded.retry_after as f64;
                    assert!(budget.take(0, at(now + wait - 1.0)).is_err() || wait <= 1.0, "no sooner: {now} {wait}");
                    now = (now + wait).max(now);
                    assert!(budget.take(0, at(now)).is_ok(), "and then it does: {now}");
                }
            }
        }
    }

    #[test]
    fn lim_7_the_rate_can_be_kept_for_ever_and_twice_of_it_cannot() {
        let budget = Budget::new(600);
        let steady: u32 = (0..36_000).map(|i| taken(&budget, f64::from(i) * 0.1, 1)).sum();
        assert_eq!(steady, 36_000, "600 a minute for an hour");
        let budget = Budget::new(600);
        let double: u32 = (0..36_000).map(|i| taken(&budget, f64::from(i) * 0.05, 1)).sum();
        assert!((18_000..=19_200).contains(&double), "1200 a minute for half an hour: {double}");
    }

    #[test]
    fn lim_7_no_minute_of_sixty_seconds_has_more_than_twice_the_rate() {
        let budget = Budget::new(50);
        let mut random = 7_u64;
        let mut passed: Vec<i64> = Vec::new();
        let mut now = 0.0;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            now += (random >> 40) as f64 / 1e8;
            if budget.take(0, at(now)).is_ok() {
                passed.push(at(now).0.div_euclid(SECOND_MICROS));
            }
        }
        for (i, second) in passed.iter().enumerate() {
            let within = passed[i..].iter().take_while(|s| **s < second + WINDOW_SECS).count();
            assert!(within <= 100, "{within}");
        }
        assert!(passed.len() > 500, "{}", passed.len());
    }

    #[test]
    fn a_failed_request_and_its_repeat_cost_one() {
        let budget = Budget::new(1);
        let charge = budget.take(5, at(0.0)).unwrap().expect("paid");
        charge.failed(at(0.0));
        assert!(budget.take(5, at(0.005)).unwrap().is_none(), "the repeat is free");
        assert!(budget.take(5, at(0.010)).unwrap().is_some(), "and only once");
        assert!(budget.take(5, at(0.015)).is_err());
    }

    #[test]
    fn another_request_is_no_repeat_and_neither_is_a_late_one() {
        let budget = Budget::new(2);
        budget.take(5, at(0.0)).unwrap().expect("paid").failed(at(0.0));
        assert!(budget.take(6, at(0.1)).unwrap().is_some());
        assert!(budget.take(5, at(2.0)).unwrap().is_some());
        let budget = Budget::new(10_000);
        for i in 0..1000 {
            budget.take(i, at(0.0)).unwrap().expect("paid").failed(at(0.0));
        }
        assert_eq!(budget.used().repeats.len(), REPEATS_MAX);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_away_and_takes_nothing() {
        let budget = Budget::new(10);
        assert_eq!(taken(&budget, 100.0, 15), 15);
        assert_eq!(taken(&budget, 0.0, 10), 5);
        assert_eq!(refusal(&budget, 50.0), 60);
        budget.set_rate(20);
        assert!(budget.take(0, at(103.0)).is_ok(), "a higher rate holds at once");
    }
}
