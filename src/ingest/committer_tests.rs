//! The lane: replies after commits, batches that form by themselves, and limits that are felt at once.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::ingest::intake::Work;
use crate::ingest::plan::CommandRules;
use crate::model::*;
use crate::store::memory::{Fault, MemoryStore};
use crate::store::*;

const P1: ProjectId = ProjectId(1);
const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

struct TestRules;

impl Rules for TestRules {
    fn policy(&self, _: ProjectId, _: &str, _: &PolicyPatch) -> Arc<Policy> {
        Arc::new(Policy { auto_restart: true, ..Policy::default() })
    }
    fn agents_max(&self, _: ProjectId) -> u64 {
        1000
    }
    fn commands(&self) -> CommandRules {
        CommandRules { ttl: Duration::from_secs(300), lease: Duration::from_secs(120) }
    }
    fn events_before(&self, _: Timestamp) -> Vec<(ProjectId, Timestamp)> {
        vec![]
    }
}

/// A memory store whose commits wait until the gate lets them through, and which notes how large each one was.
#[derive(Clone)]
struct Gated {
    inner: MemoryStore,
    /// Each commit takes one permit.
    gate: Arc<Semaphore>,
    /// Dedup keys in each commit: here, how many intakes it carried.
    sizes: Arc<Mutex<Vec<usize>>>,
}

struct GatedTransaction {
    inner: Box<dyn Transaction>,
    store: Gated,
}

#[async_trait]
impl Transaction for GatedTransaction {
    async fn load(&mut self, set: LoadSet) -> Result<Loaded, StoreError> {
        self.inner.load(set).await
    }
    async fn commit(self: Box<Self>, writes: WriteSet) -> Result<(), StoreError> {
        self.store.sizes.lock().unwrap().push(writes.dedup.len());
        self.store.gate.acquire().await.unwrap().forget();
        self.inner.commit(writes).await
    }
}

#[async_trait]
impl Store for Gated {
    async fn begin(&self, set: LoadSet) -> Result<(Loaded, Box<dyn Transaction>), StoreError> {
        let (loaded, inner) = self.inner.begin(set).await?;
        Ok((loaded, Box::new(GatedTransaction { inner, store: self.clone() })))
    }
    async fn project_state(
        &self,
        project: ProjectId,
    ) -> Result<(crate::model::ProjectState, crate::model::ProjectCounts), StoreError> {
        self.inner.project_state(project).await
    }
    async fn due_agents(&self, now: Timestamp, limit: usize) -> Result<Vec<AgentId>, StoreError> {
        self.inner.due_agents(now, limit).await
    }
    async fn due_commands(&self, now: Timestamp, limit: usize) -> Result<Vec<CommandId>, StoreError> {
        self.inner.due_commands(now, limit).await
    }
    async fn due_traces(&self, now: Timestamp, limit: usize) -> Result<Vec<(TraceKey, Arc<str>)>, StoreError> {
        self.inner.due_traces(now, limit).await
    }
    async fn due_instances(&self, now: Timestamp, limit: usize) -> Result<Vec<InstanceKey>, StoreError> {
        self.inner.due_instances(now, limit).await
    }
    async fn agent(&self, id: AgentId) -> Result<Option<Arc<AgentRow>>, StoreError> {
        self.inner.agent(id).await
    }
    async fn agents(&self, project: ProjectId, offset: usize, limit: usize) -> Result<AgentPage, StoreError> {
        self.inner.agents(project, offset, limit).await
    }
    async fn project_agents(
        &self,
        project: ProjectId,
        after: AgentId,
        limit: usize,
    ) -> Result<Vec<Arc<AgentRow>>, StoreError> {
        self.inner.project_agents(project, after, limit).await
    }
    async fn agent_named(&self, key: &AgentKey) -> Result<Option<Arc<AgentRow>>, StoreError> {
        self.inner.agent_named(key).await
    }
    async fn similar_name(&self, project: ProjectId, name: &str) -> Result<Option<Arc<str>>, StoreError> {
        self.inner.similar_name(project, name).await
    }
    async fn aliases(&self, id: AgentId) -> Result<Vec<Arc<str>>, StoreError> {
        self.inner.aliases(id).await
    }
    async fn registrations(&self, project: ProjectId) -> Result<Vec<(Arc<str>, Registration)>, StoreError> {
        self.inner.registrations(project).await
    }
    async fn windows(&self) -> Result<Vec<MaintenanceWindow>, StoreError> {
        self.inner.windows().await
    }
    async fn rollups(&self, query: RollupQuery) -> Result<Vec<Rollup>, StoreError> {
        self.inner.rollups(query).await
    }
    async fn sweep_history(&self, before: Vec<HistoryBefore>) -> Result<(), StoreError> {
        self.inner.sweep_history(before).await
    }
    async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRow>, StoreError> {
        self.inner.audit(query).await
    }
    async fn scan_agents(&self, after: AgentId, limit: usize) -> Result<Vec<Arc<AgentRow>>, StoreError> {
        self.inner.scan_agents(after, limit).await
    }
    async fn events(&self, query: EventQuery) -> Result<Vec<Event>, StoreError> {
        self.inner.events(query).await
    }
    async fn commands(&self, project: ProjectId, limit: usize) -> Result<Vec<Command>, StoreError> {
        self.inner.commands(project, limit).await
    }
    async fn projects(&self) -> Result<Vec<Project>, StoreError> {
        self.inner.projects().await
    }
    async fn ensure_project(&self, name: &str) -> Result<Project, StoreError> {
        self.inner.ensure_project(name).await
    }
    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.inner.keys().await
    }
    async fn put_key(&self, key: ApiKey) -> Result<(), StoreError> {
        self.inner.put_key(key).await
    }
    async fn touch_keys(&self, ids: Vec<String>, at: Timestamp) -> Result<(), StoreError> {
        self.inner.touch_keys(ids, at).await
    }
    async fn presence(&self) -> Result<PastPresence, StoreError> {
        self.inner.presence().await
    }
    async fn sweep(&self, memory: Timestamp, events: &[(ProjectId, Timestamp)]) -> Result<(), StoreError> {
        self.inner.sweep(memory, events).await
    }
    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }
}

