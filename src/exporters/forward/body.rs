//! What is passed on: bytes as they were received, and the little that must be known to send them.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Says how many gateways a body went through, so that a ring of gateways does not pass it round for ever.
pub const HOPS_NAME: &str = "x-pulsegate-hops";
/// The header of that name.
pub const HOPS: HeaderName = HeaderName::from_static(HOPS_NAME);
/// A body that went through this many gateways is not passed on.
pub const HOPS_MAX: u8 = 4;
/// The longest header value that is kept, in bytes, and the most headers.
const HEADER_BYTES_MAX: usize = 512;
const HEADERS_MAX: usize = 16;

/// What a body tells about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Signal {
    /// OTLP spans.
    Traces,
    /// OTLP log records.
    Logs,
    /// OTLP data points.
    Metrics,
    /// What Langfuse SDKs send beside OTLP: batches and scores.
    Langfuse,
    /// Langfuse webhooks.
    Webhooks,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 5] = [Self::Traces, Self::Logs, Self::Metrics, Self::Langfuse, Self::Webhooks];

    /// Its bit in a set of signals.
    pub(super) const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// A protobuf message.
    Protobuf,
    /// Anything else, told by its `Content-Type`.
    Other,
}

/// Everything about a body but its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// What it tells about.
    pub signal: Signal,
    /// How it is written.
    pub form: Form,
    /// The path it was sent to, for Langfuse's own; else empty.
    pub path: Arc<str>,
    /// Gateways it went through, this one included.
    pub hops: u8,
    /// Headers that say what the bytes are: `Content-Type`, `Content-Encoding`, and Langfuse's own.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// A body waiting to be sent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Item {
    pub meta: Arc<Meta>,
    pub body: Bytes,
}

/// What every item weighs beside its body: a bound on many tiny bodies, too. In bytes.
const ITEM_BYTES: usize = 256;

impl Item {
    /// What it weighs in a queue, in bytes.
    pub fn weight(&self) -> usize {
        self.meta.weight(self.body.len())
    }
}

impl Meta {
    /// What an item with a body of so many bytes weighs.
    pub fn weight(&self, body: usize) -> usize {
        body + self.path.len() + ITEM_BYTES
    }

    /// The same body without its `Content-Encoding`.
    pub fn decoded(&self) -> Self {
        let mut meta = self.clone();
        meta.headers.retain(|(name, _)| name != header::CONTENT_ENCODING);
        meta
    }

    /// Whether the bytes are compressed.
    pub fn is_compressed(&self) -> bool {
        self.headers.iter().any(|(name, value)| {
            name == header::CONTENT_ENCODING && !value.is_empty() && !value.as_bytes().eq_ignore_ascii_case(b"identity")
        })
    }
}

/// The form a request's `Content-Type` tells.
pub fn form(headers: &HeaderMap) -> Form {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    let protobuf = ["application/x-protobuf", "application/protobuf"];
    if protobuf.iter().any(|p| essence.eq_ignore_ascii_case(p)) { Form::Protobuf } else { Form::Other }
}

/// The headers of a request that belong to its body. None of them says who sent it.
pub fn content_headers(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let kept = headers.iter().filter(|(name, value)| is_content(name) && value.len() <= HEADER_BYTES_MAX);
    kept.take(HEADERS_MAX).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Whether a header goes on with its body. Langfuse's public key stays: upstream has another.
pub fn is_content(name: &HeaderName) -> bool {
    if name == header::CONTENT_TYPE || name == header::CONTENT_ENCODING {
        return true;
    }
    // Old SDKs write underscores.
    let name = name.as_str();
    let ours = name.strip_prefix("x-langfuse-").or_else(|| name.strip_prefix("x_langfuse_"));
    ours.is_some_and(|rest| !matches!(rest, "public-key" | "public_key"))
}

/// How many gateways a request went through before this one.
pub fn hops(headers: &HeaderMap) -> u8 {
    let said = headers.get(HOPS).and_then(|v| v.to_str().ok()).and_then(|v| v.trim().parse::<u8>().ok());
    said.unwrap_or(0)
}

/// [`Meta`] as it is kept on disk.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    signal: Signal,
    form: Form,
    path: &'a str,
    hops: u8,
    #[serde(borrow)]
    headers: Vec<(&'a str, &'a [u8])>,
}

impl Meta {
    /// As it is kept on disk.
    pub fn to_bytes(&self) -> Vec<u8> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let stored = Stored { signal: self.signal, form: self.form, path: &self.path, hops: self.hops, headers };
        // Writing plain values to memory cannot fail; nothing is what reading takes for damaged.
        postcard::to_stdvec(&stored).unwrap_or_default()
    }

    /// From how it is kept on disk; `None` when that is not what [`Meta::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let stored: Stored<'_> = postcard::from_bytes(bytes).ok()?;
        let header = |(name, value): (&str, &[u8])| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok().filter(is_content)?;
            Some((name, HeaderValue::from_bytes(value).ok()?))
        };
        let headers: Option<Vec<_>> = stored.headers.into_iter().map(header).collect();
        Some(Self {
            signal: stored.signal,
            form: stored.form,
            path: stored.path.into(),
            hops: stored.hops,
            headers: headers?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect()
    }

    #[test]
    fn only_what_tells_of_the_content_goes_on() {
        let received = headers(&[
            ("content-type", "application/x-protobuf; v=1"),
            ("content-encoding", "gzip"),
            ("authorization", "Basic c2VjcmV0"),
            ("x-api-key", "cv_secret"),
            ("cookie", "a=b"),
            ("x-langfuse-sdk-name", "python"),
            ("x-langfuse-public-key", "pk-lf-ours"),
            ("x_langfuse_sdk_version", "2.60"),
            ("x-langfuse-signature", "t=1,v1=00"),
        ]);
        let mut kept: Vec<_> = content_headers(&received).iter().map(|(n, _)| n.to_string()).collect();
        kept.sort();
        assert_eq!(
            kept,
            [
                "content-encoding",
                "content-type",
                "x-langfuse-sdk-name",
                "x-langfuse-signature",
                "x_langfuse_sdk_version"
            ]
        );
        assert_eq!(form(&received), Form::Protobuf);
        assert_eq!(form(&headers(&[("content-type", "application/json")])), Form::Other);
    }

    #[test]
    fn meta_is_read_back_as_it_was_written() {
        let received = headers(&[("content-type", "application/json"), ("content-encoding", "gzip")]);
        let meta = Meta {
            signal: Signal::Langfuse,
            form: Form::Other,
            path: "/api/public/ingestion".into(),
            hops: 2,
            headers: content_headers(&received),
        };
        assert_eq!(Meta::from_bytes(&meta.to_bytes()), Some(meta.clone()));
        assert!(meta.is_compressed() && !meta.decoded().is_compressed());
        assert_eq!(Meta::from_bytes(b""), None);
        // A header that could not have been kept is not sent either.
        let mut forged = meta;
        forged.headers = vec![(header::AUTHORIZATION, HeaderValue::from_static("Basic x"))];
        assert_eq!(Meta::from_bytes(&forged.to_bytes()), None);
    }
}
