//! Stories of histories: whatever is told and whenever, minutes and hours add up to the totals, and to time that passed.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3_600;

/// `secs` seconds after the beginning of an hour.
const fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_796_083_200 + secs)
}

fn here() -> Presence {
    Presence::new(Timestamp(0), [])
}

/// An agent and its history, with everything that was written of it.
#[derive(Default)]
struct Story {
    state: AgentState,
    history: History,
    written: Vec<Piece>,
    presence: Presence,
}

impl Story {
    /// A heartbeat that costs `nanos`, after which the agent has this status: what the plan does at every signal.
    fn told(&mut self, secs: i64, nanos: i64, status: Status) {
        let now = at(secs);
        self.written.extend(self.history.advance(now, &self.state, &self.presence));
        let before = Standing::of(self.state.status);
        self.state.totals.heartbeats += 1;
        self.state.totals.cost = Some(Money(self.state.totals.cost.unwrap_or_default().0 + nanos));
        self.state.status = status;
        if Standing::of(status) != before {
            self.history.account(now, before, &self.presence);
        }
    }

    /// All pieces at this time: the written ones and those that would be.
    fn pieces(&self, secs: i64) -> Vec<Piece> {
        let mut pieces = self.written.clone();
        pieces.extend(self.history.clone().end(at(secs), &self.state, &self.presence));
        pieces
    }
}

fn hours(pieces: &[Piece]) -> HourSums {
    let mut all = HourSums::default();
    for (_, _, body) in pieces {
        if let RollupBody::Hour(hour) = body {
            all.up_ms += hour.up_ms;
            all.known_ms += hour.known_ms;
            all.sums.add(&hour.sums);
        }
    }
    all
}

/// The same from the minutes, each with its place.
fn minutes(pieces: &[Piece]) -> (HourSums, Vec<(i64, MinuteRun)>) {
    let (mut all, mut list) = (HourSums::default(), Vec::new());
    for (hour, _, body) in pieces {
        if let RollupBody::Minutes { first, runs } = body {
            let mut minute = hour * HOUR_MINUTES + i64::from(*first);
            for run in runs {
                for _ in 0..run.minutes {
                    list.push((minute, *run));
                    all.up_ms += u32::from(run.up_ms);
                    all.known_ms += u32::from(run.known_ms);
                    all.sums.add(&run.sums);
                    minute += 1;
                }
            }
        }
    }
    (all, list)
}

#[test]
fn a_steady_agent_is_one_row_an_hour_for_its_minutes_and_one_for_the_hour() {
    let mut story = Story { presence: here(), ..Story::default() };
    for minute in 0..180 {
        story.told(minute * 60, 5, Status::Healthy);
    }
    // The first minute is different: nobody knew the agent before it.
    assert_eq!(story.written.len(), 4, "{:?}", story.written);
    let (hour, _, body) = &story.written[3];
    let sums = Sums { heartbeats: 60, cost: Money(300), ..Sums::default() };
    assert_eq!(*body, RollupBody::Hour(HourSums { up_ms: 3_600_000, known_ms: 3_600_000, sums }));
    assert_eq!(*hour, at(HOUR).as_secs() / HOUR);
}

#[test]
fn a_restless_agent_is_written_in_few_pieces_and_within_a_bound() {
    let mut story = Story { presence: here(), ..Story::default() };
    for minute in 0..120 {
        story.told(minute * 60, minute, Status::Healthy);
        assert!(story.history.runs.len() <= RUNS_MAX);
    }
    assert!(story.written.len() <= 2 * (60 / RUNS_MAX + 2), "{}", story.written.len());
}

