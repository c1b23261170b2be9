//! Connections that send one request at a time, as cheaply as possible: what they use of the machine the gateway lacks.

use anyhow::{Context, Result, bail};
use bytes::{Buf, BufMut, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::Load;
use super::gateway::{Addresses, KEY};
use super::payload::Payload;

/// A connection.
pub enum Client {
    Http(Http),
    Grpc(Grpc<Channel>),
}

/// What the gateway said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// All of it was taken in.
    Accepted,
    /// Nothing of it was; it is to be sent again later.
    Refused,
}

impl Client {
    /// Connects to where `load` goes.
    pub async fn connect(load: Load, to: &Addresses) -> Result<Self> {
        Self::connect_with(load, to, KEY).await
    }

    /// Connects to where `load` goes, to send with `key` (gRPC: with [`KEY`]).
    pub async fn connect_with(load: Load, to: &Addresses, key: &str) -> Result<Self> {
        let json = "application/json";
        Ok(match load {
            Load::Heartbeat => Self::Http(Http::connect(to.http, "/api/v1/heartbeat", json, key).await?),
            Load::Batch => Self::Http(Http::connect(to.http, "/api/v1/heartbeat/batch", json, key).await?),
            Load::OtlpHttp => {
                Self::Http(Http::connect(to.otlp_http, "/v1/traces", "application/x-protobuf", key).await?)
            }
            Load::OtlpGrpc => {
                let endpoint = Endpoint::from_shared(format!("http://{}", to.otlp_grpc))?;
                Self::Grpc(Grpc::new(endpoint.tcp_nodelay(true).connect().await?))
            }
        })
    }

    /// Sends request `number` of `payload`. What is neither taken in nor refused for now is an error.
    pub async fn send(&mut self, payload: &Payload, number: u64) -> Result<Reply> {
        match self {
            Self::Http(http) => http.send(payload, number).await,
            Self::Grpc(grpc) => {
                let mut body = Vec::new();
                payload.fill(number, &mut body);
                let mut request = tonic::Request::new(Bytes::from(body));
                request.metadata_mut().insert("x-api-key", MetadataValue::from_static(KEY));
                let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
                grpc.ready().await?;
                match grpc.unary(request, PathAndQuery::from_static(path), Raw).await {
                    Ok(answer) if answer.get_ref().is_empty() => Ok(Reply::Accepted),
                    Ok(_) => bail!("some spans were rejected"),
                    Err(status) if status.code() == Code::Unavailable => Ok(Reply::Refused),
                    Err(status) => Err(status.into()),
                }
            }
        }
    }
}

/// An HTTP/1.1 connection that stays open.
pub struct Http {
    stream: TcpStream,
    head: String,
    out: Vec<u8>,
    body: Vec<u8>,
    answer: Vec<u8>,
}

impl Http {
    async fn connect(to: std::net::SocketAddr, path: &str, content_type: &str, key: &str) -> Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {to}\r\nuser-agent: load\r\naccept: */*\r\nx-api-key: {key}\r\n\
             content-type: {content_type}\r\ncontent-length: "
        );
        Ok(Self { stream, head, out: Vec::new(), body: Vec::new(), answer: Vec::new() })
    }

    async fn send(&mut self, payload: &Payload, number: u64) -> Result<Reply> {
        self.body.clear();
        payload.fill(number, &mut self.body);
        self.out.clear();
        self.out.extend_from_slice(self.head.as_bytes());
        self.out.extend_from_slice(self.body.len().to_string().as_bytes());
        self.out.extend_from_slice(b"\r\n\r\n");
        self.out.extend_from_slice(&self.body);
        self.stream.write_all(&self.out).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                bail!("the gateway closed a connection");
            }
            if let Some((status, length)) = answered(&self.answer)? {
                return match status {
                    200 => Ok(Reply::Accepted),
                    429 | 503 => Ok(Reply::Refused),
                    _ => bail!("status {status}: {}", String::from_utf8_lossy(&self.answer[length..])),
                };
            }
        }
    }
}

/// The status of a complete answer, and where its body begins.
fn answered(answer: &[u8]) -> Result<Option<(u16, usize)>> {
    let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end])?;
    let status = head.get(9..12).context("no status")?.parse()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).context("no content-length")?;
    let complete = answer.len() >= end + 4 + length.parse::<usize>()?;
    Ok(complete.then_some((status, end + 4)))
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
