//! What the specification of OTLP and its exporters demand of a receiver, by the ids of the project's checklist.

use std::io::Write;

use axum::http::StatusCode;
use serde_json::{Value as Json, json};
use tonic::Code;
use tonic_types::StatusExt;
use tonic_types::pb::Status;

use super::grpc::{self, frame};
use super::http::{self, JSON, PROTOBUF};
use super::*;
use crate::ingest::intake::Work;
use crate::model::{Money, SpanFacts};
use crate::proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse;

const MEGABYTE: usize = 1_000_000;

/// A body as a stream of pieces, without a length.
fn chunked(body: Vec<u8>) -> axum::body::Body {
    let pieces: Vec<_> = body.chunks(700).map(|c| Ok::<_, std::io::Error>(bytes::Bytes::copy_from_slice(c))).collect();
    axum::body::Body::from_stream(futures_util::stream::iter(pieces))
}

fn compressed(encoding: &str, body: &[u8]) -> Vec<u8> {
    use flate2::Compression;
    match encoding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
        _ => zstd::encode_all(body, 1).unwrap(),
    }
}

async fn post(recorder: &Recorder, content_type: &str, body: impl Into<axum::body::Body>) -> http::Answer {
    http::send_as(recorder, content_type, body).await
}

/// The only span of the only request.
fn only_span(recorder: &Recorder) -> SpanFacts {
    let [intake] = recorder.intakes().try_into().unwrap();
    let Work::Spans { mut traces, .. } = intake.work else { panic!("spans are expected") };
    traces.remove(0).spans.remove(0)
}

#[tokio::test]
async fn otl_1_an_empty_request_is_answered_200_with_an_empty_message() {
    for (content_type, body, answer) in
        [(PROTOBUF, "", ""), (JSON, "{}", "{}"), (JSON, r#"{"resourceSpans":[]}"#, "{}")]
    {
        let recorder = Recorder::default();
        let answered = post(&recorder, content_type, body).await;
        assert_eq!((answered.status, &answered.body[..]), (StatusCode::OK, answer.as_bytes()));
        assert!(recorder.intakes().is_empty());
    }
    let answer = grpc::call(&Recorder::default(), grpc::TRACES, &[("x-api-key", KEY)], frame(false, &[])).await;
    assert_eq!(answer.unwrap(), Vec::<u8>::new());
}

#[tokio::test]
async fn otl_2_protobuf_and_json_come_to_one_port_and_are_answered_in_kind() {
    let json = |id: Json, tokens: Json, code: Json| {
        let attribute = |key: &str, value: Json| json!({ "key": key, "value": value });
        json!({ "unknown": [1], "resourceSpans": [{ "schemaUrl": "x", "scopeSpans": [{ "spans": [{
            "traceId": "01010101010101010101010101010101", "spanId": id, "kind": 3, "flags": 257, "other": {},
            "startTimeUnixNano": "1796083200000000000", "endTimeUnixNano": 1_796_083_201_000_000_000_u64,
            "status": { "code": code, "message": "no" },
            "attributes": [
                attribute("gen_ai.operation.name", json!({ "stringValue": "chat" })),
                attribute("gen_ai.usage.input_tokens", json!({ "intValue": tokens })),
            ],
        }] }] }] })
    };
    let mut seen = Vec::new();
    for (id, tokens, code) in [
        (json!("0202020202020202"), json!("17"), json!(2)),
        (json!("AgICAgICAgI="), json!(17), json!("STATUS_CODE_ERROR")),
    ] {
        let recorder = Recorder::default();
        let answer = post(&recorder, JSON, json(id, tokens, code).to_string()).await;
        assert_eq!((answer.status, answer.content_type.as_str(), &answer.body[..]), (StatusCode::OK, JSON, &b"{}"[..]));
        seen.push(only_span(&recorder));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!((seen[0].usage.input, seen[0].failure.as_ref().map(|f| f.message.as_str())), (Some(17), Some("no")));
    let answer = post(&Recorder::default(), PROTOBUF, body(0)).await;
    assert_eq!((answer.status, answer.content_type.as_str(), answer.body.len()), (StatusCode::OK, PROTOBUF, 0));
}

#[tokio::test]
async fn otl_3_rejected_spans_are_counted_and_the_field_is_unset_without_any() {
    for invalid in [0, 3] {
        let partial = |bytes: &[u8]| ExportTraceServiceResponse::decode(bytes).unwrap().partial_success;
        let over_http = partial(&post(&Recorder::default(), PROTOBUF, body(invalid)).await.body);
        let headers = [("x-api-key", KEY)];
        let over_grpc = grpc::call(&Recorder::default(), grpc::TRACES, &headers, frame(false, &body(invalid))).await;
        for told in [over_http, partial(&over_grpc.unwrap())] {
            assert_eq!(told.as_ref().map(|p| p.rejected_spans), (invalid > 0).then_some(invalid as i64));
            assert!(told.is_none_or(|p| p.error_message.contains("trace_id")));
        }
    }
}

#[tokio::test]
async fn otl_4_what_cannot_be_decoded_is_400_with_a_status_in_the_encoding_of_the_request() {
    let answer = post(&Recorder::default(), PROTOBUF, vec![0xff; 50]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(Status::decode(answer.body).unwrap().message.contains("cannot be decoded"));
    let answer = post(&Recorder::default(), JSON, "{\"resourceSpans\":").await;
    assert_eq!((answer.status, answer.json()["code"].as_i64()), (StatusCode::BAD_REQUEST, Some(3)));
}

#[tokio::test]
async fn otl_5_pressure_is_always_worth_a_retry() {
    for error in [
        SubmitError::Overloaded { retry_after_secs: 7 },
        SubmitError::Unavailable("the disk is full".into()),
        SubmitError::Stopping,
    ] {
        for content_type in [PROTOBUF, JSON] {
            let body = if content_type == JSON { JSON_CALL.as_bytes().to_vec() } else { body(0) };
            let answer = post(&Recorder::answering(Err(error.clone())), content_type, body).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{error:?}");
            assert!(answer.retry_after.unwrap().parse::<u64>().unwrap() >= 1);
        }
        let recorder = Recorder::answering(Err(error));
        let status =
            grpc::call(&recorder, grpc::TRACES, &[("x-api-key", KEY)], frame(false, &body(0))).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.get_details_retry_info().unwrap().retry_delay.unwrap().as_secs() >= 1);
    }
}

/// One model call in JSON.
const JSON_CALL: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"01010101010101010101010101010101","spanId":"0202020202020202","attributes":[{"key":"gen_ai.operation.name","value":{"stringValue":"chat"}}]}]}]}]}"#;