struct Lane {
    store: Gated,
    committer: Committer,
    task: tokio::task::JoinHandle<()>,
    metrics: ProcessMetrics,
    clock: Clock,
    presence: SharedPresence,
}

type Answer = tokio::task::JoinHandle<Result<Outcome, SubmitError>>;

impl Lane {
    /// A lane with room for 10 intakes or 1000 bytes, and a gate that lets `open` commits through.
    fn start(open: usize) -> Self {
        let gate = Arc::new(Semaphore::new(open));
        let store = Gated { inner: MemoryStore::new(), gate, sizes: Arc::default() };
        let metrics = ProcessMetrics::new();
        let clock = Clock::manual(NOW);
        let presence = SharedPresence::new(Presence::new(NOW, []));
        let (committer, task) = Committer::start(CommitterConfig {
            store: Arc::new(store.clone()),
            rules: Arc::new(TestRules),
            clock: clock.clone(),
            ids: Ids::seeded(1),
            presence: presence.clone(),
            start_grace: Duration::from_secs(120),
            metrics: metrics.clone(),
            queue_requests_max: 10,
            queue_bytes_max: 1000,
            batch_requests_max: 6,
        });
        Self { store, committer, task, metrics, clock, presence }
    }

    /// Hands a beat in; the answer can be waited for.
    async fn hand_in(&self, intake: Intake) -> Answer {
        let committer = self.committer.clone();
        let answer = tokio::spawn(async move { committer.submit(intake).await });
        settle().await;
        answer
    }

    /// Beats that have counted.
    async fn beats(&self) -> u64 {
        let page = self.store.agents(P1, 0, 10).await.unwrap();
        page.rows.iter().map(|row| row.state.totals.heartbeats).sum()
    }

    fn gauge(&self, name: &str) -> i64 {
        let families = self.metrics.registry().gather();
        let family = families.iter().find(|family| family.name().ends_with(name)).unwrap();
        family.get_metric()[0].get_gauge().get_value() as i64
    }
}

/// Lets every task go as far as it can: the test's runtime has one thread.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn beat(key: &str) -> Intake {
    let observation = Observation {
        agent: AgentKey::new(P1, "bot").unwrap(),
        received_at: NOW,
        at: None,
        source: Source::Agent,
        body: Body::Heartbeat(Box::new(Heartbeat::bare(BeatStatus::Ok))),
    };
    let dedup = Some(DedupKey::of(P1, "test", key.as_bytes()));
    Intake { project: P1, dedup, bytes: 1, work: Work::Observe(vec![observation]) }
}

fn weighing(bytes: usize) -> Intake {
    Intake { bytes, ..beat(&format!("{bytes} bytes")) }
}

const OVERLOADED: Result<Outcome, SubmitError> = Err(SubmitError::Overloaded { retry_after_secs: 1 });

#[tokio::test]
async fn the_reply_comes_after_the_commit() {
    let lane = Lane::start(0);
    let answer = lane.hand_in(beat("k")).await;
    assert_eq!(*lane.store.sizes.lock().unwrap(), [1], "the commit is on its way");
    assert!(!answer.is_finished());
    assert_eq!(lane.beats().await, 0);
    lane.store.gate.add_permits(1);
    assert!(matches!(answer.await.unwrap(), Ok(Outcome::Observed(seen)) if seen[0].is_ok()));
    assert_eq!(lane.beats().await, 1);
}

