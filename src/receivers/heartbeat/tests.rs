//! Stories about requests: keys, limits, batches and answers, with a stand-in for the committer.

use axum::http::{Method, StatusCode};
use proptest::prelude::*;
use serde_json::json;
use tower::ServiceExt;

use super::*;
use crate::http::auth::{hash_key, key_id};
use crate::ingest::SubmitError;
use crate::model::{AgentId, ApiKey, Scopes, Status, Timestamp};
use crate::receivers::submit::fake::Fake;

const NOW: Timestamp = Timestamp::from_secs(1_795_318_398);
const BEAT: &str = "/api/v1/heartbeat";
const BATCH: &str = "/api/v1/heartbeat/batch";

fn keyring() -> Keyring {
    let ring = Keyring::default();
    let key = |key: &str, scope| {
        let (id, hash) = (key_id(key.as_bytes()), hash_key(key.as_bytes()));
        ApiKey::new(id, ProjectId(3), hash, Scopes::of(&[scope]), NOW)
    };
    ring.replace(vec![key("cv_test", Scope::Ingest), key("cv_read", Scope::Read)]);
    ring
}

/// Every agent is number 7 and starting, except that `full-…` ones are one too many and `looping-…` ones loop.
fn committer() -> Fake {
    Fake::new(|intake| {
        let Work::Observe(observations) = &intake.work else { panic!("{intake:?}") };
        Ok(Outcome::Observed(observations.iter().map(see).collect()))
    })
}

fn see(observation: &Observation) -> Result<Seen, Refusal> {
    let seen = |status, warning, reason: &str| Seen { agent: AgentId(7), status, warning, reason: reason.to_owned() };
    match observation.agent.name.split('-').next() {
        Some("full") => Err(Refusal::AgentLimit),
        Some("closed") => Err(Refusal::NoAgent),
        Some("looping") => Ok(seen(Status::Looping, Some("loop_detected"), "tool_call_rate: 42/min > 10/min")),
        _ => Ok(seen(Status::Starting, None, "heard for the first time")),
    }
}

async fn send(committer: Fake, request: axum::http::request::Builder, body: impl Into<Body>) -> (u16, Value) {
    let router = axum::Router::from(routes(Heartbeats { committer, keyring: keyring(), clock: Clock::manual(NOW) }));
    let response = router.oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() })
}

fn request(path: &str) -> axum::http::request::Builder {
    Request::post(path).header("x-api-key", "cv_test").header("content-type", "application/json")
}

async fn post_to(path: &str, body: impl Into<Body>) -> (u16, Value) {
    send(committer(), request(path), body).await
}

#[tokio::test]
async fn a_beat_is_kept_and_answered_with_an_object() {
    let fake = committer();
    let body = json!({"agent": "research-agent", "status": "ok"}).to_string();
    let size = body.len();
    let answer = send(fake.clone(), request("/api/v1/heartbeat/"), body).await;
    assert_eq!(answer, (200, json!({"received": true, "agent_id": 7, "status": "healthy", "state": "starting"})));
    let asked = fake.asked();
    assert_eq!((asked[0].project, asked[0].dedup, asked[0].bytes), (ProjectId(3), None, size));
    let Work::Observe(seen) = &asked[0].work else { panic!() };
    assert_eq!((&*seen[0].agent.name, seen[0].received_at, seen[0].at), ("research-agent", NOW, None));
}

#[tokio::test]
async fn the_kill_switch_is_there_only_when_meant() {
    let (_, reply) = post_to(BEAT, r#"{"agent": "looping-1"}"#).await;
    let expected = json!({"received": true, "agent_id": 7, "status": "degraded", "state": "looping",
        "warning": "loop_detected", "reason": "tool_call_rate: 42/min > 10/min"});
    assert_eq!(reply, expected);
}

#[tokio::test]
async fn the_key_is_checked_before_anything_else() {
    let unread =
        || Body::from_stream(futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("read")) }));
    for path in [BEAT, BATCH, "/api/v1/heartbeat/batch/"] {
        let nobody = Request::post(path).header("content-type", "text/plain");
        assert_eq!(send(committer(), nobody, unread()).await, (401, json!({"detail": "Not authenticated"})));
        let reader = Request::post(path).header("x-api-key", "cv_read");
        assert_eq!(send(committer(), reader, unread()).await, (403, json!({"detail": "Access denied"})));
        let form = Request::post(path).header("x-api-key", "cv_test").header("content-type", "text/plain");
        assert_eq!(send(committer(), form, unread()).await.0, 415);
        let broken = send(committer(), request(path), unread()).await;
        assert_eq!(broken, (400, json!({"detail": "request body ended early"})));
    }
    let get = Request::builder().method(Method::GET).uri(BEAT);
    assert_eq!(send(committer(), get, Body::empty()).await.0, 405);
}

