//! The wire of `clevagent-runner` 0.1: a bare array of commands, handed out once, and one result for each.
//!
//! An object instead of the array kills that runner; it has no claim step, no identity and no second try at a result.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Control;
use crate::http::{ApiError, FieldError, Path, body};
use crate::ingest::intake::{Outcome, Refusal, Verdict};
use crate::ingest::{Intake, Work};
use crate::model::{CommandId, Scope};

/// The largest result body.
const RESULT_BYTES_MAX: usize = 64 << 10;

pub fn routes(control: Control) -> axum::Router {
    axum::Router::new()
        .route("/api/v1/commands", get(hand_out))
        .route("/api/v1/commands/{id}/result", post(result))
        .with_state(control)
}

async fn hand_out(
    State(control): State<Control>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Json<Vec<Value>>, ApiError> {
    let caller = control.keyring.authorize(&headers, Scope::Runner)?;
    let work = Work::HandOut { peer: peer.to_string() };
    let outcome = control.committer.submit(Intake { project: caller.project, dedup: None, bytes: 1, work }).await?;
    let Outcome::Commands(commands) = outcome else { return Ok(Json(vec![])) };
    // `type` and `target` must equal the runner's --watch entry character for character, as it reported them.
    let command = |c: crate::model::Command| json!({"id": c.id.to_string(), "action": "restart", "type": c.target.kind, "target": c.target.target});
    Ok(Json(commands.into_iter().map(command).collect()))
}

#[derive(Deserialize)]
struct ResultBody {
    status: String,
    message: Option<String>,
}

async fn result(
    State(control): State<Control>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
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
    let outcome =
        control.committer.submit(Intake { project: caller.project, dedup: None, bytes: bytes.len(), work }).await?;
    match outcome {
        Outcome::Result(Ok(command)) => {
            Ok(Json(json!({"ok": true, "id": command.id.to_string(), "state": command.state.word()})))
        }
        Outcome::Result(Err(Refusal::NoCommand)) => Err(ApiError::not_found("Command")),
        _ => Err(ApiError::unavailable("the result was not taken in", 1)),
    }
}
