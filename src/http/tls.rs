//! TLS of a listener: certificates from files, read again while connections stay, and client certificates that stand for
//! keys. TLS 1.2 and 1.3, by rustls with ring; HTTP/2 is offered before HTTP/1.1.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use axum::http::HeaderValue;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The files of a listener's TLS, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The listener's certificate, and those that lead from it to one its peers know.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// Whose certificates peers must show; `None`: they show none.
    pub client_ca: Option<PathBuf>,
}

/// Why TLS cannot be set up: which file, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", .path.display())]
pub struct TlsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
}

/// TLS of a listener.
pub struct Tls {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
    read: Mutex<[u8; 32]>,
    /// Names of client certificates, and the key each stands for.
    clients: Vec<(ServerName<'static>, HeaderValue)>,
}

impl Tls {
    /// Reads the files. A client whose certificate holds for one of the names in `clients` has that key.
    pub fn load(files: TlsFiles, clients: Vec<(ServerName<'static>, HeaderValue)>) -> Result<Self, TlsError> {
        let bytes = Bytes::read(&files)?;
        let current = ArcSwap::from_pointee(bytes.config(&files)?);
        Ok(Self { current, read: Mutex::new(bytes.digest()), files, clients })
    }

    /// Reads the files again; gives whether they had changed. New connections use what was read; after an error, and on
    /// connections that are open, what was before stays in force.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let bytes = Bytes::read(&self.files)?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if *read == bytes.digest() {
            return Ok(false);
        }
        self.current.store(Arc::new(bytes.config(&self.files)?));
        *read = bytes.digest();
        Ok(true)
    }

    /// The certificate file, for messages.
    pub fn cert_file(&self) -> &Path {
        &self.files.cert
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// The key that the peer's certificate stands for.
    pub(super) fn key_of(&self, stream: &TlsStream<TcpStream>) -> Option<HeaderValue> {
        let shown = stream.get_ref().1.peer_certificates()?.first()?;
        let certificate = webpki::EndEntityCert::try_from(shown).ok()?;
        let holds = |name: &ServerName<'static>| certificate.verify_is_valid_for_subject_name(name).is_ok();
        self.clients.iter().find(|(name, _)| holds(name)).map(|(_, key)| key.clone())
    }
}

/// The content of the files.
struct Bytes {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Bytes {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &PathBuf| std::fs::read(path).map_err(|e| wrong(path, e));
        Ok(Self {
            cert: read(&files.cert)?,
            key: read(&files.key)?,
            client_ca: files.client_ca.as_ref().map(read).transpose()?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for part in [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()] {
            digest.update(part.map_or(u64::MAX, |p| p.len() as u64).to_le_bytes());
            digest.update(part.map_or(&[][..], |p| p));
        }
        digest.finalize().into()
    }

    fn config(&self, files: &TlsFiles) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|e| wrong(&files.cert, e))?;
        let builder = match self.client_ca.as_ref().zip(files.client_ca.as_ref()) {
            None => builder.with_no_client_auth(),
            Some((pem, path)) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(pem, path)? {
                    roots.add(certificate).map_err(|e| wrong(path, e))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|e| wrong(path, e))?)
            }
        };
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|e| wrong(&files.key, format!("{e}; it must hold a private key in PEM")))?;
        let mut config = builder
            .with_single_cert(certificates(&self.cert, &files.cert)?, key)
            .map_err(|e| wrong(&files.cert, format!("{e} (with the key in {})", files.key.display())))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => Err(wrong(path, "it holds no certificate in PEM")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(wrong(path, error)),
    }
}

fn wrong(path: &Path, problem: impl ToString) -> TlsError {
    TlsError { path: path.to_owned(), problem: problem.to_string() }
}
