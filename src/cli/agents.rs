//! `pulsegate agents`: look at agents and change them.

use std::path::Path;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use pulsegate::clock::Clock;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::Failure;
use super::client::{Client, Reach};
use super::confirm::Yes;
use super::shown::{colours, safe, text, width};
use super::status::{self, Format};

#[derive(Args)]
pub struct AgentsCommand {
    #[command(flatten)]
    reach: Reach,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: Format,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// List all agents, or those whose name holds a text
    List {
        /// Only agents whose name holds this
        text: Option<String>,
    },
    /// Show one agent, with every threshold it is judged by
    Show {
        /// Its name or number
        agent: String,
    },
    /// Change settings, for example: set my-agent interval=30s auto_restart=true budget.hourly_usd=5 failures=null
    Set {
        /// Its name or number
        agent: String,
        /// name=value; a dot leads into a group; null goes back to what the configuration says
        #[arg(required = true, value_name = "NAME=VALUE")]
        settings: Vec<String>,
    },
    /// Stop watching an agent until it is resumed
    Pause {
        /// Its name or number
        agent: String,
    },
    /// Watch a paused agent again
    Resume {
        /// Its name or number
        agent: String,
    },
    /// Give an agent another name; what is sent under the old one still reaches it
    Rename {
        /// Its name or number
        agent: String,
        /// Its new name
        name: String,
    },
    /// Make an agent part of another one: sums are added, events and history change hands
    Merge {
        /// The one that ends: its name or number
        agent: String,
        /// The one that goes on: its name or number
        into: String,
        #[command(flatten)]
        yes: Yes,
    },
    /// End an agent, with its events and its history; if it is heard again, it is a new one
    Delete {
        /// Its name or number
        agent: String,
        #[command(flatten)]
        yes: Yes,
    },
    /// Ask a runner to restart an agent (scope command)
    Restart {
        /// Its name or number
        agent: String,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
}

pub fn run(data_dir: &Path, command: &AgentsCommand) -> Result<(), Failure> {
    let client = Client::new(&command.reach, data_dir)?;
    let answer = match &command.what {
        What::List { text } => {
            let agents = status::all(&client, text.as_deref())?;
            let shown = match command.output {
                Format::Json => format!("{:#}", json!(agents)),
                format => status::table(&agents, format == Format::Wide, Clock::system().now(), width(), colours()),
            };
            println!("{shown}");
            return Ok(());
        }
        What::Show { agent } => client.get(&path(&client, agent)?)?,
        What::Set { agent, settings } => {
            client.request(Method::PATCH, &path(&client, agent)?, Some(&patch(settings)?))?
        }
        What::Pause { agent } => client.request(Method::POST, &(path(&client, agent)? + "/pause"), None)?,
        What::Resume { agent } => client.request(Method::POST, &(path(&client, agent)? + "/resume"), None)?,
        What::Rename { agent, name } => {
            let body = json!({ "agent": name });
            client.request(Method::POST, &(path(&client, agent)? + "/rename"), Some(&body))?
        }
        What::Merge { agent, into, yes } => {
            let (from, into) = (client.agent(agent)?, client.agent(into)?);
            yes.or_ask(&format!("make {} part of {}", named(&from), named(&into)))?;
            let body = json!({ "into": into["agent_id"] });
            client.request(Method::POST, &format!("/api/v1/agents/{}/merge", from["agent_id"]), Some(&body))?
        }
        What::Delete { agent, yes } => {
            let agent = client.agent(agent)?;
            yes.or_ask(&format!("delete {} with its events and its history", named(&agent)))?;
            client.request(Method::DELETE, &format!("/api/v1/agents/{}", agent["agent_id"]), None)?;
            println!("deleted {}", named(&agent));
            return Ok(());
        }
        What::Restart { agent, reason } => {
            let body = json!({ "reason": reason });
            client.request(Method::POST, &(path(&client, agent)? + "/restart"), Some(&body))?
        }
    };
    match (command.output, &command.what) {
        (Format::Json, _) => println!("{answer:#}"),
        (_, What::Restart { .. }) => println!("{}", restart(&answer)),
        _ => print!("{}", show(&answer)),
    }
    Ok(())
}

fn path(client: &Client, agent: &str) -> anyhow::Result<String> {
    Ok(format!("/api/v1/agents/{}", client.agent(agent)?["agent_id"]))
}

/// An agent as people and the API call it.
fn named(agent: &Value) -> String {
    format!("agent {} ({})", agent["agent_id"], text(&agent["agent"]))
}

/// A merge patch of `name=value` settings. A value is JSON where it is any, else a text.
fn patch(settings: &[String]) -> anyhow::Result<Value> {
    let mut patch = Map::new();
    for setting in settings {
        let (name, value) =
            setting.split_once('=').ok_or_else(|| anyhow!("{setting:?} is no setting; write name=value"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        let mut group = &mut patch;
        let mut parts = name.split('.').peekable();
        while let Some(part) = parts.next() {
            if part.is_empty() {
                bail!("{name:?} is no name of a setting; write for example budget.hourly_usd");
            }
            if parts.peek().is_none() {
                group.insert(part.to_owned(), value);
                break;
            }
            let entry = group.entry(part).or_insert_with(|| json!({}));
            let Value::Object(inner) = entry else { bail!("{part:?} is given both a value and settings of its own") };
            group = inner;
        }
    }
    Ok(Value::Object(patch))
}

fn restart(answer: &Value) -> String {
    let command = &answer["command"];
    let joined = if answer["joined"] == true { " (it had been asked for already)" } else { "" };
    format!(
        "restart of {} {} is {}{joined}; command {}",
        text(&command["type"]),
        text(&command["target"]),
        text(&command["state"]),
        text(&command["id"])
    )
}

/// An agent for people: what it is, what it used, what it is judged by.
fn show(agent: &Value) -> String {
    let mut out =
        format!("{} (agent {}, project {})\n", text(&agent["agent"]), agent["agent_id"], text(&agent["project"]));
    let mut line = |name: &str, value: String| out.push_str(&format!("  {name:<18} {value}\n"));
    line("state", format!("{} since {}", text(&agent["state"]), text(&agent["since"])));
    for name in
        ["reason", "last_alive", "last_heartbeat", "last_result", "agent_type", "restart_type", "restart_target"]
    {
        if agent[name].as_str().is_some_and(|value| !value.is_empty()) {
            line(name, text(&agent[name]));
        }
    }
    if agent["former_names"].as_array().is_some_and(|names| !names.is_empty()) {
        line("former_names", text(&agent["former_names"]));
    }
    if let Some(error) = agent["last_error"].as_object() {
        let part = |name| error.get(name).map_or_else(|| "-".into(), text);
        line("last_error", format!("{} at {}", part("message"), part("at")));
    }
    out.push_str("totals\n");
    list(&mut out, "", &agent["totals"]);
    out.push_str("policy, and what sets it where it is not built in\n");
    policy(&mut out, "", &agent["policy"], &agent["policy_from"]);
    out
}

fn list(out: &mut String, prefix: &str, values: &Value) {
    for (name, value) in values.as_object().into_iter().flatten() {
        match value {
            Value::Object(_) => list(out, &format!("{prefix}{}.", safe(name)), value),
            Value::Null => {}
            value => out.push_str(&format!("  {:<30} {}\n", format!("{prefix}{}", safe(name)), text(value))),
        }
    }
}

fn policy(out: &mut String, prefix: &str, values: &Value, from: &Value) {
    for (name, value) in values.as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        if value.is_object() {
            policy(out, &format!("{path}."), value, from);
            continue;
        }
        let layer = from[&path].as_str().map_or_else(String::new, safe);
        let line = format!("  {:<30} {:<12} {layer}", safe(&path), text(value));
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(settings: &[&str]) -> anyhow::Result<Value> {
        patch(&settings.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn settings_become_a_merge_patch() {
        let patch = patched(&[
            "interval=30s",
            "auto_restart=true",
            "budget.hourly_usd=5",
            "budget.daily_usd=null",
            "failures=2",
        ]);
        let expected = json!({"interval": "30s", "auto_restart": true, "budget": {"hourly_usd": 5, "daily_usd": null}, "failures": 2});
        assert_eq!(patch.unwrap(), expected);
    }

    #[test]
    fn what_is_no_setting_is_said() {
        for (wrong, said) in [
            (&["interval"][..], "write name=value"),
            (&["a..b=1"], "no name of a setting"),
            (&["a=1", "a.b=2"], "both a value"),
        ] {
            let error = patched(wrong).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
