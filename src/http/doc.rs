//! The words of the API's documentation that every handler uses: the body of an error, and the errors that come together.
//!
//! A handler says what it is by `#[utoipa::path]`; with `security(("api_key" = ["read"]))` it names the scope that a key
//! needs, and these names stand for whole groups of answers:
//! `responses((status = 200, body = Page), doc::Keyed, doc::Found, doc::Asked)`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// An error: what went wrong and what to change.
#[derive(ToSchema)]
pub struct ErrorBody {
    /// A text, or for 422 usually one entry for every wrong field.
    pub detail: Detail,
    /// Of OTLP only: the gRPC code of the `google.rpc.Status` that its senders look for.
    pub code: Option<i32>,
    /// Of OTLP only: the text of that status, the same as `detail`.
    pub message: Option<String>,
}

/// What went wrong.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum Detail {
    /// In words.
    Text(String),
    /// Field by field.
    Fields(Vec<WrongField>),
}

/// One wrong field.
#[derive(ToSchema)]
pub struct WrongField {
    /// The path to it: `body`, `query` or `header`, then names and positions.
    #[schema(value_type = Vec<PathPart>)]
    pub loc: Vec<Value>,
    /// What is wrong and what is allowed.
    pub msg: String,
    /// A stable word for the kind of mistake.
    pub r#type: String,
}

/// A name or a position.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum PathPart {
    /// A name.
    Name(String),
    /// A position in a list, from 0.
    Position(u64),
}

type Responses = BTreeMap<String, RefOr<Response>>;

fn error(status: u16, when: &str, detail: Value) -> (String, RefOr<Response>) {
    let schema = Ref::from_schema_name("ErrorBody");
    let content = ContentBuilder::new().schema(Some(schema)).example(Some(json!({ "detail": detail }))).build();
    let mut response = ResponseBuilder::new().description(when).content("application/json", content);
    if matches!(status, 429 | 503) {
        let header = HeaderBuilder::new().description(Some("Seconds after which to try again")).build();
        response = response.header("Retry-After", header);
    }
    (status.to_string(), RefOr::T(response.build()))
}

fn field(loc: Value, msg: &str, kind: &str) -> Value {
    json!([{"loc": loc, "msg": msg, "type": kind}])
}

/// Answers of everything that needs a key: 401, 403, 429 and 503.
pub struct Keyed;

impl IntoResponses for Keyed {
    fn responses() -> Responses {
        [
            error(401, "No key was sent, or it opens nothing", json!("Not authenticated")),
            error(403, "The key lacks the scope", json!("Access denied")),
            error(429, "Too many requests with this key", json!("Rate limit exceeded")),
            error(
                503,
                "At capacity, or the store is out of reach; nothing was kept",
                json!("the gateway is at capacity; try again in 1 s"),
            ),
        ]
        .into()
    }
}

/// 404 for an agent that is not there, or belongs to another project.
pub struct Found;

impl IntoResponses for Found {
    fn responses() -> Responses {
        [error(404, "There is no such thing in the key's project", json!("Agent not found"))].into()
    }
}

/// 422 for parameters of the query.
pub struct Asked;

impl IntoResponses for Asked {
    fn responses() -> Responses {
        let detail = field(json!(["query", "limit"]), "\"x\" is not a whole number from 1 to 1000", "int_range");
        [error(422, "A parameter is wrong", detail)].into()
    }
}

/// Answers of everything that takes a body: 400, 413, 415 and 422.
pub struct Sent;

impl IntoResponses for Sent {
    fn responses() -> Responses {
        let detail = field(json!(["body", "agent"]), "Field required", "missing");
        [
            error(400, "The body broke off or does not decompress", json!("request body ended early")),
            error(
                413,
                "The body is too large",
                json!("request body is larger than 1048576 bytes (counted after decompression); send smaller batches"),
            ),
            error(
                415,
                "The body's type or encoding is not supported",
                json!("content-encoding \"br\" is not supported; use gzip, zstd, deflate or none"),
            ),
            error(422, "The body is wrong", detail),
        ]
        .into()
    }
}

/// 409: it contradicts what is there.
pub struct Conflict;

impl IntoResponses for Conflict {
    fn responses() -> Responses {
        [error(409, "It contradicts what is there", json!("no restart target is known for this agent"))].into()
    }
}

/// 402: the project has as many agents as it may have.
pub struct Paid;

impl IntoResponses for Paid {
    fn responses() -> Responses {
        [error(402, "The project has as many agents as it may have", json!("upgrade_required"))].into()
    }
}

/// 400 for a query that cannot be read.
pub struct Unreadable;

impl IntoResponses for Unreadable {
    fn responses() -> Responses {
        [error(400, "A parameter is wrong", json!("shard must be i/n with i < n"))].into()
    }
}

/// 412: what `If-Match` names is not what is there.
pub struct Stale;

impl IntoResponses for Stale {
    fn responses() -> Responses {
        let detail =
            json!("the agent's settings were changed meanwhile; read it again and repeat the change with the new ETag");
        [error(412, "It was changed meanwhile", detail)].into()
    }
}
