//! The API's documentation, served from the binary: the OpenAPI document, and two readers of it. No page loads anything
//! from elsewhere, and its content security policy says so to browsers.

mod document;
mod pages;

use std::sync::Arc;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;

/// Adds the documentation of `router` to it, and gives what is to be served.
pub fn with_docs(router: OpenApiRouter) -> Router {
    let pages = pages::routes();
    let (router, mut api) = router.split_for_parts();
    api.merge(pages.get_openapi().clone());
    let text = document::document(api).to_string();
    let (pages, _) = pages.with_state::<()>(pages::Pages { document: Arc::from(text) }).split_for_parts();
    router.merge(pages)
}
