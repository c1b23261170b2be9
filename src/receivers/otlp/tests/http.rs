use std::io::Write;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tonic_types::pb::Status;
use tower::ServiceExt;

use super::*;
use crate::ingest::intake::Work;
use crate::proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse;
use crate::receivers::otlp::{http::routes, spans};

pub(super) const PROTOBUF: &str = "application/x-protobuf";
pub(super) const JSON: &str = "application/json";

pub(super) struct Answer {
    pub status: StatusCode,
    pub content_type: String,
    pub retry_after: Option<String>,
    pub body: Bytes,
}

impl Answer {
    async fn of(response: Response<Body>) -> Self {
        let header = |name| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        let (content_type, retry_after) = (header(header::CONTENT_TYPE), header(header::RETRY_AFTER));
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Self { status, content_type: content_type.unwrap_or_default(), retry_after, body }
    }

    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(super) async fn send(recorder: &Recorder, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    send_within(recorder, otlp(recorder).limits, path, headers, body).await
}

pub(super) async fn send_within(
    recorder: &Recorder,
    limits: Limits,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Answer {
    post(otlp_within(recorder, limits), path, headers, body).await
}

pub(super) async fn post(otlp: Otlp<Recorder>, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let router = axum::Router::from(routes(otlp));
    Answer::of(router.oneshot(request.body(body.into()).unwrap()).await.unwrap()).await
}

pub(super) async fn send_as(recorder: &Recorder, content_type: &str, body: impl Into<Body>) -> Answer {
    send(recorder, "/v1/traces", &[("x-api-key", KEY), ("content-type", content_type)], body).await
}

#[tokio::test]
async fn spans_are_submitted_once_and_the_answer_is_empty() {
    let recorder = Recorder::default();
    let answer = send_as(&recorder, PROTOBUF, body(0)).await;
    assert_eq!((answer.status, answer.content_type.as_str()), (StatusCode::OK, PROTOBUF));
    assert_eq!(ExportTraceServiceResponse::decode(answer.body).unwrap(), ExportTraceServiceResponse::default());

    let [intake] = recorder.intakes().try_into().unwrap();
    assert_eq!((intake.project, intake.bytes), (PROJECT, body(0).len()));
    assert_eq!(intake.dedup, Some(dedup_of(&request(0))));
    let Work::Spans { received_at, traces } = intake.work else { panic!("spans are expected") };
    assert_eq!(received_at, Timestamp::from_secs(1_000));
    assert_eq!(traces, spans::decode(&request(0), &Naming::default()).traces);
}

#[tokio::test]
async fn compressed_bodies_have_the_dedup_key_of_the_plain_ones() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&body(0)).unwrap();
    let zstd = zstd::encode_all(&body(0)[..], 1).unwrap();
    for (encoding, compressed) in [("gzip", gzip.finish().unwrap()), ("zstd", zstd)] {
        let recorder = Recorder::default();
        let headers = [("x-api-key", KEY), ("content-type", PROTOBUF), ("content-encoding", encoding)];
        assert_eq!(send(&recorder, "/v1/traces", &headers, compressed).await.status, StatusCode::OK);
        assert_eq!(recorder.intakes()[0].dedup, Some(dedup_of(&request(0))));
    }
}

#[tokio::test]
async fn empty_requests_succeed_and_cost_no_commit() {
    for (content_type, body) in
        [(PROTOBUF, ""), (JSON, "{}"), ("application/json; charset=utf-8", "{\"resourceSpans\":[]}")]
    {
        let recorder = Recorder::default();
        let answer = send_as(&recorder, content_type, body).await;
        assert_eq!(
            (answer.status, &answer.body[..]),
            (StatusCode::OK, if content_type == PROTOBUF { &b""[..] } else { b"{}" })
        );
        assert!(recorder.intakes().is_empty());
    }
}

#[tokio::test]
async fn a_repeated_request_is_a_success() {
    let answer = send_as(&Recorder::answering(Ok(Outcome::Duplicate)), PROTOBUF, body(0)).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn rejected_spans_are_told_and_the_others_taken() {
    let recorder = Recorder::default();
    let answer = send_as(&recorder, PROTOBUF, body(2)).await;
    let partial = ExportTraceServiceResponse::decode(answer.body).unwrap().partial_success.unwrap();
    assert_eq!((answer.status, partial.rejected_spans), (StatusCode::OK, 2));
    assert!(partial.error_message.contains("trace_id"));
    assert_eq!(recorder.intakes().len(), 1);

    let json = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [{ "traceId": "00" }] }] }] });
    let answer = send_as(&recorder, JSON, json.to_string()).await;
    assert_eq!(answer.json()["partialSuccess"]["rejectedSpans"], "1");
}

