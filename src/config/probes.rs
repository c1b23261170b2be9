//! Dependency probes, resolved.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json_path::JsonPath;

use super::check::Checker;
use super::exporters::{headers, url};
use super::raw::probes as raw;
use super::tree::{KeyPath, Value};
use crate::model::{DEPENDENCY_NAME_BYTES_MAX, Glob};

/// Something agents depend on, asked by the gateway how it is.
#[derive(Clone, Debug)]
pub struct ProbeTarget {
    /// What is probed.
    pub endpoint: ProbeEndpoint,
    /// How often. 1 s to 24 h.
    pub interval: Duration,
    /// How long one probe may take. 100 ms to 60 s, at most the interval.
    pub timeout: Duration,
    /// After so many failures in a row it is unhealthy. 1 to 100.
    pub failures: u32,
    /// The method of an HTTP probe.
    pub method: Method,
    /// Headers of an HTTP probe; names and values are well formed.
    pub headers: BTreeMap<String, SecretString>,
    /// The body of an HTTP probe.
    pub body: Option<String>,
    /// The service that a gRPC probe asks about; empty: the server as a whole.
    pub service: String,
    /// Statuses that are good; empty: 200 to 299.
    pub status: Vec<u16>,
    /// What the JSON of an answer must have, and the value there.
    pub json: Vec<(JsonPath, Option<serde_json::Value>)>,
    /// Whether the answer must be a model's, with text in it.
    pub completion: bool,
    /// Patterns of agents that depend on it.
    pub agents: Vec<Glob>,
    /// Their projects; `None`: all.
    pub projects: Option<Vec<String>>,
    /// Certificates trusted beside the machine's own.
    pub ca_file: Option<PathBuf>,
}

/// Where a probe goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeEndpoint {
    /// `http://` or `https://`.
    Http(reqwest::Url),
    /// `tcp://`: host and port.
    Tcp(String),
    /// `grpc://` or `grpcs://`, written as the `http://` or `https://` that it is.
    Grpc(String),
}

/// The method of an HTTP probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// GET.
    Get,
    /// HEAD: no body can be expected.
    Head,
    /// POST.
    Post,
}

const TARGETS_MAX: usize = 100;
const AGENTS_MAX: usize = 100;
const CONDITIONS_MAX: usize = 20;
const BODY_BYTES_MAX: usize = 64 * 1024;
const MILLI: Duration = Duration::from_millis(1);

/// All targets.
pub(super) fn resolve(
    raw: BTreeMap<String, raw::Target>,
    at: &KeyPath,
    check: &mut Checker<'_>,
) -> BTreeMap<String, ProbeTarget> {
    if raw.len() > TARGETS_MAX {
        check.fault(at.clone(), format!("at most {TARGETS_MAX} targets are allowed"));
    }
    let mut targets = BTreeMap::new();
    for (name, target) in raw {
        let at = at.name(&name);
        let fit = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > DEPENDENCY_NAME_BYTES_MAX || !name.bytes().all(fit) {
            let max = DEPENDENCY_NAME_BYTES_MAX;
            check
                .fault(at.clone(), format!("a dependency's name has 1 to {max} characters: a-z, A-Z, 0-9, -, _ and ."));
        }
        if let Some(target) = ProbeTarget::resolve(target, &at, check) {
            targets.insert(name, target);
        }
    }
    targets
}

