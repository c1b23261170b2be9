//! `POST /api/v1/webhooks/alertmanager`: alerts of Prometheus about agents.
//!
//! Source: webhook version 4 of <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>. Alertmanager
//! sends again only after a 5xx, so what is not about an agent is answered with 200, and says so.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Submit, json as wire};
use crate::clock::Clock;
use crate::http::auth::Keyring;
use crate::http::{ApiError, body, doc};
use crate::ingest::Committer;
use crate::ingest::intake::{Candidate, Intake, Notice, NoticeOutcome, Outcome, Tone, Work};
use crate::model::{DedupKey, ProjectId, Scope, Source, Timestamp};

/// The largest body, in bytes.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// Alerts of one request at most; Alertmanager groups them, and `max_alerts` limits a group.
const ALERTS_MAX: usize = 1000;
/// Longest text kept of an alert, in bytes.
const TEXT_BYTES_MAX: usize = 256;
/// Labels kept of an alert.
const LABELS_MAX: usize = 16;

/// The webhook.
#[derive(Clone)]
pub struct AlertmanagerWebhook<S = Committer> {
    /// Where alerts go.
    pub committer: S,
    /// Who may send them.
    pub keyring: Keyring,
    /// When they arrived.
    pub clock: Clock,
}

/// The route of the webhook.
pub fn routes<S: Submit>(webhook: AlertmanagerWebhook<S>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(receive)).with_state(webhook)
}

/// A group of alerts, as Alertmanager sends it. Fields that are not here are not looked at.
#[derive(Deserialize, ToSchema)]
#[schema(as = AlertmanagerGroup, example = json!({
    "version": "4", "groupKey": "{}:{alertname=\"AgentSlow\"}", "status": "firing", "receiver": "pulsegate",
    "alerts": [{"status": "firing", "labels": {"alertname": "AgentSlow", "agent": "research-agent", "severity": "critical"},
        "annotations": {"summary": "research-agent answers slowly"}, "startsAt": "2026-11-22T12:39:02Z",
        "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "4f2c1d3b5a697887"}]}))]
struct Group {
    /// The alerts.
    #[schema(max_items = 1000)]
    alerts: Vec<Alert>,
}

/// One alert.
#[derive(Deserialize, ToSchema)]
#[schema(as = AlertmanagerAlert)]
#[serde(rename_all = "camelCase")]
struct Alert {
    /// `firing` or `resolved`.
    status: String,
    /// `agent` names the agent. `severity` `warning`, `info` or `none` is trouble; anything else is an error.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// `summary`, or else `description`, is what people see.
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    /// When it began.
    #[serde(default)]
    starts_at: String,
    /// What it is called by.
    #[serde(default)]
    fingerprint: String,
}

/// What became of a group of alerts.
#[derive(Serialize, ToSchema)]
#[schema(as = AlertmanagerAnswer)]
struct Answer {
    received: bool,
    /// One for every alert, in their order.
    results: Vec<AlertResult>,
}

/// What became of an alert.
#[derive(Serialize, ToSchema)]
#[schema(as = AlertmanagerResult)]
struct AlertResult {
    /// `problem`, `recovery` or `ignored`.
    #[schema(example = "problem")]
    event: &'static str,
    /// The agent it was tied to.
    #[schema(required, example = 7)]
    agent_id: Option<i64>,
    /// Its name.
    #[schema(required, example = "research-agent")]
    agent: Option<String>,
    /// Whether a restart was queued for it.
    restart_queued: bool,
    /// Whether it had been told before.
    duplicate: bool,
    /// Why nothing came of it.
    #[schema(required, example = json!(null))]
    ignored: Option<&'static str>,
}

/// Alerts of a Prometheus Alertmanager (webhook version 4).
///
/// The label `agent` names the agent. A firing alert is trouble of that agent, and queues a restart if its policy says so;
/// the resolved one ends the trouble. Each alert counts once, however often it is sent.
#[utoipa::path(post, path = "/api/v1/webhooks/alertmanager", tag = "Webhooks", security(("api_key" = ["ingest"])),
    request_body = Group,
    responses((status = 200, description = "Taken in, or known to be none of ours", body = Answer), doc::Keyed, doc::Sent))]
async fn receive<S: Submit>(
    State(hook): State<AlertmanagerWebhook<S>>,
    request: Request,
) -> Result<Json<Answer>, ApiError> {
    let (parts, body) = request.into_parts();
    let project = hook.keyring.authorize(&parts.headers, Scope::Ingest)?.project;
    wire::check_content_type(&parts.headers)?;
    let body = body::read(&parts.headers, body, BODY_BYTES_MAX).await?;
    let group = read(&body)?;
    let now = hook.clock.now();
    let judged: Vec<Judged> = group.alerts.iter().map(judge).collect();
    let notices = group.alerts.iter().zip(&judged).filter_map(|(alert, judged)| match judged {
        Judged::Told(tone) => Some(notice(alert, *tone, project, now)),
        Judged::Ignored(_) => None,
    });
    let notices: Vec<Notice> = notices.collect();
    let outcomes = if notices.is_empty() { Vec::new() } else { hook.submit(project, body.len(), notices).await? };
    let mut outcomes = outcomes.into_iter();
    let results = judged.into_iter().map(|judged| match judged {
        Judged::Told(tone) => outcomes.next().map_or_else(|| ignored("not taken in"), |outcome| result(tone, outcome)),
        Judged::Ignored(why) => ignored(why),
    });
    Ok(Json(Answer { received: true, results: results.collect() }))
}

