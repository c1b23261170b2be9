//! Mass silence: when many agents of a project fall silent together, the cause is hardly the agents. One event is told
//! for all of them, and none is restarted while it lasts.

use std::time::Duration;

use serde_json::json;

use crate::model::{EventDraft, EventKind, ProjectCounts, Timestamp};

/// Fewer silent agents than this are never a group.
const SILENT_MIN: u64 = 3;
/// At least this share of the watched agents, in percent.
const SHARE_MIN_PERCENT: u64 = 55;
/// While a group is silent, each of its agents is judged again after this time.
pub const RECHECK: Duration = Duration::from_secs(60);

/// Whether so many agents of a project are silent that the cause is hardly the agents.
pub const fn is_group_silent(counts: &ProjectCounts) -> bool {
    counts.silent >= SILENT_MIN && counts.silent * 100 >= counts.watched * SHARE_MIN_PERCENT
}

/// The one event for all of them.
pub fn group_event(counts: &ProjectCounts, now: Timestamp) -> EventDraft {
    let ProjectCounts { silent, watched, .. } = counts;
    let cause = if silent == watched {
        "likely cause: a network or host they share, or the way to this gateway"
    } else {
        "likely cause: a network or host they share"
    };
    EventDraft {
        kind: EventKind::SilentGroup,
        at: now,
        transition: None,
        hard: true,
        cause: format!("{silent} of {watched} agents fell silent together; {cause}; automatic restarts are held"),
        evidence: json!({"silent": silent, "watched": watched}),
    }
}
