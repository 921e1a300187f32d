//! The two files of a certificate, named as derper names them.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{CertificateError, self_signed};
use crate::atomic_file;
use crate::config::Hostname;

/// `<certdir>/<hostname>.crt` and `.key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first, PEM.
    pub certificate: PathBuf,
    /// The leaf's private key, PEM.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// The files of a host name in a folder.
    pub fn in_dir(dir: &Path, hostname: &Hostname) -> Self {
        let stem = hostname.file_stem();
        Self { certificate: dir.join(format!("{stem}.crt")), key: dir.join(format!("{stem}.key")) }
    }

    /// The contents: the chain's and the key's.
    pub(super) fn read(&self) -> Result<(Vec<u8>, Vec<u8>), FileError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|source| {
                let path = path.to_owned();
                if source.kind() == io::ErrorKind::NotFound {
                    FileError::Missing { path }
                } else {
                    FileError::Unreadable { path, source }
                }
            })
        };
        Ok((read(&self.certificate)?, read(&self.key)?))
    }

    /// How the files look without reading them; `None` if one is missing. Links are followed: a secret mounted by
    /// Kubernetes and certbot's live folder change by a link that points elsewhere.
    pub(super) fn stamp(&self) -> Option<[Stamp; 2]> {
        let stamp = |path: &Path| Some(Stamp::new(&path.metadata().ok()?));
        Some([stamp(&self.certificate)?, stamp(&self.key)?])
    }

    /// Makes a self-signed pair for an IP address that has neither file, as derper does. Says whether it did.
    pub(super) fn make_if_missing(
        &self,
        hostname: &Hostname,
        now: SystemTime,
    ) -> Result<bool, CertificateError> {
        let missing = |path: &Path| matches!(path.metadata(), Err(e) if e.kind() == io::ErrorKind::NotFound);
        let Some(ip) = hostname.ip() else { return Ok(false) };
        match (missing(&self.certificate), missing(&self.key)) {
            (true, true) => {}
            (false, false) => return Ok(false),
            // derper would overwrite the one that is there, and with it the pin in everybody's map.
            (true, false) => return Err(FileError::half(&self.certificate, &self.key).into()),
            (false, true) => return Err(FileError::half(&self.key, &self.certificate).into()),
        }
        let made = self_signed::for_ip(hostname.as_str(), ip, now)?;
        let unwritable = |path: &Path| {
            let path = path.to_owned();
            |source| FileError::Unwritable { path, source }
        };
        let dir = atomic_file::folder(&self.certificate);
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unwritable(dir))?;
        atomic_file::write(&self.key, made.key_pem.as_bytes(), 0o600).map_err(unwritable(&self.key))?;
        atomic_file::write(&self.certificate, made.certificate_pem.as_bytes(), 0o644)
            .map_err(unwritable(&self.certificate))?;
        Ok(true)
    }
}

impl fmt::Display for CertificateFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {}", self.certificate.display(), self.key.display())
    }
}

/// A certificate's file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not there.
    #[error(
        "certificate file {} does not exist; put the chain and its key there (PEM, named by -hostname), or give \
         another -certdir", path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is there and cannot be read.
    #[error("certificate file {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("no self-signed certificate can be written to {}; give a writable -certdir: {source}", path.display())]
    Unwritable {
        /// The file or folder.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// Only the other one is there.
    #[error(
        "certificate file {} does not exist, but {} does; restore the first, or move the second away to have a new \
         self-signed certificate made (its hash in the DERP map changes then)", missing.display(), present.display()
    )]
    Half {
        /// The file that is not there.
        missing: PathBuf,
        /// The file that is.
        present: PathBuf,
    },
}

impl FileError {
    fn half(missing: &Path, present: &Path) -> Self {
        Self::Half { missing: missing.to_owned(), present: present.to_owned() }
    }
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn new(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}
