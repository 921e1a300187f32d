//! Whose certificates are believed.

use std::path::PathBuf;

use anyhow::Context as _;
use ferry_client::system_roots;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::source::read_file;

/// The authorities that the machine believes, and more.
#[derive(Debug)]
pub(crate) struct Believed {
    /// All of them.
    pub(crate) roots: RootCertStore,
    /// Why the machine's own are missing, if they are: relays that are pinned need none.
    pub(crate) missing: Option<std::io::Error>,
}

impl Believed {
    /// With those in these PEM files.
    pub(crate) fn with(files: &[PathBuf]) -> anyhow::Result<Self> {
        let (mut roots, missing) = match system_roots() {
            Ok(roots) => (roots, None),
            Err(error) => (RootCertStore::empty(), Some(error)),
        };
        for path in files {
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(&read_file(path)?) {
                let certificate =
                    certificate.with_context(|| format!("{} is no PEM file", path.display()))?;
                roots.add(certificate).with_context(|| format!("a certificate in {}", path.display()))?;
            }
            anyhow::ensure!(roots.len() > before, "{} has no certificate (PEM)", path.display());
        }
        Ok(Self { roots, missing })
    }
}
