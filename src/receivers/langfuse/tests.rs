//! Stories about whole requests, with a stand-in for the committer that knows the agent `research-agent`.

use axum::body::Body;
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use serde_json::json;
use sha2::Sha256;
use tower::ServiceExt;

use super::*;
use crate::http::auth::{hash_key, key_id};
use crate::ingest::SubmitError;
use crate::ingest::intake::Tone;
use crate::model::{AgentId, ApiKey, Scopes, Timestamp};
use crate::receivers::submit::fake::Fake;

const NOW: Timestamp = Timestamp::from_secs(1_795_318_398);
const SECRET: &str = "lf-whsec_0000";

fn keyring() -> Keyring {
    let ring = Keyring::default();
    let scopes = Scopes::of(&[Scope::Ingest]);
    ring.replace(vec![ApiKey::new(key_id(b"cv_test"), ProjectId(3), hash_key(b"cv_test"), scopes, NOW)]);
    ring
}

fn committer() -> Fake {
    Fake::new(|intake| {
        let Work::Notices(notices) = &intake.work else { panic!("{intake:?}") };
        let outcome = |n: &Notice| {
            let found = n.candidates.iter().find(|c| c.name == "research-agent");
            let agent = found.map(|c| (AgentId(7), c.name.clone(), c.matched_by.clone()));
            NoticeOutcome { restart_queued: agent.is_some() && n.tone == Tone::Error, agent, duplicate: false }
        };
        Ok(Outcome::Noticed(notices.iter().map(outcome).collect()))
    })
}

fn request() -> axum::http::request::Builder {
    let url = "/api/v1/webhooks/langfuse";
    Request::post(url).header("x-api-key", "cv_test").header("content-type", "application/json")
}

async fn send(
    fake: &Fake,
    secrets: &[&str],
    request: axum::http::request::Builder,
    body: impl Into<Body>,
) -> (u16, Value) {
    let settings = Settings { signing_secrets: secrets.iter().map(|s| (*s).into()).collect(), ..Settings::default() };
    let hook = LangfuseWebhook {
        committer: fake.clone(),
        keyring: keyring(),
        clock: Clock::manual(NOW),
        settings,
        forward: Forward::default(),
    };
    let response = axum::Router::from(routes(hook)).oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap())
}

/// The answer, and the notices that were made.
async fn tell(body: &Value) -> (u16, Value, Vec<Notice>) {
    let fake = committer();
    let (status, reply) = send(&fake, &[], request(), body.to_string()).await;
    let notices = fake.asked().drain(..).flat_map(|i| if let Work::Notices(n) = i.work { n } else { vec![] }).collect();
    (status, reply, notices)
}

async fn notice(body: Value) -> Notice {
    let (status, _, mut notices) = tell(&body).await;
    assert_eq!((status, notices.len()), (200, 1), "{body}");
    notices.remove(0)
}

fn monitor(severity: &str) -> Value {
    json!({"id": "exec-1", "timestamp": "2026-11-22T03:00:00.000Z", "type": "monitor-alert", "apiVersion": "v1",
        "payload": {"monitorId": "mon-1", "projectId": "prj-1", "severity": severity,
            "timestamp": "2026-11-22T03:00:00.000Z", "fromTimestamp": "x", "toTimestamp": "x",
            "permalink": "https://lf.example/project/prj-1/monitors/mon-1", "dataPermalink": "javascript:alert(1)",
            "message": {"title": "[ALERT] research-agent errors", "body": "`count` is **above** `5`"},
            "view": "observations", "window": "5m",
            "filters": [{"type": "stringOptions", "column": "level", "operator": "any of", "value": ["ERROR"]},
                {"type": "stringObject", "column": "metadata", "key": "agent", "operator": "=", "value": "research-agent"}]}})
}

