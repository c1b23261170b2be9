//! What every HTTP surface shares: error bodies, keys and what they may use, bodies with limits, TLS, and the accept loop.
//! No route lives here.

pub mod auth;
mod backoff;
pub mod body;
pub mod client;
mod context;
pub mod doc;
pub mod edge;
mod error;
mod extract;
mod limit;
pub mod serve;
pub mod tls;

pub use backoff::WRONG_KEYS_PER_MINUTE;
pub use error::{ApiError, FieldError};
pub use extract::{Path, Peer, Query};
