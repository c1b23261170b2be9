//! One simulated world: a gateway, its machine, and those who speak to it, in an order that follows from one seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pulsegate::app::{Core, Options, Tasks};
use pulsegate::clock::Clock;
use pulsegate::config::{Config, Environment};
use pulsegate::http::auth::{hash_key, key_id};
use pulsegate::ids::Ids;
use pulsegate::model::{ApiKey, Money, Scope, Scopes, Timestamp};
use pulsegate::store::Store as _;
use pulsegate::store::memory::MemoryStore;
use tokio::task::AbortHandle;

use crate::Mutant;
use crate::agents::{Agent, KINDS, Kind};
use crate::clients::{Call, KEY, Line, Manners, Message, OPERATOR, Runner, deliver, poll};
use crate::dice::Dice;
use crate::ledger::{Ledger, Truth};
use crate::store::{SimStore, Weather};

/// What the wall clock shows when the world begins, in ms.
const BEGIN: i64 = 1_795_000_000_000;
/// How long a world lasts, in ms.
const LENGTH: u64 = 32 * 60_000;
/// A request that waited longer for a stopped gateway has been given up.
const PATIENCE: u64 = 10_000;

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Beat(usize),
    Revive(usize),
    Flush(usize),
    Poll(usize),
    Operator,
    Resume(usize),
    Fault,
    Calm(&'static str),
    Start,
}

pub struct World {
    dice: Dice,
    /// Wall clock minus the world's time and [`BEGIN`], in ms: what all the steps add up to.
    wall_off: i64,
    queue: BTreeMap<(u64, u64), Act>,
    order: u64,
    store: SimStore,
    line: Line,
    gateway: Option<(Tasks, Clock)>,
    agents: Vec<Agent>,
    runners: Vec<Runner>,
    restarted: Arc<Mutex<Vec<String>>>,
    mutant: Option<Mutant>,
    verbose: bool,
}

/// How a world ended.
pub struct End {
    pub ledger: Ledger,
}

/// Lives through the world of `seed`.
pub fn run(seed: u64, mutant: Option<Mutant>, verbose: bool) -> End {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let ledger = runtime.block_on(async {
        let mut world = World::new(seed, mutant, verbose).await;
        world.live().await;
        std::mem::replace(&mut *world.store.ledger(), Ledger::new())
    });
    runtime.shutdown_background();
    End { ledger }
}

impl World {
    async fn new(seed: u64, mutant: Option<Mutant>, verbose: bool) -> Self {
        let mut dice = Dice::new(seed);
        let ledger = Arc::new(Mutex::new(Ledger::new()));
        let inner = MemoryStore::new();
        let project = inner.ensure_project("default").await.unwrap();
        let operator = ApiKey {
            id: key_id(OPERATOR.as_bytes()),
            project: project.id,
            hash: hash_key(OPERATOR.as_bytes()),
            scopes: Scopes::of(&[Scope::Admin, Scope::Command, Scope::Read]),
            label: "operator".into(),
            created_at: Timestamp(0),
            revoked_at: None,
            expires_at: None,
            global: false,
            last_used_at: None,
        };
        inner.put_key(operator).await.unwrap();
        let weather = Arc::new(Mutex::new(Weather::default()));
        let store = SimStore { inner, weather, ledger: ledger.clone(), mutant };
        let restarted = Arc::new(Mutex::new(vec![]));
        let mut agents = vec![Agent::new(0, KINDS[(seed % 9) as usize], &mut dice)];
        for n in 1..9 {
            let kind = dice.pick(&KINDS);
            agents.push(Agent::new(n, kind, &mut dice));
        }
        for agent in &agents {
            let truth = Truth::new(agent.interval, agent.keyed());
            ledger.lock().unwrap().agents.insert(agent.name.clone(), truth);
        }
        let runner = |n: u8, name| Runner {
            name,
            peer: SocketAddr::from(([10, 0, 0, n], 50_000)),
            watches: agents
                .iter()
                .enumerate()
                .filter(|(i, _)| i % 2 == usize::from(n) % 2)
                .map(|(_, a)| a.name.clone())
                .collect(),
            restarted: restarted.clone(),
        };
        let runners = vec![runner(1, "runner-1"), runner(2, "runner-2")];
        let line = Line { routers: Arc::default(), ledger };
        Self {
            dice,
            wall_off: 0,
            queue: BTreeMap::new(),
            order: 0,
            store,
            line,
            gateway: None,
            agents,
            runners,
            restarted,
            mutant,
            verbose,
        }
    }

