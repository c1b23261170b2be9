//! How much a fleet costs: `cargo bench --bench health -- [AGENTS]` (100000).
//!
//! First a gateway without its listeners, over the embedded store: every agent beats once a minute, in virtual time, and
//! each second the evaluator looks at what is due. Then the pure core: memory of one agent's state, its encoded size, and
//! how many heartbeats a second one core judges. In this order, because memory that is given back is not counted again.
//! Prints figures and judges none; a machine that is busy with other things gives worse ones.

mod fleet;
mod memory;

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// The allocator of the program itself, so that memory is comparable.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Agents when nothing is said.
const AGENTS: usize = 100_000;
/// Virtual seconds over which the evaluator is watched; agents settle in those before.
const SECONDS: std::ops::Range<i64> = 120..240;

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let agents = match given.map_or(Ok(AGENTS), |text| text.parse()) {
        Ok(agents) if agents > 0 => agents,
        _ => {
            eprintln!("usage: cargo bench --bench health -- [AGENTS]");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(fleet::measure(agents, SECONDS))) {
        Ok(()) => {
            memory::measure(agents);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
