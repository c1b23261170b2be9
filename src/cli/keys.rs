//! `pulsegate keys`: works on the database itself, so that it needs no running gateway and no other key; a running one
//! notices within a second. Whoever may run it on the data directory administers every project.

use std::time::Duration;

use anyhow::anyhow;
use clap::Subcommand;
use pulsegate::app;
use pulsegate::clock::Clock;
use pulsegate::config::{Config, DEFAULT_PROJECT, Environment};
use pulsegate::http::auth::{hash_key, key_id};
use pulsegate::ids::Ids;
use pulsegate::model::{
    Actor, ApiKey, AuditDraft, Decision, Deed, Project, ProjectId, Scope, Scopes, Span, Timestamp, plain,
};
use pulsegate::store::sqlite::KeyFile;
use serde_json::{Value, json};

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
        /// How long it opens anything, for example 90d; without this, until it is revoked
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires_in: Option<Duration>,
        /// Its scope `admin` reaches all projects, not only its own
        #[arg(long)]
        global: bool,
    },
    /// List all keys; never their secrets
    List,
    /// Revoke a key by its id
    Revoke {
        /// The id: the part of the key between the two underscores
        id: String,
    },
}

#[derive(Subcommand)]
pub enum ProjectsCommand {
    /// Make a project
    Create {
        /// Its name
        name: String,
    },
    /// List all projects
    List,
}

fn duration(text: &str) -> Result<Duration, String> {
    serde_json::from_value::<Span>(Value::from(text)).map(|span| span.0).map_err(|e| e.to_string())
}

pub fn run(common: &Common, command: KeysCommand, environment: &Environment) -> Result<(), Failure> {
    let (mut file, now) = open(common, environment)?;
    match command {
        KeysCommand::Create { project, scopes, label, expires_in, global } => {
            let scopes = Scopes::parse(&scopes).map_err(|word| {
                let all: Vec<_> = Scope::ALL.into_iter().map(Scope::word).collect();
                anyhow!("{word:?} is not a scope; use one or more of {}", all.join(", "))
            })?;
            if global && !scopes.has(Scope::Admin) {
                return Err(anyhow!("--global widens the scope admin; add it to --scopes").into());
            }
            let project = ensure_project(&mut file, &project, now)?.id;
            let key = Ids::system().api_key();
            let (id, hash) = (key_id(key.as_bytes()), hash_key(key.as_bytes()));
            let expires_at = expires_in.map(|span| now.plus(span));
            let made = ApiKey { label, expires_at, global, ..ApiKey::new(id, project, hash, scopes, now) };
            file.put_key(
                &made,
                &[deed(now, Some(project), "key.create", format!("key {}", made.id), Value::Null, view(&made))],
            )?;
            println!("{key}");
        }
        KeysCommand::List => {
            let projects = file.projects()?;
            println!("{:<10} {:<16} {:<40} {:<33} {:<25} LABEL", "ID", "PROJECT", "SCOPES", "STATE", "LAST USED");
            for key in file.keys()? {
                let project = projects.iter().find(|p| p.id == key.project).map_or("?", |p| &p.name);
                let state = match (key.revoked_at, key.expires_at) {
                    (Some(at), _) => format!("revoked {at}"),
                    (None, Some(at)) if at <= now => format!("expired {at}"),
                    (None, Some(at)) => format!("until {at}"),
                    (None, None) => "active".into(),
                };
                let scopes =
                    if key.global { format!("{} (all projects)", key.scopes.words()) } else { key.scopes.words() };
                let used = key.last_used_at.map_or_else(|| "never".into(), |at| at.to_string());
                println!("{:<10} {project:<16} {scopes:<40} {state:<33} {used:<25} {}", key.id, plain(&key.label));
            }
        }
        KeysCommand::Revoke { id } => {
            let before =
                file.keys()?.into_iter().find(|k| k.id == id).ok_or_else(|| anyhow!("there is no key {id:?}"))?;
            let mut key = before.clone();
            key.revoked_at.get_or_insert(now);
            let done = deed(now, Some(key.project), "key.revoke", format!("key {id}"), view(&before), view(&key));
            file.put_key(&key, &[done])?;
            println!("revoked {id}");
        }
    }
    Ok(())
}

pub fn projects(common: &Common, command: ProjectsCommand, environment: &Environment) -> Result<(), Failure> {
    let (mut file, now) = open(common, environment)?;
    match command {
        ProjectsCommand::Create { name } => {
            Project::check_name(&name).map_err(|problem| anyhow!(problem))?;
            if file.projects()?.iter().any(|p| *p.name == *name) {
                return Err(anyhow!("there is a project {name:?} already").into());
            }
            let made = ensure_project(&mut file, &name, now)?;
            println!("made project {} with the number {}", made.name, made.id);
        }
        ProjectsCommand::List => {
            println!("{:<8} PROJECT", "NUMBER");
            for project in file.projects()? {
                println!("{:<8} {}", project.id.to_string(), plain(&project.name));
            }
        }
    }
    Ok(())
}

/// The database of the data directory, and the time.
pub fn open(common: &Common, environment: &Environment) -> Result<(KeyFile, Timestamp), Failure> {
    let config = Config::load(common.config.as_deref(), environment)?;
    app::make_data_dir(&common.data_dir)?;
    let file = KeyFile::open(&app::database(&config, &common.data_dir))?;
    Ok((file, Clock::system().now()))
}

fn ensure_project(file: &mut KeyFile, name: &str, now: Timestamp) -> Result<Project, Failure> {
    let is_new = !file.projects()?.iter().any(|p| *p.name == *name);
    let project = file.ensure_project(name)?;
    if is_new {
        let target = format!("project {name}");
        file.put_audit(&[deed(now, Some(project.id), "project.create", target, Value::Null, json!({"name": name}))])?;
    }
    Ok(project)
}

/// A row for the audit chain.
fn deed(
    at: Timestamp,
    project: Option<ProjectId>,
    action: &str,
    target: String,
    before: Value,
    after: Value,
) -> AuditDraft {
    let deed = Deed {
        actor: Actor::CLI,
        action: action.into(),
        target,
        before,
        after,
        decision: Decision::Allowed,
        reason: String::new(),
        command_id: None,
    };
    AuditDraft { at, project, deed }
}

fn view(key: &ApiKey) -> Value {
    pulsegate::ingest::administer::key_view(key)
}
