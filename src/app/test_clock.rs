//! A gateway under a made-up clock watches over nobody, so it can never be one by accident: the clock is asked for on the
//! command line only (`serve --test-clock FILE`, which `--help` does not show), never by a variable or a file; it is
//! refused unless everything listens on this machine alone; a data directory is made under such a clock or it is not, and
//! the other kind of gateway refuses it; and the log says so at every start.

use std::path::Path;

use tracing::warn;

use super::{Addresses, StartError};

/// Marks a data directory whose times are made up.
const MARK: &str = "test-clock";

/// Keeps made-up times and real ones apart, and a made-up clock out of everybody else's reach.
pub fn guard(data_dir: &Path, is_test: bool, addresses: &Addresses) -> Result<(), StartError> {
    let mark = data_dir.join(MARK);
    let has_data = data_dir.join("pulsegate.db").exists();
    let problem = match (is_test, mark.exists()) {
        (false, true) => "this data directory was made under a test clock, its times are made up; use another one",
        (true, false) if has_data => "a test clock needs a data directory of its own; this one has data of real times",
        (true, _) if !addresses.are_local() => {
            "under a test clock the gateway listens on this machine only; use 127.0.0.1 for every endpoint"
        }
        (true, _) => {
            warn!("TEST CLOCK: time stands still until it is moved by hand; this gateway watches over nobody");
            return std::fs::write(&mark, "The times in this directory are made up.\n")
                .map_err(|e| StartError::DataDir { path: mark, problem: e.to_string() });
        }
        (false, false) => return Ok(()),
    };
    Err(StartError::TestClock(problem))
}
