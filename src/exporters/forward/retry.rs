//! When to try again.

use std::time::Duration;

use axum::http::{HeaderMap, header};

use super::settings::Retry;
use crate::ids::Ids;
use crate::model::Timestamp;

/// The longest wait a destination may ask for.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// How long a destination is left alone after failures: longer after each, different for each gateway.
#[derive(Debug)]
pub struct Backoff {
    settings: Retry,
    ids: Ids,
    failures: u32,
}

impl Backoff {
    pub const fn new(settings: Retry, ids: Ids) -> Self {
        Self { settings, ids, failures: 0 }
    }

    /// The wait after one more failure. What the destination asked for is kept to, and spread by up to a tenth, so that
    /// not all senders come at that moment.
    pub fn failed(&mut self, asked: Option<Duration>) -> Duration {
        let grown = self.settings.multiplier.powi(i32::try_from(self.failures).unwrap_or(i32::MAX));
        self.failures = self.failures.saturating_add(1);
        if let Some(asked) = asked {
            let asked = asked.min(WAIT_MAX);
            return asked.saturating_add(asked.mul_f64(0.1 * self.ids.fraction()));
        }
        let longest = self.settings.max_interval.as_secs_f64();
        let wait = (self.settings.initial_interval.as_secs_f64() * grown).min(longest);
        let spread = self.settings.randomization_factor * (2.0 * self.ids.fraction() - 1.0);
        Duration::from_secs_f64((wait * (1.0 + spread)).max(0.0))
    }

    /// Something was taken. Says whether that ends a row of failures.
    pub fn succeeded(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }

    /// Whether the last thing that happened was a failure.
    pub const fn is_failing(&self) -> bool {
        self.failures > 0
    }
}

/// What `Retry-After` asks for: seconds or a date (RFC 9110, 10.2.3).
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_microsecond();
    Some(Duration::from_micros(u64::try_from(date.saturating_sub(now.0)).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Retry {
        Retry {
            enabled: true,
            initial_interval: Duration::from_secs(5),
            multiplier: 1.5,
            max_interval: Duration::from_secs(30),
            randomization_factor: 0.5,
            max_elapsed_time: Duration::ZERO,
        }
    }

    #[test]
    fn waits_grow_up_to_the_longest_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Retry { randomization_factor: 0.0, ..settings() }, Ids::seeded(1));
        let waits: Vec<f64> = (0..8).map(|_| backoff.failed(None).as_secs_f64()).collect();
        assert_eq!(waits[..4], [5.0, 7.5, 11.25, 16.875]);
        assert_eq!(waits[6..], [30.0, 30.0]);
        assert!(backoff.succeeded() && !backoff.succeeded());
        assert_eq!(backoff.failed(None), Duration::from_secs(5));
        (0..5000).for_each(|_| _ = backoff.failed(None));
        assert_eq!(backoff.failed(None), Duration::from_secs(30));
    }

    #[test]
    fn fifty_gateways_do_not_come_at_once() {
        let wait = |seed| Backoff::new(settings(), Ids::seeded(seed)).failed(None).as_secs_f64();
        let waits: Vec<f64> = (0..50).map(|seed| wait(seed * 7919)).collect();
        assert!(waits.iter().all(|w| (2.5..7.5).contains(w)), "{waits:?}");
        // In no tenth of the range are more than a quarter of them.
        let crowded = (0..10).map(|i| waits.iter().filter(|w| ((**w - 2.5) * 2.0) as usize == i).count()).max();
        assert!(crowded <= Some(13), "{waits:?}");
        let asked = |seed| Backoff::new(settings(), Ids::seeded(seed)).failed(Some(Duration::from_secs(10)));
        assert!((0..50).map(asked).all(|w| (10.0..11.0).contains(&w.as_secs_f64())));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from_secs(784_111_777);
        let wait = |text: &str| retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().unwrap())]), now);
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:57 GMT"), Some(Duration::from_secs(20)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:17 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
