//! OTLP/gRPC: the three `Export` services.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc>. The key is checked on the headers, before a message is
//! read. Pressure is `UNAVAILABLE` with `RetryInfo`, which every exporter takes for "send again".

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use bytes::Bytes;
use tonic::service::{InterceptorLayer, Routes};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::raw::{RawService, TakeExport};
use super::{Otlp, logs, metrics, wire};
use crate::exporters::forward::Signal;
use crate::http::ApiError;
use crate::model::Caller;
use crate::proto::bounded;
use crate::proto::opentelemetry::proto::collector::logs::v1::{ExportLogsServiceResponse, logs_service_server};
use crate::proto::opentelemetry::proto::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse, metrics_service_server,
};
use crate::proto::opentelemetry::proto::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse, trace_service_server,
};
use crate::receivers::Submit;

/// The three services as routes; any other path is answered `UNIMPLEMENTED`.
pub fn routes<S: Submit>(otlp: Otlp<S>) -> Router {
    let max = otlp.limits.grpc_bytes_max;
    let (traces, logs, metrics) = (Traces(otlp.clone()), Logs(otlp.clone()), Metrics(otlp.clone()));
    let check = move |mut request: Request<()>| {
        let caller = otlp.authorize(request.metadata().as_ref()).map_err(|e| status(&e))?;
        request.extensions_mut().insert(caller);
        Ok(request)
    };
    Routes::new(RawService::new(traces, max))
        .add_service(RawService::new(logs, max))
        .add_service(RawService::new(metrics, max))
        .into_axum_router()
        .layer(InterceptorLayer::new(check))
}

#[derive(Clone)]
struct Traces<S>(Otlp<S>);

#[derive(Clone)]
struct Logs<S>(Otlp<S>);

#[derive(Clone)]
struct Metrics<S>(Otlp<S>);

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
impl<S: Submit> TakeExport for Traces<S> {
    const NAME: &'static str = trace_service_server::SERVICE_NAME;
    type Answer = ExportTraceServiceResponse;

    async fn take(&self, request: Request<Bytes>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let caller = caller(&request)?;
        let onward = self.0.forward.grpc(Signal::Traces, request.metadata().as_ref(), request.get_ref().clone());
        let message = request.into_inner();
        let decoded = wire::decode(&message, &self.0.naming(&caller)).map_err(undecodable)?;
        let rejected = self.0.take(&caller, decoded, message.len()).await.map_err(|e| status(&e))?;
        onward.send(caller.project);
        let partial_success = (rejected.count > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: rejected.count,
            error_message: rejected.reason.to_owned(),
        });
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

#[tonic::async_trait]
impl<S: Submit> TakeExport for Logs<S> {
    const NAME: &'static str = logs_service_server::SERVICE_NAME;
    type Answer = ExportLogsServiceResponse;

    async fn take(&self, request: Request<Bytes>) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let caller = caller(&request)?;
        let onward = self.0.forward.grpc(Signal::Logs, request.metadata().as_ref(), request.get_ref().clone());
        let message = request.into_inner();
        let decoded = logs::decode(&bounded::decode(&message).map_err(undecodable)?, &self.0.naming(&caller));
        self.0.take_logs(&caller, decoded, message.len()).await.map_err(|e| status(&e))?;
        onward.send(caller.project);
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl<S: Submit> TakeExport for Metrics<S> {
    const NAME: &'static str = metrics_service_server::SERVICE_NAME;
    type Answer = ExportMetricsServiceResponse;

    async fn take(&self, request: Request<Bytes>) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let caller = caller(&request)?;
        let onward = self.0.forward.grpc(Signal::Metrics, request.metadata().as_ref(), request.get_ref().clone());
        let message = request.into_inner();
        let decoded = metrics::decode(&bounded::decode(&message).map_err(undecodable)?, &self.0.naming(&caller));
        let rejected = self.0.take_metrics(&caller, decoded, message.len()).await.map_err(|e| status(&e))?;
        onward.send(caller.project);
        let partial_success = (rejected.count > 0).then(|| ExportMetricsPartialSuccess {
            rejected_data_points: rejected.count,
            error_message: rejected.reason.to_owned(),
        });
        Ok(Response::new(ExportMetricsServiceResponse { partial_success }))
    }
}

fn undecodable(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

/// Who sends, as the check before the services found out.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Caller>().cloned().ok_or_else(|| Status::unauthenticated("Not authenticated"))
}
