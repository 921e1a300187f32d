//! Command lines and what they come to.

use std::net::SocketAddr;

use clap::Parser;
use ferry_stun::PartnerAddress;

use super::*;
use crate::cli::Cli;

fn check(line: &str) -> Result<Config, ConfigError> {
    let words = ["ferry-stun"].into_iter().chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
    let read = |path: &Path| match path.to_str() {
        Some("good.key") => Ok(format!("{}\n", "a1".repeat(32))),
        Some("bad.key") => Ok("secret".to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    Config::check(&cli.serve, &read)
}

fn config(line: &str) -> Config {
    check(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn refused(line: &str) -> String {
    let error = check(line).expect_err(line);
    assert!(error.is_usage(), "{error}");
    error.to_string()
}

#[test]
fn nothing_given_serves_udp_on_every_address() {
    let config = config("");
    assert_eq!(config.udp.len(), 1);
    assert_eq!(config.udp[0].addresses(), [address("[::]:3478")]);
    assert_eq!(config.udp[0].behaviour, Behaviour::Off);
    assert!(!config.tcp_beside_udp && config.tcp.is_empty() && config.tls.is_empty());
    assert_eq!((config.limits, config.options), (Limits::default(), Options::default()));
    assert_eq!((config.metrics, config.threads, config.drain), (None, None, Duration::from_secs(1)));
}

#[test]
fn the_defaults_of_the_flags_are_those_of_the_library() {
    assert_eq!(config("").limits, Limits::default());
    let none = config("--source-rate off --source-surplus off --redirect-rate off");
    assert_eq!(none.limits, Limits::NONE);
    let never = config("--source-surplus 0 --profile tailscale --rfc3489");
    assert_eq!(never.limits.surplus_bytes_per_second, Some(0));
    assert_eq!(never.options, Options { profile: Profile::Tailscale, rfc3489: true });
}

#[test]
fn an_alternate_address_makes_four_addresses() {
    let config = config(
        "--listen 192.0.2.1 --alternate 192.0.2.2:3479 --listen [2001:db8::1] --alternate [2001:db8::2]:3480",
    );
    assert_eq!(
        config.udp[0].addresses(),
        ["192.0.2.1:3478", "192.0.2.1:3479", "192.0.2.2:3478", "192.0.2.2:3479"].map(address)
    );
    assert_eq!(config.udp[1].behaviour, Behaviour::TwoAddresses(address("[2001:db8::2]:3480")));
}

#[test]
fn an_alternate_port_is_for_every_listener_without_an_address() {
    let ports =
        config("--listen 192.0.2.1 --listen [2001:db8::1] --alternate [2001:db8::2]:3480 --alternate :3479");
    assert_eq!(ports.udp[0].behaviour, Behaviour::SecondPort(3479));
    assert_eq!(ports.udp[1].behaviour, Behaviour::TwoAddresses(address("[2001:db8::2]:3480")));
    let wildcard = config("--alternate :3479");
    assert_eq!(wildcard.udp[0].addresses(), ["[::]:3478", "[::]:3479"].map(address));
    let same = config("--listen 192.0.2.1 --alternate 192.0.2.1:3479");
    assert_eq!(same.udp[0].behaviour, Behaviour::SecondPort(3479));
}

#[test]
fn an_alternate_without_its_listener_is_refused_with_the_fix() {
    for (line, advice) in [
        ("--listen 192.0.2.1 --alternate [2001:db8::2]:3479", "add --listen with the first IPv6 address"),
        (
            "--alternate 192.0.2.2:3479",
            "give --listen one address of this machine, or a port alone (--alternate :3479)",
        ),
        ("--listen 0.0.0.0 --alternate 192.0.2.2:3479", "stands for every address"),
        ("--listen 192.0.2.1 --listen 192.0.2.3 --alternate 192.0.2.2:3479", "could belong to"),
        ("--listen 192.0.2.1 --alternate 192.0.2.2:3478", "needs another port"),
        ("--listen 192.0.2.1 --alternate :3478", "needs another port"),
        ("--listen 192.0.2.1 --alternate 192.0.2.2", "192.0.2.2:3479"),
        ("--alternate :3479 --alternate :3480", "twice"),
        ("--listen 192.0.2.1 --alternate 192.0.2.2:3479 --alternate 192.0.2.3:3480", "twice for IPv4"),
        ("--listen 192.0.2.1 --listen 192.0.2.1:3478", "given twice with --listen"),
    ] {
        let text = refused(line);
        assert!(text.contains(advice), "{line}: {text}");
    }
}

#[test]
fn advertised_addresses_go_with_their_listener() {
    let two = config(
        "--listen 10.0.0.5 --alternate 10.0.0.6:3479 --advertise 10.0.0.5=203.0.113.5 --advertise 10.0.0.6=203.0.113.6",
    );
    let ip = |text: &str| text.parse().unwrap();
    assert_eq!(two.udp[0].advertise, Some((ip("203.0.113.5"), ip("203.0.113.6"))));
    let one = config("--listen 10.0.0.5 --alternate :3479 --advertise 10.0.0.5=203.0.113.5");
    assert_eq!(one.udp[0].advertise, Some((ip("203.0.113.5"), ip("203.0.113.5"))));
    for (line, advice) in [
        ("--listen 10.0.0.5 --advertise 10.0.0.5=203.0.113.5", "add --alternate"),
        (
            "--listen 10.0.0.5 --alternate :3479 --advertise 10.0.0.7=203.0.113.5",
            "add --listen 10.0.0.7:3478",
        ),
        (
            "--listen 10.0.0.5 --alternate :3479 --advertise 10.0.0.5=203.0.113.5 --advertise 10.0.0.5=203.0.113.6",
            "twice",
        ),
    ] {
        let text = refused(line);
        assert!(text.contains(advice), "{line}: {text}");
    }
}

#[test]
fn a_partner_has_its_key_read() {
    let rest = "--partner-listen 192.0.2.1 --partner-key-file good.key";
    let partner =
        config(&format!("--listen 192.0.2.1 --alternate :3479 --partner b.example.net:3490 {rest}"))
            .partner
            .unwrap();
    assert_eq!(partner.address, PartnerAddress::Name { host: "b.example.net".to_owned(), port: 3490 });
    assert_eq!(partner.listen, address("192.0.2.1:3480"));
    assert!(format!("{partner:?}").contains("PartnerKey(..)"), "the key is a secret");

    for (line, advice) in [
        (format!("--listen 192.0.2.1 --partner b.example.net:3480 {rest}"), "add --alternate :3479"),
        (
            format!("--listen 192.0.2.1 --alternate 192.0.2.3:3479 --partner b.example.net:3480 {rest}"),
            "cannot have it too",
        ),
        (format!("--alternate :3479 --partner 192.0.2.1:3480 {rest}"), "the other machine's"),
    ] {
        let text = refused(&line);
        assert!(text.contains(advice), "{line}: {text}");
    }
    for (key, advice) in [("bad.key", "has 6 characters"), ("no.key", "no.key cannot be read")] {
        let line = format!(
            "--alternate :3479 --partner b.example.net:3480 --partner-listen :3480 --partner-key-file {key}"
        );
        let error = check(&line).expect_err(key);
        assert!(!error.is_usage() && error.to_string().contains(advice), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn tcp_without_an_address_is_beside_udp() {
    let beside = config("--tcp");
    assert!(beside.tcp_beside_udp && beside.tcp.is_empty());
    let elsewhere = config("--tcp 192.0.2.1 --tcp :80");
    assert!(!elsewhere.tcp_beside_udp);
    assert_eq!(elsewhere.tcp, ["192.0.2.1:3478", "[::]:80"].map(address));
    assert!(config("--tcp --tcp :80").tcp_beside_udp);
}

#[test]
fn a_certificate_alone_serves_tls_on_its_port() {
    let files = "--tls-cert a.pem --tls-key a.key";
    let default = config(&format!("--listen 192.0.2.1 --listen 192.0.2.1:3479 --listen [::1] {files}"));
    assert_eq!(default.tls, ["192.0.2.1:5349", "[::1]:5349"].map(address));
    assert_eq!(default.certificate.unwrap().key.to_str(), Some("a.key"));
    assert_eq!(config(&format!("--tls :443 {files}")).tls, [address("[::]:443")]);
    let text = refused(&format!("--tcp :443 --tls :443 {files}"));
    assert!(text.contains("[::]:443 is given twice"), "{text}");
}
