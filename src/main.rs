//! The command line: one call per subcommand.
//!
//! Exit codes: 0 success, 1 failure while running, 2 wrong usage, 3 invalid configuration, 4 the data directory or its
//! store cannot be used (another gateway has it open, for example), 5 an address cannot be listened on.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
