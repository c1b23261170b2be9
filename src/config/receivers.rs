//! Receivers, resolved.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::check::Checker;
use super::identity;
use super::probes::{self, ProbeTarget};
use super::raw;
use super::server::ListenerTls;
use super::tree::KeyPath;
use super::values::Endpoint;
use crate::model::IdentityRules;

/// What comes in, and where it is listened for.
#[derive(Clone, Debug)]
pub struct Receivers {
    /// Where the API, webhooks and `/metrics` listen; port 0 lets the system choose.
    pub http: SocketAddr,
    /// Where OTLP/gRPC listens.
    pub otlp_grpc: SocketAddr,
    /// Where OTLP/HTTP listens.
    pub otlp_http: SocketAddr,
    /// TLS of `http`.
    pub http_tls: Option<ListenerTls>,
    /// TLS of `otlp_grpc`.
    pub otlp_grpc_tls: Option<ListenerTls>,
    /// TLS of `otlp_http`.
    pub otlp_http_tls: Option<ListenerTls>,
    /// How long is waited for spans that do not come.
    pub otlp_traces: OtlpTraces,
    /// Which attributes name agents and projects.
    pub otlp_identity: Arc<IdentityRules>,
    /// Webhooks of Langfuse.
    pub langfuse: Langfuse,
    /// What agents depend on, by name.
    pub probes: BTreeMap<String, ProbeTarget>,
}

/// How long is waited for spans that do not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtlpTraces {
    /// How long a span is held whose agent is not known yet. 1 s to 1 h.
    pub hold: Duration,
    /// How long after its last span a run ends whose own span is missing. 1 s to 24 h.
    pub run_ends_after: Duration,
}

impl OtlpTraces {
    fn resolve(raw: &raw::OtlpTraces, at: &KeyPath, check: &mut Checker<'_>) -> Self {
        let mut span = |key, value, default, max| {
            let limits = [Duration::from_secs(1), Duration::from_secs(max)];
            check.span(at.key(key), value, Duration::from_secs(default), limits)
        };
        Self {
            hold: span("hold", raw.hold, 30, 3_600),
            run_ends_after: span("run_ends_after", raw.run_ends_after, 300, 86_400),
        }
    }
}

/// Webhooks of Langfuse.
#[derive(Clone, Debug)]
pub struct Langfuse {
    /// The secrets any of which may have signed a webhook, as text including `lf-whsec_`. When there is one, an unsigned
    /// webhook is refused. At most 10.
    pub signing_secrets: Vec<SecretString>,
    /// How far the time in a signature may be from ours. 1 s to 1 h.
    pub signature_tolerance: Duration,
}

const SECRET_PREFIX: &str = "lf-whsec_";
const SECRETS_MAX: usize = 10;

impl Receivers {
    pub(super) fn resolve(raw: raw::Receivers, at: &KeyPath, check: &mut Checker<'_>) -> Self {
        let listen = |endpoint: Option<Endpoint>, port| {
            endpoint.map_or(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port), |e| e.0)
        };
        let resolved = Self {
            http: listen(raw.http.endpoint, 4319),
            otlp_grpc: listen(raw.otlp.grpc.endpoint, 4317),
            otlp_http: listen(raw.otlp.http.endpoint, 4318),
            http_tls: ListenerTls::resolve(raw.http.tls, &at.key("http").key("tls"), check),
            otlp_grpc_tls: ListenerTls::resolve(raw.otlp.grpc.tls, &at.key("otlp").key("grpc").key("tls"), check),
            otlp_http_tls: ListenerTls::resolve(raw.otlp.http.tls, &at.key("otlp").key("http").key("tls"), check),
            otlp_traces: OtlpTraces::resolve(&raw.otlp.traces, &at.key("otlp").key("traces"), check),
            otlp_identity: identity::resolve(raw.otlp.identity, &at.key("otlp").key("identity"), check),
            langfuse: Langfuse::resolve(raw.langfuse, &at.key("langfuse"), check),
            probes: probes::resolve(raw.probes, &at.key("probes"), check),
        };
        let all = [
            ("http.endpoint", resolved.http),
            ("otlp.grpc.endpoint", resolved.otlp_grpc),
            ("otlp.http.endpoint", resolved.otlp_http),
        ];
        for (i, (key, address)) in all.iter().enumerate() {
            let Some((other, _)) = all[..i].iter().find(|(_, other)| collide(*address, *other)) else { continue };
            // Told of the one that was written: the other may be a default, which has no line.
            let written = check.tree.at(&at.key(key)).is_some();
            let (key, other) = if written { (key, other) } else { (other, key) };
            check.fault(at.key(key), format!("port {} is also that of {}; use another", address.port(), at.key(other)));
        }
        resolved
    }

    /// Notes listeners that would carry keys in the clear beyond this machine.
    pub(super) fn check_exposure(&self, at: &KeyPath, allow_plaintext: bool, check: &mut Checker<'_>) {
        let all = [
            ("http", self.http, &self.http_tls),
            ("otlp.grpc", self.otlp_grpc, &self.otlp_grpc_tls),
            ("otlp.http", self.otlp_http, &self.otlp_http_tls),
        ];
        for (key, address, tls) in all {
            if tls.is_none() && !allow_plaintext && !address.ip().to_canonical().is_loopback() {
                check.fault(
                    at.key(&format!("{key}.endpoint")),
                    format!(
                        "{address} is reachable from other machines, and without TLS everyone on the way can read API \
                         keys; set {} (cert_file, key_file), or server.allow_plaintext: true where the network or a \
                         proxy protects them",
                        at.key(&format!("{key}.tls")),
                    ),
                );
            }
        }
    }
}

/// Whether the second of two listeners would find its port taken by the first.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let overlap = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && overlap
}

impl Langfuse {
    fn resolve(raw: raw::Langfuse, at: &KeyPath, check: &mut Checker<'_>) -> Self {
        let list = at.key("signing_secrets");
        if raw.signing_secrets.len() > SECRETS_MAX {
            check.fault(list.clone(), format!("at most {SECRETS_MAX} secrets are allowed; remove those out of use"));
        }
        let indices = check.tree.sound_indices(&list);
        for (secret, index) in raw.signing_secrets.iter().zip(indices) {
            // Accepting any text would let an API key through, with which no webhook would ever be taken.
            let text = secret.0.expose_secret();
            if !text.starts_with(SECRET_PREFIX) || text.len() == SECRET_PREFIX.len() {
                check.fault(
                    list.index(index),
                    format!("not a signing secret; copy the text that begins with {SECRET_PREFIX} from the webhook's page in Langfuse"),
                );
            }
        }
        Self {
            signing_secrets: raw.signing_secrets.into_iter().map(|s| s.0).collect(),
            signature_tolerance: check.span(
                at.key("signature_tolerance"),
                raw.signature_tolerance,
                Duration::from_secs(300),
                [Duration::from_secs(1), Duration::from_secs(3_600)],
            ),
        }
    }
}
