//! Stories of the plan: batches go in over a memory store, answers and stored rows come out, time is set by hand.

mod commands;
mod fleet;
mod group;
mod notices;
mod observations;
mod spans;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{CommandRules, Context, Rules, first_load, plan, second_load};
use crate::ids::Ids;
use crate::ingest::intake::{Intake, Outcome, Refusal, RestartOutcome, Seen, Verdict, Work};
use crate::model::*;
use crate::store::memory::MemoryStore;
use crate::store::{EventQuery, LoadSet, PresenceWrite, Store};

const P1: ProjectId = ProjectId(1);
const P2: ProjectId = ProjectId(2);
const TTL: Duration = Duration::from_secs(300);
const LEASE: Duration = Duration::from_secs(120);

const fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_795_000_000 + secs)
}

/// The configuration of a story: the default policy, overridden by each agent's own settings.
struct TestRules {
    agents_max: Mutex<u64>,
}

impl Rules for TestRules {
    fn policy(&self, _: ProjectId, _: &str, settings: &PolicyPatch) -> Arc<Policy> {
        let mut policy = Policy::default();
        settings.apply_to(&mut policy);
        Arc::new(policy)
    }
    fn agents_max(&self, _: ProjectId) -> u64 {
        *self.agents_max.lock().unwrap()
    }
    fn commands(&self) -> CommandRules {
        CommandRules { ttl: TTL, lease: LEASE }
    }
    fn events_before(&self, _: Timestamp) -> Vec<(ProjectId, Timestamp)> {
        vec![]
    }
}

/// A gateway without a wire.
struct Story {
    store: MemoryStore,
    rules: TestRules,
    ids: Ids,
    presence: Presence,
    /// By how much the gateway's time is ahead of the wall clock.
    ahead: Duration,
    now: i64,
}

impl Story {
    fn new() -> Self {
        Self {
            store: MemoryStore::new(),
            rules: TestRules { agents_max: Mutex::new(100) },
            ids: Ids::seeded(1),
            presence: Presence::new(at(-10_000), []),
            ahead: Duration::ZERO,
            now: 0,
        }
    }

    /// One batch, one commit.
    async fn batch(&self, batch: Vec<Intake>) -> Vec<Outcome> {
        let (first, mut transaction) = self.store.begin(first_load(&batch)).await.unwrap();
        let second = transaction.load(second_load(&batch, &first)).await.unwrap();
        let context = Context {
            now: at(self.now),
            ahead: self.ahead,
            presence: &self.presence,
            restarts_from: Timestamp(0),
            rules: &self.rules,
            ids: &self.ids,
        };
        let asked = batch.len();
        let (outcomes, writes) = plan(batch, first, second, &context);
        assert_eq!(outcomes.len(), asked, "one answer for each");
        let mut written: Vec<AgentId> = writes.agents.iter().map(|row| row.id).collect();
        written.sort_unstable();
        written.dedup();
        assert_eq!(written.len(), writes.agents.len(), "each agent is written at most once");
        transaction.commit(writes).await.unwrap();
        outcomes
    }

    async fn one(&self, intake: Intake) -> Outcome {
        self.batch(vec![intake]).await.remove(0)
    }

    /// Lets time pass, and the evaluator hand in what is due on the way.
    async fn until(&mut self, secs: i64) {
        while self.now < secs {
            self.now += 1;
            let agents = self.store.due_agents(at(self.now), 100).await.unwrap();
            let commands = self.store.due_commands(at(self.now), 100).await.unwrap();
            if !agents.is_empty() {
                self.one(work(Work::Deadlines(agents))).await;
            }
            if !commands.is_empty() {
                self.one(work(Work::CommandDeadlines(commands))).await;
            }
        }
    }

    async fn beat(&self, name: &str) -> Seen {
        self.observed(beat(self.now, P1, name)).await
    }

    async fn observed(&self, intake: Intake) -> Seen {
        seen(self.one(intake).await).remove(0).unwrap()
    }

    /// An agent that a runner knows how to restart, and that has settled; `settings` as one writes them.
    async fn watched(&self, name: &str, settings: &str) -> AgentId {
        let report = SupervisorReport {
            running: true,
            message: None,
            restart: Some(RestartTarget { kind: "docker".into(), target: name.into() }),
        };
        self.observed(observe(self.now, P1, name, Source::Supervisor, Body::SupervisorReport(report))).await;
        let agent = self.beat(name).await.agent;
        let settings = serde_json::from_str(settings).unwrap();
        let outcome = self.one(work(Work::Settings { agent, settings, only_if: None })).await;
        assert_eq!(outcome, Outcome::Changed(Ok(())));
        agent
    }

    async fn state(&self, agent: AgentId) -> AgentState {
        self.store.agent(agent).await.unwrap().unwrap().state.clone()
    }

    /// What happened, oldest first.
    async fn events(&self, project: ProjectId) -> Vec<Event> {
        let query = EventQuery { project, agent: None, before: None, limit: 1000 };
        let mut events = self.store.events(query).await.unwrap();
        events.reverse();
        events
    }

    async fn commands(&self) -> Vec<Command> {
        self.store.commands(P1, 100).await.unwrap()
    }

    async fn hand_out(&self, peer: &str) -> Vec<Command> {
        match self.one(work(Work::HandOut { peer: peer.into() })).await {
            Outcome::Commands(commands) => commands,
            other => panic!("{other:?}"),
        }
    }

    async fn restart(&self, agent: AgentId) -> Result<RestartOutcome, Refusal> {
        match self.one(work(Work::Restart { agent, reason: "asked for".into(), during_maintenance: false })).await {
            Outcome::Restart(result) => result,
            other => panic!("{other:?}"),
        }
    }

    async fn tell_result(&self, id: CommandId, verdict: Verdict) -> Result<Command, Refusal> {
        let command = self.commands().await.into_iter().find(|c| c.id == id);
        let peer = command.and_then(|c| c.runner).unwrap_or_default();
        self.tell_result_from(&peer, id, verdict).await
    }

    async fn tell_result_from(&self, peer: &str, id: CommandId, verdict: Verdict) -> Result<Command, Refusal> {
        let message = Some("said so".into());
        match self.one(work(Work::CommandResult { id, verdict, peer: peer.into(), message })).await {
            Outcome::Result(result) => result,
            other => panic!("{other:?}"),
        }
    }
}

fn work(work: Work) -> Intake {
    Intake { project: P1, dedup: None, bytes: 1, work }
}

fn observe(now: i64, project: ProjectId, name: &str, source: Source, body: Body) -> Intake {
    let agent = AgentKey::new(project, name).unwrap();
    let observation = Observation { agent, received_at: at(now), at: None, source, body };
    Intake { project, dedup: None, bytes: 1, work: Work::Observe(vec![observation]) }
}

/// A beat that used 10 tokens.
fn beat(now: i64, project: ProjectId, name: &str) -> Intake {
    let beat = Heartbeat { tokens: Some(10), ..Heartbeat::bare(BeatStatus::Ok) };
    observe(now, project, name, Source::Agent, Body::Heartbeat(Box::new(beat)))
}

/// The same with an idempotency key.
fn keyed(intake: Intake, content: &str) -> Intake {
    let dedup = Some(DedupKey::of(intake.project, "idempotency-key", content.as_bytes()));
    Intake { dedup, ..intake }
}

fn seen(outcome: Outcome) -> Vec<Result<Seen, Refusal>> {
    match outcome {
        Outcome::Observed(seen) => seen,
        other => panic!("{other:?}"),
    }
}
