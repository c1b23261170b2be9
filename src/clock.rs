//! The only place that reads clocks. Everything else is told what time it is.
//!
//! The gateway's time begins with the wall clock's and then goes on by the monotonic clock, so that a step of the wall
//! clock is nothing that happened to an agent. [`Clock::follow_wall`] brings the two together again without ever going
//! back: where the wall clock is ahead the gateway's time jumps, and the caller counts the jump as time in which nothing
//! could be accepted; where it is behind the gateway's time runs [`SLOWER_PERCENT`] % slower until the wall clock has caught up.

mod driven;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{Instant, Interval};

use crate::model::Timestamp;
use driven::Driven;

/// By how much the gateway's time runs slower while it is ahead of the wall clock, in percent.
pub const SLOWER_PERCENT: i64 = 1;
/// The two are never told apart more closely than this.
const TOLERANCE: Duration = Duration::from_millis(10);
/// A jump shorter than this is no absence.
const JUMP_MIN: Duration = Duration::from_secs(1);

/// Where the time comes from: the machine, or a test.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Manual(Arc<AtomicI64>),
    Driven(Arc<Driven>),
    Running(Arc<Running>),
}

#[derive(Debug)]
struct Running {
    line: ArcSwap<Line>,
    wall: Wall,
}

/// From which point the monotonic clock carries the gateway's time on, and whether at the slower rate.
#[derive(Clone, Copy, Debug)]
struct Line {
    from: Instant,
    at: Timestamp,
    is_ahead: bool,
}

#[derive(Debug)]
enum Wall {
    Machine,
    /// Follows tokio's time, which tests can pause, and is set forward and back by hand.
    Simulated {
        from: Instant,
        at: AtomicI64,
    },
}

/// A point on the monotonic clock, for measuring how long something took.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        Self::running(Wall::Machine)
    }

    /// A clock that stands still at `start` until it is set: for tests.
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(start.0))))
    }

    /// A clock that stands still until `file` moves it, for trying out the program itself; `None` when the file does not
    /// say in which second (since the epoch) to begin.
    pub fn driven(file: &Path) -> Option<Self> {
        Some(Self(Source::Driven(Arc::new(Driven::open(file)?))))
    }

    /// Whether the time is made up by a file.
    pub const fn is_driven(&self) -> bool {
        matches!(self.0, Source::Driven(_))
    }

    /// Waits for the next tick of `machine`, or for the next second of a clock that a file drives.
    pub async fn tick(&self, machine: &mut Interval) {
        match &self.0 {
            Source::Driven(driven) => driven.second().await,
            _ => drop(machine.tick().await),
        }
    }

    /// A clock that goes with tokio's time, which tests can pause, and whose wall clock shows `start` and can be
    /// stepped: for tests and simulation.
    pub fn simulated(start: Timestamp) -> Self {
        Self::running(Wall::Simulated { from: monotonic(), at: AtomicI64::new(start.0) })
    }

    fn running(wall: Wall) -> Self {
        let line = Line { from: monotonic(), at: wall.now(), is_ahead: false };
        Self(Source::Running(Arc::new(Running { line: ArcSwap::from_pointee(line), wall })))
    }

    /// Sets a manual clock; others are left alone.
    pub fn set(&self, to: Timestamp) {
        if let Source::Manual(manual) = &self.0 {
            manual.store(to.0, Ordering::SeqCst);
        }
    }

    /// Steps a simulated wall clock forward (or back) by `micros`; others are left alone.
    pub fn step_wall(&self, micros: i64) {
        if let Source::Running(running) = &self.0
            && let Wall::Simulated { at, .. } = &running.wall
        {
            at.fetch_add(micros, Ordering::SeqCst);
        }
    }

    /// The gateway's time now. It never goes back.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::Manual(manual) => Timestamp(manual.load(Ordering::SeqCst)),
            Source::Driven(driven) => Timestamp(driven.at.load(Ordering::SeqCst)),
            Source::Running(running) => running.line.load().time(monotonic()),
        }
    }

    /// What the wall clock shows now: for what others signed or dated by theirs.
    pub fn wall(&self) -> Timestamp {
        match &self.0 {
            Source::Manual(_) | Source::Driven(_) => self.now(),
            Source::Running(running) => running.wall.now(),
        }
    }

    /// By how much the gateway's time is ahead of the wall clock: what others dated seems that much older than it is.
    pub fn ahead(&self) -> Duration {
        self.now().since(self.wall())
    }

    /// Lets the gateway's time begin no earlier than `at`, the newest time that is written down.
    pub fn begin_at(&self, at: Timestamp) {
        match &self.0 {
            Source::Manual(manual) => drop(manual.fetch_max(at.0, Ordering::SeqCst)),
            Source::Driven(driven) => drop(driven.at.fetch_max(at.0, Ordering::SeqCst)),
            Source::Running(running) => {
                let from = monotonic();
                if running.line.load().time(from) < at {
                    running.line.store(Arc::new(Line { from, at, is_ahead: true }));
                }
            }
        }
    }

    /// Brings the gateway's time nearer to the wall clock's; to be called every second or so. `before_jump` is told from
    /// when to when the time is about to jump.
    pub fn follow_wall(&self, before_jump: impl FnOnce(Timestamp, Timestamp)) {
        let Source::Running(running) = &self.0 else { return };
        let from = monotonic();
        let line = **running.line.load();
        let (now, wall) = (line.time(from), running.wall.now());
        let (behind, ahead) = (wall.since(now), now.since(wall));
        if behind > TOLERANCE {
            if behind >= JUMP_MIN {
                before_jump(now, wall);
            }
            running.line.store(Arc::new(Line { from, at: wall, is_ahead: false }));
        } else if line.is_ahead != (ahead > TOLERANCE) {
            running.line.store(Arc::new(Line { from, at: now, is_ahead: !line.is_ahead }));
        }
    }
}

