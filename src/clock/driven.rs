//! A clock that stands still until a file moves it: for trying out the program itself, second by second.
//!
//! The file holds the time to go to, in whole seconds since the epoch. The clock goes there one second at a time, and with
//! each the evaluator looks for what is due, as it would have on the way; then the time it has reached is written to
//! `FILE.reached`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crate::model::Timestamp;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The time a file has moved a clock to.
#[derive(Debug)]
pub(super) struct Driven {
    file: PathBuf,
    pub(super) at: AtomicI64,
    has_begun: AtomicBool,
}

impl Driven {
    /// A clock that begins at the time in `file`; `None` when there is none.
    pub fn open(file: &Path) -> Option<Self> {
        let at = AtomicI64::new(read(file)?.0);
        Some(Self { file: file.to_owned(), at, has_begun: AtomicBool::new(false) })
    }

    /// Waits until the time is moved, and lets one second of it pass. The first look is at the time it begins with.
    pub async fn second(&self) {
        if !self.has_begun.swap(true, Ordering::SeqCst) {
            return;
        }
        self.tell();
        loop {
            let now = Timestamp(self.at.load(Ordering::SeqCst));
            if let Some(to) = read(&self.file).filter(|to| *to > now) {
                self.at.store(to.min(now.plus(Duration::from_secs(1))).0, Ordering::SeqCst);
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn tell(&self) {
        let mut reached = self.file.clone().into_os_string();
        reached.push(".reached");
        let now = Timestamp(self.at.load(Ordering::SeqCst));
        // Whoever waits for it sees that it does not come.
        let _ = std::fs::write(reached, now.as_secs().to_string());
    }
}

fn read(file: &Path) -> Option<Timestamp> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok().map(Timestamp::from_secs)
}
