//! What happened to an agent by minute, hour or day: uptime, cost, tokens, results, calls.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, agents};
use crate::http::{ApiError, Path, Query, doc};
use crate::model::{HOUR_MINUTES, HourSums, MinuteRun, Presence, RollupBody, Scope, Timestamp};
use crate::store::{AgentRow, RollupQuery};

/// Buckets of one answer at most.
const BUCKETS_MAX: usize = 1500;
const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = HOUR_MINUTES * MINUTE_US;

pub fn routes(api: Api) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(history)).with_state(api)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// How wide a bucket is; an hour when nothing is said.
    #[param(value_type = Option<Resolution>)]
    resolution: Option<String>,
    /// Where to begin, RFC 3339; an hour, a day or a week back when nothing is said.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Where to end, RFC 3339; now when nothing is said.
    #[param(format = DateTime)]
    to: Option<String>,
}

/// How wide a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// Kept for a day.
    Minute,
    /// Kept as long as the project's events.
    Hour,
    /// Calendar days of the project's time zone, added up from hours.
    Day,
}

/// An agent's history.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AgentHistory)]
pub struct History {
    /// The agent's number.
    #[schema(example = 7)]
    pub agent_id: i64,
    /// Its name.
    #[schema(example = "research-agent")]
    pub agent: String,
    /// How wide a bucket is.
    pub resolution: Resolution,
    /// Where days begin and end.
    #[schema(example = "UTC")]
    pub timezone: String,
    /// The buckets in order of time; those of which nothing is known are left out.
    pub buckets: Vec<Bucket>,
}

/// What happened in one minute, hour or day. `null` is unknown, `0` is zero.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryBucket)]
pub struct Bucket {
    /// When it begins.
    #[schema(example = "2026-11-22T12:00:00Z")]
    pub start: String,
    /// The share of `watched_seconds` in which the agent was up, 0 to 1; `null` when it was not watched.
    #[schema(required, example = 0.99)]
    pub uptime: Option<f64>,
    /// Seconds in which the agent was up.
    #[schema(example = 3564.0)]
    pub up_seconds: f64,
    /// Seconds in which it was expected to be up and the gateway was there to know.
    #[schema(example = 3600.0)]
    pub watched_seconds: f64,
    /// Heartbeats of the agent itself.
    #[schema(example = 60)]
    pub heartbeats: u64,
    /// Finished runs.
    pub runs: u64,
    /// Successful results.
    pub results_success: u64,
    /// Failed results.
    pub results_failure: u64,
    /// Finished model calls.
    pub model_calls: u64,
    /// Finished tool calls.
    pub tool_calls: u64,
    /// Tokens of every kind; `null` when the agent never told of any.
    #[schema(required, example = 51230)]
    pub tokens: Option<u64>,
    /// Cost in US dollars; `null` when nobody ever told.
    #[schema(required, example = "0.31")]
    pub cost_usd: Option<String>,
}

/// What happened to an agent by minute, hour or day: uptime, cost, tokens, results, calls.
#[utoipa::path(get, path = "/api/v1/agents/{id}/history", tag = "Agents", security(("api_key" = ["read"])), params(("id" = String, Path, description = "The agent's number or name", example = "7"), Wanted),
    responses((status = 200, description = "What is known of that time", body = History), doc::Keyed, doc::Found, doc::Asked))]
