//! `pulsegate registrations`: names that wait for approval, over the running gateway's API (scope `admin`).

use std::path::Path;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::json;

use super::Failure;
use super::client::{Client, Reach};

#[derive(Args)]
pub struct RegistrationsCommand {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Subcommand)]
enum What {
    /// List names that wait for approval or were turned away
    List,
    /// Make an agent of a name, whether it waits or not
    Approve {
        /// The name
        agent: String,
    },
    /// Turn a name away for good
    Reject {
        /// The name
        agent: String,
    },
}

pub fn run(data_dir: &Path, command: &RegistrationsCommand) -> Result<(), Failure> {
    let client = Client::new(&command.reach, data_dir)?;
    let send = |what: &str, agent: &str| {
        client.request(Method::POST, &format!("/api/v1/registrations/{what}"), Some(&json!({ "agent": agent })))
    };
    match &command.what {
        What::List => {
            let told = client.get("/api/v1/registrations")?;
            println!("new names: {}", told["mode"].as_str().unwrap_or("?"));
            for row in told["registrations"].as_array().into_iter().flatten() {
                let text = |field: &str| row[field].as_str().unwrap_or("").to_owned();
                let similar = row["similar_to"].as_str().map_or_else(String::new, |name| format!("  like {name:?}"));
                println!("{:<9} {:<24} {:?}{similar}", text("state"), text("last_at"), text("agent"));
            }
        }
        What::Approve { agent } => {
            let made = send("approve", agent)?;
            println!("agent {} is {:?}", made["agent_id"], made["agent"].as_str().unwrap_or(agent));
        }
        What::Reject { agent } => {
            send("reject", agent)?;
            println!("turned away {agent:?}");
        }
    }
    Ok(())
}
