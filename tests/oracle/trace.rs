//! Traces: what happens to one agent, step by step, and a generator that makes realistic ones from a seed.

use serde::Serialize;

/// Everything the oracle is told of one agent's story. Times are whole seconds.
#[derive(Clone, Debug, Serialize)]
pub struct Trace {
    /// What is expected of the agent.
    pub policy: Expected,
    /// When the gateway's newest run began.
    pub started_at: i64,
    /// When the gateway was away.
    pub gaps: Vec<(i64, i64)>,
    /// What happened.
    pub steps: Vec<Step>,
}

/// The part of a policy that the oracle knows, under the names of the `health` section.
#[derive(Clone, Debug, Serialize)]
pub struct Expected {
    pub interval: u64,
    pub supervisor_interval: u64,
    pub late_after: f64,
    pub down_after: f64,
    pub down_grace: u64,
    pub stalled_after: u64,
    pub progress: &'static str,
    pub failures: u32,
    pub error_rate: f64,
    pub tool_calls_per_minute: u32,
    pub identical_messages: u32,
    pub token_spike: f64,
    pub start_grace: u64,
    pub degraded_for: u64,
    /// In nano-dollars.
    pub hourly_usd: Option<i64>,
    /// In nano-dollars.
    pub daily_usd: Option<i64>,
    /// A cron expression of the kind that the oracle can read.
    pub schedule: &'static str,
    pub schedule_grace: u64,
    pub expect_heartbeats: &'static str,
    pub expect_running: bool,
    pub stop_grace: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub at: i64,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    Beat(Beat),
    Supervisor { running: bool },
    WorkStarted,
    Problem { failure: bool },
    Paused { paused: bool },
    Maintenance { until: Option<i64> },
    Dependency { name: &'static str, healthy: bool },
    Restart { change: &'static str },
    Tick,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Beat {
    pub status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_nanos: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iteration: Option<i64>,
    pub details: bool,
    pub idle: bool,
}

/// `splitmix64`: the same numbers everywhere and for ever.
pub struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    fn range(&mut self, low: i64, high: i64) -> i64 {
        low + (self.next() % (high - low + 1).cast_unsigned()).cast_signed()
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[(self.next() % from.len() as u64) as usize]
    }
}

/// What an agent does for a while.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Idle,
    Work,
    Burst,
    Repeat,
    Tokens,
    Fail,
    Mixed,
    Warn,
    Silence,
    Runner,
    Flicker,
    Rest,
    Depend,
    Odd,
}

const PHASES: [Phase; 19] = [
    Phase::Idle,
    Phase::Idle,
    Phase::Work,
    Phase::Work,
    Phase::Burst,
    Phase::Repeat,
    Phase::Repeat,
    Phase::Tokens,
    Phase::Fail,
    Phase::Mixed,
    Phase::Warn,
    Phase::Silence,
    Phase::Silence,
    Phase::Runner,
    Phase::Flicker,
    Phase::Rest,
    Phase::Depend,
    Phase::Odd,
    Phase::Odd,
];

/// The `number`th trace of the family that `seed` names.
pub fn generate(seed: u64, number: u64) -> Trace {
    let mut dice = Dice(seed ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93));
    let policy = expected(&mut dice);
    // Some minutes to some hours before midnight.
    let now = 20_776 * 86_400 - dice.pick(&[600, 7_200, 40_000]) + dice.range(0, 200);
    let runner_only = dice.one_in(12);
    let mut story = Story { dice, now, interval: policy.interval as i64, runner_only, paused: false, steps: vec![] };
    let mut gaps = vec![];
    let length = story.dice.range(5, 60).min(story.dice.range(5, 60)) as usize;
    while story.steps.len() < length {
        let phase = if runner_only {
            story.dice.pick(&[Phase::Runner, Phase::Silence, Phase::Odd])
        } else {
            story.dice.pick(&PHASES)
        };
        for _ in 0..story.dice.range(1, 14) {
            story.step(phase);
        }
        if story.dice.one_in(12) {
            let from = story.now + story.dice.range(0, 30);
            let to = from + story.dice.pick(&[7, 60, 200, 3_600]);
            gaps.push((from, to));
            story.now = to + story.dice.range(0, 30);
        }
    }
    let mut steps = story.steps;
    steps.truncate(length);
    let started_at = gaps.last().filter(|_| story.dice.one_in(2)).map_or(0, |gap| gap.1);
    Trace { policy, started_at, gaps, steps }
}

