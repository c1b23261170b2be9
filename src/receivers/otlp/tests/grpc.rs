use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::ServiceExt;

use super::*;
use crate::proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceResponse;
use crate::receivers::otlp::grpc::routes;

pub(super) const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// One length-prefixed message, as gRPC frames it.
pub(super) fn frame(compressed: bool, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[u8::from(compressed)][..], &length, message].concat()
}

/// The message of the answer, or its status.
pub(super) async fn call(
    recorder: &Recorder,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<Vec<u8>, Status> {
    let mut request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = routes(otlp(recorder)).oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let headers: HeaderMap = response.headers().clone();
    let collected = response.into_body().collect().await.unwrap();
    // An error without a message has its status in the headers.
    let status = collected.trailers().and_then(Status::from_header_map).or_else(|| Status::from_header_map(&headers));
    match status {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(collected.to_bytes()[5..].to_vec()),
    }
}

#[tokio::test]
async fn spans_are_submitted_and_rejected_ones_told() {
    for (name, value) in [("x-api-key", KEY.to_owned()), ("authorization", format!("Bearer {KEY}"))] {
        let recorder = Recorder::default();
        let answer = call(&recorder, TRACES, &[(name, &value)], frame(false, &body(2))).await.unwrap();
        let partial = ExportTraceServiceResponse::decode(&answer[..]).unwrap().partial_success.unwrap();
        assert_eq!(partial.rejected_spans, 2);
        assert_eq!(recorder.intakes()[0].dedup, Some(dedup_of(&request(2))));
    }
    let answer = call(&Recorder::default(), TRACES, &[("x-api-key", KEY)], frame(false, &body(0))).await;
    assert_eq!(answer.unwrap(), Vec::<u8>::new());
}

#[tokio::test]
async fn compressed_messages_are_taken() {
    let gzip = {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&body(0)).unwrap();
        encoder.finish().unwrap()
    };
    for (encoding, message) in [("gzip", gzip), ("zstd", zstd::encode_all(&body(0)[..], 1).unwrap())] {
        let recorder = Recorder::default();
        let headers = [("x-api-key", KEY), ("grpc-encoding", encoding)];
        call(&recorder, TRACES, &headers, frame(true, &message)).await.unwrap();
        assert_eq!(recorder.intakes().len(), 1, "{encoding}");
    }
}

#[tokio::test]
async fn the_key_is_checked_before_the_message_is_read() {
    for path in [TRACES, LOGS, METRICS] {
        let not_a_message = vec![9, 9, 9];
        let error = call(&Recorder::default(), path, &[], not_a_message.clone()).await.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated);
        let error = call(&Recorder::default(), path, &[("x-api-key", READER)], not_a_message).await.unwrap_err();
        assert_eq!(error.code(), Code::PermissionDenied);
    }
}

#[tokio::test]
async fn pressure_is_unavailable_with_retry_info() {
    for (error, secs) in [(SubmitError::Overloaded { retry_after_secs: 7 }, Some(7)), (SubmitError::Stopping, None)] {
        let recorder = Recorder::answering(Err(error));
        let status = call(&recorder, TRACES, &[("x-api-key", KEY)], frame(false, &body(0))).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!(delay.as_secs() >= 1 && secs.is_none_or(|secs| delay.as_secs() == secs));
    }
}

#[tokio::test]
async fn messages_over_the_limit_are_refused_before_and_after_decompression() {
    let bomb = zstd::encode_all(&vec![0; 1_000_000][..], 1).unwrap();
    assert!(bomb.len() < 2_000);
    for (headers, body) in [
        (vec![("x-api-key", KEY)], frame(false, &vec![0; 2_001])),
        (vec![("x-api-key", KEY), ("grpc-encoding", "zstd")], frame(true, &bomb)),
    ] {
        let recorder = Recorder::default();
        let error = call(&recorder, TRACES, &headers, body).await.unwrap_err();
        // Sending the same again cannot help, so there is nothing about retrying.
        assert!(matches!(error.code(), Code::OutOfRange | Code::ResourceExhausted), "{error:?}");
        assert!(error.get_details_retry_info().is_none() && recorder.intakes().is_empty());
    }
}

#[tokio::test]
async fn what_cannot_be_decoded_is_an_invalid_argument() {
    let error = call(&Recorder::default(), TRACES, &[("x-api-key", KEY)], frame(false, &[1])).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn logs_and_metrics_that_tell_nothing_make_no_work() {
    let recorder = Recorder::default();
    for path in [LOGS, METRICS] {
        assert_eq!(call(&recorder, path, &[("x-api-key", KEY)], frame(false, &[])).await.unwrap(), Vec::<u8>::new());
    }
    assert!(recorder.intakes().is_empty());
}
