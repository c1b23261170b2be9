//! What happens around every request, on every listener: its id, its line in the access log, headers that protect, and an
//! answer even when a handler panics.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tower::Service;
use tracing::Level;

use super::ApiError;
use super::context::{self, Context};
use crate::clock::{Clock, Stopwatch};
use crate::ids::{Ids, hex};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is taken over from a sender, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// What of a path goes to the log, in bytes.
const PATH_BYTES_MAX: usize = 256;
/// How many headers [`protect`] adds at most.
const PROTECTING_MAX: usize = 6;
/// Answers of JSON and text run nothing and are shown in nobody's frame. A page with scripts says so itself.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Who is at the other end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// Where.
    pub address: SocketAddr,
    /// Whether it came over TLS.
    pub secure: bool,
    /// The key its certificate stands for; used where a request brings none.
    pub key: Option<HeaderValue>,
}

/// What happens around requests.
#[derive(Debug)]
pub struct Edge {
    access: Level,
    prefix: String,
    next: AtomicU64,
    clock: Clock,
}

impl Edge {
    /// One line of the log per request is written at `access`.
    pub fn new(access: Level, ids: &Ids, clock: Clock) -> Self {
        Self { access, prefix: hex(&ids.opaque().as_bytes()[..6]), next: AtomicU64::new(1), clock }
    }

    /// The answer of `router` to `request` from `peer`.
    pub async fn answer(&self, mut router: Router, mut request: Request<Body>, peer: &Arc<Peer>) -> Response {
        let id = self.request_id(request.headers());
        let line = self.is_logged().then(|| (Stopwatch::start(), request.method().clone(), request.uri().clone()));
        let page = matches!(*request.method(), Method::GET | Method::HEAD);
        let grpc = is_grpc(request.headers());
        request.extensions_mut().insert(ConnectInfo(peer.address));
        if let Some(key) = &peer.key
            && !request.headers().contains_key("x-api-key")
            && !request.headers().contains_key(header::AUTHORIZATION)
        {
            request.headers_mut().insert("x-api-key", key.clone());
        }
        let around = Context { address: Some(peer.address.ip()), shape: shape(&request), ..Context::default() };
        let (mut response, key) = around
            .scope(async {
                let answered = AssertUnwindSafe(router.call(request)).catch_unwind().await;
                let response = match answered {
                    Ok(Ok(response)) => response,
                    Ok(Err(never)) => match never {},
                    Err(_) => {
                        tracing::error!(request_id = %shown(&id), "a request was not answered: its handler panicked");
                        broken(grpc)
                    }
                };
                let key = context::with(|current| {
                    if let Some(charge) = &*current.charge.borrow()
                        && has_failed(&response)
                    {
                        charge.failed(self.clock.now());
                    }
                    current.key.take()
                });
                (response, key.flatten())
            })
            .await;
        if let Some((watch, method, uri)) = line {
            self.log(&id, peer, key.as_deref(), (&method, &uri), &response, watch.elapsed());
        }
        let headers = response.headers_mut();
        headers.reserve(if page { PROTECTING_MAX + 1 } else { 2 });
        protect(headers, page, peer.secure);
        headers.insert(REQUEST_ID, id);
        response
    }

    /// The sender's id for the request if it can be passed on as it is, else one of our own.
    fn request_id(&self, headers: &HeaderMap) -> HeaderValue {
        let plain = |v: &&HeaderValue| {
            let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(b);
            (1..=REQUEST_ID_BYTES_MAX).contains(&v.len()) && v.as_bytes().iter().all(allowed)
        };
        headers.get(REQUEST_ID).filter(plain).cloned().unwrap_or_else(|| {
            let own = format!("{}-{:x}", self.prefix, self.next.fetch_add(1, Relaxed));
            HeaderValue::try_from(own).unwrap_or(HeaderValue::from_static("-"))
        })
    }

    fn is_logged(&self) -> bool {
        match self.access {
            Level::ERROR => tracing::enabled!(target: "access", Level::ERROR),
            Level::WARN => tracing::enabled!(target: "access", Level::WARN),
            Level::INFO => tracing::enabled!(target: "access", Level::INFO),
            Level::DEBUG => tracing::enabled!(target: "access", Level::DEBUG),
            Level::TRACE => tracing::enabled!(target: "access", Level::TRACE),
        }
    }

    fn log(
        &self,
        id: &HeaderValue,
        peer: &Peer,
        key: Option<&str>,
        (method, uri): (&Method, &Uri),
        response: &Response,
        took: Duration,
    ) {
        let (id, path, key, status) = (shown(id), path(uri), key.unwrap_or("-"), response.status().as_u16());
        let grpc = response.headers().get("grpc-status").map(shown);
        let ms = (took.as_secs_f64() * 1e6).round() / 1e3;
        macro_rules! line {
            ($level:ident) => {
                tracing::event!(
                    target: "access", Level::$level, request_id = id, peer = %peer.address, key, %method, path, status,
                    grpc_status = grpc, ms, "request"
                )
            };
        }
        match self.access {
            Level::ERROR => line!(ERROR),
            Level::WARN => line!(WARN),
            Level::INFO => line!(INFO),
            Level::DEBUG => line!(DEBUG),
            Level::TRACE => line!(TRACE),
        }
    }
}

