//! Request bodies: read only after the key was checked, bounded before and after decompression.

use std::io::Read;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::ApiError;
use super::serve::TooSlow;

/// A body as it came and as it is read. Both are the same memory when it was not compressed.
#[derive(Clone, Debug)]
pub struct Whole {
    /// As it came, in the request's `Content-Encoding`.
    pub raw: Bytes,
    /// Decompressed.
    pub decoded: Bytes,
}

/// Reads a body of at most `bytes_max` bytes, before as after decompression (`gzip`, `deflate`, `zstd`, `identity`).
///
/// Errors: 413 over the limit, 415 for another `Content-Encoding`, 400 for a body that breaks off or does not decompress,
/// 408 for one that does not go on.
pub async fn read(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, ApiError> {
    read_whole(headers, body, bytes_max).await.map(|body| body.decoded)
}

/// Like [`read`], and keeps the bytes as they came.
pub async fn read_whole(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Whole, ApiError> {
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if declared.is_some_and(|n| n > bytes_max as u64) {
        return Err(too_large(bytes_max));
    }
    let raw = match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(too_large(bytes_max)),
        Err(error) if is_too_slow(&*error) => {
            return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, TooSlow.to_string()));
        }
        Err(_) => return Err(ApiError::new(StatusCode::BAD_REQUEST, "request body ended early")),
    };
    decode(headers, raw.clone(), bytes_max).map(|decoded| Whole { raw, decoded })
}

fn is_too_slow(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<TooSlow>())
}

fn decode(headers: &HeaderMap, raw: Bytes, bytes_max: usize) -> Result<Bytes, ApiError> {
    let encoding = headers.get(header::CONTENT_ENCODING).map_or("identity", |v| v.to_str().unwrap_or("?")).trim();
    match encoding.to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(raw),
        "gzip" | "x-gzip" => inflate(flate2::read::MultiGzDecoder::new(&raw[..]), raw.len(), bytes_max, "gzip"),
        "deflate" => inflate(flate2::read::ZlibDecoder::new(&raw[..]), raw.len(), bytes_max, "deflate"),
        "zstd" => match zstd::stream::read::Decoder::new(&raw[..]) {
            Ok(decoder) => inflate(decoder, raw.len(), bytes_max, "zstd"),
            Err(_) => Err(broken("zstd")),
        },
        other => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("content-encoding {other:?} is not supported; use gzip, zstd, deflate or none"),
        )),
    }
}

fn inflate(decoder: impl Read, hint: usize, bytes_max: usize, name: &str) -> Result<Bytes, ApiError> {
    let mut out = Vec::with_capacity(hint.saturating_mul(4).min(bytes_max));
    match decoder.take(bytes_max as u64 + 1).read_to_end(&mut out) {
        Ok(_) if out.len() > bytes_max => Err(too_large(bytes_max)),
        Ok(_) => Ok(out.into()),
        Err(_) => Err(broken(name)),
    }
}

fn broken(encoding: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, format!("request body is not valid {encoding}"))
}

fn too_large(bytes_max: usize) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("request body is larger than {bytes_max} bytes (counted after decompression); send smaller batches"),
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    async fn read_as(encoding: &str, body: Vec<u8>, max: usize) -> Result<Bytes, StatusCode> {
        let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, encoding.parse().unwrap())]);
        read(&headers, Body::from(body), max).await.map_err(|e| e.status())
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn encodings_are_undone() {
        let text = b"heartbeat ".repeat(20);
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&text).unwrap();
        for (encoding, body) in
            [("identity", text.clone()), ("gzip", gzip(&text)), ("zstd", zstd), ("deflate", zlib.finish().unwrap())]
        {
            assert_eq!(read_as(encoding, body, 1000).await.unwrap(), text, "{encoding}");
        }
    }

    #[tokio::test]
    async fn limits_hold_after_decompression() {
        let bomb = gzip(&vec![0; 10_000_000]);
        assert!(bomb.len() < 20_000);
        assert_eq!(read_as("gzip", bomb.clone(), 1_000_000).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
        let members = [bomb.clone(), bomb].concat();
        assert_eq!(read_as("gzip", members, 15_000_000).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
        assert_eq!(read_as("identity", vec![0; 11], 10).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_said() {
        assert_eq!(read_as("br", vec![], 10).await, Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        for encoding in ["gzip", "zstd", "deflate"] {
            assert_eq!(
                read_as(encoding, b"not compressed".to_vec(), 100).await,
                Err(StatusCode::BAD_REQUEST),
                "{encoding}"
            );
        }
    }
}
