//! Agents: seen, listed, changed.

use reqwest::Method;
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

#[tokio::test]
async fn agents_are_listed_by_status_name_type_and_condition() {
    let gateway = Gateway::start().await;
    for (name, more) in [
        ("research-1", json!({"agent_type": "langgraph"})),
        ("Research-2", json!({"status": "error", "message": "broke"})),
        ("writer", json!({"status": "shutdown"})),
    ] {
        gateway.beat(name, more).await;
    }
    let names = async |query: &str| {
        let page = gateway.get(FIRST_KEY, &format!("/api/v1/agents?{query}")).await.expect(200);
        let names = page["agents"].as_array().unwrap().iter().map(|a| a["agent"].as_str().unwrap().to_owned());
        (page["total"].as_u64().unwrap(), names.collect::<Vec<_>>().join(" "))
    };
    assert_eq!(names("").await, (3, "research-1 Research-2 writer".into()));
    assert_eq!(names("q=RESEARCH").await, (2, "research-1 Research-2".into()));
    assert_eq!(names("q=research&limit=1").await, (2, "research-1".into()));
    assert_eq!(names("q=research&limit=1&offset=1").await, (2, "Research-2".into()));
    assert_eq!(names("q=research&offset=2").await, (2, String::new()));
    assert_eq!(names("prefix=research").await, (1, "research-1".into()));
    assert_eq!(names("status=stopped").await, (1, "writer".into()));
    assert_eq!(names("condition=erroring").await, (1, "Research-2".into()));
    assert_eq!(names("condition=erroring&prefix=w").await, (0, String::new()));
    assert_eq!(names("type=none").await, (0, String::new()));
    for (query, field) in [("status=fine", "status"), ("condition=sad", "condition"), ("limit=0", "limit")] {
        let refused = gateway.get(FIRST_KEY, &format!("/api/v1/agents?{query}")).await.expect(422);
        assert_eq!(refused["detail"][0]["loc"], json!(["query", field]), "{refused}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn settings_change_only_from_the_version_that_was_read() {
    let gateway = Gateway::start().await;
    let id = gateway.beat("bot", Value::Null).await;
    let admin = gateway.key("default", "admin,read").await;
    let path = format!("/api/v1/agents/{id}");
    let first = gateway.get(&admin, &path).await.header("etag").to_owned();
    gateway.beat("bot", Value::Null).await;
    assert_eq!(gateway.get(&admin, &path).await.header("etag"), first, "signals do not change it");
    let patch = async |body: Value, tag: &str| {
        gateway.call_with(&admin, Method::PATCH, &path, body, &[("if-match", tag)]).await
    };
    let changed = patch(json!({"interval": "30s"}), &first).await;
    let second = changed.header("etag").to_owned();
    assert_eq!(changed.expect(200)["policy"]["interval"], "30s");
    let stale = patch(json!({"interval": "10s"}), &first).await.expect(412);
    assert!(stale["detail"].as_str().unwrap().contains("read it again"), "{stale}");
    patch(json!({"auto_restart": true}), &format!("\"other\", {second}")).await.expect(200);
    let without = gateway.call(&admin, Method::PATCH, &path, json!({"interval": null})).await.expect(200);
    assert_eq!(without["settings"], json!({"auto_restart": true}));
    patch(json!({}), "*").await.expect(200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_renamed_agent_is_reached_under_both_names() {
    let mut gateway = Gateway::start().await;
    let id = gateway.beat("reserch-agent", json!({"tokens_used": 5})).await;
    let other = gateway.beat("writer", Value::Null).await;
    let admin = gateway.key("default", "admin,read").await;
    let path = format!("/api/v1/agents/{id}/rename");
    let renamed = gateway.post(&admin, &path, json!({"agent": "research-agent"})).await.expect(200);
    assert_eq!((&renamed["agent_id"], &renamed["agent"]), (&json!(id), &json!("research-agent")));
    assert_eq!(renamed["former_names"], json!(["reserch-agent"]));
    let taken = gateway.post(&admin, &path, json!({"agent": "writer"})).await.expect(409);
    assert!(taken["detail"].as_str().unwrap().contains(&format!("agent {other}")), "{taken}");
    for _ in 0..2 {
        assert_eq!(gateway.beat("reserch-agent", json!({"tokens_used": 5})).await, id);
        assert_eq!(gateway.beat("research-agent", json!({"tokens_used": 5})).await, id);
        gateway.restart().await;
    }
    let now = gateway.get(FIRST_KEY, &format!("/api/v1/agents/{id}")).await.expect(200);
    assert_eq!((&now["totals"]["tokens_used"], &now["totals"]["heartbeats"]), (&json!(25), &json!(5)));
    assert_eq!(gateway.get(FIRST_KEY, "/api/v1/status").await.expect(200)["total"], json!(2));
    // And back: a former name is the agent's own.
    let back = gateway.post(&admin, &path, json!({"agent": "reserch-agent"})).await.expect(200);
    assert_eq!(back["former_names"], json!(["research-agent"]));
    gateway.stop().await;
}

#[tokio::test]
async fn two_agents_that_are_one_become_one_with_all_their_sums_events_and_history() {
    let mut gateway = Gateway::start().await;
    let typo =
        gateway.beat("bott", json!({"tokens_used": 5, "cost_usd": 0.5, "status": "error", "message": "x"})).await;
    let id = gateway.beat("bot", json!({"tokens_used": 7})).await;
    gateway.pass(4000);
    gateway.beat("bott", json!({"tokens_used": 11})).await;
    gateway.beat("bot", json!({"tokens_used": 13})).await;
    let admin = gateway.key("default", "admin,read").await;
    let path = format!("/api/v1/agents/{typo}/merge");
    gateway.post(&admin, &path, json!({"into": typo})).await.expect(422);
    gateway.post(&admin, &path, json!({"into": 404})).await.expect(404);
    let events = gateway.get(&admin, &format!("/api/v1/agents/{typo}/events")).await.expect(200);
    let told = events["events"].as_array().unwrap().len();
    assert!(told > 0);
    let merged = gateway.post(&admin, &path, json!({"into": id})).await.expect(200);
    assert_eq!((&merged["totals"]["tokens_used"], &merged["totals"]["heartbeats"]), (&json!(36), &json!(4)));
    assert_eq!(merged["totals"]["cost_usd"], "0.500000000");
    assert_eq!(merged["last_error"]["message"], "x");
    gateway.get(&admin, &format!("/api/v1/agents/{typo}")).await.expect(404);
    for round in 0..2u64 {
        assert_eq!(gateway.beat("bott", json!({"tokens_used": 1})).await, id, "late beats reach the one that is left");
        let now = gateway.get(&admin, &format!("/api/v1/agents/{id}")).await.expect(200);
        assert_eq!(now["totals"]["tokens_used"], json!(37 + round));
        let events = gateway.get(&admin, &format!("/api/v1/agents/{id}/events")).await.expect(200);
        assert!(events["events"].as_array().unwrap().len() > told, "{events}");
        for resolution in ["minute", "hour", "day"] {
            let path = format!("/api/v1/agents/{id}/history?resolution={resolution}&from=2026-12-01T00:00:00Z");
            let history = gateway.get(&admin, &path).await.expect(200);
            let sum = |field: &str| {
                history["buckets"].as_array().unwrap().iter().map(|b| b[field].as_u64().unwrap()).sum::<u64>()
            };
            assert_eq!((sum("tokens"), sum("heartbeats")), (37 + round, 5 + round), "{resolution}: {history}");
        }
        gateway.restart().await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_deleted_agent_is_gone_with_its_history_and_a_beat_makes_a_new_one() {
    let mut gateway = Gateway::start().await;
    let id = gateway.beat("bot", json!({"tokens_used": 5})).await;
    let admin = gateway.key("default", "admin,read").await;
    let path = format!("/api/v1/agents/{id}");
    gateway.call(FIRST_KEY, Method::DELETE, &path, Value::Null).await.expect(403);
    gateway.call(&admin, Method::DELETE, &path, Value::Null).await.expect(204);
    gateway.call(&admin, Method::DELETE, &path, Value::Null).await.expect(404);
    gateway.get(&admin, &path).await.expect(404);
    let events = gateway.get(&admin, "/api/v1/events").await.expect(200);
    assert_eq!(events["events"], json!([]));
    gateway.restart().await;
    assert!(!gateway.get(FIRST_KEY, "/metrics").await.body.to_string().contains("agent=\\\"bot\\\""));
    let again = gateway.beat("bot", json!({"tokens_used": 1})).await;
    assert!(again > id, "numbers are never given out twice, not even after a restart");
    let now = gateway.get(&admin, &format!("/api/v1/agents/{again}")).await.expect(200);
    assert_eq!(now["totals"]["tokens_used"], json!(1));
    gateway.stop().await;
}

#[tokio::test]
async fn history_is_told_by_minute_hour_and_day_and_survives_a_restart() {
    let mut gateway = Gateway::start().await;
    let mut id = 0;
    for minute in 0..130u64 {
        id = gateway.beat("bot", json!({"tokens_used": minute % 3, "cost_usd": 0.01})).await;
        if minute == 70 {
            gateway.restart().await;
        }
        gateway.pass(60);
    }
    let history =
        async |query: &str| gateway.get(FIRST_KEY, &format!("/api/v1/agents/{id}/history?{query}")).await.expect(200);
    let hours = history("").await;
    let beats = |h: &Value| {
        h["buckets"].as_array().unwrap().iter().map(|b| b["heartbeats"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(beats(&hours), [60, 60, 10], "{hours}");
    assert_eq!(hours["buckets"][0]["cost_usd"], "0.600000000");
    assert_eq!(hours["buckets"][0]["tokens"], json!(60));
    assert_eq!(hours["buckets"][1]["start"], "2026-12-01T01:00:00.000Z");
    let minutes = history("resolution=minute&from=2026-12-01T00:58:00Z&to=2026-12-01T01:02:00Z").await;
    assert_eq!(beats(&minutes), [1, 1, 1, 1, 1], "{minutes}");
    assert_eq!(minutes["buckets"][2]["tokens"], json!(0));
    let days = history("resolution=day").await;
    assert_eq!((beats(&days), &days["timezone"]), (vec![130], &json!("UTC")));
    for (query, field) in [("resolution=week", "resolution"), ("from=yesterday", "from"), ("to=1", "to")] {
        let refused = gateway.get(FIRST_KEY, &format!("/api/v1/agents/{id}/history?{query}")).await.expect(422);
        assert_eq!(refused["detail"][0]["loc"], json!(["query", field]));
    }
    gateway.stop().await;
}
