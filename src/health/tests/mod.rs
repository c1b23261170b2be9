//! Stories in virtual time: beats every 60 s, times in seconds after the first beat, deadlines fired exactly when the
//! state asks for it.

mod absence;
mod edges;
mod fleet;
mod loops;
mod oracle;
mod properties;
mod schedule;
mod time;
mod told;
mod vectors;
mod watch;

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::model::*;

const T0: i64 = 1_795_000_000;

struct Story {
    state: AgentState,
    policy: Policy,
    presence: Presence,
    fleet: Fleet,
    now: i64,
    /// Every change of the status.
    log: Vec<(i64, Status)>,
    /// Every change of the active conditions, in words; a hard one has a `!`.
    conditions: Vec<(i64, String)>,
    /// Events besides changes of the status, by their words.
    told: Vec<(i64, &'static str)>,
    /// All events, whole.
    events: Vec<EventDraft>,
    wishes: Vec<(i64, RestartWish)>,
}

fn story() -> Story {
    let presence = Presence::new(at(-10_000), []);
    let state = AgentState { deadline: Timestamp::MAX, ..AgentState::default() };
    Story {
        state,
        policy: Policy::default(),
        presence,
        fleet: Fleet::default(),
        now: 0,
        log: vec![],
        conditions: vec![],
        told: vec![],
        events: vec![],
        wishes: vec![],
    }
}

/// Something that happens at a second of the story, besides the beats.
type Extra = (i64, fn() -> Body);

const fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(T0 + secs)
}

fn beat(status: BeatStatus) -> Body {
    Body::Heartbeat(Box::new(Heartbeat::bare(status)))
}

fn ping() -> Body {
    Body::Heartbeat(Box::new(Heartbeat { message: Some("done".into()), ..Heartbeat::bare(BeatStatus::Ok) }))
}

fn supervised(running: bool) -> Body {
    let restart = Some(RestartTarget { kind: "docker".into(), target: "a".into() });
    Body::SupervisorReport(SupervisorReport { running, message: None, restart })
}

impl Story {
    fn feed(&mut self, source: Source, body: Body) {
        let agent = AgentKey::new(ProjectId(1), "a").unwrap();
        let now = at(self.now);
        let observation = Observation { agent, received_at: now, at: None, source, body };
        let moment = Moment {
            now,
            presence: &self.presence,
            restarts_from: Timestamp(0),
            group_silent: false,
            fleet: self.fleet,
        };
        let before = self.state.status;
        let effects = apply(&mut self.state, &observation, &self.policy, &moment);
        let mut last = before;
        for event in &effects.events {
            if let Some((from, to)) = event.transition {
                assert_eq!(from, last, "transitions chain");
                last = to;
                self.log.push((self.now, to));
            } else {
                self.told.push((self.now, event.kind.word()));
            }
        }
        assert_eq!(last, self.state.status);
        let now = now.max(self.state.updated_at);
        assert!(self.state.deadline > now, "deadlines are never in the past after apply");
        let derived = status::derive(&self.state, &self.policy, &Moment { now, ..moment });
        assert_eq!(derived, self.state.status, "the status is a function of the conditions");
        let conditions = self.active();
        if self.conditions.last().map_or("", |(_, last)| last) != conditions {
            self.conditions.push((self.now, conditions));
        }
        self.events.extend(effects.events);
        self.wishes.extend(effects.restart.map(|w| (self.now, w)));
    }

    /// The newest second of the story.
    fn moment(&self) -> Moment<'_> {
        Moment {
            now: at(self.now),
            presence: &self.presence,
            restarts_from: Timestamp(0),
            group_silent: false,
            fleet: self.fleet,
        }
    }

    /// Why the agent has its status, at the newest second of the story.
    fn why(&self) -> String {
        reason(&self.state, &self.policy, at(self.now))
    }

    /// The active conditions in words.
    fn active(&self) -> String {
        let mark = |level| if level == Level::Hard { "!" } else { "" };
        let words = self.state.conditions.active().map(|(c, a)| format!("{}{}", c.word(), mark(a.level)));
        words.collect::<Vec<_>>().join(" ")
    }

    /// The first whole second at which the armed deadline has passed.
    fn next(&self) -> i64 {
        self.state.deadline.0.saturating_add(999_999).div_euclid(1_000_000) - T0
    }

    /// Lets time pass, firing every deadline on the way.
    fn until(&mut self, secs: i64) -> &mut Self {
        while self.next() <= secs {
            self.now = self.next();
            self.feed(Source::Gateway, Body::DeadlinePassed);
        }
        self.now = secs;
        self
    }

    fn at(&mut self, secs: i64, body: Body) -> &mut Self {
        let source = match body {
            Body::SupervisorReport(_) => Source::Supervisor,
            Body::Problem(_) => Source::Langfuse,
            Body::Command(_) | Body::Paused(_) | Body::Maintenance(_) => Source::Gateway,
            _ => Source::Agent,
        };
        if secs > self.now {
            self.until(secs);
        }
        self.feed(source, body);
        self
    }

    fn beats(&mut self, from: i64, to: i64) -> &mut Self {
        for t in (from..=to).step_by(60) {
            self.at(t, beat(BeatStatus::Ok));
        }
        self
    }

    /// Mixes `extra` into beats every 60 s from 0 to `to`.
    fn beats_with(&mut self, to: i64, extra: &[Extra]) -> &mut Self {
        let mut all: Vec<(i64, Body)> = (0..=to).step_by(60).map(|t| (t, beat(BeatStatus::Ok))).collect();
        all.extend(extra.iter().map(|(t, body)| (*t, body())));
        all.sort_by_key(|(t, _)| *t);
        for (t, body) in all {
            self.at(t, body);
        }
        self
    }

    fn expect(&mut self, log: &[(i64, Status)]) -> &mut Self {
        assert_eq!(self.log, log);
        self
    }

    /// The conditions that held from each second on.
    fn expect_conditions(&mut self, log: &[(i64, &str)]) -> &mut Self {
        let seen: Vec<_> = self.conditions.iter().map(|(at, words)| (*at, words.as_str())).collect();
        assert_eq!(seen, log);
        self
    }
}