fn expected(dice: &mut Dice) -> Expected {
    let usual = dice.one_in(2);
    let mut of = |usually: i64, others: &[i64]| if usual { usually } else { dice.pick(others) };
    Expected {
        interval: of(60, &[10, 15, 60, 300]).cast_unsigned(),
        supervisor_interval: of(30, &[10, 30, 60]).cast_unsigned(),
        late_after: of(15, &[10, 15, 20]) as f64 / 10.0,
        down_after: of(3, &[2, 3, 5]) as f64,
        down_grace: of(10, &[0, 10, 30]).cast_unsigned(),
        stalled_after: of(300, &[60, 300, 900]).cast_unsigned(),
        progress: ["auto", "always", "never", "schedule"][of(0, &[0, 0, 1, 2, 3, 3]) as usize],
        failures: of(3, &[1, 2, 3, 5]) as u32,
        error_rate: of(50, &[25, 50, 80, 100]) as f64 / 100.0,
        tool_calls_per_minute: of(10, &[1, 5, 10, 30]) as u32,
        identical_messages: of(5, &[2, 3, 5]) as u32,
        token_spike: of(30, &[15, 20, 30]) as f64 / 10.0,
        start_grace: of(120, &[0, 60, 120, 600]).cast_unsigned(),
        degraded_for: of(600, &[0, 60, 120, 600]).cast_unsigned(),
        hourly_usd: Some(of(20, &[0, 1, 5, 20]) * 1_000_000_000),
        daily_usd: Some(of(0, &[0, 2, 20]) * 1_000_000_000).filter(|usd| *usd > 0),
        schedule: ["*/10 * * * *", "7 * * * *", "0 */2 * * *", "30 0 * * *"][of(0, &[0, 0, 1, 2, 3]) as usize],
        schedule_grace: of(300, &[0, 60, 300, 900]).cast_unsigned(),
        expect_heartbeats: ["always", "auto", "never"][of(0, &[0, 0, 1, 1, 2]) as usize],
        expect_running: of(0, &[0, 1]) == 1,
        stop_grace: of(300, &[0, 60, 300]).cast_unsigned(),
    }
}

struct Story {
    dice: Dice,
    now: i64,
    interval: i64,
    runner_only: bool,
    paused: bool,
    steps: Vec<Step>,
}

impl Story {
    fn push(&mut self, wait: i64, what: What) {
        self.now += wait;
        self.steps.push(Step { at: self.now, what });
    }

    fn beat(&mut self, wait: i64, status: &'static str) -> &mut Beat {
        self.push(wait, What::Beat(Beat { status, ..Beat::default() }));
        match &mut self.steps.last_mut().expect("just pushed").what {
            What::Beat(beat) => beat,
            _ => unreachable!("just pushed"),
        }
    }

    /// An interval with some jitter; now and then exactly where late and down begin.
    fn wait(&mut self) -> i64 {
        match self.dice.range(0, 19) {
            0 => self.interval * 3 / 2,
            1 => self.interval * 3 + 10,
            2..=5 => self.interval + self.dice.range(-3, 5),
            6 => self.dice.range(0, self.interval),
            _ => self.interval,
        }
    }

    fn soon(&mut self) -> i64 {
        self.dice.range(0, 25)
    }

    fn work(&mut self, wait: i64, status: &'static str) {
        let (now, what) = (self.now, self.dice.range(0, 5));
        let (tokens, cents) = (self.dice.range(80, 120), self.dice.range(1, 300));
        let beat = self.beat(wait, status);
        match what {
            0 => beat.message = Some(format!("done {now}")),
            1 => beat.details = true,
            2 => beat.iteration = Some(now / 100 % 50),
            3 => beat.cost_nanos = Some(cents * 10_000_000),
            4 => beat.tool_calls = Some(1),
            _ => beat.tokens = Some(tokens.cast_unsigned()),
        }
    }

