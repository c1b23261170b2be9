//! Time as plain numbers: microseconds since the Unix epoch.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time, in microseconds since the Unix epoch (UTC). All arithmetic saturates.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The latest representable time; used for "no deadline".
    pub const MAX: Self = Self(i64::MAX);

    /// Whole seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// From nanoseconds since the epoch, as OTLP carries them (`fixed64`); sub-microsecond digits are dropped.
    pub const fn from_unix_nanos(nanos: u64) -> Self {
        Self((nanos / 1_000) as i64)
    }

    /// Seconds since the epoch with a fraction, as Prometheus wants them.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This time plus `span`, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }

    /// This time minus `span`.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros(span)))
    }

    /// The time of day in UTC (`12:34:02Z`), for texts in which the day is clear.
    pub fn time_of_day(self) -> String {
        let secs = self.as_secs().rem_euclid(86_400);
        format!("{:02}:{:02}:{:02}Z", secs / 3600, secs / 60 % 60, secs % 60)
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, always with milliseconds, so that texts sort as times do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "@{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A duration as people say it: `45s`, `5m`, `1h 30m`, `2d 3h`. Two units at most; sub-second spans in milliseconds.
pub fn human(span: Duration) -> String {
    let secs = span.as_secs();
    if secs == 0 {
        return match span.as_millis() {
            0 => "0s".into(),
            ms => format!("{ms}ms"),
        };
    }
    let parts = [(secs / 86_400, "d"), (secs % 86_400 / 3_600, "h"), (secs % 3_600 / 60, "m"), (secs % 60, "s")];
    let first = parts.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    let mut text = format!("{}{}", parts[first].0, parts[first].1);
    if let Some((n, unit)) = parts.get(first + 1).filter(|(n, _)| *n > 0) {
        text.push_str(&format!(" {n}{unit}"));
    }
    text
}

/// A duration as settings are written, nothing rounded: `90s`, `1h 30m`, `500ms`.
pub fn exact(span: Duration) -> String {
    let secs = span.as_secs();
    let parts = [
        (secs / 3_600, "h"),
        (secs % 3_600 / 60, "m"),
        (secs % 60, "s"),
        (u64::from(span.subsec_millis()), "ms"),
        (u64::from(span.subsec_nanos() % 1_000_000), "ns"),
    ];
    let said: Vec<_> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if said.is_empty() { "0s".into() } else { said.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_rfc3339() {
        assert_eq!(Timestamp::from_secs(1_795_318_398).to_string(), "2026-11-22T03:33:18.000Z");
        assert_eq!(Timestamp(1_795_318_398_500_000).to_string(), "2026-11-22T03:33:18.500Z");
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::MAX.plus(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
    }

    #[test]
    fn says_durations_like_people() {
        let say = |s| human(Duration::from_secs(s));
        assert_eq!([say(0), say(60), say(190), say(5400), say(90_000)], ["0s", "1m", "3m 10s", "1h 30m", "1d 1h"]);
        assert_eq!(human(Duration::from_millis(250)), "250ms");
    }
}
