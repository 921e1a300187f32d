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
/// DERP has no ALPN: none is offered, as by Tailscale's client.
pub fn client_config(trust: &Trust, resumption: bool) -> Result<Arc<ClientConfig>, Error> {
    let crypto = Arc::new(provider::default_provider());
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
    Ok(Arc::new(config))
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
