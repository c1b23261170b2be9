//! When the gateway was accepting, as the evaluator, the lane and the queue before it find out together.
//!
//! Accepting is known up to the evaluator's last tick. A tick that is overdue (a stopped process, a suspended machine), a
//! store that refused the last commit, or a full queue leave it where it was; once that is longer ago than
//! [`ABSENT_AFTER`], the time since then is an absence for whoever judges now, and a lasting one when accepting goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::warn;

use crate::model::{Presence, Timestamp};

/// A shorter time without proof of accepting is nothing: ticks come every second.
pub const ABSENT_AFTER: Duration = Duration::from_secs(6);

/// When the gateway was accepting. Clones share what they know.
#[derive(Clone, Debug)]
pub struct SharedPresence(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    known: Mutex<Known>,
    /// Whether a request was refused for want of room since the last tick.
    shed: AtomicBool,
}

#[derive(Debug)]
struct Known {
    presence: Arc<Presence>,
    accepting_at: Timestamp,
    /// Whether the store refused the last commit.
    refusing: bool,
}

impl SharedPresence {
    /// A gateway that accepts since `presence.started_at`.
    pub fn new(presence: Presence) -> Self {
        let accepting_at = presence.started_at;
        let known = Known { presence: Arc::new(presence), accepting_at, refusing: false };
        Self(Arc::new(Shared { known: Mutex::new(known), shed: AtomicBool::new(false) }))
    }

    /// What is to be judged by at `now`: the absences known, and the one that may be going on.
    pub fn at(&self, now: Timestamp) -> Arc<Presence> {
        let known = self.known();
        let mut presence = known.presence.clone();
        if known.is_absent(now) {
            Arc::make_mut(&mut presence).add_gap(known.accepting_at, now);
        }
        presence
    }

    /// The evaluator's clock ticks. Whatever kept it from ticking is over.
    pub fn tick(&self, now: Timestamp) {
        let shed = self.0.shed.swap(false, Ordering::Relaxed);
        let mut known = self.known();
        if !known.refusing && !shed {
            known.accepts(now);
        }
    }

    /// A commit that was planned at `now` is durable.
    pub fn committed(&self, now: Timestamp) {
        let shed = self.0.shed.load(Ordering::Relaxed);
        let mut known = self.known();
        known.refusing = false;
        if known.is_absent(now) && !shed {
            known.accepts(now);
        }
    }

    /// The store refused a commit.
    pub fn refused(&self) {
        self.known().refusing = true;
    }

    /// A request was refused for want of room.
    pub fn shed(&self) {
        self.0.shed.store(true, Ordering::Relaxed);
    }

    /// Whether the store refused the last commit.
    pub fn is_refusing(&self) -> bool {
        self.known().refusing
    }

    /// The time is about to jump: nobody could say anything in between.
    pub fn jump(&self, from: Timestamp, to: Timestamp) {
        let seconds = to.since(from).as_secs();
        warn!(seconds, "the wall clock was set forward, or the machine slept; deadlines of agents are moved");
        Arc::make_mut(&mut self.known().presence).add_gap(from, to);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn is_absent(&self, now: Timestamp) -> bool {
        now.since(self.accepting_at) > ABSENT_AFTER
    }

    fn accepts(&mut self, now: Timestamp) {
        if self.is_absent(now) {
            let seconds = now.since(self.accepting_at).as_secs();
            warn!(seconds, "the gateway itself could not accept for a while; deadlines of agents are moved");
            Arc::make_mut(&mut self.presence).add_gap(self.accepting_at, now);
        }
        self.accepting_at = self.accepting_at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn t(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_795_000_000 + secs)
    }

    fn gaps(shared: &SharedPresence, now: i64) -> Vec<(Timestamp, Timestamp)> {
        shared.at(t(now)).gaps().to_vec()
    }

    fn ticking(to: i64) -> SharedPresence {
        let shared = SharedPresence::new(Presence::new(t(0), []));
        (1..=to).for_each(|now| shared.tick(t(now)));
        shared
    }

    #[test]
    fn a_pause_is_known_to_whoever_judges_first() {
        let shared = ticking(10);
        assert_eq!(gaps(&shared, 16), []);
        assert_eq!(gaps(&shared, 610), [(t(10), t(610))]);
        shared.tick(t(611));
        assert_eq!(gaps(&shared, 615), [(t(10), t(611))]);
    }

    #[test]
    fn time_in_which_the_store_refuses_is_an_absence_until_a_commit_succeeds() {
        let shared = ticking(10);
        shared.refused();
        (11..=300).for_each(|now| shared.tick(t(now)));
        assert_eq!(gaps(&shared, 300), [(t(10), t(300))]);
        shared.committed(t(305));
        assert_eq!(gaps(&shared, 311), [(t(10), t(305))], "and over with that commit");
        shared.tick(t(311));
        assert_eq!(gaps(&shared, 312), [(t(10), t(305))]);
    }

    #[test]
    fn a_refusal_that_is_over_soon_is_nothing() {
        let shared = ticking(10);
        shared.refused();
        (11..=14).for_each(|now| shared.tick(t(now)));
        shared.committed(t(15));
        shared.tick(t(16));
        assert_eq!(gaps(&shared, 20), []);
    }

    #[test]
    fn a_full_queue_is_an_absence_while_it_lasts() {
        let shared = ticking(10);
        for now in 11..=30 {
            shared.shed();
            shared.committed(t(now));
            shared.tick(t(now));
        }
        assert_eq!(gaps(&shared, 30), [(t(10), t(30))]);
        shared.tick(t(31));
        assert_eq!(gaps(&shared, 33), [(t(10), t(31))]);
    }

    #[test]
    fn a_jump_of_the_time_is_an_absence_however_short() {
        let shared = ticking(10);
        shared.jump(t(10), t(13));
        shared.tick(t(13));
        assert_eq!(gaps(&shared, 14), [(t(10), t(13))]);
        shared.jump(t(13), t(3613));
        assert_eq!(gaps(&shared, 3613), [(t(10), t(3613))], "known before the next tick");
    }
}
