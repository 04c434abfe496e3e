//! TLS with the certificate that the operator gives, and with the next one when the files
//! change.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::{ListenError, TlsFiles};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(3);

/// Largest file of a certificate or key.
const LARGEST: u64 = 1 << 20;

/// The certificate that is in use, and where the next one will be.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    current: Arc<Current>,
    acceptor: Acceptor,
    /// Of the files as they were read last, whether they could be used or not.
    seen: Mutex<Option<[Seen; 2]>>,
}

/// When a file was changed, and how long it is.
type Seen = (Option<SystemTime>, u64);

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

struct Acceptor(TlsAcceptor);

impl Tls {
    /// # Errors
    /// The files cannot be read, or are no certificate and its key.
    pub(super) fn open(files: TlsFiles) -> Result<Self, ListenError> {
        let seen = seen(&files);
        let current = Arc::new(Current(ArcSwap::from_pointee(read(&files)?)));
        let refused = |error: rustls::Error| broken(&files, &error.to_string());
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(refused)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = Acceptor(TlsAcceptor::from(Arc::new(config)));
        Ok(Self { files, current, acceptor, seen: Mutex::new(seen) })
    }

    pub(super) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor.0
    }

    /// Looks at the files again and again.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let tls = Arc::clone(&self);
            // A disk may take its time.
            if tokio::task::spawn_blocking(move || tls.look()).await.is_err() {
                return;
            }
        }
    }

    /// Reads the files, whether they have changed or not.
    pub(super) fn reload(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.look();
    }

    fn look(&self) {
        let mut known = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = seen(&self.files);
        if now.is_some() && *known == now {
            return;
        }
        *known = now;
        match read(&self.files) {
            Ok(read) => {
                self.current.0.store(Arc::new(read));
                tracing::info!(certificate = %self.files.certificate.display(), "new certificate");
            }
            Err(error) => tracing::error!(%error, "the certificate in use is kept"),
        }
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

/// `None`: one of them cannot be looked at.
fn seen(files: &TlsFiles) -> Option<[Seen; 2]> {
    let look = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok(), metadata.len()))
    };
    Some([look(&files.certificate)?, look(&files.key)?])
}

fn read(files: &TlsFiles) -> Result<CertifiedKey, ListenError> {
    let (chain, key) = (content(&files.certificate)?, content(&files.key)?);
    let refused = |problem: &str| broken(files, problem);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<_, _>>()
        .map_err(|error| refused(&error.to_string()))?;
    if chain.is_empty() {
        return Err(refused("there is no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| refused(&error.to_string()))?;
    let provider = ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| refused(&error.to_string()))
}

fn content(path: &Path) -> Result<Vec<u8>, ListenError> {
    let refused = |source| ListenError::File { path: path.to_owned(), source };
    if fs::metadata(path).map_err(refused)?.len() > LARGEST {
        return Err(refused(std::io::Error::other("it is too large to be one")));
    }
    fs::read(path).map_err(refused)
}

fn broken(files: &TlsFiles, problem: &str) -> ListenError {
    let (certificate, key) = (files.certificate.clone(), files.key.clone());
    ListenError::Certificate { certificate, key, problem: problem.to_owned() }
}
