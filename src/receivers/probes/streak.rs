//! From single results to a state: some failures in a row make a target unhealthy, one success makes it healthy.

use std::time::Duration;

use crate::model::Timestamp;

/// How a target is, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not enough is known yet.
    #[default]
    Unknown,
    /// The last probe succeeded, or fewer failed since than it takes.
    Healthy,
    /// Enough probes failed in a row.
    Unhealthy,
}

impl Health {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What is known of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    /// How it is.
    pub health: Health,
    /// Since when it is so.
    pub since: Option<Timestamp>,
    /// Failures in a row up to now.
    pub failures: u32,
    /// When it was probed last.
    pub probed_at: Option<Timestamp>,
    /// How long the last successful probe took.
    pub latency: Option<Duration>,
    /// The newest failure: when, and what was wrong.
    pub last_error: Option<(Timestamp, String)>,
}

impl Streak {
    /// Takes in a result. Gives whether the health changed.
    pub fn observe(&mut self, result: Result<Duration, String>, failures_max: u32, now: Timestamp) -> bool {
        self.probed_at = Some(now);
        let health = match result {
            Ok(latency) => {
                self.failures = 0;
                self.latency = Some(latency);
                Health::Healthy
            }
            Err(why) => {
                self.failures = self.failures.saturating_add(1);
                self.last_error = Some((now, why));
                if self.failures >= failures_max { Health::Unhealthy } else { self.health }
            }
        };
        let changed = health != self.health;
        if changed {
            (self.health, self.since) = (health, Some(now));
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+` a success, `-` a failure; the health after each.
    fn story(results: &str) -> String {
        let mut streak = Streak::default();
        let mut told = String::new();
        for (i, result) in results.chars().enumerate() {
            let result = if result == '+' { Ok(Duration::from_millis(5)) } else { Err("refused".to_owned()) };
            let changed = streak.observe(result, 3, Timestamp::from_secs(30 * i as i64));
            let letter = streak.health.word().chars().next().unwrap();
            told.push(if changed { letter.to_ascii_uppercase() } else { letter });
            told.push(if streak.health == Health::Unhealthy { '!' } else { '.' });
        }
        told
    }

    #[test]
    fn three_failures_in_a_row_are_needed_and_one_success_ends_it() {
        assert_eq!(story("+--+--+"), "H.h.h.h.h.h.h.");
        assert_eq!(story("+---"), "H.h.h.U!");
        assert_eq!(story("----+"), "u.u.U!u!H.");
        assert_eq!(story("--+"), "u.u.H.");
    }
}