#[tokio::test]
async fn errors_are_a_status_in_the_encoding_of_the_request() {
    let large = "x".repeat(2_001);
    let key = ("x-api-key", KEY);
    for (headers, body, status) in [
        (vec![], "", StatusCode::UNAUTHORIZED),
        (vec![("x-api-key", "wrong")], "", StatusCode::UNAUTHORIZED),
        (vec![("x-api-key", READER)], "", StatusCode::FORBIDDEN),
        (vec![key], "\u{1}", StatusCode::BAD_REQUEST),
        (vec![key], large.as_str(), StatusCode::PAYLOAD_TOO_LARGE),
        (vec![key, ("content-encoding", "br")], "", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (vec![key, ("content-encoding", "gzip")], "x", StatusCode::BAD_REQUEST),
    ] {
        for path in ["/v1/traces", "/v1/logs", "/v1/metrics"] {
            for content_type in [PROTOBUF, JSON] {
                let headers = [headers.clone(), vec![("content-type", content_type)]].concat();
                let answer = send(&Recorder::default(), path, &headers, body.to_owned()).await;
                assert_eq!((answer.status, answer.content_type.as_str()), (status, content_type), "{path}");
                assert_eq!(answer.retry_after, None);
                if content_type == JSON {
                    let json = answer.json();
                    assert_eq!(json["detail"], json["message"]);
                    assert!(json["code"].as_i64().is_some_and(|code| code > 0));
                } else {
                    let decoded = Status::decode(answer.body).unwrap();
                    assert!(decoded.code > 0 && !decoded.message.is_empty());
                }
            }
        }
    }
}

#[tokio::test]
async fn unknown_content_types_are_415_in_json() {
    for content_type in ["text/plain", "application/x-protobuffer", ""] {
        let answer = send_as(&Recorder::default(), content_type, "").await;
        assert_eq!((answer.status, answer.content_type.as_str()), (StatusCode::UNSUPPORTED_MEDIA_TYPE, JSON));
    }
    let answer = send(&Recorder::default(), "/v1/logs", &[("x-api-key", KEY)], "").await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn the_place_of_a_json_mistake_is_told() {
    let answer = send_as(&Recorder::default(), JSON, r#"{"resourceSpans":[{"scopeSpans":[{"spans":7}]}]}"#).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.json()["message"].as_str().unwrap().contains("resourceSpans[0].scopeSpans[0].spans: "));
}

#[tokio::test]
async fn pressure_is_503_with_a_time_to_retry() {
    for error in [
        SubmitError::Overloaded { retry_after_secs: 7 },
        SubmitError::Unavailable("disk full".into()),
        SubmitError::Stopping,
    ] {
        let answer = send_as(&Recorder::answering(Err(error.clone())), PROTOBUF, body(0)).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{error:?}");
        assert!(answer.retry_after.unwrap().parse::<u64>().unwrap() >= 1);
        assert_eq!(Status::decode(answer.body).unwrap().code, tonic::Code::Unavailable as i32);
    }
}

#[tokio::test]
async fn logs_and_metrics_that_tell_nothing_make_no_work() {
    let recorder = Recorder::default();
    for path in ["/v1/logs", "/v1/metrics"] {
        for (content_type, body, answered) in [(PROTOBUF, "", ""), (JSON, "{}", "{}")] {
            let answer = send(&recorder, path, &[("x-api-key", KEY), ("content-type", content_type)], body).await;
            assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, answered.as_bytes()));
        }
    }
    assert!(recorder.intakes().is_empty());
}

proptest! {
    #[test]
    fn no_bytes_make_protobuf_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(request) = ExportTraceServiceRequest::decode(&body[..]) {
            spans::decode(&request, &Naming::default());
        }
    }

    /// Bytes changed within a real request get further than random ones.
    #[test]
    fn no_damage_makes_protobuf_panic(place in 0..body(1).len(), byte in any::<u8>(), cut in 0..body(1).len()) {
        let mut damaged = body(1);
        damaged[place] = byte;
        for bytes in [&damaged[..], &damaged[..cut]] {
            if let Ok(request) = ExportTraceServiceRequest::decode(bytes) {
                spans::decode(&request, &Naming::default());
            }
        }
    }
}
