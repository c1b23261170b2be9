//! What really goes over the wire, to servers of this test.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic_types::StatusExt;

use super::super::Forward;
use super::*;
use crate::clock::Clock;
use crate::http::auth::{Keyring, hash_key, key_id};
use crate::model::{ApiKey, ProjectId, Scope, Scopes, Timestamp};

/// A request as it arrived.
#[derive(Clone, Debug)]
struct Arrived {
    line: String,
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Clone, Default)]
struct Server {
    answers: Arc<Mutex<VecDeque<Response>>>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Server {
    async fn start() -> (Self, SocketAddr) {
        let server = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (server, address)
    }

    fn will(&self, answer: impl IntoResponse) {
        self.answers.lock().unwrap().push_back(answer.into_response());
    }

    fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }
}

async fn answer(State(server): State<Server>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let line = format!("{} {}", parts.method, parts.uri.path_and_query().unwrap());
    server.arrived.lock().unwrap().push(Arrived { line, headers: parts.headers, body });
    server.answers.lock().unwrap().pop_front().unwrap_or_else(|| StatusCode::OK.into_response())
}

/// A gRPC answer: a message and then trailers, or trailers alone.
fn grpc(message: Option<Vec<u8>>, trailers: HeaderMap) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/grpc")];
    let Some(message) = message else {
        let mut response = (headers, Body::empty()).into_response();
        response.headers_mut().extend(trailers);
        return response;
    };
    let framed = [&[0_u8][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    let frames = [Frame::data(Bytes::from(framed)), Frame::trailers(trailers)];
    let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, std::convert::Infallible>)));
    (headers, Body::new(body)).into_response()
}

fn ok(message: Vec<u8>) -> Response {
    grpc(Some(message), HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]))
}

fn sender(settings: &Destination) -> Sender {
    Sender::new(settings, Clock::manual(Timestamp::from_secs(1_000_000))).unwrap()
}

fn at(protocol: Protocol, address: SocketAddr) -> Destination {
    destination(protocol, &format!("http://{address}"))
}

fn received(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect()
}

