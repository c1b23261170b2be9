//! `cargo bench --bench load`: what the gateway costs under load.
//!
//! Every kind of load gets a gateway process of its own, with a new database, ports chosen by the system and nothing
//! tuned. The figure to compare is *items per server CPU second*: user and system time of the gateway's process, from
//! the start of the load until it is idle again, so that work it put off is charged. Figures of one sitting compare;
//! across machines and days only their ratios do. At the end the gateway is asked what it counted: one item more or less
//! than was acknowledged fails the benchmark.
//!
//! Options come after `--`: `cargo bench --bench load -- --only heartbeat --seconds 8`.

mod client;
mod gateway;
mod neighbour;
mod payload;
mod report;
mod sink;
mod spans;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use pulsegate::clock::{Clock, Stopwatch};
use tokio::task::JoinSet;

use client::{Client, Reply};
use gateway::Gateway;
use payload::Payload;
use report::Report;
use sink::Forward;

/// Measures the gateway under load.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// How long each load lasts; a fifth of it is added before, uncounted. Default 4, or 0.2 without `cargo bench`
    #[arg(long)]
    seconds: Option<f64>,
    /// How many agents there are
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    agents: u64,
    /// How many connections send, each one request at a time
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    connections: u64,
    /// Only this load
    #[arg(long)]
    only: Option<Load>,
    /// Pass what is received on, and compare with not doing so: loads of OTLP only, in turn, three times each
    #[arg(long, default_value = "off")]
    forward: Forward,
    /// Instead of the loads: what a project that sends as fast as it can does to another one
    #[arg(long)]
    neighbour: bool,
    /// Keep the gateway on core 0 and the load on core 1
    #[arg(long)]
    pin: bool,
    /// Another program than the one built with this benchmark
    #[arg(long, default_value = env!("CARGO_BIN_EXE_pulsegate"))]
    gateway: PathBuf,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Load {
    /// One beat that reports work per request
    Heartbeat,
    /// 100 such beats per request
    Batch,
    /// 100 spans per request, OTLP over HTTP/1.1
    OtlpHttp,
    /// 100 spans per request, OTLP over gRPC
    OtlpGrpc,
}

impl Options {
    fn span(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(if self.bench { 4.0 } else { 0.2 }))
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    // The client wants a provider of cryptography even for plain HTTP; that there is one already is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if options.neighbour {
        return runtime.block_on(neighbour::measure(&options));
    }
    report::head();
    for load in Load::value_variants() {
        if options.only.is_none_or(|only| only == *load) {
            let measured = match options.forward {
                Forward::Off => runtime.block_on(measure(&options, *load, Forward::Off)).map(|report| report.print()),
                forward if load.is_otlp() => compare(&runtime, &options, *load, forward),
                _ => Ok(()),
            };
            measured.with_context(|| format!("load {}", load.name()))?;
        }
    }
    Ok(())
}

/// With and without passing on, in turn, so that what else the machine does falls on both.
fn compare(runtime: &tokio::runtime::Runtime, options: &Options, load: Load, forward: Forward) -> Result<()> {
    let mut reports = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (reports, forward) in reports.iter_mut().zip([Forward::Off, forward]) {
            let report = runtime.block_on(measure(options, load, forward))?;
            report.print();
            reports.push(report);
        }
    }
    report::ratio(forward, &reports[0], &reports[1]);
    Ok(())
}

/// How often each side of a comparison is measured.
const ROUNDS: usize = 3;

impl Load {
    fn is_otlp(self) -> bool {
        matches!(self, Self::OtlpHttp | Self::OtlpGrpc)
    }

    /// Its name on the command line and in the table.
    fn name(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Batch => "batch",
            Self::OtlpHttp => "otlp-http",
            Self::OtlpGrpc => "otlp-grpc",
        }
    }
}

async fn measure(options: &Options, load: Load, forward: Forward) -> Result<Report> {
    let destinations = sink::destinations(forward).await?;
    let mut gateway = Gateway::start(&options.gateway, options.agents, options.pin, &destinations)?;
    let payload = Arc::new(Payload::new(load, options.agents, Clock::system().now()));
    let numbers = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for _ in 0..options.connections {
        clients.push(Client::connect(load, gateway.addresses()).await?);
    }

    let warmed = drive(&mut clients, &payload, &numbers, options.span() / 5).await?;
    gateway.idle().await?;
    let before = gateway.commits().await?;
    let cpu = gateway.cpu()?;
    let watch = Stopwatch::start();
    let mut driven = drive(&mut clients, &payload, &numbers, options.span()).await?;
    let took = watch.elapsed();
    gateway.idle().await?;
    let cpu = gateway.cpu()? - cpu;
    let after = gateway.commits().await?;

    let acknowledged = (warmed.accepted + driven.accepted) * payload.items();
    let counted = gateway.totals().await?;
    let expected = payload.totals_of(warmed.accepted + driven.accepted);
    if counted != expected {
        bail!("{acknowledged} items were acknowledged: expected {expected:?}, the gateway counted {counted:?}");
    }
    let requests = warmed.accepted + driven.accepted;
    let passed_on = gateway.passed_on().await?;
    if forward != Forward::Off && passed_on.handed < requests as f64
        || forward == Forward::Live && (passed_on.sent, passed_on.lost) != (requests as f64, 0.0)
    {
        bail!("{requests} requests were acknowledged, but of those to be passed on: {passed_on:?}");
    }
    if driven.accepted == 0 {
        bail!("nothing was acknowledged; {} requests were refused", driven.refused);
    }
    let report = Report {
        load,
        forward,
        items: driven.accepted * payload.items(),
        took,
        cpu,
        p50: driven.quantile(0.50),
        p99: driven.quantile(0.99),
        peak_rss_kb: gateway.peak_rss_kb()?,
        requests_per_commit: after.since(before),
        refused: warmed.refused + driven.refused,
    };
    drop(clients);
    gateway.stop().await?;
    Ok(report)
}

/// What became of the requests of a load.
#[derive(Default)]
struct Driven {
    accepted: u64,
    refused: u64,
    micros: Vec<u32>,
}

impl Driven {
    fn quantile(&mut self, q: f64) -> Duration {
        let last = self.micros.len().saturating_sub(1);
        let at = (last as f64 * q).ceil() as usize;
        Duration::from_micros(if self.micros.is_empty() { 0 } else { *self.micros.select_nth_unstable(at).1 }.into())
    }
}

/// Sends from every connection for `span`; requests on their way at the end are waited for, so that all are known.
async fn drive(
    clients: &mut Vec<Client>,
    payload: &Arc<Payload>,
    numbers: &Arc<AtomicU64>,
    span: Duration,
) -> Result<Driven> {
    let watch = Stopwatch::start();
    let mut tasks = JoinSet::new();
    for mut client in clients.drain(..) {
        let (payload, numbers) = (payload.clone(), numbers.clone());
        tasks.spawn(async move {
            let mut driven = Driven::default();
            while watch.elapsed() < span {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let began = Stopwatch::start();
                match client.send(&payload, number).await? {
                    Reply::Accepted => {
                        driven.accepted += 1;
                        driven.micros.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
                    }
                    Reply::Refused => {
                        driven.refused += 1;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            }
            anyhow::Ok((client, driven))
        });
    }
    let mut all = Driven::default();
    while let Some(ended) = tasks.join_next().await {
        let (client, driven) = ended??;
        clients.push(client);
        all.accepted += driven.accepted;
        all.refused += driven.refused;
        all.micros.extend(driven.micros);
    }
    Ok(all)
}
