//! What a node alone can have wrong.

use std::net::IpAddr;

use ferry_protocol::derp_map::{Node, RegionId};

use super::super::roles::{AddressSource, NodeRole, PinError, parse_ipv4, parse_ipv6, pinned_sha256};
use super::{Code, Expectations, Findings, Place, host};

pub(super) fn check(
    node: &Node,
    region: RegionId,
    place: &Place,
    expectations: Expectations,
    findings: &mut Findings,
) {
    if node.name.is_empty() {
        findings.add(
            Code::NodeNameEmpty,
            place,
            "Name is missing: clients find the node to measure by its name",
            format!("write a name that no other node has, like {region}a"),
        );
    }
    if node.region_id != region {
        findings.add(
            Code::NodeRegionMismatch,
            place,
            format!(
                "RegionID is {}, but the node stands in region {region}: what is measured here counts for the other",
                node.region_id
            ),
            format!("write \"RegionID\": {region}"),
        );
    }
    host_name(node, place, findings);
    addresses(node, place, expectations, findings);
    ports(node, place, findings);
    certificate(node, place, findings);
    if !expectations.test {
        leftovers(node, place, findings);
    }
    if node.can_port80 && !NodeRole::of(node).port80 {
        findings.add(
            Code::Port80WithoutIpv4,
            place,
            "CanPort80 is set and IPv4 is no address: the check for captive portals asks addresses only, and skips the node",
            "write the node's IPv4 address, or remove CanPort80",
        );
    }
}

fn host_name(node: &Node, place: &Place, findings: &mut Findings) {
    let host = node.host_name.as_str();
    if host.is_empty() {
        findings.add(
            Code::HostNameEmpty,
            place,
            "HostName is missing, which every client needs: for TLS even if the addresses are there",
            "write the node's DNS name, or its address",
        );
        return;
    }
    if host.parse::<IpAddr>().is_ok() {
        if !node.stun_only && node.cert_name.is_empty() && !node.insecure_for_tests {
            findings.add(
                Code::HostNameUnpinned,
                place,
                "HostName is an address and no certificate is pinned: TLS works only with a certificate that an authority \
                    made out to this address, which few have",
                "pin the relay's own with CertName sha256-raw:… (ferry-relay and derper log it at start), or write a DNS name",
            );
        }
        return;
    }
    let bare = host.strip_suffix('.').unwrap_or(host);
    if let Err(error) = host::check_name(bare) {
        findings.add(
            Code::HostNameInvalid,
            place,
            format!("HostName {host:?} is no host's name: {error}"),
            error.fix(),
        );
    } else if bare != host {
        findings.add(
            Code::HostNameTrailingDot,
            place,
            format!("HostName {host:?} ends in a dot, which certificates and SNI do not have: some clients refuse it"),
            format!("write {bare:?}"),
        );
    }
}

fn addresses(node: &Node, place: &Place, expectations: Expectations, findings: &mut Findings) {
    let ipv4 = (!is_off(&node.ipv4)).then_some(node.ipv4.as_str());
    if let Some(text) = ipv4.filter(|text| parse_ipv4(text).is_none()) {
        let is_other = parse_ipv6(text).is_some();
        not_an_address("IPv4", text, is_other.then_some("IPv6"), place, findings);
    }
    let ipv6 = (!is_off(&node.ipv6)).then_some(node.ipv6.as_str());
    if let Some(text) = ipv6.filter(|text| parse_ipv6(text).is_none()) {
        let is_other = parse_ipv4(text).is_some();
        not_an_address("IPv6", text, is_other.then_some("IPv4"), place, findings);
    }

    let role = NodeRole::of(node);
    if !node.host_name.is_empty() && (role.ipv4, role.ipv6) == (AddressSource::Off, AddressSource::Off) {
        findings.add(
            Code::NoAddress,
            place,
            "both families are switched off: an IPv4 or IPv6 field that is no address switches its family off, and a host \
                name that is an address has no other family",
            "leave IPv4 and IPv6 out for DNS to answer, or write the addresses",
        );
    }
    if expectations.private || expectations.test {
        return;
    }
    for source in [role.ipv4, role.ipv6] {
        let AddressSource::Literal(ip) = source else { continue };
        if let Some(kind) = host::not_public(ip) {
            findings.add(
                Code::AddressNotPublic,
                place,
                format!("the address {ip} is {kind}: clients elsewhere on the internet do not reach it"),
                "write the public address; for a network of your own, say that the map is private (--private)",
            );
        }
    }
}

