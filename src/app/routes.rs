//! Which routes are served where.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use tokio::sync::{Semaphore, watch};
use tower::util::MapResponseLayer;
use utoipa_axum::router::OpenApiRouter;

use super::rules::ConfigRules;
use crate::api::{self, Api, HealthRoutes};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{self, Control};
use crate::exporters::forward::{self, Forward};
use crate::exporters::prometheus::{self, PrometheusExporter};
use crate::http::ApiError;
use crate::http::auth::Keyring;
use crate::ids::Ids;
use crate::ingest::{Committer, SharedPresence};
use crate::prices::Prices;
use crate::receivers::{alertmanager, heartbeat, langfuse, otlp, ping, probes};
use crate::store::Store;
use crate::telemetry::{IngestOutcome, ProcessMetrics};

/// What routes are made from.
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub committer: Committer,
    pub keyring: Keyring,
    pub clock: Clock,
    pub ids: Ids,
    pub presence: SharedPresence,
    pub start_grace: Duration,
    pub rules: Arc<ConfigRules>,
    pub metrics: ProcessMetrics,
    pub telling: otlp::Telling,
    pub prices: Prices,
    pub config: Arc<Config>,
    pub forward: Forward,
    pub board: probes::Board,
    /// Becomes true when the gateway stops.
    pub stop: watch::Receiver<bool>,
}

/// Port 4317.
pub fn otlp_grpc(parts: &Parts) -> Router {
    otlp::grpc::routes(parts.otlp()).layer(MapResponseLayer::new(count(parts, "otlp_grpc")))
}

/// Port 4318.
pub fn otlp_http(parts: &Parts) -> Router {
    let (router, _) =
        counted(otlp::http::routes(parts.otlp()), parts, "otlp_http").merge(parts.health()).split_for_parts();
    with_fallbacks(router)
}

/// Port 4319: everything else, and OTLP over HTTP once more, for senders that know only one address.
pub fn http(parts: &Parts, bound: SocketAddr) -> Router {
    let heartbeats = heartbeat::Heartbeats {
        committer: parts.committer.clone(),
        keyring: parts.keyring.clone(),
        clock: parts.clock.clone(),
    };
    let webhook = langfuse::LangfuseWebhook {
        committer: parts.committer.clone(),
        keyring: parts.keyring.clone(),
        clock: parts.clock.clone(),
        settings: langfuse::Settings {
            signing_secrets: parts.config.receivers.langfuse.signing_secrets.clone(),
            tolerance: parts.config.receivers.langfuse.signature_tolerance,
        },
        forward: parts.forward.clone(),
    };
    let langfuse_api = langfuse::public::LangfusePublic {
        committer: parts.committer.clone(),
        keyring: parts.keyring.clone(),
        clock: parts.clock.clone(),
        metrics: parts.metrics.clone(),
        forward: parts.forward.clone(),
        store: parts.store.clone(),
    };
    let api = Api {
        store: parts.store.clone(),
        committer: parts.committer.clone(),
        keyring: parts.keyring.clone(),
        clock: parts.clock.clone(),
        presence: parts.presence.clone(),
        start_grace: parts.start_grace,
        rules: parts.rules.clone(),
        prices: parts.prices.clone(),
        stop: parts.stop.clone(),
        streams: Arc::new(Semaphore::new(api::STREAMS_MAX)),
        ids: parts.ids.clone(),
        refusals: api::RefusalBudget::default(),
    };
    let pings = ping::Pings {
        committer: parts.committer.clone(),
        keyring: parts.keyring.clone(),
        clock: parts.clock.clone(),
        store: parts.store.clone(),
    };
    let alerts = alertmanager::AlertmanagerWebhook {
        committer: parts.committer.clone(),
        keyring: parts.keyring.clone(),
        clock: parts.clock.clone(),
    };
    let exporter = PrometheusExporter::new(
        parts.store.clone(),
        parts.metrics.clone(),
        parts.keyring.clone(),
        parts.config.metrics.needs_key(bound.ip()),
        parts.clock.clone(),
    );
    let commands = Control { committer: parts.committer.clone(), keyring: parts.keyring.clone() };
    let router = counted(heartbeat::routes(heartbeats), parts, "heartbeat")
        .merge(counted(langfuse::routes(webhook), parts, "langfuse"))
        .merge(counted(langfuse::public::routes(langfuse_api), parts, "langfuse"))
        .merge(counted(otlp::http::routes(parts.otlp()), parts, "otlp_http"))
        .merge(counted(ping::routes(pings), parts, "ping"))
        .merge(counted(alertmanager::routes(alerts), parts, "alertmanager"))
        .merge(control::routes(commands))
        .merge(api::routes(api))
        .merge(prometheus::routes(exporter))
        .merge(probes::routes(probes::Dependencies { board: parts.board.clone(), keyring: parts.keyring.clone() }))
        .merge(parts.health());
    // What is passed on to another Langfuse is that one's API, and documented there.
    let passed_on = forward::proxy::routes(parts.forward.clone(), parts.keyring.clone());
    with_fallbacks(api::docs::with_docs(router).merge(passed_on))
}

impl Parts {
    fn otlp(&self) -> otlp::Otlp {
        otlp::Otlp {
            committer: self.committer.clone(),
            keyring: self.keyring.for_telemetry(),
            clock: self.clock.clone(),
            limits: otlp::Limits::default(),
            prices: self.prices.clone(),
            metrics: self.metrics.clone(),
            forward: self.forward.clone(),
            telling: self.telling.clone(),
            identity: self.config.receivers.otlp_identity.clone(),
            projects: self.rules.clone(),
        }
    }

    fn health(&self) -> OpenApiRouter {
        HealthRoutes { store: self.store.clone() }.routes()
    }
}

fn with_fallbacks(router: Router) -> Router {
    router
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        })
}

/// Counts what a receiver answers.
fn counted(router: OpenApiRouter, parts: &Parts, receiver: &'static str) -> OpenApiRouter {
    router.layer(MapResponseLayer::new(count(parts, receiver)))
}

fn count(parts: &Parts, receiver: &'static str) -> impl Fn(Response) -> Response + Clone + Send + Sync + 'static {
    let metrics = parts.metrics.clone();
    move |response| {
        metrics.ingest_request(receiver, outcome(&response));
        response
    }
}

fn outcome(response: &Response) -> IngestOutcome {
    // gRPC says 200 and tells the outcome in a header of its own: 14 is UNAVAILABLE, 13 INTERNAL.
    let grpc = response.headers().get("grpc-status").and_then(|v| v.to_str().ok());
    match (response.status(), grpc) {
        (_, Some("14")) | (StatusCode::SERVICE_UNAVAILABLE, _) => IngestOutcome::Overloaded,
        (_, Some("13")) => IngestOutcome::Failed,
        (StatusCode::TOO_MANY_REQUESTS, _) => IngestOutcome::Throttled,
        (status, _) if status.is_server_error() => IngestOutcome::Failed,
        (status, _) if status.is_client_error() => IngestOutcome::Refused,
        (_, Some(code)) if code != "0" => IngestOutcome::Refused,
        _ => IngestOutcome::Accepted,
    }
}