/// The path as it may be logged: a key in it (ping URLs have one) is left out, and so is the query.
fn path(uri: &Uri) -> String {
    let mut shown = String::new();
    let mut secret = false;
    for (i, part) in uri.path().split('/').enumerate() {
        if i > 0 {
            shown.push('/');
        }
        shown.push_str(if secret || part.starts_with("cv_") { "***" } else { part });
        secret = part == "ping";
    }
    shown.truncate(shown.floor_char_boundary(PATH_BYTES_MAX));
    shown
}

fn shown(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("-")
}

/// What a request and its repeat have in common (FNV-1a of method, path, query and length).
fn shape(request: &Request<Body>) -> u64 {
    let length = request.headers().get(header::CONTENT_LENGTH).map_or(&b""[..], HeaderValue::as_bytes);
    let target = request.uri().path_and_query().map_or("", |p| p.as_str());
    let parts = [request.method().as_str().as_bytes(), target.as_bytes(), length];
    let bytes = parts.into_iter().flat_map(|part| part.iter().chain(&[0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"))
}

fn has_failed(response: &Response) -> bool {
    let grpc = response.headers().get("grpc-status");
    response.status().is_client_error() || response.status().is_server_error() || grpc.is_some_and(|v| v != "0")
}

/// The answer in the place of one that could not be made.
fn broken(grpc: bool) -> Response {
    const WHAT: &str = "internal error";
    if !grpc {
        return ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, WHAT).into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
        (HeaderName::from_static("grpc-status"), HeaderValue::from_static("13")),
        (HeaderName::from_static("grpc-message"), HeaderValue::from_static(WHAT)),
    ];
    (StatusCode::OK, headers).into_response()
}

/// Headers for browsers: on what they may be led to open. No CORS: pages of other sites may not read answers.
fn protect(headers: &mut HeaderMap, page: bool, secure: bool) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !page {
        return;
    }
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if secure {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;

    fn edge() -> Edge {
        Edge::new(Level::DEBUG, &Ids::seeded(1), Clock::default())
    }

    async fn ask(path: &str, headers: &[(&str, &str)], secure: bool) -> Response {
        let router = Router::new()
            .route("/", get(async || "fine"))
            .route("/panic", get(async || if true { panic!("on purpose") } else { "never" }))
            .route("/page", get(async || ([(header::CONTENT_SECURITY_POLICY, "script-src 'self'")], "page")));
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let peer = Peer { address: ([127, 0, 0, 1], 9).into(), secure, key: None };
        edge().answer(router, request.body(Body::empty()).unwrap(), &Arc::new(peer)).await
    }

    #[tokio::test]
    async fn a_panic_is_a_500_in_the_form_of_every_error() {
        let response = ask("/panic", &[], false).await;
        assert_eq!(response.status(), 500);
        let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        assert_eq!(body, r#"{"detail":"internal error"}"#);
        let response = ask("/panic", &[("content-type", "application/grpc+proto")], false).await;
        assert_eq!((response.status().as_u16(), response.headers()["grpc-status"].as_bytes()), (200, &b"13"[..]));
    }

    #[tokio::test]
    async fn a_request_keeps_its_id_or_gets_one() {
        let id = |response: Response| response.headers()["x-request-id"].to_str().unwrap().to_owned();
        assert_eq!(id(ask("/", &[("x-request-id", "trace/7:a")], false).await), "trace/7:a");
        let long = "x".repeat(129);
        for bad in ["", "a b", "a\u{9}b", "<script>", long.as_str()] {
            let given = id(ask("/", &[("x-request-id", bad)], false).await);
            assert!(given != bad && given.ends_with("-1"), "{given}");
        }
    }

    #[tokio::test]
    async fn sec_11_answers_protect_those_who_open_them() {
        let headers = ask("/", &[("origin", "https://evil.example")], false).await.headers().clone();
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["content-security-policy"], POLICY);
        assert_eq!(headers["cache-control"], "no-store");
        assert!(headers.keys().all(|name| !name.as_str().starts_with("access-control-")));
        assert!(!headers.contains_key("strict-transport-security"));
        assert!(ask("/", &[], true).await.headers().contains_key("strict-transport-security"));
        assert_eq!(ask("/page", &[], false).await.headers()["content-security-policy"], "script-src 'self'");
    }

    #[test]
    fn sec_2_the_log_has_no_key_from_a_path() {
        for (uri, logged) in [
            ("/ping/cv_1234/agent?create=1", "/ping/***/agent"),
            ("/ping/secret/agent", "/ping/***/agent"),
            ("/api/v1/agents/7", "/api/v1/agents/7"),
            ("/a/cv_0/b", "/a/***/b"),
        ] {
            assert_eq!(path(&uri.parse().unwrap()), logged);
        }
        assert_eq!(path(&format!("/{}", "a".repeat(5000)).parse().unwrap()).len(), PATH_BYTES_MAX);
    }
}
