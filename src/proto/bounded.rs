//! Decoding that cannot be made to use much more memory than the bytes it is given.
//!
//! An empty message takes two bytes on the wire and, as an element of a list, up to two hundred in memory. So a request
//! is walked once without building anything, and refused if its messages would need too much.

use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

use super::opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest;
use super::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use super::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use super::opentelemetry::proto::common::v1::{AnyValue, KeyValue};
use super::opentelemetry::proto::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use super::opentelemetry::proto::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
};
use super::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span, span::Event};

/// The most bytes the messages of one request may take in memory, without their texts (which are part of the body).
/// A body of 20 MB full of the shortest attributes anyone sends stays below it.
pub const MESSAGES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How deep messages may be nested; prost refuses more.
const DEPTH_MAX: usize = 100;

/// Why a request cannot be decoded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DecodeError {
    /// It has too many messages in it.
    #[error("too many spans, attributes or other elements in one request; send smaller batches")]
    TooMany,
    /// It is no protobuf message of this kind.
    #[error(transparent)]
    Malformed(#[from] prost::DecodeError),
}

/// A message that is decoded with a bound.
pub trait Bounded: Message + Default + Send + 'static {
    /// What kind of message it is.
    const KIND: Kind;
}

impl Bounded for ExportTraceServiceRequest {
    const KIND: Kind = Kind::Traces;
}

impl Bounded for KeyValue {
    const KIND: Kind = Kind::KeyValue;
}

impl Bounded for ExportLogsServiceRequest {
    const KIND: Kind = Kind::Logs;
}

impl Bounded for ExportMetricsServiceRequest {
    const KIND: Kind = Kind::Metrics;
}

/// Decodes a message.
pub fn decode<T: Bounded>(bytes: &[u8]) -> Result<T, DecodeError> {
    if weigh(bytes, T::KIND)? > MESSAGES_BYTES_MAX {
        return Err(DecodeError::TooMany);
    }
    Ok(T::decode(bytes)?)
}

/// The messages that stand in lists, or hold such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as the messages of the protocol")]
pub enum Kind {
    Traces,
    ResourceSpans,
    ScopeSpans,
    Span,
    Event,
    Resource,
    KeyValue,
    /// The value of an attribute, which lies within it.
    Value,
    /// A value in a list.
    Item,
    Array,
    List,
    Logs,
    ResourceLogs,
    ScopeLogs,
    LogRecord,
    Metrics,
    ResourceMetrics,
    ScopeMetrics,
    Metric,
    /// A gauge or a sum.
    Numbers,
    Histogram,
    ExponentialHistogram,
    Number,
    HistogramPoint,
    ExponentialPoint,
}

impl Kind {
    /// What the field `tag` holds, if it is one of these kinds. The numbers are those of the `.proto` files.
    const fn child(self, tag: u32) -> Option<Self> {
        Some(match (self, tag) {
            (Self::Traces, 1) => Self::ResourceSpans,
            (Self::ResourceSpans | Self::ResourceLogs | Self::ResourceMetrics, 1) => Self::Resource,
            (Self::ResourceSpans, 2) => Self::ScopeSpans,
            (Self::ScopeSpans, 2) => Self::Span,
            (Self::Span, 11) => Self::Event,
            (Self::Resource | Self::List | Self::ExponentialPoint, 1)
            | (Self::Span | Self::HistogramPoint, 9)
            | (Self::Event, 3)
            | (Self::LogRecord, 6)
            | (Self::Number, 7) => Self::KeyValue,
            (Self::KeyValue, 2) | (Self::LogRecord, 5) => Self::Value,
            (Self::Value | Self::Item, 5) => Self::Array,
            (Self::Value | Self::Item, 6) => Self::List,
            (Self::Array, 1) => Self::Item,
            (Self::Logs, 1) => Self::ResourceLogs,
            (Self::ResourceLogs, 2) => Self::ScopeLogs,
            (Self::Metrics, 1) => Self::ResourceMetrics,
            (Self::ResourceMetrics, 2) => Self::ScopeMetrics,
            (Self::ScopeLogs, 2) => Self::LogRecord,
            (Self::ScopeMetrics, 2) => Self::Metric,
            (Self::Metric, 5 | 7) => Self::Numbers,
            (Self::Metric, 9) => Self::Histogram,
            (Self::Metric, 10) => Self::ExponentialHistogram,
            (Self::Numbers, 1) => Self::Number,
            (Self::Histogram, 1) => Self::HistogramPoint,
            (Self::ExponentialHistogram, 1) => Self::ExponentialPoint,
            _ => return None,
        })
    }

    /// What one more of it takes in memory.
    const fn size(self) -> usize {
        match self {
            Self::ResourceSpans => size_of::<ResourceSpans>(),
            Self::ScopeSpans => size_of::<ScopeSpans>(),
            Self::Span => size_of::<Span>(),
            Self::Event => size_of::<Event>(),
            Self::KeyValue => size_of::<KeyValue>(),
            Self::Item => size_of::<AnyValue>(),
            Self::ResourceLogs => size_of::<ResourceLogs>(),
            Self::ScopeLogs => size_of::<ScopeLogs>(),
            Self::ResourceMetrics => size_of::<ResourceMetrics>(),
            Self::ScopeMetrics => size_of::<ScopeMetrics>(),
            Self::LogRecord => size_of::<LogRecord>(),
            Self::Metric => size_of::<Metric>(),
            Self::Number => size_of::<NumberDataPoint>(),
            Self::HistogramPoint => size_of::<HistogramDataPoint>(),
            Self::ExponentialPoint => size_of::<ExponentialHistogramDataPoint>(),
            // These lie within the message that holds them, or are the whole request.
            Self::Traces | Self::Logs | Self::Metrics | Self::Resource | Self::Value | Self::Array | Self::List => 0,
            Self::Numbers | Self::Histogram | Self::ExponentialHistogram => 0,
        }
    }
}

