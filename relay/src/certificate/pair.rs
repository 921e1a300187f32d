//! A chain and its key, read from PEM and checked against each other and the host name.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest::{self, SHA256};
use rustls::InconsistentKeys;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::server_config::provider;
use crate::config::Hostname;

/// A certificate that can be served.
#[derive(Debug)]
pub(super) struct Pair {
    /// The chain with the meta certificate behind it, and the key.
    pub(super) certified: Arc<CertifiedKey>,
    /// SHA-256 of the leaf's DER.
    pub(super) leaf_sha256: [u8; 32],
    /// When the leaf expires, in seconds since 1970.
    pub(super) not_after_unix: i64,
    /// [`content_hash`] of what it was read from.
    pub(super) content: [u8; 32],
}

impl Pair {
    /// Reads both and checks what a client would: that the key is the leaf's and the leaf is for the host name.
    ///
    /// Dates and issuers are not checked, as derper does not: an expired certificate is still better than none for
    /// clients that pin it.
    pub(super) fn load(
        chain_pem: &[u8],
        key_pem: &[u8],
        hostname: &Hostname,
        meta: &CertificateDer<'static>,
    ) -> Result<Self, PairError> {
        let mut chain = CertificateDer::pem_slice_iter(chain_pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| PairError::CertificatePem)?;
        let key = key(key_pem)?;
        let Some(leaf) = chain.first() else {
            let swapped = PrivateKeyDer::from_pem_slice(chain_pem).is_ok();
            return Err(PairError::NoCertificate { swapped });
        };
        let leaf_sha256 = sha256(&[leaf]);
        let (_, parsed) =
            X509Certificate::from_der(leaf).map_err(|error| PairError::Leaf(error.to_string()))?;
        let not_after_unix = parsed.validity().not_after.timestamp();
        let end_entity = EndEntityCert::try_from(leaf).map_err(|error| PairError::Leaf(error.to_string()))?;
        if end_entity.verify_is_valid_for_subject_name(hostname.server_name()).is_err() {
            return Err(PairError::WrongName { hostname: hostname.clone(), names: names(&parsed) });
        }
        let key = provider().key_provider.load_private_key(key).map_err(PairError::Key)?;
        chain.push(meta.clone());
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // A key that cannot tell its public half is left to the handshake to judge.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(PairError::Mismatch),
        }
        Ok(Self {
            certified: Arc::new(certified),
            leaf_sha256,
            not_after_unix,
            content: content_hash(chain_pem, key_pem),
        })
    }
}

/// Why a chain and a key cannot be served. The message follows the names of the files.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// Not PEM at all. Where and why is not told: the decoder quotes the file, which may hold the key.
    #[error("the certificate file is broken PEM")]
    CertificatePem,
    /// Nothing, or the other file.
    #[error(
        "the certificate file has no CERTIFICATE; {}",
        if *.swapped { "it has a private key: are the two files swapped" } else { "it should be PEM, leaf first" }
    )]
    NoCertificate {
        /// There is a key where the certificate should be.
        swapped: bool,
    },
    /// The leaf is no certificate of X.509 version 3 that can be understood.
    #[error("the first certificate cannot be read: {0}")]
    Leaf(String),
    /// The leaf is somebody else's.
    #[error(
        "the certificate is for {}, not for {hostname}; install one for {hostname}, or give -hostname as it says",
        list(names)
    )]
    WrongName {
        /// The relay's host name.
        hostname: Hostname,
        /// The names of the leaf.
        names: Vec<String>,
    },
    /// No key in any of the three forms.
    #[error(
        "the key file has no private key; it should be PEM: PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY"
    )]
    NoKey,
    /// A key behind a password, which nobody can type at start.
    #[error("the private key is encrypted; decrypt it with: openssl pkey -in FILE -out FILE")]
    EncryptedKey,
    /// Not PEM at all; no more than that is told, as above.
    #[error("the key file is broken PEM")]
    KeyPem,
    /// A kind of key that TLS here has no use for.
    #[error("the private key cannot be used; make an ECDSA P-256 or an RSA one of 2048 bits or more: {0}")]
    Key(rustls::Error),
    /// The key is of another certificate.
    #[error(
        "the private key does not belong to the first certificate; the leaf comes first, then its issuers"
    )]
    Mismatch,
}

/// One hash over both contents.
pub(super) fn content_hash(chain_pem: &[u8], key_pem: &[u8]) -> [u8; 32] {
    // The length in front keeps the border between the two.
    sha256(&[&chain_pem.len().to_be_bytes(), chain_pem, key_pem])
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The first private key, in whichever of the three PEM forms it is.
fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PairError> {
    let contains = |text: &[u8]| pem.windows(text.len()).any(|window| window == text);
    match PrivateKeyDer::from_pem_slice(pem) {
        // PKCS#8's own form, or OpenSSL's older headers inside another.
        _ if contains(b"ENCRYPTED PRIVATE KEY") || contains(b"Proc-Type: 4,ENCRYPTED") => {
            Err(PairError::EncryptedKey)
        }
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(PairError::NoKey),
        Err(_) => Err(PairError::KeyPem),
    }
}

/// What a certificate is for, to tell the operator.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| {
        if let GeneralName::IPAddress(octets) = name {
            return ip(octets).map(|ip| ip.to_string());
        }
        if let GeneralName::DNSName(name) = name { Some((*name).to_owned()) } else { None }
    };
    alternatives.value.general_names.iter().filter_map(name).collect()
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "no name (a subject alone does not count)".to_owned() } else { names.join(", ") }
}
