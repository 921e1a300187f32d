//! `ferry map show`: what clients make of a map.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use ferry_client::derp_map::{Identity, NodeRole, RegionRole, lint_json, roles};
use ferry_protocol::derp_map::DerpMap;
use serde_json::json;

use super::lint::Count;
use crate::last_good::{Kept, LastGood, age_text};
use crate::output::{self, Look, Tame, complain, paint, print};
use crate::source::Source;
use crate::{cli, exit};

pub(crate) fn run(flags: &cli::Show) -> anyhow::Result<u8> {
    let given = given(flags);
    let last_good = flags.last_good.as_deref().map(LastGood::new);
    let (map, age) = match (given, last_good) {
        (Ok(Given { map, count }), None) => {
            if count.errors + count.warnings > 0 {
                complain(format_args!("{}: ferry map lint says which", count.text()));
            }
            (map, None)
        }
        (Err(error), None) => return Err(error),
        (Ok(Given { map, count }), Some(last_good)) if count.errors == 0 => {
            last_good.store(&map)?;
            (map, None)
        }
        (given, Some(last_good)) => {
            let refused = match &given {
                Ok(Given { count, .. }) => format!("the map has {}", count.text()),
                Err(error) => format!("{error:#}"),
            };
            let Some(Kept { map, age }) = last_good.load(flags.meant.into(), SystemTime::now())? else {
                anyhow::bail!(
                    "{refused}, and no good map was kept so far; ferry map lint says what is wrong"
                );
            };
            complain(format_args!("{refused}; this is the last good one, {} old", age_text(age)));
            (map, Some(age))
        }
    };
    match flags.json {
        true => print(as_json(&map, age)),
        false => print(text(&roles(&map), output::is_coloured()).trim_end()),
    }
    Ok(if age.is_some() { exit::STOOD_IN } else { exit::DONE })
}

/// The map that the command line names.
struct Given {
    map: DerpMap,
    count: Count,
}

fn given(flags: &cli::Show) -> anyhow::Result<Given> {
    let defaults = flags.input.over.as_ref().map(Source::read_map).transpose()?;
    let text = Source::or_stdin(flags.input.map.as_ref())?.read()?;
    let linted = lint_json(&text, defaults.as_ref(), flags.meant.into());
    let count = Count::of(&linted.findings);
    match linted.map {
        Some(map) => Ok(Given { map, count }),
        None => anyhow::bail!(
            "{}",
            linted.findings.first().map(|finding| finding.why.clone()).unwrap_or_default()
        ),
    }
}

fn as_json(map: &DerpMap, age: Option<Duration>) -> serde_json::Value {
    json!({
        "regions": roles(map),
        "omit_default_regions": map.omit_default_regions,
        // Null for the map that was given.
        "last_good_age_secs": age.map(|age| age.as_secs()),
    })
}

fn text(regions: &[RegionRole], coloured: bool) -> String {
    if regions.is_empty() {
        return "no regions".to_owned();
    }
    let mut text = String::new();
    for region in regions {
        let _ = writeln!(text, "{}", headline(region, coloured));
        for node in &region.nodes {
            let _ = writeln!(text, "  {}", Tame(&node_line(node)));
        }
    }
    text
}

/// Such as `900 fra Frankfurt: may be home, score 0.8`.
fn headline(region: &RegionRole, coloured: bool) -> String {
    let words = [region.region.to_string(), region.code.clone(), region.name.clone()];
    let name = words.iter().filter(|word| !word.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" ");
    let (home, look) = match (region.not_home, region.is_home_for_some()) {
        (None, _) => ("may be home".to_owned(), Look::Green),
        (Some(because), true) => (format!("home only where UDP is blocked, because {because}"), Look::Yellow),
        (Some(because), false) => (format!("never home, because {because}"), Look::Yellow),
    };
    let mut line = format!("{}: {}", paint(Tame(&name), Look::Bold, coloured), paint(home, look, coloured));
    if region.not_measured.is_none() && region.not_home.is_some() {
        line += ", measured all the same";
    }
    if region.score != 1.0 {
        let _ = write!(line, ", score {}", region.score);
    }
    if region.avoid {
        line += ", to be avoided";
    }
    line
}

/// Such as `900a  relay.example.net  DERP 443, STUN 3478, IPv4 192.0.2.1, IPv6 dns, port 80`.
fn node_line(node: &NodeRole) -> String {
    let port = |port: Option<u16>| port.map_or_else(|| "off".to_owned(), |port| port.to_string());
    let mut line = format!(
        "{}  {}  DERP {}, STUN {}, IPv4 {}, IPv6 {}",
        node.name,
        node.host_name,
        port(node.derp_port),
        port(node.stun_port),
        node.ipv4,
        node.ipv6,
    );
    match &node.identity {
        Identity::HostName => {}
        Identity::CertName(name) => {
            let _ = write!(line, ", certificate of {name}");
        }
        Identity::Pinned(sha256) => {
            let start: String = sha256.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            let _ = write!(line, ", certificate pinned ({start}...)");
        }
        Identity::Malformed => line += ", certificate pinned in vain",
        Identity::Unchecked => line += ", certificate not checked",
    }
    if node.port80 {
        line += ", port 80";
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_a_line_and_so_is_each_node() {
        let json = include_bytes!("../../../../tests/data/clean_map.json");
        let map = DerpMap::from_json(json).unwrap();
        assert_eq!(
            text(&roles(&map), false),
            "900 fra Frankfurt: may be home, score 0.8\n\
             \x20 900a  relay-a.example.net  DERP 443, STUN 3478, IPv4 192.88.99.1, IPv6 off, port 80\n\
             \x20 900b  relay-b.example.net  DERP 8443, STUN 3478, IPv4 dns, IPv6 dns\n\
             901 nyc New York City: may be home\n\
             \x20 901a  192.88.99.2  DERP 443, STUN 13478, IPv4 192.88.99.2, IPv6 off, certificate pinned (00010203...)\n\
             \x20 901b  relay-d.example.net  DERP 443, STUN 3478, IPv4 dns, IPv6 dns, certificate of front.example.net\n\
             \x20 901s  stun.example.net  DERP off, STUN 3479, IPv4 dns, IPv6 dns\n"
        );
    }

    #[test]
    fn why_a_region_is_never_home_is_said() {
        let line = |region: &str| {
            let json = format!("{{\"Regions\":{{\"900\":{region}}}}}");
            headline(&roles(&DerpMap::from_json(json.as_bytes()).unwrap())[0], false)
        };
        assert_eq!(line("{}"), "900: never home, because it has no nodes");
        assert_eq!(
            line(r#"{"Nodes":[{"HostName":"a","STUNPort":-1}],"Avoid":true}"#),
            "900: home only where UDP is blocked, because none of its first 3 nodes answers STUN, to be avoided"
        );
        assert_eq!(
            line(r#"{"Nodes":[{"HostName":"a","STUNOnly":true}]}"#),
            "900: never home, because none of its nodes is a relay that can be reached, measured all the same"
        );
    }
}
