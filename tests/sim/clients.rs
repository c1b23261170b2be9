//! What speaks to the gateway: agents, runners and operators, each with its own idea of when to give up.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use pulsegate::app::Routers;
use pulsegate::model::{CommandId, DedupKey};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::ledger::Ledger;

/// A client hears nothing for so long: it gives up.
const PATIENCE: Duration = Duration::from_secs(10);
pub const KEY: &str = "cv_simulation";
pub const OPERATOR: &str = "cv_operator";

/// How to reach the gateway that runs, if one does.
#[derive(Clone)]
pub struct Line {
    pub routers: Arc<Mutex<Option<Routers>>>,
    pub ledger: Arc<Mutex<Ledger>>,
}

/// One request, which can be sent again.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: &'static str,
    pub path: String,
    pub key: &'static str,
    pub idempotency: Option<String>,
    pub body: String,
    pub peer: SocketAddr,
}

impl Line {
    /// The status and the body of the answer; `None` when there was none in time.
    pub async fn send(&self, call: &Call) -> Option<(StatusCode, String)> {
        let router: Router = {
            let routers = self.routers.lock().unwrap();
            let routers = routers.as_ref()?;
            if call.path == "/v1/traces" { routers.otlp_http.clone() } else { routers.http.clone() }
        };
        let mut request = Request::builder().method(call.method).uri(&call.path).header("x-api-key", call.key);
        if let Some(key) = &call.idempotency {
            request = request.header("idempotency-key", key);
        }
        let request = request.header("content-type", "application/json").extension(ConnectInfo(call.peer));
        let request = request.body(Body::from(call.body.clone())).unwrap();
        let answer = async {
            let response = router.oneshot(request).await.unwrap();
            let status = response.status();
            let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            (status, String::from_utf8_lossy(&bytes).into_owned())
        };
        tokio::time::timeout(PATIENCE, answer).await.ok()
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }
}

/// What an agent sends, and what is true once it is acknowledged.
pub struct Message {
    pub agent: String,
    pub call: Call,
    pub dedup: Option<DedupKey>,
    /// Tokens of spans, 0 for beats.
    pub tokens: u64,
    /// When it proves the agent alive; `None`: when it is acknowledged.
    pub sign_at: Option<u64>,
    pub tries: u32,
    /// Nobody waits for the answer any more.
    pub gave_up: bool,
}

/// Sends until it is acknowledged or the sender's tries are used up.
pub async fn deliver(line: Line, message: Message) {
    for attempt in 0..message.tries {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_secs(2 << attempt)).await;
        }
        if let Some(truth) = line.ledger().agents.get_mut(&message.agent) {
            truth.attempted += u64::from(message.tokens == 0);
        }
        let answer = line.send(&message.call).await;
        let mut ledger = line.ledger();
        match answer {
            Some((StatusCode::OK, _)) => {
                if !message.gave_up {
                    let sign_at = message.sign_at.unwrap_or_else(|| ledger.now());
                    ledger.acknowledged(&message.agent, message.dedup, message.tokens, sign_at);
                }
                return;
            }
            Some((status, body)) if status != StatusCode::SERVICE_UNAVAILABLE => {
                ledger.broken("I0", format!("{}: {:?} was answered {status} {body}", message.agent, message.call));
                return;
            }
            _ => {}
        }
    }
}

/// A runner near some of the agents.
#[derive(Clone)]
pub struct Runner {
    pub name: &'static str,
    pub peer: SocketAddr,
    /// The agents it can restart.
    pub watches: Vec<String>,
    /// What it restarted, for the world to know.
    pub restarted: Arc<Mutex<Vec<String>>>,
}

/// How a runner behaves this time.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// It takes a command and is never heard of again.
    pub vanishes: bool,
    /// It tells a rejection again this much later, as if the first answer had been lost.
    pub repeats_after: Option<u64>,
    /// How long a restart takes, in seconds.
    pub takes: u64,
    pub tries: u32,
}

/// Fetches commands and carries them out.
pub async fn poll(line: Line, runner: Runner, manners: Manners) {
    let fetch = runner.call("GET", "/api/v1/commands".into(), String::new());
    let Some((StatusCode::OK, body)) = line.send(&fetch).await else { return };
    let commands: Vec<Value> = serde_json::from_str(&body).unwrap();
    for command in commands {
        let id = command["id"].as_str().unwrap_or_default().to_owned();
        let target = command["target"].as_str().unwrap_or_default().to_owned();
        let command = CommandId(id.parse().unwrap());
        line.ledger().handed(runner.name, command);
        if manners.vanishes {
            continue;
        }
        if !runner.watches.contains(&target) {
            line.ledger().given_back(runner.name, command);
            runner.report(&line, &id, "rejected", manners.tries).await;
            if let Some(secs) = manners.repeats_after {
                tokio::time::sleep(Duration::from_secs(secs)).await;
                runner.report(&line, &id, "rejected", 1).await;
            }
            continue;
        }
        tokio::time::sleep(Duration::from_secs(manners.takes)).await;
        runner.restarted.lock().unwrap().push(target);
        runner.report(&line, &id, "completed", manners.tries).await;
    }
}

impl Runner {
    fn call(&self, method: &'static str, path: String, body: String) -> Call {
        Call { method, path, key: KEY, idempotency: None, body, peer: self.peer }
    }

    async fn report(&self, line: &Line, id: &str, word: &str, tries: u32) {
        let body = format!(r#"{{"status": "{word}", "message": "by {}"}}"#, self.name);
        let call = self.call("POST", format!("/api/v1/commands/{id}/result"), body);
        for _ in 0..tries {
            if let Some((StatusCode::OK, _)) = line.send(&call).await {
                return;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }
}
