//! OTLP/HTTP: `POST /v1/traces`, `/v1/logs`, `/v1/metrics`, in protobuf or JSON.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>. The answer has the request's encoding; errors are a
//! `google.rpc.Status` in it.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use prost::Message;
use serde_json::{Value, json};
use tonic::Code;
use tonic_types::pb::Status;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::wire::{self, WireError};
use super::{Otlp, Rejected, json, logs, metrics, spans};
use crate::exporters::forward::{Onward, Signal};
use crate::http::{ApiError, body, doc};
use crate::model::Caller;
use crate::proto::bounded::{self, DecodeError};
use crate::proto::opentelemetry::proto::collector::logs::v1::ExportLogsServiceResponse;
use crate::proto::opentelemetry::proto::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use crate::proto::opentelemetry::proto::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use crate::receivers::Submit;

/// Bodies over this many bytes are decoded on a thread that may block, so that they do not hold up other connections.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// The routes of OTLP/HTTP.
pub fn routes<S: Submit>(otlp: Otlp<S>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(traces))
        .routes(routes!(langfuse_traces))
        .routes(routes!(export_logs))
        .routes(routes!(export_metrics))
        .with_state(otlp)
}

/// How a request, and so its answer, is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let essence = value.split(';').next().unwrap_or_default().trim();
        // `application/protobuf` is what RFC 9110 registries call the same thing.
        if essence.eq_ignore_ascii_case("application/x-protobuf")
            || essence.eq_ignore_ascii_case("application/protobuf")
        {
            Some(Self::Protobuf)
        } else if essence.eq_ignore_ascii_case("application/json") {
            Some(Self::Json)
        } else {
            None
        }
    }

    const fn content_type(self) -> HeaderValue {
        match self {
            Self::Protobuf => HeaderValue::from_static("application/x-protobuf"),
            Self::Json => HeaderValue::from_static("application/json"),
        }
    }

    fn answer(self, status: StatusCode, message: &impl Message, json: &Value) -> Response {
        let body = match self {
            Self::Protobuf => message.encode_to_vec(),
            Self::Json => json.to_string().into_bytes(),
        };
        (status, [(header::CONTENT_TYPE, self.content_type())], body).into_response()
    }

    fn error(self, error: &ApiError) -> Response {
        let (code, message) = (code(error.status()) as i32, error.detail_text());
        // `detail` is what every other route of the gateway says; the rest is OTLP's.
        let json = json!({ "code": code, "message": message, "detail": message });
        let mut response = self.answer(error.status(), &Status { code, message, details: Vec::new() }, &json);
        if let Some(secs) = error.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        if error.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("ApiKey"));
        }
        response
    }
}

/// The gRPC code of an HTTP status, as `google/rpc/code.proto` pairs them.
const fn code(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::INTERNAL_SERVER_ERROR => Code::Internal,
        _ => Code::InvalidArgument,
    }
}

/// A request whose key, type and size are in order.
struct Received {
    caller: Caller,
    encoding: Encoding,
    body: Bytes,
    onward: Onward,
}

/// Checks key and type, then reads the body. The error is the answer.
async fn receive<S: Submit>(otlp: &Otlp<S>, signal: Signal, request: Request) -> Result<Received, Response> {
    let (parts, body) = request.into_parts();
    let encoding = Encoding::of(&parts.headers);
    let error = |error: ApiError| encoding.unwrap_or(Encoding::Json).error(&error);
    let caller = otlp.authorize(&parts.headers).map_err(error)?;
    let Some(encoding) = encoding else {
        return Err(error(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content-type is not supported; use application/x-protobuf or application/json",
        )));
    };
    let body = body::read_whole(&parts.headers, body, otlp.limits.http_bytes_max).await.map_err(error)?;
    let onward = otlp.forward.http(signal, "", &parts.headers, body.raw, body.decoded.clone());
    Ok(Received { caller, encoding, body: body.decoded, onward })
}