#[test]
fn uptime_is_the_time_that_the_agent_was_watched_and_up() {
    let mut story = Story { presence: here(), ..Story::default() };
    story.told(0, 0, Status::Healthy);
    story.told(90, 0, Status::Down);
    story.told(120, 0, Status::Healthy);
    story.told(150, 0, Status::Maintenance);
    story.told(210, 0, Status::Healthy);
    let (all, list) = minutes(&story.pieces(300));
    let each: Vec<_> = list.iter().map(|(_, m)| (m.up_ms / 1000, m.known_ms / 1000)).collect();
    // The last minute has just begun.
    assert_eq!(each, [(60, 60), (30, 60), (30, 30), (30, 30), (60, 60), (0, 0)]);
    assert_eq!((all.up_ms, all.known_ms), (210_000, 240_000));
}

#[test]
fn what_the_gateway_missed_is_not_known() {
    let presence = Presence::new(Timestamp(0), [(at(60), at(180)), (at(210), at(220))]);
    let mut story = Story { presence, ..Story::default() };
    story.told(0, 0, Status::Healthy);
    story.told(300, 0, Status::Healthy);
    let (all, _) = minutes(&story.pieces(300));
    assert_eq!((all.up_ms, all.known_ms), (170_000, 170_000));
}

#[test]
fn a_long_silence_is_told_when_it_ends_and_can_be_read_before() {
    let mut story = Story { presence: here(), ..Story::default() };
    story.told(0, 7, Status::Healthy);
    story.told(200, 0, Status::Down);
    let read = hours(&story.pieces(10 * HOUR));
    assert_eq!((read.up_ms, read.known_ms), (200_000, 36_000_000));
    story.told(10 * HOUR, 0, Status::Healthy);
    assert_eq!(hours(&story.pieces(10 * HOUR)), HourSums { sums: hours(&story.pieces(10 * HOUR)).sums, ..read });
    // A silence of years is bounded.
    story.told(20 * 365 * 24 * HOUR, 0, Status::Healthy);
    assert!(story.written.len() < 2 * 32 * 24);
    assert_eq!(hours(&story.pieces(20 * 365 * 24 * HOUR)).sums.cost, Money(7));
}

#[test]
fn a_clock_that_steps_back_changes_nothing() {
    let mut story = Story { presence: here(), ..Story::default() };
    story.told(HOUR, 1, Status::Healthy);
    story.told(-HOUR, 1, Status::Down);
    story.told(HOUR + 60, 1, Status::Down);
    let all = minutes(&story.pieces(HOUR + 61)).0;
    assert_eq!((all.sums.heartbeats, all.sums.cost), (3, Money(3)));
}

proptest! {
    /// In whatever order and however far apart: minutes and hours both add up to the totals, no minute comes twice, and
    /// time is never more than passed.
    #[test]
    fn minutes_and_hours_add_up(
        steps in prop::collection::vec((0..9000i64, 0..1000i64, 0..4u8), 1..60),
        gap in (0..40_000i64, 0..9000i64),
    ) {
        let presence = Presence::new(Timestamp(0), [(at(gap.0), at(gap.0 + gap.1))]);
        let mut story = Story { presence, ..Story::default() };
        let (mut now, mut first) = (0, None);
        for (step, nanos, status) in steps {
            now += step;
            first.get_or_insert(now);
            let status = [Status::Healthy, Status::Down, Status::Paused, Status::Degraded][usize::from(status)];
            story.told(now, nanos, status);
        }
        now += 30;
        let pieces = story.pieces(now);
        let (by_minute, list) = minutes(&pieces);
        let by_hour = hours(&pieces);
        prop_assert_eq!(by_minute.sums, Sums::of(&story.state));
        prop_assert_eq!(by_hour, by_minute);
        prop_assert!(list.windows(2).all(|pair| pair[0].0 < pair[1].0), "{:?}", list);
        let passed = Duration::from_secs(u64::try_from(now - first.unwrap_or(0)).unwrap_or(0));
        prop_assert!(u128::from(by_minute.known_ms) <= passed.as_millis());
        prop_assert!(by_minute.up_ms <= by_minute.known_ms);
    }
}
