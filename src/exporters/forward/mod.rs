//! Pass-through: what was received goes on, byte for byte, to where it went before: another collector, Langfuse, a vendor.
//!
//! A body is handed over after the gateway's own commit ([`Forward::send`]), which costs the sender a short lock and no
//! waiting. From there each destination is alone: its queue (`queue`, and `disk` when asked), its connections (`send`),
//! its pace (`pace`, `retry`), its worker. What does not arrive is counted, by why.
//!
//! A body may arrive twice (an answer that got lost), never changed, and never with the sender's key.

mod body;
mod disk;
mod pace;
pub mod proxy;
mod queue;
mod retry;
mod send;
mod settings;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::HeaderMap;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::ids::Ids;
use crate::model::ProjectId;
use crate::telemetry::{ForwardMetrics, Loss, ProcessMetrics};
use body::{Form, HOPS_MAX, Item, Meta};
use queue::Queue;
use send::Sender;

pub use body::Signal;
pub use settings::{Compression, Destination, OnFull, Protocol, QueueSettings, Retry, Tls};

/// Takes bodies that are to be passed on. Cheap to clone; the default one has nowhere to pass them to.
#[derive(Clone, Default)]
pub struct Forward(Option<Arc<Inner>>);

struct Inner {
    routes: Vec<Route>,
    /// The signals that any destination wants.
    wanted: u8,
    upstreams: Vec<proxy::Upstream>,
    names: ArcSwap<HashMap<ProjectId, Arc<str>>>,
}

/// The way to one destination.
struct Route {
    signals: u8,
    projects: Option<Vec<String>>,
    protocol: Protocol,
    queue: Arc<Queue>,
    metrics: ForwardMetrics,
}

/// A received body and the headers that belong to it, ready to go on once it is committed.
pub struct Onward {
    forward: Forward,
    meta: Option<Meta>,
    raw: Bytes,
    decoded: Bytes,
}

/// Why a destination cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("exporters.forward.{name}: {problem}")]
pub struct ForwardError {
    /// The destination.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}

impl Forward {
    /// Starts passing on to `destinations` until `stop` becomes true. The tasks end some seconds after that, when what was
    /// on its way has arrived and what is kept is on disk.
    pub fn start(
        destinations: Vec<Destination>,
        clock: &Clock,
        ids: &Ids,
        metrics: &ProcessMetrics,
        stop: &watch::Receiver<bool>,
    ) -> Result<(Self, Vec<JoinHandle<()>>), ForwardError> {
        let (mut routes, mut upstreams, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
        for destination in destinations {
            let error = |problem| ForwardError { name: destination.name.to_string(), problem };
            let metrics = metrics.forward(&destination.name);
            let sender = Sender::new(&destination, clock.clone()).map_err(error)?;
            if destination.protocol == Protocol::Langfuse {
                upstreams.push(proxy::Upstream::new(&destination).map_err(error)?);
            }
            let (queue, written) = open(&destination, &metrics).map_err(error)?;
            routes.push(Route {
                signals: destination.signals.iter().fold(0, |set, signal| set | signal.bit()),
                projects: destination.projects.clone(),
                protocol: destination.protocol,
                queue: queue.clone(),
                metrics: metrics.clone(),
            });
            let worker = worker::Worker { destination, queue, sender: sender.into(), metrics, ids: ids.clone() };
            let stop = stop.clone();
            tasks.push(tokio::spawn(async move {
                worker.run(stop).await;
                // The writer ends after it; an error says only that it has ended.
                if let Some(written) = written {
                    let _ = written.await;
                }
            }));
        }
        if routes.is_empty() {
            return Ok((Self::default(), tasks));
        }
        let wanted = routes.iter().fold(0, |set, route| set | route.signals);
        Ok((Self(Some(Arc::new(Inner { routes, wanted, upstreams, names: ArcSwap::default() }))), tasks))
    }

    /// Takes in which projects exist, for destinations that take only some of them.
    pub fn know(&self, names: HashMap<ProjectId, Arc<str>>) {
        if let Some(inner) = &self.0 {
            inner.names.store(Arc::new(names));
        }
    }

    /// A request's body as it came (`raw`) and decompressed, to be sent on after its commit. `path` is where Langfuse's
    /// own bodies were sent; empty for all others.
    pub fn http(&self, signal: Signal, path: &str, headers: &HeaderMap, raw: Bytes, decoded: Bytes) -> Onward {
        let meta = self.wants(signal).then(|| Meta {
            signal,
            form: body::form(headers),
            path: path.into(),
            hops: body::hops(headers).saturating_add(1),
            headers: body::content_headers(headers),
        });
        Onward { forward: self.clone(), meta, raw, decoded }
    }

    /// A gRPC message, to be sent on after its commit.
    pub fn grpc(&self, signal: Signal, metadata: &HeaderMap, message: Bytes) -> Onward {
        let meta = self.wants(signal).then(|| Meta {
            signal,
            form: Form::Protobuf,
            path: "".into(),
            hops: body::hops(metadata).saturating_add(1),
            headers: vec![(
                axum::http::header::CONTENT_TYPE,
                axum::http::HeaderValue::from_static("application/x-protobuf"),
            )],
        });
        Onward { forward: self.clone(), meta, raw: message.clone(), decoded: message }
    }

    /// Whether any destination takes this signal.
    pub fn wants(&self, signal: Signal) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.wanted & signal.bit() != 0)
    }
}

