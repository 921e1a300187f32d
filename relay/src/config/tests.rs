//! Rules about flags together.

use std::fs;

use super::*;

const MESH_KEY: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";

/// Cores of the machine in these tests.
const FOUR: NonZeroUsize = NonZeroUsize::new(4).unwrap();

#[test]
fn a_derper_with_manual_certificates_keeps_its_meaning() {
    let config =
        check(&["-certmode", "manual", "-certdir", "/certs", "-hostname", "relay.example.net"]).unwrap();
    assert_eq!(config.listen, "[::]:443".parse().unwrap());
    assert_eq!(config.listen_text, ":443");
    assert_eq!(config.tls, TlsMode::Manual { dir: "/certs".into() });
    assert_eq!(config.hostname.as_str(), "relay.example.net");
    assert_eq!(config.http_port, Some(80));
    assert_eq!(config.http(), Some("[::]:80".parse().unwrap()));
    assert_eq!(config.stun, Some("[::]:3478".parse().unwrap()));
    assert_eq!(config.private_key, PrivateKeySource::File(ROOT_KEY_FILE.into()));
    assert_eq!(config.home, Home::Default);
    assert!(config.derp_enabled && !config.ace && !config.dev && config.mesh_key.is_none());
    assert_eq!((config.threads.get(), config.queue_depth.get(), config.log_filter.as_str()), (4, 32, "info"));
}

#[test]
fn tls_is_on_port_443_or_with_manual_certificates() {
    for (words, tls) in [
        (vec!["-a", ":8080"], TlsMode::Off),
        (vec!["-a", "127.0.0.1:80", "-certmode", "letsencrypt"], TlsMode::Off),
        (vec!["-a", ":8443", "-certmode=manual", "-certdir=/c"], TlsMode::Manual { dir: "/c".into() }),
        (vec!["-a", ":https", "-certmode=manual", "-certdir=/c"], TlsMode::Manual { dir: "/c".into() }),
    ] {
        let config = check(&words).unwrap();
        assert_eq!(config.tls, tls, "{words:?}");
        assert_eq!(config.http_port.is_some(), tls != TlsMode::Off, "plain HTTP only beside TLS: {words:?}");
    }
}

#[test]
fn a_certificate_authority_is_refused_with_the_way_out() {
    for (words, part) in [
        (vec![], "port 443 is served with TLS, and -certmode letsencrypt (derper's default) is not served"),
        (vec!["-certmode", "letsencrypt"], "-certmode letsencrypt is not served"),
        (vec!["-certmode", "gcp", "-a", ":https"], "-certmode gcp is not served"),
        (
            vec!["-hostname", "2001:db8::1"],
            "put the certificate of 2001:db8::1 and its key into a folder as 2001db81.crt",
        ),
        (vec!["-dev", "-certmode", "letsencrypt", "-a", ":443"], "give -certmode manual -certdir FOLDER"),
    ] {
        let error = check(&words).unwrap_err();
        assert!(matches!(error, ConfigError::CertMode { .. }), "{words:?}");
        assert!(error.to_string().contains(part), "{words:?}: {error}");
    }
}

