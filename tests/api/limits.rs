//! Rate limits at a time that the story sets, and every error of the documented table that applies here.

use reqwest::Method;
use serde_json::{Value, json};

use crate::gateway::{FIRST_KEY, Gateway};

const BEAT: &str = "/api/v1/heartbeat";

async fn beats(gateway: &Gateway, key: &str, count: u32) -> u32 {
    let mut taken = 0;
    for _ in 0..count {
        let answer = gateway.post(key, BEAT, json!({"agent": "a", "status": "ok"})).await;
        taken += u32::from(answer.status == 200);
        assert!(answer.status == 200 || answer.status == 429, "{}", answer.body);
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn lim_7_request_n_passes_and_the_next_is_told_when_to_come_again() {
    let gateway = Gateway::configured("projects: {default: {rate_limit_per_minute: 50}}").await;
    assert_eq!(beats(&gateway, FIRST_KEY, 100).await, 100, "twice the rate at once");
    let refused = gateway.post(FIRST_KEY, BEAT, json!({"agent": "a"})).await;
    assert_eq!((refused.header("retry-after"), refused.header("x-ratelimit-limit")), ("60", "50"));
    assert_eq!(refused.expect(429), json!({"detail": "Rate limit exceeded"}));
    gateway.pass(59);
    let refused = gateway.post(FIRST_KEY, BEAT, json!({"agent": "a"})).await;
    assert_eq!(refused.header("retry-after"), "1");
    gateway.pass(1);
    assert_eq!(beats(&gateway, FIRST_KEY, 60).await, 50, "what the minute brought");
    // Reading counts too; the gateway's own health and telemetry do not.
    assert_eq!(gateway.get(FIRST_KEY, "/api/v1/status").await.status, 429);
    assert_eq!(gateway.get(FIRST_KEY, "/health").await.status, 200);
    gateway.post(FIRST_KEY, "/v1/traces", json!({"resourceSpans": []})).await.expect(200);
    // Nobody else pays for it, not even in the same project.
    let other = gateway.key("default", "ingest").await;
    assert_eq!(beats(&gateway, &other, 10).await, 10);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lim_7_a_failing_request_that_is_repeated_at_once_costs_one() {
    let gateway = Gateway::configured("projects: {default: {rate_limit_per_minute: 5}}").await;
    let wrong = json!({"agent": "", "status": "ok"});
    for pair in 0..10 {
        for _ in 0..2 {
            gateway.post(FIRST_KEY, BEAT, wrong.clone()).await.expect(422);
        }
        assert!(pair < 10);
    }
    gateway.post(FIRST_KEY, BEAT, wrong).await.expect(429);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lim_7_otlp_has_a_rate_of_its_own_where_one_is_set() {
    let gateway = Gateway::configured("projects: {default: {otlp_rate_limit_per_minute: 2}}").await;
    for _ in 0..4 {
        gateway.post(FIRST_KEY, "/v1/traces", json!({"resourceSpans": []})).await.expect(200);
    }
    let refused = gateway.post(FIRST_KEY, "/v1/traces", json!({"resourceSpans": []})).await;
    // 429 with Retry-After is what OTLP calls retryable: exporters keep the batch.
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, "60"));
    assert_eq!(beats(&gateway, FIRST_KEY, 10).await, 10);
    gateway.stop().await;
}

/// Rows of the documented table ("Errors" of the HTTP API): status, detail, and what leads there. Those about accounts,
/// billing and funnel events have no counterpart here.
#[tokio::test(flavor = "multi_thread")]
async fn every_documented_error_that_applies_is_answered_as_documented() {
    let gateway = Gateway::configured("projects: {default: {max_agents: 1}}").await;
    let id = gateway.beat("only", json!({})).await;
    let reader = gateway.key("default", "read").await;
    let operator = gateway.key("default", "command,read,ingest").await;
    let stranger = gateway.key("other", "read,ingest").await;
    let agent = format!("/api/v1/agents/{id}");
    let restart = format!("{agent}/restart");
    let beat = json!({"agent": "only"});
    let missing = json!([{"loc": ["body", "agent"], "msg": "Field required", "type": "missing"}]);
    let text = |text: &str| json!(text);
    let rows = [
        ("no key", "", Method::POST, BEAT, beat.clone(), 401, text("Not authenticated")),
        ("invalid key", "cv_nothing", Method::GET, "/api/v1/status", Value::Null, 401, text("Not authenticated")),
        ("agent limit", FIRST_KEY, Method::POST, BEAT, json!({"agent": "two"}), 402, text("upgrade_required")),
        ("scope", &reader, Method::POST, BEAT, beat.clone(), 403, text("Access denied")),
        ("role", FIRST_KEY, Method::POST, &restart, Value::Null, 403, text("Access denied")),
        ("no agent", &reader, Method::GET, "/api/v1/agents/999", Value::Null, 404, text("Agent not found")),
        ("wrong project", &stranger, Method::GET, &agent, Value::Null, 404, text("Agent not found")),
        ("missing field", FIRST_KEY, Method::POST, BEAT, json!({"status": "ok"}), 422, missing),
    ];
    for (name, key, method, path, body, status, detail) in rows {
        let answer = gateway.call(key, method, path, body).await;
        assert_eq!((name, answer.status.as_u16(), &answer.body["detail"]), (name, status, &detail), "{}", answer.body);
    }
    // What cannot be done as things are: nobody has said how the agent is restarted.
    let conflict = gateway.post(&operator, &restart, Value::Null).await;
    assert_eq!(conflict.status, 409, "{}", conflict.body);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_names_of_the_first_description_are_read() {
    let gateway = Gateway::start().await;
    let ping = json!({"tokens": 1500, "cost_usd": 0.045, "meta": {"steps": 3}, "model": "gpt-4o"});
    let id = gateway.beat("named", ping).await;
    let row = gateway.get(FIRST_KEY, &format!("/api/v1/agents/{id}")).await.expect(200);
    assert_eq!(row["totals"]["cost_usd"], "0.045000000");
    assert_eq!((&row["totals"]["results_success"], &row["totals"]["results_failure"]), (&json!(1), &json!(0)));
    let failed = json!({"agent": "named", "error": "RateLimitError: slow down", "meta": {"step": "unknown"}});
    gateway.post(FIRST_KEY, BEAT, failed).await.expect(200);
    let row = gateway.get(FIRST_KEY, &format!("/api/v1/agents/{id}")).await.expect(200);
    assert_eq!(row["totals"]["results_failure"], 1);
    assert!(row["last_error"]["message"].as_str().unwrap().contains("slow down"), "{row}");
    // A model alone is a sign of work; what is no text tells nothing and breaks nothing.
    let id = gateway.beat("model", json!({"model": "gpt-4o"})).await;
    let row = gateway.get(FIRST_KEY, &format!("/api/v1/agents/{id}")).await.expect(200);
    assert_eq!(row["totals"]["results_success"], 1);
    for odd in [json!(7), json!({"name": "x"}), json!([]), Value::Null] {
        gateway.beat("odd", json!({"model": odd})).await;
    }
    gateway.stop().await;
}
