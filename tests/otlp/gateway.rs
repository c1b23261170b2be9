//! A whole gateway in this process, in a directory of its own, on ports from the kernel, at a time that stands still.

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

pub struct Gateway {
    app: App,
    client: reqwest::Client,
    _directory: TempDir,
}

/// A client for any number of gateways.
pub fn client() -> reqwest::Client {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

impl Gateway {
    pub async fn start(client: &reqwest::Client) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let anywhere = "127.0.0.1:0";
        let environment = Environment::of(&[
            ("PULSEGATE_RECEIVERS__HTTP__ENDPOINT", anywhere),
            ("PULSEGATE_RECEIVERS__OTLP__GRPC__ENDPOINT", anywhere),
            ("PULSEGATE_RECEIVERS__OTLP__HTTP__ENDPOINT", anywhere),
        ]);
        let options = Options {
            data_dir: directory.path().join("data"),
            api_key: Some(KEY.to_owned()),
            clock: Clock::manual(NOW),
            ids: Ids::seeded(1),
        };
        let config = Config::load(None, &environment).unwrap();
        let app = App::start(config, options).await.unwrap();
        Self { app, client: client.clone(), _directory: directory }
    }

    /// Sends one export as an exporter would. It must be taken in whole.
    pub async fn export(&self, content_type: &str, body: Vec<u8>) {
        let request = self
            .client
            .post(format!("http://{}/v1/traces", self.app.addresses().otlp_http))
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
        let url = format!("http://{}/api/v1/status?limit=1000", self.app.addresses().http);
        let response = self.client.get(url).header("x-api-key", KEY).send().await.unwrap();
        let mut answer: Value = response.error_for_status().unwrap().json().await.unwrap();
        serde_json::from_value(answer["agents"].take()).unwrap()
    }

    pub async fn stop(self) {
        self.app.stop().await;
    }
}
