//! `pulsegate ping AGENT`: one heartbeat, from a shell or a script.

use std::path::Path;

use clap::Args;
use pulsegate::ids::Ids;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::Failure;
use super::client::{Client, Output, Reach};
use super::shown::text;

#[derive(Args)]
pub struct PingCommand {
    /// The agent's name; one that is not known yet comes to exist
    agent: String,
    #[command(flatten)]
    reach: Reach,
    /// How the agent is
    #[arg(short, long, value_parser = ["ok", "warning", "error", "shutdown"])]
    status: Option<String>,
    /// A text for people
    #[arg(short, long)]
    message: Option<String>,
    /// What went wrong: the same as --status error --message TEXT
    #[arg(short, long, value_name = "TEXT", conflicts_with_all = ["status", "message"])]
    error: Option<String>,
    /// Tokens used since the last ping
    #[arg(long, value_name = "N")]
    tokens: Option<u64>,
    /// US dollars spent since the last ping
    #[arg(long, value_name = "USD")]
    cost: Option<f64>,
    /// Tool calls made since the last ping
    #[arg(long, value_name = "N")]
    tool_calls: Option<u64>,
    /// The agent's own loop counter
    #[arg(long, value_name = "N")]
    iteration: Option<i64>,
    /// How often the agent will ping, in seconds
    #[arg(long, value_name = "SECONDS")]
    interval: Option<f64>,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub fn run(data_dir: &Path, command: &PingCommand) -> Result<(), Failure> {
    let client = Client::new(&command.reach, data_dir)?;
    // A repeat of the same request, by whatever sends it again, is counted once.
    let key = format!("ping-{}", Ids::system().opaque());
    let request =
        client.prepare(Method::POST, "/api/v1/heartbeat")?.header("Idempotency-Key", key).json(&body(command));
    let answer = client.send(request)?;
    match command.output {
        Output::Json => println!("{answer:#}"),
        Output::Text => {
            println!(
                "{} (agent {}) is {}",
                super::shown::safe(&command.agent),
                answer["agent_id"],
                text(&answer["state"])
            );
            if !answer["warning"].is_null() {
                eprintln!("warning: {}: {}", text(&answer["warning"]), text(&answer["reason"]));
            }
        }
    }
    Ok(())
}

fn body(command: &PingCommand) -> Value {
    let mut body = Map::new();
    body.insert("agent".into(), json!(command.agent));
    let (status, message) = match &command.error {
        Some(error) => (Some("error".to_owned()), Some(error.clone())),
        None => (command.status.clone(), command.message.clone()),
    };
    body.insert("status".into(), json!(status.unwrap_or_else(|| "ok".into())));
    let fields = [
        ("message", json!(message)),
        ("tokens_used", json!(command.tokens)),
        ("cost_usd", json!(command.cost)),
        ("tool_calls", json!(command.tool_calls)),
        ("iteration_count", json!(command.iteration)),
        ("interval", json!(command.interval)),
    ];
    body.extend(fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value)));
    Value::Object(body)
}
