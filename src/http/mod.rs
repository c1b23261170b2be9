//! What every HTTP surface shares: error bodies, keys, bodies with limits, and the accept loop. No route lives here.

pub mod auth;
pub mod body;
mod error;
mod extract;
pub mod serve;

pub use error::{ApiError, FieldError};
pub use extract::{Path, Query};
