//! What Langfuse SDKs ask for and the gateway does not have itself (prompts, media, data sets): answered by the Langfuse
//! that bodies are passed on to. These requests wait for upstream; nothing of them is kept.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use reqwest::{Client, Url};

use super::body::{HOPS, HOPS_MAX, hops, is_content};
use super::settings::Destination;
use super::{Forward, send};
use crate::http::auth::Keyring;
use crate::http::{ApiError, body};
use crate::model::{ProjectId, Scope};

/// Everything of Langfuse's API begins with this.
pub const PATH: &str = "/api/public/{*rest}";
/// The largest request, in bytes. Media themselves go to where upstream's answer says, not through here.
const BODY_BYTES_MAX: usize = 20 << 20;
/// What goes on of a request beside the headers of its body.
const ASKED: [HeaderName; 2] = [header::ACCEPT, header::IF_NONE_MATCH];
/// What comes back of an answer.
const ANSWERED: [HeaderName; 7] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CACHE_CONTROL,
    header::ETAG,
    header::RETRY_AFTER,
    header::LOCATION,
];

/// A Langfuse that answers what is asked of the gateway.
pub struct Upstream {
    client: Client,
    endpoint: Url,
    projects: Option<Vec<String>>,
}

impl Upstream {
    /// Of a destination that is a Langfuse. The error says what is wrong with the settings.
    pub fn new(destination: &Destination) -> Result<Self, String> {
        Ok(Self {
            client: send::client(destination)?,
            endpoint: destination.endpoint.clone(),
            projects: destination.projects.clone(),
        })
    }
}

/// The route of what upstream answers; none when there is no Langfuse to pass on to.
pub fn routes(forward: Forward, keyring: Keyring) -> Router {
    let has_upstream = forward.0.as_ref().is_some_and(|inner| !inner.upstreams.is_empty());
    if !has_upstream {
        return Router::new();
    }
    Router::new().route(PATH, any(pass)).with_state((forward, keyring))
}

impl Forward {
    fn upstream(&self, project: ProjectId) -> Option<&Upstream> {
        let inner = self.0.as_ref()?;
        let name = inner.names.load().get(&project).cloned();
        let of_project = |only: &Vec<String>| name.as_deref().is_some_and(|name| only.iter().any(|p| p == name));
        inner.upstreams.iter().find(|upstream| upstream.projects.as_ref().is_none_or(of_project))
    }
}

async fn pass(State((forward, keyring)): State<(Forward, Keyring)>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let caller = keyring.authorize(&parts.headers, Scope::Ingest)?;
    let upstream = forward.upstream(caller.project).ok_or_else(|| ApiError::not_found("This path"))?;
    let hops = hops(&parts.headers).saturating_add(1);
    if hops > HOPS_MAX {
        return Err(ApiError::new(StatusCode::LOOP_DETECTED, "the request went through too many gateways"));
    }
    let body = body::read_whole(&parts.headers, body, BODY_BYTES_MAX).await?.raw;
    let mut address = upstream.endpoint.clone();
    // Dots would lead out of what is passed on.
    if parts.uri.path().split('/').any(|step| matches!(step, "." | "..") || step.to_ascii_lowercase().contains("%2e")) {
        return Err(ApiError::not_found("This path"));
    }
    address.set_path(&format!("{}{}", address.path().trim_end_matches('/'), parts.uri.path()));
    address.set_query(parts.uri.query());
    let mut asked = HeaderMap::new();
    for (name, value) in parts.headers.iter().filter(|(name, _)| is_content(name) || ASKED.contains(name)) {
        asked.append(name.clone(), value.clone());
    }
    asked.insert(HOPS, u64::from(hops).into());
    let sent = upstream.client.request(parts.method, address).headers(asked).body(body).send().await;
    let answer = sent.map_err(|error| {
        let why = send::causes(&error.without_url());
        ApiError::new(StatusCode::BAD_GATEWAY, format!("the Langfuse behind the gateway did not answer: {why}"))
    })?;
    let status = answer.status();
    let headers: HeaderMap =
        answer.headers().iter().filter(|(n, _)| ANSWERED.contains(n)).map(|(n, v)| (n.clone(), v.clone())).collect();
    Ok((status, headers, Body::from_stream(answer.bytes_stream())).into_response())
}
