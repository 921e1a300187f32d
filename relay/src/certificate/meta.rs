//! The meta certificate: the relay's key, told in the TLS handshake.

use std::time::{Duration, SystemTime};

use ferry_protocol::frame::PROTOCOL_VERSION;
use ferry_protocol::{NodePublicKey, meta_cert};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519, SerialNumber};
use rustls::pki_types::CertificateDer;

use super::self_signed::{no_ca, set_validity};

/// Makes the certificate that stands last in every chain, with a key that is forgotten at once.
///
/// It authenticates nothing: a client that finds the relay's key in it may send its first frame without waiting for the
/// relay's (`Derp-Fast-Start`), and would find out later if the key was wrong. Nobody checks its dates.
pub(crate) fn meta_certificate(
    key: &NodePublicKey,
    now: SystemTime,
) -> Result<CertificateDer<'static>, rcgen::Error> {
    let mut params = CertificateParams::default();
    // 71 characters, above X.520's bound of 64; clients expect exactly this.
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, meta_cert::common_name(key));
    // Clients read the protocol's version from the serial number.
    params.serial_number = Some(SerialNumber::from(u64::from(PROTOCOL_VERSION)));
    // No key identifiers: Tailscale's prober takes their absence for the mark of this certificate.
    params.custom_extensions = vec![no_ca()];
    set_validity(&mut params, now - VALIDITY, now + VALIDITY);
    let signer = KeyPair::generate_for(&PKCS_ED25519)?;
    Ok(params.self_signed(&signer)?.der().clone())
}

/// derper's validity in each direction.
const VALIDITY: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use x509_parser::prelude::*;

    use super::*;

    #[test]
    fn it_has_what_clients_and_probers_look_for_and_nothing_else() {
        let start = 1_800_000_000;
        let key = NodePublicKey::from_bytes([0xab; 32]);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(start);
        let der = meta_certificate(&key, now).unwrap();
        let (rest, certificate) = X509Certificate::from_der(&der).unwrap();
        assert!(rest.is_empty());
        let name = format!("CN=derpkey{}", "ab".repeat(32));
        assert_eq!(name.len(), 3 + 71);
        assert_eq!(certificate.subject().to_string(), name);
        assert_eq!(certificate.issuer().to_string(), name);
        assert_eq!(certificate.version(), X509Version::V3);
        assert_eq!(certificate.raw_serial(), [2]);
        assert_eq!(certificate.signature_algorithm.algorithm.to_id_string(), "1.3.101.112", "Ed25519");
        let thirty_days = 30 * 86_400;
        assert_eq!(certificate.validity().not_before.timestamp(), start as i64 - thirty_days);
        assert_eq!(certificate.validity().not_after.timestamp(), start as i64 + thirty_days);
        let [extension] = certificate.extensions() else {
            panic!("one extension: {:?}", certificate.extensions())
        };
        assert!(extension.critical);
        assert!(matches!(extension.parsed_extension(), ParsedExtension::BasicConstraints(constraints)
            if !constraints.ca && constraints.path_len_constraint.is_none()));
    }

    #[test]
    fn each_start_has_its_own_signer() {
        let key = NodePublicKey::from_bytes([1; 32]);
        let now = SystemTime::UNIX_EPOCH + VALIDITY;
        assert_ne!(meta_certificate(&key, now).unwrap(), meta_certificate(&key, now).unwrap());
    }
}