impl Onward {
    /// Hands the body, which this project sent, to every destination that takes it. Never waits.
    pub fn send(self, project: ProjectId) {
        let (Some(inner), Some(meta)) = (&self.forward.0, self.meta) else { return };
        let name = inner.names.load().get(&project).cloned();
        let signal = meta.signal;
        let takes = |route: &&Route| {
            let of_project = |only: &Vec<String>| name.as_deref().is_some_and(|name| only.iter().any(|p| p == name));
            route.signals & signal.bit() != 0 && route.projects.as_ref().is_none_or(of_project)
        };
        let (hops, form) = (meta.hops, meta.form);
        let as_is = Arc::new(meta);
        for route in inner.routes.iter().filter(takes) {
            let refused = if hops > HOPS_MAX {
                Some(Loss::Loop)
            } else if !Sender::carries(route.protocol, form) {
                Some(Loss::Unsupported)
            } else {
                None
            };
            if let Some(reason) = refused {
                route.metrics.received();
                route.metrics.dropped(reason);
                continue;
            }
            // gRPC has its own compression, so it gets what was in the body.
            let item = if route.protocol == Protocol::Grpc && as_is.is_compressed() {
                Item { meta: Arc::new(as_is.decoded()), body: self.decoded.clone() }
            } else {
                Item { meta: as_is.clone(), body: self.raw.clone() }
            };
            route.queue.push(item);
        }
    }
}

type Written = tokio::sync::oneshot::Receiver<()>;

/// Opens a destination's queue, and starts the thread that writes it when it is on disk.
fn open(destination: &Destination, metrics: &ForwardMetrics) -> Result<(Arc<Queue>, Option<Written>), String> {
    let settings = destination.queue.clone();
    let Some(path) = destination.queue.folder.as_ref() else {
        return Ok((Arc::new(Queue::new(settings, metrics.clone(), disk::Restored::default(), None)), None));
    };
    let unusable = |e: std::io::Error| format!("the queue's folder {} cannot be used: {e}", path.display());
    let (folder, restored) = disk::Folder::open(path).map_err(unusable)?;
    if restored.damaged > 0 || !restored.bodies.is_empty() {
        tracing::info!(
            destination = %destination.name, bodies = restored.bodies.len(), damaged = restored.damaged,
            "pass-through: what was left in the queue is sent on"
        );
    }
    let at = Some(folder.path().to_owned());
    let queue = Arc::new(Queue::new(settings, metrics.clone(), restored, at));
    let (ended, written) = tokio::sync::oneshot::channel();
    let (name, metrics, writing) = (destination.name.clone(), metrics.clone(), queue.clone());
    let write = move || {
        disk::run(&name, &writing, folder, &metrics);
        let _ = ended.send(());
    };
    std::thread::Builder::new().name("forward-disk".into()).spawn(write).map_err(unusable)?;
    Ok((queue, Some(written)))
}
