//! One probe of one target. Connections stay open between probes, so that what is measured is the target.

use std::time::Duration;

use bytes::BytesMut;
use reqwest::Client;
use reqwest::redirect::Policy;
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::expect;
use super::target::{HttpProbe, Probe, Target};
use crate::http::client::install_crypto;

/// The largest answer that is looked at, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// The longest text of a failure, in bytes.
const WHY_BYTES_MAX: usize = 200;

/// What probes a target.
pub enum Prober {
    Http(Client, Box<HttpProbe>),
    Tcp(String),
    Grpc(HealthClient<Channel>, String),
    #[cfg(test)]
    Script(Box<dyn FnMut() -> (Duration, Result<(), String>) + Send + Sync>),
}

impl Prober {
    /// Makes the client of a target. Nothing is connected yet. The error says what is wrong with the settings.
    pub fn new(target: &Target) -> Result<Self, String> {
        install_crypto();
        let pem = |path: &std::path::PathBuf| std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
        Ok(match &target.probe {
            Probe::Http(http) => {
                let mut builder = Client::builder()
                    .user_agent(concat!("pulsegate/", env!("CARGO_PKG_VERSION")))
                    .redirect(Policy::none())
                    .referer(false)
                    .no_proxy()
                    .pool_idle_timeout(target.interval * 2)
                    .pool_max_idle_per_host(1)
                    .tcp_keepalive(target.interval)
                    .default_headers(http.headers.iter().cloned().collect());
                if let Some(path) = &http.ca_file {
                    let certificates = reqwest::Certificate::from_pem_bundle(&pem(path)?);
                    builder = builder.tls_certs_merge(certificates.map_err(|e| format!("ca_file: {e}"))?);
                }
                Self::Http(builder.build().map_err(|e| causes(&e))?, http.clone())
            }
            Probe::Tcp(address) => Self::Tcp(address.clone()),
            Probe::Grpc { endpoint, service, ca_file } => {
                let mut channel = Endpoint::from_shared(endpoint.clone())
                    .map_err(|e| causes(&e))?
                    .tcp_nodelay(true)
                    .connect_timeout(target.timeout);
                if endpoint.starts_with("https") {
                    let mut tls = ClientTlsConfig::new().with_native_roots();
                    if let Some(path) = ca_file {
                        tls = tls.ca_certificate(Certificate::from_pem(pem(path)?));
                    }
                    channel = channel.tls_config(tls).map_err(|e| causes(&e))?;
                }
                Self::Grpc(HealthClient::new(channel.connect_lazy()), service.clone())
            }
        })
    }

    /// Probes once. The error says what is wrong, in a text that holds nothing of the settings' secrets.
    pub async fn probe(&mut self, timeout: Duration) -> Result<(), String> {
        match tokio::time::timeout(timeout, self.attempt()).await {
            Ok(result) => result.map_err(|why| cut(&why)),
            Err(_) => Err(format!("no answer within {timeout:?}")),
        }
    }

    async fn attempt(&mut self) -> Result<(), String> {
        match self {
            Self::Http(client, probe) => http(client, probe).await,
            Self::Tcp(address) => TcpStream::connect(&*address).await.map(drop).map_err(|e| e.to_string()),
            Self::Grpc(client, service) => {
                let request = HealthCheckRequest { service: service.clone() };
                let answer =
                    client.check(request).await.map_err(|status| match std::error::Error::source(&status) {
                        Some(source) => causes(source),
                        None => format!("{:?}: {}", status.code(), status.message()),
                    })?;
                match answer.get_ref().status() {
                    ServingStatus::Serving => Ok(()),
                    other => Err(other.as_str_name().to_owned()),
                }
            }
            #[cfg(test)]
            Self::Script(script) => {
                let (after, result) = script();
                tokio::time::sleep(after).await;
                result
            }
        }
    }
}

async fn http(client: &Client, probe: &HttpProbe) -> Result<(), String> {
    let mut request = client.request(probe.method.clone(), probe.url.clone());
    if let Some(body) = &probe.body {
        request = request.body(body.clone());
    }
    let mut answer = request.send().await.map_err(|e| causes(&e.without_url()))?;
    expect::status(&probe.expect, answer.status().as_u16())?;
    // The body is read also where nothing is expected of it: a connection is only used again after its end.
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| causes(&e.without_url()))? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            if probe.expect.needs_body() {
                return Err(format!("the body is larger than {BODY_BYTES_MAX} bytes"));
            }
            return Ok(());
        }
        body.extend_from_slice(&chunk);
    }
    expect::body(&probe.expect, &body)
}

/// An error with its causes: the outermost one alone says little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string) {
        if !texts.iter().any(|t| t.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

/// A text from outside, fit for a line of a log and an answer.
fn cut(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean[..clean.floor_char_boundary(WHY_BYTES_MAX)].to_owned()
}