/// Runs `decode` over the body, and off this thread when the body is large.
async fn decode<T: Send + 'static>(
    received: &Received,
    decode: impl FnOnce(Encoding, &[u8]) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let encoding = received.encoding;
    if received.body.len() <= INLINE_BYTES_MAX {
        return decode(encoding, &received.body);
    }
    let body = received.body.clone();
    tokio::task::spawn_blocking(move || decode(encoding, &body))
        .await
        // The task is cancelled only when the runtime shuts down.
        .unwrap_or_else(|_| Err(ApiError::unavailable("the gateway is stopping; send again", 1)))
}

fn undecodable(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, format!("request body cannot be decoded: {error}"))
}

fn unprotobuf(error: DecodeError) -> ApiError {
    match error {
        DecodeError::TooMany => ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        DecodeError::Malformed(error) => undecodable(error),
    }
}

fn unwire(error: WireError) -> ApiError {
    match error {
        WireError::TooMany => ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        WireError::Malformed(error) => undecodable(error),
    }
}

/// The answer to an export.
#[derive(ToSchema)]
#[schema(as = OtlpExportResponse)]
#[expect(dead_code, reason = "describes the JSON that `accepted` makes")]
struct PartialSuccess {
    /// Only when something was rejected: how much, as decimal text, and why.
    #[schema(rename = "partialSuccess", example = json!({"rejectedSpans": "1", "errorMessage": "a span id has 8 bytes"}))]
    partial_success: Option<Value>,
}

/// Spans of OpenTelemetry.
#[utoipa::path(post, path = "/v1/traces", tag = "OpenTelemetry", security(("api_key" = ["ingest"])),
    request_body(content((Value = "application/json", example = json!({"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "research-agent"}}]}, "scopeSpans": [{"spans": [{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "chat gpt-5", "startTimeUnixNano": "1795348742000000000", "endTimeUnixNano": "1795348743000000000", "attributes": [{"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}]}]}]}]})), (Vec<u8> = "application/x-protobuf")), description = "An `ExportTraceServiceRequest` of OTLP"),
    responses((status = 200, description = "An `ExportTraceServiceResponse`, in the encoding of the request", content((PartialSuccess = "application/json", example = json!({})), (Vec<u8> = "application/x-protobuf"))), doc::Keyed, doc::Sent))]
async fn traces<S: Submit>(State(otlp): State<Otlp<S>>, request: Request) -> Response {
    let received = match receive(&otlp, Signal::Traces, request).await {
        Ok(received) => received,
        Err(answer) => return answer,
    };
    match take_traces(&otlp, &received).await {
        Ok(rejected) => {
            received.onward.send(received.caller.project);
            accepted(received.encoding, rejected)
        }
        Err(error) => received.encoding.error(&error),
    }
}

async fn take_traces<S: Submit>(otlp: &Otlp<S>, received: &Received) -> Result<Rejected, ApiError> {
    let naming = otlp.naming(&received.caller);
    let decoded = decode(received, move |encoding, body| {
        Ok(match encoding {
            Encoding::Protobuf => wire::decode(body, &naming).map_err(unwire)?,
            Encoding::Json => spans::decode(&json::traces(body).map_err(undecodable)?, &naming),
        })
    })
    .await?;
    otlp.take(&received.caller, decoded, received.body.len()).await
}

fn accepted(encoding: Encoding, rejected: Rejected) -> Response {
    if rejected.count == 0 {
        return encoding.answer(StatusCode::OK, &ExportTraceServiceResponse::default(), &json!({}));
    }
    let partial =
        ExportTracePartialSuccess { rejected_spans: rejected.count, error_message: rejected.reason.to_owned() };
    // 64-bit integers are text in the protobuf JSON mapping.
    let json = json!({ "partialSuccess": {
        "rejectedSpans": partial.rejected_spans.to_string(), "errorMessage": partial.error_message,
    }});
    encoding.answer(StatusCode::OK, &ExportTraceServiceResponse { partial_success: Some(partial) }, &json)
}

/// Spans of OpenTelemetry, where Langfuse's SDKs send them.
#[utoipa::path(post, path = "/api/public/otel/v1/traces", tag = "Langfuse", security(("api_key" = ["ingest"])),
    request_body(content((Value = "application/json", example = json!({"resourceSpans": []})), (Vec<u8> = "application/x-protobuf")), description = "An `ExportTraceServiceRequest` of OTLP"),
    responses((status = 200, description = "An `ExportTraceServiceResponse`, in the encoding of the request", content((PartialSuccess = "application/json", example = json!({})), (Vec<u8> = "application/x-protobuf"))), doc::Keyed, doc::Sent))]