#[tokio::test]
async fn a_monitor_tells_of_failure_and_recovery() {
    let (status, reply, notices) = tell(&monitor("ALERT")).await;
    let expected = json!({"received": true, "kind": "monitor", "event": "langfuse_error", "agent_id": 7,
        "agent": "research-agent", "matched_by": "filters.metadata.agent", "restart_queued": true, "duplicate": false});
    assert_eq!((status, reply), (200, expected));
    assert_eq!(notices[0].message, "[ALERT] research-agent errors: `count` is **above** `5`");
    let evidence = json!({"kind": "monitor", "envelope_id": "exec-1", "monitor_id": "mon-1", "project_id": "prj-1",
        "severity": "ALERT", "view": "observations", "window": "5m", "timestamp": "2026-11-22T03:00:00.000Z",
        "permalink": "https://lf.example/project/prj-1/monitors/mon-1"});
    assert_eq!(notices[0].evidence, evidence);
    assert_eq!(tell(&monitor("OK")).await.1["event"], "langfuse_recovery");
    assert_eq!(tell(&monitor("NO_DATA")).await.1["event"], "langfuse_notice");
}

#[tokio::test]
async fn the_other_envelopes_are_kept_without_blaming_an_agent() {
    let notification = json!({"id": "exec-2", "type": "project-notification", "apiVersion": "v1",
        "event": {"eventType": "evaluator-blocked", "severity": "ALERT", "projectId": "p", "projectName": "P",
            "resourceId": "r", "resourceName": "R", "message": "blocked", "url": "https://lf.example/r",
            "blockReason": "LLM_CONNECTION_AUTH_INVALID", "evalTemplateId": "t", "evaluatorId": "e"}});
    let (status, reply, notices) = tell(&notification).await;
    let expected = json!({"received": true, "kind": "notification", "event": "langfuse_warning", "agent_id": null,
        "agent": null, "matched_by": null, "restart_queued": false, "duplicate": false});
    assert_eq!((status, reply), (200, expected));
    assert_eq!((notices[0].message.as_str(), &notices[0].evidence["url"]), ("blocked", &json!("https://lf.example/r")));
    let prompt = json!({"id": "exec-3", "type": "prompt-version", "action": "updated", "user": {"name": "A", "email": "a@x"},
        "prompt": {"id": "p1", "name": "greeting", "version": 3, "prompt": "SECRET TEXT", "config": {"k": "SECRET"}}});
    let notice = notice(json!({"event_type": "x", "client_payload": prompt})).await;
    assert_eq!((notice.tone, notice.message.as_str()), (Tone::Neutral, "prompt greeting was updated"));
    let evidence =
        json!({"kind": "prompt", "envelope_id": "exec-3", "name": "greeting", "version": 3, "action": "updated"});
    assert_eq!(notice.evidence, evidence);
}

#[tokio::test]
async fn traces_and_observations_are_read_in_both_spellings() {
    let camel = json!({"id": "o1", "traceId": "t1", "type": "GENERATION", "name": "llm", "level": "ERROR",
        "statusMessage": "429", "metadata": {"agent": "\"research-agent\""}, "parentObservationId": "o0",
        "startTime": "2026-11-22T03:00:00.000Z", "input": "SECRET", "output": {"x": "SECRET"}});
    let snake = json!({"id": "o1", "trace_id": "t1", "type": "GENERATION", "name": "llm", "level": "ERROR",
        "status_message": "429", "metadata": "{\"agent\": \"research-agent\"}", "parent_observation_id": "o0",
        "start_time": "2026-11-22T03:00:00.000Z", "input": "SECRET", "output": {"x": "SECRET"}});
    let one = notice(camel.clone()).await;
    assert_eq!(one, notice(snake).await);
    assert_eq!((one.tone, one.message.as_str()), (Tone::Error, "429"));
    assert!(!one.evidence.to_string().contains("SECRET") && !one.evidence.to_string().contains("research-agent"));
    assert_eq!(tell(&camel).await.1["matched_by"], "metadata.agent");
    let trace = json!({"trace_id": "t1", "status": "error", "name": "research-agent"});
    let (_, reply, _) = tell(&trace).await;
    assert_eq!(
        (&reply["kind"], &reply["matched_by"], &reply["restart_queued"]),
        (&json!("trace"), &json!("name"), &json!(true))
    );
}

