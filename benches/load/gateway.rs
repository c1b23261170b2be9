//! A gateway process: started, watched from outside, asked what it counted, ended.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pulsegate::clock::Stopwatch;
use rustix::process::{Pid, Signal};
use rustix::thread::CpuSet;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

/// The key requests are sent with.
pub const KEY: &str = "load-benchmark";
/// A project with the usual limit; that of [`KEY`] has none.
pub const NOISY: &str = "noisy";
/// The gateway must listen, and end, within this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// Less than this in half a second is idle.
const IDLE: Duration = Duration::from_millis(20);

/// A running gateway. It is ended when this is dropped.
pub struct Gateway {
    child: Child,
    addresses: Addresses,
    http: reqwest::Client,
    program: PathBuf,
    data: TempDir,
}

/// Where it listens.
#[derive(Clone, Debug, Deserialize)]
pub struct Addresses {
    pub http: SocketAddr,
    pub otlp_http: SocketAddr,
    pub otlp_grpc: SocketAddr,
}

/// Sums over all agents of what the gateway says it counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub heartbeats: u64,
    pub tokens: u64,
    pub runs: u64,
    pub model_calls: u64,
    pub tool_calls: u64,
}

/// Commits, and the requests in them, since the gateway was started.
#[derive(Clone, Copy, Debug)]
pub struct Commits {
    count: f64,
    requests: f64,
}

/// Requests handed over for passing on, arrived, and lost.
#[derive(Clone, Copy, Debug)]
pub struct PassedOn {
    pub handed: f64,
    pub sent: f64,
    pub lost: f64,
}

impl Commits {
    /// Requests per commit since `before`.
    pub fn since(self, before: Self) -> f64 {
        (self.requests - before.requests) / (self.count - before.count).max(1.0)
    }
}

impl Gateway {
    /// Starts `program`, which passes on to `forward` (as in the configuration), for up to `agents` agents and waits until it listens. With `pin`, it stays on core 0 and the
    /// calling thread on core 1.
    pub fn start(program: &Path, agents: u64, pin: bool, forward: &str) -> Result<Self> {
        // Not the system's temporary directory: where that is in memory, durability costs nothing.
        let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        if pin {
            // The child inherits it.
            stay_on(0)?;
        }
        let mut command = Command::new(program);
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(data.path())
            .env("PULSEGATE_API_KEY", KEY)
            .env("PULSEGATE_RECEIVERS__HTTP__ENDPOINT", "127.0.0.1:0")
            .env("PULSEGATE_RECEIVERS__OTLP__HTTP__ENDPOINT", "127.0.0.1:0")
            .env("PULSEGATE_RECEIVERS__OTLP__GRPC__ENDPOINT", "127.0.0.1:0")
            .env("PULSEGATE_PROJECTS__DEFAULT__MAX_AGENTS", agents.to_string())
            .env("PULSEGATE_PROJECTS__DEFAULT__RATE_LIMIT_PER_MINUTE", "1000000000")
            .env("PULSEGATE_EXPORTERS__FORWARD", forward)
            .env("PULSEGATE_TELEMETRY__LOG__LEVEL", "error")
            .env(format!("PULSEGATE_PROJECTS__{}__RATE_LIMIT_PER_MINUTE", NOISY.to_uppercase()), "1000")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        if pin {
            stay_on(1)?;
        }
        let addresses = listening(&mut child, &data.path().join("listeners.json"));
        let addresses = addresses.inspect_err(|_| drop(child.kill()))?;
        Ok(Self { child, addresses, http: reqwest::Client::new(), program: program.to_owned(), data })
    }

