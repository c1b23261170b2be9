//! Maintenance windows: times in which nobody alerts about an agent or restarts it by itself.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::{AgentId, Glob, ProjectId, Schedule, Timestamp, WindowId};

/// How many windows a project may have.
pub const WINDOWS_MAX: usize = 100;
/// The longest window that repeats.
pub const WINDOW_MAX: Duration = Duration::from_secs(7 * 86_400);
/// The longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 256;

/// A maintenance window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaintenanceWindow {
    /// Its number.
    pub id: WindowId,
    /// The project whose agents it covers.
    pub project: ProjectId,
    /// Which of them.
    pub covers: Covers,
    /// When.
    pub when: When,
    /// Why, in words.
    pub reason: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Which agents of its project a window covers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Covers {
    /// All.
    Project,
    /// Those whose whole name matches.
    Pattern(Box<str>),
    /// One.
    Agent(AgentId),
}

/// When a window holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Once.
    Once {
        /// From this time.
        from: Timestamp,
        /// To before this time.
        to: Timestamp,
    },
    /// Again and again.
    Cron {
        /// When it begins: minute, hour, day of the month, month, day of the week.
        cron: String,
        /// How long it holds, in seconds.
        seconds: u32,
        /// Where the expression's hours are meant, by its IANA name.
        timezone: String,
    },
}

/// What is wrong with a window: the field and the problem.
pub type WindowFault = (&'static str, String);

impl When {
    /// Whether it can be kept.
    pub fn check(&self) -> Result<(), WindowFault> {
        match self {
            Self::Once { from, to } if to <= from => Err(("to", "must be later than `from`".into())),
            Self::Once { .. } => Ok(()),
            Self::Cron { seconds, .. } if !(1..=WINDOW_MAX.as_secs()).contains(&u64::from(*seconds)) => {
                Err(("duration", format!("must be from 1s to {} days", WINDOW_MAX.as_secs() / 86_400)))
            }
            Self::Cron { cron, timezone, .. } => {
                Schedule::parse(cron).map_err(|problem| ("cron", problem))?;
                let unknown = || format!("{timezone:?} is not a time zone; use an IANA name such as \"Europe/Berlin\"");
                zone(timezone).map(drop).ok_or_else(|| ("timezone", unknown()))
            }
        }
    }

    /// Until when it holds, if it holds at `now`.
    pub fn holds_until(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Once { from, to } => (*from <= now && now < *to).then_some(*to),
            Self::Cron { cron, seconds, timezone } => {
                let began = Schedule::parse(cron).ok()?.last(now, &zone(timezone)?)?;
                let ends = began.plus(Duration::from_secs((*seconds).into()));
                (now < ends).then_some(ends)
            }
        }
    }

    /// When it begins next, after `now`.
    pub fn next_start(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Once { from, .. } => (*from > now).then_some(*from),
            Self::Cron { cron, timezone, .. } => Schedule::parse(cron).ok()?.next(now, &zone(timezone)?),
        }
    }
}

impl MaintenanceWindow {
    /// Whether it is about this agent.
    pub fn covers(&self, project: ProjectId, id: AgentId, name: &str) -> bool {
        self.project == project
            && match &self.covers {
                Covers::Project => true,
                Covers::Pattern(pattern) => Glob::new(pattern).is_ok_and(|glob| glob.matches(name)),
                Covers::Agent(agent) => *agent == id,
            }
    }
}

fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    fn cron(cron: &str, seconds: u32, timezone: &str) -> When {
        When::Cron { cron: cron.into(), seconds, timezone: timezone.into() }
    }

    #[test]
    fn a_window_that_is_over_once_holds_in_between_only() {
        let when = When::Once { from: at("2026-12-01T10:00:00Z"), to: at("2026-12-01T11:00:00Z") };
        let until = |now| when.holds_until(at(now)).map(|t| t.to_string());
        assert_eq!(until("2026-12-01T09:59:59.999999Z"), None);
        assert_eq!(until("2026-12-01T10:00:00Z"), Some(at("2026-12-01T11:00:00Z").to_string()));
        assert_eq!(until("2026-12-01T11:00:00Z"), None);
        assert_eq!(when.next_start(at("2026-12-01T09:00:00Z")), Some(at("2026-12-01T10:00:00Z")));
        assert_eq!(when.next_start(at("2026-12-01T10:00:00Z")), None);
    }

    /// Daylight saving time, the leap day and the end of the month: when the window that begins at this time ends.
    #[test]
    fn windows_that_repeat_follow_the_calendar_of_their_zone() {
        for (expression, zone, inside, ends) in [
            ("30 2 * * 6", "UTC", "2026-12-05T02:30:00Z", "2026-12-05T03:30:00Z"),
            // 02:00 in Berlin is 01:00 UTC in winter and 00:00 UTC in summer.
            ("0 2 * * *", "Europe/Berlin", "2026-01-10T01:59:59Z", "2026-01-10T02:00:00Z"),
            ("0 2 * * *", "Europe/Berlin", "2026-07-10T00:00:00Z", "2026-07-10T01:00:00Z"),
            // 02:30 comes twice on the day the clocks go back; an hour later it is over both times.
            ("30 3 * * *", "Europe/Berlin", "2026-10-25T02:45:00Z", "2026-10-25T03:30:00Z"),
            ("0 12 29 2 *", "UTC", "2028-02-29T12:10:00Z", "2028-02-29T13:00:00Z"),
            ("0 0 L * *", "UTC", "2026-04-30T00:30:00Z", "2026-04-30T01:00:00Z"),
        ] {
            let when = cron(expression, 3600, zone);
            assert_eq!(when.check(), Ok(()), "{expression}");
            assert_eq!(when.holds_until(at(inside)), Some(at(ends)), "{expression} {zone}");
            assert_eq!(when.holds_until(at(ends)), None, "{expression} {zone}");
        }
        // 02:30 does not exist in Berlin on 2026-03-29: the window does not get lost, nor does it come twice.
        let spring = cron("30 2 * * *", 3600, "Europe/Berlin");
        let starts = spring.next_start(at("2026-03-28T12:00:00Z")).unwrap();
        assert!((at("2026-03-29T00:30:00Z")..=at("2026-03-30T00:30:00Z")).contains(&starts), "{starts}");
    }

    #[test]
    fn what_cannot_be_kept_is_told_by_field() {
        let field = |when: When| when.check().map_err(|(field, _)| field);
        assert_eq!(field(When::Once { from: Timestamp(5), to: Timestamp(5) }), Err("to"));
        assert_eq!(field(cron("61 * * * *", 60, "UTC")), Err("cron"));
        assert_eq!(field(cron(&"1,".repeat(60), 60, "UTC")), Err("cron"));
        assert_eq!(field(cron("* * * * *", 60, "Mars/Olympus")), Err("timezone"));
        assert_eq!(field(cron("* * * * *", 0, "UTC")), Err("duration"));
        assert_eq!(field(cron("* * * * *", u32::MAX, "UTC")), Err("duration"));
    }

    #[test]
    fn a_window_covers_a_project_a_pattern_or_one_agent() {
        let window = |covers| MaintenanceWindow {
            id: WindowId(1),
            project: ProjectId(1),
            covers,
            when: When::Once { from: Timestamp(0), to: Timestamp(1) },
            reason: String::new(),
            created_at: Timestamp(0),
        };
        let covers = |covers, project, id, name: &str| window(covers).covers(ProjectId(project), AgentId(id), name);
        assert!(covers(Covers::Project, 1, 1, "a") && !covers(Covers::Project, 2, 1, "a"));
        let pattern = || Covers::Pattern("re*".into());
        assert!(covers(pattern(), 1, 1, "research") && !covers(pattern(), 1, 1, "bot"));
        assert!(covers(Covers::Agent(AgentId(7)), 1, 7, "a") && !covers(Covers::Agent(AgentId(7)), 1, 8, "a"));
    }
}