#[tokio::test]
async fn one_element_has_one_key_however_often_it_comes() {
    let key = async |body: Value| notice(body).await.dedup.unwrap();
    assert_eq!(key(monitor("ALERT")).await, key(monitor("OK")).await, "the envelope's id decides");
    let trace = |level: &str| json!({"id": "t", "observations": [{"id": "o1", "level": "DEFAULT"}, {"id": "o2", "level": level}]});
    assert_eq!(key(trace("ERROR")).await, key(json!({"trace": trace("ERROR")})).await);
    assert_ne!(key(trace("ERROR")).await, key(trace("DEFAULT")).await, "a trace that fails later is told again");
    let observation = json!({"id": "o2", "traceId": "t", "level": "ERROR"});
    assert_eq!(key(trace("ERROR")).await, key(observation).await, "trace and observation tell of one failure");
    let bare = |agent: &str| json!({"status": "error", "agent": agent});
    assert_eq!(key(bare("a")).await, key(bare("a")).await);
    assert_ne!(key(bare("a")).await, key(bare("b")).await);
}

#[tokio::test]
async fn content_without_id_is_new_again_after_a_while() {
    let body = json!({"status": "error", "agent": "a"});
    let Content::One(Some(element)) = envelope::classify(&body) else { panic!() };
    let key = |secs: i64| notice::build(&element, ProjectId(1), Timestamp::from_secs(6_000_000 + secs), None).dedup;
    assert_eq!(key(0), key(599));
    assert_ne!(key(0), key(3600));
}

/// SEC-5: every try of one signed delivery is one notice, however late it comes within the tolerance.
#[tokio::test]
async fn sec_5_a_replayed_signature_is_the_same_notice_also_without_an_id() {
    let body = json!({"status": "error", "agent": "a"});
    let Content::One(Some(element)) = envelope::classify(&body) else { panic!() };
    let key = |secs: i64, signed_at: i64| {
        notice::build(&element, ProjectId(1), Timestamp::from_secs(6_000_000 + secs), Some(signed_at)).dedup
    };
    // Unsigned content is the same for ten minutes of the clock; a signature's is its own over that edge.
    assert_eq!(key(599, 6_000_590), key(601, 6_000_590));
    assert_eq!(key(0, 6_000_590), key(3600, 6_000_590));
    assert_ne!(key(0, 6_000_590), key(0, 6_000_591), "the same words, signed anew, are news");
}

#[tokio::test]
async fn lists_are_answered_line_by_line() {
    let body = json!({"data": [{"id": "t1", "status": "error", "agent": "research-agent"}, {"foo": 1}, {"id": "t2"}], "status": "ok"});
    let (status, reply, notices) = tell(&body).await;
    assert_eq!((status, notices.len()), (200, 2));
    let results = &reply["results"];
    assert_eq!((&results[0]["event"], &results[0]["agent"]), (&json!("langfuse_error"), &json!("research-agent")));
    assert_eq!((&results[1]["received"], &results[1]["detail"][0]["loc"]), (&json!(false), &json!(["body", 1])));
    assert_eq!((&results[2]["event"], &results[2]["agent_id"]), (&json!("langfuse_notice"), &Value::Null));
    assert_eq!(tell(&json!([])).await.1, json!({"received": true, "results": []}));
    let (status, reply, _) = tell(&json!([1, {}])).await;
    assert_eq!((status, &reply["detail"][1]["loc"]), (422, &json!(["body", 1])));
    assert_eq!(tell(&Value::from(vec![json!({"id": "t"}); 1000])).await.2.len(), 1000);
    let (status, reply, notices) = tell(&Value::from(vec![json!({"id": "t"}); 1001])).await;
    assert_eq!((status, &reply["detail"][0]["type"], notices.len()), (422, &json!("too_long"), 0));
}