#[test]
fn the_certificate_folder_is_gos_cache_folder_unless_given() {
    let manual = ["-certmode", "manual"];
    for (variables, dir) in [
        (vec![("HOME", "/h")], Some("/h/.cache/tailscale/derper-certs")),
        (vec![("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], Some("/x/tailscale/derper-certs")),
        (vec![("HOME", "/h"), ("XDG_CACHE_HOME", "x")], None),
        (vec![], None),
    ] {
        let checked = check_on(&manual, &variables, true);
        match dir {
            Some(dir) => assert_eq!(checked.unwrap().tls, TlsMode::Manual { dir: dir.into() }),
            None => assert!(matches!(checked, Err(ConfigError::NoCertDir))),
        }
    }
}

#[test]
fn dev_alone_is_a_whole_relay_for_this_machine() {
    let config = check_on(&["-dev"], &[("TAILSCALE_DERPER_MESH_KEY", MESH_KEY)], false).unwrap();
    assert_eq!(config.listen, "127.0.0.1:3340".parse().unwrap());
    assert_eq!(config.tls, TlsMode::InMemory);
    assert_eq!(config.hostname.as_str(), "127.0.0.1");
    assert_eq!(config.http_port, None);
    assert_eq!(config.stun, Some("127.0.0.1:3478".parse().unwrap()));
    assert_eq!(config.private_key, PrivateKeySource::Ephemeral);
    assert_eq!(config.mesh_key.map(|key| key.to_hex()).as_deref().map(AsRef::as_ref), Some(MESH_KEY));
    assert!(config.dev);
}

#[test]
fn each_flag_overrides_its_part_of_dev() {
    let config = check(&["-dev", "-a", ":3340"]).unwrap();
    assert_eq!(
        (config.tls, config.listen),
        (TlsMode::Off, "[::]:3340".parse().unwrap()),
        "derper's own -dev"
    );
    assert_eq!(config.hostname.as_str(), "127.0.0.1");

    let config = check(&["-dev", "-a", "127.0.0.2:443", "-http-port", "8080"]).unwrap();
    assert_eq!(config.tls, TlsMode::InMemory);
    assert_eq!(config.hostname.as_str(), "127.0.0.2");
    assert_eq!(config.http(), Some("127.0.0.2:8080".parse().unwrap()));
    assert_eq!(config.stun, Some("127.0.0.2:3478".parse().unwrap()));

    let config =
        check(&["-dev", "-certmode=manual", "-certdir=/c", "-hostname=relay.test", "-c=/k"]).unwrap();
    assert_eq!(config.tls, TlsMode::Manual { dir: "/c".into() });
    assert_eq!(config.hostname.as_str(), "relay.test");
    assert_eq!(config.private_key, PrivateKeySource::File("/k".into()));

    let config = check(&["-dev", "-certmode", "letsencrypt"]).unwrap();
    assert_eq!(config.tls, TlsMode::Off, "derper's rule for a port that is not 443");
}

#[test]
fn the_key_file_has_a_default_only_for_root() {
    let plain = ["-a", ":8080"];
    assert_eq!(
        check_on(&plain, &[], true).unwrap().private_key,
        PrivateKeySource::File(ROOT_KEY_FILE.into())
    );
    let error = check_on(&plain, &[], false).unwrap_err();
    assert!(matches!(error, ConfigError::NoKeyFile) && error.to_string().contains("give -c FILE"), "{error}");
    let config = check_on(&["-a", ":8080", "-c", "relay.key"], &[], false).unwrap();
    assert_eq!(config.private_key, PrivateKeySource::File("relay.key".into()));
}

#[test]
fn the_mesh_key_comes_from_the_file_that_was_named() {
    let dir = crate::test_dir::TestDir::new("mesh-key");
    let file = dir.path().join("psk");
    let flag = format!("-mesh-psk-file={}", file.display());
    let words = ["-a", ":8080", flag.as_str()];

    let missing = check(&words).unwrap_err().to_string();
    assert!(missing.contains("cannot be read") && missing.contains("psk"), "{missing}");
    for (content, expected) in [
        (format!("{MESH_KEY}\n"), Ok(MESH_KEY)),
        (format!(" \t{}\r\n", MESH_KEY.to_uppercase()), Ok(MESH_KEY)),
        (String::new(), Err("has 0 characters")),
        (MESH_KEY[1..].to_owned(), Err("has 63 characters and should be exactly 64 hex digits")),
        (format!("{}g", &MESH_KEY[1..]), Err("has 64 characters")),
        ("0".repeat(64), Err("all zeros")),
    ] {
        fs::write(&file, &content).unwrap();
        match (check(&words), expected) {
            (Ok(config), Ok(hex)) => assert_eq!(*config.mesh_key.unwrap().to_hex(), *hex),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{content:?}: {error}"),
            (checked, _) => panic!("{content:?}: {checked:?}"),
        }
    }
}

#[test]
fn without_a_name_the_mesh_key_is_looked_for_at_home_and_an_empty_name_stops_that() {
    let dir = crate::test_dir::TestDir::new("mesh-home");
    let home = dir.path().display().to_string();
    fs::create_dir(dir.path().join("keys")).unwrap();
    fs::write(dir.path().join("keys/derp-mesh.key"), MESH_KEY).unwrap();
    let variables = [("HOME", home.as_str()), ("TAILSCALE_DERPER_MESH_KEY", "only for -dev")];
    assert!(check_on(&["-a", ":8080"], &variables, true).unwrap().mesh_key.is_some());
    assert!(check_on(&["-a", ":8080", "-mesh-psk-file="], &variables, true).unwrap().mesh_key.is_none());
    let error = check_on(&["-dev"], &variables, true).unwrap_err().to_string();
    assert!(error.contains("variable TAILSCALE_DERPER_MESH_KEY has 13 characters"), "{error}");
    assert!(!error.contains("only for"), "a malformed secret stays one");
}

#[test]
fn ports_and_listeners_can_be_turned_off() {
    let config =
        check(&["-certmode=manual", "-certdir=/c", "-http-port=-1", "-stun=false", "-derp=false", "-ace"])
            .unwrap();
    assert_eq!((config.http_port, config.stun), (None, None));
    assert!(!config.derp_enabled && config.ace);
    for (words, part) in [
        (
            ["-certmode=manual", "-http-port=65536"],
            "-http-port 65536 is no port; give a number from 0 to 65535, or -1",
        ),
        (
            ["-certmode=manual", "-stun-port=-1"],
            "-stun-port -1 is no port; give a number from 0 to 65535, or -stun=false",
        ),
    ] {
        let error = check_on(&words, &[("HOME", "/h")], true).unwrap_err().to_string();
        assert!(error.contains(part), "{words:?}: {error}");
    }
}

#[test]
fn threads_and_queue_depth_are_bounded() {
    assert_eq!(check(&["-dev", "--threads", "1"]).unwrap().threads.get(), 1);
    for threads in ["0", "1025"] {
        let error = check(&["-dev", "--threads", threads]).unwrap_err();
        assert!(matches!(error, ConfigError::Threads(_)), "{threads}");
    }
    let depth = |text| check_on(&["-dev"], &[(QUEUE_DEPTH_VARIABLE, text)], true);
    assert_eq!(depth("100").unwrap().queue_depth.get(), 100);
    assert_eq!(depth("").unwrap().queue_depth.get(), 32);
    for text in ["0", "-1", "many", "1048577"] {
        assert!(matches!(depth(text), Err(ConfigError::QueueDepth(given)) if given == text), "{text}");
    }
}

#[test]
fn a_log_filter_is_levels_and_targets_with_levels() {
    for text in ["info", "DEBUG", "off", "warn,ferry_relay=debug", "ferry_relay::tls=trace, info"] {
        assert_eq!(check(&["-dev", "--log", text]).unwrap().log_filter, text);
    }
    for text in ["inof", "info,debgu", "ferry_relay=loud", ""] {
        let error = check(&["-dev", "--log", text]).unwrap_err();
        assert!(matches!(error, ConfigError::Log { .. }), "{text}");
    }
}

#[test]
fn wrong_values_stop_the_start() {
    for (word, part) in [
        ("-a=443", "has no port"),
        ("-hostname=https://a", "is no host name"),
        ("-home=about", "-home 'about' is unknown"),
        ("-tcp-write-timeout=-1s", "is negative"),
    ] {
        let error = check(&["-dev", word]).unwrap_err().to_string();
        assert!(error.contains(part), "{word}: {error}");
    }
    let error = check_on(&["-dev"], &[("TS_DEBUG_TRUSTED_CIDRS", "all")], true).unwrap_err();
    assert!(matches!(error, ConfigError::DebugAccess(_)));
}

fn check(words: &[&str]) -> Result<Config, ConfigError> {
    check_on(words, &[], true)
}

fn check_on(words: &[&str], variables: &[(&str, &str)], is_root: bool) -> Result<Config, ConfigError> {
    let lookup = |name: &str| {
        variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
    };
    Config::check(&cli(words), &Machine::new(&lookup, is_root, FOUR))
}

fn cli(words: &[&str]) -> Cli {
    Cli::parse_from(std::iter::once("ferry-relay").chain(words.iter().copied())).unwrap()
}
