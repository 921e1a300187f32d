//! What a region alone can have wrong.

use ferry_protocol::derp_map::Region;

use super::super::roles::RegionRole;
use super::{Code, Findings, Place};

/// The numbers that Tailscale leaves to others.
const OWN_IDS: std::ops::RangeInclusive<i64> = 900..=999;

/// The domain of Tailscale's own relays, whose regions may have any number.
const TAILSCALE_DOMAIN: &str = ".tailscale.com";

pub(super) fn check(role: &RegionRole, region: &Region, findings: &mut Findings) {
    let place = Place::region(role.region);
    number(role, region, &place, findings);
    name(region, &place, findings);
    nodes(role, region, &place, findings);
    if region.avoid {
        findings.add(
            Code::RegionAvoid,
            &place,
            "Avoid is deprecated and means different things: full reports measure the region all the same and may make it \
                home, those between do not",
            "write NoMeasureNoHome for a region that shall never be home, or give it a score above 1",
        );
    }
    position("latitude", region.latitude, 90.0, &place, findings);
    position("longitude", region.longitude, 180.0, &place, findings);
}

fn number(role: &RegionRole, region: &Region, place: &Place, findings: &mut Findings) {
    let id = role.region;
    if !id.is_valid() {
        findings.add(
            Code::RegionIdInvalid,
            place,
            format!("{id} is no region's number, want 1 to 9007199254740991: 0 means none to a client, and JavaScript knows \
                no larger one"),
            "use a number from 900 to 999",
        );
    } else if !OWN_IDS.contains(&id.0) && !is_tailscales(region) {
        findings.add(
            Code::RegionIdNotOwn,
            place,
            format!(
                "{id} is not one of 900 to 999, which Tailscale leaves to others: laid over the default map, the region \
                 takes the place of Tailscale's {id}, now or when there is one"
            ),
            "use a number from 900 to 999",
        );
    }
    if region.region_id != id {
        let said = match region.region_id.0 {
            0 => "RegionID is missing, or 0".to_owned(),
            other => format!("RegionID is {other}"),
        };
        findings.add(
            Code::RegionIdMismatch,
            place,
            format!("{said}, but the key in the map is {id}: clients measure one and connect to the other"),
            format!("write \"RegionID\": {id}"),
        );
    }
}

/// Whether all its nodes are Tailscale's own.
fn is_tailscales(region: &Region) -> bool {
    let mut hosts = region.nodes.iter().map(|node| node.host_name.to_ascii_lowercase());
    !region.nodes.is_empty() && hosts.all(|host| host.ends_with(TAILSCALE_DOMAIN))
}

fn name(region: &Region, place: &Place, findings: &mut Findings) {
    let missing = match (region.region_code.is_empty(), region.region_name.is_empty()) {
        (true, true) => "RegionCode and RegionName are",
        (true, false) => "RegionCode is",
        (false, true) => "RegionName is",
        (false, false) => return,
    };
    findings.add(
        Code::RegionUnnamed,
        place,
        format!(
            "{missing} missing: `tailscale netcheck` and `tailscale status` show the region without a name"
        ),
        "write a short code like fra and a name like Frankfurt",
    );
}

fn nodes(role: &RegionRole, region: &Region, place: &Place, findings: &mut Findings) {
    if role.nodes.is_empty() {
        findings.add(
            Code::RegionWithoutNodes,
            place,
            "the region has no nodes, so a client whose peer is at home there cannot reach it",
            "add a node, or remove the region; null in its place removes a default one",
        );
        return;
    }
    if role.nodes.iter().any(|node| node.derp_port.is_some()) {
        return;
    }
    let why = if region.nodes.iter().all(|node| node.stun_only) {
        "all nodes are STUNOnly: Tailscale's client measures such a region, may make it home, and then finds no relay there"
    } else {
        "none of its nodes can be reached as a relay: each is STUNOnly, or has no usable address or port"
    };
    findings.add(
        Code::RegionWithoutDerp,
        place,
        why,
        "add a relay to the region, or move its STUN servers to another",
    );
}

fn position(what: &str, degrees: f64, most: f64, place: &Place, findings: &mut Findings) {
    // Not a number is out of every range.
    if degrees.abs() <= most {
        return;
    }
    findings.add(
        Code::PositionOutOfRange,
        place,
        format!("the {what} {degrees} is not on Earth, want -{most} to {most} degrees"),
        "correct it, or leave it out",
    );
}
