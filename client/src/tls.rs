//! Whom a client believes.

mod pinned;

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::derp_map::Identity;

pub use pinned::PinnedNotAlone;

/// How a relay proves that it is the one.
#[derive(Debug, Clone)]
pub enum Trust {
    /// A chain to one of these certificates, for the host's name or address.
    Roots(Arc<RootCertStore>),
    /// The one certificate with this SHA-256, as `sha256-raw:` in a DERP map's `CertName` pins it, for the host's name and while it is
    /// valid. An address is no name.
    Pinned([u8; 32]),
    /// Whoever holds the key of the certificate with this SHA-256, whatever its name, date and company: the server that was there
    /// before. For measurements only.
    SameAs([u8; 32]),
    /// Whoever holds the certificate's key: for measurements only.
    Unverified,
}

/// A TLS configuration for connections to relays; `resumption` keeps session tickets and uses them.
///
/// DERP has no ALPN: none is offered, as by Tailscale's client. Ciphers are offered in that client's order: what a relay
/// prefers of them is then what it prefers with any other node.
pub fn client_config(trust: &Trust, resumption: bool) -> Result<Arc<ClientConfig>, Error> {
    let crypto = Arc::new(crypto());
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Roots(roots) => {
            chain_verifier(roots, &crypto).map_err(|error| Error::General(error.to_string()))?
        }
        Trust::Pinned(sha256) => Believes::new(Whom::Pinned(*sha256), &crypto),
        Trust::SameAs(sha256) => Believes::new(Whom::HolderOf(*sha256), &crypto),
        Trust::Unverified => Believes::new(Whom::Anybody, &crypto),
    };
    config_with(crypto, verifier, resumption)
}

/// Why there can be no TLS with a node of a DERP map.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The `CertName` is a pin that no certificate has.
    #[error(
        "the node's CertName is a pin that no certificate matches; write sha256-raw: and 64 hex digits in lower case"
    )]
    MalformedPin,
    /// The `CertName` can be no certificate's.
    #[error(
        "the node's CertName {name:?} is neither a DNS name nor an IP address, so no certificate can be for it"
    )]
    CertName {
        /// What it says.
        name: String,
    },
    /// The roots are of no use.
    #[error("certificates cannot be checked: {0}")]
    Roots(#[from] VerifierBuilderError),
    /// rustls refused the configuration.
    #[error(transparent)]
    Config(#[from] Error),
}

/// A TLS configuration for connections to one node of a DERP map: as [`client_config`], and `identity` says what its
/// certificate is checked for.
///
/// A [pinned](Identity::Pinned) certificate needs no root. Like Tailscale's client, this one wants it to be for the host's name none the
/// less, unless the host is an address, and to be valid today; and no other may come with it but the relay's mark
/// ([`PinnedNotAlone`]). For a [name of its own](Identity::CertName) the host name is still what is asked for (SNI).
///
/// ```
/// use std::sync::Arc;
/// use ferry_client::{TlsError, node_config};
/// use ferry_client::derp_map::Identity;
///
/// let no_roots = Arc::new(rustls::RootCertStore::empty());
/// assert!(node_config(&Identity::Pinned([7; 32]), &no_roots, true).is_ok());
/// assert!(matches!(node_config(&Identity::HostName, &no_roots, true), Err(TlsError::Roots(_))));
/// assert!(matches!(node_config(&Identity::Malformed, &no_roots, true), Err(TlsError::MalformedPin)));
/// ```
pub fn node_config(
    identity: &Identity,
    roots: &Arc<RootCertStore>,
    resumption: bool,
) -> Result<Arc<ClientConfig>, TlsError> {
    let crypto = Arc::new(crypto());
    let verifier: Arc<dyn ServerCertVerifier> = match identity {
        Identity::HostName => chain_verifier(roots, &crypto)?,
        Identity::CertName(name) => {
            let server_name =
                ServerName::try_from(name.clone()).map_err(|_| TlsError::CertName { name: name.clone() })?;
            Believes::new(Whom::Named(server_name, chain_verifier(roots, &crypto)?), &crypto)
        }
        Identity::Pinned(sha256) => Believes::new(Whom::Pinned(*sha256), &crypto),
        Identity::Malformed => return Err(TlsError::MalformedPin),
        Identity::Unchecked => Believes::new(Whom::Anybody, &crypto),
    };
    Ok(config_with(crypto, verifier, resumption)?)
}

/// The roots that this machine believes, for [`node_config`]: `SSL_CERT_FILE` and `SSL_CERT_DIR` where they are set, else the
/// system's own. Those that cannot be read are left out; without any there is an error.
#[cfg(feature = "net")]
pub fn system_roots() -> std::io::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let why = match found.errors.first() {
        Some(error) => error.to_string(),
        None => "there are none".to_owned(),
    };
    Err(std::io::Error::new(std::io::ErrorKind::NotFound, format!("the system's root certificates: {why}")))
}