impl ProbeTarget {
    fn resolve(raw: raw::Target, at: &KeyPath, check: &mut Checker<'_>) -> Option<Self> {
        let endpoint = endpoint(raw.endpoint.as_deref(), at, check);
        let day = Duration::from_secs(86_400);
        let interval = check.span(at.key("interval"), raw.interval, 30_000 * MILLI, [1_000 * MILLI, day]);
        let longest = interval.min(60_000 * MILLI);
        let timeout = check.span(at.key("timeout"), raw.timeout, (3_000 * MILLI).min(longest), [100 * MILLI, longest]);
        let completion = raw.expect.completion.unwrap_or(false);
        let method = raw.method.unwrap_or(if raw.body.is_some() { Method::Post } else { Method::Get });
        let is_http = !matches!(endpoint, Some(ProbeEndpoint::Tcp(_) | ProbeEndpoint::Grpc(_)));
        let http_only = raw.method.is_some()
            || !raw.headers.is_empty()
            || raw.body.is_some()
            || !raw.expect.status.is_empty()
            || !raw.expect.json.is_empty()
            || completion;
        if !is_http && http_only {
            check.fault(at.clone(), "method, headers, body and expect are for http:// and https:// only");
        }
        if raw.service.is_some() && !matches!(endpoint, None | Some(ProbeEndpoint::Grpc(_))) {
            check.fault(at.key("service"), "a service is asked about over grpc:// and grpcs:// only");
        }
        if method == Method::Head && (completion || !raw.expect.json.is_empty()) {
            check.fault(at.key("method"), "the answer to head has no body to expect something of");
        }
        if raw.body.as_ref().is_some_and(|body| body.len() > BODY_BYTES_MAX) {
            check.fault(at.key("body"), format!("at most {BODY_BYTES_MAX} bytes are allowed"));
        }
        for (i, status) in raw.expect.status.iter().enumerate() {
            if !(100..600).contains(status) {
                check.fault(at.key("expect.status").index(i), "not an HTTP status; allowed is 100 to 599");
            }
        }
        Some(Self {
            interval,
            timeout,
            failures: check.number(at.key("failures"), raw.failures, 3, [1, 100]),
            method,
            headers: headers(raw.headers, &at.key("headers"), check),
            body: raw.body,
            service: raw.service.unwrap_or_default(),
            status: raw.expect.status,
            json: conditions(raw.expect.json, &at.key("expect.json"), check),
            completion,
            agents: patterns(&raw.agents, &at.key("agents"), check),
            projects: raw.projects,
            ca_file: raw.tls.ca_file.filter(|f| !f.is_empty()).map(PathBuf::from),
            endpoint: endpoint?,
        })
    }
}

fn endpoint(text: Option<&str>, of: &KeyPath, check: &mut Checker<'_>) -> Option<ProbeEndpoint> {
    let at = of.key("endpoint");
    let other = text.and_then(|text| text.trim().split_once("://"));
    let http = match other {
        Some(("tcp", address)) => {
            let port =
                address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(1..))) || address.contains(['/', '@', '?', '#']) {
                check.fault(at, "not an address; write for example tcp://db.internal:5432");
                return None;
            }
            return Some(ProbeEndpoint::Tcp(address.into()));
        }
        Some(("grpc", rest)) => Some(format!("http://{rest}")),
        Some(("grpcs", rest)) => Some(format!("https://{rest}")),
        _ => None,
    };
    match http {
        Some(http) => {
            let url = url(Some(&http), &at, of, check)?;
            if url.path() != "/" {
                check.fault(at, "gRPC has no path here; name the service in `service`");
                return None;
            }
            Some(ProbeEndpoint::Grpc(url.as_str().trim_end_matches('/').to_owned()))
        }
        None => url(text, &at, of, check).map(ProbeEndpoint::Http),
    }
}

fn conditions(
    raw: Vec<raw::JsonCondition>,
    at: &KeyPath,
    check: &mut Checker<'_>,
) -> Vec<(JsonPath, Option<serde_json::Value>)> {
    if raw.len() > CONDITIONS_MAX {
        check.fault(at.clone(), format!("at most {CONDITIONS_MAX} conditions are allowed"));
    }
    let mut conditions = Vec::new();
    for (condition, index) in raw.into_iter().zip(check.tree.sound_indices(at)) {
        let at = at.index(index);
        let Some(path) = condition.path else {
            if !matches!(check.tree.at(&at.key("path")).map(|n| &n.value), Some(Value::Faulty)) {
                check.fault(at, "the key `path` is missing; write for example path: $.status");
            }
            continue;
        };
        match JsonPath::parse(&path) {
            Ok(path) => conditions.push((path, condition.equals)),
            Err(error) => check.fault(at.key("path"), format!("not a JSONPath query: {error}")),
        }
    }
    conditions
}

fn patterns(raw: &[String], at: &KeyPath, check: &mut Checker<'_>) -> Vec<Glob> {
    if raw.len() > AGENTS_MAX {
        check.fault(at.clone(), format!("at most {AGENTS_MAX} patterns are allowed; use `*` to join some"));
    }
    let mut patterns = Vec::new();
    for (pattern, index) in raw.iter().zip(check.tree.sound_indices(at)) {
        match Glob::new(pattern) {
            Ok(pattern) => patterns.push(pattern),
            Err(problem) => check.fault(at.index(index), problem),
        }
    }
    patterns
}
