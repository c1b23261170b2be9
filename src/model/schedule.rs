//! When a result is expected by the calendar: a cron expression, its time zone, and a grace.

use std::fmt;
use std::time::Duration;

use croner::Cron;
use jiff::tz::TimeZone;

use super::Timestamp;

/// The longest cron expression, in bytes.
pub const CRON_BYTES_MAX: usize = 100;
/// The grace after an expected time when nothing is said.
pub const SCHEDULE_GRACE: Duration = Duration::from_secs(300);

/// A cron expression: five fields, or six with seconds first (`0 3 * * MON-FRI`), understood in the time zone it is
/// asked for.
#[derive(Clone, PartialEq)]
pub struct Schedule(Cron);

impl Schedule {
    /// Reads a cron expression. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > CRON_BYTES_MAX {
            return Err(format!("a cron expression has at most {CRON_BYTES_MAX} bytes, this one has {}", text.len()));
        }
        let remedy = "write for example \"0 3 * * *\" (every day at 3)";
        let cron: Cron = text.parse().map_err(|e| format!("`{text}` is not a cron expression ({e}); {remedy}"))?;
        let schedule = Self(cron);
        // The thirtieth of February parses, and never comes.
        match schedule.next(Timestamp::from_secs(1_767_225_600), &TimeZone::UTC) {
            Some(_) => Ok(schedule),
            None => Err(format!("`{text}` never comes; {remedy}")),
        }
    }

    /// The first time after `after` that it names in `zone`; `None` when there is none.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let from = jiff::Timestamp::from_microsecond(after.0).ok()?.to_zoned(zone.clone());
        let next = self.0.find_next_occurrence(&from, false).ok()?;
        Some(Timestamp(next.timestamp().as_microsecond())).filter(|at| *at > after)
    }

    /// The last time until `until`, itself included, that it names in `zone`; `None` when there is none.
    pub fn last(&self, until: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // Whole seconds: expressions know nothing smaller.
        let from = jiff::Timestamp::from_second(until.as_secs()).ok()?.to_zoned(zone.clone());
        let last = self.0.find_previous_occurrence(&from, true).ok()?;
        Some(Timestamp(last.timestamp().as_microsecond()))
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({:?})", self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TIM-7: daylight-saving days, other time zones, the 29th of February.
    #[test]
    fn tim7_the_calendar_as_people_live_it() {
        let cases = [
            // Berlin leaps from 02:00 to 03:00 on 2026-03-29: what would fall into the leap comes right after it.
            ("30 2 * * *", "Europe/Berlin", "2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00"),
            ("30 2 * * *", "Europe/Berlin", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"),
            // And falls back from 03:00 to 02:00 on 2026-10-25: a daily time comes once, on the first of the two.
            ("30 2 * * *", "Europe/Berlin", "2026-10-24T02:30:00+02:00", "2026-10-25T02:30:00+02:00"),
            ("30 2 * * *", "Europe/Berlin", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"),
            // What comes every hour comes in both.
            ("0 * * * *", "Europe/Berlin", "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"),
            // Half an hour from UTC, and a day that is another one there.
            ("0 9 * * MON", "Asia/Kolkata", "2026-11-23T02:00:00Z", "2026-11-23T03:30:00Z"),
            ("0 0 1 * *", "Pacific/Auckland", "2026-11-30T10:59:59Z", "2026-11-30T11:00:00Z"),
            // The 29th of February comes every four years.
            ("0 12 29 2 *", "UTC", "2026-03-01T00:00:00Z", "2028-02-29T12:00:00Z"),
            ("0 12 29 2 *", "UTC", "2028-02-29T12:00:00Z", "2032-02-29T12:00:00Z"),
        ];
        let at = |text: &str| Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond());
        for (cron, zone, after, expected) in cases {
            let zone = TimeZone::get(zone).unwrap();
            let next = Schedule::parse(cron).unwrap().next(at(after), &zone);
            assert_eq!(next, Some(at(expected)), "{cron} after {after}");
        }
    }

    #[test]
    fn an_expression_has_at_most_a_hundred_bytes() {
        let minutes = |more: usize| format!("10{} * * * *", ",1".repeat(more));
        assert_eq!((minutes(45).len(), Schedule::parse(&minutes(45)).is_ok()), (100, true));
        assert!(Schedule::parse(&minutes(46)).unwrap_err().contains("at most 100 bytes, this one has 102"));
    }

    #[test]
    fn nonsense_is_refused_with_the_remedy() {
        for text in ["", "every day", "61 * * * *", "0 0 30 2 *", &"1,".repeat(60)] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
        assert!(Schedule::parse("soon").unwrap_err().contains("write for example \"0 3 * * *\""));
    }
}
