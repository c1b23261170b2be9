//! A whole gateway in this process, in a directory of its own, on ports from the kernel, at a time that a test sets.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pulsegate::app::{App, Options};
use pulsegate::clock::Clock;
use pulsegate::config::{Config, Environment};
use pulsegate::ids::Ids;
use pulsegate::model::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

const KEY: &str = "cv_test";
/// 2026-12-01: after all captures were made.
const NOW: Timestamp = Timestamp(1_796_083_200_000_000);
/// Short waits, so that the time can be set beyond them without looking like the gateway's own absence.
pub const SHORT_WAITS: &str = "receivers: {otlp: {traces: {hold: 1s, run_ends_after: 4s}}}";

pub struct Gateway {
    app: Option<App>,
    client: reqwest::Client,
    clock: Clock,
    yaml: String,
    directory: TempDir,
}

/// A client for any number of gateways.
pub fn client() -> reqwest::Client {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

impl Gateway {
    pub async fn start(client: &reqwest::Client) -> Self {
        Self::configured(client, "{}").await
    }

    /// A gateway with this configuration (YAML); addresses are set for it.
    pub async fn configured(client: &reqwest::Client, yaml: &str) -> Self {
        let mut gateway = Self {
            app: None,
            client: client.clone(),
            clock: Clock::manual(NOW),
            yaml: yaml.to_owned(),
            directory: tempfile::tempdir().unwrap(),
        };
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
            api_key: Some(KEY.to_owned()),
            clock: self.clock.clone(),
            ids: Ids::system(),
        };
        let config = Config::load(Some(Path::new("pulsegate.yaml")), &environment).unwrap_or_else(|e| panic!("{e}"));
        self.app = Some(App::start(config, options).await.unwrap());
    }

    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    /// Ends the gateway and starts it again on the same data.
    pub async fn restart(&mut self) {
        self.app.take().unwrap().stop().await;
        self.launch().await;
    }

    /// Sets the clock on.
    pub fn pass(&self, time: Duration) {
        self.clock.set(self.clock.now().plus(time));
    }

    /// Sends one export as an exporter would. It must be taken in whole.
    pub async fn send(&self, path: &str, content_type: &str, body: Vec<u8>) {
        let request = self
            .client
            .post(format!("http://{}{path}", self.app().addresses().otlp_http))
            .header("x-api-key", KEY)
            .header("content-type", content_type)
            .body(body);
        let response = request.send().await.unwrap();
        let status = response.status();
        let answer = response.bytes().await.unwrap();
        // An answer without `partial_success` is empty in protobuf and `{}` in JSON.
        let whole: &[u8] = if content_type == "application/json" { b"{}" } else { b"" };
        assert_eq!((status.as_u16(), &answer[..]), (200, whole), "{}", String::from_utf8_lossy(&answer));
    }

    /// All that the gateway tells about its agents.
    pub async fn agents(&self) -> Vec<Value> {
        let mut answer = self.get("/api/v1/status?limit=1000").await;
        serde_json::from_value(answer["agents"].take()).unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        let url = format!("http://{}{path}", self.app().addresses().http);
        let response = self.client.get(url).header("x-api-key", KEY).send().await.unwrap();
        response.error_for_status().unwrap().json().await.unwrap()
    }

    /// The data directory, still there.
    pub async fn stop(mut self) -> TempDir {
        self.app.take().unwrap().stop().await;
        self.directory
    }
}
