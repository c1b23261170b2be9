//! A destination that answers as a test says, in virtual time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::super::body::Item;
use super::Verdict;
use crate::clock::Stopwatch;

type Answer = dyn FnMut(&Item) -> (Duration, Verdict) + Send;

/// Answers with a function, after the time it says, and remembers what came when.
#[derive(Clone)]
pub struct Script(Arc<Inner>);

struct Inner {
    answer: Mutex<Box<Answer>>,
    seen: Mutex<Vec<(Duration, Bytes)>>,
    began: Stopwatch,
}

impl Script {
    pub fn new(answer: impl FnMut(&Item) -> (Duration, Verdict) + Send + 'static) -> Self {
        Self(Arc::new(Inner {
            answer: Mutex::new(Box::new(answer)),
            seen: Mutex::default(),
            began: Stopwatch::start(),
        }))
    }

    pub async fn send(&self, item: &Item) -> Verdict {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).push((self.0.began.elapsed(), item.body.clone()));
        let (after, verdict) = (self.0.answer.lock().unwrap_or_else(PoisonError::into_inner))(item);
        tokio::time::sleep(after).await;
        verdict
    }

    /// What came, and how long after the start.
    pub fn seen(&self) -> MutexGuard<'_, Vec<(Duration, Bytes)>> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
