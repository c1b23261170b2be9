//! What the client commands share: how to reach a gateway, and requests whose failures say what to do.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;
use tokio::runtime::Runtime;

/// Where a gateway listens when nothing else is said.
const ENDPOINT_DEFAULT: &str = "http://127.0.0.1:4319";
/// A request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How a gateway is reached: flags, then environment, then what a gateway on this machine left in its data directory.
#[derive(Args, Clone, Debug)]
pub struct Reach {
    /// The gateway's address; without one, that of the gateway whose data directory this is
    #[arg(long, env = "PULSEGATE_ENDPOINT", value_name = "URL")]
    endpoint: Option<String>,
    /// The API key; without one, the first key in the data directory
    #[arg(long, env = "PULSEGATE_API_KEY", value_name = "KEY", hide_env_values = true)]
    api_key: Option<String>,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs: the API's answer as it is.
    Json,
}

/// A gateway that can be asked.
pub struct Client {
    runtime: Runtime,
    http: reqwest::Client,
    endpoint: Url,
    key: String,
}

impl Client {
    /// A client for the gateway that `reach` names, or whose data directory is `data_dir`.
    pub fn new(reach: &Reach, data_dir: &Path) -> anyhow::Result<Self> {
        let endpoint = match &reach.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => listening(data_dir).unwrap_or_else(|| ENDPOINT_DEFAULT.into()),
        };
        let with_scheme = if endpoint.contains("://") { endpoint.clone() } else { format!("http://{endpoint}") };
        let endpoint = Url::parse(&with_scheme)
            .with_context(|| format!("{endpoint:?} is not an address; write for example {ENDPOINT_DEFAULT}"))?;
        let first_key = || std::fs::read_to_string(data_dir.join("api-key")).ok();
        // What scripts written for ClevAgent have set already.
        let former = || std::env::var("CLEVAGENT_API_KEY").ok().filter(|key| !key.is_empty());
        let key = reach.api_key.clone().filter(|key| !key.is_empty()).or_else(former).or_else(first_key).ok_or_else(
            || {
                anyhow!(
                    "an API key is needed: give --api-key or set PULSEGATE_API_KEY (`pulsegate keys create` makes one)"
                )
            },
        )?;
        // Fails only when a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .user_agent(concat!("pulsegate/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, http, endpoint, key: key.trim().to_owned() })
    }

    /// Reads what is at `path` (with its query).
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.request(Method::GET, path, None)
    }

    /// Sends a request, with a JSON body if there is one, and gives the JSON answer. A refusal is an error that says
    /// what the gateway said.
    pub fn request(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let request = self.prepare(method, path)?;
        self.send(match body {
            Some(body) => request.json(body),
            None => request,
        })
    }

    /// Sends a request made by [`Client::prepare`] and gives the answer as [`Client::request`] does.
    pub fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        self.block_on(async { self.read(request.send().await.map_err(|e| self.unreachable(&e))?).await })
    }

    /// The JSON of an answer; a refusal is an error that says what the gateway said.
    pub async fn read(&self, answer: reqwest::Response) -> anyhow::Result<Value> {
        let status = answer.status();
        let text = answer.text().await.map_err(|e| self.unreachable(&e))?;
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if status.is_success() { Ok(value) } else { Err(refused(status, &value)) }
    }

    /// An agent by its number, its name or a former name.
    pub fn agent(&self, name_or_id: &str) -> anyhow::Result<Value> {
        if let Some(path) = agent_path(name_or_id)
            && let Ok(agent) = self.get(&path)
        {
            return Ok(agent);
        }
        let (mut seen, mut names) = (0, Vec::new());
        loop {
            let page = self.get(&format!("/api/v1/status?limit=1000&offset={seen}"))?;
            let rows = page["agents"].as_array().cloned().unwrap_or_default();
            if let Some(row) = rows.iter().find(|row| row["agent"] == name_or_id) {
                return Ok(row.clone());
            }
            seen += rows.len();
            names.extend(rows.iter().filter_map(|row| row["agent"].as_str().map(str::to_owned)));
            if rows.is_empty() || seen as u64 >= page["total"].as_u64().unwrap_or(0) {
                break;
            }
        }
        let near = names.iter().max_by(|a, b| nearness(a, name_or_id).total_cmp(&nearness(b, name_or_id)));
        match near.filter(|name| nearness(name, name_or_id) > 0.7) {
            Some(name) => bail!("there is no agent {name_or_id:?}; did you mean {name:?}?"),
            None => bail!("there is no agent {name_or_id:?}; `pulsegate status` lists all"),
        }
    }

    /// A request with address and key filled in, for what [`Client::request`] does not cover, such as streams; drive it
    /// with [`Client::block_on`].
    pub fn prepare(&self, method: Method, path: &str) -> anyhow::Result<reqwest::RequestBuilder> {
        // The endpoint may have a path of its own, behind a proxy for example.
        let url = format!("{}{path}", self.endpoint.as_str().trim_end_matches('/'));
        Ok(self.http.request(method, Url::parse(&url)?).header("X-API-Key", &self.key))
    }

    /// Drives a future to its end.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        anyhow!("{} cannot be reached: {cause}; is the gateway running there? (--endpoint says where)", self.endpoint)
    }
}

