//! The gRPC service of spans, which takes requests as the bytes that were sent: the generated one would build a message
//! of each only for it to be read once.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::http::Response as HttpResponse;
use bytes::{Buf, Bytes};
use prost::Message;
use tonic::body::Body;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};

use crate::proto::opentelemetry::proto::collector::trace::v1::{ExportTraceServiceResponse, trace_service_server};

/// Takes in an encoded `ExportTraceServiceRequest`.
#[tonic::async_trait]
pub trait TakeTraces: Clone + Send + Sync + 'static {
    /// Answers after the commit.
    async fn take(&self, request: Request<Bytes>) -> Result<Response<ExportTraceServiceResponse>, Status>;
}

/// `opentelemetry.proto.collector.trace.v1.TraceService`.
#[derive(Clone)]
pub struct RawTraceService<T> {
    inner: T,
    bytes_max: usize,
}

impl<T> RawTraceService<T> {
    /// A service whose messages have at most `bytes_max` bytes, before as after decompression.
    pub const fn new(inner: T, bytes_max: usize) -> Self {
        Self { inner, bytes_max }
    }
}

impl<T> NamedService for RawTraceService<T> {
    const NAME: &'static str = trace_service_server::SERVICE_NAME;
}

impl<T: TakeTraces> Service<axum::http::Request<Body>> for RawTraceService<T> {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: axum::http::Request<Body>) -> Self::Future {
        let is_export = request.uri().path().rsplit('/').next() == Some("Export");
        let (method, bytes_max) = (Export(self.inner.clone()), self.bytes_max);
        Box::pin(async move {
            if !is_export {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let mut grpc =
                Grpc::new(Raw).accept_compressed(Gzip).accept_compressed(Zstd).max_decoding_message_size(bytes_max);
            Ok(grpc.unary(method, request).await)
        })
    }
}

struct Export<T>(T);

impl<T: TakeTraces> UnaryService<Bytes> for Export<T> {
    type Response = ExportTraceServiceResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move { inner.take(request).await })
    }
}

/// Hands over messages as they came.
#[derive(Clone, Copy, Debug)]
struct Raw;

impl Codec for Raw {
    type Encode = ExportTraceServiceResponse;
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
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn encode(&mut self, answer: Self::Item, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        answer.encode(out).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