#[tokio::test]
async fn bodies_are_bounded_and_may_be_compressed() {
    assert_eq!(post_to(BEAT, vec![b' '; BEAT_BYTES_MAX + 1]).await.0, 413);
    assert_eq!(post_to(BATCH, vec![b' '; BATCH_BYTES_MAX + 1]).await.0, 413);
    let zstd = zstd::encode_all(&br#"{"agent": "a"}"#[..], 1).unwrap();
    assert_eq!(send(committer(), request(BEAT).header("content-encoding", "zstd"), zstd).await.0, 200);
}

#[tokio::test]
async fn what_is_not_a_beat_is_told() {
    let detail = |(status, reply): (u16, Value)| {
        assert_eq!(status, 422, "{reply}");
        (reply["detail"][0]["loc"].clone(), reply["detail"][0]["type"].as_str().unwrap().to_owned())
    };
    assert_eq!(detail(post_to(BEAT, "{\"agent\": }").await), (json!(["body", 10]), "json_invalid".into()));
    assert_eq!(detail(post_to(BEAT, "").await), (json!(["body", 0]), "json_invalid".into()));
    assert_eq!(
        detail(post_to(BEAT, &b"{\"agent\": \"\xff\"}"[..]).await),
        (json!(["body", 11]), "json_invalid".into())
    );
    for other in ["[]", "null", "3", "\"a\"", "[{\"agent\": \"a\"}]"] {
        assert_eq!(detail(post_to(BEAT, other).await), (json!(["body"]), "model_attributes_type".into()), "{other}");
    }
    assert_eq!(detail(post_to(BEAT, "{}").await), (json!(["body", "agent"]), "missing".into()));
    assert_eq!(
        detail(post_to(BEAT, "{\"agent\": \" \"}").await),
        (json!(["body", "agent"]), "string_too_short".into())
    );
    let deep = format!("{{\"agent\":\"a\",\"x\":{}{}}}", "{\"x\":[".repeat(5_000), "]}".repeat(5_000));
    let (loc, kind) = detail(post_to(BEAT, deep.clone()).await);
    assert_eq!((loc[0].as_str(), kind.as_str()), (Some("body"), "json_invalid"));
    assert_eq!(detail(post_to(BATCH, format!("[{deep}]")).await).1, "json_invalid");
}

#[tokio::test]
async fn refusals_keep_their_documented_status() {
    assert_eq!(post_to(BEAT, r#"{"agent": "full-1"}"#).await, (402, json!({"detail": "upgrade_required"})));
    assert_eq!(post_to(BEAT, r#"{"agent": "closed-1"}"#).await, (404, json!({"detail": "Agent not found"})));
    let busy = Fake::new(|_| Err(SubmitError::Overloaded { retry_after_secs: 2 }));
    assert_eq!(send(busy, request(BEAT), r#"{"agent": "a"}"#).await.0, 503);
    let confused = Fake::new(|_| Ok(Outcome::Done));
    assert_eq!(send(confused, request(BEAT), r#"{"agent": "a"}"#).await, (500, json!({"detail": "internal error"})));
}

#[tokio::test]
async fn a_repeat_can_be_marked_as_one() {
    let fake = committer();
    send(fake.clone(), request(BEAT).header("idempotency-key", "beat-1"), r#"{"agent": "a"}"#).await;
    assert_eq!(fake.asked()[0].dedup, Some(DedupKey::of(ProjectId(3), "idempotency-key", b"beat-1")));
    let long = request(BEAT).header("idempotency-key", "x".repeat(256));
    let (status, reply) = send(fake, long, r#"{"agent": "a"}"#).await;
    assert_eq!((status, &reply["detail"][0]["loc"]), (422, &json!(["header", "idempotency-key"])));
}

#[tokio::test]
async fn a_batch_is_a_list_or_an_object_with_one() {
    let fine = json!({"received": true, "accepted": 1, "rejected": 0,
        "results": [{"index": 0, "received": true, "agent_id": 7, "status": "healthy", "state": "starting"}]});
    assert_eq!(post_to(BATCH, r#"[{"agent": "a"}]"#).await, (200, fine.clone()));
    assert_eq!(post_to(BATCH, r#"{"heartbeats": [{"agent": "a"}], "sent_by": "x"}"#).await, (200, fine));
    let none = json!({"received": true, "accepted": 0, "rejected": 0, "results": []});
    assert_eq!(post_to(BATCH, "[]").await, (200, none));
    for (body, loc, kind) in [
        ("{}", json!(["body", "heartbeats"]), "missing"),
        (r#"{"heartbeats": {}}"#, json!(["body", "heartbeats"]), "list_type"),
        (r#"{"heartbeats": null}"#, json!(["body", "heartbeats"]), "list_type"),
        ("7", json!(["body"]), "list_type"),
    ] {
        let (status, reply) = post_to(BATCH, body).await;
        assert_eq!(
            (status, &reply["detail"][0]["loc"], &reply["detail"][0]["type"]),
            (422, &loc, &json!(kind)),
            "{body}"
        );
    }
}

#[tokio::test]
async fn one_bad_beat_does_not_sink_the_others() {
    let fake = committer();
    let body = json!({"heartbeats": [{"agent": "a", "container_id": "c1"}, {"agent": "b", "tokens_used": -1}, 5,
        {"agent": "full-1"}, {"agent": "looping-1"}]});
    let (status, reply) = send(fake.clone(), request(BATCH), body.to_string()).await;
    assert_eq!((status, &reply["accepted"], &reply["rejected"]), (200, &json!(2), &json!(3)));
    assert!(reply.get("detail").is_none());
    let results = &reply["results"];
    assert_eq!(results[0]["state"], "starting");
    assert_eq!(results[1]["detail"][0]["loc"], json!(["body", "heartbeats", 1, "tokens_used"]));
    assert_eq!(results[2]["detail"][0]["loc"], json!(["body", "heartbeats", 2]));
    assert_eq!(results[3], json!({"index": 3, "received": false, "detail": "upgrade_required"}));
    assert_eq!((&results[4]["index"], &results[4]["warning"]), (&json!(4), &json!("loop_detected")));
    assert_eq!(fake.asked().len(), 1, "one commit for the whole batch");
}

#[tokio::test]
async fn a_batch_without_one_good_beat_is_an_error() {
    let fake = committer();
    let (status, reply) = send(fake.clone(), request(BATCH), r#"[{"status": "ok"}, {"agent": 1}]"#).await;
    assert_eq!((status, &reply["accepted"], &reply["received"]), (422, &json!(0), &json!(false)));
    let locs: Vec<_> = reply["detail"].as_array().unwrap().iter().map(|d| d["loc"].to_string()).collect();
    assert_eq!(locs, [r#"["body",0,"agent"]"#, r#"["body",1,"agent"]"#]);
    assert_eq!(reply["results"][1]["received"], false);
    assert!(fake.asked().is_empty());
    let (status, reply) = post_to(BATCH, r#"[{"agent": "full-1"}, {"agent": "full-2"}]"#).await;
    assert_eq!((status, &reply["detail"]), (402, &json!("upgrade_required")));
    assert_eq!(post_to(BATCH, r#"[{"agent": "full-1"}, {}]"#).await.0, 422);
}

#[tokio::test]
async fn a_batch_of_a_hundred_is_the_largest() {
    let beats = |n| Value::from(vec![json!({"agent": "a"}); n]).to_string();
    let fake = committer();
    let (status, reply) = send(fake.clone(), request(BATCH), beats(100)).await;
    assert_eq!((status, &reply["accepted"]), (200, &json!(100)));
    let (status, reply) = send(fake.clone(), request(BATCH), beats(101)).await;
    let msg = json!("List should have at most 100 items, not 101; send smaller batches");
    assert_eq!((status, &reply["detail"][0]["type"], &reply["detail"][0]["msg"]), (422, &json!("too_long"), &msg));
    assert_eq!(fake.asked().len(), 1, "nothing of the larger one was kept");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), json in r#"[\[\]{}:,"a-z0-9. \\-]{0,80}"#) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for path in [BEAT, BATCH] {
            for body in [bytes.clone(), json.clone().into_bytes()] {
                let (status, _) = runtime.block_on(post_to(path, body));
                prop_assert!(matches!(StatusCode::from_u16(status).unwrap(), StatusCode::OK | StatusCode::UNPROCESSABLE_ENTITY));
            }
        }
    }
}