#[tokio::test]
async fn otl_6_limits_hold_with_a_length_without_one_and_after_decompression() {
    let too_large = vec![0; 2_001];
    let answer = post(&Recorder::default(), PROTOBUF, too_large.clone()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let answer = post(&Recorder::default(), PROTOBUF, chunked(too_large)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    for encoding in ["gzip", "deflate", "zstd"] {
        let bomb = compressed(encoding, &vec![0; MEGABYTE]);
        assert!(bomb.len() < 2_000, "{encoding}");
        let members = compressed(encoding, &[0; 100]).repeat(60);
        for bomb in [bomb, members] {
            if bomb.len() > 2_000 || (encoding == "deflate" && bomb.len() > 500) {
                continue;
            }
            let recorder = Recorder::default();
            let headers = [("x-api-key", KEY), ("content-type", PROTOBUF), ("content-encoding", encoding)];
            let answer = http::send(&recorder, "/v1/traces", &headers, chunked(bomb)).await;
            assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{encoding}");
            assert!(recorder.intakes().is_empty() && answer.retry_after.is_none());
        }
        let headers = [("x-api-key", KEY), ("grpc-encoding", encoding)];
        let message = frame(true, &compressed(encoding, &vec![0; MEGABYTE]));
        let error = grpc::call(&Recorder::default(), grpc::TRACES, &headers, message).await.unwrap_err();
        assert!(matches!(error.code(), Code::OutOfRange | Code::ResourceExhausted), "{encoding} {error:?}");
        // What fits is read.
        let message = frame(true, &compressed(encoding, &body(0)));
        grpc::call(&Recorder::default(), grpc::TRACES, &headers, message).await.unwrap();
    }
}

#[tokio::test]
async fn otl_7_unknown_encodings_and_types_are_415() {
    for headers in [
        [("content-type", PROTOBUF), ("content-encoding", "br")],
        [("content-type", "text/plain"), ("content-encoding", "identity")],
    ] {
        let headers = [vec![("x-api-key", KEY)], headers.to_vec()].concat();
        let answer = http::send(&Recorder::default(), "/v1/traces", &headers, body(0)).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }) }
}

