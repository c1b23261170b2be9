//! What is probed, and what is expected of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method};
use reqwest::Url;
use serde_json::Value;
use serde_json_path::JsonPath;

use crate::model::ProjectId;

/// Says whether a target is any of a project's business.
pub type InProject = Arc<dyn Fn(ProjectId) -> bool + Send + Sync>;
/// Says whether the agent of this name depends on a target.
pub type Matches = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Something agents depend on.
#[derive(Clone)]
pub struct Target {
    /// Its name, by which agents are told of it.
    pub name: Arc<str>,
    /// How it is probed.
    pub probe: Probe,
    /// How often.
    pub interval: Duration,
    /// How long one probe may take.
    pub timeout: Duration,
    /// After so many failures in a row it is unhealthy.
    pub failures: u32,
    /// The patterns of agents that depend on it, as written.
    pub agents: Vec<String>,
    /// Whether an agent's name matches one of them.
    pub matches: Matches,
    /// Which projects may see it, and have agents that depend on it.
    pub in_project: InProject,
}

/// How a target is probed.
#[derive(Clone, Debug)]
pub enum Probe {
    /// A request over HTTP.
    Http(Box<HttpProbe>),
    /// A connection over TCP: host and port.
    Tcp(String),
    /// `grpc.health.v1.Health/Check` of a service; empty for the server as a whole.
    Grpc {
        /// `http://` or `https://`, host and port.
        endpoint: String,
        /// The service asked about.
        service: String,
        /// Certificates (PEM) trusted beside the machine's own.
        ca_file: Option<PathBuf>,
    },
}

/// A request over HTTP and what its answer must be.
#[derive(Clone, Debug)]
pub struct HttpProbe {
    /// Where it goes. Redirects are not followed.
    pub url: Url,
    /// Its method.
    pub method: Method,
    /// Its headers; values are marked sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub body: Option<String>,
    /// Certificates (PEM) trusted beside the machine's own.
    pub ca_file: Option<PathBuf>,
    /// What the answer must be.
    pub expect: Expect,
}

/// What an answer must be. All of it must hold.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// One of these statuses; empty: any of 200 to 299.
    pub status: Vec<u16>,
    /// The body is JSON in which each path finds something, and where a value is given, that value.
    pub json: Vec<(JsonPath, Option<Value>)>,
    /// The body is a model's answer with text in it.
    pub completion: bool,
}

impl Expect {
    /// Whether the body must be read at all.
    pub const fn needs_body(&self) -> bool {
        self.completion || !self.json.is_empty()
    }
}

impl Probe {
    /// The word for its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Tcp(_) => "tcp",
            Self::Grpc { .. } => "grpc",
        }
    }

    /// Scheme, host and port, and nothing that could be a secret.
    pub fn shown(&self) -> String {
        match self {
            Self::Http(http) => http.url.origin().ascii_serialization(),
            Self::Tcp(address) => format!("tcp://{address}"),
            Self::Grpc { endpoint, .. } => endpoint.replacen("http", "grpc", 1),
        }
    }
}
