//! What a load says of itself, and which loads mean something.

use super::*;

const MIXED: StunMix = StunMix { tailscale: 2.0, bare: 1.0, junk: 1.0 };

fn target() -> SocketAddr {
    ([127, 0, 0, 1], 3478).into()
}

fn load() -> StunLoad {
    StunLoad {
        kind: StunKind::Stun,
        rate: Some(1_000.0),
        poisson: false,
        window: None,
        sockets: 16,
        sources: 4,
        mix: StunMix::default(),
    }
}

fn refusal(load: &StunLoad) -> String {
    load.check(target()).unwrap_err().to_string()
}

#[test]
fn a_load_is_read_from_toml() {
    let text = "kind = 'stun'\nrate = 1000.0\nsockets = 16\nsources = 4";
    assert_eq!(toml::from_str::<StunLoad>(text).unwrap(), load());
    assert!(toml::from_str::<StunLoad>("kind = 'stun'\nsockets = 1\nrates = 5.0").is_err());
}

#[test]
fn a_load_is_open_or_closed_and_not_both() {
    assert!(load().check(target()).is_ok());
    assert!(StunLoad { rate: None, window: Some(8), ..load() }.check(target()).is_ok());
    let both = StunLoad { window: Some(8), ..load() };
    assert_eq!(refusal(&both), "rate cannot be given with window; choose one of them");
    assert!(refusal(&StunLoad { rate: None, ..load() }).contains("missing"));
}

#[test]
fn figures_that_mean_nothing_are_refused() {
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(refusal(&StunLoad { rate: Some(rate), ..load() }).starts_with("rate cannot be"));
    }
    assert!(refusal(&StunLoad { rate: None, window: Some(0), ..load() }).starts_with("window cannot be 0"));
    assert!(refusal(&StunLoad { sockets: 0, ..load() }).starts_with("sockets cannot be 0"));
    let negative = StunMix { bare: -1.0, ..MIXED };
    assert!(refusal(&StunLoad { mix: negative, ..load() }).contains("cannot be -1"));
    let junk_alone = StunMix { tailscale: 0.0, bare: 0.0, junk: 1.0 };
    assert!(refusal(&StunLoad { mix: junk_alone, ..load() }).contains("junk alone measures nothing"));
}

#[test]
fn only_the_loopback_of_ipv4_has_sources() {
    assert!(load().check("192.0.2.1:3478".parse().unwrap()).is_err());
    assert!(load().check("[::1]:3478".parse().unwrap()).is_err());
    assert!(StunLoad { sources: 0, ..load() }.check("[::1]:3478".parse().unwrap()).is_ok());
    assert!(StunLoad { sources: SOURCES_MOST, ..load() }.check(target()).is_ok());
    assert!(refusal(&StunLoad { sources: SOURCES_MOST + 1, ..load() }).contains("65280"));
}

#[test]
fn junk_is_not_offered() {
    assert_eq!(StunLoad { mix: MIXED, ..load() }.offered(), Some(750.0));
    assert_eq!(StunLoad { rate: None, window: Some(8), ..load() }.offered(), None);
}

#[test]
fn another_rate_is_the_same_load_otherwise() {
    assert_eq!(load().at_rate(5.0), Some(StunLoad { rate: Some(5.0), ..load() }));
    assert_eq!(StunLoad { rate: None, window: Some(8), ..load() }.at_rate(5.0), None);
}

#[test]
fn a_load_describes_itself() {
    let mixed = StunLoad { mix: MIXED, poisson: true, ..load() };
    let expected =
        "1000 STUN requests/s at random from 16 sockets of 4 addresses, 50 % tailscale, 25 % bare, 25 % junk";
    assert_eq!(mixed.describe(), expected);
    let closed = StunLoad { rate: None, window: Some(8), sources: 0, ..load() };
    assert_eq!(closed.describe(), "8 STUN requests under way per socket from 16 sockets, 100 % tailscale");
}
