//! Agents: seen, listed, changed.

use serde_json::{Value, json};

use crate::gateway::{FIRST_KEY, Gateway};

#[tokio::test]
async fn a_beat_makes_an_agent_that_is_listed_and_survives_a_restart() {
    let mut gateway = Gateway::start().await;
    let id = gateway.beat("bot", json!({"tokens_used": 7})).await;
    for _ in 0..2 {
        let page = gateway.get(FIRST_KEY, "/api/v1/status").await.expect(200);
        assert_eq!((&page["total"], &page["agents"][0]["agent_id"]), (&json!(1), &json!(id)), "{page}");
        assert_eq!(page["agents"][0]["totals"]["tokens_used"], json!(7));
        gateway.restart().await;
    }
    gateway.pass(60);
    let other = gateway.key("other", "read").await;
    assert_eq!(gateway.get(&other, "/api/v1/status").await.expect(200)["agents"], Value::Array(vec![]));
    gateway.get(&other, &format!("/api/v1/agents/{id}")).await.expect(404);
    let page = gateway.get(FIRST_KEY, "/api/v1/status").await;
    assert_eq!(page.header("content-type"), "application/json");
    gateway.stop().await;
}
