//! `pulsegate maintenance`: windows in which nothing alerts and nothing is restarted by itself, over the running gateway's
//! API (scope `admin`).

use std::path::Path;

use clap::{Args, Subcommand};
use reqwest::{Method, Url};
use serde_json::{Map, Value, json};

use super::Failure;
use super::client::{Client, Output, Reach};
use super::shown::text;

#[derive(Args)]
pub struct MaintenanceCommand {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    reach: Reach,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: Output,
    /// The project; without this, the key's. Another one needs a global key
    #[arg(long, global = true, value_name = "NAME")]
    project: Option<String>,
}

#[derive(Subcommand)]
enum What {
    /// List all windows, with whether they hold
    List,
    /// Make a window, for example: add --agent my-agent --duration 2h, or add --pattern 'batch-*' --cron '30 2 * * 6' --duration 2h
    Add(Wanted),
    /// Delete a window; if it holds, it is over
    Delete {
        /// Its number
        window: u64,
    },
}

#[derive(Args)]
struct Wanted {
    /// The one agent it covers, by name or number; without this and --pattern, the whole project
    #[arg(long, value_name = "AGENT", conflicts_with = "pattern")]
    agent: Option<String>,
    /// The names it covers; * is any text, ? any one character
    #[arg(long)]
    pattern: Option<String>,
    /// When it begins, such as 2026-12-01T22:00:00Z; without this, now
    #[arg(long, value_name = "TIME", conflicts_with = "cron")]
    from: Option<String>,
    /// When it is over
    #[arg(long, value_name = "TIME", conflicts_with_all = ["cron", "duration"], required_unless_present = "duration")]
    to: Option<String>,
    /// How long it holds, for example 2h
    #[arg(long)]
    duration: Option<String>,
    /// When it begins again and again: minute, hour, day of the month, month, day of the week
    #[arg(long, value_name = "EXPRESSION", requires = "duration")]
    cron: Option<String>,
    /// Where the hours of --cron are meant, such as Europe/Berlin; without this, UTC
    #[arg(long, value_name = "ZONE", requires = "cron")]
    timezone: Option<String>,
    /// Why
    #[arg(long)]
    reason: Option<String>,
}

pub fn run(data_dir: &Path, command: &MaintenanceCommand) -> Result<(), Failure> {
    let client = Client::new(&command.reach, data_dir)?;
    let all = with_project("/api/v1/maintenance", command.project.as_deref());
    match &command.what {
        What::List => {
            let told = client.get(&all)?;
            match command.output {
                Output::Json => println!("{told:#}"),
                Output::Text => print!("{}", table(&told)),
            }
        }
        What::Add(wanted) => {
            let agent = wanted.agent.as_deref().map(|name| client.agent(name)).transpose()?;
            let made = client.request(Method::POST, &all, Some(&body(wanted, agent.as_ref())))?;
            match command.output {
                Output::Json => println!("{made:#}"),
                Output::Text => {
                    println!("window {}: {}, {}, {}", made["window_id"], covers(&made), when(&made), holds(&made));
                }
            }
        }
        What::Delete { window } => {
            client.request(Method::DELETE, &format!("/api/v1/maintenance/{window}"), None)?;
            println!("deleted window {window}");
        }
    }
    Ok(())
}

fn with_project(path: &str, project: Option<&str>) -> String {
    let Some(project) = project else { return path.to_owned() };
    // Only to write the name as it must stand in a query.
    let query = Url::parse_with_params("http://localhost/", [("project", project)]).ok();
    format!("{path}?{}", query.as_ref().and_then(Url::query).unwrap_or_default())
}

