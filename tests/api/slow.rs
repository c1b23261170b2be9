//! Clients of the stream that are slower than what happens, at a made-up time: the gateway without its listeners.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use pulsegate::api::STREAM_SLOW;
use pulsegate::app::{Core, Options, Routers, Tasks};
use pulsegate::clock::Clock;
use pulsegate::config::{Config, Environment};
use pulsegate::ids::Ids;
use pulsegate::store::memory::MemoryStore;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::gateway::{BEGIN, FIRST_KEY};

/// Events that have happened: several times what a stream holds.
const HAPPENED: i64 = 300;

struct Inside {
    routers: Routers,
    tasks: Tasks,
}

impl Inside {
    /// A gateway in which [`HAPPENED`] agents have been heard of, one event each.
    async fn start() -> Self {
        let environment = Environment::of(&[]).with_file("pulsegate.yaml", "{}");
        let config = Config::load(Some(Path::new("pulsegate.yaml")), &environment).unwrap_or_else(|e| panic!("{e}"));
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            data_dir: directory.path().to_owned(),
            api_key: Some(FIRST_KEY.to_owned()),
            clock: Clock::manual(BEGIN),
            ids: Ids::system(),
        };
        let bound = ([127, 0, 0, 1], 4319).into();
        let core = Core::start(config, &options, Arc::new(MemoryStore::new()), bound).await.unwrap();
        let inside = Self { routers: core.routers, tasks: core.tasks };
        for hundred in 0..HAPPENED / 100 {
            let beats: Vec<Value> = (0..100).map(|n| json!({"agent": format!("bot-{hundred}-{n}")})).collect();
            let request = Request::post("/api/v1/heartbeat/batch").header("content-type", "application/json");
            let answer = inside.call(request, Body::from(json!(beats).to_string())).await;
            let answer: Value = serde_json::from_slice(&answer.collect().await.unwrap().to_bytes()).unwrap();
            assert_eq!(answer["accepted"], 100, "{answer}");
        }
        inside
    }

    async fn call(&self, request: axum::http::request::Builder, body: Body) -> Body {
        let router: Router = self.routers.http.clone();
        let response = router.oneshot(request.header("x-api-key", FIRST_KEY).body(body).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body()
    }

    async fn open(&self, last: i64) -> Stream {
        let request = Request::get("/api/v1/stream").header("last-event-id", last);
        Stream { body: self.call(request, Body::empty()).await, text: String::new() }
    }

    async fn stop(self) {
        drop(self.routers);
        self.tasks.stop(vec![]).await;
    }
}

struct Stream {
    body: Body,
    text: String,
}

/// What a stream says.
#[derive(Debug, PartialEq)]
enum Said {
    Event(i64),
    End(Value),
}

impl Stream {
    /// What it says next, comments apart; `None` at its end.
    async fn next(&mut self) -> Option<Said> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                if field("event:") == Some("end") {
                    return Some(Said::End(serde_json::from_str(field("data:").unwrap()).unwrap()));
                }
                if let Some(id) = field("id:") {
                    return Some(Said::Event(id.parse().unwrap()));
                }
            }
            let frame = self.body.frame().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_let_go_with_a_last_word_and_misses_nothing() {
    let inside = Inside::start().await;
    let mut stream = inside.open(0).await;
    assert_eq!(stream.next().await, Some(Said::Event(1)));
    tokio::time::sleep(STREAM_SLOW + Duration::from_secs(1)).await;
    let mut last = 1;
    // What was ready for it is still handed over, and that is a bounded part of what happened.
    let end = loop {
        match stream.next().await.unwrap() {
            Said::Event(id) => {
                assert!(id == last + 1 && id < HAPPENED, "{id} after {last}");
                last = id;
            }
            Said::End(data) => break data,
        }
    };
    assert_eq!(end, json!({"detail": "events were not read in time"}));
    assert!((100..=200).contains(&last), "{last}");
    assert_eq!(stream.next().await, None, "nothing comes after the last word");

    let mut stream = inside.open(last).await;
    for id in last + 1..=HAPPENED {
        assert_eq!(stream.next().await, Some(Said::Event(id)));
    }
    drop(stream);
    inside.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_but_reads_is_kept() {
    let inside = Inside::start().await;
    let mut stream = inside.open(0).await;
    for id in 1..=HAPPENED {
        assert_eq!(stream.next().await, Some(Said::Event(id)));
        tokio::time::sleep(STREAM_SLOW - Duration::from_secs(1)).await;
    }
    drop(stream);
    inside.stop().await;
}
