//! The agents of a simulation: what each kind does, and what it sends when.

use std::net::SocketAddr;

use pulsegate::model::{DedupKey, Money, ProjectId};
use serde_json::json;

use crate::clients::{Call, KEY, Message};
use crate::dice::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Beats in time and tells of work.
    Healthy,
    /// Falls silent for a while, again and again.
    Silent,
    /// Beats on and finishes nothing.
    Stuck,
    /// Says the same again and again, and calls tools all the time.
    Looping,
    /// Spends more than it may.
    Spendy,
    /// Dies soon after each start, and may be restarted.
    CrashLooping,
    /// Sends spans only, dated by a clock that is off, in bodies that it sends again until they are taken.
    Skewed,
    /// Beats without a key, and sends again what was not answered.
    Retrying,
    /// Says goodbye, flushes its spans, and comes back later.
    Farewell,
}

pub const KINDS: [Kind; 9] = [
    Kind::Healthy,
    Kind::Silent,
    Kind::Stuck,
    Kind::Looping,
    Kind::Spendy,
    Kind::CrashLooping,
    Kind::Skewed,
    Kind::Retrying,
    Kind::Farewell,
];

#[derive(Clone, Debug)]
pub struct Agent {
    index: usize,
    pub name: String,
    pub kind: Kind,
    /// In ms.
    pub interval: u64,
    /// By how much its clock is off, in ms.
    pub skew: i64,
    pub lives: bool,
    /// Beats of this life.
    pub beats: u64,
    /// All it ever sent.
    pub sent: u64,
    /// Whether its next beat is on its way.
    pub is_armed: bool,
}

impl Agent {
    pub fn new(index: usize, kind: Kind, dice: &mut Dice) -> Self {
        let interval = if kind == Kind::Skewed { 60 } else { dice.pick(&[20, 30, 60, 60, 60, 120]) };
        let skew = if kind == Kind::Skewed { dice.range(0, 60_000) as i64 - 30_000 } else { 0 };
        let name = format!("{kind:?}-{index}").to_lowercase();
        Self { index, name, kind, interval: interval * 1000, skew, lives: true, beats: 0, sent: 0, is_armed: false }
    }

    pub const fn keyed(&self) -> bool {
        !matches!(self.kind, Kind::Retrying | Kind::Skewed | Kind::Farewell)
    }

    /// When the next one is due, in ms.
    pub fn next_after(&self, dice: &mut Dice) -> u64 {
        let usual = if self.kind == Kind::Looping { 9_000.min(self.interval) } else { self.interval };
        usual - dice.range(0, usual / 10)
    }

    /// What it sends at `wall` (ms since the epoch by its host's clock); `at` is the world's time.
    pub fn message(&mut self, wall: i64, at: u64, dice: &mut Dice) -> (Message, Money) {
        self.beats += 1;
        self.sent += 1;
        match self.kind {
            Kind::Skewed => (self.spans(wall, at), Money(0)),
            _ => self.beat("ok", dice),
        }
    }

    pub fn goodbye(&mut self, dice: &mut Dice) -> Message {
        self.sent += 1;
        self.beat("shutdown", dice).0
    }

    fn beat(&self, status: &str, dice: &mut Dice) -> (Message, Money) {
        let (tokens, micros) = match self.kind {
            Kind::Spendy => (500, 1_500_000),
            Kind::Stuck => (0, 0),
            _ => (dice.range(1, 900), dice.range(0, 5_000)),
        };
        let mut body = json!({"agent": self.name, "status": status, "interval": self.interval / 1000});
        if self.kind == Kind::Stuck && self.beats > 3 {
            // It beats: nothing that tells of work.
        } else {
            body["tokens_used"] = tokens.into();
            body["cost_usd"] = (micros as f64 / 1e6).into();
        }
        match self.kind {
            Kind::Looping => {
                body["message"] = "let me try that again".into();
                body["tool_calls"] = 3.into();
            }
            Kind::CrashLooping | Kind::Silent => {
                body["restart_type"] = "docker".into();
                body["restart_target"] = self.name.clone().into();
            }
            _ => {}
        }
        let cost = if body["cost_usd"].is_null() { 0 } else { micros as i64 * 1_000 };
        let key = self.keyed().then(|| format!("{}-{}", self.name, self.sent));
        let dedup = key.as_ref().map(|key| DedupKey::of(ProjectId(1), "idempotency-key", key.as_bytes()));
        let tries = match self.kind {
            Kind::Retrying => 2,
            Kind::Healthy => 4,
            _ => dice.range(1, 3) as u32,
        };
        let call = self.call("/api/v1/heartbeat", key, body.to_string());
        let message =
            Message { agent: self.name.clone(), call, dedup, tokens: 0, sign_at: None, tries, gave_up: false };
        (message, Money(cost))
    }

    /// One model call that has just ended.
    pub fn spans(&self, wall: i64, at: u64) -> Message {
        let end = wall + self.skew;
        let tokens = 100 + self.sent;
        let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
        let span = json!({
            "traceId": format!("{:016x}{:016x}", self.index + 1, self.sent),
            "spanId": format!("{:016x}", self.sent + 1), "name": "chat", "kind": 3,
            "startTimeUnixNano": format!("{}000000", end - 900), "endTimeUnixNano": format!("{end}000000"),
            "attributes": [text("gen_ai.operation.name", "chat"), text("gen_ai.request.model", "model-1"),
                {"key": "gen_ai.usage.input_tokens", "value": {"intValue": tokens.to_string()}}],
        });
        let resource = json!({"attributes": [text("service.name", &self.name)]});
        let body = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]});
        Message {
            agent: self.name.clone(),
            call: self.call("/v1/traces", None, body.to_string()),
            dedup: None,
            tokens,
            sign_at: Some(at.saturating_add_signed(self.skew.min(0))),
            tries: 4,
            gave_up: false,
        }
    }

    fn call(&self, path: &str, idempotency: Option<String>, body: String) -> Call {
        let peer = SocketAddr::from(([10, 0, 1, 1], 40_000));
        Call { method: "POST", path: path.into(), key: KEY, idempotency, body, peer }
    }
}