/// A whole exporter with these destinations.
struct Running {
    forward: Forward,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    fn start(destinations: Vec<Destination>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (clock, metrics) = (Clock::system(), ProcessMetrics::new());
        let (forward, tasks) = Forward::start(destinations, &clock, &Ids::seeded(1), &metrics, &stopped).unwrap();
        forward.know([(ProjectId(1), "one".into()), (ProjectId(2), "two".into())].into());
        Self { forward, stop, tasks }
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

#[tokio::test]
async fn http_bodies_go_on_byte_for_byte_with_the_headers_of_their_content() {
    let (server, address) = Server::start().await;
    let mut settings = at(Protocol::Http, address);
    settings.endpoint = format!("http://{address}/base/").parse().unwrap();
    settings.headers = vec![("api-key".parse().unwrap(), HeaderValue::from_static("vendor-secret"))];
    let running = Running::start(vec![settings]);
    let headers = received(&[
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "gzip"),
        ("authorization", "Bearer cv_ours"),
        ("x-langfuse-sdk-name", "python"),
    ]);
    // Not even valid gzip: nobody looks into it.
    let raw = Bytes::from_static(b"\x1f\x8b raw as it came \x00\xff");
    running.forward.http(Signal::Logs, "", &headers, raw.clone(), Bytes::from_static(b"decoded")).send(ProjectId(1));
    running.forward.grpc(Signal::Traces, &HeaderMap::new(), Bytes::from_static(b"message")).send(ProjectId(1));
    until(|| server.arrived().len() == 2).await;
    running.stop().await;
    let mut arrived = server.arrived();
    arrived.sort_by_key(|a| a.line.clone());
    let [logs, traces] = &arrived[..] else { panic!("{arrived:?}") };
    assert_eq!((logs.line.as_str(), &logs.body), ("POST /base/v1/logs", &raw));
    assert_eq!(logs.headers["content-encoding"], "gzip");
    assert_eq!(logs.headers["x-langfuse-sdk-name"], "python");
    assert_eq!(
        (&logs.headers["api-key"], &logs.headers["x-pulsegate-hops"]),
        (&"vendor-secret".parse().unwrap(), &"1".parse().unwrap())
    );
    assert!(!logs.headers.contains_key("authorization"));
    assert_eq!((traces.line.as_str(), &traces.body[..]), ("POST /base/v1/traces", &b"message"[..]));
    assert_eq!(traces.headers["content-type"], "application/x-protobuf");
    assert!(!traces.headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn compression_is_for_what_came_without() {
    for (compression, word) in [(Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")] {
        let (server, address) = Server::start().await;
        let settings = Destination { compression, ..at(Protocol::Http, address) };
        // One below and one above what is compressed on the spot.
        for body in ["span ".repeat(100), "span ".repeat(100_000)] {
            assert_eq!(sender(&settings).send(&item(body.clone())).await, taken());
            let arrived = server.arrived().pop().unwrap();
            assert_eq!(arrived.headers["content-encoding"], word);
            assert!(arrived.body.len() < body.len() / 3);
            let read = crate::http::body::read(&arrived.headers, arrived.body.into(), 1 << 20).await.unwrap();
            assert!(read == body);
        }
    }
}

/// EXP-1, EXP-2: every status, as the protocol says.
#[tokio::test]
async fn answers_over_http_are_judged_as_each_protocol_says() {
    let (server, address) = Server::start().await;
    for (protocol, worth) in [
        (Protocol::Http, &[429, 502, 503, 504][..]),
        (Protocol::Langfuse, &[429, 500, 502, 503, 504]),
        (Protocol::Webhook, &[429, 500, 502, 503, 504]),
    ] {
        let sender = sender(&at(protocol, address));
        for code in [301, 302, 307, 400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504] {
            let status = StatusCode::from_u16(code).unwrap();
            let retry = if code == 503 { "17" } else { "" };
            server.will((status, [("retry-after", retry), ("location", "http://127.0.0.1:1/elsewhere")], "why\nnot"));
            match sender.send(&item("x")).await {
                Verdict::Later { after, why } => {
                    assert!(worth.contains(&code), "{protocol:?} {code}");
                    assert_eq!(after, (code == 503).then_some(17 * SECOND));
                    assert!(why.contains("why not"), "{why}");
                }
                Verdict::Rejected(why) => {
                    assert!(!worth.contains(&code), "{protocol:?} {code}");
                    assert!(why.starts_with(&code.to_string()), "{why}");
                }
                taken => panic!("{protocol:?} {code}: {taken:?}"),
            }
        }
    }
    // A redirect is an answer like any other: nobody went there.
    assert_eq!(server.arrived().len(), 3 * 14);
}

/// EXP-4 over HTTP.
#[tokio::test]
async fn what_was_taken_in_part_is_read_from_the_answer() {
    let (server, address) = Server::start().await;
    let otlp = sender(&at(Protocol::Http, address));
    let json = r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too\told"}}"#;
    server.will(([(header::CONTENT_TYPE, "application/json")], json));
    assert_eq!(otlp.send(&item("x")).await, Verdict::Taken { rejected: 3, message: "too old".into() });
    // field 1, length 2: field 1 = 5
    server.will(([(header::CONTENT_TYPE, "application/x-protobuf")], vec![0x0a, 2, 0x08, 5]));
    assert_eq!(otlp.send(&item("x")).await, Verdict::Taken { rejected: 5, message: String::new() });
    server.will("not an answer of OTLP at all");
    assert_eq!(otlp.send(&item("x")).await, taken());
    let langfuse = sender(&at(Protocol::Langfuse, address));
    let mut batch = item("x");
    let meta = Meta { signal: Signal::Langfuse, path: "/api/public/ingestion".into(), ..(*batch.meta).clone() };
    batch.meta = meta.into();
    server.will((StatusCode::MULTI_STATUS, r#"{"successes":[],"errors":[{"id":"a","status":400}]}"#));
    let Verdict::Taken { rejected: 1, message } = langfuse.send(&batch).await else { panic!() };
    assert!(message.contains("400"), "{message}");
    assert_eq!(server.arrived().pop().unwrap().line, "POST /api/public/ingestion");
}

/// EXP-8: the connection ends after the body went out.
#[tokio::test]
async fn a_connection_cut_before_the_answer_leads_to_the_same_bytes_once_more() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut bodies = Vec::new();
        for round in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"the very same") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            }
            bodies.push(request);
            if round == 1 {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            }
        }
        bodies
    });
    let mut settings = at(Protocol::Http, address);
    settings.retry.initial_interval = 10 * MS;
    let running = Running::start(vec![settings]);
    let body = Bytes::from_static(b"the very same");
    running.forward.grpc(Signal::Traces, &HeaderMap::new(), body).send(ProjectId(1));
    let bodies = server.await.unwrap();
    assert_eq!(bodies[0], bodies[1]);
    running.stop().await;
}

