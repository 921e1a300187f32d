//! Rules about the certificate that is served, over real files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use rustls::pki_types::{PrivateKeyDer, pem::PemObject};

use super::*;
use crate::test_dir::TestDir;

/// January 2027.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

#[test]
fn a_pair_is_found_by_host_name_and_served_with_the_meta_certificate_last() {
    let dir = TestDir::new("cert-open");
    let issued = Issued::new("relay.example.net");
    issued.write(dir.path(), "relay.example.net");
    let store = open(&dir, "relay.example.net").unwrap();
    assert!(!store.generated());
    let chain = store.certified_key().cert.clone();
    assert_eq!(chain.len(), 2);
    assert_eq!(chain[1], meta());
    assert_eq!(store.days_left(now()), 365);
}

#[test]
fn an_address_without_files_gets_derpers_self_signed_certificate() {
    let dir = TestDir::new("cert-ip");
    let folder = dir.path().join("new/certs");
    let hostname = name("2001:db8::1");
    let store = CertificateStore::open(&folder, &hostname, meta(), now()).unwrap();
    assert!(store.generated());
    let mode = |name: &str| folder.join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("2001db81.crt"), mode("2001db81.key")), (0o700, 0o644, 0o600));
    let key = fs::read_to_string(folder.join("2001db81.key")).unwrap();
    assert!(key.starts_with("-----BEGIN EC PRIVATE KEY-----\n") && key.lines().all(|line| line.len() <= 64));
    let again = CertificateStore::open(&folder, &hostname, meta(), now()).unwrap();
    assert!(!again.generated());
    assert_eq!(again.leaf_sha256(), store.leaf_sha256(), "the pin survives a restart");
}

#[test]
fn half_a_pair_of_an_address_is_never_overwritten() {
    for (gone, kept) in [("192.0.2.1.crt", "192.0.2.1.key"), ("192.0.2.1.key", "192.0.2.1.crt")] {
        let dir = TestDir::new("cert-half");
        open(&dir, "192.0.2.1").unwrap();
        fs::remove_file(dir.path().join(gone)).unwrap();
        let content = fs::read(dir.path().join(kept)).unwrap();
        let error = open(&dir, "192.0.2.1").unwrap_err().to_string();
        assert!(error.contains(&format!("{gone} does not exist, but ")), "{error}");
        assert_eq!(fs::read(dir.path().join(kept)).unwrap(), content);
    }
}

#[test]
fn a_trial_certificate_is_for_the_host_name_and_loopback() {
    for hostname in ["127.0.0.1", "relay.test", "192.0.2.1"] {
        let hostname = name(hostname);
        let store = CertificateStore::in_memory(&hostname, meta(), now()).unwrap();
        let leaf = store.certified_key().cert[0].clone();
        let leaf = webpki::EndEntityCert::try_from(&leaf).unwrap();
        for own in [hostname.as_str(), "localhost", "127.0.0.1", "::1"] {
            assert!(leaf.verify_is_valid_for_subject_name(name(own).server_name()).is_ok(), "{own}");
        }
        assert!(store.files().is_none() && store.generated());
        assert_eq!(store.reload_if_changed(Instant::now()).unwrap(), Reload::Unchanged);
    }
}

#[test]
fn every_broken_pair_is_named_with_the_fix() {
    let issued = Issued::new("relay.example.net");
    let other = Issued::new("relay.example.net");
    let stranger = Issued::new("other.example.net");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    let nothing = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (certificate, key, part) in [
        ("", issued.key.as_str(), "has no CERTIFICATE; it should be PEM, leaf first"),
        (&issued.key, &issued.certificate, "has no private key"),
        (&issued.key, &issued.key, "are the two files swapped"),
        (broken, &issued.key, "is broken PEM"),
        (nothing, &issued.key, "the first certificate cannot be read"),
        (&issued.certificate, "", "has no private key"),
        (&issued.certificate, encrypted, "is encrypted; decrypt it with"),
        (&issued.certificate, &other.key, "does not belong to the first certificate"),
        (&stranger.certificate, &stranger.key, "is for other.example.net, not for relay.example.net"),
    ] {
        let dir = TestDir::new("cert-broken");
        fs::write(dir.path().join("relay.example.net.crt"), certificate).unwrap();
        fs::write(dir.path().join("relay.example.net.key"), key).unwrap();
        let error = open(&dir, "relay.example.net").unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("relay.example.net.crt"), "{part}: {error}");
        assert!(!error.contains("MHc") && !error.contains("AAAA"), "no key in a message: {error}");
    }
}

