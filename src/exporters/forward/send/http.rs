//! Over HTTP: OTLP, Langfuse's public API, and webhooks.
//!
//! Which answers are worth another attempt is said by <https://opentelemetry.io/docs/specs/otlp/#otlphttp-response>: 429,
//! 502, 503, 504. Langfuse and webhooks have no such list; there every 5xx is, as their own SDKs do it.

use std::io::Write;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use bytes::{Bytes, BytesMut};
use prost::Message;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use serde_json::Value;

use super::super::body::{Form, HOPS, Item, Signal};
use super::super::retry::retry_after;
use super::super::settings::{Compression, Destination, Protocol};
use super::{Verdict, causes, certificates, said};
use crate::clock::Clock;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// So much of an answer is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Bodies below this many bytes are compressed at once, larger ones on a thread that may block.
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// A destination that is reached over HTTP.
pub struct Http {
    client: Client,
    destination: Destination,
    clock: Clock,
}

/// `Export…ServiceResponse` of all three signals: they differ only in the names of their fields.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// See [`ExportResponse`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub rejected: i64,
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// A client that speaks to `destination`. The error says what is wrong with the settings.
pub fn client(destination: &Destination) -> Result<Client, String> {
    crate::http::client::install_crypto();
    let mut builder = Client::builder()
        .user_agent(concat!("pulsegate/", env!("CARGO_PKG_VERSION")))
        // An operator names the destination; nobody else may name another one.
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(destination.timeout)
        .pool_max_idle_per_host(destination.queue.consumers)
        .default_headers(destination.headers.iter().cloned().collect());
    if let Some(pem) = certificates(&destination.tls)? {
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| format!("ca_file: {e}"))?;
        builder = builder.tls_certs_merge(certificates);
    }
    if destination.tls.insecure_skip_verify {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    builder.build().map_err(|e| causes(&e))
}

impl Http {
    pub fn new(destination: &Destination, clock: Clock) -> Result<Self, String> {
        Ok(Self { client: client(destination)?, destination: destination.clone(), clock })
    }

    pub async fn send(&self, item: &Item) -> Verdict {
        let (body, encoding) = match self.compressed(item).await {
            Ok(compressed) => compressed,
            Err(why) => return Verdict::Rejected(why),
        };
        let mut request = self.client.post(self.address(item)).header(HOPS, u64::from(item.meta.hops));
        for (name, value) in &item.meta.headers {
            request = request.header(name, value);
        }
        if let Some(encoding) = encoding {
            request = request.header(header::CONTENT_ENCODING, encoding);
        }
        match request.body(body).send().await {
            Ok(answer) => self.judge(item, answer).await,
            // Also a connection that was cut after the body went out: whether it was taken is not known, so it is sent
            // once more, byte for byte the same.
            Err(error) => Verdict::Later { after: None, why: causes(&error.without_url()) },
        }
    }

    fn address(&self, item: &Item) -> Url {
        let path = match (self.destination.protocol, item.meta.signal) {
            (Protocol::Webhook, _) => return self.destination.endpoint.clone(),
            (Protocol::Langfuse, Signal::Traces) => "/api/public/otel/v1/traces",
            (_, Signal::Traces) => "/v1/traces",
            (_, Signal::Logs) => "/v1/logs",
            (_, Signal::Metrics) => "/v1/metrics",
            (_, Signal::Langfuse | Signal::Webhooks) => &item.meta.path,
        };
        let mut address = self.destination.endpoint.clone();
        address.set_path(&format!("{}{path}", address.path().trim_end_matches('/')));
        address
    }

    /// The body as it is sent, and its `Content-Encoding` if it was compressed here.
    async fn compressed(&self, item: &Item) -> Result<(Bytes, Option<HeaderValue>), String> {
        let kind = self.destination.compression;
        let encoding = match kind {
            _ if item.meta.is_compressed() => None,
            Compression::None => None,
            Compression::Gzip => Some(HeaderValue::from_static("gzip")),
            Compression::Zstd => Some(HeaderValue::from_static("zstd")),
        };
        let body = item.body.clone();
        if encoding.is_none() {
            return Ok((body, None));
        }
        let body = if body.len() <= INLINE_BYTES_MAX {
            compress(kind, &body)
        } else {
            tokio::task::spawn_blocking(move || compress(kind, &body)).await.unwrap_or_else(|e| Err(e.into()))
        };
        body.map(|body| (body, encoding)).map_err(|e| format!("the body cannot be compressed: {e}"))
    }

    async fn judge(&self, item: &Item, mut answer: Response) -> Verdict {
        let status = answer.status();
        let after = retry_after(answer.headers(), self.clock.now());
        let protobuf = super::super::body::form(answer.headers()) == Form::Protobuf;
        let body = match read(&mut answer).await {
            Ok(body) => body,
            Err(error) if status.is_success() => {
                return Verdict::Later { after: None, why: causes(&error.without_url()) };
            }
            Err(_) => Bytes::new(),
        };
        if status.is_success() {
            return taken(self.destination.protocol, item.meta.signal, protobuf, &body);
        }
        // A protobuf error holds its text somewhere; shown as it is it would be unreadable.
        let text = if protobuf { String::new() } else { said(&String::from_utf8_lossy(&body)) };
        let why = if text.is_empty() { status.to_string() } else { format!("{status}: {text}") };
        if is_worth_another(self.destination.protocol, status) {
            Verdict::Later { after, why }
        } else {
            Verdict::Rejected(why)
        }
    }
}

fn compress(kind: Compression, body: &[u8]) -> std::io::Result<Bytes> {
    match kind {
        Compression::None => Ok(Bytes::copy_from_slice(body)),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(body)?;
            encoder.finish().map(Bytes::from)
        }
        Compression::Zstd => zstd::encode_all(body, 1).map(Bytes::from),
    }
}

async fn read(answer: &mut Response) -> reqwest::Result<Bytes> {
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await? {
        let room = ANSWER_BYTES_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            break;
        }
    }
    Ok(body.freeze())
}

fn is_worth_another(protocol: Protocol, status: StatusCode) -> bool {
    match protocol {
        Protocol::Http | Protocol::Grpc => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        Protocol::Langfuse | Protocol::Webhook => status.as_u16() == 429 || status.is_server_error(),
    }
}

/// What an answer of success says beside it.
fn taken(protocol: Protocol, signal: Signal, protobuf: bool, body: &[u8]) -> Verdict {
    let (rejected, message) = match (protocol, signal) {
        (Protocol::Langfuse, Signal::Langfuse) => {
            let answer: Value = serde_json::from_slice(body).unwrap_or_default();
            let errors = answer["errors"].as_array().map_or(0, Vec::len) as i64;
            (errors, answer["errors"][0].to_string())
        }
        (Protocol::Webhook, _) => (0, String::new()),
        _ if protobuf => {
            let partial = ExportResponse::decode(body).unwrap_or_default().partial_success.unwrap_or_default();
            (partial.rejected, partial.error_message)
        }
        _ => {
            let answer: Value = serde_json::from_slice(body).unwrap_or_default();
            let partial = &answer["partialSuccess"];
            let number = |field: &str| {
                let value = &partial[field];
                value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
            };
            let rejected = ["rejectedSpans", "rejectedLogRecords", "rejectedDataPoints"].map(number).iter().sum();
            (rejected, partial["errorMessage"].as_str().unwrap_or_default().to_owned())
        }
    };
    Verdict::Taken { rejected: u64::try_from(rejected).unwrap_or(0), message: said(&message) }
}
