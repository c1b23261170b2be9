//! What listeners demand of connections, resolved: times, numbers, certificates.

use std::path::PathBuf;
use std::time::Duration;

use super::DEFAULT_PROJECT;
use super::check::Checker;
use super::raw;
use super::tree::KeyPath;
use crate::model::{Scope, Scopes, Span};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Beyond this, a table of names is not the way.
const CLIENTS_MAX: usize = 1_000;

/// What every listener demands of its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Whether to listen in the clear beyond this machine.
    pub allow_plaintext: bool,
    /// Connections one listener keeps open. 1 to 1 000 000.
    pub max_connections: usize,
    /// From the connection to the end of its first request's headers. 1 s to 5 min.
    pub first_request_timeout: Duration,
    /// From the first byte of a later request to the end of its headers. 1 s to 5 min.
    pub header_timeout: Duration,
    /// Without a byte of a body. 1 s to 10 min.
    pub body_timeout: Duration,
    /// Without a request. 15 s to 1 h.
    pub idle_timeout: Duration,
    /// Without the client taking anything of its answer. 1 s to 10 min.
    pub send_timeout: Duration,
    /// Wrong keys an address may try in a minute before it has to wait. 0 to 1 000 000.
    pub wrong_keys_per_minute: u32,
}

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// The certificate and those that lead from it to one that peers know, PEM.
    pub cert_file: PathBuf,
    /// Its private key, PEM.
    pub key_file: PathBuf,
    /// By what clients' certificates are checked; where it is set, each must show one.
    pub client_ca_file: Option<PathBuf>,
    /// How often the files are looked at. 1 s to 24 h.
    pub reload_interval: Duration,
    /// What client certificates may do without an API key. At most 1000.
    pub client_certificates: Vec<ClientCertificate>,
}

/// What the holder of a certificate may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// A DNS name or address the certificate holds for.
    pub name: String,
    /// The project.
    pub project: String,
    /// The scopes.
    pub scopes: Scopes,
}

impl Server {
    pub(super) fn resolve(raw: &raw::Server, at: &KeyPath, check: &mut Checker<'_>) -> Self {
        let mut span =
            |key, value: Option<Span>, default: u32, range| check.span(at.key(key), value, default * SECOND, range);
        let short = [SECOND, 5 * MINUTE];
        let long = [SECOND, 10 * MINUTE];
        Self {
            first_request_timeout: span("first_request_timeout", raw.first_request_timeout, 10, short),
            header_timeout: span("header_timeout", raw.header_timeout, 10, short),
            body_timeout: span("body_timeout", raw.body_timeout, 30, long),
            idle_timeout: span("idle_timeout", raw.idle_timeout, 75, [15 * SECOND, HOUR]),
            send_timeout: span("send_timeout", raw.send_timeout, 30, long),
            allow_plaintext: raw.allow_plaintext.unwrap_or(false),
            max_connections: check.number(at.key("max_connections"), raw.max_connections, 5_000, [1, 1_000_000])
                as usize,
            wrong_keys_per_minute: check.number(
                at.key("wrong_keys_per_minute"),
                raw.wrong_keys_per_minute,
                60,
                [0, 1_000_000],
            ),
        }
    }
}

impl ListenerTls {
    pub(super) fn resolve(raw: raw::Tls, at: &KeyPath, check: &mut Checker<'_>) -> Option<Self> {
        let file = |path: Option<String>| path.filter(|p| !p.is_empty()).map(PathBuf::from);
        let wanted = [&raw.cert_file, &raw.key_file, &raw.client_ca_file].into_iter().flatten().any(|p| !p.is_empty());
        let mut needed = |key: &str, path: Option<String>| {
            let path = file(path);
            if wanted && path.is_none() {
                check.fault(at.key(key), "the file is missing; TLS needs cert_file and key_file, both in PEM");
            }
            path
        };
        let cert_file = needed("cert_file", raw.cert_file);
        let key_file = needed("key_file", raw.key_file);
        let client_ca_file = file(raw.client_ca_file);
        let list = at.key("client_certificates");
        if raw.client_certificates.len() > CLIENTS_MAX {
            check.fault(list.clone(), format!("at most {CLIENTS_MAX} entries are allowed"));
        }
        if client_ca_file.is_none() && !raw.client_certificates.is_empty() {
            check.fault(list.clone(), "without client_ca_file no client shows a certificate; set it too");
        }
        let indices = check.tree.sound_indices(&list);
        let clients = raw.client_certificates.into_iter().zip(indices);
        let clients: Vec<_> =
            clients.filter_map(|(client, i)| ClientCertificate::resolve(client, &list.index(i), check)).collect();
        Some(Self {
            cert_file: cert_file?,
            key_file: key_file?,
            client_ca_file,
            reload_interval: check.span(at.key("reload_interval"), raw.reload_interval, MINUTE, [SECOND, DAY]),
            client_certificates: clients,
        })
    }
}

impl ClientCertificate {
    fn resolve(raw: raw::ClientCertificate, at: &KeyPath, check: &mut Checker<'_>) -> Option<Self> {
        let name = raw.name.unwrap_or_default();
        if rustls::pki_types::ServerName::try_from(name.as_str()).is_err() {
            check.fault(at.key("name"), format!("`{name}` is not a DNS name or address, for example runner-1.example"));
            return None;
        }
        let words: Vec<&str> = raw.scopes.iter().map(String::as_str).collect();
        match Scopes::parse(&words.join(",")) {
            Ok(scopes) if !words.is_empty() => {
                let project = raw.project.unwrap_or_else(|| DEFAULT_PROJECT.into());
                Some(Self { name, project, scopes })
            }
            bad => {
                let known = Scope::ALL.map(Scope::word).join(", ");
                let what = bad.err().map_or("a scope is missing".to_owned(), |word| format!("`{word}` is no scope"));
                check.fault(at.key("scopes"), format!("{what}; choose among {known}"));
                None
            }
        }
    }
}
