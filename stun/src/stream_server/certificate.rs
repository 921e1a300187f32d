//! The certificate of the TLS listeners: two PEM files, read again when they change.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustls::InconsistentKeys;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use tracing::{info, warn};

/// What a `stuns:` client may offer (RFC 7443).
const ALPN: [&[u8]; 2] = [b"stun.nat-discovery", b"stun.turn"];

/// How often the files are looked at, at most: a certificate tool writes two files, and a look between
/// the two is put right by the next.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A certificate chain and its key, from two files.
pub struct Certificate {
    // Fixed at start.
    files: CertificateFiles,
    // Read once per handshake, written at a reload.
    current: RwLock<Arc<CertifiedKey>>,
    // Held by one look at a time.
    watch: Mutex<Watch>,
}

/// Where the certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first, PEM.
    pub certificate: PathBuf,
    /// The leaf's private key, PEM.
    pub key: PathBuf,
}

impl Certificate {
    /// Reads both files and checks that the key is the leaf's. Names, dates and issuers are the clients'
    /// to judge.
    ///
    /// # Errors
    ///
    /// What is wrong with which file.
    pub fn open(files: CertificateFiles) -> Result<Arc<Self>, CertificateError> {
        let seen = files.stamps();
        let current = RwLock::new(Arc::new(files.load()?));
        let watch = Mutex::new(Watch { seen, next_look: None });
        Ok(Arc::new(Self { files, current, watch }))
    }

    /// What a TLS listener needs: TLS 1.2 and 1.3, and STUN's protocol names.
    ///
    /// # Errors
    ///
    /// None that input can cause: the cryptography does not know TLS.
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let resolver: Arc<Self> = Arc::clone(self);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        // A client that stays for one question comes back with one ticket at most.
        config.send_tls13_tickets = 1;
        Ok(config)
    }

    /// Takes the files' new contents if they changed. A broken new pair is reported once and the old one
    /// stays.
    pub fn refresh(&self, now: Instant) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.next_look.is_some_and(|next| now < next) {
            return;
        }
        watch.next_look = Some(now + LOOK_INTERVAL);
        let stamps = self.files.stamps();
        if stamps == watch.seen {
            return;
        }
        watch.seen = stamps;
        match self.files.load() {
            Ok(certified) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
                info!("certificate files changed, the new certificate is served");
            }
            Err(error) => {
                warn!(%error, "certificate files changed and cannot be used, the old certificate stays")
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // STUN clients do as they like about server names: whoever knows the address gets the certificate.
        let _ = hello;
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

impl CertificateFiles {
    fn load(&self) -> Result<CertifiedKey, CertificateError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|error| CertificateError::Unreadable { path: path.to_owned(), error })
        };
        let chain = CertificateDer::pem_slice_iter(&read(&self.certificate)?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| CertificateError::Pem { path: self.certificate.clone() })?;
        if chain.is_empty() {
            return Err(CertificateError::NoCertificate { path: self.certificate.clone() });
        }
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?).map_err(|error| {
            let path = self.key.clone();
            if matches!(error, pem::Error::NoItemsFound) {
                CertificateError::NoKey { path }
            } else {
                CertificateError::Pem { path }
            }
        })?;
        let unusable = |error| CertificateError::Unusable { files: self.clone(), error };
        let certified =
            CertifiedKey::new(chain, provider().key_provider.load_private_key(key).map_err(unusable)?);
        match certified.keys_match() {
            // A key that cannot tell its public half is left to the handshake to judge.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(CertificateError::Mismatch { files: self.clone() })
            }
            Err(error) => Err(unusable(error)),
        }
    }

    /// How the files look without reading them. Links are followed: a secret mounted by Kubernetes and
    /// certbot's live folder change by a link that points elsewhere.
    fn stamps(&self) -> [Option<Stamp>; 2] {
        [&self.certificate, &self.key]
            .map(|path| fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata)))
    }
}

impl fmt::Display for CertificateFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {}", self.certificate.display(), self.key.display())
    }
}

/// Why a chain and a key cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file that is not there or may not be read.
    #[error("certificate file {} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        error: io::Error,
    },
    /// Not PEM. Where and why is not told: the decoder quotes the file, which may hold the key.
    #[error("certificate file {} is broken PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
    },
    /// PEM, but no certificate in it.
    #[error("{} has no certificate in it; it should start with the leaf's BEGIN CERTIFICATE (is it the key file?)", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// PEM, but no key in it.
    #[error("{} has no private key in it; it should have a BEGIN PRIVATE KEY without password (is it the certificate file?)", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key belongs to another certificate.
    #[error("{files} do not belong together: the key is not that of the first certificate in the file")]
    Mismatch {
        /// Both.
        files: CertificateFiles,
    },
    /// A certificate or key of a kind that the cryptography does not do.
    #[error("{files} cannot be used: {error}")]
    Unusable {
        /// Both.
        files: CertificateFiles,
        /// The library's word.
        error: rustls::Error,
    },
}

/// What the last look at the files saw.
#[derive(Debug)]
struct Watch {
    seen: [Option<Stamp>; 2],
    /// `None` before the first look.
    next_look: Option<Instant>,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// rustls' own cryptography, named rather than installed for the whole process: an embedder may have another.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
