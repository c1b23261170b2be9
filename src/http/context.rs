//! What is known of the request that is being answered, for code that is deeper than its headers: who sent it, and, once
//! its key was checked, whose it is. It lives as long as the answer is worked on, in the task that does so.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

use super::limit::Charge;

tokio::task_local! {
    static CURRENT: Context;
}

/// A request that is being answered.
#[derive(Default)]
pub struct Context {
    /// Where it came from.
    pub address: Option<IpAddr>,
    /// What a repeat of it has in common with it: a digest of method, path and length.
    pub shape: u64,
    /// The key it was made with, once it was found good.
    pub key: RefCell<Option<Arc<str>>>,
    /// What it cost its key.
    pub charge: RefCell<Option<Charge>>,
}

impl Context {
    /// Runs `answer` as the answer to the request that `self` describes.
    pub async fn scope<F: Future>(self, answer: F) -> F::Output {
        CURRENT.scope(self, answer).await
    }
}

/// Looks at the request that is being answered. Outside of one (in a test of one handler) there is nothing to see.
pub fn with<T>(look: impl FnOnce(&Context) -> T) -> Option<T> {
    CURRENT.try_with(look).ok()
}
