//! OTLP over gRPC: the received message as it is, in a new frame.
//!
//! Which codes are worth another attempt: <https://opentelemetry.io/docs/specs/otlp/#failures>.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tonic::client::Grpc as Client;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::super::body::{HOPS_NAME, Item, Signal};
use super::super::settings::{Compression, Destination};
use super::http::ExportResponse;
use super::{Verdict, causes, certificates, said};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which nothing was heard for so long is asked whether it still is one.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A destination that is reached over gRPC.
pub struct Grpc {
    client: Client<Channel>,
    headers: MetadataMap,
    timeout: Duration,
}

impl Grpc {
    pub fn new(destination: &Destination) -> Result<Self, String> {
        crate::http::client::install_crypto();
        let endpoint = destination.endpoint.as_str().trim_end_matches('/').to_owned();
        let mut endpoint = Endpoint::from_shared(endpoint)
            .map_err(|e| causes(&e))?
            .user_agent(concat!("pulsegate/", env!("CARGO_PKG_VERSION")))
            .map_err(|e| causes(&e))?
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(CONNECT_TIMEOUT);
        if destination.endpoint.scheme() == "https" {
            let mut tls = ClientTlsConfig::new().with_native_roots();
            if let Some(pem) = certificates(&destination.tls)? {
                tls = tls.ca_certificate(Certificate::from_pem(pem));
            }
            endpoint = endpoint.tls_config(tls).map_err(|e| causes(&e))?;
        }
        let mut client = Client::new(endpoint.connect_lazy());
        client = match destination.compression {
            Compression::None => client,
            Compression::Gzip => client.send_compressed(CompressionEncoding::Gzip),
            Compression::Zstd => client.send_compressed(CompressionEncoding::Zstd),
        };
        let client = client.accept_compressed(CompressionEncoding::Gzip);
        let headers = MetadataMap::from_headers(destination.headers.iter().cloned().collect());
        Ok(Self { client, headers, timeout: destination.timeout })
    }

    pub async fn send(&self, item: &Item) -> Verdict {
        match tokio::time::timeout(self.timeout, self.export(item)).await {
            Ok(Ok(answer)) => {
                let partial = ExportResponse::decode(answer).unwrap_or_default().partial_success.unwrap_or_default();
                let rejected = u64::try_from(partial.rejected).unwrap_or(0);
                Verdict::Taken { rejected, message: said(&partial.error_message) }
            }
            Ok(Err(status)) => judge(&status),
            Err(_) => Verdict::Later { after: None, why: format!("no answer within {:?}", self.timeout) },
        }
    }

    async fn export(&self, item: &Item) -> Result<Bytes, Status> {
        let path = match item.meta.signal {
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Langfuse | Signal::Webhooks => return Err(Status::unimplemented("not an OTLP signal")),
        };
        let mut client = self.client.clone();
        client.ready().await.map_err(|e| Status::unavailable(causes(&e)))?;
        let mut request = Request::new(item.body.clone());
        for header in self.headers.iter() {
            match header {
                KeyAndValueRef::Ascii(key, value) => drop(request.metadata_mut().insert(key, value.clone())),
                KeyAndValueRef::Binary(key, value) => drop(request.metadata_mut().insert_bin(key, value.clone())),
            }
        }
        request.metadata_mut().insert(HOPS_NAME, u64::from(item.meta.hops).into());
        request.set_timeout(self.timeout);
        Ok(client.unary(request, PathAndQuery::from_static(path), Raw).await?.into_inner())
    }
}

fn judge(status: &Status) -> Verdict {
    let after = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let why = format!("{:?}: {}", status.code(), said(status.message()));
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Verdict::Later { after, why },
        // Without RetryInfo it says that the request itself is too much.
        Code::ResourceExhausted if after.is_some() => Verdict::Later { after, why },
        // What the transport itself came upon, not the destination's word.
        Code::Unknown if std::error::Error::source(status).is_some() => Verdict::Later { after, why },
        _ => Verdict::Rejected(why),
    }
}

/// Messages as they are on the wire.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    /// EXP-3: what the OTLP specification says of every code.
    #[test]
    fn codes_are_judged_as_the_specification_says() {
        let later = |verdict: Verdict| matches!(verdict, Verdict::Later { .. });
        for code in (0..17).map(Code::from_i32).filter(|code| *code != Code::Ok) {
            use Code::{Aborted, Cancelled, DataLoss, DeadlineExceeded, OutOfRange, Unavailable};
            let listed = [Cancelled, DeadlineExceeded, Aborted, OutOfRange, Unavailable, DataLoss].contains(&code);
            assert_eq!(later(judge(&Status::new(code, "x"))), listed, "{code:?}");
        }
        let wait = Duration::from_secs(7);
        let details = ErrorDetails::with_retry_info(Some(wait));
        let status = Status::with_error_details(Code::ResourceExhausted, "busy", details);
        assert_eq!(judge(&status), Verdict::Later { after: Some(wait), why: "ResourceExhausted: busy".into() });
        assert!(!later(judge(&Status::resource_exhausted("too large"))));
    }
}