#[tokio::test]
async fn what_cannot_be_read_is_422() {
    let deep = format!("{{\"id\":\"t\",\"metadata\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for body in ["", "{", "7", "{}", "{\"level\":\"ERROR\"}", deep.as_str()] {
        let (status, reply) = send(&committer(), &[], request(), body.to_owned()).await;
        assert_eq!((status, &reply["detail"][0]["loc"][0]), (422, &json!("body")), "{reply}");
    }
    assert_eq!(send(&committer(), &[], request(), &b"{\"id\":\"\xff\"}"[..]).await.0, 422);
    assert_eq!(send(&committer(), &[], request(), vec![b' '; BODY_BYTES_MAX + 1]).await.0, 413);
    let busy = Fake::new(|_| Err(SubmitError::Stopping));
    assert_eq!(send(&busy, &[], request(), "{\"id\":\"t\"}").await.0, 503);
}

#[tokio::test]
async fn a_configured_secret_makes_signatures_mandatory() {
    let body = monitor("ALERT").to_string();
    let sign = |secret: &str, secs: i64| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{secs}.{body}").as_bytes());
        format!("t={secs},v1={}", crate::ids::hex(&mac.finalize().into_bytes()))
    };
    let now = NOW.as_secs();
    let (fake, secrets) = (committer(), ["lf-whsec_new", SECRET]);
    for _ in 0..2 {
        // A retry carries the same signature.
        let signed = request().header(signature::HEADER, sign(SECRET, now - 300));
        assert_eq!(send(&fake, &secrets, signed, body.clone()).await.0, 200);
    }
    for (header, reason) in [
        (None, "missing"),
        (Some("v1=abc".to_owned()), "malformed"),
        (Some(sign(SECRET, now - 301)), "too old"),
        (Some(sign("lf-whsec_old", now)), "mismatch"),
    ] {
        let request = header.into_iter().fold(request(), |r, value| r.header(signature::HEADER, value));
        let (status, reply) = send(&fake, &secrets, request, body.clone()).await;
        let detail = reply["detail"].as_str().unwrap();
        assert!(status == 401 && detail.starts_with(&format!("Invalid signature: {reason}")), "{detail}");
    }
    let keyless = Request::post("/api/v1/webhooks/langfuse/").header(signature::HEADER, sign(SECRET, now));
    assert_eq!(send(&fake, &secrets, keyless, body.clone()).await, (401, json!({"detail": "Not authenticated"})));
}

fn any_json() -> impl Strategy<Value = Value> {
    let words = "id|type|trace|traceId|trace_id|data|event|payload|observations|filters|value|operator|column|key|message|\
        title|body|status|error|level|severity|metadata|input|output|agent|tags|name|parentObservationId";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "monitor-alert|project-notification|prompt-version|ERROR|=|any of|metadata|agent:x|\\[A\\] x|\"x\"|\\{\"agent\": 1\\}|\\PC{0,8}"
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::btree_map(words, inner, 0..5).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_body_makes_it_panic(json in any_json(), bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for body in [json.to_string().into_bytes(), bytes] {
            let (status, _) = runtime.block_on(send(&committer(), &[], request(), body));
            prop_assert!(status == 200 || status == 422, "{status}");
        }
    }

    #[test]
    fn prompts_and_outputs_never_become_evidence(at in prop::sample::select(vec!["input", "output", "metadata", "user", "userId", "modelParameters"]), wrap in any::<bool>()) {
        let mut body = json!({"id": "t", "name": "n", "status": "error", "observations": [{"id": "o", "level": "ERROR", at: "SECRET"}]});
        body[at] = json!({"prompt": "SECRET", "agent": "x", "name": "SECRET"});
        let body = if wrap { json!({"trace": body, at: "SECRET"}) } else { body };
        let Content::One(Some(element)) = envelope::classify(&body) else { panic!() };
        let notice = notice::build(&element, ProjectId(1), NOW, None);
        prop_assert!(!notice.evidence.to_string().contains("SECRET"), "{}", notice.evidence);
        prop_assert!(!notice.message.contains("SECRET"));
    }
}
