//! The wiring: everything is built here, started and stopped in order, by `main` as by tests.

mod core;
mod edge;
mod first_start;
mod forward;
mod listeners;
mod probes;
mod refresh;
mod routes;
mod rules;
mod test_clock;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::Config;
use crate::exporters::forward::ForwardError;
use crate::http::serve;
use crate::http::tls::TlsError;
use crate::ids::Ids;
use crate::prices::PriceFileError;
use crate::receivers::probes::ProbeError;
use crate::store::sqlite::SqliteStore;
use crate::store::{Store, StoreError};

use edge::Edges;

pub use self::core::{Core, Routers, Tasks};
pub use listeners::Addresses;
pub use refresh::Refresh;

/// How long spans and dedup keys are remembered: a sender's retry comes well within it.
const MEMORY: Duration = Duration::from_secs(2 * 3600);
/// Everything must have ended this long after the stop signal.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What a gateway is started with besides its configuration.
pub struct Options {
    /// Where the database, the first key and `listeners.json` are.
    pub data_dir: PathBuf,
    /// The first key, chosen by hand (`PULSEGATE_API_KEY`).
    pub api_key: Option<String>,
    /// The clock.
    pub clock: Clock,
    /// Where ids come from.
    pub ids: Ids,
}

/// Why a gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("data directory {}: {problem}", .path.display())]
    DataDir {
        /// The directory or a file in it.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The price list cannot be used.
    #[error("prices.file: {0}")]
    Prices(#[from] PriceFileError),
    /// TLS of a listener cannot be set up.
    #[error("cannot use the certificates of {key}: {problem}")]
    Tls {
        /// The configuration's key.
        key: &'static str,
        /// Which file, and what is wrong with it.
        problem: TlsError,
    },
    /// A dependency cannot be probed.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A pass-through destination cannot be used.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// A clock for tests is not for this data directory, or not with these endpoints.
    #[error("--test-clock: {0}")]
    TestClock(&'static str),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({key}): {problem}; choose another address there, or stop what uses it")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The configuration's key.
        key: &'static str,
        /// Why.
        problem: std::io::Error,
    },
}

/// A running gateway.
pub struct App {
    addresses: Addresses,
    store: Arc<dyn Store>,
    refresh: Refresh,
    /// What accepts; these end first.
    servers: Vec<JoinHandle<()>>,
    tasks: Tasks,
}

impl App {
    /// Opens the store, binds every address and starts to serve.
    pub async fn start(config: Config, options: Options) -> Result<Self, StartError> {
        make_data_dir(&options.data_dir)?;
        let listeners = listeners::bind(&config).await?;
        test_clock::guard(&options.data_dir, options.clock.is_driven(), &listeners.addresses()?)?;
        let path = database(&config, &options.data_dir);
        let spans_max = config.store.spans_bytes_max;
        let opened = tokio::task::spawn_blocking(move || SqliteStore::open_with(&path, spans_max)).await;
        let store = opened.map_err(|e| StoreError::Unavailable(e.to_string()))??;
        Self::run(config, options, Arc::new(store), listeners).await
    }

    async fn run(
        config: Config,
        options: Options,
        store: Arc<dyn Store>,
        listeners: listeners::Bound,
    ) -> Result<Self, StartError> {
        let addresses = listeners.addresses()?;
        let Core { routers, first_key, refresh, mut tasks } =
            Core::start(config.clone(), &options, store.clone(), addresses.http).await?;
        let edges = Edges::new(&config, &*store, &refresh.keyring, &options).await?;
        let start = |listener: TcpListener, router, serving| {
            tokio::spawn(serve::serve(listener, router, serving, tasks.stop.subscribe()))
        };
        let servers = vec![
            start(listeners.otlp_grpc, routers.otlp_grpc, edges.otlp_grpc.clone()),
            start(listeners.otlp_http, routers.otlp_http, edges.otlp_http.clone()),
            start(listeners.http, routers.http, edges.http.clone()),
        ];
        tasks.background.push(tokio::spawn(edges.keep_certificates_fresh(tasks.stop.subscribe())));
        listeners::write(&options.data_dir, &addresses)?;
        info!(
            http = %addresses.http, otlp_http = %addresses.otlp_http, otlp_grpc = %addresses.otlp_grpc,
            data_dir = %options.data_dir.display(), version = env!("CARGO_PKG_VERSION"), "listening"
        );
        if let Some(key) = first_key {
            first_start::greet(&key, &addresses);
        }
        Ok(Self { addresses, store, refresh, servers, tasks })
    }

    /// Where the gateway listens.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Where everything is kept.
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Reads keys and projects again at once, which otherwise happens twice a second.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        self.refresh.refresh().await
    }

    /// Writes down at once which keys were used, which otherwise happens once a minute.
    pub async fn write_last_used(&self) {
        self.refresh.write_last_used().await;
    }

    /// Stops accepting, finishes what was accepted, and ends within 10 s.
    pub async fn stop(self) {
        let orderly = self.tasks.stop(self.servers);
        if tokio::time::timeout(STOP_TIMEOUT, orderly).await.is_err() {
            warn!("not everything had ended {} s after the stop signal", STOP_TIMEOUT.as_secs());
        }
        info!("stopped");
    }
}

/// Where the database is.
pub fn database(config: &Config, data_dir: &Path) -> PathBuf {
    config.store.sqlite_path.clone().unwrap_or_else(|| data_dir.join("pulsegate.db"))
}

/// Makes the data directory, readable by its owner only.
pub fn make_data_dir(path: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| StartError::DataDir { path: path.into(), problem: e.to_string() })
}
