//! Keys and projects can be changed by the command line while the gateway runs; it looks again often enough that a
//! revoked key stops working within a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use super::rules::ConfigRules;
use crate::clock::{Clock, Stopwatch};
use crate::exporters::forward::Forward;
use crate::http::auth::Keyring;
use crate::store::{Store, StoreError};

/// How often keys and projects are read again.
const PERIOD: Duration = Duration::from_millis(500);

/// At most this often it is written down when a key was used last.
const LAST_USED_EVERY: Duration = Duration::from_secs(60);

/// Keeps keys and projects in memory as they are in the store.
#[derive(Clone)]
pub struct Refresh {
    pub store: Arc<dyn Store>,
    pub keyring: Keyring,
    pub rules: Arc<ConfigRules>,
    pub clock: Clock,
    pub forward: Forward,
}

impl Refresh {
    /// Reads keys and projects once. Keys that have expired are no longer in force.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let projects = self.store.projects().await?;
        self.forward.know(projects.iter().map(|p| (p.id, p.name.clone())).collect());
        self.rules.know(projects);
        let now = self.clock.now();
        let keys = self.store.keys().await?;
        let good = keys.into_iter().filter(|key| key.is_good(now)).collect();
        self.keyring.replace_with_rates(good, |project| self.rules.rates(project));
        Ok(())
    }

    /// Reads keys and projects again and again until `stop` becomes true.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut since_written = Stopwatch::start();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            if let Err(error) = self.refresh().await {
                warn!(%error, "could not read keys and projects again; the ones in memory stay in force");
            }
            if since_written.elapsed() >= LAST_USED_EVERY {
                since_written = Stopwatch::start();
                self.write_last_used().await;
            }
        }
        self.write_last_used().await;
    }

    /// Writes down which keys were used since the last time.
    pub async fn write_last_used(&self) {
        let used = self.keyring.take_used();
        if !used.is_empty()
            && let Err(error) = self.store.touch_keys(used, self.clock.now()).await
        {
            warn!(%error, "could not write down when keys were used last");
        }
    }
}
