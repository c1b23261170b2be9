//! What can go wrong with a store, by what the caller should do.

/// A store's failure.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Someone else holds it for the moment: try again.
    #[error("store is busy: {0}")]
    Busy(String),
    /// It cannot be used now, for example because the disk is full: answer 503, try again later. Nothing was written.
    #[error("store is unavailable: {0}")]
    Unavailable(String),
    /// A commit may or may not have happened: do not acknowledge.
    #[error("store commit has an unknown outcome: {0}")]
    OutcomeUnknown(String),
    /// What is stored cannot be read: stop and say so.
    #[error("store is corrupt: {0}")]
    Corrupt(String),
}
