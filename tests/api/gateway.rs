//! A gateway to tell stories about: its own directory, ports from the kernel, a clock that stands still until it is set.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pulsegate::app::{App, Options};
use pulsegate::clock::Clock;
use pulsegate::config::{Config, Environment};
use pulsegate::http::auth::{hash_key, key_id};
use pulsegate::ids::Ids;
use pulsegate::model::{ApiKey, Scopes, Timestamp};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::truth;

/// The first key: `ingest`, `read` and `runner` in the project `default`.
pub const FIRST_KEY: &str = "cv_test";
/// When every story begins: 2026-12-01 00:00:00 UTC.
pub const BEGIN: Timestamp = Timestamp(1_796_083_200_000_000);

/// A running gateway.
pub struct Gateway {
    app: Option<App>,
    clock: Clock,
    yaml: String,
    directory: TempDir,
    client: reqwest::Client,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    /// The body as JSON; a text when it is none, `null` when it is empty.
    pub body: Value,
}

impl Answer {
    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// A header as text.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name}: {:?}", self.headers)).to_str().unwrap()
    }
}

impl Gateway {
    /// A gateway with the built-in defaults.
    pub async fn start() -> Self {
        Self::configured("{}").await
    }

    /// A gateway with this configuration (YAML); addresses are set for it.
    pub async fn configured(yaml: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(BEGIN);
        // The client wants a provider of cryptography even for plain HTTP; that there is one already is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::new();
        let mut gateway = Self { app: None, clock, yaml: yaml.to_owned(), directory, client };
        gateway.launch().await;
        gateway
    }

    async fn launch(&mut self) {
        let anywhere = "127.0.0.1:0";
        let environment = Environment::of(&[
            ("PULSEGATE_RECEIVERS__HTTP__ENDPOINT", anywhere),
            ("PULSEGATE_RECEIVERS__OTLP__GRPC__ENDPOINT", anywhere),
            ("PULSEGATE_RECEIVERS__OTLP__HTTP__ENDPOINT", anywhere),
        ]);
        let environment = environment.with_file("pulsegate.yaml", &self.yaml);
        let options = Options {
            data_dir: self.data_dir(),
            api_key: Some(FIRST_KEY.to_owned()),
            clock: self.clock.clone(),
            // Ids made after a restart must not repeat those made before.
            ids: Ids::system(),
        };
        let config = Config::load(Some(Path::new("pulsegate.yaml")), &environment).unwrap_or_else(|e| panic!("{e}"));
        self.app = Some(App::start(config, options).await.unwrap());
    }

    /// Ends the gateway and starts it again on the same data.
    pub async fn restart(&mut self) {
        self.app.take().unwrap().stop().await;
        self.launch().await;
    }

    /// Ends the gateway and starts it again on the same data with another configuration.
    pub async fn restart_with(&mut self, yaml: &str) {
        self.yaml = yaml.to_owned();
        self.restart().await;
    }

    pub async fn stop(mut self) {
        self.app.take().unwrap().stop().await;
    }

    pub fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Moves the clock on.
    pub fn pass(&self, secs: u64) {
        self.clock.set(self.clock.now().plus(Duration::from_secs(secs)));
    }

    /// Makes a key for `project` with these scopes ("read,admin"), in force at once.
    pub async fn key(&self, project: &str, scopes: &str) -> String {
        self.make_key(project, scopes, false).await
    }

    /// Makes a key of the project `default` that administers all projects.
    pub async fn global_key(&self) -> String {
        self.make_key("default", "admin", true).await
    }

    async fn make_key(&self, project: &str, scopes: &str, global: bool) -> String {
        let key = Ids::system().api_key();
        let store = self.app().store();
        let project = store.ensure_project(project).await.unwrap().id;
        let scopes = Scopes::parse(scopes).unwrap();
        let made = ApiKey::new(key_id(key.as_bytes()), project, hash_key(key.as_bytes()), scopes, self.now());
        let made = ApiKey { global, ..made };
        store.put_key(made).await.unwrap();
        self.app().refresh().await.unwrap();
        key
    }

    /// Waits until something the gateway does by itself, once a second, has happened.
    pub async fn until(&self, what: &str, happened: impl AsyncFn() -> bool) {
        let seen = tokio::time::timeout(Duration::from_secs(20), async {
            while !happened().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(seen.await.is_ok(), "{what}");
    }

    /// Revokes a key, in force at once.
    pub async fn revoke(&self, key: &str) {
        let store = self.app().store();
        let keys = store.keys().await.unwrap();
        let mut key = keys.into_iter().find(|k| k.id == key_id(key.as_bytes())).unwrap();
        key.revoked_at = Some(self.now());
        store.put_key(key).await.unwrap();
        self.app().refresh().await.unwrap();
    }

    /// A request without anything, to be sent by hand.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.app().addresses().http))
    }

    /// A request with a key and, unless it is `null`, a JSON body.
    pub async fn call(&self, key: &str, method: Method, path: &str, body: Value) -> Answer {
        self.call_with(key, method, path, body, &[]).await
    }

    pub async fn call_with(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: Value,
        headers: &[(&str, &str)],
    ) -> Answer {
        let url = format!("http://{}{path}", self.app().addresses().http);
        let mut request = self.client.request(method.clone(), url).header("x-api-key", key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = match text.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
        };
        let untrue = truth::faults(&method, path, status, &body);
        assert!(untrue.is_empty(), "the API's documentation is untrue:\n{}", untrue.join("\n"));
        Answer { status, headers, body }
    }

    pub async fn get(&self, key: &str, path: &str) -> Answer {
        self.call(key, Method::GET, path, Value::Null).await
    }

    pub async fn post(&self, key: &str, path: &str, body: Value) -> Answer {
        self.call(key, Method::POST, path, body).await
    }

    /// One heartbeat with the first key, and the agent's number.
    pub async fn beat(&self, agent: &str, more: Value) -> i64 {
        let mut beat = json!({"agent": agent, "status": "ok"});
        for (name, value) in more.as_object().into_iter().flatten() {
            beat[name] = value.clone();
        }
        self.post(FIRST_KEY, "/api/v1/heartbeat", beat).await.expect(200)["agent_id"].as_i64().unwrap()
    }
}
