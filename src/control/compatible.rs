//! The wire of `clevagent-runner` 0.1: a bare array of commands, handed out once, and one result for each.
//!
//! An object instead of the array kills that runner; it has no claim step, no identity and no second try at a result.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Control;
use crate::http::{ApiError, FieldError, Path, Peer, body, doc};
use crate::ingest::intake::{Outcome, Refusal, Verdict};
use crate::ingest::{Audited, Intake, Work};
use crate::model::{Actor, CommandId, Scope};

/// The largest result body.
const RESULT_BYTES_MAX: usize = 64 << 10;

pub fn routes(control: Control) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(hand_out)).routes(routes!(result)).with_state(control)
}

/// A command as a runner gets it.
#[derive(Serialize, ToSchema)]
struct Order {
    /// Goes into the address of the result.
    #[schema(example = "019390a1-7c53-7000-8000-3f1f0c9a1b2c")]
    id: String,
    /// `restart`.
    #[schema(example = "restart")]
    action: &'static str,
    /// As the runner reported it.
    #[schema(example = "docker")]
    r#type: String,
    /// As the runner reported it.
    #[schema(example = "my-bot")]
    target: String,
}

/// Commands for this runner; each is handed out once.
#[utoipa::path(get, path = "/api/v1/commands", tag = "Runners", security(("api_key" = ["runner"])),
    responses((status = 200, description = "A bare array, also when there is none", body = Vec<Order>), doc::Keyed))]
async fn hand_out(
    State(control): State<Control>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Json<Vec<Order>>, ApiError> {
    let caller = control.keyring.authorize(&headers, Scope::Runner)?;
    let work = Work::HandOut { peer: peer.to_string() };
    let outcome = control.committer.submit(Intake { project: caller.project, dedup: None, bytes: 1, work }).await?;
    let Outcome::Commands(commands) = outcome else { return Ok(Json(vec![])) };
    // `type` and `target` must equal the runner's --watch entry character for character, as it reported them.
    let command = |c: crate::model::Command| Order {
        id: c.id.to_string(),
        action: "restart",
        r#type: c.target.kind,
        target: c.target.target,
    };
    Ok(Json(commands.into_iter().map(command).collect()))
}

/// What became of a command.
#[derive(Deserialize, ToSchema)]
struct ResultBody {
    /// `completed`, `failed` or `rejected`.
    #[schema(pattern = "^(completed|failed|rejected)$")]
    status: String,
    /// The runner's words.
    message: Option<String>,
}

/// That a result was taken in.
#[derive(Serialize, ToSchema)]
struct ResultTaken {
    ok: bool,
    /// The command's id.
    #[schema(example = "019390a1-7c53-7000-8000-3f1f0c9a1b2c")]
    id: String,
    /// Where the command stands now.
    #[schema(example = "succeeded")]
    state: &'static str,
}

/// A runner tells what became of a command.
#[utoipa::path(post, path = "/api/v1/commands/{id}/result", tag = "Runners", security(("api_key" = ["runner"])), params(("id" = String, Path, description = "The command's id")),
    request_body(content = ResultBody, example = json!({"status": "completed", "message": "Restarted docker:my-bot"})),
    responses((status = 200, description = "Taken in", body = ResultTaken), doc::Keyed, doc::Found, doc::Sent))]
async fn result(
    State(control): State<Control>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<ResultTaken>, ApiError> {
    let (parts, body) = request.into_parts();
    let caller = control.keyring.authorize(&parts.headers, Scope::Runner)?;
    let bytes = body::read(&parts.headers, body, RESULT_BYTES_MAX).await?;
    let wrong = |msg: String| ApiError::invalid(&[FieldError { loc: vec!["body".into()], msg, kind: "json_invalid" }]);
    let told: ResultBody = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
    let verdict = match told.status.as_str() {
        "completed" => Verdict::Completed,
        "failed" => Verdict::Failed,
        "rejected" => Verdict::Rejected,
        other => {
            return Err(ApiError::invalid(&[FieldError {
                loc: vec!["body".into(), "status".into()],
                msg: format!("{other:?} is not a result; use \"completed\", \"failed\" or \"rejected\""),
                kind: "enum",
            }]));
        }
    };
    let id: uuid::Uuid = id.parse().map_err(|_| ApiError::not_found("Command"))?;
    let work = Work::CommandResult { id: CommandId(id), verdict, peer: peer.to_string(), message: told.message };
    let address = Peer::of(&parts.extensions).0.map(|ip| ip.to_string());
    let work = Work::Audited(Box::new(Audited { actor: Actor::key(caller.key_id, address), work }));
    let outcome =
        control.committer.submit(Intake { project: caller.project, dedup: None, bytes: bytes.len(), work }).await?;
    match outcome {
        Outcome::Result(Ok(command)) => {
            Ok(Json(ResultTaken { ok: true, id: command.id.to_string(), state: command.state.word() }))
        }
        Outcome::Result(Err(Refusal::NoCommand)) => Err(ApiError::not_found("Command")),
        _ => Err(ApiError::unavailable("the result was not taken in", 1)),
    }
}
