//! The document, and the two pages that show it: Swagger UI to try things, ReDoc to read.

use std::io::Read;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::{ApiError, Path};

/// ReDoc 2.5.4 as published on npm (`bundles/redoc.standalone.js`, MIT), compressed by `gzip -9 -n`. Later versions tell
/// their maker about every use.
const REDOC: &[u8] = include_bytes!("../assets/redoc.standalone.js.gz");
const REDOC_LICENSE: &str = include_str!("../assets/redoc.LICENSE.txt");
const REDOC_PAGE: &str = include_str!("../assets/redoc.html");
const REDOC_START: &str = include_str!("../assets/redoc.start.js");
const SWAGGER_PAGE: &str = include_str!("../assets/swagger.html");
const SWAGGER_START: &str = include_str!("../assets/swagger.start.js");

/// Everything from here, nothing from elsewhere. Both readers write styles into the page, and ReDoc's search is a worker.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    /// The OpenAPI document.
    pub document: Arc<str>,
}

/// The document and its readers. The files they load are no part of the API.
pub fn routes() -> OpenApiRouter<Pages> {
    OpenApiRouter::new()
        .routes(routes!(openapi))
        .routes(routes!(swagger))
        .routes(routes!(redoc))
        .route("/api/docs/{*file}", get(swagger_file))
        .route("/api/docs/", get(async || Redirect::permanent("../docs")))
        .route("/api/redoc/{*file}", get(redoc_file))
        .route("/api/redoc/", get(async || Redirect::permanent("../redoc")))
}

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "Documentation", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object, example = json!({"openapi": "3.1.0"}))))]
async fn openapi(State(pages): State<Pages>) -> Response {
    // For editors and generators that run in a browser elsewhere: it holds nothing that is not in the binary.
    let open = (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), open], pages.document.to_string())
        .into_response()
}

/// This document, to read and to try, by Swagger UI.
#[utoipa::path(get, path = "/api/docs", tag = "Documentation", security(()),
    responses((status = 200, description = "A page", content_type = "text/html", body = String)))]
async fn swagger() -> Response {
    page(SWAGGER_PAGE)
}

/// This document, to read, by ReDoc.
#[utoipa::path(get, path = "/api/redoc", tag = "Documentation", security(()),
    responses((status = 200, description = "A page", content_type = "text/html", body = String)))]
async fn redoc() -> Response {
    page(REDOC_PAGE)
}

fn page(html: &'static str) -> Response {
    let policy = (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    ([(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")), policy], html).into_response()
}

async fn swagger_file(Path(file): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    match file.as_str() {
        "start.js" => Ok(asset("text/javascript", None, SWAGGER_START.as_bytes().to_vec())),
        "swagger-ui.css" | "swagger-ui-bundle.js" => {
            let found = utoipa_swagger_ui::serve(&file, Arc::new(utoipa_swagger_ui::Config::default()));
            let found = found.ok().flatten().ok_or_else(nothing)?;
            let kind = if file.ends_with(".css") { "text/css" } else { "text/javascript" };
            compressed(kind, found.gzpipped, found.bytes.to_vec(), &headers)
        }
        _ => Err(nothing()),
    }
}

async fn redoc_file(Path(file): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    match file.as_str() {
        "start.js" => Ok(asset("text/javascript", None, REDOC_START.as_bytes().to_vec())),
        "redoc.standalone.js" => compressed("text/javascript", true, REDOC.to_vec(), &headers),
        "LICENSE.txt" => Ok(asset("text/plain; charset=utf-8", None, REDOC_LICENSE.as_bytes().to_vec())),
        _ => Err(nothing()),
    }
}

/// A file that is kept compressed, for those who can read that; undone for others.
fn compressed(kind: &'static str, is_gzip: bool, bytes: Vec<u8>, headers: &HeaderMap) -> Result<Response, ApiError> {
    if !is_gzip {
        return Ok(asset(kind, None, bytes));
    }
    let accepts = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if accepts
        .split(',')
        .any(|word| word.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("gzip")))
    {
        return Ok(asset(kind, Some("gzip"), bytes));
    }
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut plain).map_err(|error| {
        tracing::error!(%error, "a file of the documentation does not decompress");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
    })?;
    Ok(asset(kind, None, plain))
}

fn asset(kind: &'static str, encoding: Option<&'static str>, bytes: Vec<u8>) -> Response {
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

fn nothing() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "there is nothing at this path")
}
