//! `--neighbour`: how long a quiet project's beats take, alone and beside a project that sends as fast as it can.
//!
//! The noisy project has the usual limit of 1000 requests a minute, so most of what it sends is refused; what is measured
//! is that refusing is cheap. Both are measured in turn several times in one sitting, and the medians are compared: only
//! the ratio means something on another machine. The noise takes its share of the machine the load runs on, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use pulsegate::clock::{Clock, Stopwatch};
use tokio::task::JoinSet;

use super::client::{Client, Reply};
use super::gateway::{Gateway, NOISY};
use super::payload::Payload;
use super::{Driven, Load, Options};

/// The quiet project sends a beat this often.
const PACE: Duration = Duration::from_millis(5);
/// How often each of the two is measured.
const ROUNDS: usize = 5;

/// Measures and prints.
pub async fn measure(options: &Options) -> Result<()> {
    let mut gateway = Gateway::start(&options.gateway, options.agents, options.pin, "{}")?;
    let loud = gateway.key(NOISY).await?;
    let payload = Arc::new(Payload::new(Load::Heartbeat, options.agents, Clock::system().now()));
    let numbers = Arc::new(AtomicU64::new(0));
    let mut quiet = Client::connect(Load::Heartbeat, gateway.addresses()).await?;
    beats(&mut quiet, &payload, &numbers, options.span() / 5).await?;

    let (mut alone, mut beside, mut noise) = (Vec::new(), Vec::new(), Noise::default());
    for _ in 0..ROUNDS {
        alone.push(beats(&mut quiet, &payload, &numbers, options.span()).await?.quantile(0.99));
        let stop = Arc::new(AtomicBool::new(false));
        let mut senders = JoinSet::new();
        for _ in 0..options.connections {
            let client = Client::connect_with(Load::Heartbeat, gateway.addresses(), &loud).await?;
            senders.spawn(shout(client, payload.clone(), numbers.clone(), stop.clone()));
        }
        let watch = Stopwatch::start();
        beside.push(beats(&mut quiet, &payload, &numbers, options.span()).await?.quantile(0.99));
        stop.store(true, Ordering::Relaxed);
        noise.seconds += watch.elapsed().as_secs_f64();
        while let Some(ended) = senders.join_next().await {
            let (taken, refused) = ended??;
            noise.taken += taken;
            noise.refused += refused;
        }
    }
    let (alone, beside) = (median(alone), median(beside));
    println!("quiet project, p99 of a beat: {:.2} ms alone, {:.2} ms beside the noisy one", ms(alone), ms(beside));
    println!("ratio: {:.2}", beside.as_secs_f64() / alone.as_secs_f64());
    println!(
        "the noisy one made {:.0} requests a second over {} connections; {} were taken in, {} refused",
        (noise.taken + noise.refused) as f64 / noise.seconds,
        options.connections,
        noise.taken,
        noise.refused
    );
    gateway.stop().await
}

#[derive(Default)]
struct Noise {
    taken: u64,
    refused: u64,
    seconds: f64,
}

/// Beats at the quiet project's pace; each of them must be taken in.
async fn beats(client: &mut Client, payload: &Payload, numbers: &AtomicU64, span: Duration) -> Result<Driven> {
    let watch = Stopwatch::start();
    let mut driven = Driven::default();
    while watch.elapsed() < span {
        let began = Stopwatch::start();
        match client.send(payload, numbers.fetch_add(1, Ordering::Relaxed)).await? {
            Reply::Accepted => driven.micros.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX)),
            Reply::Refused => anyhow::bail!("a beat of the quiet project was refused"),
        }
        tokio::time::sleep(PACE.saturating_sub(began.elapsed())).await;
    }
    Ok(driven)
}

/// Sends without a pause; gives how many requests were taken in and refused.
async fn shout(
    mut client: Client,
    payload: Arc<Payload>,
    numbers: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Result<(u64, u64)> {
    let (mut taken, mut refused) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        match client.send(&payload, numbers.fetch_add(1, Ordering::Relaxed)).await? {
            Reply::Accepted => taken += 1,
            Reply::Refused => refused += 1,
        }
    }
    Ok((taken, refused))
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values[values.len() / 2]
}

const fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
