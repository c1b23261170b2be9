//! The gRPC services, which take requests as the bytes that were sent: the generated ones would build a message of each,
//! only for it to be read once, and what goes on to other backends must be what came.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use axum::http::Response as HttpResponse;
use bytes::{Buf, Bytes};
use prost::Message;
use tonic::body::Body;
use tonic::codec::CompressionEncoding::{Deflate, Gzip, Zstd};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};

/// Takes in encoded requests of one signal, an `Export…ServiceRequest` each.
#[tonic::async_trait]
pub trait TakeExport: Clone + Send + Sync + 'static {
    /// The service's full name.
    const NAME: &'static str;
    /// What is answered.
    type Answer: Message + 'static;

    /// Answers after the commit.
    async fn take(&self, request: Request<Bytes>) -> Result<Response<Self::Answer>, Status>;
}

/// The service of one signal.
#[derive(Clone)]
pub struct RawService<T> {
    inner: T,
    bytes_max: usize,
}

impl<T> RawService<T> {
    /// A service whose messages have at most `bytes_max` bytes, before as after decompression.
    pub const fn new(inner: T, bytes_max: usize) -> Self {
        Self { inner, bytes_max }
    }
}

impl<T: TakeExport> NamedService for RawService<T> {
    const NAME: &'static str = T::NAME;
}

impl<T: TakeExport> Service<axum::http::Request<Body>> for RawService<T> {
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
            let mut grpc = Grpc::new(Raw(PhantomData))
                .accept_compressed(Deflate)
                .accept_compressed(Gzip)
                .accept_compressed(Zstd)
                .max_decoding_message_size(bytes_max);
            Ok(grpc.unary(method, request).await)
        })
    }
}

struct Export<T>(T);

impl<T: TakeExport> UnaryService<Bytes> for Export<T> {
    type Response = T::Answer;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move { inner.take(request).await })
    }
}

/// Hands over messages as they came, and encodes the answers.
struct Raw<A>(PhantomData<fn() -> A>);

impl<A: Message + 'static> Codec for Raw<A> {
    type Encode = A;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self(PhantomData)
    }

    fn decoder(&mut self) -> Self {
        Self(PhantomData)
    }
}

impl<A: Message> Encoder for Raw<A> {
    type Item = A;
    type Error = Status;

    fn encode(&mut self, answer: Self::Item, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        answer.encode(out).map_err(|error| Status::internal(error.to_string()))
    }
}

impl<A> Decoder for Raw<A> {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
