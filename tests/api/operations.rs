//! What an operator lives with: windows that follow their agents, names instead of numbers, what sets a threshold, what a
//! project spent, and a configuration that was changed.

use pulsegate::model::AgentId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::gateway::{FIRST_KEY, Gateway};

#[tokio::test]
async fn a_window_of_one_agent_follows_it_into_another_name_and_another_agent_and_ends_with_it() {
    let gateway = Gateway::start().await;
    let (twin, right) = (gateway.beat("reserch", Value::Null).await, gateway.beat("research", Value::Null).await);
    let admin = gateway.key("default", "admin,read").await;
    let window = json!({"agent_id": twin, "duration": "1h"});
    let id = gateway.post(&admin, "/api/v1/maintenance", window).await.expect(201)["window_id"].clone();
    let state = async |agent: i64| {
        gateway.get(&admin, &format!("/api/v1/agents/{agent}")).await.expect(200)["state"].as_str().unwrap().to_owned()
    };
    let window = async || gateway.get(&admin, &format!("/api/v1/maintenance/{id}")).await;
    gateway.until("the twin is in maintenance", async || state(twin).await == "maintenance").await;
    assert_ne!(state(right).await, "maintenance");

    gateway.post(&admin, &format!("/api/v1/agents/{twin}/rename"), json!({"agent": "resaerch"})).await.expect(200);
    assert_eq!(
        (window().await.expect(200)["agent_id"].clone(), state(twin).await),
        (json!(twin), "maintenance".into())
    );

    gateway.post(&admin, &format!("/api/v1/agents/{twin}/merge"), json!({"into": right})).await.expect(200);
    assert_eq!(window().await.expect(200)["agent_id"], json!(right));
    gateway.until("the one agent is in maintenance", async || state(right).await == "maintenance").await;

    gateway.call(&admin, Method::DELETE, &format!("/api/v1/agents/{right}"), Value::Null).await.expect(204);
    window().await.expect(404);
    gateway.stop().await;
}

#[tokio::test]
async fn an_agent_is_found_by_its_number_its_name_and_its_former_names_in_its_project_only() {
    let gateway = Gateway::start().await;
    let id = gateway.beat("team/research bot", Value::Null).await;
    let digits = gateway.beat("4711", Value::Null).await;
    let admin = gateway.key("default", "admin,read").await;
    let other = gateway.key("shop", "read").await;
    let number = async |key: &str, name: &str| {
        let answer = gateway.get(key, &format!("/api/v1/agents/{name}/health")).await;
        (answer.status.as_u16(), answer.body["agent_id"].as_i64())
    };
    for name in [id.to_string().as_str(), "team%2Fresearch%20bot"] {
        assert_eq!(number(FIRST_KEY, name).await, (200, Some(id)), "{name}");
        assert_eq!(number(&other, name).await, (404, None), "{name}");
    }
    assert_eq!(number(FIRST_KEY, "4711").await, (200, Some(digits)), "a name of digits, where no agent has the number");
    gateway.post(&admin, "/api/v1/agents/team%2Fresearch%20bot/rename", json!({"agent": "bot"})).await.expect(200);
    for name in ["bot", "team%2Fresearch%20bot"] {
        assert_eq!(number(FIRST_KEY, name).await, (200, Some(id)), "{name}");
    }
    for name in ["nobody", "%00", &"x".repeat(300)] {
        assert_eq!(number(FIRST_KEY, name).await, (404, None), "{name}");
    }
    gateway.stop().await;
}

const LAYERS: &str = r#"
health: {interval: 30s, failures: 4, budget: {daily_usd: 9}}
projects:
  default:
    health: {failures: 5, loops: {identical_messages: 7}}
    agents:
      - {match: "re*", health: {stalled_after: 20m, failures: 6}}
      - {match: "*", health: {stalled_after: 10m}}
      - {match: "other", health: {interval: 5s}}
"#;

