//! The command line: one call per subcommand.
//!
//! Exit codes: 0 success, 1 failure while running, 2 wrong usage, 3 invalid configuration, 4 the data directory or its
//! store cannot be used (another gateway has it open, for example), 5 an address cannot be listened on.

mod cli;

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Reading telemetry is mostly allocating: with the C library's allocator it takes half as long again. Without huge pages,
/// which make an idle gateway twice as large and a busy one no faster.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
