//! The state of an agent: whatever it says, it is the same after a restart.

use std::sync::Arc;

use pulsegate::model::*;
use pulsegate::store::*;

use crate::fixture::*;

/// Numbers that look arbitrary and are the same in every run.
pub struct Draw(u64);

impl Draw {
    pub fn from(seed: u64) -> Self {
        Self(seed)
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Small ones, large ones and the largest.
        match self.0 >> 61 {
            0 => u64::MAX,
            1..4 => self.0 >> 56,
            _ => self.0,
        }
    }

    fn small(&mut self) -> u32 {
        self.number() as u32
    }

    fn yes(&mut self) -> bool {
        self.number() & 64 == 64
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.yes().then(|| make(self))
    }

    fn time(&mut self) -> Timestamp {
        Timestamp(self.number() as i64)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.number() as usize % of.len()]
    }

    fn text(&mut self, max: usize) -> String {
        let text = self.one(&["", "x", "käse\n\0", "研究 \"bot\"", "'; DROP TABLE agents; --"]).repeat(60);
        text[..text.floor_char_boundary(max.min(self.number() as usize % 300))].to_owned()
    }

    fn histogram(&mut self) -> Histogram {
        Histogram { counts: std::array::from_fn(|_| self.small()), sum: self.number() as f64 / 3.0 }
    }

    fn note(&mut self) -> ErrorNote {
        ErrorNote::new(self.time(), &self.text(256))
    }

    /// A state in which everything that can be there is there in one draw or another.
    pub fn state(&mut self) -> AgentState {
        let mut conditions = Conditions::default();
        for condition in Condition::ALL {
            let (level, since) = (self.maybe(|d| d.one(&[Level::Soft, Level::Hard])), self.time());
            conditions.set(condition, level, since);
        }
        AgentState {
            updated_at: self.time(),
            status: self.one(&Status::ALL),
            status_since: self.time(),
            conditions,
            deadline: self.time(),
            life: self.life(),
            work: self.work(),
            loops: self.maybe(|d| Box::new(d.loops())),
            spend: self.maybe(|d| Box::new(d.spend())),
            flaps: (0..self.number() % FLAPS_MAX as u64).map(|_| self.time()).collect(),
            dependencies: (0..self.number() % 4).map(|_| self.dependency()).collect(),
            report: self.maybe(|d| Report {
                source: d.one(&Source::ALL),
                since: d.time(),
                at: d.time(),
                good_since: d.small() as u8,
                message: d.text(256).into(),
            }),
            last_error: self.maybe(Self::note),
            last_run: self.maybe(|d| {
                Box::new(Run {
                    failed: d.yes(),
                    started_at: d.time(),
                    ended_at: d.time(),
                    error_type: d.maybe(|d| d.text(64)),
                    session: d.maybe(Self::number),
                })
            }),
            restarts: RestartLedger {
                open: self.maybe(|d| OpenRestart {
                    id: CommandId(uuid::Uuid::from_u128(u128::from(d.number()))),
                    automatic: d.yes(),
                    running: d.yes(),
                }),
                last_at: self.maybe(Self::time),
                awaits_signal: self.yes(),
                automatic: self.small(),
                healthy_since: self.maybe(Self::time),
                jitter: (self.number() % 200) as i16,
                exhausted: self.yes(),
            },
            restart_target: self.maybe(|d| Box::new(RestartTarget { kind: d.text(16), target: d.text(200) })),
            agent_type: self.maybe(|d| d.text(64).into()),
            totals: self.totals(),
        }
    }

    fn dependency(&mut self) -> FailingDependency {
        FailingDependency {
            name: self.text(32).into(),
            since: self.time(),
            at: self.time(),
            message: self.text(48).into(),
        }
    }

    fn life(&mut self) -> Life {
        Life {
            run_since: self.maybe(Self::time),
            run_signals: self.small(),
            own: self.maybe(Self::time),
            supervisor: self.maybe(Self::time),
            gone_since: self.maybe(Self::time),
            heartbeat: self.maybe(Self::time),
            stopped_at: self.maybe(Self::time),
            paused: self.yes(),
            watched_since: self.maybe(Self::time),
            maintenance_until: self.maybe(Self::time),
            heard: std::array::from_fn(|_| self.time()),
            declared_interval_ms: self.maybe(Self::small),
        }
    }

    fn work(&mut self) -> Work {
        Work {
            sends_starts: self.yes(),
            in_flight_since: self.maybe(Self::time),
            idle_since: self.maybe(Self::time),
            expected: self.maybe(|d| Box::new(Expected { after: d.time(), at: d.time(), rule: d.small() })),
            last_result: self.maybe(Self::time),
            last_success: self.maybe(Self::time),
            failures_in_row: self.small(),
            successes_in_row: self.small(),
            recent: self.maybe(|d| {
                Box::new(RecentResults {
                    successes: d.rolling(),
                    failures: d.rolling(),
                    hour_successes: d.rolling(),
                    hour_failures: d.rolling(),
                })
            }),
            iteration: self.maybe(|d| d.number() as i64),
            prompts: self.maybe(Self::number),
        }
    }

    fn rolling(&mut self) -> Rolling {
        let window = Window { buckets: 10, width: secs(60) };
        let mut rolling = Rolling::default();
        for _ in 0..self.number() % 5 {
            let minute = self.number() % 30;
            rolling.add(at(minute as i64 * 60), self.number(), window);
        }
        rolling
    }

    fn loops(&mut self) -> LoopMemory {
        let repeat = |d: &mut Self| Repeat { digest: d.number(), count: d.small(), at: d.time() };
        LoopMemory {
            tool_calls: self.rolling(),
            message: self.maybe(repeat),
            call: self.maybe(repeat),
            tool: self.maybe(repeat),
            output: self.maybe(repeat),
            tokens: (0..self.number() % TOKEN_SAMPLES_MAX as u64).map(|_| self.small()).collect(),
            spikes: self.small() as u8,
            cycle_at: self.time(),
            calm_since: self.maybe(Self::time),
            calm_cycles: self.small() as u8,
            signal: self.maybe(|d| d.one(&LoopSignal::ALL)),
        }
    }

    fn spend(&mut self) -> Spend {
        Spend {
            hour: self.rolling(),
            today: Money(self.number() as i64),
            day_ends: self.time(),
            hour_warned: self.yes(),
            day_warned: self.yes(),
        }
    }

    fn totals(&mut self) -> Totals {
        let models = self.number() % (MODELS_MAX as u64 + 2);
        Totals {
            heartbeats: self.number(),
            supervisor_beats: self.number(),
            activities: self.number(),
            successes: self.number(),
            failures: self.number(),
            runs: self.number(),
            model_calls: self.number(),
            model_calls_failed: self.number(),
            models: (0..models)
                .map(|_| ModelTotals {
                    model: self.text(MODEL_NAME_BYTES_MAX).into(),
                    ok: self.number(),
                    failed: self.number(),
                })
                .collect(),
            tool_calls: self.number(),
            tool_calls_failed: self.number(),
            tokens_unspecified: self.maybe(Self::number),
            tokens_input: self.maybe(Self::number),
            tokens_output: self.maybe(Self::number),
            tokens_cached_input: self.maybe(Self::number),
            tokens_reasoning: self.maybe(Self::number),
            cost: self.maybe(|d| Money(d.number() as i64)),
            cost_origin: self.one(&[
                CostOrigin::Unknown,
                CostOrigin::Reported,
                CostOrigin::Computed,
                CostOrigin::Mixed,
            ]),
            cost_spikes: self.number(),
            langfuse_errors: self.number(),
            skewed_signals: self.number(),
            loops: std::array::from_fn(|_| self.small()),
            restarts: std::array::from_fn(|_| self.small()),
            entered: std::array::from_fn(|_| self.small()),
            heartbeat_latency: self.histogram(),
            run_duration: self.maybe(|d| Box::new(d.histogram())),
            cycle_cost: self.maybe(|d| Box::new(d.histogram())),
        }
    }
}

