//! `cargo bench --bench decode`: what reading a request of spans costs, by the walk over the bytes and by decoded
//! messages. Every figure is spans per second of this thread's processor time, the best of several rounds.
//!
//! Bodies from elsewhere can be given: `cargo bench --bench decode -- FOLDER…` reads every file in each folder as one
//! encoded request.

use std::hint::black_box;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use mimalloc::MiMalloc;
use prost::Message;
use pulsegate::clock::Clock;
use pulsegate::proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use pulsegate::receivers::otlp::naming::Naming;
use pulsegate::receivers::otlp::{spans, wire};
use rustix::time::{ClockId, clock_gettime};

#[path = "../load/spans.rs"]
mod payload;

/// The gateway's own allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Rounds of each measurement; the best one counts, because neighbours only ever make it slower.
const ROUNDS: usize = 15;
/// Processor time of a round, in seconds.
const ROUND_SECONDS: f64 = 0.1;

/// Measures how fast spans are read.
#[derive(Debug, Parser)]
struct Options {
    /// Folders of encoded requests; without any, made-up ones are read
    folders: Vec<PathBuf>,
    /// Reads only the made-up requests of this kind, and by the walk alone, for a profiler
    #[arg(long, value_parser = ["lean", "rich"])]
    profile: Option<String>,
    /// Given by `cargo bench`; a single short round without it
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(kind) = &options.profile {
        let bodies = made_up(kind == "rich");
        let taken =
            best(true, || bodies.iter().for_each(|body| drop(black_box(wire::decode(body, &Naming::default())))));
        let spans = bodies.len() as u64 * payload::TRACES * payload::SPANS;
        println!("{kind}: {:.2} M", spans as f64 / taken / 1e6);
        return Ok(());
    }
    println!(
        "| bodies | bytes a span | prost, decode and drop | prost, decode and read | walk | walk ÷ decode and drop |"
    );
    println!("|---|---|---|---|---|---|");
    if options.folders.is_empty() {
        for (name, is_rich) in [("lean", false), ("rich", true)] {
            measure(name, &made_up(is_rich), options.bench)?;
        }
    }
    for folder in &options.folders {
        let files = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        let bodies = files.map(|file| Ok(std::fs::read(file?.path())?)).collect::<Result<Vec<_>>>()?;
        measure(&folder.display().to_string(), &bodies, options.bench)?;
    }
    Ok(())
}

fn made_up(is_rich: bool) -> Vec<Vec<u8>> {
    let template = payload::Template::new(Clock::system().now(), is_rich);
    let fill = |number| {
        let mut body = Vec::new();
        template.fill(number, number % 16, &mut body);
        body
    };
    (0..64).map(fill).collect()
}

fn measure(name: &str, bodies: &[Vec<u8>], is_bench: bool) -> Result<()> {
    let mut spans = 0;
    for body in bodies {
        let decoded = spans::decode(&ExportTraceServiceRequest::decode(&body[..])?, &Naming::default());
        ensure!(wire::decode(body, &Naming::default())? == decoded, "the walk reads something else than prost");
        spans += decoded.spans;
    }
    let bytes: usize = bodies.iter().map(Vec::len).sum();
    let per_second = |read: &dyn Fn(&[u8])| spans as f64 / best(is_bench, || bodies.iter().for_each(|body| read(body)));
    let dropped = per_second(&|body| drop(black_box(ExportTraceServiceRequest::decode(body))));
    let decoded = per_second(&|body| {
        drop(black_box(
            ExportTraceServiceRequest::decode(body).map(|request| spans::decode(&request, &Naming::default())),
        ));
    });
    let walked = per_second(&|body| drop(black_box(wire::decode(body, &Naming::default()))));
    println!(
        "| {name} | {:.0} | {:.2} M | {:.2} M | {:.2} M | {:.1} |",
        bytes as f64 / spans as f64,
        dropped / 1e6,
        decoded / 1e6,
        walked / 1e6,
        walked / dropped
    );
    Ok(())
}

/// The processor time of one `work` in seconds, in the best of the rounds.
fn best(is_bench: bool, mut work: impl FnMut()) -> f64 {
    let (rounds, enough) = if is_bench { (ROUNDS, ROUND_SECONDS) } else { (1, 0.0) };
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let (start, mut times) = (processor_seconds(), 0.0);
        let taken = loop {
            work();
            times += 1.0;
            let taken = processor_seconds() - start;
            if taken >= enough {
                break taken;
            }
        };
        best = best.min(taken / times);
    }
    best
}

fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
