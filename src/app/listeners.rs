//! The addresses the gateway listens on: bound before anything starts, and told in `listeners.json`.

use std::net::SocketAddr;
use std::path::Path;

use serde::Serialize;
use tokio::net::TcpListener;

use super::StartError;
use crate::config::Config;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// Where the gateway listens, with ports chosen by the system filled in.
#[derive(Clone, Debug, Serialize)]
pub struct Addresses {
    /// API, webhooks, `/metrics`.
    pub http: SocketAddr,
    /// OTLP over HTTP.
    pub otlp_http: SocketAddr,
    /// OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
}

impl Addresses {
    /// Whether nobody outside of this machine can reach any of them.
    pub fn are_local(&self) -> bool {
        [self.http, self.otlp_http, self.otlp_grpc].iter().all(|address| address.ip().is_loopback())
    }
}

/// Bound, not yet served.
pub struct Bound {
    pub http: TcpListener,
    pub otlp_http: TcpListener,
    pub otlp_grpc: TcpListener,
}

impl Bound {
    pub fn addresses(&self) -> Result<Addresses, StartError> {
        let address = |listener: &TcpListener, key| {
            let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
            listener.local_addr().map_err(|problem| StartError::Bind { address: unknown, key, problem })
        };
        Ok(Addresses {
            http: address(&self.http, "receivers.http.endpoint")?,
            otlp_http: address(&self.otlp_http, "receivers.otlp.http.endpoint")?,
            otlp_grpc: address(&self.otlp_grpc, "receivers.otlp.grpc.endpoint")?,
        })
    }
}

/// Binds every address of the configuration.
pub async fn bind(config: &Config) -> Result<Bound, StartError> {
    let receivers = &config.receivers;
    Ok(Bound {
        http: listen(receivers.http, "receivers.http.endpoint")?,
        otlp_http: listen(receivers.otlp_http, "receivers.otlp.http.endpoint")?,
        otlp_grpc: listen(receivers.otlp_grpc, "receivers.otlp.grpc.endpoint")?,
    })
}

fn listen(address: SocketAddr, key: &'static str) -> Result<TcpListener, StartError> {
    let bind = || {
        let socket =
            if address.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|problem| StartError::Bind { address, key, problem })
}

/// Tells the addresses in `<data-dir>/listeners.json`, all at once: whoever sees the file sees all of it.
pub fn write(data_dir: &Path, addresses: &Addresses) -> Result<(), StartError> {
    let path = data_dir.join("listeners.json");
    let problem = |e: std::io::Error| StartError::DataDir { path: path.clone(), problem: e.to_string() };
    let text = serde_json::to_string(addresses).map_err(|e| problem(e.into()))?;
    let half = data_dir.join("listeners.json.new");
    std::fs::write(&half, text + "\n").and_then(|()| std::fs::rename(&half, &path)).map_err(problem)
}
