//! Ping addresses, as a cron job and a leaver of Healthchecks use them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::gateway::{FIRST_KEY, Gateway};

async fn ping(gateway: &Gateway, method: Method, rest: &str, body: Value) -> (u16, Value) {
    let answer = gateway.call("", method, &format!("/ping/{FIRST_KEY}/{rest}"), body).await;
    if answer.status.is_success() {
        assert_eq!(answer.header("ping-body-limit"), "100000");
    }
    (answer.status.as_u16(), answer.body)
}

async fn get(gateway: &Gateway, rest: &str) -> (u16, Value) {
    ping(gateway, Method::GET, rest, Value::Null).await
}

async fn agent(gateway: &Gateway, id: i64) -> Value {
    gateway.get(FIRST_KEY, &format!("/api/v1/agents/{id}")).await.expect(200)
}

#[tokio::test]
async fn a_job_is_created_starts_ends_well_and_fails() {
    let gateway = Gateway::start().await;
    assert_eq!(get(&gateway, "backup").await, (404, json!("not found")));
    assert_eq!(get(&gateway, "backup?create=1").await, (201, json!("Created")));
    assert_eq!(get(&gateway, "backup?create=1").await, (200, json!("OK")));
    let id = gateway.get(FIRST_KEY, "/api/v1/status").await.expect(200)["agents"][0]["agent_id"].as_i64().unwrap();
    assert_eq!(agent(&gateway, id).await["totals"]["results_success"], 2);

    assert_eq!(get(&gateway, "backup/start").await, (200, json!("OK")));
    let explained = gateway.get(FIRST_KEY, &format!("/api/v1/agents/{id}/explain")).await.expect(200);
    assert!(explained["explanation"]["signals"]["in_flight_since"].is_string(), "{explained}");
    assert_eq!(ping(&gateway, Method::POST, "backup", json!("1 GB saved")).await, (200, json!("OK")));
    assert_eq!(get(&gateway, "backup/0").await, (200, json!("OK")));

    assert_eq!(ping(&gateway, Method::POST, "backup/fail", json!("disk full")).await, (200, json!("OK")));
    let failed = agent(&gateway, id).await;
    assert_eq!(failed["totals"]["results_failure"], 1);
    assert_eq!(failed["last_error"]["message"], "\"disk full\"");
    assert_eq!(get(&gateway, "backup/2").await, (200, json!("OK")));
    assert_eq!(agent(&gateway, id).await["last_error"]["message"], "exit code 2");
    gateway.stop().await;
}

#[tokio::test]
async fn the_same_words_each_night_are_no_loop() {
    let gateway = Gateway::start().await;
    get(&gateway, "backup?create=1").await;
    for _ in 0..12 {
        gateway.pass(5);
        assert_eq!(ping(&gateway, Method::POST, "backup", json!("done")).await.0, 200);
    }
    let page = gateway.get(FIRST_KEY, "/api/v1/status").await.expect(200);
    assert_eq!(
        (&page["agents"][0]["totals"]["loops_detected"], &page["agents"][0]["conditions"]),
        (&json!(0), &json!([]))
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_log_entry_is_kept_and_changes_nothing() {
    let gateway = Gateway::start().await;
    assert_eq!(ping(&gateway, Method::POST, "backup/log?create=1", json!("hello")).await, (404, json!("not found")));
    let id = gateway.beat("backup", json!({})).await;
    let before = agent(&gateway, id).await;
    gateway.pass(1);
    assert_eq!(ping(&gateway, Method::POST, "backup/log", json!("hello")).await, (200, json!("OK")));
    let after = agent(&gateway, id).await;
    assert_eq!((&before["totals"], &before["last_alive"]), (&after["totals"], &after["last_alive"]));
    let events = gateway.get(FIRST_KEY, &format!("/api/v1/agents/{id}/events")).await.expect(200);
    assert_eq!((&events["events"][0]["kind"], &events["events"][0]["cause"]), (&json!("log"), &json!("\"hello\"")));
    gateway.stop().await;
}

#[tokio::test]
async fn a_slug_names_an_agent_unless_it_is_ambiguous() {
    let gateway = Gateway::start().await;
    let id = gateway.beat("Database Backup", json!({})).await;
    assert_eq!(get(&gateway, "database-backup?create=1").await, (200, json!("OK")));
    assert_eq!(agent(&gateway, id).await["totals"]["results_success"], 1);
    gateway.beat("database  backup!", json!({})).await;
    assert_eq!(get(&gateway, "database-backup").await, (409, json!("ambiguous slug")));
    // The whole name, written as an address writes it, is never ambiguous.
    assert_eq!(get(&gateway, "Database%20Backup").await, (200, json!("OK")));
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_no_ping_is_refused() {
    let gateway = Gateway::start().await;
    gateway.beat("backup", json!({})).await;
    for wrong in ["backup/256", "backup/-1", "backup/stop", "a%01b"] {
        assert_eq!(get(&gateway, wrong).await, (400, json!("invalid url format")), "{wrong}");
    }
    assert_eq!(gateway.get("", "/ping/cv_wrong/backup").await.status, 401);
    let reader = gateway.key("default", "read").await;
    assert_eq!(gateway.get("", &format!("/ping/{reader}/backup")).await.status, 403);
    assert_eq!(ping(&gateway, Method::HEAD, "backup", Value::Null).await, (200, Value::Null));
    assert_eq!(ping(&gateway, Method::PUT, "backup", Value::Null).await.0, 405);
    gateway.stop().await;
}

#[tokio::test]
async fn a_long_body_is_cut_and_counts() {
    let gateway = Gateway::start().await;
    let id = gateway.beat("backup", json!({})).await;
    let long = "x".repeat(300_000);
    assert_eq!(ping(&gateway, Method::POST, "backup/1", json!(long)).await, (200, json!("OK")));
    let message = agent(&gateway, id).await["last_error"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("exit code 1: \"xxx") && message.len() <= 256, "{message}");
    gateway.stop().await;
}
