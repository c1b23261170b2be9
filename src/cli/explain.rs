//! `pulsegate explain`: everything behind an agent's status, as a person would tell it.

use std::fmt::Write as _;
use std::path::Path;

use clap::Args;
use serde_json::Value;

use super::Failure;
use super::client::{Client, Output, Reach, plain};

#[derive(Args)]
pub struct ExplainCommand {
    /// The agent's name or number
    agent: String,
    #[command(flatten)]
    reach: Reach,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub fn run(data_dir: &Path, command: &ExplainCommand) -> Result<(), Failure> {
    let client = Client::new(&command.reach, data_dir)?;
    let agent = client.agent(&command.agent)?;
    let told = client.get(&format!("/api/v1/agents/{}/explain", agent["agent_id"]))?;
    match command.output {
        Output::Json => println!("{told:#}"),
        Output::Text => print!("{}", text(&plain(told))),
    }
    Ok(())
}

/// The explanation for people.
fn text(told: &Value) -> String {
    let explained = &told["explanation"];
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(format!(
        "{} (agent {}) is {} since {}",
        word(&told["agent"]),
        told["agent_id"],
        word(&explained["state"]),
        word(&explained["since"])
    ));
    if let Some(reason) = explained["reason"].as_str().filter(|r| !r.is_empty()) {
        line(format!("  {reason}"));
    }
    line("\nConditions".into());
    let conditions = list(&explained["conditions"]);
    if conditions.is_empty() {
        line("  none: nothing is wrong".into());
    }
    for c in conditions {
        line(format!("  {} ({}) since {}", word(&c["name"]), word(&c["level"]), word(&c["since"])));
        line(format!("    {}", word(&c["reason"])));
    }
    line("\nWhat can change by time alone".into());
    let deadlines = list(&explained["deadlines"]);
    if deadlines.is_empty() {
        line("  nothing".into());
    }
    for d in deadlines {
        line(format!("  {:<12} at {} (in {} s)", word(&d["judges"]), word(&d["at"]), word(&d["in_seconds"])));
    }
    line("\nLast signals".into());
    for (name, value) in explained["signals"].as_object().into_iter().flatten().filter(|(_, v)| !v.is_null()) {
        line(format!("  {name:<16} {}", word(value)));
    }
    let restart = &explained["automatic_restart"];
    line("\nAutomatic restart".into());
    let allowed = if restart["allowed"] == true { "allowed" } else { "not allowed" };
    line(format!("  {allowed}: {}", word(&restart["why"])));
    line(format!("  {} of {} used without lasting health in between", restart["used"], restart["max"]));
    out
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A value without quotation marks.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(word).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields.iter().fold(String::new(), |mut text, (name, value)| {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}{name} {}", word(value));
            text
        }),
        other => other.to_string(),
    }
}
