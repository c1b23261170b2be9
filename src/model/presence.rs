//! When the gateway itself was there: its own outage is never an agent's outage.

use std::time::Duration;

use super::Timestamp;

/// How many past gaps are remembered; older ones lie before any deadline.
pub const GAPS_MAX: usize = 64;

/// When the gateway was accepting signals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// When this run of the gateway began to accept.
    pub started_at: Timestamp,
    /// Times in which nothing could be accepted, oldest first, not overlapping.
    gaps: Vec<(Timestamp, Timestamp)>,
}

impl Presence {
    /// A gateway that accepts since `started_at` and remembers earlier `gaps` (any order, overlaps allowed).
    pub fn new(started_at: Timestamp, gaps: impl IntoIterator<Item = (Timestamp, Timestamp)>) -> Self {
        let mut presence = Self { started_at, gaps: Vec::new() };
        let mut gaps: Vec<_> = gaps.into_iter().collect();
        gaps.sort();
        for (from, to) in gaps {
            presence.add_gap(from, to);
        }
        presence
    }

    /// Remembers that nothing could be accepted from `from` to `to`; with what it touches it becomes one gap.
    pub fn add_gap(&mut self, from: Timestamp, to: Timestamp) {
        if to <= from {
            return;
        }
        let first = self.gaps.partition_point(|gap| gap.1 < from);
        let end = self.gaps.partition_point(|gap| gap.0 <= to);
        let touched = &self.gaps[first..end];
        let from = touched.first().map_or(from, |gap| gap.0.min(from));
        let to = touched.last().map_or(to, |gap| gap.1.max(to));
        self.gaps.splice(first..end, [(from, to)]);
        if self.gaps.len() > GAPS_MAX {
            self.gaps.remove(0);
        }
    }

    /// The remembered gaps, oldest first.
    pub fn gaps(&self) -> &[(Timestamp, Timestamp)] {
        &self.gaps
    }

    /// When `span` of accepted time will have passed since `from`.
    pub fn after(&self, from: Timestamp, span: Duration) -> Timestamp {
        let mut end = from.plus(span);
        for (gap_from, gap_to) in &self.gaps {
            if *gap_to > from && *gap_from < end {
                end = end.plus(gap_to.since((*gap_from).max(from)));
            }
        }
        end
    }

    /// How much accepted time passed from `from` to `to`.
    pub fn accepted(&self, from: Timestamp, to: Timestamp) -> Duration {
        let blind: Duration = self.gaps.iter().map(|(a, b)| (*b).min(to).since((*a).max(from))).sum();
        to.since(from).saturating_sub(blind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn t(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }
    const fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn deadlines_move_by_the_time_the_gateway_was_away() {
        let p = Presence::new(t(4200), [(t(600), t(4200))]);
        assert_eq!(p.after(t(590), s(190)), t(590 + 190 + 3600));
        assert_eq!(p.after(t(100), s(190)), t(290), "a gap after the deadline does not count");
        assert_eq!(p.after(t(410), s(190)), t(600), "nor one that begins with it");
        assert_eq!(p.after(t(1000), s(190)), t(4390), "silence that begins inside a gap starts at its end");
        assert_eq!(p.accepted(t(590), t(4210)), s(20));
    }

    #[test]
    fn overlapping_gaps_are_one() {
        let p = Presence::new(t(0), [(t(20), t(30)), (t(10), t(25)), (t(50), t(40))]);
        assert_eq!(p.gaps(), [(t(10), t(30))]);
    }

    #[test]
    fn of_many_gaps_the_newest_are_remembered() {
        let many = (0..GAPS_MAX as i64 + 6).map(|n| (t(n * 100), t(n * 100 + 10)));
        let p = Presence::new(t(0), many);
        assert_eq!((p.gaps().len(), p.gaps()[0]), (GAPS_MAX, (t(600), t(610))));
    }

    #[test]
    fn gaps_may_be_found_in_any_order() {
        let mut p = Presence::new(t(0), [(t(40), t(50))]);
        p.add_gap(t(10), t(20));
        assert_eq!(p.gaps(), [(t(10), t(20)), (t(40), t(50))], "accepted time in between stays");
        p.add_gap(t(15), t(50));
        assert_eq!(p.gaps(), [(t(10), t(50))], "one that began before a later one that is known");
        p.add_gap(t(60), t(70));
        p.add_gap(t(50), t(55));
        assert_eq!(p.gaps(), [(t(10), t(55)), (t(60), t(70))]);
    }
}
