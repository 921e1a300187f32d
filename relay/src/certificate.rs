//! The relay's certificate: where it comes from, who gets it, and how it is replaced without a restart.

mod files;
mod meta;
mod pair;
mod self_signed;
mod server_config;

pub(crate) use files::{CertificateFiles, FileError};
pub(crate) use meta::meta_certificate;
pub(crate) use pair::PairError;
pub(crate) use server_config::server_config;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::Hostname;
use files::Stamp;
use pair::Pair;

/// The certificate that is served now, and what it takes to replace it.
///
/// Each chain ends with the meta certificate, which tells Tailscale's clients the relay's key one round trip early.
pub(crate) struct CertificateStore {
    // Fixed at start.
    hostname: Hostname,
    /// `None` is a certificate that lives in memory and never changes.
    files: Option<CertificateFiles>,
    meta: CertificateDer<'static>,
    generated: bool,
    // Read once per handshake, written at a reload.
    current: RwLock<Arc<Pair>>,
    // Held by one reload at a time.
    watch: Mutex<Watch>,
}

impl CertificateStore {
    /// Loads the pair of files that a folder has for the host name.
    ///
    /// If neither is there and the host name is an IP address, both are made, valid for a year.
    pub(crate) fn open(
        dir: &Path,
        hostname: &Hostname,
        meta: CertificateDer<'static>,
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let files = CertificateFiles::in_dir(dir, hostname);
        let generated = files.make_if_missing(hostname, now)?;
        let stamp = files.stamp();
        let (chain, key) = files.read()?;
        let pair = Pair::load(&chain, &key, hostname, &meta)
            .map_err(|source| CertificateError::pair(&files, source))?;
        Ok(Self {
            hostname: hostname.clone(),
            files: Some(files),
            meta,
            generated,
            watch: Mutex::new(Watch { seen: stamp, content: pair.content, unsettled_since: None }),
            current: RwLock::new(Arc::new(pair)),
        })
    }

    /// Makes a self-signed certificate that is never written down, for the host name and this machine's loopback.
    pub(crate) fn in_memory(
        hostname: &Hostname,
        meta: CertificateDer<'static>,
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let made = self_signed::for_trial(hostname, now)?;
        let pair = Pair::load(made.certificate_pem.as_bytes(), made.key_pem.as_bytes(), hostname, &meta)
            .map_err(|error| CertificateError::Made(Box::new(error)))?;
        Ok(Self {
            hostname: hostname.clone(),
            files: None,
            meta,
            generated: true,
            watch: Mutex::new(Watch { seen: None, content: pair.content, unsettled_since: None }),
            current: RwLock::new(Arc::new(pair)),
        })
    }

    /// Looks whether the files have changed, and takes them if they make a good pair. Called every few seconds.
    ///
    /// The two are rarely replaced in one instant, so a bad pair is ignored until it has been there for
    /// [`RELOAD_GRACE`]; then it is an error, once, and the old certificate is served until the files change again.
    pub(crate) fn reload_if_changed(&self, now: Instant) -> Result<Reload, CertificateError> {
        let Some(files) = &self.files else { return Ok(Reload::Unchanged) };
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at before they are read: a change in between shows at the next call.
        let stamp = files.stamp();
        if stamp == watch.seen && watch.unsettled_since.is_none() {
            return Ok(Reload::Unchanged);
        }
        watch.seen = stamp;
        let loaded = files.read().map_err(CertificateError::from).and_then(|(chain, key)| {
            if pair::content_hash(&chain, &key) == watch.content {
                return Ok(None);
            }
            let pair = Pair::load(&chain, &key, &self.hostname, &self.meta);
            pair.map(Some).map_err(|source| CertificateError::pair(files, source))
        });
        match loaded {
            Ok(None) => {
                watch.unsettled_since = None;
                Ok(Reload::Unchanged)
            }
            Ok(Some(pair)) => {
                watch.unsettled_since = None;
                watch.content = pair.content;
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
                Ok(Reload::Replaced)
            }
            Err(error) => {
                let since = *watch.unsettled_since.get_or_insert(now);
                if now.saturating_duration_since(since) < RELOAD_GRACE {
                    return Ok(Reload::Unsettled);
                }
                watch.unsettled_since = None;
                Err(error)
            }
        }
    }

