//! How names that are new to a project become agents: at once, or by somebody's word.

use serde_json::{Value, json};

use crate::gateway::{FIRST_KEY, Gateway};

const BEAT: &str = "/api/v1/heartbeat";

#[tokio::test]
async fn a_strict_project_takes_only_registered_agents_and_says_which_was_meant() {
    let gateway = Gateway::configured("projects: {default: {registration: strict, max_agents: 2}}").await;
    let admin = gateway.key("default", "admin,read").await;
    let made = gateway.post(&admin, "/api/v1/agents", json!({"agent": "research-agent"})).await.expect(201);
    assert_eq!((&made["agent"], &made["state"]), (&json!("research-agent"), &json!("unknown")));
    let again = gateway.post(&admin, "/api/v1/agents", json!({"agent": "research-agent"})).await.expect(200);
    assert_eq!(again["agent_id"], made["agent_id"]);
    let refused = gateway.post(FIRST_KEY, BEAT, json!({"agent": "reserch-agent", "status": "ok"})).await.expect(403);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("not registered") && detail.contains("did you mean \"research-agent\"?"), "{detail}");
    let refused = gateway.post(FIRST_KEY, BEAT, json!({"agent": "zebra", "status": "ok"})).await.expect(403);
    assert!(!refused["detail"].as_str().unwrap().contains("did you mean"), "{refused}");
    assert_eq!(gateway.beat("research-agent", Value::Null).await, made["agent_id"].as_i64().unwrap());
    // In a batch the others go on.
    let batch = json!([{"agent": "research-agent", "status": "ok"}, {"agent": "Research-Agent2", "status": "ok"}]);
    let batch = gateway.post(FIRST_KEY, "/api/v1/heartbeat/batch", batch).await.expect(200);
    assert_eq!((&batch["accepted"], &batch["rejected"]), (&json!(1), &json!(1)));
    assert!(batch["results"][1]["detail"].as_str().unwrap().contains("did you mean"), "{batch}");
    // Also somebody's word cannot make more than there may be.
    gateway.post(&admin, "/api/v1/agents", json!({"agent": "second"})).await.expect(201);
    let full = gateway.post(&admin, "/api/v1/agents", json!({"agent": "third"})).await.expect(402);
    assert_eq!(full["detail"], "upgrade_required");
    gateway.stop().await;
}

#[tokio::test]
async fn names_wait_for_approval_and_can_be_turned_away() {
    let mut gateway = Gateway::configured("projects: {default: {registration: approve}}").await;
    let admin = gateway.key("default", "admin,read").await;
    let beat = async |gateway: &Gateway, name: &str| {
        gateway.post(FIRST_KEY, BEAT, json!({"agent": name, "status": "ok"})).await
    };
    for name in ["a/b c", "spam", "a/b c"] {
        let refused = beat(&gateway, name).await.expect(403);
        assert!(refused["detail"].as_str().unwrap().contains("waits for approval"), "{refused}");
    }
    gateway.restart().await;
    gateway.pass(60);
    beat(&gateway, "spam").await.expect(403);
    let list = gateway.get(&admin, "/api/v1/registrations").await.expect(200);
    assert_eq!(list["mode"], "approve");
    let rows: Vec<_> =
        list["registrations"].as_array().unwrap().iter().map(|r| (&r["agent"], &r["attempts"])).collect();
    assert_eq!(rows, [(&json!("a/b c"), &json!(1)), (&json!("spam"), &json!(2))]);

    let approved = gateway.post(&admin, "/api/v1/registrations/approve", json!({"agent": "a/b c"})).await.expect(200);
    assert_eq!(beat(&gateway, "a/b c").await.expect(200)["agent_id"], approved["agent_id"]);
    gateway.post(&admin, "/api/v1/registrations/reject", json!({"agent": "spam"})).await.expect(204);
    let refused = beat(&gateway, "spam").await.expect(403);
    assert!(refused["detail"].as_str().unwrap().contains("turned away"), "{refused}");
    gateway.restart().await;
    let list = gateway.get(&admin, "/api/v1/registrations").await.expect(200);
    assert_eq!(list["registrations"][0]["state"], "rejected", "{list}");
    gateway.post(&admin, "/api/v1/registrations/forget", json!({"agent": "spam"})).await.expect(204);
    gateway.post(&admin, "/api/v1/registrations/forget", json!({"agent": "spam"})).await.expect(404);
    assert_eq!(gateway.get(&admin, "/api/v1/registrations").await.expect(200)["registrations"], json!([]));
    // Only administrators of the project.
    gateway.get(FIRST_KEY, "/api/v1/registrations").await.expect(403);
    gateway.post(FIRST_KEY, "/api/v1/registrations/approve", json!({"agent": "x"})).await.expect(403);
    gateway.stop().await;
}