async fn history(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Result<Json<History>, ApiError> {
    let caller = api.authorize(&headers, Scope::Read)?;
    let row = agents::find(&api, &caller, &id).await?;
    let wrong = |name: &str, problem: String| agents::wrong(vec!["query".into(), name.into()], problem);
    let resolution = match wanted.resolution.as_deref().unwrap_or("hour") {
        "minute" => Resolution::Minute,
        "hour" => Resolution::Hour,
        "day" => Resolution::Day,
        other => return Err(wrong("resolution", format!("{other:?} is unknown; use minute, hour or day"))),
    };
    let time = |name: &str, text: Option<&str>, default: Timestamp| match text {
        None => Ok(default),
        Some(text) => text
            .parse::<Instant>()
            .map(|at| Timestamp(at.as_microsecond()))
            .map_err(|e| wrong(name, format!("{e}; write a time such as 2026-12-01T22:00:00Z"))),
    };
    let now = api.clock.now();
    let to = time("to", wanted.to.as_deref(), now)?.min(now);
    let back = match resolution {
        Resolution::Minute => HOUR_US,
        Resolution::Hour => 24 * HOUR_US,
        Resolution::Day => 7 * 24 * HOUR_US,
    };
    let from = time("from", wanted.from.as_deref(), Timestamp(to.0.saturating_sub(back)))?.max(row.created_at);
    let timezone = api.rules.policy(row.key.project, &row.key.name, &row.settings).timezone.clone();
    let grid = Grid { resolution, timezone };
    let width = if resolution == Resolution::Minute { MINUTE_US } else { HOUR_US };
    let most = if resolution == Resolution::Day { BUCKETS_MAX * 24 } else { BUCKETS_MAX };
    if (to.0.saturating_sub(from.0)) / width > most as i64 {
        return Err(wrong("from", format!("that is more than {BUCKETS_MAX} buckets; ask for less or for wider ones")));
    }
    let sums = gather(&api, &row, &grid, from, to, now).await?;
    let buckets = sums.into_iter().map(|(start, sums)| bucket(&row, start, &sums)).collect();
    let timezone = grid.timezone.iana_name().unwrap_or("UTC").to_owned();
    Ok(Json(History { agent_id: row.id.0, agent: row.key.name.to_string(), resolution, timezone, buckets }))
}

/// Where buckets begin.
struct Grid {
    resolution: Resolution,
    timezone: TimeZone,
}

impl Grid {
    /// The beginning of the bucket that `at` lies in.
    fn start(&self, at: Timestamp) -> Timestamp {
        match self.resolution {
            Resolution::Minute => Timestamp(at.0 - at.0.rem_euclid(MINUTE_US)),
            Resolution::Hour => Timestamp(at.0 - at.0.rem_euclid(HOUR_US)),
            Resolution::Day => {
                let day = Instant::from_microsecond(at.0).map(|at| at.to_zoned(self.timezone.clone()));
                day.and_then(|at| at.start_of_day()).map_or(at, |start| Timestamp(start.timestamp().as_microsecond()))
            }
        }
    }
}

/// Adds up what lies in the buckets that `from` to `to` touch.
async fn gather(
    api: &Api,
    row: &AgentRow,
    grid: &Grid,
    from: Timestamp,
    to: Timestamp,
    now: Timestamp,
) -> Result<BTreeMap<Timestamp, HourSums>, ApiError> {
    let (first, minutes) = (grid.start(from), grid.resolution == Resolution::Minute);
    let hours = first.0.div_euclid(HOUR_US)..to.0.div_euclid(HOUR_US) + 1;
    let query = RollupQuery { project: row.key.project, agent: row.id, minutes, hours };
    let written = api.store.rollups(query).await?.into_iter().map(|r| (r.hour, r.body));
    // What is not written yet is brought up to date here, as the next signal would.
    let unwritten = unwritten(row, &api.presence.at(now), now);
    let mut sums: BTreeMap<Timestamp, HourSums> = BTreeMap::new();
    let mut add = |at: Timestamp, more: &HourSums| {
        if at >= first && at <= to {
            let sum = sums.entry(grid.start(at)).or_default();
            sum.up_ms = sum.up_ms.saturating_add(more.up_ms);
            sum.known_ms = sum.known_ms.saturating_add(more.known_ms);
            sum.sums.add(&more.sums);
        }
    };
    for (hour, body) in written.chain(unwritten) {
        let begin = hour.saturating_mul(HOUR_US);
        match body {
            RollupBody::Hour(hour) if !minutes => add(Timestamp(begin), &hour),
            RollupBody::Minutes { first, runs } if minutes => {
                let mut minute = i64::from(first);
                for MinuteRun { minutes, up_ms, known_ms, sums } in runs {
                    let each = HourSums { up_ms: up_ms.into(), known_ms: known_ms.into(), sums };
                    for _ in 0..minutes {
                        add(Timestamp(begin + minute * MINUTE_US), &each);
                        minute += 1;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(sums)
}

fn unwritten(row: &AgentRow, presence: &Presence, now: Timestamp) -> Vec<(i64, RollupBody)> {
    let pieces = row.history.clone().end(now, &row.state, presence);
    pieces.into_iter().map(|(hour, _, body)| (hour, body)).collect()
}

fn bucket(row: &AgentRow, start: Timestamp, all: &HourSums) -> Bucket {
    let (totals, sums) = (&row.state.totals, &all.sums);
    let told = [totals.tokens_unspecified, totals.tokens_input, totals.tokens_output];
    Bucket {
        start: start.to_string(),
        uptime: (all.known_ms > 0).then(|| f64::from(all.up_ms) / f64::from(all.known_ms)),
        up_seconds: f64::from(all.up_ms) / 1e3,
        watched_seconds: f64::from(all.known_ms) / 1e3,
        heartbeats: sums.heartbeats,
        runs: sums.runs,
        results_success: sums.successes,
        results_failure: sums.failures,
        model_calls: sums.model_calls,
        tool_calls: sums.tool_calls,
        tokens: told.iter().any(Option::is_some).then_some(sums.tokens),
        cost_usd: totals.cost.map(|_| sums.cost.to_string()),
    }
}
