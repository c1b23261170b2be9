//! The accept loop every listener uses: HTTP/1.1 and HTTP/2 on one port, in the clear or over TLS, a time for everything
//! a peer may let us wait for, a bound on connections, no delayed packets, an orderly end.
//!
//! hyper alone never closes a connection that sends nothing, half a preface of HTTP/2 or half a body, so every deadline is
//! kept out here: `conn` knows what is waited for, `io` and `body` tell it what passes, `registry` looks and closes.

mod body;
mod conn;
mod io;
mod registry;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::edge::{Edge, Peer};
use super::tls::Tls;
use body::{Exchange, Inbound, Outbound};
use conn::Conn;
use io::{Stream, Watched};
use registry::{PERIOD, Registry};

pub use body::TooSlow;
pub use conn::Limits;

/// Receive window of an HTTP/2 stream: large enough that a batch of spans arrives without a round trip.
const H2_STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// Receive window of an HTTP/2 connection.
const H2_CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// HTTP/2 streams one connection may have open.
const H2_STREAMS_MAX: u32 = 200;
/// Streams a peer opened and took back at once ("rapid reset") before any work on them; more end the connection.
const H2_RESETS_MAX: usize = 50;
/// Streams that had to be reset for the peer's mistakes; more end the connection.
const H2_ERRORS_MAX: usize = 200;
/// The headers of one HTTP/2 request, in bytes, as its specification counts them; `CONTINUATION` frames are within it.
const H2_HEADERS_BYTES_MAX: u32 = 16 << 10;
/// What HTTP/2 may keep of one answer that the peer does not take, in bytes.
const H2_SEND_BYTES_MAX: usize = 256 << 10;
/// How often an HTTP/2 peer is asked whether it is there, and how long it may take to say so.
const H2_PING: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(20)];
/// After the stop signal, requests in flight may take this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// How a listener serves.
#[derive(Clone)]
pub struct Serving {
    /// What connections may take.
    pub limits: Limits,
    /// Certificates; without them it serves in the clear.
    pub tls: Option<Arc<Tls>>,
    /// What happens around every request.
    pub edge: Arc<Edge>,
}

/// Why a connection's service gives up.
#[derive(Debug, thiserror::Error)]
#[error("the connection is being closed")]
struct Closing;

/// Serves `router` on `listener` until `stop` becomes true, then lets requests in flight finish.
pub async fn serve(listener: TcpListener, router: Router, serving: Serving, mut stop: watch::Receiver<bool>) {
    let server = Arc::new(builder());
    let registry = Arc::new(Registry::new(serving.limits));
    let connections = GracefulShutdown::new();
    let mut looks = tokio::time::interval(PERIOD);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, for example: closing connections will help, spinning will not.
                    warn!(%error, "could not accept a connection");
                    registry.sweep();
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            _ = looks.tick() => {
                registry.sweep();
                continue;
            }
            () = stopped(&mut stop) => break,
        };
        let Some((conn, place)) = registry.admit() else {
            debug!(%peer, "no connection more: all that may be open are at work");
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "could not set TCP_NODELAY");
        }
        let id = place.id();
        let (server, router, serving) = (server.clone(), router.clone(), serving.clone());
        let watcher = connections.watcher();
        let task = tokio::spawn(async move {
            let _place = place;
            let Some((stream, peer)) = secure(stream, peer, &serving).await else { return };
            let service = service(router, conn.clone(), serving, peer);
            let stream = TokioIo::new(Watched::new(stream, conn));
            if let Err(error) = watcher.watch(server.serve_connection(stream, service).into_owned()).await {
                debug!(%error, "connection ended with an error");
            }
        });
        registry.served_by(id, task.abort_handle());
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, connections.shutdown()).await.is_err() {
        warn!("connections were still open {}s after the stop signal", DRAIN_TIMEOUT.as_secs());
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    // The deadlines of HTTP/1 are ours.
    server.http1().timer(TokioTimer::new()).header_read_timeout(None);
    server
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_pending_accept_reset_streams(H2_RESETS_MAX)
        .max_local_error_reset_streams(H2_ERRORS_MAX)
        .max_header_list_size(H2_HEADERS_BYTES_MAX)
        .max_send_buf_size(H2_SEND_BYTES_MAX)
        .keep_alive_interval(Some(H2_PING[0]))
        .keep_alive_timeout(H2_PING[1]);
    server
}

/// Waits for the stop signal.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that whoever could give the signal is gone: then it is time to stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The stream as it is served, and who is at its other end. A handshake that takes too long ends with the task.
async fn secure(stream: TcpStream, peer: SocketAddr, serving: &Serving) -> Option<(Stream, Peer)> {
    let Some(tls) = &serving.tls else {
        return Some((Stream::Plain(stream), Peer { address: peer, secure: false, key: None }));
    };
    match tls.acceptor().accept(stream).await {
        Ok(stream) => {
            let key = tls.key_of(&stream);
            Some((Stream::Tls(Box::new(stream)), Peer { address: peer, secure: true, key }))
        }
        Err(error) => {
            debug!(%peer, %error, "TLS handshake failed");
            None
        }
    }
}

fn service(
    router: Router,
    conn: Arc<Conn>,
    serving: Serving,
    peer: Peer,
) -> impl hyper::service::Service<Request<Incoming>, Response = Response<Outbound>, Error = Closing, Future: Send + 'static>
+ Clone {
    let peer = Arc::new(peer);
    let (patience, edge) = (serving.limits.body, serving.edge);
    hyper::service::service_fn(move |request: Request<Incoming>| {
        let (router, edge, peer) = (router.clone(), edge.clone(), peer.clone());
        let version = request.version();
        let exchange = Exchange::begin(&conn, version);
        let conn = conn.clone();
        async move {
            let exchange = exchange.ok_or(Closing)?;
            let request = request.map(|body| Body::new(Inbound::new(body, conn, version, patience)));
            let response = edge.answer(router, request, &peer).await;
            Ok(response.map(|body| Outbound::new(body, exchange, version)))
        }
    })
}