/// The decoder's own messages quote a line that should begin a section, byte by byte: the whole key, if an editor
/// has joined its lines.
#[test]
fn broken_pem_is_named_by_its_file_and_never_quoted() {
    let issued = Issued::new("relay.example.net");
    let joined = issued.key.replace("-----\n", " ").replace('\n', "");
    let quoted = PrivateKeyDer::from_pem_slice(joined.as_bytes()).unwrap_err().to_string();
    let secret = format!("{:?}", &joined.as_bytes()[40..60]);
    let secret = secret.trim_matches(['[', ']']);
    assert!(quoted.contains(secret), "what there is to hide: {quoted}");
    for (certificate, key, part) in [
        (&joined, &issued.key, "the certificate file is broken PEM"),
        (&issued.certificate, &joined, "the key file is broken PEM"),
    ] {
        let dir = TestDir::new("cert-joined");
        fs::write(dir.path().join("relay.example.net.crt"), certificate).unwrap();
        fs::write(dir.path().join("relay.example.net.key"), key).unwrap();
        let error = open(&dir, "relay.example.net").unwrap_err();
        let (text, debug) = (error.to_string(), format!("{error:?}"));
        assert!(text.ends_with(part), "{text}");
        assert!(!text.contains(secret) && !debug.contains(secret), "{text} {debug}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let dir = TestDir::new("cert-missing");
    let error = open(&dir, "relay.example.net").unwrap_err().to_string();
    assert!(
        error.contains("relay.example.net.crt does not exist; put the chain and its key there"),
        "{error}"
    );
    Issued::new("relay.example.net").write(dir.path(), "relay.example.net");
    fs::remove_file(dir.path().join("relay.example.net.key")).unwrap();
    let error = open(&dir, "relay.example.net").unwrap_err().to_string();
    assert!(error.contains("relay.example.net.key does not exist"), "{error}");
}

#[test]
fn all_three_forms_of_key_are_read() {
    let issued = Issued::new("relay.example.net");
    let key = rcgen::KeyPair::from_pem(&issued.key).unwrap();
    let rsa = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let rsa_certificate = issue("relay.example.net", &rsa);
    // PKCS#8 is a SEQUENCE of version, algorithm and the older form in an OCTET STRING.
    let (_, pkcs8) = x509_parser::der_parser::parse_der(rsa.serialized_der()).unwrap();
    let pkcs1 = pkcs8.as_sequence().unwrap()[2].as_slice().unwrap();
    for (name, certificate, key) in [
        ("PKCS#8", &issued.certificate, key.serialize_pem()),
        ("SEC1", &issued.certificate, self_signed::sec1_pem(&key).unwrap()),
        ("RSA, PKCS#8", &rsa_certificate, rsa.serialize_pem()),
        ("RSA, PKCS#1", &rsa_certificate, self_signed::pem("RSA PRIVATE KEY", pkcs1)),
        ("behind parameters", &issued.certificate, {
            let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
            format!("{parameters}{}", self_signed::sec1_pem(&key).unwrap())
        }),
    ] {
        let dir = TestDir::new("cert-forms");
        fs::write(dir.path().join("relay.example.net.crt"), certificate).unwrap();
        fs::write(dir.path().join("relay.example.net.key"), key).unwrap();
        open(&dir, "relay.example.net").unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn a_wildcard_certificate_serves_its_names() {
    let dir = TestDir::new("cert-wildcard");
    Issued::new("*.example.net").write(dir.path(), "relay.example.net");
    open(&dir, "relay.example.net").unwrap();
    Issued::new("*.example.net").write(dir.path(), "a.relay.example.net");
    assert!(open(&dir, "a.relay.example.net").is_err());
}

#[test]
fn new_files_are_served_without_a_restart() {
    let dir = TestDir::new("reload");
    Issued::new("relay.example.net").write(dir.path(), "relay.example.net");
    let store = open(&dir, "relay.example.net").unwrap();
    let start = Instant::now();
    assert_eq!(store.reload_if_changed(start).unwrap(), Reload::Unchanged);
    let next = Issued::new("relay.example.net");
    next.write(dir.path(), "relay.example.net");
    assert_eq!(store.reload_if_changed(start).unwrap(), Reload::Replaced);
    assert_eq!(store.certified_key().cert[0], next.der());
    assert_eq!(store.certified_key().cert[1], meta(), "the meta certificate stays");
    assert_eq!(store.reload_if_changed(start).unwrap(), Reload::Unchanged);
}

#[test]
fn the_same_content_written_again_is_no_change() {
    let dir = TestDir::new("reload-same");
    let issued = Issued::new("relay.example.net");
    issued.write(dir.path(), "relay.example.net");
    let store = open(&dir, "relay.example.net").unwrap();
    let before = store.certified_key();
    issued.write(dir.path(), "relay.example.net");
    assert_eq!(store.reload_if_changed(Instant::now()).unwrap(), Reload::Unchanged);
    assert!(Arc::ptr_eq(&before, &store.certified_key()));
}

#[test]
fn two_files_replaced_one_after_the_other_are_never_an_error() {
    let dir = TestDir::new("reload-staggered");
    let first = Issued::new("relay.example.net");
    first.write(dir.path(), "relay.example.net");
    let store = open(&dir, "relay.example.net").unwrap();
    let start = Instant::now();
    let next = Issued::new("relay.example.net");
    fs::write(dir.path().join("relay.example.net.crt"), &next.certificate).unwrap();
    assert_eq!(store.reload_if_changed(start).unwrap(), Reload::Unsettled);
    assert_eq!(store.certified_key().cert[0], first.der(), "the old pair is served meanwhile");
    fs::write(dir.path().join("relay.example.net.key"), &next.key).unwrap();
    assert_eq!(store.reload_if_changed(start + Duration::from_secs(5)).unwrap(), Reload::Replaced);
    assert_eq!(store.certified_key().cert[0], next.der());
}

#[test]
fn a_pair_that_stays_broken_is_an_error_once_and_the_old_one_is_served() {
    let dir = TestDir::new("reload-broken");
    let first = Issued::new("relay.example.net");
    first.write(dir.path(), "relay.example.net");
    let store = open(&dir, "relay.example.net").unwrap();
    let start = Instant::now();
    fs::write(dir.path().join("relay.example.net.key"), Issued::new("x").key).unwrap();
    assert_eq!(store.reload_if_changed(start).unwrap(), Reload::Unsettled);
    assert_eq!(store.reload_if_changed(start + RELOAD_GRACE / 2).unwrap(), Reload::Unsettled);
    let error = store.reload_if_changed(start + RELOAD_GRACE).unwrap_err().to_string();
    assert!(error.contains("does not belong to the first certificate"), "{error}");
    assert_eq!(store.reload_if_changed(start + RELOAD_GRACE * 2).unwrap(), Reload::Unchanged, "said once");
    assert_eq!(store.certified_key().cert[0], first.der());

    let next = Issued::new("relay.example.net");
    next.write(dir.path(), "relay.example.net");
    assert_eq!(store.reload_if_changed(start + RELOAD_GRACE * 3).unwrap(), Reload::Replaced);
    assert_eq!(store.certified_key().cert[0], next.der());
}

#[test]
fn a_file_that_vanishes_is_an_error_once() {
    let dir = TestDir::new("reload-gone");
    let issued = Issued::new("relay.example.net");
    issued.write(dir.path(), "relay.example.net");
    let store = open(&dir, "relay.example.net").unwrap();
    let start = Instant::now();
    fs::remove_file(dir.path().join("relay.example.net.crt")).unwrap();
    assert_eq!(store.reload_if_changed(start).unwrap(), Reload::Unsettled);
    let error = store.reload_if_changed(start + RELOAD_GRACE).unwrap_err();
    assert!(matches!(error, CertificateError::File(FileError::Missing { .. })), "{error}");
    assert_eq!(store.reload_if_changed(start + RELOAD_GRACE).unwrap(), Reload::Unchanged);
    issued.write(dir.path(), "relay.example.net");
    assert_eq!(store.reload_if_changed(start + RELOAD_GRACE).unwrap(), Reload::Unchanged, "as it was");
}

#[test]
fn a_link_that_points_elsewhere_is_a_change() {
    // Kubernetes: the files are links into a link "..data", which is renamed over.
    let dir = TestDir::new("reload-link");
    let (first, next) = (Issued::new("relay.example.net"), Issued::new("relay.example.net"));
    for (version, issued) in [("v1", &first), ("v2", &next)] {
        fs::create_dir(dir.path().join(version)).unwrap();
        issued.write(&dir.path().join(version), "relay.example.net");
    }
    symlink("v1", dir.path().join("..data")).unwrap();
    for name in ["relay.example.net.crt", "relay.example.net.key"] {
        symlink(Path::new("..data").join(name), dir.path().join(name)).unwrap();
    }
    let store = open(&dir, "relay.example.net").unwrap();
    symlink("v2", dir.path().join("..data_tmp")).unwrap();
    fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    assert_eq!(store.reload_if_changed(Instant::now()).unwrap(), Reload::Replaced);
    assert_eq!(store.certified_key().cert[0], next.der());
}

#[test]
fn expiry_is_counted_and_warned_of() {
    let dir = TestDir::new("expiry");
    let store = {
        Issued::new("relay.example.net").write(dir.path(), "relay.example.net");
        open(&dir, "relay.example.net").unwrap()
    };
    let at = |days: u64| now() + Duration::from_secs(days * 24 * 60 * 60);
    assert_eq!((store.days_left(at(300)), store.expiry_warning(at(300))), (65, None));
    assert_eq!(store.expiry_warning(at(358)), None);
    let soon = store.expiry_warning(at(362)).unwrap();
    assert_eq!(soon.days_left, 3);
    assert!(soon.to_string().starts_with("certificate for relay.example.net expires in 3 days ("), "{soon}");
    assert!(soon.to_string().ends_with("put a new one there, it is taken without a restart"), "{soon}");
    let late = store.expiry_warning(at(370)).unwrap().to_string();
    assert!(late.starts_with("certificate for relay.example.net expired 5 days ago ("), "{late}");
    assert_eq!(store.seconds_left(at(366)), -24 * 60 * 60);
}

#[test]
fn only_the_own_name_is_served_unless_it_is_an_address() {
    let dir = TestDir::new("sni");
    Issued::new("relay.example.net").write(dir.path(), "relay.example.net");
    let named = open(&dir, "relay.example.net").unwrap();
    assert!(named.serves(Some("relay.example.net")) && named.serves(Some("Relay.Example.Net")));
    assert!(!named.serves(Some("other.example.net")) && !named.serves(Some("a.relay.example.net")));
    assert!(!named.serves(None));
    let by_address = open(&dir, "192.0.2.1").unwrap();
    assert!(by_address.serves(None) && by_address.serves(Some("anything.example.net")));
}

fn open(dir: &TestDir, hostname: &str) -> Result<CertificateStore, CertificateError> {
    CertificateStore::open(dir.path(), &name(hostname), meta(), now())
}

fn name(hostname: &str) -> Hostname {
    Hostname::parse(hostname).unwrap()
}

/// A stand-in: the store does not look into it.
fn meta() -> CertificateDer<'static> {
    CertificateDer::from(b"meta".to_vec())
}

/// A certificate for one name and its key, PEM.
struct Issued {
    certificate: String,
    key: String,
}

impl Issued {
    fn new(name: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        Self { certificate: issue(name, &key), key: key.serialize_pem() }
    }

    fn write(&self, dir: &Path, stem: &str) {
        fs::write(dir.join(format!("{stem}.crt")), &self.certificate).unwrap();
        fs::write(dir.join(format!("{stem}.key")), &self.key).unwrap();
    }

    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

fn issue(name: &str, key: &rcgen::KeyPair) -> String {
    let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    self_signed::set_validity(&mut params, now(), now() + Duration::from_secs(365 * 24 * 60 * 60));
    params.self_signed(key).unwrap().pem()
}
