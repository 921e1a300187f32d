//! Self-signed certificates: derper's for a relay without a name, and one for a trial.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};

use crate::config::Hostname;

/// A certificate and its key as they go into files.
pub(super) struct SelfSigned {
    /// One CERTIFICATE.
    pub(super) certificate_pem: String,
    /// One EC PRIVATE KEY, the form derper writes.
    pub(super) key_pem: String,
}

/// derper's certificate for an IP address: P-256, a year, the address as common name and only alternative name.
pub(super) fn for_ip(common_name: &str, ip: IpAddr, now: SystemTime) -> Result<SelfSigned, rcgen::Error> {
    make(common_name, vec![SanType::IpAddress(ip)], now)
}

/// A certificate for the host name and for every way to reach this machine from itself.
pub(super) fn for_trial(hostname: &Hostname, now: SystemTime) -> Result<SelfSigned, rcgen::Error> {
    let own = match hostname.ip() {
        Some(ip) => SanType::IpAddress(ip),
        None => SanType::DnsName(Ia5String::try_from(hostname.as_str())?),
    };
    let mut names = vec![own];
    for name in [
        SanType::DnsName(Ia5String::try_from("localhost")?),
        SanType::IpAddress(Ipv4Addr::LOCALHOST.into()),
        SanType::IpAddress(Ipv6Addr::LOCALHOST.into()),
    ] {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    make(hostname.as_str(), names, now)
}

/// The critical BasicConstraints extension "no CA". rcgen's own adds a SubjectKeyIdentifier, which derper's
/// certificates have not and its prober stumbles over in the meta certificate.
pub(super) fn no_ca() -> CustomExtension {
    // RFC 5280 section 4.2.1.9: an empty SEQUENCE, for FALSE is the default of cA.
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 0x00]);
    extension.set_criticality(true);
    extension
}

/// Sets both dates, to the second.
pub(super) fn set_validity(params: &mut CertificateParams, not_before: SystemTime, not_after: SystemTime) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let seconds = |time| Duration::from_secs(u64::try_from(unix_seconds(time)).unwrap_or_default());
    params.not_before = epoch + seconds(not_before);
    params.not_after = epoch + seconds(not_after);
}

/// Whole seconds since 1970; negative before.
pub(super) fn unix_seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    }
}

/// derper's validity; macOS refuses certificates that are valid for much longer.
const VALIDITY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn make(common_name: &str, names: Vec<SanType>, now: SystemTime) -> Result<SelfSigned, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.subject_alt_names = names;
    params.serial_number = Some(serial_number()?);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.custom_extensions = vec![no_ca()];
    set_validity(&mut params, now, now + VALIDITY);
    let certificate = params.self_signed(&key)?;
    Ok(SelfSigned { certificate_pem: certificate.pem(), key_pem: sec1_pem(&key)? })
}

/// 127 random bits, the first always set: positive and never short.
fn serial_number() -> Result<SerialNumber, rcgen::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| rcgen::Error::RingUnspecified)?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// The key as RFC 5915 has it, in the PEM that derper writes. rcgen knows only PKCS#8.
pub(super) fn sec1_pem(key: &KeyPair) -> Result<String, rcgen::Error> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.serialized_der())
        .map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
    let der: EcPrivateKeyRfc5915Der<'_> =
        pair.private_key().as_der().map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
    Ok(pem("EC PRIVATE KEY", der.as_ref()))
}

/// RFC 7468 section 3: base64 in lines of 64 between two boundaries.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in data_encoding::BASE64.encode(der).as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem.push_str("-----END ");
    pem.push_str(label);
    pem.push_str("-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use x509_parser::prelude::*;

    use super::*;

    /// January 2027.
    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn the_certificate_of_an_address_has_derpers_fields_and_no_other() {
        let made = for_ip("192.0.2.1", Ipv4Addr::new(192, 0, 2, 1).into(), now()).unwrap();
        let der = CertificateDer::from_pem_slice(made.certificate_pem.as_bytes()).unwrap();
        let (rest, certificate) = X509Certificate::from_der(&der).unwrap();
        assert!(rest.is_empty());
        assert_eq!(certificate.version(), X509Version::V3);
        assert_eq!(certificate.subject().to_string(), "CN=192.0.2.1");
        assert_eq!(certificate.issuer().to_string(), "CN=192.0.2.1");
        assert_eq!(certificate.raw_serial().len(), 16);
        assert_eq!(certificate.validity().not_before.timestamp(), 1_800_000_000);
        assert_eq!(certificate.validity().not_after.timestamp(), 1_800_000_000 + 365 * 86_400);
        let mut extensions = certificate.extensions().iter().map(|extension| {
            assert_eq!(
                extension.critical,
                matches!(extension.oid.to_id_string().as_str(), "2.5.29.15" | "2.5.29.19")
            );
            extension.parsed_extension()
        });
        assert!(matches!(extensions.next(), Some(ParsedExtension::SubjectAlternativeName(names))
            if names.general_names == [GeneralName::IPAddress(&[192, 0, 2, 1])]));
        assert!(matches!(extensions.next(), Some(ParsedExtension::KeyUsage(usage)) if usage.flags == 0b101));
        assert!(matches!(extensions.next(), Some(ParsedExtension::ExtendedKeyUsage(usage))
            if usage.server_auth && !usage.client_auth && !usage.any));
        assert!(matches!(extensions.next(), Some(ParsedExtension::BasicConstraints(constraints))
            if !constraints.ca && constraints.path_len_constraint.is_none()));
        assert!(extensions.next().is_none());
    }

    #[test]
    fn dates_before_1970_count_down() {
        assert_eq!(unix_seconds(UNIX_EPOCH - Duration::from_secs(5)), -5);
        assert_eq!(unix_seconds(UNIX_EPOCH + Duration::from_secs(5)), 5);
    }

    #[test]
    fn two_certificates_have_two_keys_and_serial_numbers() {
        let ip = Ipv6Addr::LOCALHOST.into();
        let (first, second) = (for_ip("::1", ip, now()).unwrap(), for_ip("::1", ip, now()).unwrap());
        assert_ne!(first.key_pem, second.key_pem);
        assert_ne!(serial_number().unwrap(), serial_number().unwrap());
    }
}
