//! What receivers of JSON share: which content types pass for JSON, and how broken JSON is told.

use axum::http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use crate::http::{ApiError, FieldError};

/// Refuses with 415 what declares itself to be something else than JSON.
///
/// `application/json` and `application/…+json` pass, with or without parameters, and so does a body that declares
/// nothing. All clients seen declare `application/json`. Form types are refused although the body could be JSON: it is
/// what `curl -d` sends when the header was forgotten, and saying so once is kinder than guessing for ever.
pub fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or("?");
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = essence.strip_prefix("application/").unwrap_or_default();
    if essence.is_empty() || subtype == "json" || subtype.ends_with("+json") {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        format!("content-type {essence:?} is not supported; send JSON with content-type: application/json"),
    ))
}

/// The body as text; 422 when it is not UTF-8.
pub fn text(body: &[u8]) -> Result<&str, ApiError> {
    std::str::from_utf8(body).map_err(|e| {
        let msg = format!("JSON decode error: the body is not valid UTF-8 from byte {}", e.valid_up_to());
        ApiError::invalid(&[broken(e.valid_up_to(), msg)])
    })
}

/// 422 for a body that is not JSON, or nested deeper than the 128 levels that are read.
pub fn invalid(body: &str, error: &serde_json::Error) -> ApiError {
    let msg = format!("JSON decode error: {error}");
    ApiError::invalid(&[broken(byte_of(body, error.line(), error.column()), msg)])
}

/// One wrong field.
pub fn wrong(loc: &[Value], kind: &'static str, msg: impl Into<String>) -> FieldError {
    FieldError { loc: loc.to_vec(), msg: msg.into(), kind }
}

fn broken(byte: usize, msg: String) -> FieldError {
    wrong(&["body".into(), byte.into()], "json_invalid", msg)
}

/// The byte a line and column (both from 1, the column in bytes) stand for, counted from 0.
fn byte_of(body: &str, line: usize, column: usize) -> usize {
    let start: usize = body.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (start + column.saturating_sub(1)).min(body.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_by_any_of_its_names_passes() {
        let check = |value: &str| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, value.parse().unwrap())]);
            check_content_type(&headers).map_err(|e| e.status().as_u16())
        };
        for good in ["application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json", ""] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["text/plain", "application/x-www-form-urlencoded", "application/xml", "json"] {
            assert_eq!(check(bad), Err(415), "{bad}");
        }
        assert_eq!(check_content_type(&HeaderMap::new()), Ok(()));
    }

    #[test]
    fn broken_json_is_told_with_its_place() {
        let detail = |body: &str| {
            let error = serde_json::from_str::<Value>(body).unwrap_err();
            serde_json::from_str::<Value>(&invalid(body, &error).detail_text()).unwrap()
        };
        let told = detail("{\"agent\":\n \"a\" oops}");
        assert_eq!(told[0]["loc"], serde_json::json!(["body", 15]));
        assert_eq!(told[0]["type"], "json_invalid");
        assert_eq!(told[0]["msg"], "JSON decode error: expected `,` or `}` at line 2 column 6");
        assert_eq!(detail("")[0]["loc"], serde_json::json!(["body", 0]));
        assert!(text(b"ok\xff").unwrap_err().detail_text().contains("not valid UTF-8 from byte 2"));
    }
}