    /// A key for heartbeats of `project`, in force within a second.
    pub async fn key(&self, project: &str) -> Result<String> {
        let mut command = Command::new(&self.program);
        command
            .args(["keys", "create", "--scopes", "ingest", "--project", project, "--data-dir"])
            .arg(self.data.path());
        let made = command.output()?;
        if !made.status.success() {
            bail!("no key: {}", String::from_utf8_lossy(&made.stderr));
        }
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        Ok(String::from_utf8(made.stdout)?.trim().to_owned())
    }

    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// User and system time so far, of all its threads.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in parentheses may contain anything; utime and stime are the 12th and 13th field after it.
        let fields: Vec<&str> = stat.rsplit_once(')').context("stat")?.1.split_whitespace().collect();
        let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).context("stat");
        let ticks = ticks(11)? + ticks(12)?;
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// Waits until it does next to nothing.
    pub async fn idle(&self) -> Result<()> {
        let watch = Stopwatch::start();
        let mut last = self.cpu()?;
        while watch.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = self.cpu()?;
            if now - last <= IDLE {
                return Ok(());
            }
            last = now;
        }
        bail!("the gateway was still busy {} s after the load", PATIENCE.as_secs())
    }

    /// The most memory it ever had resident.
    pub fn peak_rss_kb(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// How it committed so far.
    pub async fn commits(&self) -> Result<Commits> {
        let text = self.get("/metrics").await?.text().await?;
        let value = |name: &str| -> Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            Ok(line.with_context(|| format!("no {name} in /metrics"))?.trim().parse()?)
        };
        let (count, requests) = ("pulsegate_commit_batch_requests_count", "pulsegate_commit_batch_requests_sum");
        Ok(Commits { count: value(count)?, requests: value(requests)? })
    }

    /// What it says of passing on, over all destinations.
    pub async fn passed_on(&self) -> Result<PassedOn> {
        let text = self.get("/metrics").await?.text().await?;
        let sum = |name: &str| -> f64 {
            let values = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
            values.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
        };
        Ok(PassedOn {
            handed: sum("pulsegate_forward_received_total{"),
            sent: sum("pulsegate_forward_sent_total{"),
            lost: sum("pulsegate_forward_dropped_total{"),
        })
    }

    /// What it counted.
    pub async fn totals(&self) -> Result<Totals> {
        let mut sums = Totals::default();
        let mut offset = 0;
        loop {
            let page = self.get(&format!("/api/v1/status?limit=1000&offset={offset}")).await?.text().await?;
            let page: Value = serde_json::from_str(&page)?;
            let agents = page["agents"].as_array().context("no agents in the status")?;
            if agents.is_empty() {
                return Ok(sums);
            }
            offset += agents.len();
            for totals in agents.iter().map(|a| &a["totals"]) {
                let count = |field: &str| totals[field].as_u64().unwrap_or(0);
                sums.heartbeats += count("heartbeats");
                sums.tokens += count("tokens_used");
                sums.runs += count("runs");
                sums.model_calls += count("model_calls");
                sums.tool_calls += count("tool_calls");
            }
        }
    }

    async fn get(&self, path: &str) -> Result<reqwest::Response> {
        let url = format!("http://{}{path}", self.addresses.http);
        Ok(self.http.get(url).header("x-api-key", KEY).send().await?.error_for_status()?)
    }

    /// Ends it in order; an end that is not orderly is an error.
    pub async fn stop(&mut self) -> Result<()> {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        // Not waiting in one piece: connections must get to hear that the gateway stops.
        let watch = Stopwatch::start();
        while watch.elapsed() < PATIENCE {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the gateway ended with {status}"),
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        bail!("the gateway did not end within {} s", PATIENCE.as_secs())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // After `stop` there is nothing left to end.
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn listening(child: &mut Child, path: &Path) -> Result<Addresses> {
    let watch = Stopwatch::start();
    loop {
        if let Ok(text) = std::fs::read_to_string(path) {
            return Ok(serde_json::from_str(&text)?);
        }
        if let Some(status) = child.try_wait()? {
            bail!("the gateway ended with {status} before it listened");
        }
        if watch.elapsed() > PATIENCE {
            bail!("the gateway did not listen within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn stay_on(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores).with_context(|| format!("cannot stay on core {core}"))
}