    async fn live(&mut self) {
        self.store.ledger().outage("off");
        self.at(0, Act::Start);
        for n in 0..self.agents.len() {
            let after = 100 + self.dice.range(0, self.agents[n].interval);
            self.arm(n, after);
        }
        for n in 0..self.runners.len() {
            self.at(1_000 + 5_000 * n as u64, Act::Poll(n));
        }
        self.at(200_000, Act::Operator);
        let first = self.dice.range(30_000, 400_000);
        self.at(first, Act::Fault);
        while let Some(((at, _), act)) = self.queue.pop_first() {
            let now = self.now();
            if at >= LENGTH || self.store.ledger().violation.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(at.saturating_sub(now))).await;
            self.settle();
            self.store.ledger().check();
            self.say(&format!("{act:?}"));
            self.act(at, act).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.store.ledger().check();
    }

    fn now(&self) -> u64 {
        self.store.ledger().now()
    }

    /// What the machine's wall clock shows, in ms.
    fn wall(&self) -> i64 {
        BEGIN + self.now() as i64 + self.wall_off
    }

    fn at(&mut self, after: u64, act: Act) {
        let at = self.now() + after;
        self.at_time(at, act);
    }

    fn at_time(&mut self, at: u64, act: Act) {
        self.order += 1;
        self.queue.insert((at, self.order), act);
    }

    fn arm(&mut self, n: usize, after: u64) {
        if !self.agents[n].is_armed {
            self.agents[n].is_armed = true;
            self.at(after, Act::Beat(n));
        }
    }

    fn say(&self, what: &str) {
        let mut ledger = self.store.ledger();
        let now = ledger.now();
        ledger.digest.add(&now.to_le_bytes());
        ledger.digest.add(what.as_bytes());
        if self.verbose {
            println!("{:>9.3} {what}", now as f64 / 1e3);
        }
    }

    /// Agents that a runner restarted come back to life.
    fn settle(&mut self) {
        let restarted = std::mem::take(&mut *self.restarted.lock().unwrap());
        for name in restarted {
            if let Some(n) = self.agents.iter().position(|a| a.name == name) {
                self.say(&format!("{name} was restarted"));
                self.agents[n].lives = true;
                self.agents[n].beats = 0;
                self.arm(n, 1_000);
            }
        }
    }

    async fn act(&mut self, at: u64, act: Act) {
        match act {
            Act::Start => self.start().await,
            Act::Beat(n) => self.beat(n, at),
            Act::Flush(n) => {
                let (wall, now) = (self.wall(), self.now());
                let agent = &mut self.agents[n];
                agent.sent += 1;
                let message = agent.spans(wall - (now - at) as i64 - 1_500, at);
                self.post(message, Money(0), at);
            }
            Act::Revive(n) => {
                if let Some(truth) = self.store.ledger().agents.get_mut(&self.agents[n].name) {
                    truth.reborn = true;
                }
                self.agents[n].lives = true;
                self.agents[n].beats = 0;
                self.arm(n, 500);
            }
            Act::Poll(n) => {
                let manners = Manners {
                    vanishes: self.dice.one_in(12),
                    repeats_after: self.dice.one_in(2).then(|| self.dice.range(1, 30)),
                    takes: self.dice.range(1, 20),
                    tries: self.dice.range(1, 30) as u32,
                };
                tokio::spawn(poll(self.line.clone(), self.runners[n].clone(), manners));
                self.at(15_000, act);
            }
            Act::Operator => self.operator(),
            Act::Resume(n) => self.ask(n, "POST", "/resume", "{}".into()),
            Act::Fault => self.fault().await,
            Act::Calm(reason) => {
                let mut weather = self.store.weather();
                match reason {
                    "refuses" => weather.refuses = false,
                    "hangs" => weather.hangs = false,
                    _ => weather.delay = Duration::ZERO,
                }
                drop(weather);
                self.store.ledger().outage_ends(reason);
            }
        }
    }