async fn langfuse_traces<S: Submit>(otlp: State<Otlp<S>>, request: Request) -> Response {
    traces(otlp, request).await
}

/// Log records of OpenTelemetry.
#[utoipa::path(post, path = "/v1/logs", tag = "OpenTelemetry", security(("api_key" = ["ingest"])),
    request_body(content((Value = "application/json", example = json!({"resourceLogs": []})), (Vec<u8> = "application/x-protobuf")), description = "An `ExportLogsServiceRequest` of OTLP"),
    responses((status = 200, description = "An `ExportLogsServiceResponse`, in the encoding of the request", content((PartialSuccess = "application/json", example = json!({})), (Vec<u8> = "application/x-protobuf"))), doc::Keyed, doc::Sent))]
async fn export_logs<S: Submit>(State(otlp): State<Otlp<S>>, request: Request) -> Response {
    let received = match receive(&otlp, Signal::Logs, request).await {
        Ok(received) => received,
        Err(answer) => return answer,
    };
    match take_logs(&otlp, &received).await {
        Ok(()) => {
            received.onward.send(received.caller.project);
            received.encoding.answer(StatusCode::OK, &ExportLogsServiceResponse::default(), &json!({}))
        }
        Err(error) => received.encoding.error(&error),
    }
}

async fn take_logs<S: Submit>(otlp: &Otlp<S>, received: &Received) -> Result<(), ApiError> {
    let naming = otlp.naming(&received.caller);
    let decoded = decode(received, move |encoding, body| {
        let request = match encoding {
            Encoding::Protobuf => bounded::decode(body).map_err(unprotobuf)?,
            Encoding::Json => json::logs(body).map_err(undecodable)?,
        };
        Ok(logs::decode(&request, &naming))
    })
    .await?;
    otlp.take_logs(&received.caller, decoded, received.body.len()).await
}

/// Metrics of OpenTelemetry.
#[utoipa::path(post, path = "/v1/metrics", tag = "OpenTelemetry", security(("api_key" = ["ingest"])),
    request_body(content((Value = "application/json", example = json!({"resourceMetrics": []})), (Vec<u8> = "application/x-protobuf")), description = "An `ExportMetricsServiceRequest` of OTLP"),
    responses((status = 200, description = "An `ExportMetricsServiceResponse`, in the encoding of the request", content((PartialSuccess = "application/json", example = json!({})), (Vec<u8> = "application/x-protobuf"))), doc::Keyed, doc::Sent))]
async fn export_metrics<S: Submit>(State(otlp): State<Otlp<S>>, request: Request) -> Response {
    let received = match receive(&otlp, Signal::Metrics, request).await {
        Ok(received) => received,
        Err(answer) => return answer,
    };
    match take_metrics(&otlp, &received).await {
        Ok(rejected) => {
            received.onward.send(received.caller.project);
            let partial_success = (rejected.count > 0).then(|| ExportMetricsPartialSuccess {
                rejected_data_points: rejected.count,
                error_message: rejected.reason.to_owned(),
            });
            let json = match &partial_success {
                None => json!({}),
                Some(partial) => json!({ "partialSuccess": {
                    "rejectedDataPoints": partial.rejected_data_points.to_string(),
                    "errorMessage": partial.error_message,
                }}),
            };
            received.encoding.answer(StatusCode::OK, &ExportMetricsServiceResponse { partial_success }, &json)
        }
        Err(error) => received.encoding.error(&error),
    }
}

async fn take_metrics<S: Submit>(otlp: &Otlp<S>, received: &Received) -> Result<Rejected, ApiError> {
    let naming = otlp.naming(&received.caller);
    let decoded = decode(received, move |encoding, body| {
        let request = match encoding {
            Encoding::Protobuf => bounded::decode(body).map_err(unprotobuf)?,
            Encoding::Json => json::metrics(body).map_err(undecodable)?,
        };
        Ok(metrics::decode(&request, &naming))
    })
    .await?;
    otlp.take_metrics(&received.caller, decoded, received.body.len()).await
}
