//! Errors as clients see them: a status and a JSON object with `detail`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

/// An error answer. `detail` says what to change; nothing internal is in it.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    status: StatusCode,
    detail: Value,
    retry_after: Option<u64>,
    /// The requests a minute that were exceeded.
    limit: Option<u32>,
}

/// What is wrong with one field of a request, in the form FastAPI made known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldError {
    /// The path to the field: `["body", "heartbeats", 3, "agent"]`.
    pub loc: Vec<Value>,
    /// What is wrong and what is allowed.
    pub msg: String,
    /// A stable word for the kind of mistake, for example `missing` or `string_type`.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

impl ApiError {
    /// An error with a text.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: Value::String(detail.into()), retry_after: None, limit: None }
    }

    /// 401: no key, or one that does not open anything.
    pub fn not_authenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Not authenticated")
    }

    /// 403: the key is good but may not do this.
    pub fn access_denied() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Access denied")
    }

    /// 404 with what was not found.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} not found"))
    }

    /// 422 with the list of wrong fields.
    pub fn invalid(fields: &[FieldError]) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, detail: json!(fields), retry_after: None, limit: None }
    }

    /// 503 with the time after which to try again, in seconds (at least 1).
    pub fn unavailable(detail: impl Into<String>, retry_after_secs: u64) -> Self {
        Self { retry_after: Some(retry_after_secs.max(1)), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// 429: more than `per_minute` requests (`None`: more wrong keys than an address may try); the next one may come after
    /// so many seconds (at least 1).
    pub fn rate_limited(per_minute: Option<u32>, retry_after_secs: u64) -> Self {
        let refused = Self::new(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded");
        Self { retry_after: Some(retry_after_secs.max(1)), limit: per_minute, ..refused }
    }

    /// The status of the answer.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The `detail` as one text, for protocols that have no JSON body.
    pub fn detail_text(&self) -> String {
        self.detail.as_str().map_or_else(|| self.detail.to_string(), str::to_owned)
    }

    /// When to try again, in seconds.
    pub const fn retry_after(&self) -> Option<u64> {
        self.retry_after
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "detail": self.detail }))).into_response();
        if let Some(secs) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
            if let Some(limit) = self.limit {
                response.headers_mut().insert("x-ratelimit-limit", HeaderValue::from(limit));
                response.headers_mut().insert("x-ratelimit-remaining", HeaderValue::from(0));
                response.headers_mut().insert("x-ratelimit-reset", HeaderValue::from(secs));
            }
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("ApiKey"));
        }
        response
    }
}
