//! Subcommands and exit codes.

mod agents;
mod audit;
mod client;
mod confirm;
mod events;
mod explain;
mod keys;
mod maintenance;
mod ping;
mod registrations;
mod shown;
mod sse;
mod status;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use pulsegate::app::{App, Options, StartError};
use pulsegate::clock::Clock;
use pulsegate::config::{self, Config, ConfigErrors, Environment};
use pulsegate::ids::Ids;
use pulsegate::store::StoreError;
use pulsegate::telemetry;

/// Failure while running.
const FAILED: u8 = 1;
/// Invalid configuration.
const BAD_CONFIG: u8 = 3;
/// The data directory or its store cannot be used.
const BAD_STORE: u8 = 4;
/// An address cannot be listened on.
const BAD_ADDRESS: u8 = 5;

#[derive(Parser)]
#[command(name = "pulsegate", version, about = "A gateway for the health of AI agents", after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXIT_CODES: &str = "Exit codes: 0 success, 1 failure while running (client commands: the gateway refused or was not reached), 2 wrong usage, 3 invalid configuration, \
4 data directory or store unusable, 5 address not available.";

#[derive(Args)]
struct Common {
    /// Configuration file (YAML); without one the built-in defaults serve
    #[arg(long, global = true, env = "PULSEGATE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the database, the first key and listeners.json are
    #[arg(long, global = true, env = "PULSEGATE_DATA_DIR", value_name = "DIR", default_value = "pulsegate-data")]
    data_dir: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway (what happens without a subcommand)
    Serve {
        /// For trying out: time stands still until this file moves it
        #[arg(long, value_name = "FILE", hide = true)]
        test_clock: Option<PathBuf>,
    },
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make, list and revoke API keys, also while the gateway runs
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// All agents as a table: status, last sign of life, tokens, cost, reason
    Status(status::StatusCommand),
    /// Send one heartbeat
    Ping(ping::PingCommand),
    /// Look at agents and change them
    Agents(agents::AgentsCommand),
    /// Maintenance windows: list, add, delete
    Maintenance(maintenance::MaintenanceCommand),
    /// What happened, and with --follow what happens
    Events(events::EventsCommand),
    /// Make and list projects, also while the gateway runs
    #[command(subcommand)]
    Projects(keys::ProjectsCommand),
    /// Verify and read the record of who changed what
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Names that wait for approval: list, approve, reject
    Registrations(registrations::RegistrationsCommand),
    /// Why an agent has its status: conditions, deadlines, signals, restarts
    Explain(explain::ExplainCommand),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say whether the configuration is valid, and what is wrong with it
    Check,
    /// Print the JSON schema of the configuration file
    Schema,
    /// Print the configuration in force, secrets hidden
    Show,
}

/// A failure with its exit code.
pub struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl From<ConfigErrors> for Failure {
    fn from(error: ConfigErrors) -> Self {
        Self { code: BAD_CONFIG, error: error.into() }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self { code: BAD_STORE, error: error.into() }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = match &error {
            StartError::Bind { .. } => BAD_ADDRESS,
            StartError::Tls { .. } => BAD_CONFIG,
            StartError::Probe(_) | StartError::Prices(_) | StartError::Forward(_) => BAD_CONFIG,
            StartError::DataDir { .. } | StartError::Store(_) | StartError::TestClock(_) => BAD_STORE,
        };
        Self { code, error: error.into() }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { code: FAILED, error }
    }
}

/// Runs what the command line asks for.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let environment = Environment::of_process();
    let result = match cli.command {
        None => serve(&cli.common, &environment, None),
        Some(Command::Serve { test_clock }) => serve(&cli.common, &environment, test_clock.as_deref()),
        Some(Command::Config(command)) => look_at_config(&cli.common, &command, &environment),
        Some(Command::Explain(command)) => explain::run(&cli.common.data_dir, &command),
        Some(Command::Status(command)) => status::run(&cli.common.data_dir, &command),
        Some(Command::Ping(command)) => ping::run(&cli.common.data_dir, &command),
        Some(Command::Agents(command)) => agents::run(&cli.common.data_dir, &command),
        Some(Command::Maintenance(command)) => maintenance::run(&cli.common.data_dir, &command),
        Some(Command::Events(command)) => events::run(&cli.common.data_dir, &command),
        Some(Command::Keys(command)) => keys::run(&cli.common, command, &environment),
        Some(Command::Projects(command)) => keys::projects(&cli.common, command, &environment),
        Some(Command::Audit(command)) => audit::run(&cli.common, &command, &environment),
        Some(Command::Registrations(command)) => registrations::run(&cli.common.data_dir, &command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("pulsegate: {:#}", failure.error);
            ExitCode::from(failure.code)
        }
    }
}

fn look_at_config(common: &Common, command: &ConfigCommand, environment: &Environment) -> Result<(), Failure> {
    let file = common.config.as_deref();
    let text = match command {
        ConfigCommand::Check => config::cli::check(file, environment)?,
        ConfigCommand::Schema => config::cli::schema(),
        ConfigCommand::Show => config::cli::show(file, environment)?,
    };
    print!("{text}");
    Ok(())
}

fn serve(common: &Common, environment: &Environment, test_clock: Option<&Path>) -> Result<(), Failure> {
    let clock = match test_clock {
        None => Clock::system(),
        Some(file) => Clock::driven(file).ok_or_else(|| {
            anyhow::anyhow!("--test-clock: {} must hold a whole number of seconds since the epoch", file.display())
        })?,
    };
    let config = Config::load(common.config.as_deref(), environment)?;
    telemetry::init_logs(config.telemetry.log_level.word(), config.telemetry.log_format == config::LogFormat::Json);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from)?;
    runtime.block_on(async {
        let options = Options {
            data_dir: common.data_dir.clone(),
            api_key: std::env::var("PULSEGATE_API_KEY").ok().filter(|key| !key.is_empty()),
            clock,
            ids: Ids::system(),
        };
        let app = App::start(config, options).await?;
        wait_for_signal().await?;
        app.stop().await;
        Ok(())
    })
}

async fn wait_for_signal() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(anyhow::Error::from)?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        result = tokio::signal::ctrl_c() => {
            result.map_err(anyhow::Error::from)?;
            tracing::info!("interrupted: stopping");
        }
    }
    Ok(())
}
