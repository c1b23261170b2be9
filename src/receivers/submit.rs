//! Where receivers hand in what they decoded.

use crate::ingest::intake::{Intake, Outcome};
use crate::ingest::{Committer, SubmitError};

/// Takes in work and answers once it is durable. It is the [`Committer`]; tests of receivers answer in its place.
pub trait Submit: Clone + Send + Sync + 'static {
    /// Hands in `intake`. The error says that nothing of it was kept.
    fn submit(&self, intake: Intake) -> impl Future<Output = Result<Outcome, SubmitError>> + Send;
}

impl Submit for Committer {
    fn submit(&self, intake: Intake) -> impl Future<Output = Result<Outcome, SubmitError>> + Send {
        Self::submit(self, intake)
    }
}

/// An answer in the place of the committer, and a record of what was asked.
#[cfg(test)]
pub(super) mod fake {
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    use super::{Intake, Outcome, Submit, SubmitError};

    type Answer = dyn Fn(&Intake) -> Result<Outcome, SubmitError> + Send + Sync;

    /// Answers with a function and remembers every intake.
    #[derive(Clone)]
    pub struct Fake {
        answer: Arc<Answer>,
        asked: Arc<Mutex<Vec<Intake>>>,
    }

    impl Fake {
        /// Answers with `answer`.
        pub fn new(answer: impl Fn(&Intake) -> Result<Outcome, SubmitError> + Send + Sync + 'static) -> Self {
            Self { answer: Arc::new(answer), asked: Arc::default() }
        }

        /// What was asked so far.
        pub fn asked(&self) -> MutexGuard<'_, Vec<Intake>> {
            self.asked.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl Submit for Fake {
        async fn submit(&self, intake: Intake) -> Result<Outcome, SubmitError> {
            let answer = (self.answer)(&intake);
            self.asked().push(intake);
            answer
        }
    }
}