    fn step(&mut self, phase: Phase) {
        match phase {
            Phase::Idle => {
                let wait = self.wait();
                self.beat(wait, "ok");
            }
            Phase::Work => {
                let wait = if self.dice.one_in(2) { self.wait() } else { self.soon() };
                self.work(wait, "ok");
            }
            Phase::Burst => {
                let (wait, calls) = (self.dice.range(0, 15), self.dice.range(0, 6));
                self.beat(wait, "ok").tool_calls = Some(calls.cast_unsigned());
            }
            Phase::Repeat => {
                let wait = self.dice.pick(&[1, 5, 30, 60, 60, 119, 120, 300, 600, 601]);
                let word = self.dice.pick(&["same", "same", "same", "same", "same", "other"]);
                let status = self.dice.pick(&["ok", "ok", "ok", "warning", "error"]);
                self.beat(wait, status).message = Some(word.into());
            }
            Phase::Tokens => {
                let wait = self.soon();
                let tokens = self.dice.pick(&[100, 100, 100, 100, 90, 0, 250, 400, 2_000]);
                let cost = self.dice.pick(&[None, Some(0), Some(400_000_000), Some(3_000_000_000)]);
                let beat = self.beat(wait, "ok");
                (beat.tokens, beat.cost_nanos) = (Some(tokens), cost);
            }
            Phase::Fail => {
                let wait = if self.dice.one_in(2) { self.wait() } else { self.soon() };
                if self.dice.one_in(3) { self.work(wait, "error") } else { drop(self.beat(wait, "error").clone()) }
            }
            Phase::Mixed => {
                let (wait, status) = (self.soon(), self.dice.pick(&["ok", "ok", "error"]));
                self.work(wait, status);
            }
            Phase::Warn => {
                let (wait, status) = (self.wait(), self.dice.pick(&["ok", "warning", "warning"]));
                if self.dice.one_in(3) { self.work(wait, status) } else { drop(self.beat(wait, status).clone()) }
            }
            Phase::Silence => {
                let wait = self.dice.range(1, self.interval * 2);
                self.push(wait, What::Tick);
            }
            Phase::Runner => {
                let (wait, running) = (self.dice.pick(&[30, 30, 30, 31, 45, 90]), !self.dice.one_in(6));
                self.push(wait, What::Supervisor { running });
            }
            Phase::Flicker => {
                let wait = if self.dice.one_in(2) { self.interval * 3 + 20 } else { self.soon() };
                self.beat(wait, "ok");
            }
            Phase::Rest => {
                let (wait, what) = (self.wait(), self.dice.range(0, 9));
                match what {
                    0 => self.push(wait, What::WorkStarted),
                    1 => self.work(wait, "ok"),
                    2 => self.beat(wait, "error").idle = true,
                    3 => {
                        let beat = self.beat(wait, "ok");
                        (beat.idle, beat.details) = (true, true);
                    }
                    _ => self.beat(wait, "ok").idle = true,
                }
            }
            Phase::Depend => {
                let wait = if self.dice.one_in(3) { self.wait() } else { self.soon() };
                let (name, healthy) = (self.dice.pick(&["llm", "llm", "db", "queue"]), self.dice.one_in(4));
                self.push(wait, What::Dependency { name, healthy });
                if self.dice.one_in(2) {
                    let wait = self.wait();
                    self.beat(wait, "ok");
                }
            }
            Phase::Odd => self.odd(),
        }
    }

    fn goodbye(&mut self, wait: i64) {
        let cost = self.dice.pick(&[None, None, Some(1_500_000_000)]);
        let beat = self.beat(wait, "shutdown");
        (beat.message, beat.cost_nanos) = (Some("same".into()), cost);
    }

    fn odd(&mut self) {
        let wait = self.soon();
        match self.dice.range(0, 8) {
            0 if !self.runner_only => self.goodbye(wait),
            1 | 2 if !self.runner_only => self.push(wait, What::WorkStarted),
            3 => {
                let failure = !self.dice.one_in(3);
                self.push(wait, What::Problem { failure });
            }
            4 => {
                self.paused = !self.paused;
                self.push(wait, What::Paused { paused: self.paused });
            }
            5 => {
                let wait = self.dice.pick(&[600, 1_800, 7_200]);
                self.push(wait, What::Tick);
            }
            6 => {
                self.push(wait, What::Restart { change: "started" });
                let (wait, change) = (self.soon(), self.dice.pick(&["succeeded", "succeeded", "ended", "returned"]));
                self.push(wait, What::Restart { change });
            }
            7 => {
                let lasts = self.dice.pick(&[None, Some(0), Some(60), Some(400), Some(3_600)]);
                let until = lasts.map(|lasts| self.now + wait + lasts);
                self.push(wait, What::Maintenance { until });
            }
            _ => self.push(wait, What::Tick),
        }
    }
}
