//! From what receivers hand in to what is stored: the committer gathers a batch, the plan decides it, the store keeps it.
//!
//! Replies go out after the commit, so "received" means kept.

pub mod administer;
mod committer;
pub mod intake;
mod plan;
mod presence;
mod refusal;
mod signals;
mod traces;

pub use administer::{Audited, Change};
pub use committer::{Committer, CommitterConfig, SubmitError};
pub use intake::{Intake, Outcome, Work};
pub use plan::{CommandRules, Rules};
pub use presence::SharedPresence;
pub use traces::TraceRules;
