//! `pulsegate keys`: works on the database itself, so that it needs no running gateway and no other key; a running one
//! notices within a second.

use anyhow::anyhow;
use clap::Subcommand;
use pulsegate::app;
use pulsegate::clock::Clock;
use pulsegate::config::{Config, DEFAULT_PROJECT, Environment};
use pulsegate::http::auth::{hash_key, key_id};
use pulsegate::ids::Ids;
use pulsegate::model::{ApiKey, Scope, Scopes, plain};
use pulsegate::store::sqlite::KeyFile;

use super::{Common, Failure};

#[derive(Subcommand)]
pub enum KeysCommand {
    /// Make a key and print it; it is shown only this once
    Create {
        /// The project it opens; made when it does not exist
        #[arg(long, default_value = DEFAULT_PROJECT)]
        project: String,
        /// What it may do: ingest, read, runner, command, approve, admin
        #[arg(long, default_value = "ingest,read,runner", value_name = "SCOPE[,SCOPE]")]
        scopes: String,
        /// What you call it
        #[arg(long, default_value = "")]
        label: String,
    },
    /// List all keys; never their secrets
    List,
    /// Revoke a key by its id
    Revoke {
        /// The id: the part of the key between the two underscores
        id: String,
    },
}

pub fn run(common: &Common, command: KeysCommand, environment: &Environment) -> Result<(), Failure> {
    let config = Config::load(common.config.as_deref(), environment)?;
    app::make_data_dir(&common.data_dir)?;
    let file = KeyFile::open(&app::database(&config, &common.data_dir))?;
    let now = Clock::system().now();
    match command {
        KeysCommand::Create { project, scopes, label } => {
            let scopes = Scopes::parse(&scopes).map_err(|word| {
                let all: Vec<_> = Scope::ALL.into_iter().map(Scope::word).collect();
                anyhow!("{word:?} is not a scope; use one or more of {}", all.join(", "))
            })?;
            let key = Ids::system().api_key();
            let (id, hash) = (key_id(key.as_bytes()), hash_key(key.as_bytes()));
            let project = file.ensure_project(&project)?.id;
            file.put_key(&ApiKey { label, ..ApiKey::new(id, project, hash, scopes, now) })?;
            println!("{key}");
        }
        KeysCommand::List => {
            let projects = file.projects()?;
            println!("{:<10} {:<16} {:<40} {:<28} LABEL", "ID", "PROJECT", "SCOPES", "STATE");
            for key in file.keys()? {
                let project = projects.iter().find(|p| p.id == key.project).map_or("?", |p| &p.name);
                let state = match key.revoked_at {
                    Some(at) => format!("revoked {at}"),
                    None => "active".into(),
                };
                println!("{:<10} {project:<16} {:<40} {state:<28} {}", key.id, key.scopes.words(), plain(&key.label));
            }
        }
        KeysCommand::Revoke { id } => {
            let mut key =
                file.keys()?.into_iter().find(|k| k.id == id).ok_or_else(|| anyhow!("there is no key {id:?}"))?;
            key.revoked_at.get_or_insert(now);
            file.put_key(&key)?;
            println!("revoked {id}");
        }
    }
    Ok(())
}