#[tokio::test]
async fn a_failed_commit_is_told_counts_nothing_and_a_retry_counts_once() {
    let lane = Lane::start(10);
    lane.store.inner.plan_faults([Some(Fault::FailBeforeCommit)]);
    let refused = lane.committer.submit(beat("k")).await.unwrap_err();
    assert!(matches!(refused, SubmitError::Unavailable(_)), "{refused}");
    assert_eq!(lane.beats().await, 0);
    for _ in 0..2 {
        lane.committer.submit(beat("k")).await.unwrap();
        assert_eq!(lane.beats().await, 1);
    }
}

#[tokio::test]
async fn a_lost_reply_is_no_acknowledgement_and_the_retry_does_not_count_again() {
    let lane = Lane::start(10);
    lane.store.inner.plan_faults([Some(Fault::LoseTheReply)]);
    assert!(matches!(lane.committer.submit(beat("k")).await, Err(SubmitError::Unavailable(_))));
    assert!(matches!(lane.committer.submit(beat("k")).await, Ok(Outcome::Observed(seen)) if seen[0].is_ok()));
    assert_eq!(lane.beats().await, 1);
}

#[tokio::test]
async fn what_arrives_during_a_commit_becomes_one_batch() {
    let lane = Lane::start(0);
    let mut answers = vec![lane.hand_in(beat("first")).await];
    for n in 0..8 {
        answers.push(lane.hand_in(beat(&n.to_string())).await);
    }
    assert_eq!(*lane.store.sizes.lock().unwrap(), [1], "alone it did not wait for company");
    lane.store.gate.add_permits(3);
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(*lane.store.sizes.lock().unwrap(), [1, 6, 2], "as many as one commit takes, then the rest");
    assert_eq!(lane.beats().await, 9);
}

