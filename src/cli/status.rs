//! `pulsegate status`: all agents as a table people like to read.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use pulsegate::clock::Clock;
use pulsegate::model::Timestamp;
use serde_json::{Value, json};

use super::Failure;
use super::client::{Client, Reach};
use super::shown::{age, colour, colours, count, painted, text, width};

/// Agents asked for at a time.
const PAGE: usize = 1000;
/// Stands before each row, in the colour of its state.
const DOT: &str = "●";

/// How agents are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table.
    #[default]
    Table,
    /// A table with more columns.
    Wide,
    /// The API's answer, for programs.
    Json,
}

#[derive(Args)]
pub struct StatusCommand {
    #[command(flatten)]
    reach: Reach,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Only agents whose name holds this text
    #[arg(value_name = "TEXT")]
    only: Option<String>,
    /// Look again and again until interrupted
    #[arg(short, long)]
    watch: bool,
    /// Seconds between two looks
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
}

pub fn run(data_dir: &Path, command: &StatusCommand) -> Result<(), Failure> {
    let client = Client::new(&command.reach, data_dir)?;
    if !command.watch {
        println!("{}", look(&client, command)?);
        return Ok(());
    }
    loop {
        // A gateway that is away for a moment comes back; who watches wants to see that too.
        let shown = look(&client, command).unwrap_or_else(|error| format!("{error:#}"));
        if colours() {
            print!("\u{1b}[H\u{1b}[2J");
        }
        println!("{shown}");
        // A timer is made within the runtime that drives it.
        client.block_on(async { tokio::time::sleep(Duration::from_secs(command.interval)).await });
    }
}

fn look(client: &Client, command: &StatusCommand) -> anyhow::Result<String> {
    let agents = all(client, command.only.as_deref())?;
    Ok(match command.output {
        Format::Json => format!("{:#}", json!({"total": agents.len(), "agents": agents})),
        format => table(&agents, format == Format::Wide, Clock::system().now(), width(), colours()),
    })
}

/// All agents of the project whose name holds `only`.
pub fn all(client: &Client, only: Option<&str>) -> anyhow::Result<Vec<Value>> {
    let (mut agents, mut seen) = (Vec::new(), 0);
    loop {
        let page = client.get(&format!("/api/v1/status?limit={PAGE}&offset={seen}"))?;
        let rows = page["agents"].as_array().cloned().unwrap_or_default();
        let (last, total) = (rows.is_empty(), page["total"].as_u64().unwrap_or(0));
        seen += rows.len();
        let wanted =
            |row: &Value| only.is_none_or(|only| row["agent"].as_str().is_some_and(|name| name.contains(only)));
        agents.extend(rows.into_iter().filter(wanted));
        if last || seen as u64 >= total {
            return Ok(agents);
        }
    }
}