    fn beat(&mut self, n: usize, at: u64) {
        self.agents[n].is_armed = false;
        if !self.agents[n].lives {
            return;
        }
        let (wall, now) = (self.wall(), self.now());
        let (message, cost) = self.agents[n].message(wall - (now - at) as i64, at, &mut self.dice);
        self.post(message, cost, at);
        let beats = self.agents[n].beats;
        match self.agents[n].kind {
            Kind::CrashLooping if beats >= 2 && self.dice.one_in(3) => {
                self.agents[n].lives = false;
                if self.dice.one_in(4) {
                    let after = self.dice.range(300_000, 1_500_000);
                    self.at(after, Act::Revive(n));
                }
            }
            Kind::Silent if self.dice.one_in(10) => {
                self.agents[n].lives = false;
                let after = self.dice.range(60_000, 1_500_000);
                self.at(after, Act::Revive(n));
            }
            Kind::Farewell if beats >= 3 && self.dice.one_in(5) => {
                self.agents[n].lives = false;
                let goodbye = self.agents[n].goodbye(&mut self.dice);
                self.post(goodbye, Money(0), at);
                let after = self.dice.range(500, 5_000);
                self.at(after, Act::Flush(n));
                let after = self.dice.range(120_000, 900_000);
                self.at(after, Act::Revive(n));
            }
            _ => {}
        }
        let next = at + self.agents[n].next_after(&mut self.dice);
        self.agents[n].is_armed = true;
        self.at_time(next.max(at + 1), Act::Beat(n));
    }

    fn post(&mut self, mut message: Message, cost: Money, at: u64) {
        let late = self.now() - at;
        let mut ledger = self.store.ledger();
        if let Some(key) = message.dedup {
            ledger.keys.insert(key, (message.agent.clone(), cost));
        }
        if let Some(truth) = ledger.agents.get_mut(&message.agent) {
            truth.tokens.1 += message.tokens;
        }
        drop(ledger);
        if late > PATIENCE {
            // Sent while the gateway was stopped: the sender is gone, and what it sent may lie in a socket or be lost.
            (message.gave_up, message.tries) = (true, 1);
            if self.dice.one_in(2) {
                return;
            }
        }
        tokio::spawn(deliver(self.line.clone(), message));
    }