#[tokio::test]
async fn a_batch_that_fails_fails_for_all_in_it_and_for_no_one_else() {
    let lane = Lane::start(0);
    lane.store.inner.plan_faults([None, Some(Fault::FailBeforeCommit)]);
    let first = lane.hand_in(beat("first")).await;
    let failing = [lane.hand_in(beat("a")).await, lane.hand_in(beat("b")).await];
    lane.store.gate.add_permits(2);
    first.await.unwrap().unwrap();
    for answer in failing {
        assert!(matches!(answer.await.unwrap(), Err(SubmitError::Unavailable(_))));
    }
    lane.store.gate.add_permits(1);
    lane.committer.submit(beat("later")).await.unwrap();
    assert_eq!(lane.beats().await, 2);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_takes_in_again_when_it_has_room() {
    let lane = Lane::start(0);
    let mut answers = Vec::new();
    for n in 0..10 {
        answers.push(lane.hand_in(beat(&n.to_string())).await);
    }
    // Without a gate opened nothing moves: an answer here is an answer at once.
    assert_eq!(lane.committer.submit(beat("too many")).await, OVERLOADED);
    assert_eq!(lane.gauge("ingest_queue_requests"), 10);
    lane.store.gate.add_permits(10);
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    lane.committer.submit(beat("too many")).await.unwrap();
    assert_eq!(lane.beats().await, 11, "what was refused had left nothing behind");
    settle().await;
    assert_eq!((lane.gauge("ingest_queue_requests"), lane.gauge("ingest_queue_bytes")), (0, 0));
}

#[tokio::test]
async fn bytes_are_limited_like_requests() {
    let lane = Lane::start(0);
    let heavy = lane.hand_in(weighing(900)).await;
    assert_eq!(lane.committer.submit(weighing(101)).await, OVERLOADED);
    let light = lane.hand_in(weighing(100)).await;
    assert_eq!(lane.committer.submit(weighing(0)).await, OVERLOADED, "nothing is without weight");
    assert_eq!(lane.gauge("ingest_queue_bytes"), 1000);
    lane.store.gate.add_permits(9);
    heavy.await.unwrap().unwrap();
    light.await.unwrap().unwrap();
    // Larger than the whole queue: it passes alone, or it could never pass.
    lane.committer.submit(weighing(5000)).await.unwrap();
}

#[tokio::test]
async fn when_every_handle_is_gone_all_is_answered_and_the_lane_ends() {
    let lane = Lane::start(0);
    let mut answers = Vec::new();
    for n in 0..5 {
        answers.push(lane.hand_in(beat(&n.to_string())).await);
    }
    let Lane { store, committer, task, .. } = lane;
    drop(committer);
    settle().await;
    assert!(!task.is_finished(), "there is work left");
    store.gate.add_permits(9);
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    task.await.unwrap();
    assert_eq!(store.agents(P1, 0, 9).await.unwrap().rows[0].state.totals.heartbeats, 5);
}

#[tokio::test]
async fn a_sender_that_hangs_up_disturbs_nobody() {
    let lane = Lane::start(0);
    let gone = lane.hand_in(beat("gone")).await;
    let other = lane.hand_in(beat("other")).await;
    gone.abort();
    lane.store.gate.add_permits(2);
    other.await.unwrap().unwrap();
    assert_eq!(lane.beats().await, 2, "what was handed in counts");
}

#[tokio::test]
async fn when_the_lane_is_gone_senders_are_told() {
    let lane = Lane::start(0);
    let waiting = lane.hand_in(beat("waiting")).await;
    lane.task.abort();
    assert_eq!(waiting.await.unwrap(), Err(SubmitError::Stopping));
    assert_eq!(lane.committer.submit(beat("late")).await, Err(SubmitError::Stopping));
}

/// A beat every minute to 600 s, ticks every second, then the store refuses for ten minutes: the agent's beats are lost,
/// and nothing of that is held against it.
#[tokio::test]
async fn time_in_which_the_store_refuses_is_not_held_against_agents() {
    let lane = Lane::start(1000);
    let status = async || lane.store.agents(P1, 0, 1).await.unwrap().rows[0].state.status;
    let deadline = || Intake { work: Work::Deadlines(vec![AgentId(1)]), dedup: None, ..beat("") };
    for now in 0..=1200_u64 {
        let at = NOW.plus(Duration::from_secs(now));
        lane.clock.set(at);
        lane.presence.tick(at);
        if now % 60 == 0 && now != 1200 {
            let is_refused = (601..1200).contains(&now);
            lane.store.inner.plan_faults([is_refused.then_some(Fault::FailBeforeCommit)]);
            assert_eq!(lane.committer.submit(beat(&now.to_string())).await.is_err(), is_refused, "at {now}");
        }
    }
    lane.committer.submit(deadline()).await.unwrap();
    assert_eq!(status().await, Status::Healthy, "the first commit after it counts accepted time");
    for now in 1201..=1400_u64 {
        let at = NOW.plus(Duration::from_secs(now));
        lane.clock.set(at);
        lane.presence.tick(at);
    }
    lane.committer.submit(deadline()).await.unwrap();
    assert_eq!(status().await, Status::Down, "and silence counts again");
}

/// Stopped for ten minutes; the first thing it does is a commit, before any tick.
#[tokio::test]
async fn what_is_judged_first_after_a_pause_knows_of_it() {
    let lane = Lane::start(10);
    lane.committer.submit(beat("a")).await.unwrap();
    lane.committer.submit(beat("b")).await.unwrap();
    lane.clock.set(NOW.plus(Duration::from_secs(600)));
    let deadline = Intake { work: Work::Deadlines(vec![AgentId(1)]), dedup: None, ..beat("") };
    lane.committer.submit(deadline).await.unwrap();
    let page = lane.store.agents(P1, 0, 1).await.unwrap();
    assert_eq!(page.rows[0].state.status, Status::Healthy);
}

/// A sleep of the machine right after the start of the gateway is no time in which agents could have been heard.
#[tokio::test]
async fn the_time_without_restarts_after_a_start_is_time_in_which_the_gateway_was_there() {
    let lane = Lane::start(10);
    let tell = async |secs: u64, source, body| {
        lane.clock.set(NOW.plus(Duration::from_secs(secs)));
        lane.presence.tick(lane.clock.now());
        let agent = AgentKey::new(P1, "bot").unwrap();
        let told = Observation { agent, received_at: lane.clock.now(), at: None, source, body };
        let intake = Intake { project: P1, dedup: None, bytes: 1, work: Work::Observe(vec![told]) };
        lane.committer.submit(intake).await.unwrap();
        let page = lane.store.agents(P1, 0, 1).await.unwrap();
        page.rows[0].state.restarts.open.is_some()
    };
    let restart = Some(RestartTarget { kind: "docker".into(), target: "bot".into() });
    let report = Body::SupervisorReport(SupervisorReport { running: true, message: None, restart });
    let problem =
        || Body::Problem(Problem { message: "hangs".into(), failure: true, event: "langfuse_error", restart: true });
    assert!(!tell(2, Source::Supervisor, report).await);
    assert!(!tell(5, Source::Langfuse, problem()).await, "the gateway has only just started");
    // The machine sleeps for an hour.
    lane.presence.jump(NOW.plus(Duration::from_secs(5)), NOW.plus(Duration::from_secs(3605)));
    lane.presence.tick(NOW.plus(Duration::from_secs(3605)));
    assert!(!tell(3606, Source::Langfuse, problem()).await, "six seconds after its start");
    for secs in 3607..3719 {
        lane.clock.set(NOW.plus(Duration::from_secs(secs)));
        lane.presence.tick(lane.clock.now());
    }
    assert!(!tell(3719, Source::Langfuse, problem()).await);
    assert!(tell(3720, Source::Langfuse, problem()).await, "two minutes");
}
