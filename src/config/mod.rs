//! The configuration: as written (`raw`) → as used ([`Config`]).
//!
//! A file is parsed into a tree that remembers lines (`yaml`, `tree`), references such as `${env:NAME}` are replaced
//! (`substitute`), the environment is laid over it (`env`), the tree is read as typed structs (`read`), and each section
//! checks itself and fills in its defaults (`receivers`, `projects`, `sections`). Nothing stops at the first mistake.
//! The process's environment is read in one place only, [`Environment::of_process`].

mod check;
pub mod cli;
mod complaint;
mod env;
mod error;
mod exporters;
mod identity;
mod probes;
mod projects;
mod raw;
mod read;
mod receivers;
mod schema;
mod sections;
mod server;
mod show;
mod substitute;
mod tree;
mod values;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub use env::Environment;
pub use error::{ConfigError, ConfigErrors, Place};
pub use exporters::{Compression, Exporters, Forward, OnFull, Protocol, RetryOnFailure, SendingQueue, Signal, Storage};
pub use probes::{Method, ProbeEndpoint, ProbeTarget};
pub use projects::{AgentRule, ProjectSettings};
pub use receivers::{Langfuse, OtlpTraces, Receivers};
pub use schema::schema;
pub use sections::{Control, Ingest, LogFormat, LogLevel, Metrics, Prices, Store, Telemetry};
pub use server::{ClientCertificate, ListenerTls, Server};

use check::Checker;
use tree::{KeyPath, Node, Value};

pub use crate::model::{Glob, PATTERN_BYTES_MAX};
use crate::model::{Policy, PolicyPatch};

/// The project that always exists.
pub const DEFAULT_PROJECT: &str = "default";

/// The configuration as used: complete and within its ranges.
#[derive(Clone, Debug)]
pub struct Config {
    /// What comes in, and where it is listened for.
    pub receivers: Receivers,
    /// What every listener demands of its connections.
    pub server: Server,
    /// What is expected of agents where nothing else is said.
    pub health: Arc<Policy>,
    /// The projects that were named, and [`DEFAULT_PROJECT`].
    pub projects: BTreeMap<String, ProjectSettings>,
    /// Where telemetry goes on to.
    pub exporters: Exporters,
    /// What model calls cost whose cost nobody tells.
    pub prices: Prices,
    /// Restart commands.
    pub control: Control,
    /// Between receiving and storing.
    pub ingest: Ingest,
    /// Where state is kept.
    pub store: Store,
    /// The page for Prometheus.
    pub metrics: Metrics,
    /// What the gateway tells of itself.
    pub telemetry: Telemetry,
    /// What holds for a project that was not named.
    unnamed: ProjectSettings,
    /// What the section `health` sets, as it was written.
    written_health: PolicyPatch,
}

impl Config {
    /// Reads `file` (none: the defaults) with the environment laid over it. The error holds every mistake found.
    pub fn load(file: Option<&Path>, env: &Environment) -> Result<Self, ConfigErrors> {
        let mut faults = Vec::new();
        let mut tree = match file {
            None => Node::of(Value::Null),
            Some(file) => {
                let text = env.read_file(file).map_err(|why| ConfigErrors::of_file(file, why))?;
                yaml::parse(&text).map_err(|fault| ConfigErrors::of_faults(Some(file), vec![fault]))?
            }
        };
        // What a variable sets is no longer looked up: the file may name a secret that is only there on other machines.
        env.overlay(&mut tree, &mut faults);
        let folder = file.and_then(Path::parent).unwrap_or_else(|| Path::new(""));
        substitute::substitute(&mut tree, folder, env, &mut faults);
        let raw = read::read(&mut tree, &mut faults);
        let mut check = Checker { tree: &tree, faults };
        let config = raw.map(|raw| Self::resolve(raw, &mut check));
        match config {
            Some(config) if check.faults.is_empty() => Ok(config),
            _ => Err(ConfigErrors::of_faults(file, check.faults)),
        }
    }

    fn resolve(raw: raw::Raw, check: &mut Checker<'_>) -> Self {
        let root = KeyPath::default();
        let health = check.policy(&root.key("health"), &raw.health, &Policy::default());
        let mut written = raw.projects;
        written.entry(DEFAULT_PROJECT.into()).or_default();
        let mut projects = BTreeMap::new();
        for (name, project) in written {
            let at = root.key("projects").name(&name);
            projects::check_name(&name, &at, check);
            projects.insert(name, ProjectSettings::resolve(project, &at, &health, check));
        }
        let server = Server::resolve(&raw.server, &root.key("server"), check);
        let receivers = Receivers::resolve(raw.receivers, &root.key("receivers"), check);
        receivers.check_exposure(&root.key("receivers"), server.allow_plaintext, check);
        Self {
            receivers,
            server,
            projects,
            exporters: Exporters::resolve(raw.exporters, &root.key("exporters"), check),
            prices: Prices::resolve(raw.prices),
            control: Control::resolve(raw.control, &root.key("control"), check),
            ingest: Ingest::resolve(raw.ingest, &root.key("ingest"), check),
            store: Store::resolve(raw.store, &root.key("store"), check),
            metrics: Metrics::resolve(&raw.metrics),
            telemetry: Telemetry::resolve(&raw.telemetry),
            unnamed: ProjectSettings::resolve(raw::Project::default(), &root, &health, check),
            health,
            written_health: raw.health,
        }
    }

    /// The settings of a project; those of one that was not named are the defaults with the gateway's `health`.
    pub fn project(&self, name: &str) -> &ProjectSettings {
        self.projects.get(name).unwrap_or(&self.unnamed)
    }

    /// What is expected of an agent: the gateway's `health`, then its project's, then every entry of the project's
    /// `agents` that matches its name in their order, then the agent's own `overrides`.
    pub fn policy_for(&self, project: &str, agent: &str, overrides: &PolicyPatch) -> Arc<Policy> {
        self.project(project).policy_for(agent, overrides)
    }

    /// What the configuration sets of that, layer over layer: `health`, `project`, `pattern research-*`.
    pub fn policy_layers(&self, project: &str, agent: &str) -> Vec<(String, PolicyPatch)> {
        let mut layers = vec![("health".to_owned(), self.written_health.clone())];
        layers.extend(self.project(project).layers_for(agent));
        layers
    }
}
