//! OTLP/gRPC: the three `Export` services.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc>. The key is checked on the headers, before a message is
//! read. Pressure is `UNAVAILABLE` with `RetryInfo`, which every exporter takes for "send again".

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use bytes::Bytes;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::service::{InterceptorLayer, Routes};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::raw::{RawTraceService, TakeTraces};
use super::{Otlp, data_points, log_records, wire};
use crate::http::ApiError;
use crate::model::Caller;
use crate::proto::opentelemetry::proto::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use crate::proto::opentelemetry::proto::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use crate::proto::opentelemetry::proto::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use crate::proto::opentelemetry::proto::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use crate::proto::opentelemetry::proto::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use crate::receivers::Submit;

/// The three services as routes; any other path is answered `UNIMPLEMENTED`.
pub fn routes<S: Submit>(otlp: Otlp<S>) -> Router {
    let max = otlp.limits.grpc_bytes_max;
    let service = Service(otlp.clone());
    let check = move |mut request: Request<()>| {
        let caller = otlp.authorize(request.metadata().as_ref()).map_err(|e| status(&e))?;
        request.extensions_mut().insert(caller);
        Ok(request)
    };
    Routes::new(RawTraceService::new(service.clone(), max))
        .add_service(
            LogsServiceServer::new(service.clone())
                .accept_compressed(Gzip)
                .accept_compressed(Zstd)
                .max_decoding_message_size(max),
        )
        .add_service(
            MetricsServiceServer::new(service)
                .accept_compressed(Gzip)
                .accept_compressed(Zstd)
                .max_decoding_message_size(max),
        )
        .into_axum_router()
        .layer(InterceptorLayer::new(check))
}

#[derive(Clone)]
struct Service<S>(Otlp<S>);

/// The gRPC form of an error.
fn status(error: &ApiError) -> Status {
    let message = error.detail_text();
    if let Some(secs) = error.retry_after() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(secs)));
        return Status::with_error_details(Code::Unavailable, message, details);
    }
    match error.status() {
        StatusCode::UNAUTHORIZED => Status::unauthenticated(message),
        StatusCode::FORBIDDEN => Status::permission_denied(message),
        StatusCode::SERVICE_UNAVAILABLE => Status::unavailable(message),
        StatusCode::INTERNAL_SERVER_ERROR => Status::internal(message),
        _ => Status::invalid_argument(message),
    }
}

#[tonic::async_trait]
impl<S: Submit> TakeTraces for Service<S> {
    async fn take(&self, request: Request<Bytes>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let caller = caller(&request)?;
        let message = request.into_inner();
        let decoded = wire::decode(&message).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let rejected = self.0.take(&caller, decoded, message.len()).await.map_err(|e| status(&e))?;
        let partial_success = (rejected.count > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: rejected.count,
            error_message: rejected.reason.to_owned(),
        });
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

/// Accepted and dropped.
#[tonic::async_trait]
impl<S: Submit> LogsService for Service<S> {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        tracing::debug!(signal = "logs", items = log_records(request.get_ref()), "telemetry accepted and dropped");
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

/// Accepted and dropped.
#[tonic::async_trait]
impl<S: Submit> MetricsService for Service<S> {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        tracing::debug!(signal = "metrics", items = data_points(request.get_ref()), "telemetry accepted and dropped");
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// Who sends, as the check before the services found out.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Caller>().cloned().ok_or_else(|| Status::unauthenticated("Not authenticated"))
}