fn body(wanted: &Wanted, agent: Option<&Value>) -> Value {
    let fields = [
        ("agent_id", agent.map_or(Value::Null, |agent| agent["agent_id"].clone())),
        ("pattern", json!(wanted.pattern)),
        ("from", json!(wanted.from)),
        ("to", json!(wanted.to)),
        ("cron", json!(wanted.cron)),
        ("duration", json!(wanted.duration)),
        ("timezone", json!(wanted.timezone)),
        ("reason", json!(wanted.reason)),
    ];
    let given = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(given.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

fn table(told: &Value) -> String {
    let mut out = format!("{:<7} {:<28} {:<52} {:<28} REASON\n", "WINDOW", "COVERS", "WHEN", "STATE");
    for window in told["windows"].as_array().into_iter().flatten() {
        let row = format!(
            "{:<7} {:<28} {:<52} {:<28} {}",
            text(&window["window_id"]),
            covers(window),
            when(window),
            holds(window),
            text(&window["reason"])
        );
        out.push_str(row.trim_end());
        out.push('\n');
    }
    out
}

fn covers(window: &Value) -> String {
    match (&window["agent_id"], &window["pattern"]) {
        (Value::Null, Value::Null) => "the whole project".into(),
        (Value::Null, pattern) => text(pattern),
        (agent, _) => format!("agent {}", text(agent)),
    }
}

fn when(window: &Value) -> String {
    match &window["cron"] {
        Value::Null => format!("{} to {}", text(&window["from"]), text(&window["to"])),
        cron => format!("{} ({}) for {}", text(cron), text(&window["timezone"]), length(&window["duration_seconds"])),
    }
}

fn length(seconds: &Value) -> String {
    let span = std::time::Duration::from_secs(seconds.as_u64().unwrap_or(0));
    pulsegate::model::exact(span)
}

fn holds(window: &Value) -> String {
    match (&window["active_until"], &window["next_start"]) {
        (Value::Null, Value::Null) => "over".into(),
        (Value::Null, next) => format!("next {}", text(next)),
        (until, _) => format!("until {}", text(until)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        command: MaintenanceCommand,
    }

    fn wanted(line: &[&str]) -> Result<Value, String> {
        let line = Line::try_parse_from(["maintenance", "add"].iter().chain(line)).map_err(|e| e.to_string())?;
        let What::Add(wanted) = line.command.what else { return Err("not add".into()) };
        let agent = wanted.agent.is_some().then(|| json!({"agent_id": 7}));
        Ok(body(&wanted, agent.as_ref()))
    }

    #[test]
    fn flags_become_a_window() {
        for (line, expected) in [
            (&["--duration", "2h"][..], json!({"duration": "2h"})),
            (
                &[
                    "--agent",
                    "bot",
                    "--from",
                    "2026-12-01T22:00:00Z",
                    "--to",
                    "2026-12-02T00:00:00Z",
                    "--reason",
                    "rack",
                ],
                json!({"agent_id": 7, "from": "2026-12-01T22:00:00Z", "to": "2026-12-02T00:00:00Z", "reason": "rack"}),
            ),
            (
                &["--pattern", "batch-*", "--cron", "30 2 * * 6", "--duration", "2h", "--timezone", "Europe/Berlin"],
                json!({"pattern": "batch-*", "cron": "30 2 * * 6", "duration": "2h", "timezone": "Europe/Berlin"}),
            ),
        ] {
            assert_eq!(wanted(line).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_window_is_wrong_usage() {
        for (line, word) in [
            (&[][..], "--to"),
            (&["--cron", "0 2 * * *"], "--duration"),
            (&["--agent", "a", "--pattern", "b", "--duration", "1h"], "--pattern"),
            (&["--to", "2026-12-02T00:00:00Z", "--duration", "1h"], "--duration"),
            (&["--timezone", "UTC", "--duration", "1h"], "--cron"),
        ] {
            let said = wanted(line).unwrap_err();
            assert!(said.contains(word), "{line:?}: {said}");
        }
    }

    #[test]
    fn windows_are_shown_one_a_line_and_cannot_steer_the_terminal() {
        let told = json!({"windows": [
            {"window_id": 1, "agent_id": null, "pattern": "batch-*", "cron": "30 2 * * 6", "timezone": "UTC",
             "duration_seconds": 7200, "reason": "a\u{1b}[2J", "active_until": null, "next_start": "2026-12-05T02:30:00Z"},
            {"window_id": 2, "agent_id": 7, "pattern": null, "cron": null, "from": "2026-12-01T22:00:00Z",
             "to": "2026-12-02T00:00:00Z", "reason": "", "active_until": "2026-12-02T00:00:00Z", "next_start": null},
            {"window_id": 3, "agent_id": null, "pattern": null, "cron": null, "from": "2025-12-01T22:00:00Z",
             "to": "2025-12-02T00:00:00Z", "reason": "", "active_until": null, "next_start": null},
        ]});
        let lines: Vec<_> =
            table(&told).lines().skip(1).map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "1 batch-* 30 2 * * 6 (UTC) for 2h next 2026-12-05T02:30:00Z a\\u{1b}[2J",
                "2 agent 7 2026-12-01T22:00:00Z to 2026-12-02T00:00:00Z until 2026-12-02T00:00:00Z -",
                "3 the whole project 2025-12-01T22:00:00Z to 2025-12-02T00:00:00Z over -",
            ]
        );
    }

    #[test]
    fn a_projects_name_is_written_as_a_query_needs_it() {
        assert_eq!(with_project("/x", None), "/x");
        assert_eq!(with_project("/x", Some("a b&c")), "/x?project=a+b%26c");
    }
}