/// The memory the messages in `bytes` would take; stops as soon as it is too much.
fn weigh(bytes: &[u8], kind: Kind) -> Result<usize, prost::DecodeError> {
    let mut weight = 0_usize;
    // What is left of the messages that hold the current one.
    let mut outer: Vec<(&[u8], Kind)> = Vec::new();
    let (mut rest, mut kind) = (bytes, kind);
    loop {
        if rest.is_empty() {
            match outer.pop() {
                Some(next) => (rest, kind) = next,
                None => return Ok(weight),
            }
            continue;
        }
        let (tag, wire_type) = decode_key(&mut rest)?;
        let child = kind.child(tag).filter(|_| wire_type == WireType::LengthDelimited);
        let Some(child) = child else {
            skip_field(wire_type, tag, &mut rest, DecodeContext::default())?;
            continue;
        };
        let length = usize::try_from(decode_varint(&mut rest)?).unwrap_or(usize::MAX);
        // A message that breaks off is told by the decoder, which fails at the same place.
        let Some((inner, after)) = rest.split_at_checked(length) else { return Ok(weight) };
        weight = weight.saturating_add(child.size());
        if weight > MESSAGES_BYTES_MAX || outer.len() >= DEPTH_MAX {
            return Ok(weight);
        }
        outer.push((after, kind));
        (rest, kind) = (inner, child);
    }
}

/// The codec of the generated services: [`decode`] for requests, prost for answers. A request that cannot be decoded is
/// the sender's mistake, so it is `INVALID_ARGUMENT`.
#[derive(Clone, Debug)]
pub struct Codec<E, D>(PhantomData<(E, D)>);

impl<E, D> Default for Codec<E, D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E: Message + Send + 'static, D: Bounded> tonic::codec::Codec for Codec<E, D> {
    type Encode = E;
    type Decode = D;
    type Encoder = ProstEncoder<E>;
    type Decoder = BoundedDecoder<D>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<E, D>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(PhantomData)
    }
}

/// The decoder of [`Codec`].
#[derive(Clone, Debug)]
pub struct BoundedDecoder<D>(PhantomData<D>);

impl<D: Bounded> Decoder for BoundedDecoder<D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        decode(&bytes).map(Some).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `inner` as the field `tag` of a message.
    fn field(tag: u8, inner: &[u8]) -> Vec<u8> {
        let mut out = vec![tag << 3 | 2];
        prost::encoding::encode_varint(inner.len() as u64, &mut out);
        out.extend_from_slice(inner);
        out
    }

    fn is_too_many<T: Bounded>(bytes: &[u8]) -> bool {
        matches!(decode::<T>(bytes), Err(DecodeError::TooMany))
    }

    #[test]
    fn millions_of_empty_messages_are_refused_before_they_are_built() {
        let many = |tag: u8| [tag << 3 | 2, 0].repeat(3_000_000);
        let within = |tags: &[u8], inner: Vec<u8>| tags.iter().rev().fold(inner, |inner, tag| field(*tag, &inner));
        assert!(is_too_many::<ExportTraceServiceRequest>(&many(1)));
        for (tags, last) in
            [(&[1, 2][..], 2), (&[1, 2, 2], 9), (&[1, 2, 2], 11), (&[1, 1], 1), (&[1, 2, 2, 9, 2, 5], 1)]
        {
            assert!(is_too_many::<ExportTraceServiceRequest>(&within(tags, many(last))), "{tags:?} {last}");
        }
        assert!(is_too_many::<ExportLogsServiceRequest>(&field(1, &many(2))));
        for (tags, last) in [(&[1, 2][..], 2), (&[1, 2, 2], 6), (&[1, 2, 2, 5, 5], 1), (&[1, 1], 1)] {
            assert!(is_too_many::<ExportLogsServiceRequest>(&within(tags, many(last))), "{tags:?} {last}");
        }
        assert!(is_too_many::<ExportMetricsServiceRequest>(&within(&[1, 2], many(2))));
        for data in [5, 7, 9, 10] {
            assert!(is_too_many::<ExportMetricsServiceRequest>(&within(&[1, 2, 2, data], many(1))), "{data}");
        }
        for (data, attributes) in [(7, 7), (9, 9), (10, 1)] {
            let points = within(&[1, 2, 2, data, 1], many(attributes));
            assert!(is_too_many::<ExportMetricsServiceRequest>(&points), "{data}");
        }
    }

    #[test]
    fn what_is_only_counted_takes_no_memory() {
        let points = [1 << 3 | 2, 0].repeat(3_000_000);
        let summary = [2, 2, 11].iter().rev().fold(points, |inner, tag| field(*tag, &inner));
        assert!(decode::<ExportMetricsServiceRequest>(&field(1, &summary)).is_ok());
    }

    #[test]
    fn deep_nesting_and_broken_ends_are_malformed() {
        let deep = (0..10_000).fold(Vec::new(), |inner, _| field(5, &field(1, &inner)));
        let request = [2, 9, 2, 2, 1].into_iter().fold(deep, |inner, tag| field(tag, &inner));
        for bytes in [&request[..], &[1 << 3 | 2, 200], &[0xff; 20], &[1 << 3 | 3]] {
            assert!(matches!(decode::<ExportTraceServiceRequest>(bytes), Err(DecodeError::Malformed(_))), "{bytes:?}");
        }
    }
}