/// Reads a group; the error names the field that is wrong.
fn read(body: &[u8]) -> Result<Group, ApiError> {
    let text = wire::text(body)?;
    let wrong = |path: &str, kind, msg: String| {
        let loc: Vec<Value> =
            std::iter::once("body").chain(path.split('.').filter(|p| *p != ".")).map(Value::from).collect();
        ApiError::invalid(&[wire::wrong(&loc, kind, msg)])
    };
    let mut reader = serde_json::Deserializer::from_str(text);
    let group: Group = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
        let path = e.path().to_string();
        let path = path.replace('[', ".").replace(']', "");
        if e.inner().is_data() {
            wrong(&path, "value_error", e.inner().to_string())
        } else {
            wire::invalid(text, e.inner())
        }
    })?;
    reader.end().map_err(|e| wire::invalid(text, &e))?;
    if group.alerts.len() > ALERTS_MAX {
        let msg = format!("List should have at most {ALERTS_MAX} items, not {}; set max_alerts", group.alerts.len());
        return Err(wrong("alerts", "too_long", msg));
    }
    Ok(group)
}

enum Judged {
    Told(Tone),
    /// Why not.
    Ignored(&'static str),
}

fn judge(alert: &Alert) -> Judged {
    if alert.labels.get("agent").is_none_or(|agent| agent.trim().is_empty()) {
        return Judged::Ignored("it has no label agent");
    }
    // Alerts made of this gateway's own metrics know nothing that the agent's state does not.
    if alert.labels.get("job").is_some_and(|job| job == "pulsegate") {
        return Judged::Ignored("it comes from the gateway's own metrics");
    }
    match (alert.status.as_str(), alert.labels.get("severity").map(String::as_str)) {
        ("resolved", _) => Judged::Told(Tone::Recovery),
        ("firing", Some("warning" | "info" | "none")) => Judged::Told(Tone::Warning),
        ("firing", _) => Judged::Told(Tone::Error),
        _ => Judged::Ignored("its status is neither firing nor resolved"),
    }
}

fn notice(alert: &Alert, tone: Tone, project: ProjectId, received_at: Timestamp) -> Notice {
    let cut = |text: &str| text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned();
    let name = alert.labels.get("alertname").map_or("alert", String::as_str);
    let said = alert.annotations.get("summary").or_else(|| alert.annotations.get("description"));
    let labels: serde_json::Map<String, Value> =
        alert.labels.iter().take(LABELS_MAX).map(|(k, v)| (cut(k), cut(v).into())).collect();
    // Without a fingerprint the labels are what an alert is called by.
    let called = if alert.fingerprint.is_empty() { json!(alert.labels) } else { json!(alert.fingerprint) };
    let content = json!([called, alert.starts_at, alert.status]).to_string();
    let agent = alert.labels.get("agent").map_or("", String::as_str);
    Notice {
        source: Source::Alertmanager,
        candidates: vec![Candidate { name: agent.to_owned(), matched_by: "labels.agent".to_owned() }],
        message: cut(&said.map_or_else(|| name.to_owned(), |said| format!("{name}: {said}"))),
        tone,
        dedup: Some(DedupKey::of(project, "alertmanager", content.as_bytes())),
        received_at,
        evidence: json!({
            "alertname": cut(name), "fingerprint": cut(&alert.fingerprint), "starts_at": cut(&alert.starts_at),
            "status": cut(&alert.status), "labels": labels,
        }),
    }
}

fn result(tone: Tone, outcome: NoticeOutcome) -> AlertResult {
    let NoticeOutcome { agent, restart_queued, duplicate } = outcome;
    let ignored = agent.is_none().then_some("there is no such agent; kept as an event of the project");
    let (agent_id, agent) = agent.map(|(id, name, _)| (id.0, name)).unzip();
    let event = if tone == Tone::Recovery { "recovery" } else { "problem" };
    AlertResult { event, agent_id, agent, restart_queued, duplicate, ignored }
}

const fn ignored(why: &'static str) -> AlertResult {
    AlertResult {
        event: "ignored",
        agent_id: None,
        agent: None,
        restart_queued: false,
        duplicate: false,
        ignored: Some(why),
    }
}

impl<S: Submit> AlertmanagerWebhook<S> {
    async fn submit(
        &self,
        project: ProjectId,
        bytes: usize,
        notices: Vec<Notice>,
    ) -> Result<Vec<NoticeOutcome>, ApiError> {
        let intake = Intake { project, dedup: None, bytes, work: Work::Notices(notices) };
        match self.committer.submit(intake).await? {
            Outcome::Noticed(outcomes) => Ok(outcomes),
            other => {
                tracing::error!(?other, "unexpected outcome of alerts");
                Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error"))
            }
        }
    }
}
