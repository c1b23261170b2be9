//! The accept loop every listener uses: HTTP/1.1 and HTTP/2 on one port, no delayed packets, an orderly end.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::Service;
use tracing::{debug, warn};

/// A connection must send its request headers within this time, counted from the answer before: hyper has one timer for
/// slow headers and for idle connections. So it must be well above the 10 s at which the published runner asks for
/// commands over one connection: cut at 10 s, each of its requests raced with the close, and its connection, the only
/// hint at who it is, changed every time.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(75);
/// Receive window of an HTTP/2 stream: large enough that a batch of spans arrives without a round trip.
const H2_STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// Receive window of an HTTP/2 connection.
const H2_CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// HTTP/2 streams one connection may have open.
const H2_STREAMS_MAX: u32 = 200;
/// After the stop signal, requests in flight may take this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Serves `router` on `listener` until `stop` becomes true, then lets requests in flight finish.
pub async fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    server
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(H2_STREAMS_MAX)
        .keep_alive_interval(Some(Duration::from_secs(60)));
    let connections = GracefulShutdown::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, for example: closing connections will help, spinning will not.
                    warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = stopped(&mut stop) => break,
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "could not set TCP_NODELAY");
        }
        let service = with_peer(router.clone(), peer);
        let connection = connections.watch(server.serve_connection(TokioIo::new(stream), service).into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%peer, %error, "connection ended with an error");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, connections.shutdown()).await.is_err() {
        warn!("connections were still open {}s after the stop signal", DRAIN_TIMEOUT.as_secs());
    }
}

/// Waits for the stop signal.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that whoever could give the signal is gone: then it is time to stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn with_peer(
    router: Router,
    peer: SocketAddr,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send + 'static,
> + Clone {
    hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().call(request)
    })
}