impl Line {
    fn time(&self, instant: Instant) -> Timestamp {
        let elapsed = i64::try_from(instant.saturating_duration_since(self.from).as_micros()).unwrap_or(i64::MAX);
        let missing = if self.is_ahead { elapsed / 100 * SLOWER_PERCENT } else { 0 };
        Timestamp(self.at.0.saturating_add(elapsed - missing))
    }
}

impl Wall {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    fn now(&self) -> Timestamp {
        match self {
            Self::Machine => Timestamp(
                std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX)),
            ),
            Self::Simulated { from, at } => {
                Timestamp(at.load(Ordering::SeqCst)).plus(monotonic().saturating_duration_since(*from))
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
fn monotonic() -> Instant {
    Instant::now()
}

impl Stopwatch {
    /// Starts measuring. Follows tokio's paused time in tests.
    pub fn start() -> Self {
        Self(monotonic())
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_795_000_000);
    const HOUR: i64 = 3_600_000_000;

    fn follow(clock: &Clock) -> Option<Duration> {
        let mut jump = None;
        clock.follow_wall(|from, to| jump = Some(to.since(from)));
        jump
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_forward_is_a_jump_that_is_told_first() {
        let clock = Clock::simulated(START);
        tokio::time::advance(Duration::from_secs(10)).await;
        clock.step_wall(HOUR);
        assert_eq!(clock.now(), START.plus(Duration::from_secs(10)), "nothing happens by itself");
        clock.follow_wall(|from, to| {
            assert_eq!(to.since(from), Duration::from_secs(3600));
            assert_eq!(clock.now(), from, "told before it happens");
        });
        assert_eq!(clock.now(), clock.wall());
        assert_eq!(follow(&clock), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_back_is_made_good_without_going_back() {
        let clock = Clock::simulated(START);
        clock.step_wall(-HOUR);
        assert_eq!(follow(&clock), None);
        assert_eq!(clock.ahead(), Duration::from_secs(3600));
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(clock.now().since(before), Duration::from_secs(99));
        tokio::time::advance(Duration::from_secs(359_900)).await;
        follow(&clock);
        assert_eq!(clock.ahead(), Duration::ZERO);
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(clock.now().since(before), Duration::from_secs(100), "then it runs as it should");
    }

    #[tokio::test(start_paused = true)]
    async fn small_differences_are_no_absence() {
        let clock = Clock::simulated(START);
        clock.step_wall(900_000);
        assert_eq!(follow(&clock), None);
        assert_eq!(clock.now(), clock.wall());
    }

    #[tokio::test(start_paused = true)]
    async fn it_begins_no_earlier_than_what_is_written_down() {
        let clock = Clock::simulated(START);
        clock.begin_at(START.minus(Duration::from_secs(5)));
        assert_eq!(clock.now(), START);
        clock.begin_at(START.plus(Duration::from_secs(5)));
        assert_eq!((clock.now(), clock.wall()), (START.plus(Duration::from_secs(5)), START));
    }
}
