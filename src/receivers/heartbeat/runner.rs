//! Who sent a beat: the agent itself, or a runner that watches its process from outside.
//!
//! Both use the same call and the same key, and no field names the sender. It matters: a beat of the agent is proof that
//! it works and may carry usage, a beat of the runner only says that a process exists. Were a runner's "is not
//! responding" taken for the agent's own error, the agent would look alive just because it was reported dead.
//!
//! What the published runner (0.1.0) sends, for a target that is …
//!
//! | | status | message | restart fields |
//! |---|---|---|---|
//! | alive | `ok` | none | yes |
//! | down | `error` | `<target> is not responding` | **no** |
//! | down, restarted by the runner, alive | `ok` | `Auto-restarted successfully` | yes |
//! | down, restarted by the runner, still down | `error` | `Restart attempted — still not responding` | yes |
//! | down, and the restart itself failed | `error` | `Not responding — auto-restart failed` | yes |
//!
//! and never any usage, details or type. So:
//!
//! * restart fields, `ok` or `error`, and nothing only an agent can know: a runner's beat;
//! * the same restart fields beside usage, or with `warning` or `shutdown` (words the runner does not have): an agent that
//!   tells where it is restarted. Its usage must not be lost;
//! * no restart fields, but the exact words of the second row with the agent's own name in them: the runner's first beat
//!   for a dead target. An agent that says this of itself word for word cannot be told apart; it would say that it does
//!   not respond, and is taken at its word.

use crate::model::{BeatStatus, Heartbeat};

/// What follows the target in the runner's first beat for a dead target.
const NOT_RESPONDING: &str = " is not responding";
/// The runner's words after a restart of its own, which it sends with restart fields and whose status agrees. They are
/// known here so that a runner which leaves the fields out is still not taken for the agent.
const RESTARTED: &str = "Auto-restarted successfully";
const RESTART_FAILED: [&str; 2] = ["Restart attempted — still not responding", "Not responding — auto-restart failed"];

/// What a beat offers for telling who sent it.
pub struct Clues<'a> {
    /// The agent's name.
    pub name: &'a str,
    /// All else, read as if it were the agent's.
    pub beat: &'a Heartbeat,
    /// Whether it carries a restart type and target.
    pub restart: bool,
    /// Whether it carries a container id, which runners do not send.
    pub container: bool,
}

/// Whether the process runs, if a runner sent the beat; `None` for a beat of the agent.
pub fn running(clues: &Clues<'_>) -> Option<bool> {
    let alive = match clues.beat.status {
        BeatStatus::Ok => true,
        BeatStatus::Error => false,
        BeatStatus::Warning | BeatStatus::Shutdown => return None,
    };
    if clues.container || knows_the_inside(clues.beat) {
        return None;
    }
    let message = clues.beat.message.as_deref().unwrap_or_default();
    let words = if alive {
        message == RESTARTED
    } else {
        RESTART_FAILED.iter().any(|text| message.starts_with(text))
            || message.strip_suffix(NOT_RESPONDING).is_some_and(|target| is_target_of(target, clues.name))
    };
    (clues.restart || words).then_some(alive)
}

/// Whether the beat has anything that can only be known inside the agent.
fn knows_the_inside(beat: &Heartbeat) -> bool {
    let Heartbeat {
        status: _,
        message: _,
        tokens,
        cost,
        tool_calls,
        iteration,
        prompts,
        has_details,
        idle,
        agent_type,
        interval,
    } = beat;
    *has_details
        || *idle
        || tokens.is_some()
        || cost.is_some()
        || tool_calls.is_some()
        || iteration.is_some()
        || prompts.is_some()
        || agent_type.is_some()
        || interval.is_some()
}

/// Whether the runner calls the agent of `target` by this `name`: the target itself, but of a target with two or more
/// dots only its last two parts (`com.me.corp.agent` → `corp.agent`).
fn is_target_of(target: &str, name: &str) -> bool {
    let target = target.trim();
    let mut dots = target.rmatch_indices('.').map(|(at, _)| at);
    target == name || dots.nth(1).is_some_and(|at| &target[at + 1..] == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, status: BeatStatus, message: &str, restart: bool) -> Option<bool> {
        let beat = Heartbeat { message: Some(message.to_owned()).filter(|m| !m.is_empty()), ..Heartbeat::bare(status) };
        running(&Clues { name, beat: &beat, restart, container: false })
    }

    #[test]
    fn the_runners_five_beats_are_its_own() {
        use BeatStatus::{Error, Ok};
        for (name, status, message, restart, expected) in [
            ("my-bot", Ok, "", true, true),
            ("my-bot", Error, "my-bot is not responding", false, false),
            ("corp.agent", Error, "com.me.corp.agent is not responding", false, false),
            ("python agent.py", Error, "python agent.py is not responding", false, false),
            ("my-bot", Ok, "Auto-restarted successfully", true, true),
            ("my-bot", Error, "Restart attempted — still not responding", true, false),
            ("my-bot", Error, "Not responding — auto-restart failed", true, false),
        ] {
            assert_eq!(told(name, status, message, restart), Some(expected), "{name}: {message}");
        }
    }

    #[test]
    fn an_agent_speaks_for_itself() {
        use BeatStatus::{Error, Ok, Shutdown, Warning};
        for (name, status, message, restart) in [
            ("my-bot", Ok, "", false),
            ("my-bot", Error, "upstream is not responding", false),
            ("agent", Error, "com.me.corp.agent is not responding", false),
            ("corp.agent", Error, "corp.agent is not responding any more", false),
            ("my-bot", Ok, "my-bot is not responding", false),
            ("my-bot", Shutdown, "", true),
            ("my-bot", Warning, "", true),
        ] {
            assert_eq!(told(name, status, message, restart), None, "{name}: {message}");
        }
    }

    #[test]
    fn what_knows_the_inside_is_the_agent() {
        let bare = Heartbeat::bare(BeatStatus::Ok);
        for beat in [
            Heartbeat { tokens: Some(0), ..bare.clone() },
            Heartbeat { has_details: true, ..bare.clone() },
            Heartbeat { agent_type: Some("langchain".to_owned()), ..bare.clone() },
            Heartbeat { iteration: Some(0), ..bare.clone() },
        ] {
            assert_eq!(running(&Clues { name: "a", beat: &beat, restart: true, container: false }), None, "{beat:?}");
        }
        assert_eq!(running(&Clues { name: "a", beat: &bare, restart: true, container: true }), None);
        assert_eq!(running(&Clues { name: "a", beat: &bare, restart: true, container: false }), Some(true));
    }
}
