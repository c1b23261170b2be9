//! How each listener serves: limits, certificates and the keys that client certificates stand for.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use rustls::pki_types::ServerName;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{Level, info, warn};

use super::{Options, StartError};
use crate::config::{Config, ListenerTls, LogLevel, Server};
use crate::http::auth::Keyring;
use crate::http::edge::Edge;
use crate::http::serve::{Limits, Serving};
use crate::http::tls::{Tls, TlsFiles};
use crate::ids::Ids;
use crate::model::Caller;
use crate::store::Store;

/// Files and sockets of the gateway itself: the database, its readers, the log, runtimes.
const OWN_FILES: u64 = 200;
const LISTENERS: u64 = 3;

/// How each listener serves.
pub struct Edges {
    pub http: Serving,
    pub otlp_http: Serving,
    pub otlp_grpc: Serving,
    /// Certificates that are looked after, and how often.
    certificates: Vec<(Arc<Tls>, Duration)>,
}

impl Edges {
    /// Reads all certificates. Makes one key for each client certificate that is named; they live in memory only.
    pub async fn new(
        config: &Config,
        store: &dyn Store,
        keyring: &Keyring,
        options: &Options,
    ) -> Result<Self, StartError> {
        let receivers = &config.receivers;
        let edge = Arc::new(Edge::new(level(config.telemetry.access_level), &options.ids, options.clock.clone()));
        let limits = limits(&config.server);
        let mut certificates = Vec::new();
        let mut keys = Vec::new();
        let mut servings = Vec::new();
        for (tls, key) in [
            (&receivers.http_tls, "receivers.http.tls"),
            (&receivers.otlp_http_tls, "receivers.otlp.http.tls"),
            (&receivers.otlp_grpc_tls, "receivers.otlp.grpc.tls"),
        ] {
            let tls = match tls {
                None => None,
                Some(settings) => {
                    let clients = clients(settings, store, &options.ids, &mut keys).await?;
                    let files = TlsFiles {
                        cert: settings.cert_file.clone(),
                        key: settings.key_file.clone(),
                        client_ca: settings.client_ca_file.clone(),
                    };
                    let tls = Tls::load(files, clients).map_err(|problem| StartError::Tls { key, problem })?;
                    let tls = Arc::new(tls);
                    certificates.push((tls.clone(), settings.reload_interval));
                    Some(tls)
                }
            };
            servings.push(Serving { limits, tls, edge: edge.clone() });
        }
        keyring.add_fixed(keys);
        let mut servings = servings.into_iter();
        let mut next = || servings.next().unwrap_or_else(|| Serving { limits, tls: None, edge: edge.clone() });
        Ok(Self { http: next(), otlp_http: next(), otlp_grpc: next(), certificates })
    }

    /// Reads certificates again, every so often and on SIGHUP, until `stop` becomes true.
    pub async fn keep_certificates_fresh(self, mut stop: watch::Receiver<bool>) {
        // Without certificates SIGHUP means what it always means.
        let Some(period) = self.certificates.iter().map(|(_, period)| *period).min() else { return };
        let mut hangup = signal(SignalKind::hangup()).map_err(|error| warn!(%error, "SIGHUP is not listened to")).ok();
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = hung_up(&mut hangup) => info!("SIGHUP: reading certificates again"),
                _ = stop.wait_for(|stop| *stop) => return,
            }
            for (tls, _) in &self.certificates {
                let (of, again) = (tls.cert_file().display().to_string(), tls.clone());
                match tokio::task::spawn_blocking(move || again.reload()).await {
                    Ok(Ok(true)) => info!(file = of, "a changed certificate is in use now"),
                    Ok(Ok(false)) => {}
                    Ok(Err(error)) => warn!(%error, "a certificate cannot be read; the one before stays in use"),
                    Err(error) => warn!(%error, "reading a certificate broke off"),
                }
            }
        }
    }
}

async fn hung_up(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// The names of client certificates with a key for each; the keys' rights are appended to `keys`.
async fn clients(
    settings: &ListenerTls,
    store: &dyn Store,
    ids: &Ids,
    keys: &mut Vec<(String, Caller)>,
) -> Result<Vec<(ServerName<'static>, HeaderValue)>, StartError> {
    let mut clients = Vec::new();
    for client in &settings.client_certificates {
        let project = store.ensure_project(&client.project).await?;
        let key = ids.api_key();
        // Both were checked when the configuration was read.
        let (Ok(name), Ok(value)) = (ServerName::try_from(client.name.clone()), HeaderValue::try_from(&key)) else {
            continue;
        };
        let key_id = format!("certificate {}", client.name).into();
        keys.push((key, Caller { project: project.id, key_id, scopes: client.scopes, global: false }));
        clients.push((name, value));
    }
    Ok(clients)
}

/// What the configuration says, as far as the system allows so many open files.
fn limits(server: &Server) -> Limits {
    let files = open_files_max();
    let possible = files.saturating_sub(OWN_FILES) / LISTENERS;
    let connections_max = server.max_connections.min(usize::try_from(possible).unwrap_or(usize::MAX)).max(1);
    if connections_max < server.max_connections {
        info!(
            connections_max,
            files,
            "each listener keeps fewer connections than server.max_connections, because the limit of open files is low (ulimit -n)"
        );
    }
    Limits {
        connections_max,
        first_request: server.first_request_timeout,
        headers: server.header_timeout,
        body: server.body_timeout,
        idle: server.idle_timeout,
        send: server.send_timeout,
    }
}

/// How many files may be open, after asking for as many as are allowed.
fn open_files_max() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_ok() {
        return limit.maximum.unwrap_or(u64::MAX);
    }
    limit.current.unwrap_or(u64::MAX)
}

const fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    }
}
