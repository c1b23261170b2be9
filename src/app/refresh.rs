//! Keys and projects can be changed by the command line while the gateway runs; it looks again often enough that a
//! revoked key stops working within a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use super::rules::ConfigRules;
use crate::http::auth::Keyring;
use crate::store::{Store, StoreError};

/// How often keys and projects are read again.
const PERIOD: Duration = Duration::from_millis(500);

/// Reads keys and projects once.
pub async fn refresh(store: &dyn Store, keyring: &Keyring, rules: &ConfigRules) -> Result<(), StoreError> {
    rules.know(store.projects().await?);
    keyring.replace(store.keys().await?);
    Ok(())
}

/// Reads keys and projects again and again until `stop` becomes true.
pub async fn run(store: Arc<dyn Store>, keyring: Keyring, rules: Arc<ConfigRules>, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        if let Err(error) = refresh(&*store, &keyring, &rules).await {
            warn!(%error, "could not read keys and projects again; the ones in memory stay in force");
        }
    }
}
