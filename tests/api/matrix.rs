//! SEC-1: every route, with every scope, in its own project and from another one.
//!
//! The routes come from the running gateway (its own document, which no route can be missing from); a route that is not in
//! the table fails the test.

use std::collections::BTreeMap;

use pulsegate::model::Scope;
use reqwest::Method;
use serde_json::{Value, json};

use crate::docs;
use crate::gateway::Gateway;

/// What a route needs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Needs {
    /// Nothing: anybody may.
    Open,
    /// A key with this scope, of the project it is about.
    Key(Scope),
    /// As `Key`, but the key stands in the path.
    InPath(Scope),
}

/// What a key of another project gets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Elsewhere {
    /// Its own project's answer, in which nothing of the first project is.
    Own,
    /// 404, as if there were nothing.
    Nothing,
}

use Elsewhere::{Nothing, Own};
use Needs::{InPath, Key, Open};

/// One route: what it needs, a body that it takes, what a good key of its project gets, and what one of another gets.
struct Row(&'static str, &'static str, Needs, &'static str, u16, Elsewhere);

const NONE: &str = "";

#[rustfmt::skip]
const MATRIX: &[Row] = &[
    Row("POST", "/api/v1/heartbeat", Key(Scope::Ingest), r#"{"agent": "new"}"#, 200, Own),
    Row("POST", "/api/v1/heartbeat/batch", Key(Scope::Ingest), r#"[{"agent": "new"}]"#, 200, Own),
    Row("POST", "/v1/traces", Key(Scope::Ingest), r#"{"resourceSpans": []}"#, 200, Own),
    Row("POST", "/v1/logs", Key(Scope::Ingest), r#"{"resourceLogs": []}"#, 200, Own),
    Row("POST", "/v1/metrics", Key(Scope::Ingest), r#"{"resourceMetrics": []}"#, 200, Own),
    Row("POST", "/api/v1/webhooks/langfuse", Key(Scope::Ingest), r#"{"id": "t", "status": "ok", "metadata": {"agent": "first"}}"#, 200, Own),
    Row("POST", "/api/public/otel/v1/traces", Key(Scope::Ingest), r#"{"resourceSpans": []}"#, 200, Own),
    Row("POST", "/api/public/ingestion", Key(Scope::Ingest), r#"{"batch": []}"#, 207, Own),
    Row("POST", "/api/public/scores", Key(Scope::Ingest), r#"{"name": "quality", "value": 1}"#, 200, Own),
    Row("GET", "/api/public/projects", Key(Scope::Ingest), NONE, 200, Own),
    Row("GET", "/api/public/health", Open, NONE, 200, Own),
    Row("POST", "/api/v1/webhooks/alertmanager", Key(Scope::Ingest), r#"{"alerts": []}"#, 200, Own),
    Row("GET", "/ping/{key}/{agent}", InPath(Scope::Ingest), NONE, 200, Nothing),
    Row("POST", "/ping/{key}/{agent}", InPath(Scope::Ingest), NONE, 200, Nothing),
    Row("GET", "/ping/{key}/{agent}/{signal}", InPath(Scope::Ingest), NONE, 200, Nothing),
    Row("POST", "/ping/{key}/{agent}/{signal}", InPath(Scope::Ingest), NONE, 200, Nothing),
    Row("GET", "/api/v1/status", Key(Scope::Read), NONE, 200, Own),
    Row("GET", "/api/v1/agents/{id}", Key(Scope::Read), NONE, 200, Nothing),
    Row("PATCH", "/api/v1/agents/{id}", Key(Scope::Admin), "{}", 200, Nothing),
    Row("GET", "/api/v1/agents/{id}/health", Key(Scope::Read), NONE, 200, Nothing),
    Row("GET", "/api/v1/agents/{id}/explain", Key(Scope::Read), NONE, 200, Nothing),
    Row("GET", "/api/v1/agents/{id}/events", Key(Scope::Read), NONE, 200, Nothing),
    Row("POST", "/api/v1/agents/{id}/pause", Key(Scope::Admin), NONE, 200, Nothing),
    Row("POST", "/api/v1/agents/{id}/resume", Key(Scope::Admin), NONE, 200, Nothing),
    Row("POST", "/api/v1/agents/{id}/restart", Key(Scope::Command), "{}", 202, Nothing),
    Row("GET", "/api/v1/events", Key(Scope::Read), NONE, 200, Own),
    Row("GET", "/api/v1/stream", Key(Scope::Read), NONE, 200, Own),
    Row("GET", "/api/v1/commands/history", Key(Scope::Read), NONE, 200, Own),
    Row("GET", "/api/v1/commands", Key(Scope::Runner), NONE, 200, Own),
    Row("POST", "/api/v1/commands/{id}/result", Key(Scope::Runner), r#"{"status": "completed"}"#, 404, Nothing),
    Row("GET", "/api/v1/agents", Key(Scope::Read), NONE, 200, Own),
    Row("POST", "/api/v1/agents", Key(Scope::Admin), r#"{"agent": "made"}"#, 201, Own),
    Row("GET", "/api/v1/agents/{id}/history", Key(Scope::Read), NONE, 200, Nothing),
    Row("POST", "/api/v1/agents/{id}/rename", Key(Scope::Admin), r#"{"agent": "first-secret-agent"}"#, 200, Nothing),
    Row("POST", "/api/v1/agents/{id}/merge", Key(Scope::Admin), r#"{"into": 9999}"#, 404, Nothing),
    Row("DELETE", "/api/v1/agents/{id}", Key(Scope::Admin), NONE, 204, Nothing),
    Row("GET", "/api/v1/registrations", Key(Scope::Admin), NONE, 200, Own),
    Row("POST", "/api/v1/registrations/approve", Key(Scope::Admin), r#"{"agent": "approved"}"#, 200, Own),
    Row("POST", "/api/v1/registrations/reject", Key(Scope::Admin), r#"{"agent": "unheard"}"#, 204, Own),
    Row("POST", "/api/v1/registrations/forget", Key(Scope::Admin), r#"{"agent": "unheard"}"#, 204, Own),
    Row("GET", "/api/v1/maintenance", Key(Scope::Admin), NONE, 200, Own),
    Row("GET", "/api/v1/maintenance/{id}", Key(Scope::Admin), NONE, 404, Nothing),
    Row("PUT", "/api/v1/maintenance/{id}", Key(Scope::Admin), r#"{"pattern": "no-*", "duration": "1h"}"#, 404, Nothing),
    Row("DELETE", "/api/v1/maintenance/{id}", Key(Scope::Admin), NONE, 404, Nothing),
    Row("POST", "/api/v1/maintenance", Key(Scope::Admin), r#"{"pattern": "no-*", "duration": "1h"}"#, 201, Own),
    Row("GET", "/api/v1/projects", Key(Scope::Admin), NONE, 200, Own),
    Row("POST", "/api/v1/projects", Key(Scope::Admin), r#"{"project": "third"}"#, 403, Own),
    Row("GET", "/api/v1/projects/{name}", Key(Scope::Admin), NONE, 404, Nothing),
    Row("GET", "/api/v1/keys", Key(Scope::Admin), NONE, 200, Own),
    Row("POST", "/api/v1/keys", Key(Scope::Admin), r#"{"scopes": ["read"]}"#, 201, Own),
    Row("GET", "/api/v1/keys/{id}", Key(Scope::Admin), NONE, 404, Nothing),
    Row("DELETE", "/api/v1/keys/{id}", Key(Scope::Admin), NONE, 404, Nothing),
    Row("GET", "/api/v1/audit", Key(Scope::Admin), NONE, 200, Own),
    Row("GET", "/api/v1/dependencies", Key(Scope::Read), NONE, 200, Own),
    Row("GET", "/api/v1/dependencies/{name}/ready", Key(Scope::Read), NONE, 404, Nothing),
    Row("GET", "/metrics", Open, NONE, 200, Own),
    Row("GET", "/health", Open, NONE, 200, Own),
    Row("GET", "/ready", Open, NONE, 200, Own),
    Row("GET", "/api/openapi.json", Open, NONE, 200, Own),
    Row("GET", "/api/docs", Open, NONE, 200, Own),
    Row("GET", "/api/redoc", Open, NONE, 200, Own),
];

/// A name that must never be seen from another project.
const SECRET: &str = "first-secret-agent";

impl Row {
    fn name(&self) -> String {
        format!("{} {}", self.0, self.1)
    }

    /// The path with everything filled in that belongs to the first project.
    fn path(&self, agent: i64, key: &str) -> String {
        let id = if self.1.contains("/commands/") { uuid::Uuid::nil().to_string() } else { agent.to_string() };
        self.1
            .replace("{id}", &id)
            .replace("{key}", key)
            .replace("{agent}", SECRET)
            .replace("{signal}", "start")
            .replace("{name}", "none")
    }

    /// The status, and the body unless it has no end.
    async fn ask(&self, gateway: &Gateway, agent: i64, key: &str) -> (u16, String) {
        let method = Method::from_bytes(self.0.as_bytes()).unwrap();
        let mut request = gateway.request(method, &self.path(agent, key));
        if !matches!(self.2, InPath(_)) && !key.is_empty() {
            request = request.header("x-api-key", key);
        }
        if !self.3.is_empty() {
            request = request.header("content-type", "application/json").body(self.3);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let is_endless = answer.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream");
        (status, if is_endless { String::new() } else { answer.text().await.unwrap() })
    }

    /// What a key with `scope` is to get.
    fn expected(&self, scope: Scope, own: bool) -> u16 {
        match self.2 {
            Key(needed) | InPath(needed) if needed != scope => 403,
            Open => self.4,
            _ if own || self.5 == Own => self.4,
            _ => 404,
        }
    }
}

#[tokio::test]
async fn sec_1_every_route_with_every_scope_in_its_own_and_in_another_project() {
    let gateway = Gateway::start().await;
    let document = docs::document(&gateway).await;
    let rows: BTreeMap<String, &Row> = MATRIX.iter().map(|row| (row.name(), row)).collect();
    assert_eq!(rows.len(), MATRIX.len(), "no route twice");
    let mut wrong = Vec::new();
    let served: Vec<String> =
        docs::operations(&document).iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    for (method, path, operation) in docs::operations(&document) {
        let Some(row) = rows.get(&format!("{method} {path}")) else {
            wrong.push(format!("{method} {path} is not in the table: add a row to MATRIX in tests/api/matrix.rs"));
            continue;
        };
        let scopes = operation["security"].as_array().unwrap().iter().find_map(|way| way["api_key"].as_array());
        let told = scopes.and_then(|scopes| scopes.first()).and_then(Value::as_str);
        match (row.2, told) {
            (Key(scope), told) if told != Some(scope.word()) => {
                wrong.push(format!("{method} {path} says it needs {told:?}"))
            }
            (InPath(_), Some(_)) => wrong.push(format!("{method} {path} has its key in the path")),
            _ => {}
        }
    }
    wrong.extend(
        rows.keys().filter(|name| !served.contains(name)).map(|name| format!("{name} is in the table and not served")),
    );

    let mut keys = Vec::new();
    for (project, own) in [("default", true), ("other", false)] {
        for scope in Scope::ALL {
            keys.push((scope, own, gateway.key(project, scope.word()).await));
        }
    }
    for row in MATRIX.iter().filter(|row| served.contains(&row.name())) {
        let target = json!({"restart_type": "docker", "restart_target": SECRET});
        // What one row does to the agent is nothing to the next.
        let agent = gateway.beat(SECRET, target).await;
        for key in ["", "cv_00000000_0000000000000000000000000000000000000000000000000000000000000000"] {
            let expected = match row.2 {
                Open => row.4,
                InPath(_) if key.is_empty() => continue,
                _ => 401,
            };
            let (status, _) = row.ask(&gateway, agent, key).await;
            if status != expected {
                wrong.push(format!("{} with key {key:?}: {status}, expected {expected}", row.name()));
            }
        }
        for (scope, own, key) in &keys {
            let (status, body) = row.ask(&gateway, agent, key).await;
            let expected = row.expected(*scope, *own);
            // A restart asked for again joins the first.
            if status != expected && !(expected == 202 && status == 200) {
                let from = if *own { "its own" } else { "another" };
                wrong.push(format!(
                    "{} with scope {} of {from} project: {status}, expected {expected}: {body}",
                    row.name(),
                    scope.word()
                ));
            }
            if !own && row.2 != Open && body.contains(SECRET) {
                wrong.push(format!("{} shows another project's agent to scope {}: {body}", row.name(), scope.word()));
            }
        }
    }
    gateway.stop().await;
    assert!(wrong.is_empty(), "{} cell(s) or row(s) are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