fn config_with(
    crypto: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    resumption: bool,
) -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    if !resumption {
        config.resumption = Resumption::disabled();
    }
    // The record layer after the handshake is ours.
    config.enable_secret_extraction = true;
    Ok(Arc::new(config))
}

fn chain_verifier(
    roots: &Arc<RootCertStore>,
    crypto: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, VerifierBuilderError> {
    WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(crypto)).build()
}

/// rustls' cryptography with Go's order of TLS 1.3 ciphers (`crypto/tls`): AES-128-GCM first where the processor has AES, ChaCha20
/// where it has not. AES-256-GCM, which rustls puts first, also makes the handshake's hash SHA-384, for which processors have no
/// instructions.
fn crypto() -> CryptoProvider {
    use provider::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };

    let mut crypto = provider::default_provider();
    crypto.cipher_suites.retain(|suite| suite.tls13().is_none());
    let ciphers = if has_aes() {
        [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256]
    } else {
        [TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384]
    };
    crypto.cipher_suites.splice(0..0, ciphers);
    crypto
}

/// Whether the processor has instructions for AES-GCM.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// Who is believed where that is not whoever has a chain for the host's name. All have to hold the key of their certificate.
#[derive(Debug)]
enum Whom {
    /// Everybody.
    Anybody,
    /// Who shows the certificate with this SHA-256.
    HolderOf([u8; 32]),
    /// The same, and alone, in its time and for the host's name.
    Pinned([u8; 32]),
    /// Who has a chain to a root for this name, whatever the host is called.
    Named(ServerName<'static>, Arc<WebPkiServerVerifier>),
}

/// Believes them.
#[derive(Debug)]
struct Believes {
    whom: Whom,
    crypto: Arc<CryptoProvider>,
}

impl Believes {
    fn new(whom: Whom, crypto: &Arc<CryptoProvider>) -> Arc<Self> {
        Arc::new(Self { whom, crypto: Arc::clone(crypto) })
    }
}

impl ServerCertVerifier for Believes {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.whom {
            Whom::Named(name, chain) => {
                chain.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
            }
            Whom::HolderOf(sha256) => {
                pinned::verify_hash(sha256, end_entity)?;
                Ok(ServerCertVerified::assertion())
            }
            Whom::Pinned(sha256) => {
                pinned::verify(sha256, end_entity, intermediates, server_name, now)?;
                Ok(ServerCertVerified::assertion())
            }
            Whom::Anybody => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.crypto.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.crypto.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.crypto.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::CipherSuite;

    use super::*;

    #[test]
    fn ciphers_are_offered_in_the_order_of_go() {
        let suites: Vec<CipherSuite> = crypto()
            .cipher_suites
            .iter()
            .filter(|suite| suite.tls13().is_some())
            .map(|suite| suite.suite())
            .collect();
        let (aes, chacha) =
            (CipherSuite::TLS13_AES_128_GCM_SHA256, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
        assert_eq!(suites.len(), 3);
        assert_eq!(suites[0], if has_aes() { aes } else { chacha });
        assert!(suites.contains(&CipherSuite::TLS13_AES_256_GCM_SHA384));
        assert_eq!(
            crypto().cipher_suites.len(),
            provider::default_provider().cipher_suites.len(),
            "TLS 1.2's are all there"
        );
    }

    #[test]
    fn a_certificate_is_checked_for_the_name_that_the_map_gives_it() {
        let CertifiedKey { cert, .. } =
            generate_simple_self_signed(["front.example.net".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let crypto = Arc::new(crypto());
        let chain = chain_verifier(&Arc::new(roots), &crypto).unwrap();
        let host = ServerName::try_from("relay.example.net").unwrap();
        let verify = |verifier: &dyn ServerCertVerifier| {
            verifier.verify_server_cert(cert.der(), &[], &host, &[], UnixTime::now())
        };
        assert!(verify(&*chain).is_err(), "the host has another name");
        let named = |name: &'static str| {
            Believes::new(Whom::Named(ServerName::try_from(name).unwrap(), Arc::clone(&chain)), &crypto)
        };
        assert!(verify(&*named("front.example.net")).is_ok());
        assert!(verify(&*named("other.example.net")).is_err());
    }

    #[test]
    fn a_name_that_no_certificate_has_is_refused_by_name() {
        let roots = Arc::new(RootCertStore::empty());
        let error = node_config(&Identity::CertName("no name".to_owned()), &roots, true).unwrap_err();
        assert!(matches!(&error, TlsError::CertName { name } if name == "no name"), "{error}");
        assert!(node_config(&Identity::Unchecked, &roots, false).is_ok(), "nothing to check, nothing needed");
    }
}
