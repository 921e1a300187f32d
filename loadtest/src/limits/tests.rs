//! Who may be loaded, and how much.

use super::*;

const RANGE: (u16, u16) = (32_768, 60_999);

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

fn wanted() -> Wanted {
    Wanted { per_second: 2_000_000.0, connections: 200_000, duration: Duration::from_secs(7_200) }
}

#[test]
fn loopback_may_be_loaded_in_every_spelling() {
    for (host, address) in [
        ("127.0.0.1", "127.0.0.1:1"),
        ("127.9.8.7", "127.9.8.7:1"),
        ("::1", "[::1]:1"),
        ("::ffff:127.0.0.1", "[::ffff:127.0.0.1]:1"),
        ("localhost", "127.0.0.1:1"),
    ] {
        assert_eq!(may_load(host, &[at(address)], &[]), Ok(()), "{host}");
    }
}

#[test]
fn a_stranger_is_refused_with_the_flag_that_allows_it() {
    let error = may_load("relay.example.net", &[at("192.0.2.1:443")], &[]).expect_err("not ours");
    assert_eq!(
        error.to_string(),
        "relay.example.net is not on this machine; if you may load it, say so: --allow relay.example.net"
    );
}

#[test]
fn one_address_elsewhere_makes_a_name_a_stranger() {
    let addresses = [at("127.0.0.1:1"), at("192.0.2.1:1")];
    assert!(may_load("both.example", &addresses, &[]).is_err());
    assert!(may_load("none.example", &[], &[]).is_err());
}

#[test]
fn a_name_is_allowed_only_exactly() {
    let allowed = ["relay.example.net".to_owned()];
    let addresses = [at("192.0.2.1:443")];
    assert_eq!(may_load("Relay.Example.net", &addresses, &allowed), Ok(()));
    for host in ["example.net", "a.relay.example.net", "192.0.2.1"] {
        assert!(may_load(host, &addresses, &allowed).is_err(), "{host}");
    }
}

#[test]
fn limits_are_for_the_farthest_server() {
    assert_eq!(Limits::for_targets(&[at("127.0.0.1:1"), at("[::1]:1")]), Limits::LOOPBACK);
    assert_eq!(Limits::for_targets(&[at("127.0.0.1:1"), at("192.0.2.1:1")]), Limits::ELSEWHERE);
}

#[test]
fn what_reaches_a_limit_is_allowed_and_what_passes_it_is_not() {
    let limits = Limits::LOOPBACK;
    assert_eq!(limits.check(&wanted()), Ok(()));
    let over = [
        (Wanted { per_second: 2_000_001.0, ..wanted() }, "--rate-most"),
        (Wanted { per_second: f64::NAN, ..wanted() }, "--rate-most"),
        (Wanted { connections: 200_001, ..wanted() }, "--connections-most"),
        (Wanted { duration: Duration::from_millis(7_200_001), ..wanted() }, "--time-most"),
    ];
    for (wanted, expected) in over {
        let Err(Refusal::Over { flag, .. }) = limits.check(&wanted) else { panic!("{wanted:?} passes") };
        assert_eq!(flag, expected);
    }
}

#[test]
fn a_refusal_has_the_numbers_and_the_flag() {
    let error = Limits::ELSEWHERE.check(&Wanted { connections: 5_000, per_second: 1.0, ..wanted() });
    assert_eq!(
        error.expect_err("over").to_string(),
        "a number of connections of 5000 is over the limit of 2000; raise it with --connections-most"
    );
}

#[test]
fn connections_beyond_a_process_files_name_the_processes_that_do() {
    assert_eq!(fit(19_936, 1, true, 20_000, None), Ok(()));
    let error = fit(50_000, 1, true, 20_000, None).expect_err("too many for one");
    assert_eq!(error, Refusal::Files { wanted: 50_000, most: 20_000, processes: 3 });
    assert_eq!(fit(50_000, 3, true, 20_000, None), Ok(()));
}

#[test]
fn the_system_has_to_bear_server_and_clients() {
    let error = fit(60_000, 10, true, 20_000, Some(100_000)).expect_err("two files a connection");
    assert_eq!(error, Refusal::System { wanted: 60_000, needed: 120_000, most: 100_000 });
    assert_eq!(fit(60_000, 10, false, 20_000, Some(100_000)), Ok(()));
}

#[test]
fn few_connections_leave_the_source_to_the_system() {
    assert_eq!(spread(25_000, at("127.0.0.1:1"), RANGE), Ok(Vec::new()));
    assert_eq!(spread(25_000, at("192.0.2.1:1"), RANGE), Ok(Vec::new()));
}

#[test]
fn many_connections_come_from_several_addresses() {
    let sources = spread(100_000, at("127.0.0.1:1"), RANGE).expect("loopback has them");
    let expected: Vec<IpAddr> = (1..=4).map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 1, last))).collect();
    assert_eq!(sources, expected);
}

#[test]
fn only_the_whole_of_loopback_has_more_addresses() {
    for server in ["[::1]:1", "192.0.2.1:1"] {
        let error = spread(100_000, at(server), RANGE).expect_err("one address");
        assert_eq!(error, Refusal::Ports { wanted: 100_000, ports: 25_408 });
    }
}

#[test]
fn this_process_may_open_what_it_was_raised_to() {
    assert_eq!(raise_files(), files_most());
}