    /// The chain and key that a handshake would get now, the meta certificate last.
    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.pair().certified)
    }

    /// Where the certificate is kept; `None` for one that lives in memory.
    pub(crate) const fn files(&self) -> Option<&CertificateFiles> {
        self.files.as_ref()
    }

    /// Whether the certificate was made at this start rather than found.
    pub(crate) const fn generated(&self) -> bool {
        self.generated
    }

    /// Seconds until the certificate expires; negative once it has.
    pub(crate) fn seconds_left(&self, now: SystemTime) -> i64 {
        self.pair().not_after_unix - self_signed::unix_seconds(now)
    }

    /// Whole days until the certificate expires; negative once it has.
    pub(crate) fn days_left(&self, now: SystemTime) -> i64 {
        self.seconds_left(now).div_euclid(SECONDS_PER_DAY)
    }

    /// What to tell the operator if the certificate has expired or is about to.
    pub(crate) fn expiry_warning(&self, now: SystemTime) -> Option<ExpiryWarning> {
        let days_left = self.days_left(now);
        (days_left < EXPIRY_WARNING_DAYS).then(|| ExpiryWarning {
            hostname: self.hostname.clone(),
            files: self.files.clone(),
            days_left,
        })
    }

    /// SHA-256 of the leaf certificate: what a client of a relay without a name is told to expect.
    pub(crate) fn leaf_sha256(&self) -> [u8; 32] {
        self.pair().leaf_sha256
    }

    fn pair(&self) -> Arc<Pair> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a client that asks for this name is served. derper refuses every other name, and none, so that the relay
    /// never shows up under somebody else's; by address there is no name to check.
    fn serves(&self, server_name: Option<&str>) -> bool {
        self.hostname.ip().is_some()
            || server_name.is_some_and(|name| name.eq_ignore_ascii_case(self.hostname.as_str()))
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        if !self.serves(name) {
            tracing::debug!(asked = name, hostname = %self.hostname, "client asks for another host name");
            return None;
        }
        Some(self.certified_key())
    }
}

impl fmt::Debug for CertificateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateStore")
            .field("hostname", &self.hostname)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// What a look at the files came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reload {
    /// They are what is served.
    Unchanged,
    /// A new certificate is served from now on.
    Replaced,
    /// They have changed and make no pair yet; the old certificate is served.
    Unsettled,
}

/// A certificate that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The files cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The files have no certificate and key that fit each other and the host name.
    #[error("{files}: {source}")]
    Pair {
        /// The two files.
        files: Box<CertificateFiles>,
        /// What is wrong with them.
        source: Box<PairError>,
    },
    /// A certificate made here does not load, which says that this program is broken.
    #[error("the self-signed certificate that was just made does not load: {0}")]
    Made(Box<PairError>),
    /// A certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
}

impl CertificateError {
    fn pair(files: &CertificateFiles, source: PairError) -> Self {
        Self::Pair { files: Box::new(files.clone()), source: Box::new(source) }
    }
}

/// A certificate that clients refuse, or will soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpiryWarning {
    hostname: Hostname,
    files: Option<CertificateFiles>,
    /// Whole days until it expires; negative once it has.
    pub days_left: i64,
}

impl fmt::Display for ExpiryWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hostname, files, days_left } = self;
        match days_left {
            0.. => write!(f, "certificate for {hostname} expires in {days_left} days")?,
            _ => write!(f, "certificate for {hostname} expired {} days ago", -days_left)?,
        }
        match files {
            Some(files) => write!(f, " ({files}); put a new one there, it is taken without a restart"),
            None => f.write_str("; restart to have a new one"),
        }
    }
}

impl std::error::Error for ExpiryWarning {}

/// How long the files may make no pair before it is an error: longer than any tool takes between writing the one and
/// the other, shorter than an operator waits for a message.
pub(crate) const RELOAD_GRACE: Duration = Duration::from_secs(10);

/// Tailscale's prober fails a relay whose certificate has less time.
const EXPIRY_WARNING_DAYS: i64 = 7;

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// What the last look at the files saw.
#[derive(Debug)]
struct Watch {
    /// How both files looked; `None` if one was missing.
    seen: Option<[Stamp; 2]>,
    /// Hash of the contents that are served.
    content: [u8; 32],
    /// Since when the files make no pair, while that may still be a replacement under way.
    unsettled_since: Option<Instant>,
}

#[cfg(test)]
mod tests;