/// Where an agent of this name or number is; `None` for what an address cannot hold.
fn agent_path(name_or_id: &str) -> Option<String> {
    // An address takes these two for places, not for names, however they are written.
    if matches!(name_or_id, "" | "." | "..") {
        return None;
    }
    let mut url = Url::parse("http://localhost/api/v1/agents").ok()?;
    url.path_segments_mut().ok()?.push(name_or_id);
    Some(url.path().to_owned())
}

fn nearness(a: &str, b: &str) -> f64 {
    strsim::jaro_winkler(a, b)
}

/// An answer as it may be shown on a terminal: no text in it can speak to the terminal or look like a line of its own.
pub fn plain(mut answer: Value) -> Value {
    fn tame(value: &mut Value) {
        match value {
            Value::String(text) => {
                if let std::borrow::Cow::Owned(tamed) = pulsegate::model::plain(text) {
                    *text = tamed;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(tame),
            Value::Object(fields) => fields.values_mut().for_each(tame),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    tame(&mut answer);
    answer
}

/// Where the gateway with this data directory listens.
fn listening(data_dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(data_dir.join("listeners.json")).ok()?;
    let addresses: Value = serde_json::from_str(&text).ok()?;
    Some(format!("http://{}", addresses["http"].as_str()?))
}

/// One wrong field of a 422: its path without `body`, and what is wrong.
fn wrong_field(field: &Value) -> String {
    let parts = field["loc"].as_array().map_or(&[][..], Vec::as_slice);
    let path = parts.iter().filter(|part| *part != "body").map(super::shown::text).collect::<Vec<_>>().join(".");
    let problem = super::shown::text(&field["msg"]);
    if path.is_empty() { problem } else { format!("{path}: {problem}") }
}

fn refused(status: StatusCode, answer: &Value) -> anyhow::Error {
    let detail = match &answer["detail"] {
        Value::String(text) => text.clone(),
        Value::Null => answer.as_str().unwrap_or("no reason was given").trim().to_owned(),
        Value::Array(fields) => fields.iter().map(wrong_field).collect::<Vec<_>>().join("; "),
        other => other.to_string(),
    };
    let remedy = match status {
        StatusCode::UNAUTHORIZED => "; check --api-key or PULSEGATE_API_KEY",
        StatusCode::FORBIDDEN => "; the key lacks a scope (`pulsegate keys list` shows them)",
        _ => "",
    };
    anyhow!("the gateway refused ({}): {detail}{remedy}", status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_an_address_needs_them() {
        for (name, path) in [
            ("7", "/api/v1/agents/7"),
            ("team/research bot?", "/api/v1/agents/team%2Fresearch%20bot%3F"),
            ("50%", "/api/v1/agents/50%25"),
        ] {
            assert_eq!(agent_path(name).as_deref(), Some(path));
        }
        assert_eq!(agent_path(".."), None);
    }

    #[test]
    fn wrong_fields_are_told_in_words() {
        let answer = serde_json::json!({"detail": [
            {"loc": ["body", "budget", "hourly_usd"], "msg": "must be positive", "type": "value_error"},
            {"loc": ["body"], "msg": "unknown field `a`", "type": "value_error"},
        ]});
        let said = refused(StatusCode::UNPROCESSABLE_ENTITY, &answer).to_string();
        assert_eq!(said, "the gateway refused (422): budget.hourly_usd: must be positive; unknown field `a`");
    }
}
