//! Whom a client believes.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// How a relay proves that it is the one.
#[derive(Debug, Clone)]
pub enum Trust {
    /// A chain to one of these certificates, for the host's name or address.
    Roots(Arc<rustls::RootCertStore>),
    /// The one certificate with this SHA-256, as `sha256-raw:` in a DERP map's `CertName` pins it.
    Pinned([u8; 32]),
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
            WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&crypto))
                .build()
                .map_err(|error| Error::General(error.to_string()))?
        }
        Trust::Pinned(sha256) => Arc::new(HolderOf { sha256: Some(*sha256), crypto: Arc::clone(&crypto) }),
        Trust::Unverified => Arc::new(HolderOf { sha256: None, crypto: Arc::clone(&crypto) }),
    };
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

/// Believes who holds the key of a certificate: of this one, or of any.
#[derive(Debug)]
struct HolderOf {
    sha256: Option<[u8; 32]>,
    crypto: Arc<CryptoProvider>,
}

impl ServerCertVerifier for HolderOf {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(sha256) = self.sha256 else { return Ok(ServerCertVerified::assertion()) };
        if digest(&SHA256, end_entity).as_ref() != sha256 {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
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
}
