//! Steps of the wall clock and a process that stood still, on a whole gateway with one agent that beats every minute.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pulsegate::app::{Core, Options};
use pulsegate::clock::Clock;
use pulsegate::config::{Config, Environment};
use pulsegate::ids::Ids;
use pulsegate::model::{AgentId, EventKind, ProjectId, Status, Timestamp};
use pulsegate::store::memory::MemoryStore;
use pulsegate::store::{EventQuery, Store as _};

use crate::clients::{Call, KEY, Line};
use crate::ledger::Ledger;

const BEGIN: Timestamp = Timestamp::from_secs(1_795_000_000);
const HOUR: i64 = 3_600;

struct Gateway {
    store: MemoryStore,
    line: Line,
    clock: Clock,
    core: pulsegate::app::Tasks,
}

impl Gateway {
    async fn start() -> Self {
        Self::over(MemoryStore::new(), BEGIN).await
    }

    async fn over(store: MemoryStore, wall: Timestamp) -> Self {
        let clock = Clock::simulated(wall);
        let options = Options {
            data_dir: "unused".into(),
            api_key: Some(KEY.to_owned()),
            clock: clock.clone(),
            ids: Ids::seeded(1),
        };
        let environment = Environment::of(&[("PULSEGATE_HEALTH__AUTO_RESTART", "true")]);
        let config = Config::load(None, &environment).unwrap();
        let bound = SocketAddr::from(([127, 0, 0, 1], 4319));
        let core = Core::start(config, &options, Arc::new(store.clone()), bound).await.unwrap();
        let routers = Arc::new(std::sync::Mutex::new(Some(core.routers)));
        let line = Line { routers, ledger: Arc::new(std::sync::Mutex::new(Ledger::new())) };
        Self { store, line, clock, core: core.tasks }
    }

    /// A beat with work, every minute for so many minutes; the last one is a minute ago then.
    async fn beats(&self, minutes: u32) {
        for _ in 0..minutes {
            let body =
                r#"{"agent": "a", "status": "ok", "tokens_used": 5, "restart_type": "docker", "restart_target": "a"}"#;
            let peer = SocketAddr::from(([10, 0, 0, 1], 1));
            let path = "/api/v1/heartbeat".into();
            let call = Call { method: "POST", path, key: KEY, idempotency: None, body: body.into(), peer };
            let (status, answer) = self.line.send(&call).await.expect("an answer");
            assert_eq!(status, 200, "{answer}");
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    }

    /// What became of the agent, in order; restarts and other events too.
    async fn story(&self) -> Vec<String> {
        let query = EventQuery { project: ProjectId(1), agent: None, before: None, limit: 100 };
        let events = self.store.events(query).await.unwrap();
        let said = events.iter().rev().map(|e| match (&e.draft.kind, e.draft.transition) {
            (EventKind::Transition, Some((_, to))) => to.word().to_owned(),
            (kind, _) => kind.word().to_owned(),
        });
        said.collect()
    }

    /// For how many whole seconds the agent stays healthy from now on, when it falls silent.
    async fn seconds_to_down(&self) -> u64 {
        for secs in 0..100_000 {
            let row = self.store.agent(AgentId(1)).await.unwrap().unwrap();
            if row.state.status == Status::Down {
                return secs;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("it never went down");
    }

    fn crash(self) -> MemoryStore {
        self.core.abort_handles().iter().for_each(tokio::task::AbortHandle::abort);
        self.store
    }
}

#[tokio::test(start_paused = true)]
async fn tim_2_steps_of_the_wall_clock_change_nothing() {
    for step in [HOUR, -HOUR, 24 * HOUR, -24 * HOUR, 1, -1] {
        let gateway = Gateway::start().await;
        gateway.beats(10).await;
        gateway.clock.step_wall(step * 1_000_000);
        gateway.beats(30).await;
        assert_eq!(gateway.story().await, ["healthy"], "stepped by {step} s");
        // And silence counts on as it should, a hundredth slower at most while a step back is made good.
        let found = gateway.seconds_to_down().await;
        assert!((129..=134).contains(&found), "stepped by {step} s: down {found} s after the last minute");
    }
}

#[tokio::test(start_paused = true)]
async fn tim_2_a_step_in_the_midst_of_silence_counts_as_no_silence() {
    for step in [HOUR, -HOUR, 24 * HOUR, -24 * HOUR] {
        let gateway = Gateway::start().await;
        gateway.beats(10).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        gateway.clock.step_wall(step * 1_000_000);
        let found = gateway.seconds_to_down().await;
        assert!((109..=115).contains(&found), "stepped by {step} s: down {found} s later");
    }
}

#[tokio::test(start_paused = true)]
async fn tim_2_a_clock_set_back_while_the_gateway_is_off_does_not_hide_a_death() {
    let gateway = Gateway::start().await;
    gateway.beats(10).await;
    let store = gateway.crash();
    let gateway = Gateway::over(store, BEGIN.minus(Duration::from_secs(24 * 3_600))).await;
    let found = gateway.seconds_to_down().await;
    assert!((130..=139).contains(&found), "down {found} s after the start");
}

#[tokio::test(start_paused = true)]
async fn tim_2_a_smeared_leap_second_changes_nothing() {
    let gateway = Gateway::start().await;
    for _ in 0..20 {
        gateway.clock.step_wall(-50_000);
        gateway.beats(1).await;
    }
    assert_eq!(gateway.story().await, ["healthy"]);
}

#[tokio::test(start_paused = true)]
async fn tim_3_a_stopped_process_holds_its_own_absence_against_nobody() {
    for seconds in [7, 100, 600, 36_000] {
        let gateway = Gateway::start().await;
        gateway.beats(10).await;
        tokio::time::advance(Duration::from_secs(seconds)).await;
        gateway.beats(10).await;
        assert_eq!(gateway.story().await, ["healthy"], "stopped for {seconds} s");
        tokio::time::advance(Duration::from_secs(seconds)).await;
        let found = gateway.seconds_to_down().await;
        assert!((129..=133).contains(&found), "stopped for {seconds} s: down {found} s after it");
    }
}

#[tokio::test(start_paused = true)]
async fn tim_3_a_sleeping_machine_holds_its_own_absence_against_nobody() {
    let gateway = Gateway::start().await;
    gateway.beats(10).await;
    // Asleep, only the wall clock goes on.
    gateway.clock.step_wall(600_000_000);
    let found = gateway.seconds_to_down().await;
    assert!((129..=132).contains(&found), "down {found} s after it");
    assert_eq!(gateway.story().await[..1], ["healthy"]);
}