#[tokio::test]
async fn what_does_not_answer_in_time_is_tried_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let settings = Destination { timeout: 100 * MS, ..at(protocol, address) };
        let Verdict::Later { after: None, .. } = sender(&settings).send(&item("x")).await else { panic!() };
    }
    drop(listener);
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let verdict = sender(&at(protocol, address)).send(&item("x")).await;
        let Verdict::Later { after: None, why } = verdict else { panic!("{verdict:?}") };
        assert!(why.to_lowercase().contains("connect"), "{why}");
    }
}

/// EXP-3 and EXP-4 over gRPC.
#[tokio::test]
async fn over_grpc_the_message_is_the_same_and_answers_are_understood() {
    let (server, address) = Server::start().await;
    let mut settings = at(Protocol::Grpc, address);
    settings.headers = vec![("api-key".parse().unwrap(), HeaderValue::from_static("vendor-secret"))];
    let sender = sender(&settings);
    server.will(ok(vec![]));
    assert_eq!(sender.send(&item("the message")).await, taken());
    let arrived = server.arrived().pop().unwrap();
    assert_eq!(arrived.line, "POST /opentelemetry.proto.collector.trace.v1.TraceService/Export");
    assert_eq!(&arrived.body[..], b"\0\0\0\0\x0bthe message");
    assert_eq!(
        (&arrived.headers["api-key"], &arrived.headers["x-pulsegate-hops"]),
        (&"vendor-secret".parse().unwrap(), &"1".parse().unwrap())
    );

    let partial = super::super::send::ExportResponse {
        partial_success: Some(super::super::send::PartialSuccess { rejected: 2, error_message: "no".into() }),
    };
    server.will(ok(partial.encode_to_vec()));
    assert_eq!(sender.send(&item("x")).await, Verdict::Taken { rejected: 2, message: "no".into() });

    let details = tonic_types::ErrorDetails::with_retry_info(Some(4 * SECOND));
    let busy = tonic::Status::with_error_details(tonic::Code::ResourceExhausted, "busy", details);
    for (status, later) in [
        (busy, Some(Some(4 * SECOND))),
        (tonic::Status::resource_exhausted("too large"), None),
        (tonic::Status::unavailable("later"), Some(None)),
        (tonic::Status::invalid_argument("never"), None),
        (tonic::Status::unauthenticated("never"), None),
    ] {
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers).unwrap();
        server.will(grpc(None, trailers));
        match (sender.send(&item("x")).await, later) {
            (Verdict::Later { after, .. }, Some(expected)) => assert_eq!(after, expected, "{status:?}"),
            (Verdict::Rejected(_), None) => {}
            (verdict, _) => panic!("{status:?}: {verdict:?}"),
        }
    }
}

#[tokio::test]
async fn grpc_gets_what_was_in_a_compressed_body_and_nothing_that_is_json() {
    let (server, address) = Server::start().await;
    server.will(ok(vec![]));
    let running = Running::start(vec![at(Protocol::Grpc, address)]);
    let json = received(&[("content-type", "application/json")]);
    running.forward.http(Signal::Traces, "", &json, "{}".into(), "{}".into()).send(ProjectId(1));
    let protobuf = received(&[("content-type", "application/x-protobuf"), ("content-encoding", "gzip")]);
    running.forward.http(Signal::Traces, "", &protobuf, "raw".into(), "inside".into()).send(ProjectId(1));
    until(|| !server.arrived().is_empty()).await;
    running.stop().await;
    let arrived = server.arrived();
    assert_eq!((arrived.len(), &arrived[0].body[5..]), (1, &b"inside"[..]));
}

