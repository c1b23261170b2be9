//! `pulsegate events`: what happened, and with `--follow` what happens.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::Failure;
use super::client::{Client, Output, Reach};
use super::shown::{colour, colours, painted, safe, text};
use super::sse::Reader;

/// How long to wait before the stream is opened again.
const AGAIN: Duration = Duration::from_secs(2);
/// A stream has no end; this is as good as none.
const ENDLESS: Duration = Duration::from_secs(10 * 365 * 86_400);
/// A stream that is silent for so long is dead: the gateway sends a comment every 15 s.
const SILENT: Duration = Duration::from_secs(60);

#[derive(Args)]
pub struct EventsCommand {
    /// Only events of this agent, by name or number
    agent: Option<String>,
    #[command(flatten)]
    reach: Reach,
    /// Go on with what happens from now on, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// How many past events to print
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=1000))]
    limit: u64,
    /// How to print them: json is one event a line
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub fn run(data_dir: &Path, command: &EventsCommand) -> Result<(), Failure> {
    let client = Client::new(&command.reach, data_dir)?;
    let agent = command.agent.as_deref().map(|agent| client.agent(agent)).transpose()?;
    let id = agent.as_ref().map(|agent| agent["agent_id"].to_string());
    let path = match &id {
        Some(id) => format!("/api/v1/agents/{id}/events"),
        None => "/api/v1/events".to_owned(),
    };
    let found = client.get(&format!("{path}?limit={}", command.limit.max(1)))?;
    let mut past = found["events"].as_array().cloned().unwrap_or_default();
    let newest = past.first().and_then(|event| event["id"].as_i64()).unwrap_or(0);
    past.truncate(usize::try_from(command.limit).unwrap_or(usize::MAX));
    past.reverse();
    let mut names = Names::default();
    for event in &past {
        println!("{}", line(event, &names.of(event, &client), command.output));
    }
    if command.follow {
        follow(&client, id.as_deref(), newest, command.output)?;
    }
    Ok(())
}

/// Prints events as they happen. A stream that breaks off is opened again where it was; only a refusal ends this.
fn follow(client: &Client, agent: Option<&str>, newest: i64, output: Output) -> anyhow::Result<()> {
    let path = match agent {
        Some(id) => format!("/api/v1/stream?agent={id}"),
        None => "/api/v1/stream".to_owned(),
    };
    let mut last = newest.to_string();
    client.block_on(async {
        loop {
            let request = client.prepare(Method::GET, &path)?.header("Last-Event-ID", &last).timeout(ENDLESS);
            match request.send().await {
                Ok(answer) if answer.status().is_success() => read(answer, &mut last, output).await,
                Ok(answer) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => {}
                Ok(answer) => return client.read(answer).await.map(|_| ()),
                Err(error) => eprintln!("pulsegate: {error}; trying again"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    })
}

/// Prints what one stream brings until it ends, and keeps the number of the last event.
async fn read(answer: reqwest::Response, last: &mut String, output: Output) {
    let (mut pieces, mut reader) = (answer.bytes_stream(), Reader::default());
    while let Ok(Some(Ok(piece))) = tokio::time::timeout(SILENT, pieces.next()).await {
        for event in reader.push(&piece) {
            let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
            let Some(id) = event.id else {
                eprintln!("pulsegate: the stream ended: {}; opening it again", text(&data["detail"]));
                continue;
            };
            *last = id;
            println!("{}", line(&data, &text(&data["agent"]), output));
        }
    }
}

/// Names of agents by number; a list of events has only numbers.
#[derive(Default)]
struct Names(HashMap<String, String>);

impl Names {
    fn of(&mut self, event: &Value, client: &Client) -> String {
        if let Some(name) = event["agent"].as_str() {
            return safe(name);
        }
        if event["agent_id"].is_null() {
            return "-".into();
        }
        let id = event["agent_id"].to_string();
        self.0
            .entry(id)
            .or_insert_with_key(|id| match client.get(&format!("/api/v1/agents/{id}")) {
                Ok(agent) => text(&agent["agent"]),
                Err(_) => format!("agent {id}"),
            })
            .clone()
    }
}

fn line(event: &Value, agent: &str, output: Output) -> String {
    if output == Output::Json {
        return event.to_string();
    }
    let what = match (event["from"].as_str(), event["to"].as_str()) {
        (Some(from), Some(to)) => {
            format!("{} → {}", safe(from), painted(&safe(to), colour(to), colours()))
        }
        _ => text(&event["kind"]),
    };
    format!("{}  {agent}  {what}  {}", text(&event["at"]), text(&event["cause"]))
        .trim_end_matches(['-', ' '])
        .to_owned()
}
