//! Alerts of an Alertmanager about agents.

use serde_json::{Value, json};

use crate::gateway::{FIRST_KEY, Gateway};

const URL: &str = "/api/v1/webhooks/alertmanager";

fn alert(agent: &str, status: &str, severity: &str) -> Value {
    json!({
        "status": status, "labels": {"alertname": "AgentSlow", "agent": agent, "severity": severity},
        "annotations": {"summary": "answers slowly"}, "startsAt": "2026-12-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "", "fingerprint": format!("f-{agent}"),
    })
}

fn group(alerts: Value) -> Value {
    json!({"version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": "firing", "receiver": "pulsegate", "alerts": alerts})
}

async fn tell(gateway: &Gateway, alerts: Value) -> Value {
    gateway.post(FIRST_KEY, URL, group(alerts)).await.expect(200)["results"].clone()
}

#[tokio::test]
async fn an_alert_is_trouble_once_and_its_end_ends_it() {
    let gateway = Gateway::start().await;
    let id = gateway.beat("bot", json!({})).await;
    // It has settled by then.
    for _ in 0..4 {
        gateway.pass(50);
        gateway.beat("bot", json!({})).await;
    }
    let firing = alert("bot", "firing", "warning");
    let told = tell(&gateway, json!([firing])).await;
    assert_eq!(
        (&told[0]["event"], &told[0]["agent_id"], &told[0]["duplicate"]),
        (&json!("problem"), &json!(id), &json!(false))
    );
    let path = format!("/api/v1/agents/{id}");
    let agent = gateway.get(FIRST_KEY, &path).await.expect(200);
    assert_eq!(agent["state"], "degraded", "{agent}");
    assert!(agent["reason"].as_str().unwrap().contains("answers slowly"), "{agent}");
    assert_eq!(agent["totals"]["results_failure"], 0);

    assert_eq!(tell(&gateway, json!([firing])).await[0]["duplicate"], true);
    let told = tell(&gateway, json!([alert("bot", "resolved", "warning")])).await;
    assert_eq!(told[0]["event"], "recovery");
    assert_eq!(gateway.get(FIRST_KEY, &path).await.expect(200)["conditions"], json!([]));
    let events = gateway.get(FIRST_KEY, &format!("{path}/events")).await.expect(200);
    let alerts: Vec<&Value> = events["events"].as_array().unwrap().iter().filter(|e| e["kind"] == "alert").collect();
    assert_eq!(alerts.len(), 2, "{events}");
    gateway.stop().await;
}

#[tokio::test]
async fn an_alert_restarts_an_agent_whose_policy_says_so() {
    // Automatic restarts begin with the gateway.
    let gateway = Gateway::configured("control: {start_grace: 0s}").await;
    let runner = json!({"restart_type": "docker", "restart_target": "bot"});
    let id = gateway.beat("bot", runner).await;
    let admin = gateway.key("default", "admin").await;
    let path = format!("/api/v1/agents/{id}");
    gateway.call(&admin, reqwest::Method::PATCH, &path, json!({"auto_restart": true})).await.expect(200);
    let told = tell(&gateway, json!([alert("bot", "firing", "critical")])).await;
    assert_eq!(told[0]["restart_queued"], true, "{told}");
    let commands = gateway.get(FIRST_KEY, "/api/v1/commands/history").await.expect(200);
    assert_eq!(commands["commands"][0]["origin"], "webhook:alertmanager", "{commands}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_not_about_an_agent_is_answered_and_ignored() {
    let gateway = Gateway::start().await;
    gateway.beat("bot", json!({})).await;
    let mut own = alert("bot", "firing", "critical");
    own["labels"]["job"] = "pulsegate".into();
    let disk = json!({"status": "firing", "labels": {"alertname": "DiskFull"}, "annotations": {}, "startsAt": "", "fingerprint": "f"});
    let told = tell(&gateway, json!([own, disk, alert("stranger", "firing", "critical")])).await;
    assert_eq!((&told[0]["event"], &told[1]["event"]), (&json!("ignored"), &json!("ignored")));
    assert_eq!((&told[2]["event"], &told[2]["agent"]), (&json!("problem"), &Value::Null));
    assert!(told[2]["ignored"].as_str().unwrap().contains("no such agent"), "{told}");
    assert_eq!(gateway.get(FIRST_KEY, "/api/v1/status").await.expect(200)["agents"][0]["conditions"], json!([]));
    assert_eq!(tell(&gateway, json!([])).await, json!([]));
    gateway.stop().await;
}

#[tokio::test]
async fn a_wrong_field_is_named() {
    let gateway = Gateway::start().await;
    let answer = gateway.post(FIRST_KEY, URL, group(json!([{"status": 7}]))).await.expect(422);
    assert_eq!(answer["detail"][0]["loc"], json!(["body", "alerts", "0", "status"]), "{answer}");
    let answer = gateway.post(FIRST_KEY, URL, json!({"version": "4"})).await.expect(422);
    assert!(answer["detail"][0]["msg"].as_str().unwrap().contains("alerts"), "{answer}");
    gateway.stop().await;
}