#[tokio::test]
async fn a_destination_gets_its_signals_of_its_projects_and_a_ring_ends() {
    let (server, address) = Server::start().await;
    let mut settings = at(Protocol::Http, address);
    settings.signals = vec![Signal::Traces];
    settings.projects = Some(vec!["two".into()]);
    let running = Running::start(vec![settings]);
    assert!(!running.forward.wants(Signal::Logs));
    let send = |signal, hops, project| {
        let headers = received(&[("content-type", "application/x-protobuf"), ("x-pulsegate-hops", hops)]);
        let body = Bytes::from(format!("{signal:?} {hops} {project}"));
        running.forward.http(signal, "", &headers, body.clone(), body).send(ProjectId(project));
    };
    send(Signal::Traces, "0", 1);
    send(Signal::Logs, "0", 2);
    send(Signal::Traces, "4", 2);
    send(Signal::Traces, "3", 2);
    send(Signal::Traces, "0", 3);
    until(|| !server.arrived().is_empty()).await;
    running.stop().await;
    let arrived: Vec<_> = server.arrived().iter().map(|a| a.body.clone()).collect();
    assert_eq!(arrived, ["Traces 3 2"]);
}

/// What an SDK asks Langfuse for beside sending: upstream answers, with upstream's keys.
#[tokio::test]
async fn prompts_and_media_are_answered_by_the_langfuse_behind() {
    let (upstream, address) = Server::start().await;
    let mut settings = at(Protocol::Langfuse, address);
    settings.headers = vec![(header::AUTHORIZATION, HeaderValue::from_static("Basic dXBzdHJlYW0="))];
    let running = Running::start(vec![settings]);
    let keyring = Keyring::default();
    let scopes = Scopes::of(&[Scope::Ingest]);
    keyring.replace(vec![ApiKey::new(key_id(b"cv_test"), ProjectId(1), hash_key(b"cv_test"), scopes, Timestamp(0))]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = listener.local_addr().unwrap();
    let router = super::super::proxy::routes(running.forward.clone(), keyring);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let client = reqwest::Client::new();
    let get = |path: &str| client.get(format!("http://{gateway}{path}"));

    let refused = get("/api/public/v2/prompts/greeting").send().await.unwrap();
    assert_eq!((refused.status().as_u16(), upstream.arrived().len()), (401, 0));
    upstream.will(([("x-internal", "secret"), ("etag", "abc")], r#"{"prompt":"hello"}"#));
    let answer = get("/api/public/v2/prompts/greeting?label=production").basic_auth("pk", Some("cv_test"));
    let answer = answer.header("x-langfuse-sdk-name", "python").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["etag"]), (200, &"abc".parse().unwrap()));
    assert!(!answer.headers().contains_key("x-internal"));
    assert_eq!(answer.text().await.unwrap(), r#"{"prompt":"hello"}"#);
    let asked = upstream.arrived().pop().unwrap();
    assert_eq!(asked.line, "GET /api/public/v2/prompts/greeting?label=production");
    assert_eq!(asked.headers["authorization"], "Basic dXBzdHJlYW0=");
    assert_eq!(asked.headers["x-langfuse-sdk-name"], "python");

    upstream.will((StatusCode::CREATED, r#"{"uploadUrl":null}"#));
    let media = client.post(format!("http://{gateway}/api/public/media")).header("x-api-key", "cv_test");
    let media = media.header("content-type", "application/json").body(r#"{"traceId":"1"}"#).send().await.unwrap();
    assert_eq!(media.status().as_u16(), 201);
    let asked = upstream.arrived().pop().unwrap();
    assert_eq!((asked.line.as_str(), &asked.body[..]), ("POST /api/public/media", &br#"{"traceId":"1"}"#[..]));

    let outside = get("/api/public/%2e%2e/admin").header("x-api-key", "cv_test").send().await.unwrap();
    assert_eq!((outside.status().as_u16(), upstream.arrived().len()), (404, 2));
    running.stop().await;
}

#[tokio::test]
async fn webhooks_go_to_their_address_with_their_signature() {
    let (server, address) = Server::start().await;
    let mut settings = at(Protocol::Webhook, address);
    settings.endpoint = format!("http://{address}/hooks/langfuse").parse().unwrap();
    let running = Running::start(vec![settings]);
    let headers = received(&[("content-type", "application/json"), ("x-langfuse-signature", "t=1,v1=ab")]);
    running.forward.http(Signal::Webhooks, "", &headers, "{}".into(), "{}".into()).send(ProjectId(1));
    until(|| !server.arrived().is_empty()).await;
    running.stop().await;
    let arrived = server.arrived().remove(0);
    assert_eq!((arrived.line.as_str(), &arrived.body[..]), ("POST /hooks/langfuse", &b"{}"[..]));
    assert_eq!(arrived.headers["x-langfuse-signature"], "t=1,v1=ab");
}