#[tokio::test]
async fn otl_8_extremes_are_bounded() {
    let roomy = Limits { http_bytes_max: 40 * MEGABYTE, grpc_bytes_max: 40 * MEGABYTE };
    let with = |attributes: Vec<KeyValue>| {
        let mut request = request(0);
        request.resource_spans[0].scope_spans[0].spans[0].attributes.extend(attributes);
        request.encode_to_vec()
    };
    let send = async |body: Vec<u8>| {
        let recorder = Recorder::default();
        let headers = [("x-api-key", KEY), ("content-type", PROTOBUF)];
        (http::send_within(&recorder, roomy, "/v1/traces", &headers, body).await, recorder)
    };
    // A million attributes, and one of ten megabytes: nothing of them is kept.
    let many = (0..MEGABYTE).map(|n| attribute(&format!("a{n}"), Value::IntValue(1))).collect();
    for body in [with(many), with(vec![attribute("gen_ai.agent.name", Value::StringValue("x".repeat(10 * MEGABYTE)))])]
    {
        let (answer, recorder) = send(body).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(only_span(&recorder).agent.is_none_or(|name| name.len() <= 200));
    }
    // Numbers that are none, or too large to be one.
    for cost in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300] {
        for tokens in [Value::IntValue(i64::MAX), Value::IntValue(-1), Value::StringValue("9".repeat(40))] {
            let attributes = vec![
                attribute("operation.cost", Value::DoubleValue(cost)),
                attribute("gen_ai.usage.input_tokens", tokens.clone()),
                attribute("gen_ai.usage.output_tokens", Value::DoubleValue(1e18)),
            ];
            let (answer, recorder) = send(with(attributes)).await;
            let usage = only_span(&recorder).usage;
            assert_eq!((answer.status, usage.input, usage.output), (StatusCode::OK, None, None), "{tokens:?}");
            assert!(usage.cost.is_none_or(|cost| cost >= Money(0)), "{cost}");
        }
    }
    // Texts that are not UTF-8, where they are read.
    let mut broken = with(vec![attribute("gen_ai.agent.name", Value::StringValue("@@@@".into()))]);
    let at = broken.windows(4).position(|w| w == b"@@@@").unwrap();
    broken[at] = 0xff;
    assert_eq!(send(broken).await.0.status, StatusCode::BAD_REQUEST);
    // Nesting.
    let deep = r#"{"arrayValue":{"values":["#.repeat(10_000) + &"]}}".repeat(10_000);
    let json = format!(r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"a","value":{deep}}}]}}}}]}}"#);
    let headers = [("x-api-key", KEY), ("content-type", JSON)];
    let answer = http::send_within(&Recorder::default(), roomy, "/v1/traces", &headers, json).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

/// A retry after a lost answer may come by the other way and in another encoding; it is known by what is in it.
#[tokio::test]
async fn otl_9_a_repeated_request_is_known_whichever_way_it_comes() {
    let recorder = Recorder::default();
    post(&recorder, PROTOBUF, body(0)).await;
    post(&recorder, PROTOBUF, chunked(body(0))).await;
    post(&recorder, JSON, JSON_CALL).await;
    grpc::call(&recorder, grpc::TRACES, &[("x-api-key", KEY)], frame(false, &body(0))).await.unwrap();
    let keys: Vec<_> = recorder.intakes().into_iter().map(|intake| intake.dedup).collect();
    assert!(keys.len() == 4 && keys.iter().all(|key| key.is_some() && *key == keys[0]), "{keys:?}");
    let repeated = post(&Recorder::answering(Ok(Outcome::Duplicate)), PROTOBUF, body(0)).await;
    assert_eq!((repeated.status, repeated.body.len()), (StatusCode::OK, 0));
}
