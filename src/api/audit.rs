//! The audit chain: who changed what, and who was refused.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, agents, schema};
use crate::http::{ApiError, Query, doc};
use crate::ids::hex;
use crate::model::{Actor, AuditRow, Decision, Scope};
use crate::store::AuditQuery;

/// Rows of one answer when nothing is said.
const LIMIT_DEFAULT: usize = 100;
/// Rows of one answer at most.
const LIMIT_MAX: usize = 1000;

pub fn routes(api: Api) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list)).with_state(api)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Page {
    /// Rows at most.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<String>,
    /// Only rows with a lower number: the `seq` of the last one of the page before.
    #[param(value_type = Option<u64>, minimum = 1)]
    before: Option<String>,
    /// The project; without it, the key's. Another one needs a global key.
    project: Option<String>,
}

/// A part of the audit chain.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditPage)]
pub struct Audit {
    /// The newest first.
    pub rows: Vec<View>,
}

/// A row of the audit chain.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditRow)]
pub struct View {
    /// Its place in the chain of the whole gateway, from 1.
    #[schema(example = 12)]
    pub seq: i64,
    /// When.
    #[schema(example = "2026-11-22T12:39:02Z")]
    pub time: String,
    /// Who; `null` only in a row that cannot be read.
    #[schema(required, value_type = Option<schema::Actor>)]
    pub actor: Option<Actor>,
    /// What: `agent.settings`, `key.revoke`.
    #[schema(example = "agent.pause")]
    pub action: String,
    /// To what: `agent 7 research-agent`.
    #[schema(example = "agent 7 research-agent")]
    pub target: String,
    /// What it was like before.
    pub before: Value,
    /// What it is like now.
    pub after: Value,
    /// `allowed` or `refused`.
    #[schema(required, value_type = Option<String>, example = "allowed")]
    pub decision: Option<Decision>,
    /// Why it was asked for, or why it was refused.
    #[schema(example = "")]
    pub reason: String,
    /// The command it led to.
    #[schema(required, example = json!(null))]
    pub command_id: Option<String>,
    /// The hash of the row before, in hexadecimal.
    pub prev_hash: String,
    /// The hash of this row.
    pub hash: String,
}

/// Who changed what, and who was refused, newest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "Audit", security(("api_key" = ["admin"])), params(Page),
    responses((status = 200, description = "A part of the chain", body = Audit), doc::Keyed, doc::Found, doc::Asked))]
async fn list(State(api): State<Api>, headers: HeaderMap, Query(page): Query<Page>) -> Result<Json<Audit>, ApiError> {
    let caller = api.authorize(&headers, Scope::Admin)?;
    let project = api.administered(&caller, page.project.as_deref()).await?;
    let limit = agents::number("limit", page.limit.as_deref(), LIMIT_DEFAULT, 1, LIMIT_MAX)?;
    let before = agents::number("before", page.before.as_deref(), usize::MAX >> 1, 1, usize::MAX >> 1)?;
    let before = i64::try_from(before).unwrap_or(i64::MAX);
    let rows = api.store.audit(AuditQuery { project: Some(project), before, limit }).await?;
    Ok(Json(Audit { rows: rows.iter().map(view).collect() }))
}

fn view(row: &AuditRow) -> View {
    let (seq, time) = (row.seq, row.at.to_string());
    let (prev_hash, hash) = (hex(&row.prev_hash), hex(&row.hash));
    match row.deed() {
        Some(deed) => View {
            seq,
            time,
            actor: Some(deed.actor),
            action: deed.action,
            target: deed.target,
            before: deed.before,
            after: deed.after,
            decision: Some(deed.decision),
            reason: deed.reason,
            command_id: deed.command_id.map(|id| id.to_string()),
            prev_hash,
            hash,
        },
        // A row that somebody damaged is shown as far as it goes.
        None => View {
            seq,
            time,
            actor: None,
            action: String::new(),
            target: String::new(),
            before: Value::Null,
            after: Value::Null,
            decision: None,
            reason: "this row cannot be read; run `pulsegate audit verify`".into(),
            command_id: None,
            prev_hash,
            hash,
        },
    }
}
