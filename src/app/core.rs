//! The gateway without its listeners: the lane, the evaluator and the routes over one store. The listeners serve it; the
//! simulation drives it as it is.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tracing::warn;

use super::rules::ConfigRules;
use super::{MEMORY, Options, Refresh, StartError, first_start, forward, probes, routes};
use crate::config::Config;
use crate::evaluator::{self, Evaluator};
use crate::exporters::forward::Forward;
use crate::http::auth::Keyring;
use crate::ingest::{Committer, CommitterConfig, SharedPresence};
use crate::prices::Prices;
use crate::receivers::probes::Probing;
use crate::store::Store;
use crate::telemetry::ProcessMetrics;

/// A gateway that runs, to be served.
pub struct Core {
    /// What is served where.
    pub routers: Routers,
    /// The key made up at the first start, to be told once.
    pub first_key: Option<String>,
    /// Reads keys and projects again.
    pub refresh: Refresh,
    /// The parts that run.
    pub tasks: Tasks,
}

/// What is served where. Requests can be taken in as long as one of these lives.
pub struct Routers {
    /// Port 4319.
    pub http: Router,
    /// Port 4318.
    pub otlp_http: Router,
    /// Port 4317.
    pub otlp_grpc: Router,
}

/// What works in the background.
pub struct Tasks {
    /// Tells everything to stop when it becomes true.
    pub stop: watch::Sender<bool>,
    /// What needs the lane.
    pub background: Vec<JoinHandle<()>>,
    /// The committer's lane, which ends when the last handle to it is gone.
    pub lane: JoinHandle<()>,
    /// Tells pass-through to stop. It is told last: what the lane committed is still to be passed on.
    pub stop_forward: watch::Sender<bool>,
    /// Pass-through, one task a destination.
    pub forward: Vec<JoinHandle<()>>,
}

impl Tasks {
    /// Tells everything to stop and waits for it, `servers` (what accepts) first.
    pub async fn stop(self, servers: Vec<JoinHandle<()>>) {
        let _ = self.stop.send(true);
        // Then the background, which hands in one last time; then the lane runs dry.
        for task in servers.into_iter().chain(self.background).chain([self.lane]) {
            if let Err(error) = task.await {
                warn!(%error, "a task did not end well");
            }
        }
        let _ = self.stop_forward.send(true);
        for task in self.forward {
            if let Err(error) = task.await {
                warn!(%error, "pass-through did not end well");
            }
        }
    }

    /// What ends everything at once, as a crash does.
    pub fn abort_handles(&self) -> Vec<AbortHandle> {
        self.background.iter().chain([&self.lane]).chain(&self.forward).map(JoinHandle::abort_handle).collect()
    }
}

impl Core {
    /// Starts a gateway over `store` whose port 4319 is bound to `bound`.
    pub async fn start(
        config: Config,
        options: &Options,
        store: Arc<dyn Store>,
        bound: SocketAddr,
    ) -> Result<Self, StartError> {
        let first_key = first_start::prepare(&*store, &config, options).await?;
        let keyring = Keyring::new(options.clock.clone(), config.server.wrong_keys_per_minute);
        let config = Arc::new(config);
        let rules = Arc::new(ConfigRules::new(config.clone()));
        let metrics = ProcessMetrics::new();
        let (stop_forward, forward_stopped) = watch::channel(false);
        let destinations = forward::destinations(&config, &options.data_dir);
        let (forward, forwarding) =
            Forward::start(destinations, &options.clock, &options.ids, &metrics, &forward_stopped)?;
        let refresh = Refresh {
            store: store.clone(),
            keyring: keyring.clone(),
            rules: rules.clone(),
            clock: options.clock.clone(),
            forward: forward.clone(),
        };
        refresh.refresh().await?;

        let presence = evaluator::restore_presence(&*store, &options.clock).await?;
        let presence = SharedPresence::new(presence);
        let (committer, lane) = Committer::start(CommitterConfig {
            store: store.clone(),
            rules: rules.clone(),
            clock: options.clock.clone(),
            ids: options.ids.clone(),
            presence: presence.clone(),
            start_grace: config.control.start_grace,
            metrics: metrics.clone(),
            queue_requests_max: config.ingest.queue_requests_max,
            queue_bytes_max: config.ingest.queue_bytes_max,
            batch_requests_max: config.ingest.batch_requests_max,
        });
        let prices = match config.prices.compute {
            true => Prices::load(config.prices.file.as_deref())?,
            false => Prices::none(),
        };
        let (stop, stopped) = watch::channel(false);
        let probing = Probing {
            committer: committer.clone(),
            store: store.clone(),
            clock: options.clock.clone(),
            ids: options.ids.clone(),
            metrics: metrics.clone(),
        };
        let (board, probing) = probing.start(probes::targets(&config, &rules), &stopped)?;
        let parts = routes::Parts {
            store: store.clone(),
            committer: committer.clone(),
            keyring: keyring.clone(),
            clock: options.clock.clone(),
            ids: options.ids.clone(),
            presence: presence.clone(),
            start_grace: config.control.start_grace,
            rules: rules.clone(),
            metrics: metrics.clone(),
            telling: Default::default(),
            prices,
            config: config.clone(),
            forward,
            board,
            stop: stopped.clone(),
        };
        let routers = Routers {
            http: routes::http(&parts, bound),
            otlp_http: routes::otlp_http(&parts),
            otlp_grpc: routes::otlp_grpc(&parts),
        };
        let evaluator = Evaluator {
            store: store.clone(),
            committer,
            clock: options.clock.clone(),
            presence,
            metrics,
            rules: rules.clone(),
            memory: MEMORY,
        };
        let mut background =
            vec![tokio::spawn(evaluator.run(stopped.clone())), tokio::spawn(refresh.clone().run(stopped))];
        background.extend(probing);
        Ok(Self {
            routers,
            first_key,
            refresh,
            tasks: Tasks { stop, background, lane, stop_forward, forward: forwarding },
        })
    }
}
