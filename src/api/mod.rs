//! The API that people and programs read the fleet by, and change agents with.

mod agents;
mod audit;
pub mod docs;
mod events;
mod filter;
mod health;
mod history;
mod identity;
mod keys;
mod maintenance;
mod projects;
mod record;
mod registrations;
pub mod schema;
mod stream;
mod view;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::sync::{Semaphore, watch};
use utoipa_axum::router::OpenApiRouter;

use crate::clock::Clock;
use crate::http::ApiError;
use crate::http::auth::Keyring;
use crate::ids::Ids;
use crate::ingest::{Committer, Rules, SharedPresence};
use crate::model::{Caller, ProjectId, Scope};
use crate::prices::Prices;
use crate::store::{Store, StoreError};

pub use health::HealthRoutes;
pub use record::RefusalBudget;
pub use stream::{STREAM_SLOW, STREAMS_MAX};

/// What the API works with.
#[derive(Clone)]
pub struct Api {
    /// Where everything is read.
    pub store: Arc<dyn Store>,
    /// Where changes are handed in.
    pub committer: Committer,
    /// The keys in force.
    pub keyring: Keyring,
    /// The clock.
    pub clock: Clock,
    /// When the gateway was accepting.
    pub presence: SharedPresence,
    /// How long after its start the gateway asks for no automatic restart.
    pub start_grace: Duration,
    /// What the configuration says.
    pub rules: Arc<dyn Rules>,
    /// What model calls cost whose cost nobody tells.
    pub prices: Prices,
    /// Becomes true when the gateway stops; streams end then.
    pub stop: watch::Receiver<bool>,
    /// How many more streams may be opened.
    pub streams: Arc<Semaphore>,
    /// Where ids and keys come from.
    pub ids: Ids,
    /// How many refusals may still be recorded.
    pub refusals: RefusalBudget,
}

impl Api {
    fn authorize(&self, headers: &HeaderMap, scope: Scope) -> Result<Caller, ApiError> {
        self.keyring.authorize(headers, scope)
    }

    async fn project_name(&self, id: ProjectId) -> Result<Arc<str>, ApiError> {
        let names: HashMap<_, _> = self.store.projects().await?.into_iter().map(|p| (p.id, p.name)).collect();
        names.get(&id).cloned().ok_or_else(|| ApiError::not_found("Project"))
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the store could not answer a read");
        Self::unavailable("the store cannot be read right now", 1)
    }
}

/// All routes that need a key.
pub fn routes(api: Api) -> OpenApiRouter {
    agents::routes(api.clone())
        .merge(audit::routes(api.clone()))
        .merge(events::routes(api.clone()))
        .merge(history::routes(api.clone()))
        .merge(identity::routes(api.clone()))
        .merge(keys::routes(api.clone()))
        .merge(maintenance::routes(api.clone()))
        .merge(projects::routes(api.clone()))
        .merge(registrations::routes(api.clone()))
        .merge(stream::routes(api))
}