/// Empty asks DNS, `none` is the custom for not using the family.
fn is_off(field: &str) -> bool {
    field.is_empty() || field.eq_ignore_ascii_case("none")
}

fn not_an_address(field: &str, text: &str, other: Option<&str>, place: &Place, findings: &mut Findings) {
    match other {
        Some(other) => findings.add(
            Code::AddressWrongFamily,
            place,
            format!("{field} is {text:?}, an {other} address: clients take it for \"do not use {field}\""),
            format!("move it to {other}, and leave {field} out for DNS to answer"),
        ),
        None => findings.add(
            Code::AddressInvalid,
            place,
            format!("{field} is {text:?}, which is no {field} address: clients take it for \"do not use {field}\""),
            format!("write an {field} address without port or prefix length, \"none\", or leave it out for DNS to answer"),
        ),
    }
}

fn ports(node: &Node, place: &Place, findings: &mut Findings) {
    if node.derp_port().is_none() {
        findings.add(
            Code::DerpPortInvalid,
            place,
            format!("DERPPort is {}, want 1 to 65535, or 0 for 443: no client can connect", node.derp_port),
            "correct it; a node without DERP is STUNOnly",
        );
    }
    if !(-1..=65_535).contains(&node.stun_port) {
        findings.add(
            Code::StunPortInvalid,
            place,
            format!(
                "STUNPort is {}, want 1 to 65535, 0 for 3478, or -1 for none: the node is not measured",
                node.stun_port
            ),
            "correct it",
        );
    }
    if node.stun_only && node.stun_port == -1 {
        findings.add(
            Code::StunOnlyWithoutStun,
            place,
            "the node is STUNOnly and STUNPort is -1: it is there for nothing",
            "remove one of the two, or the node",
        );
    }
}

fn certificate(node: &Node, place: &Place, findings: &mut Findings) {
    if node.cert_name.is_empty() {
        return;
    }
    match pinned_sha256(&node.cert_name) {
        Some(Ok(_)) => {}
        Some(Err(error @ PinError::UpperCase)) => findings.add(
            Code::CertPinUpperCase,
            place,
            format!("CertName pins a certificate, but {error}: it never matches"),
            "write the digits in lower case",
        ),
        Some(Err(error @ (PinError::Length { .. } | PinError::Digit))) => findings.add(
            Code::CertPinMalformed,
            place,
            format!("CertName pins a certificate, but {error}: it never matches"),
            "write sha256-raw: and the 64 hex digits of the certificate's SHA-256 (of its DER), in lower case",
        ),
        None => cert_name(node, place, findings),
    }
    if node.insecure_for_tests {
        findings.add(
            Code::CertNameInsecure,
            place,
            "CertName and InsecureForTests contradict each other: some clients check the certificate, others do not",
            "remove InsecureForTests; a pinned certificate (sha256-raw:) needs no authority",
        );
    }
}

fn cert_name(node: &Node, place: &Place, findings: &mut Findings) {
    let name = node.cert_name.as_str();
    if name.parse::<IpAddr>().is_ok() || host::check_name(name).is_ok() {
        return;
    }
    let fix = if name.to_ascii_lowercase().starts_with("sha256") {
        "a pin starts with sha256-raw:, in lower case, and then come 64 hex digits"
    } else {
        "write the DNS name that the certificate is for, or sha256-raw: and its SHA-256"
    };
    findings.add(
        Code::CertNameInvalid,
        place,
        format!("CertName {name:?} is no name that a certificate can be for: no client can connect"),
        fix,
    );
}

fn leftovers(node: &Node, place: &Place, findings: &mut Findings) {
    if node.insecure_for_tests {
        findings.add(
            Code::InsecureForTests,
            place,
            "InsecureForTests is set: anybody on the way can pretend to be this relay and see who talks to whom",
            "remove it; a self-signed certificate is pinned with CertName sha256-raw:…",
        );
    }
    if !node.stun_test_ip.is_empty() {
        findings.add(
            Code::StunTestIp,
            place,
            format!(
                "STUNTestIP is {:?}: STUN is asked there and not at the relay, so what is measured is not the relay",
                node.stun_test_ip
            ),
            "remove it",
        );
    }
}