pub async fn every_part_of_a_state_survives_a_restart(fixture: Fixture) {
    let store = fixture.open();
    let (loaded, transaction) = store.begin(many(200)).await.unwrap();
    let mut rows: Vec<_> = loaded.agent_ids.iter().map(|(key, id)| AgentRow::new(*id, key.clone(), at(5))).collect();
    rows.sort_by_key(|row| row.id);
    for row in &mut rows {
        row.state = Draw::from(row.id.0 as u64).state();
    }
    let rows: Vec<_> = rows.into_iter().map(Arc::new).collect();
    transaction.commit(WriteSet { agents: rows.clone(), ..WriteSet::default() }).await.unwrap();
    assert_eq!(store.scan_agents(AgentId(0), 1000).await.unwrap(), rows);
    let store = fixture.reopen(store);
    for (kept, row) in store.scan_agents(AgentId(0), 1000).await.unwrap().iter().zip(&rows) {
        assert_eq!(kept, row);
    }
}

fn many(n: u32) -> LoadSet {
    let lookup = |i| AgentLookup { key: key(P1, &format!("agent {i}")), create: true };
    LoadSet { agents: (0..n).map(lookup).collect(), ..LoadSet::default() }
}

pub async fn what_is_remembered_of_a_project_survives_a_restart(fixture: Fixture) {
    let store = fixture.open();
    let row = create(&*store, P1, "bot", at(1)).await;
    let mut draw = Draw::from(7);
    let state = ProjectState {
        spend: Some(Box::new(Spend { hour: draw.rolling(), today: Money(5), ..Spend::default() })),
        over_budget: true,
        restarts: vec![at(1), at(2)],
        failed_in_row: 3,
    };
    commit(&*store, WriteSet { projects: vec![(P1, state.clone())], ..WriteSet::default() }).await;
    let store = fixture.reopen(store);
    let loaded = load(&*store, lookup(P1, "bot", false)).await;
    assert_eq!((&loaded.projects[&P1], loaded.counts[&P1].agents), (&state, 1));
    assert_eq!(store.project_state(P1).await.unwrap().0, state);
    assert_eq!(store.project_state(P2).await.unwrap(), (ProjectState::default(), ProjectCounts::default()));
    drop(row);
}

pub async fn a_state_can_be_replaced(fixture: Fixture) {
    let store = fixture.open();
    let mut row = create(&*store, P1, "bot", at(1)).await;
    for seed in 1000..1020 {
        row = changed(&row, |row| row.state = Draw::from(seed).state());
        commit(&*store, WriteSet { agents: vec![row.clone()], ..WriteSet::default() }).await;
        assert_eq!(store.agent(row.id).await.unwrap(), Some(row.clone()));
    }
    let store = fixture.reopen(store);
    assert_eq!(store.agent(row.id).await.unwrap(), Some(row));
}
