//! One attempt to send one body, and what its answer means.

mod grpc;
mod http;
#[cfg(test)]
pub mod script;

use std::time::Duration;

use super::body::{Form, Item};
use super::settings::{Destination, Protocol, Tls};
use crate::clock::Clock;

pub use http::client;
#[cfg(test)]
pub use http::{ExportResponse, PartialSuccess};

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Taken, but for so many items.
    Taken {
        /// Items that the destination refused for good.
        rejected: u64,
        /// What it says about them, or about the rest.
        message: String,
    },
    /// It will not be taken, now or later.
    Rejected(String),
    /// It may be taken later.
    Later {
        /// When, if the destination says so.
        after: Option<Duration>,
        /// Why not now.
        why: String,
    },
}

/// The longest text of a destination that is repeated in the log, in bytes.
const TEXT_BYTES_MAX: usize = 200;

/// Sends to one destination over connections that stay open.
pub enum Sender {
    Http(Box<http::Http>),
    Grpc(Box<grpc::Grpc>),
    #[cfg(test)]
    Script(script::Script),
}

impl Sender {
    /// Makes the client of a destination. Nothing is connected yet. The error says what is wrong with the settings.
    pub fn new(destination: &Destination, clock: Clock) -> Result<Self, String> {
        Ok(match destination.protocol {
            Protocol::Grpc => Self::Grpc(Box::new(grpc::Grpc::new(destination)?)),
            Protocol::Http | Protocol::Langfuse | Protocol::Webhook => {
                Self::Http(Box::new(http::Http::new(destination, clock)?))
            }
        })
    }

    /// Whether a body of this form can be sent at all. gRPC carries protobuf only.
    pub const fn carries(protocol: Protocol, form: Form) -> bool {
        !matches!((protocol, form), (Protocol::Grpc, Form::Other))
    }

    /// Sends once.
    pub async fn send(&self, item: &Item) -> Verdict {
        match self {
            Self::Http(http) => http.send(item).await,
            Self::Grpc(grpc) => grpc.send(item).await,
            #[cfg(test)]
            Self::Script(script) => script.send(item).await,
        }
    }
}

/// The certificates of `ca_file`, in PEM.
fn certificates(tls: &Tls) -> Result<Option<Vec<u8>>, String> {
    let read = |path: &std::path::PathBuf| std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
    tls.ca_file.as_ref().map(read).transpose()
}

/// A text from outside, fit for a line of a log.
fn said(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let end = (0..=clean.len().min(TEXT_BYTES_MAX)).rev().find(|at| clean.is_char_boundary(*at)).unwrap_or(0);
    clean[..end].trim().to_owned()
}

/// An error with its causes: the outermost one alone says little.
pub fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |e| e.source());
    let mut texts: Vec<String> = Vec::new();
    for text in chain.map(ToString::to_string) {
        if !texts.iter().any(|t| t.contains(&text)) {
            texts.push(text);
        }
    }
    said(&texts.join(": "))
}
