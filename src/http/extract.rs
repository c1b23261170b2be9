//! Parts of the address as handlers take them, with errors in the form every error of the gateway has.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use serde::de::DeserializeOwned;

use super::{ApiError, FieldError};

/// The query, as axum's; one that cannot be read (the same name twice, for example) is 422.
pub struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query =
            axum::extract::Query::try_from_uri(&parts.uri).map_err(|e| unreadable(&parts.uri, &e.body_text()))?;
        Ok(Self(query.0))
    }
}

fn unreadable(uri: &Uri, problem: &str) -> ApiError {
    tracing::debug!(%uri, problem, "query cannot be read");
    let msg = format!("{problem}; give every name at most once, as name=value joined by &");
    ApiError::invalid(&[FieldError { loc: vec!["query".into()], msg, kind: "value_error" }])
}

/// The address a request came from; `None` where it did not come over a connection.
pub struct Peer(pub Option<std::net::IpAddr>);

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self::of(&parts.extensions))
    }
}

impl Peer {
    /// From what the accept loop put beside the request.
    pub fn of(extensions: &axum::http::Extensions) -> Self {
        let peer = extensions.get::<axum::extract::ConnectInfo<std::net::SocketAddr>>();
        Self(peer.map(|peer| peer.0.ip().to_canonical()))
    }
}

/// A part of the path, as axum's; what cannot be one (broken UTF-8, for example) names nothing that exists: 404.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(path) => Ok(Self(path.0)),
            Err(_) => Err(ApiError::new(StatusCode::NOT_FOUND, "there is nothing at this path")),
        }
    }
}
