//! Stories of pass-through, most of them in virtual time. Those with an id are of the reliability checklist.

mod disk;
mod pressure;
mod wire;
mod worker;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, header};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::body::{Form, Item, Meta};
use super::disk::Restored;
use super::queue::Queue;
use super::send::script::Script;
use super::send::{Sender, Verdict};
use super::settings::{Compression, Destination, OnFull, Protocol, QueueSettings, Retry, Tls};
use super::worker::Worker;
use super::{Signal, open};
use crate::ids::Ids;
use crate::telemetry::{ForwardMetrics, Loss, ProcessMetrics};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn destination(protocol: Protocol, endpoint: &str) -> Destination {
    Destination {
        name: "vendor".into(),
        endpoint: endpoint.parse().unwrap(),
        protocol,
        headers: Vec::new(),
        compression: Compression::None,
        signals: Signal::ALL.to_vec(),
        projects: None,
        timeout: 2 * SECOND,
        tls: Tls::default(),
        queue: QueueSettings {
            consumers: 10,
            requests_max: 10_000,
            bytes_max: 64 << 20,
            on_full: OnFull::DropNew,
            folder: None,
        },
        retry: Retry {
            enabled: true,
            initial_interval: 5 * SECOND,
            multiplier: 1.5,
            max_interval: 30 * SECOND,
            randomization_factor: 0.0,
            max_elapsed_time: Duration::ZERO,
        },
    }
}

fn item(text: impl Into<String>) -> Item {
    let meta = Meta {
        signal: Signal::Traces,
        form: Form::Protobuf,
        path: "".into(),
        hops: 1,
        headers: vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))],
    };
    Item { meta: Arc::new(meta), body: Bytes::from(text.into()) }
}

fn taken() -> Verdict {
    Verdict::Taken { rejected: 0, message: String::new() }
}

fn later(after: Option<Duration>) -> Verdict {
    Verdict::Later { after, why: "503".into() }
}

/// One destination with a scripted far end.
struct Rig {
    queue: Arc<Queue>,
    script: Script,
    metrics: ForwardMetrics,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Rig {
    fn start(settings: Destination, script: Script) -> Self {
        let metrics = ProcessMetrics::new().forward(&settings.name);
        let (queue, written) = open(&settings, &metrics).unwrap();
        let (stop, stopped) = watch::channel(false);
        let worker = Worker {
            destination: settings,
            queue: queue.clone(),
            sender: Arc::new(Sender::Script(script.clone())),
            metrics: metrics.clone(),
            ids: Ids::seeded(1),
        };
        let task = tokio::spawn(async move {
            worker.run(stopped).await;
            if let Some(written) = written {
                let _ = written.await;
            }
        });
        Self { queue, script, metrics, stop, task }
    }

    /// In virtual time, with a queue in memory.
    fn with(answer: impl FnMut(&Item) -> (Duration, Verdict) + Send + 'static) -> Self {
        Self::start(destination(Protocol::Http, "http://far.end"), Script::new(answer))
    }

    fn push(&self, texts: impl IntoIterator<Item = String>) {
        texts.into_iter().for_each(|text| self.queue.push(item(text)));
    }

    fn seen(&self) -> Vec<String> {
        self.script.seen().iter().map(|(_, body)| String::from_utf8(body.to_vec()).unwrap()).collect()
    }

    /// In = out + dropped + queued.
    fn adds_up(&self) {
        let (received, sent, dropped, queued) = self.metrics.account();
        assert_eq!(received, sent + dropped + queued, "{sent} sent, {dropped} dropped, {queued} queued");
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
    }
}

fn numbers(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|n| format!("body {n:05}"))
}

/// Waits for what another thread does.
async fn until(what: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if what() {
            return;
        }
        tokio::time::sleep(5 * MS).await;
    }
    panic!("it did not happen within 10 s");
}

fn on_disk(folder: &Path) -> Destination {
    let mut settings = destination(Protocol::Http, "http://far.end");
    settings.queue.folder = Some(folder.to_owned());
    settings
}
