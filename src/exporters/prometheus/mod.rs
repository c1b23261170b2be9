//! `GET /metrics`: the fleet from stored state and the gateway's own counters, in both of Prometheus' text formats.

pub mod fleet;
pub mod negotiate;
pub mod process;
pub mod query;
pub mod stream;
pub mod text;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tracing::warn;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::fleet::FleetText;
use self::query::{Selection, Shard};
use self::stream::Page;
use self::text::Format;
use crate::clock::Clock;
use crate::http::auth::Keyring;
use crate::http::{ApiError, doc};
use crate::model::{AgentId, ProjectId, Scope};
use crate::store::{AgentRow, Store, StoreError};
use crate::telemetry::ProcessMetrics;

/// How many agents are read from the store at a time.
const SCAN_ROWS: usize = 1000;
/// How many answers may be under way at once. Each holds the rows as they were when it began.
const SCRAPES_MAX: usize = 8;

/// Everything `GET /metrics` needs. Cheap to clone.
#[derive(Clone)]
pub struct PrometheusExporter {
    store: Arc<dyn Store>,
    process: ProcessMetrics,
    keyring: Keyring,
    require_key: bool,
    clock: Clock,
    scrapes: Arc<Semaphore>,
}

impl PrometheusExporter {
    /// An exporter. With `require_key` a scraper needs a key with [`Scope::Read`] and sees the agents of that key's
    /// project; without it, it sees all.
    pub fn new(
        store: Arc<dyn Store>,
        process: ProcessMetrics,
        keyring: Keyring,
        require_key: bool,
        clock: Clock,
    ) -> Self {
        Self { store, process, keyring, require_key, clock, scrapes: Arc::new(Semaphore::new(SCRAPES_MAX)) }
    }

    /// The text of what `selection` asks for, of `project` or of all.
    async fn page(&self, selection: Selection, project: Option<ProjectId>, format: Format) -> Result<Page, StoreError> {
        let fleet = if selection.agents { Some(self.fleet(selection.shard, project, format).await?) } else { None };
        let mut head = Vec::new();
        if selection.process {
            process::write(&mut head, self.process.registry(), format);
        }
        Ok(Page::new(format, head, fleet))
    }

    async fn fleet(&self, shard: Shard, project: Option<ProjectId>, format: Format) -> Result<FleetText, StoreError> {
        let mut rows: Vec<Arc<AgentRow>> = Vec::new();
        let (mut after, mut count) = (AgentId(0), 0);
        loop {
            let chunk = self.store.scan_agents(after, SCAN_ROWS).await?;
            let Some(last) = chunk.last() else { break };
            after = last.id;
            count += chunk.len();
            rows.extend(chunk.into_iter().filter(|r| shard.holds(r.id) && project.is_none_or(|p| r.key.project == p)));
        }
        self.process.agents(count);
        // Read after the agents, so that no agent of a new project is without its name.
        let projects: HashMap<_, _> = self.store.projects().await?.into_iter().map(|p| (p.id, p.name)).collect();
        Ok(FleetText::new(rows, &projects, self.clock.now(), format))
    }
}

/// `GET /metrics`.
pub fn routes(exporter: PrometheusExporter) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(metrics)).with_state(exporter)
}

/// All metrics, of the fleet and of the gateway, for Prometheus.
///
/// Open while the gateway listens on a loopback address only, unless configured otherwise; else a key with the scope `read`
/// is needed and shows the agents of its project.
#[utoipa::path(get, path = "/metrics", tag = "Metrics", security((), ("api_key" = ["read"])),
    params(("collect[]" = Option<Vec<String>>, Query, description = "Only `process` or only `agents`"),
        ("shard" = Option<String>, Query, description = "Part i of n of the agents, as `i/n`", example = "0/4")),
    responses((status = 200, description = "Prometheus text 0.0.4, or OpenMetrics where asked for", content((String = "text/plain"), (String = "application/openmetrics-text"))),
        doc::Unreadable, doc::Keyed))]
async fn metrics(
    State(exporter): State<PrometheusExporter>,
    headers: HeaderMap,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, ApiError> {
    let project = match exporter.require_key {
        true => Some(exporter.keyring.authorize(&headers, Scope::Read)?.project),
        false => None,
    };
    let Query(query) = query.map_err(|e| ApiError::new(StatusCode::BAD_REQUEST, e.body_text()))?;
    let selection = Selection::parse(&query)?;
    let permit = Arc::clone(&exporter.scrapes)
        .try_acquire_owned()
        .map_err(|_| ApiError::unavailable(format!("{SCRAPES_MAX} scrapes are already being answered"), 1))?;
    let format = negotiate::format(&headers);
    let page = exporter.page(selection, project, format).await.map_err(|error| {
        warn!(%error, "could not read the fleet for a scrape");
        ApiError::unavailable("the store cannot be read at the moment; /metrics?collect[]=process works without it", 5)
    })?;
    let gzip = negotiate::gzip(&headers);
    let mut response = stream::body(page, gzip, permit).into_response();
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    answer.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    if gzip {
        answer.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}
