//! Projects, keys, maintenance windows, and the audit chain that says who changed them.

use pulsegate::store::sqlite::KeyFile;
use reqwest::Method;
use serde_json::{Value, json};

use crate::gateway::{FIRST_KEY, Gateway};

#[tokio::test]
async fn a_key_is_shown_once_and_opens_nothing_after_it_expired_or_was_revoked() {
    let gateway = Gateway::start().await;
    let admin = gateway.key("default", "admin").await;
    let wanted = json!({"scopes": ["read"], "label": "dashboard", "expires_in": "90d"});
    let made = gateway.post(&admin, "/api/v1/keys", wanted).await.expect(201);
    let (key, id) = (made["key"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned());
    assert_eq!(
        (&made["scopes"], &made["state"], &made["last_used_at"]),
        (&json!(["read"]), &json!("active"), &Value::Null)
    );
    gateway.get(&key, "/api/v1/status").await.expect(200);
    let listed = gateway.get(&admin, "/api/v1/keys").await.expect(200).to_string();
    assert!(listed.contains("dashboard") && !listed.contains(key.split('_').nth(2).unwrap()));
    gateway.app().write_last_used().await;
    let read = gateway.get(&admin, &format!("/api/v1/keys/{id}")).await.expect(200);
    assert_eq!(read["last_used_at"], json!(gateway.now().to_string()));

    let short = json!({"scopes": ["read"], "expires_in": "1h"});
    let short = gateway.post(&admin, "/api/v1/keys", short).await.expect(201)["key"].as_str().unwrap().to_owned();
    gateway.pass(3599);
    gateway.app().refresh().await.unwrap();
    gateway.get(&short, "/api/v1/status").await.expect(200);
    gateway.pass(1);
    gateway.app().refresh().await.unwrap();
    gateway.get(&short, "/api/v1/status").await.expect(401);

    let revoked = gateway.call(&admin, Method::DELETE, &format!("/api/v1/keys/{id}"), Value::Null).await.expect(200);
    assert_eq!(revoked["state"], "revoked");
    gateway.get(&key, "/api/v1/status").await.expect(401);
    for (body, field) in [
        (json!({"scopes": ["everything"]}), "scopes"),
        (json!({"scopes": []}), "scopes"),
        (json!({"scopes": ["read"], "label": "a\nb"}), "label"),
        (json!({"scopes": ["read"], "expires_in": "soon"}), "expires_in"),
    ] {
        let refused = gateway.post(&admin, "/api/v1/keys", body).await.expect(422);
        assert_eq!(refused["detail"][0]["loc"], json!(["body", field]), "{refused}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn an_administrator_of_one_project_has_no_say_in_another() {
    let gateway = Gateway::start().await;
    let (ours, theirs) = (gateway.key("default", "admin,read").await, gateway.key("shop", "admin,read").await);
    let key_id = |key: &str| key.split('_').nth(1).unwrap().to_owned();
    let window = gateway.post(&theirs, "/api/v1/maintenance", json!({"duration": "1h"})).await.expect(201);
    for path in [format!("/api/v1/keys/{}", key_id(&theirs)), format!("/api/v1/maintenance/{}", window["window_id"])] {
        gateway.get(&ours, &path).await.expect(404);
        gateway.call(&ours, Method::DELETE, &path, Value::Null).await.expect(404);
        gateway.get(&theirs, &path).await.expect(200);
    }
    for path in [
        "/api/v1/keys?project=shop",
        "/api/v1/audit?project=shop",
        "/api/v1/maintenance?project=shop",
        "/api/v1/projects/shop",
    ] {
        gateway.get(&ours, path).await.expect(404);
        gateway.get(&theirs, path).await.expect(200);
    }
    gateway.post(&ours, "/api/v1/keys", json!({"scopes": ["read"], "project": "shop"})).await.expect(404);
    gateway.post(&ours, "/api/v1/keys", json!({"scopes": ["admin"], "global": true})).await.expect(403);
    gateway.post(&ours, "/api/v1/projects", json!({"project": "new"})).await.expect(403);
    let seen = gateway.get(&ours, "/api/v1/projects").await.expect(200);
    assert_eq!(seen["projects"].as_array().unwrap().len(), 1, "{seen}");

    let global = gateway.global_key().await;
    gateway.post(&global, "/api/v1/projects", json!({"project": "new"})).await.expect(201);
    gateway.post(&global, "/api/v1/projects", json!({"project": "new"})).await.expect(409);
    gateway.post(&global, "/api/v1/projects", json!({"project": " new"})).await.expect(422);
    let made = gateway.post(&global, "/api/v1/keys", json!({"scopes": ["read"], "project": "new"})).await.expect(201);
    gateway.get(made["key"].as_str().unwrap(), "/api/v1/status").await.expect(200);
    assert_eq!(gateway.get(&global, "/api/v1/projects").await.expect(200)["projects"].as_array().unwrap().len(), 3);
    gateway.get(&global, "/api/v1/keys?project=shop").await.expect(200);
    gateway.get(&global, "/api/v1/keys?project=nowhere").await.expect(404);
    gateway.stop().await;
}

#[tokio::test]
async fn the_audit_chain_tells_who_changed_what_and_who_was_refused() {
    let gateway = Gateway::start().await;
    let id = gateway.beat("bot", Value::Null).await;
    let admin = gateway.key("default", "admin,read,command").await;
    let path = format!("/api/v1/agents/{id}");
    gateway.call(&admin, Method::PATCH, &path, json!({"interval": "30s"})).await.expect(200);
    gateway.post(&admin, &format!("{path}/pause"), Value::Null).await.expect(200);
    gateway.post(&admin, &format!("{path}/restart"), Value::Null).await.expect(409);
    gateway.post(FIRST_KEY, &format!("{path}/pause"), Value::Null).await.expect(403);
    gateway.post("cv_unknown", &format!("{path}/pause"), Value::Null).await.expect(401);
    let audit = gateway.get(&admin, "/api/v1/audit").await.expect(200);
    let rows = audit["rows"].as_array().unwrap();
    let told: Vec<_> = rows.iter().map(|r| (r["action"].as_str().unwrap(), r["decision"].as_str().unwrap())).collect();
    let expected = [
        ("agent.pause", "refused"),
        ("agent.restart", "refused"),
        ("agent.pause", "allowed"),
        ("agent.settings", "allowed"),
    ];
    assert_eq!(told, expected, "{audit}");
    assert_eq!(rows[3]["before"]["settings"], json!({}));
    assert_eq!(rows[3]["after"]["settings"], json!({"interval": "30s"}));
    assert_eq!(
        (&rows[3]["target"], &rows[3]["actor"]["address"]),
        (&json!(format!("agent {id} bot")), &json!("127.0.0.1"))
    );
    assert_eq!(rows[3]["actor"]["key_id"], json!(admin.split('_').nth(1).unwrap()));
    assert!(rows[1]["reason"].as_str().unwrap().contains("no restart target"), "{audit}");
    assert!(rows.windows(2).all(|pair| pair[0]["prev_hash"] == pair[1]["hash"]), "{audit}");
    let older = gateway.get(&admin, &format!("/api/v1/audit?limit=1&before={}", rows[1]["seq"])).await.expect(200);
    assert_eq!(older["rows"][0]["seq"], rows[2]["seq"]);

    // A key that is refused for ever does not fill the disk.
    for _ in 0..100 {
        gateway.post(FIRST_KEY, &format!("{path}/pause"), Value::Null).await.expect(403);
    }
    let rows = gateway.get(&admin, "/api/v1/audit?limit=1000").await.expect(200)["rows"].as_array().unwrap().len();
    assert!(rows < 70, "{rows}");
    let database = gateway.data_dir().join("pulsegate.db");
    let (verified, last) = KeyFile::open(&database).unwrap().verify_audit(None).unwrap().unwrap();
    assert_eq!((verified, last.unwrap().0), (rows as u64, rows as i64));
    gateway.stop().await;
}

#[tokio::test]
async fn a_restart_while_a_maintenance_window_holds_must_be_meant() {
    let gateway = Gateway::start().await;
    let watched = json!({"restart_type": "docker", "restart_target": "bot", "auto_restart": true});
    let id = gateway.beat("bot", watched).await;
    let (admin, operator) = (gateway.key("default", "admin").await, gateway.key("default", "command,read").await);
    let window = json!({"agent_id": id, "duration": "1h", "reason": "new disks"});
    let window = gateway.post(&admin, "/api/v1/maintenance", window).await.expect(201);
    assert_eq!((&window["agent_id"], &window["reason"]), (&json!(id), &json!("new disks")));
    assert_eq!(window["active_until"], "2026-12-01T01:00:00.000Z");
    let state = async || {
        let agent = gateway.get(&operator, &format!("/api/v1/agents/{id}")).await.expect(200);
        agent["state"].as_str().unwrap().to_owned()
    };
    gateway.until("the agent is in maintenance", async || state().await == "maintenance").await;
    let restart = format!("/api/v1/agents/{id}/restart");
    let refused = gateway.post(&operator, &restart, Value::Null).await.expect(409);
    assert!(refused["detail"].as_str().unwrap().contains("override=true"), "{refused}");
    let answer = gateway.post(&operator, &format!("{restart}?override=true"), Value::Null).await;
    assert!([202, 409].contains(&answer.status.as_u16()), "{answer:?}");
    assert!(!answer.body["detail"].as_str().unwrap_or("").contains("override"), "{answer:?}");

    let path = format!("/api/v1/maintenance/{}", window["window_id"]);
    gateway.call(&admin, Method::DELETE, &path, Value::Null).await.expect(204);
    gateway.get(&admin, &path).await.expect(404);
    gateway.until("it is watched again", async || state().await != "maintenance").await;
    gateway.stop().await;
}

#[tokio::test]
async fn maintenance_windows_are_kept_changed_and_refused_by_field() {
    let mut gateway = Gateway::start().await;
    let admin = gateway.key("default", "admin").await;
    let weekly = json!({"pattern": "batch-*", "cron": "30 2 * * 6", "duration": "2h", "timezone": "Europe/Berlin"});
    let made = gateway.post(&admin, "/api/v1/maintenance", weekly).await.expect(201);
    assert_eq!(made["next_start"], "2026-12-05T01:30:00.000Z", "{made}");
    assert_eq!((&made["active_until"], &made["duration_seconds"]), (&Value::Null, &json!(7200)));
    let path = format!("/api/v1/maintenance/{}", made["window_id"]);
    let once = json!({"from": "2027-01-01T00:00:00Z", "to": "2027-01-01T04:00:00+02:00"});
    let changed = gateway.call(&admin, Method::PUT, &path, once).await.expect(200);
    assert_eq!((&changed["pattern"], &changed["cron"]), (&Value::Null, &Value::Null));
    assert_eq!(changed["to"], "2027-01-01T02:00:00.000Z");
    gateway.restart().await;
    assert_eq!(gateway.get(&admin, "/api/v1/maintenance").await.expect(200)["windows"], json!([changed]));
    for (body, field) in [
        (json!({}), "to"),
        (json!({"cron": "* * * * *"}), "duration"),
        (json!({"cron": "never", "duration": "1h"}), "cron"),
        (json!({"cron": "* * * * *", "duration": "1h", "timezone": "Moon"}), "timezone"),
        (json!({"to": "2020-01-01T00:00:00Z"}), "to"),
        (json!({"from": "today", "duration": "1h"}), "from"),
        (json!({"duration": "1h", "agent_id": 404}), "agent_id"),
        (json!({"duration": "1h", "agent_id": 1, "pattern": "*"}), "pattern"),
        (json!({"duration": "1h", "reason": "x".repeat(257)}), "reason"),
    ] {
        let refused = gateway.post(&admin, "/api/v1/maintenance", body).await.expect(422);
        assert_eq!(refused["detail"][0]["loc"], json!(["body", field]), "{refused}");
    }
    gateway.post(FIRST_KEY, "/api/v1/maintenance", json!({"duration": "1h"})).await.expect(403);
    gateway.stop().await;
}