#[tokio::test]
async fn it_is_told_what_sets_each_threshold() {
    let gateway = Gateway::configured(LAYERS).await;
    let id = gateway.beat("research", Value::Null).await;
    let admin = gateway.key("default", "admin,read").await;
    let path = format!("/api/v1/agents/{id}");
    let patch = json!({"interval": "45s", "budget": {"hourly_usd": 3}});
    let agent = gateway.call(&admin, Method::PATCH, &path, patch).await.expect(200);
    assert_eq!(
        agent["policy_from"],
        json!({
            "interval": "agent", "budget.hourly_usd": "agent", "budget.daily_usd": "health", "failures": "pattern re*",
            "loops.identical_messages": "project", "stalled_after": "pattern *",
        })
    );
    assert_eq!((&agent["policy"]["interval"], &agent["policy"]["failures"]), (&json!("45s"), &json!(6)));
    assert_eq!((&agent["policy"]["stalled_after"], &agent["policy"]["late_after"]), (&json!("10m"), &json!(1.5)));
    gateway.stop().await;
}

#[tokio::test]
async fn a_project_tells_what_it_spent_against_its_budget() {
    let budget = "projects: {default: {timezone: Europe/Berlin, budget: {hourly_usd: 2, daily_usd: 5}}}";
    let gateway = Gateway::configured(budget).await;
    let admin = gateway.key("default", "admin").await;
    let spent = async || gateway.get(&admin, "/api/v1/projects/default").await.expect(200)["budget"].clone();
    let nothing = json!({
        "spent_hour_usd": null, "limit_hour_usd": "2.000000000", "spent_today_usd": null, "limit_day_usd": "5.000000000",
        "timezone": "Europe/Berlin", "over_budget": false,
    });
    assert_eq!(spent().await, nothing);
    gateway.beat("a", json!({"cost_usd": 0.75})).await;
    gateway.beat("b", json!({"cost_usd": 0.5})).await;
    let told = spent().await;
    assert_eq!((&told["spent_hour_usd"], &told["spent_today_usd"]), (&json!("1.250000000"), &json!("1.250000000")));
    gateway.beat("a", json!({"cost_usd": 0.8})).await;
    let told = spent().await;
    assert_eq!((&told["spent_hour_usd"], &told["over_budget"]), (&json!("2.050000000"), &json!(true)));
    // Two hours later, and then on another day.
    gateway.pass(7200);
    let told = spent().await;
    assert_eq!((&told["spent_hour_usd"], &told["spent_today_usd"]), (&json!("0.000000000"), &json!("2.050000000")));
    gateway.pass(86_400);
    assert_eq!(spent().await["spent_today_usd"], "0.000000000");
    gateway.stop().await;

    let gateway = Gateway::start().await;
    let admin = gateway.key("default", "admin").await;
    let project = gateway.get(&admin, "/api/v1/projects/default").await.expect(200);
    assert_eq!(project["budget"], Value::Null, "without a budget nothing is added up");
    gateway.stop().await;
}

#[tokio::test]
async fn a_changed_configuration_holds_from_the_start_for_every_agent_it_touches() {
    let mut gateway = Gateway::configured("health: {interval: 1h, failures: 5, start_grace: 1s}").await;
    let (silent, failing) = (gateway.beat("silent", Value::Null).await, gateway.beat("failing", Value::Null).await);
    let untouched = gateway.beat("untouched", json!({"interval": 600})).await;
    for _ in 0..3 {
        gateway.beat("failing", json!({"status": "error", "message": "boom"})).await;
    }
    let row = async |gateway: &Gateway, id: i64| gateway.app().store().agent(AgentId(id)).await.unwrap().unwrap();
    let state = async |gateway: &Gateway, id: i64| {
        let agent = gateway.get(FIRST_KEY, &format!("/api/v1/agents/{id}")).await.expect(200);
        agent["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state(&gateway, failing).await, "degraded");
    // The end of starting is over; what is armed then lies more than an hour ahead.
    gateway.pass(3);
    let later = gateway.now().plus(std::time::Duration::from_secs(3600));
    gateway.until("silence is armed", async || row(&gateway, silent).await.state.deadline > later).await;

    gateway.until("the others too", async || row(&gateway, untouched).await.state.deadline > gateway.now()).await;
    let before = row(&gateway, untouched).await.state.clone();
    gateway.restart_with("health: {interval: 10s, failures: 3, start_grace: 1s}").await;
    gateway.until("failures are judged anew", async || state(&gateway, failing).await == "erroring").await;
    let soon = gateway.now().plus(std::time::Duration::from_secs(600));
    gateway.until("silence is judged anew", async || row(&gateway, silent).await.state.deadline <= soon).await;
    let after = row(&gateway, untouched).await.state.clone();
    assert_eq!((after.updated_at, after.deadline), (before.updated_at, before.deadline), "others are left alone");
    gateway.stop().await;
}
