//! `GET /api/v1/stream`: events as they happen, as server-sent events.
//!
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html>. The id of each is the event's number, so a client
//! that comes back with `Last-Event-ID` goes on where it was, also after a restart of the gateway. Events are read from the
//! store, and only the news that there are some wakes a stream; so a stream holds no more than one page of events. A
//! client that does not read them in time is let go, with a last event that says so.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, events};
use crate::http::{ApiError, FieldError, Query, doc};
use crate::model::{AgentId, Event, EventId, ProjectId, Scope};

/// Streams that may be open at once.
pub const STREAMS_MAX: usize = 256;
/// Events read at a time, and so the most a stream holds besides what lies in its socket.
const PAGE: usize = 100;
/// A client that takes no event for this long is let go. Well before the connection itself counts as stuck
/// (`server.send_timeout`), so that one that wakes up in between still hears why.
pub const STREAM_SLOW: Duration = Duration::from_secs(15);
/// Comments that keep the connection and tell both ends that the other is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Without news the store is looked at this often; another process may write to it.
const LOOK: Duration = Duration::from_secs(5);
/// How long a client waits before it comes back.
const RETRY: Duration = Duration::from_secs(2);

pub fn routes(api: Api) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(open)).with_state(api)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct From {
    /// Only events of this agent, by its number.
    #[param(value_type = Option<i64>, minimum = 1)]
    agent: Option<String>,
    /// Begin after this event; without it, and without `Last-Event-ID`, with what happens from now on.
    #[param(value_type = Option<i64>, minimum = 0)]
    after: Option<String>,
}

/// Events as they happen (server-sent events).
///
/// The `event` of each is its kind (`transition` for a change of status), its `id` the event's number, its data the event as
/// JSON with the agent's name. A client that does not read is let go with a last event `end`, and so are all when the
/// gateway stops; coming back with `Last-Event-ID` misses nothing.
#[utoipa::path(get, path = "/api/v1/stream", tag = "Events", security(("api_key" = ["read"])),
    params(From, ("Last-Event-ID" = Option<i64>, Header, description = "The last event that was seen", minimum = 0)),
    responses((status = 200, description = "A stream that ends when either side wants it to", content_type = "text/event-stream",
        body = String, example = "retry: 2000\n\nid: 42\nevent: transition\ndata: {\"id\":42,\"agent_id\":7,\"agent\":\"research-agent\",\"kind\":\"transition\",\"from\":\"healthy\",\"to\":\"stalled\"}\n\n"),
        doc::Keyed, doc::Asked, doc::Found))]
async fn open(State(api): State<Api>, headers: HeaderMap, Query(from): Query<From>) -> Result<Response, ApiError> {
    let project = api.authorize(&headers, Scope::Read)?.project;
    let agent = match from.agent.as_deref() {
        None => None,
        Some(id) => {
            let id = AgentId(number("query", "agent", id)?);
            let row = api.store.agent(id).await?.filter(|row| row.key.project == project);
            Some(row.ok_or_else(|| ApiError::not_found("Agent"))?.id)
        }
    };
    let last = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
    let after = match (last, from.after.as_deref()) {
        (Some(id), _) => Some(number("header", "last-event-id", id)?),
        (None, Some(id)) => Some(number("query", "after", id)?),
        (None, None) => None,
    };
    let busy = || ApiError::unavailable(format!("{STREAMS_MAX} streams are open already"), 10);
    let permit = api.streams.clone().try_acquire_owned().map_err(|_| busy())?;
    // Before the newest event is looked up, so that none falls in between.
    let news = api.committer.news();
    let after = match after {
        Some(id) => EventId(id),
        None => events::newest(&api, project).await?,
    };
    let follower = Follower { api: api.clone(), headers, project, agent, after, news, ended: Arc::default() };
    Ok(respond(follower, permit))
}