    fn operator(&mut self) {
        let n = self.dice.range(0, self.agents.len() as u64 - 1) as usize;
        match self.dice.range(0, 3) {
            0 => {
                self.ask(n, "POST", "/pause", "{}".into());
                let after = self.dice.range(30_000, 500_000);
                self.at(after, Act::Resume(n));
            }
            1 => {
                let intervals = self.dice.pick(&["2.5", "3", "4", "6"]);
                self.ask(n, "PATCH", "", format!(r#"{{"down_after": {intervals}}}"#));
            }
            _ => self.ask(n, "POST", "/restart", "{}".into()),
        }
        let after = self.dice.range(60_000, 400_000);
        self.at(after, Act::Operator);
    }

    fn ask(&self, n: usize, method: &'static str, what: &str, body: String) {
        let Some(id) = self.store.ledger().id(&self.agents[n].name) else { return };
        let path = format!("/api/v1/agents/{id}{what}");
        let peer = SocketAddr::from(([10, 0, 2, 1], 60_000));
        let call = Call { method, path, key: OPERATOR, idempotency: None, body, peer };
        let line = self.line.clone();
        self.say(&format!("{method} {what} of {}", self.agents[n].name));
        tokio::spawn(async move { line.send(&call).await });
    }

    async fn fault(&mut self) {
        let (kind, secs) = (self.dice.range(0, 10), self.dice.range(1, 400));
        self.say(&format!("fault {kind} ({secs} s)"));
        match kind {
            0 => self.store.weather().fail_next = self.dice.range(1, 3) as u32,
            1 => self.store.weather().lose_next = self.dice.range(1, 2) as u32,
            2 => {
                self.store.weather().delay = Duration::from_millis(self.dice.range(20, 1_500));
                self.at(secs * 300, Act::Calm("delay"));
            }
            3 => {
                self.store.weather().refuses = true;
                self.store.ledger().outage("refuses");
                self.at(secs * 1_000, Act::Calm("refuses"));
            }
            4 => {
                self.store.weather().hangs = true;
                self.store.ledger().outage("hangs");
                self.at(secs * 100, Act::Calm("hangs"));
            }
            5 | 6 => self.crash(secs * 1_500),
            7 => self.stop(secs * 200).await,
            8 => self.pause(secs * 1_500).await,
            9 => self.sleep(secs * 1_500),
            _ => {
                let step = self.dice.pick(&[
                    -86_400_000,
                    -3_600_000,
                    -90_000,
                    -400,
                    400,
                    3_000,
                    90_000,
                    3_600_000,
                    86_400_000,
                ]);
                self.step_wall(step);
            }
        }
        let after = self.dice.range(20_000, 300_000);
        self.at(after, Act::Fault);
    }

    /// The process is killed; `after` ms later it is started again.
    fn crash(&mut self, after: u64) {
        if let Some((tasks, _)) = self.gateway.take() {
            self.store.ledger().outage("off");
            *self.line.routers.lock().unwrap() = None;
            tasks.abort_handles().iter().for_each(AbortHandle::abort);
            self.at(after, Act::Start);
        }
    }

    /// The process is told to stop, has ten seconds for it, and is started again.
    async fn stop(&mut self, after: u64) {
        if let Some((tasks, _)) = self.gateway.take() {
            self.store.ledger().outage("off");
            *self.line.routers.lock().unwrap() = None;
            let handles = tasks.abort_handles();
            let _ = tokio::time::timeout(Duration::from_secs(10), tasks.stop(vec![])).await;
            handles.iter().for_each(AbortHandle::abort);
            self.at(after, Act::Start);
        }
    }

    /// The process stands still while the world goes on.
    async fn pause(&mut self, ms: u64) {
        self.store.ledger().outage("paused");
        tokio::time::advance(Duration::from_millis(ms)).await;
        self.store.ledger().outage_ends("paused");
    }

    /// The machine sleeps: only the world and the wall clock go on.
    fn sleep(&mut self, ms: u64) {
        let mut ledger = self.store.ledger();
        ledger.outage("asleep");
        ledger.slept += ms;
        ledger.outage_ends("asleep");
        drop(ledger);
        if let Some((_, clock)) = &self.gateway {
            clock.step_wall(ms as i64 * 1_000);
        }
    }

    fn step_wall(&mut self, ms: i64) {
        self.say(&format!("the wall clock is stepped by {ms} ms"));
        self.wall_off += ms;
        if let Some((_, clock)) = &self.gateway {
            clock.step_wall(ms * 1_000);
        }
    }

    async fn start(&mut self) {
        let clock = Clock::simulated(Timestamp(self.wall() * 1_000));
        let down_after = if self.mutant == Some(Mutant::Impatient) { "2" } else { "3" };
        let environment = Environment::of(&[
            ("PULSEGATE_HEALTH__AUTO_RESTART", "true"),
            ("PULSEGATE_HEALTH__DOWN_AFTER", down_after),
        ]);
        let options = Options {
            data_dir: "unused".into(),
            api_key: Some(KEY.to_owned()),
            clock: clock.clone(),
            ids: Ids::seeded(self.dice.range(0, u64::MAX - 1)),
        };
        let config = Config::load(None, &environment).unwrap();
        let bound = SocketAddr::from(([127, 0, 0, 1], 4319));
        let core = Core::start(config, &options, Arc::new(self.store.clone()), bound).await.unwrap();
        *self.line.routers.lock().unwrap() = Some(core.routers);
        self.gateway = Some((core.tasks, clock));
        let mut ledger = self.store.ledger();
        let now = ledger.now();
        ledger.starts.push(now);
        ledger.outage_ends("off");
    }
}