/// The table, and below it how many agents there are in which state.
pub fn table(agents: &[Value], wide: bool, now: Timestamp, width: Option<u16>, coloured: bool) -> String {
    if agents.is_empty() {
        return "No agents yet. The first heartbeat of a name makes one: pulsegate ping my-agent".into();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    match width {
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    let mut header = vec!["", "AGENT", "STATE", "SINCE", "LAST SEEN", "TOKENS", "COST $", "REASON"];
    if wide {
        header.extend(["ID", "PROJECT", "INTERVAL", "RUNS", "ERRORS", "RESTARTS", "SOURCES"]);
    }
    table.set_header(header);
    for agent in agents {
        table.add_row(row(agent, wide, now));
    }
    for index in [3, 4, 5, 6] {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut states = agents.iter().map(|agent| agent["state"].as_str().unwrap_or_default());
    let mut out = String::new();
    for line in table.lines() {
        let line = line.trim_end();
        // Only the first line of a row begins with the dot: long reasons go on in further lines.
        match line.trim_start().strip_prefix(DOT).and_then(|rest| Some((rest, states.next()?))) {
            Some((rest, state)) => out.push_str(&format!(" {}{rest}", painted(DOT, colour(state), coloured))),
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out + "\n" + &summary(agents)
}

fn row(agent: &Value, wide: bool, now: Timestamp) -> Vec<String> {
    let totals = &agent["totals"];
    let mut row = vec![
        DOT.to_owned(),
        text(&agent["agent"]),
        text(&agent["state"]),
        age(&agent["since"], now),
        age(&agent["last_alive"], now),
        tokens(totals).map_or_else(|| "-".into(), count),
        totals["cost_usd"].as_str().map_or_else(|| "-".into(), dollars),
        if agent["reason"] == "" { String::new() } else { text(&agent["reason"]) },
    ];
    if wide {
        let number = |value: &Value| value.as_u64().map_or_else(|| "-".into(), count);
        let sources: Vec<String> = agent["sources"].as_array().into_iter().flatten().map(text).collect();
        row.extend([
            text(&agent["agent_id"]),
            text(&agent["project"]),
            agent["interval_seconds"].as_f64().map_or_else(|| "-".into(), |secs| format!("{secs}s")),
            number(&totals["runs"]),
            number(&totals["results_failure"]),
            number(&totals["restarts"]),
            sources.join(","),
        ]);
    }
    row
}

/// Input, output and undirected tokens together; `None` when nobody told of any.
fn tokens(totals: &Value) -> Option<u64> {
    let told = ["tokens_used", "tokens_input", "tokens_output"].map(|name| totals[name].as_u64());
    told.into_iter().flatten().reduce(u64::saturating_add)
}

/// Money with four decimals, or as many as it takes to be more than nothing.
fn dollars(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(amount) if amount >= 0.0001 || amount == 0.0 => format!("{amount:.4}"),
        _ => super::shown::safe(text),
    }
}

/// `12 agents: 9 healthy, 2 stalled, 1 down`, the worst last.
fn summary(agents: &[Value]) -> String {
    let mut states: Vec<(&str, usize)> = Vec::new();
    for state in agents.iter().filter_map(|agent| agent["state"].as_str()) {
        match states.iter_mut().find(|(known, _)| *known == state) {
            Some((_, n)) => *n += 1,
            None => states.push((state, 1)),
        }
    }
    states.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let parts: Vec<String> = states.iter().map(|(state, n)| format!("{n} {}", super::shown::safe(state))).collect();
    let noun = if agents.len() == 1 { "agent" } else { "agents" };
    format!("{} {noun}: {}", agents.len(), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22 12:00:00 UTC.
    const NOW: Timestamp = Timestamp(1_795_348_800_000_000);

    fn agents() -> Vec<Value> {
        vec![
            json!({"agent_id": 1, "agent": "research-agent", "project": "default", "state": "stalled", "since": "2026-11-22T11:39:02Z",
                "last_alive": "2026-11-22T11:59:18Z", "reason": "no completion for 5m", "interval_seconds": 60.0, "sources": ["agent", "otlp"],
                "totals": {"tokens_used": null, "tokens_input": 51_230, "tokens_output": 8_810, "cost_usd": "1.204410000", "runs": 40,
                    "results_failure": 2, "restarts": 1}}),
            json!({"agent_id": 2, "agent": "evil\u{1b}[31m", "project": "default", "state": "healthy", "since": "2026-11-22T11:59:59Z",
                "last_alive": null, "reason": "", "interval_seconds": 30.0, "sources": [],
                "totals": {"tokens_used": null, "tokens_input": null, "tokens_output": null, "cost_usd": null, "runs": 0,
                    "results_failure": 0, "restarts": 0}}),
        ]
    }

    #[test]
    fn a_table_is_read_without_colours() {
        insta::assert_snapshot!(table(&agents(), false, NOW, None, false));
    }

    #[test]
    fn colours_are_the_states_and_nothing_from_outside_makes_any() {
        let shown = table(&agents(), true, NOW, Some(200), true);
        assert!(shown.contains("\u{1b}[33m●\u{1b}[0m  research-agent"), "{shown}");
        assert!(shown.contains("\u{1b}[32m●\u{1b}[0m  evil\\u{1b}[31m"), "{shown}");
        assert_eq!(shown.matches('\u{1b}').count(), 4, "{shown}");
    }

    #[test]
    fn no_agents_say_what_to_do() {
        assert!(table(&[], false, NOW, None, false).contains("pulsegate ping"));
    }
}