fn number(place: &str, name: &str, text: &str) -> Result<i64, ApiError> {
    text.trim().parse().ok().filter(|n| *n >= 0).ok_or_else(|| {
        let msg = format!("{text:?} is not the number of an event or agent");
        ApiError::invalid(&[FieldError { loc: vec![place.into(), name.into()], msg, kind: "int_parsing" }])
    })
}

fn respond(follower: Follower, permit: OwnedSemaphorePermit) -> Response {
    let ended = follower.ended.clone();
    let (events, taken) = mpsc::channel(PAGE);
    tokio::spawn(follower.run(events));
    let first = stream::once(async { Message::default().retry(RETRY).comment("connected") });
    let news = stream::unfold(taken, |mut taken| async { taken.recv().await.map(|message| (message, taken)) });
    let last = stream::once(async move {
        let why = ended.get().copied().unwrap_or("the gateway is stopping");
        Message::default().event("end").data(json!({ "detail": why }).to_string())
    });
    // The permit goes when the stream does.
    let all = first.chain(news).chain(last).map(move |message| {
        let _held = &permit;
        Ok::<_, Infallible>(message)
    });
    let mut response =
        Sse::new(all).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive")).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies such as nginx would collect events before they hand them on.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// What reads events for one stream.
struct Follower {
    api: Api,
    headers: HeaderMap,
    project: ProjectId,
    agent: Option<AgentId>,
    after: EventId,
    news: watch::Receiver<u64>,
    /// Why the stream ended, when it was not the client's doing.
    ended: Arc<OnceLock<&'static str>>,
}

impl Follower {
    async fn run(mut self, events: mpsc::Sender<Message>) {
        let mut stop = self.api.stop.clone();
        let why = tokio::select! {
            why = self.follow(&events) => why,
            _ = stop.wait_for(|stop| *stop) => "the gateway is stopping",
            () = events.closed() => return,
        };
        let _ = self.ended.set(why);
    }

    /// Hands on events until there is a reason not to.
    async fn follow(&mut self, events: &mpsc::Sender<Message>) -> &'static str {
        loop {
            self.news.mark_unchanged();
            match self.hand_on(events).await {
                Err(why) => return why,
                // A whole page: there may be more already.
                Ok(PAGE) => continue,
                Ok(_) => {}
            }
            // A lane that ended wakes nobody any more; the signal to stop comes then.
            let _ = tokio::time::timeout(LOOK, self.news.changed()).await;
            // A key that was revoked meanwhile opens nothing any more.
            if let Err(error) = self.api.authorize(&self.headers, Scope::Read)
                && matches!(error.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            {
                return "the key is no longer good";
            }
        }
    }

    async fn hand_on(&mut self, events: &mpsc::Sender<Message>) -> Result<usize, &'static str> {
        let found = match self.api.store.events_after(self.project, self.agent, self.after, PAGE).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the store could not be read for a stream");
                return Ok(0);
            }
        };
        let count = found.len();
        for event in found {
            self.after = event.id;
            let message = self.message(&event).await;
            match events.send_timeout(message, STREAM_SLOW).await {
                Ok(()) => {}
                Err(mpsc::error::SendTimeoutError::Timeout(_)) => return Err("events were not read in time"),
                Err(mpsc::error::SendTimeoutError::Closed(_)) => return Err("the client is gone"),
            }
        }
        Ok(count)
    }

    async fn message(&self, event: &Event) -> Message {
        let mut data = events::event(event);
        data["agent"] = match event.agent {
            Some(id) => self.api.store.agent(id).await.ok().flatten().map_or(Value::Null, |row| json!(row.key.name)),
            None => Value::Null,
        };
        Message::default().id(event.id.to_string()).event(event.draft.kind.word()).data(data.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_or_refused_by_place() {
        assert_eq!(number("query", "after", " 12 ").unwrap(), 12);
        for wrong in ["", "-1", "x", "99999999999999999999"] {
            assert_eq!(number("header", "last-event-id", wrong).unwrap_err().status(), 422, "{wrong}");
        }
    }
}
