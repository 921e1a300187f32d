//! A report for people.

use std::fmt::Write;
use std::time::Duration;

use ferry_client::derp_map::{Excluded, RegionRole};
use ferry_client::netcheck::{Family, FamilyReport, Finding, Portal, RegionReport, Report, Severity};

use crate::output::{Look, Tame, paint};

/// The whole report: what works, the relays by latency, and what all that means.
pub(super) fn text(report: &Report, coloured: bool) -> String {
    let mut text = String::new();
    // Writing to a text does not fail.
    let _ = write(&mut text, report, coloured);
    text.trim_end().to_owned()
}

fn write(text: &mut String, report: &Report, coloured: bool) -> std::fmt::Result {
    let kind = if report.full { "all regions" } else { "the fastest regions" };
    writeln!(text, "Netcheck of {kind} in {:.1} s", report.took.as_secs_f64())?;
    writeln!(text)?;
    for (name, value) in facts(report) {
        writeln!(text, "  {:<16}{}", name, Tame(&value))?;
    }
    writeln!(text)?;
    writeln!(text, "{}", paint("Relays", Look::Bold, coloured))?;
    for line in relays(report) {
        writeln!(text, "  {}", Tame(&line))?;
    }
    writeln!(text)?;
    writeln!(text, "{}", paint("What this means", Look::Bold, coloured))?;
    for finding in report.findings() {
        write_finding(text, &finding, coloured)?;
    }
    Ok(())
}

fn write_finding(text: &mut String, finding: &Finding, coloured: bool) -> std::fmt::Result {
    let (word, look) = match finding.severity {
        Severity::Good => ("good", Look::Green),
        Severity::Warning => ("warning", Look::Yellow),
        Severity::Error => ("error", Look::Red),
    };
    let padded = format!("{word:<8}");
    writeln!(text, "  {}{} [{}]", paint(padded.as_str(), look, coloured), Tame(&finding.what), finding.code)?;
    writeln!(text, "          because {}", Tame(&finding.evidence))?;
    if let Some(remedy) = finding.remedy {
        writeln!(text, "          to change it: {remedy}")?;
    }
    Ok(())
}

/// One line each.
fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let mut facts = vec![("UDP", if report.udp() { "works" } else { "no answer" }.to_owned())];
    for family in Family::BOTH {
        let name = if family == Family::Ipv4 { "IPv4" } else { "IPv6" };
        facts.push((name, family_line(report, family)));
    }
    for family in Family::BOTH {
        if let Some(found) = report.families.of(family).behaviour.known() {
            let mut said: Vec<String> = Vec::new();
            let mapping = found.mapping.known().map(|it| format!("{} mapping", it.name()));
            said.extend(mapping.filter(|_| found.nat != Some(false)));
            said.extend(found.filtering.known().map(|it| format!("{} filtering", it.name())));
            said.extend(found.classic_name().map(|name| format!("\"{name}\"")));
            if !said.is_empty() {
                facts
                    .push((if family == Family::Ipv4 { "NAT IPv4" } else { "Filter IPv6" }, said.join(", ")));
            }
        }
    }
    let direct = report.families.ipv4.behaviour.known().or_else(|| report.families.ipv6.behaviour.known());
    if let Some(found) = direct {
        facts.push(("Direct paths", found.direct_with().to_owned()));
    }
    let portal = match &report.portal {
        Portal::NotChecked => "not checked: no relay of the map answers on port 80".to_owned(),
        Portal::NoAnswer { .. } => "none seen (nobody answers on port 80)".to_owned(),
        Portal::Clear { .. } => "none".to_owned(),
        Portal::Captive { .. } => "yes".to_owned(),
    };
    facts.push(("Captive portal", portal));
    let ports = &report.port_mapping;
    let ways = [("PCP", ports.pcp), ("NAT-PMP", ports.pmp), ("UPnP", ports.upnp)];
    let ways: Vec<_> = ways.into_iter().filter(|(_, works)| *works).map(|(name, _)| name).collect();
    let ports = match ports.gateway {
        Some(gateway) if ways.is_empty() => format!("the router {gateway} offers none"),
        Some(gateway) => format!("{} by the router {gateway}", ways.join(", ")),
        None => "not checked".to_owned(),
    };
    if report.full {
        facts.push(("Port mapping", ports));
    }
    if let Some(prefix) = report.nat64 {
        facts.push(("NAT64", prefix.to_string()));
    }
    let nearest = report.preferred.and_then(|preferred| report.regions.get(&preferred));
    let nearest = match nearest {
        Some(region) => match region.latency {
            Some(latency) => format!("{} in {}", name(&region.role), millis(latency)),
            None => name(&region.role),
        },
        None => "none".to_owned(),
    };
    facts.push(("Nearest relay", nearest));
    facts
}

fn family_line(report: &Report, family: Family) -> String {
    let FamilyReport { can_send, asked, local, global, https, .. } = report.families.of(family);
    match (global, local) {
        (Some(global), Some(local)) if report.families.of(family).nat() == Some(true) => {
            format!("works, seen as {global} (here {local})")
        }
        (Some(global), _) => format!("works, seen as {global}"),
        (None, _) if *https => "works over TCP alone".to_owned(),
        (None, _) if family == Family::Ipv6 && !report.os_has_ipv6 => "no, this system has none".to_owned(),
        (None, _) if *asked == 0 => "no relay has an address of it".to_owned(),
        (None, _) if !*can_send => "no, there is no route".to_owned(),
        (None, _) => format!("no answer from {asked} nodes"),
    }
}

/// The regions that were asked, the fastest first.
fn relays(report: &Report) -> Vec<String> {
    let mut regions: Vec<_> = report
        .regions
        .values()
        .filter(|region| region.latency.is_some() || !region.nodes.is_empty() || region.https.is_some())
        .collect();
    regions.sort_by_key(|region| (region.latency.unwrap_or(Duration::MAX), region.role.region));
    let line = |region: &RegionReport| {
        let latency = region.latency.map_or_else(|| "no answer".to_owned(), millis);
        let mut said = Vec::new();
        let families = [("IPv4", region.stun.ipv4), ("IPv6", region.stun.ipv6)];
        said.extend(
            families.into_iter().filter_map(|(name, latency)| Some(format!("{name} {}", millis(latency?)))),
        );
        if let Some(https) = &region.https {
            said.push(match &https.answered {
                Some((_, times)) => {
                    let by = if times.proxied { " by proxy" } else { "" };
                    format!("HTTPS ready in {}{by}", millis(times.connect + times.tls))
                }
                None => "HTTPS fails".to_owned(),
            });
        }
        if region.role.not_home == Some(Excluded::NoDerp) {
            said.push("no relay".to_owned());
        }
        format!("{latency:>9}  {:<24}  {}", name(&region.role), said.join(", ")).trim_end().to_owned()
    };
    regions.into_iter().map(line).collect()
}

/// How a region is called.
pub(super) fn name(role: &RegionRole) -> String {
    match (role.name.is_empty(), role.code.is_empty()) {
        (false, false) if role.code != role.name => format!("{} ({})", role.name, role.code),
        (false, _) => role.name.clone(),
        (true, false) => role.code.clone(),
        (true, true) => format!("region {}", role.region),
    }
}

pub(super) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
