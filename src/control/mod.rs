//! The wire of commands: what runners fetch and report. What a command goes through is decided in `ingest::plan`.

mod compatible;

use crate::http::auth::Keyring;
use crate::ingest::Committer;

/// What the command routes work with.
#[derive(Clone)]
pub struct Control {
    /// Where everything is handed in.
    pub committer: Committer,
    /// The keys in force.
    pub keyring: Keyring,
}

/// The routes of the published runner.
pub fn routes(control: Control) -> utoipa_axum::router::OpenApiRouter {
    compatible::routes(control)
}