use Status::*;
const SETTLED: [(i64, Status); 2] = [(0, Starting), (60, Healthy)];

fn log(rest: &[(i64, Status)]) -> Vec<(i64, Status)> {
    SETTLED.into_iter().chain(rest.iter().copied()).collect()
}

#[test]
fn a_runner_that_sees_no_process_degrades_at_once_and_downs_at_its_deadline() {
    let mut s = story();
    s.at(0, supervised(true)).at(30, supervised(true)).at(60, supervised(false)).at(90, supervised(false)).until(500);
    s.expect(&[(0, Starting), (30, Healthy), (60, Degraded), (130, Down)]);
    assert!(reason(&s.state, &s.policy, at(130)).contains("the runner says it does not run"));
}

#[test]
fn an_agent_that_a_runner_never_saw_alive_is_down_at_its_deadline_and_may_be_restarted() {
    let mut s = story();
    s.policy.auto_restart = true;
    s.at(0, supervised(false)).at(30, supervised(false));
    assert_eq!((s.state.status, s.state.status_since), (Status::Unknown, at(0)));
    assert!(reason(&s.state, &s.policy, at(30)).contains("has never seen it run"));
    s.until(99).expect(&[]);
    s.until(500).expect(&[(100, Down)]);
    assert_eq!(s.state.status_since, at(0));
    assert!(reason(&s.state, &s.policy, at(500)).starts_with("the runner says it does not run"));
    let asked: Vec<_> = s.wishes.iter().map(|(t, _)| *t).collect();
    assert_eq!(asked, [100]);
    let id = CommandId(Uuid::nil());
    for change in [CommandChange::Queued { automatic: true }, CommandChange::Started, CommandChange::Succeeded] {
        s.at(510, Body::Command(CommandUpdate { id, change }));
    }
    s.until(900).expect(&[(100, Down), (510, Restarting), (610, Down)]);
}

#[test]
fn a_langfuse_error_asks_for_a_restart_only_where_policy_allows_it() {
    let problem =
        || Body::Problem(Problem { message: "timeout".into(), failure: true, event: "langfuse_error", restart: true });
    let mut off = story();
    off.at(0, supervised(true)).at(10, problem());
    assert!(off.wishes.is_empty());
    let mut on = story();
    on.policy.auto_restart = true;
    on.at(0, supervised(true)).at(10, problem());
    assert_eq!(on.wishes[0].1.origin, CommandOrigin::WebhookLangfuse);
    assert_eq!(on.state.totals.langfuse_errors, 1);
}

#[test]
fn background_beats_repeat_sticky_values_and_prove_no_work() {
    let sticky = |iteration| {
        let beat = Heartbeat { iteration: Some(iteration), prompts: Some(7), ..Heartbeat::bare(BeatStatus::Ok) };
        Body::Heartbeat(Box::new(beat))
    };
    let mut s = story();
    s.at(0, sticky(1)).at(60, sticky(1)).at(120, sticky(1));
    assert_eq!(s.state.totals.successes, 1, "only the first, which is news");
    s.at(180, sticky(2));
    assert_eq!(s.state.totals.successes, 2);
}

#[test]
fn the_interval_an_agent_declares_is_its_own() {
    let mut s = story();
    let beat = Heartbeat { interval: Some(Duration::from_secs(10)), ..Heartbeat::bare(BeatStatus::Ok) };
    s.at(0, Body::Heartbeat(Box::new(beat.clone()))).at(10, Body::Heartbeat(Box::new(beat))).until(1000);
    s.expect(&[(0, Starting), (10, Healthy), (25, Degraded), (50, Down)]);
}
