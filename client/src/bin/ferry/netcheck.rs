//! `ferry netcheck`: what the network here can do.

mod text;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::{Context as _, bail};
use ferry_client::RelayUrl;
use ferry_client::derp_map::{Identity, roles};
use ferry_client::netcheck::{Checker, Code, Config, Nearest, Report, Rounds, Severity, default_gateway};
use ferry_protocol::derp_map::{DerpMap, Node, Region, RegionId};
use rustls::RootCertStore;

use crate::output::{self, Tame, complain, print, progress};
use crate::relays::setup::proxies;
use crate::roots::Believed;
use crate::runtime::block_on;
use crate::{cli, exit};

/// The first of the numbers that a map has for one's own regions.
const OWN_REGIONS: i64 = 900;

/// As many there are.
const OWN_REGIONS_MAX: usize = 100;

pub(crate) fn run(flags: &cli::Netcheck) -> anyhow::Result<u8> {
    let map = map(flags)?;
    let checker = Checker::new(Arc::new(roots(flags, &map)?));
    block_on(async {
        tokio::select! {
            code = check(flags, &map, &checker) => code,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("cannot wait for Ctrl-C")?;
                Ok(exit::INTERRUPTED)
            }
        }
    })
}

/// Checks once, or until Ctrl-C.
async fn check(flags: &cli::Netcheck, map: &DerpMap, checker: &Checker) -> anyhow::Result<u8> {
    let (complete, mut rounds) = (complete(flags)?, Rounds::default());
    let config = Config { scope: rounds.next(Instant::now()), ..complete.clone() };
    let mut report = checker.check(map, config, |nearest| first_word(flags, map, &nearest)).await?;
    show(flags, &report);
    let Some(cli::Every(every)) = flags.every else { return Ok(code(&report)) };
    loop {
        rounds.done(&report);
        tokio::time::sleep(every).await;
        let scope = rounds.next(Instant::now());
        let config = Config { scope, home: report.preferred, ..complete.clone() };
        report = checker.check(map, config, |_| {}).await?;
        show(flags, &report);
    }
}

/// What is known after two round trips, for those who wait for the rest.
fn first_word(flags: &cli::Netcheck, map: &DerpMap, nearest: &Nearest) {
    if flags.json {
        return;
    }
    let role = roles(map).into_iter().find(|role| role.region == nearest.region);
    let name = role.map_or_else(|| format!("region {}", nearest.region), |role| text::name(&role));
    let latency = text::millis(nearest.latency);
    progress(format_args!("the nearest relay seems to be {} ({latency}); looking further …", Tame(&name)));
}

/// All that there is to check.
fn complete(flags: &cli::Netcheck) -> anyhow::Result<Config> {
    let all = Config { proxies: proxies(&flags.reach)?, ..Config::complete() };
    Ok(match flags.relays_only {
        true => Config { nat64: false, ..all },
        false => Config { gateway: default_gateway(), ..all },
    })
}

fn show(flags: &cli::Netcheck, report: &Report) {
    let now = SystemTime::now();
    match (flags.json, flags.every) {
        (true, None) => print(report.to_json_pretty(now)),
        (true, Some(_)) => print(report.to_json(now)),
        (false, _) => print(text::text(report, output::is_coloured())),
    }
}

fn code(report: &Report) -> u8 {
    let findings = report.findings();
    let has = |code| findings.iter().any(|finding| finding.code == code);
    if has(Code::NoRelay) {
        return exit::NO_RELAY;
    }
    let limited = has(Code::UdpBlocked) || findings.iter().any(|finding| finding.severity == Severity::Error);
    if limited { exit::LIMITED } else { exit::DONE }
}

/// The relays that the command line names.
fn map(flags: &cli::Netcheck) -> anyhow::Result<DerpMap> {
    let map = match (&flags.derp_map, flags.relay.as_slice()) {
        (Some(source), _) => source.read_map()?,
        (None, []) => bail!("no relays given; write --derp-map FILE or --relay https://HOST"),
        (None, relays) => own_map(flags, relays)?,
    };
    let asked = roles(&map).iter().any(|role| role.not_measured.is_none() || role.is_home_for_some());
    if !asked {
        bail!("the map has no region that may be measured; ferry map show says why");
    }
    Ok(map)
}

/// A map of relays by their URLs, a region each.
fn own_map(flags: &cli::Netcheck, relays: &[RelayUrl]) -> anyhow::Result<DerpMap> {
    if relays.len() > OWN_REGIONS_MAX {
        bail!("{} relays are more than {OWN_REGIONS_MAX}; write a map", relays.len());
    }
    let mut map = DerpMap::default();
    for (relay, number) in relays.iter().zip(OWN_REGIONS..) {
        if !relay.secure {
            bail!("{relay} is without TLS; netcheck asks relays over HTTPS, write https://");
        }
        let region_id = RegionId(number);
        let node = Node {
            name: format!("{number}a"),
            region_id,
            host_name: relay.host.clone(),
            cert_name: flags.cert_name.clone().unwrap_or_default(),
            stun_port: flags.stun_port.map_or(0, i64::from),
            derp_port: i64::from(relay.port),
            // If it does not, that is no portal.
            can_port80: true,
            ..Node::default()
        };
        let region = Region {
            region_id,
            region_code: relay.host.clone(),
            region_name: relay.host.clone(),
            nodes: vec![node],
            ..Region::default()
        };
        map.regions.insert(region_id, region);
    }
    Ok(map)
}

/// Whose certificates are believed; a map that pins all of its own needs none.
fn roots(flags: &cli::Netcheck, map: &DerpMap) -> anyhow::Result<RootCertStore> {
    let Believed { roots, missing } = Believed::with(&flags.reach.ca)?;
    if let (Some(error), true) = (missing, roots.is_empty()) {
        let regions = roles(map);
        let mut nodes = regions.iter().flat_map(|region| &region.nodes);
        if nodes.any(|node| matches!(node.identity, Identity::HostName | Identity::CertName(_))) {
            complain(format_args!("{error}; certificates cannot be checked"));
        }
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn flags(words: &str) -> cli::Netcheck {
        let words = format!("ferry netcheck {words}");
        let command = Cli::try_parse_from(words.split_whitespace()).unwrap().command;
        let Command::Netcheck(flags) = command else { panic!("{command:?}") };
        flags
    }

    #[test]
    fn relays_become_a_map() {
        let flags = flags("--relay https://a.example.net:8443 --relay https://192.0.2.1 --stun-port 3479");
        let map = map(&flags).unwrap();
        let roles = roles(&map);
        let shown: Vec<_> = roles.iter().map(|role| (role.region.0, role.nodes[0].derp_port)).collect();
        assert_eq!(shown, [(900, Some(8443)), (901, Some(443))]);
        assert_eq!(roles[0].nodes[0].stun_port, Some(3479));
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        for (words, said) in [
            ("", "no relays given"),
            ("--relay http://a.example.net", "is without TLS"),
            ("--derp-map no/such/file.json", "cannot read no/such/file.json"),
        ] {
            let error = map(&flags(words)).unwrap_err();
            assert!(format!("{error:#}").contains(said), "{words}: {error:#}");
        }
    }
}
