//! Events as they happen.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::gateway::{FIRST_KEY, Gateway};

/// One stream, read event by event.
struct Stream {
    answer: Response,
    text: String,
}

impl Stream {
    async fn open(gateway: &Gateway, key: &str, query: &str, last: Option<&str>) -> Self {
        let answer = Self::ask(gateway, key, query, last).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, text: String::new() }
    }

    async fn ask(gateway: &Gateway, key: &str, query: &str, last: Option<&str>) -> Response {
        let mut request =
            gateway.request(reqwest::Method::GET, &format!("/api/v1/stream{query}")).header("x-api-key", key);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        request.send().await.unwrap()
    }

    /// The next event: id, kind, data. `None` at the stream's end.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| block.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned());
                let Some(data) = field("data:") else { continue };
                let data = serde_json::from_str(&data).unwrap();
                return Some((field("id:").unwrap_or_default(), field("event:").unwrap_or_default(), data));
            }
            let piece =
                tokio::time::timeout(Duration::from_secs(20), self.answer.chunk()).await.expect("in time").ok()?;
            self.text.push_str(std::str::from_utf8(&piece?).unwrap());
        }
    }
}

async fn break_agent(gateway: &Gateway, agent: &str) {
    for _ in 0..3 {
        gateway.beat(agent, json!({"status": "error", "message": "boom"})).await;
    }
}

#[tokio::test]
async fn what_happens_is_told_at_once_and_only_to_its_project() {
    let gateway = Gateway::start().await;
    gateway.beat("old", json!({})).await;
    let other = gateway.key("other", "read").await;
    let mut elsewhere = Stream::open(&gateway, &other, "?after=0", None).await;
    let mut stream = Stream::open(&gateway, FIRST_KEY, "", None).await;
    let id = gateway.beat("bot", json!({})).await;
    let (number, kind, event) = stream.next().await.unwrap();
    assert_eq!((kind.as_str(), &event["agent"], &event["agent_id"]), ("transition", &json!("bot"), &json!(id)));
    assert_eq!(number, event["id"].to_string());
    break_agent(&gateway, "bot").await;
    let (_, _, event) = stream.next().await.unwrap();
    assert_eq!(event["agent"], "bot");
    gateway.stop().await;
    while let Some((_, kind, data)) = stream.next().await {
        assert!(kind == "transition" || data["detail"] == "the gateway is stopping", "{kind} {data}");
    }
    assert_eq!(elsewhere.next().await.unwrap().1, "end", "nothing of another project");
}

#[tokio::test]
async fn whoever_comes_back_misses_nothing_also_after_a_restart() {
    let mut gateway = Gateway::start().await;
    gateway.beat("bot", json!({})).await;
    let mut stream = Stream::open(&gateway, FIRST_KEY, "?after=0", None).await;
    let (first, ..) = stream.next().await.unwrap();
    drop(stream);
    gateway.beat("second", json!({})).await;
    gateway.restart().await;
    gateway.beat("third", json!({})).await;
    let mut stream = Stream::open(&gateway, FIRST_KEY, "", Some(&first)).await;
    let mut names = Vec::new();
    while !names.contains(&json!("third")) {
        names.push(stream.next().await.unwrap().2["agent"].clone());
    }
    assert_eq!(names.iter().filter(|n| **n == "second").count(), 1, "{names:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_may_be_of_one_agent_and_ends_with_its_key() {
    let gateway = Gateway::start().await;
    let id = gateway.beat("bot", json!({})).await;
    let key = gateway.key("default", "read").await;
    let mut stream = Stream::open(&gateway, &key, &format!("?agent={id}"), None).await;
    gateway.beat("noise", json!({})).await;
    break_agent(&gateway, "bot").await;
    assert_eq!(stream.next().await.unwrap().2["agent"], "bot");
    gateway.revoke(&key).await;
    loop {
        let (_, kind, data) = stream.next().await.unwrap();
        if kind == "end" {
            assert_eq!(data["detail"], "the key is no longer good");
            break;
        }
        assert_eq!(data["agent"], "bot");
    }
    assert!(stream.next().await.is_none());
    gateway.stop().await;
}

#[tokio::test]
async fn streams_are_counted_and_wrong_places_are_named() {
    let gateway = Gateway::start().await;
    let mut open = Vec::new();
    for _ in 0..pulsegate::api::STREAMS_MAX {
        open.push(Stream::open(&gateway, FIRST_KEY, "", None).await);
    }
    let refused = Stream::ask(&gateway, FIRST_KEY, "", None).await;
    assert_eq!(
        (refused.status(), refused.headers()["retry-after"].to_str().unwrap()),
        (StatusCode::SERVICE_UNAVAILABLE, "10")
    );
    open.clear();
    let mut tries = 0;
    while Stream::ask(&gateway, FIRST_KEY, "", None).await.status() != StatusCode::OK {
        tries += 1;
        assert!(tries < 200, "places come free again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(Stream::ask(&gateway, FIRST_KEY, "", Some("x")).await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(Stream::ask(&gateway, FIRST_KEY, "?agent=99", None).await.status(), StatusCode::NOT_FOUND);
    gateway.stop().await;
}
