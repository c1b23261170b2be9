//! A gateway without its listeners: the lane and the evaluator over the embedded store, in virtual time.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pulsegate::clock::{Clock, Stopwatch};
use pulsegate::evaluator::Evaluator;
use pulsegate::ids::Ids;
use pulsegate::ingest::{CommandRules, Committer, CommitterConfig, Intake, Rules, SharedPresence, Work};
use pulsegate::model::{AgentKey, Observation, Policy, PolicyPatch, Presence, ProjectId, Source, Timestamp};
use pulsegate::store::Store;
use pulsegate::store::sqlite::SqliteStore;
use pulsegate::telemetry::ProcessMetrics;

use crate::memory::{T0, bare, per_second, resident};

/// Beats that one request carries.
const BATCH: usize = 100;
/// How often each agent beats, in seconds.
const INTERVAL: usize = 60;

/// The defaults for everybody.
struct Defaults(Arc<Policy>);

impl Rules for Defaults {
    fn policy(&self, _: ProjectId, _: &str, _: &PolicyPatch) -> Arc<Policy> {
        self.0.clone()
    }
    fn agents_max(&self, _: ProjectId) -> u64 {
        u64::MAX
    }
    fn commands(&self) -> CommandRules {
        CommandRules { ttl: Duration::from_secs(300), lease: Duration::from_secs(90) }
    }
    fn events_before(&self, _: Timestamp) -> Vec<(ProjectId, Timestamp)> {
        Vec::new()
    }
}

pub async fn measure(agents: usize, seconds: Range<i64>) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let before = resident();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&directory.path().join("bench.db"))?);
    let project = store.ensure_project("default").await?.id;
    let (clock, metrics) = (Clock::manual(T0), ProcessMetrics::new());
    let presence = SharedPresence::new(Presence::new(T0, []));
    let rules: Arc<dyn Rules> = Arc::new(Defaults(Arc::default()));
    let (committer, lane) = Committer::start(CommitterConfig {
        store: store.clone(),
        rules: rules.clone(),
        clock: clock.clone(),
        ids: Ids::seeded(1),
        presence: presence.clone(),
        start_grace: Duration::from_secs(86_400),
        metrics: metrics.clone(),
        queue_requests_max: 100_000,
        queue_bytes_max: 1 << 30,
        batch_requests_max: 1000,
    });
    let evaluator = Evaluator {
        store: store.clone(),
        committer: committer.clone(),
        clock: clock.clone(),
        presence: presence.clone(),
        metrics,
        rules,
        memory: Duration::from_secs(7200),
    };
    let (mut rounds, mut beats, mut beating) = (Vec::new(), 0, Duration::ZERO);
    for second in 0..seconds.end {
        let now = T0.plus(Duration::from_secs(second.unsigned_abs()));
        clock.set(now);
        presence.tick(now);
        let watch = Stopwatch::start();
        let sent = beat(&committer, project, agents, second, now).await?;
        let took = watch.elapsed();
        let watch = Stopwatch::start();
        evaluator.round().await;
        if seconds.contains(&second) {
            rounds.push(watch.elapsed());
            (beats, beating) = (beats + sent, beating + took);
        }
    }
    let each = resident().saturating_sub(before) / agents;
    rounds.sort_unstable();
    let at = |share: f64| rounds[((rounds.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("gateway: {agents} agents, one beat in {INTERVAL} s each");
    println!(
        "  kept          {:>10.0} beats/s while {:.0}/s are asked for",
        per_second(beats, beating),
        agents as f64 / INTERVAL as f64
    );
    println!(
        "  evaluator     {:>10.1} ms p50, {:.1} ms p99, {:.1} ms at most, each second",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    println!("  memory        {each:>10} bytes resident, each agent, the store's caches included");
    drop((evaluator, committer));
    lane.await.context("the lane ends")?;
    Ok(())
}

/// Sends the beats of one second; gives how many.
async fn beat(
    committer: &Committer,
    project: ProjectId,
    agents: usize,
    second: i64,
    now: Timestamp,
) -> anyhow::Result<usize> {
    let phase = usize::try_from(second)? % INTERVAL;
    let names: Vec<usize> = (phase..agents).step_by(INTERVAL).collect();
    let mut requests = Vec::new();
    for names in names.chunks(BATCH) {
        let mut observations = Vec::with_capacity(BATCH);
        for n in names {
            let agent = AgentKey::new(project, &format!("agent-{n:06}")).context("a valid name")?;
            observations.push(Observation { agent, received_at: now, at: None, source: Source::Agent, body: bare() });
        }
        let intake = Intake { project, dedup: None, bytes: 100 * BATCH, work: Work::Observe(observations) };
        let committer = committer.clone();
        requests.push(tokio::spawn(async move { committer.submit(intake).await.map(drop) }));
    }
    for request in requests {
        request.await??;
    }
    Ok(names.len())
}
