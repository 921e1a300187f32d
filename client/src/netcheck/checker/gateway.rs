//! The router that this host sends to, where the system says it without being asked twice: on Linux.

use std::fs;
use std::net::Ipv4Addr;

/// Where Linux shows IPv4 routes, those of the network namespace.
const ROUTES: &str = "/proc/net/route";

/// A route goes by way of a gateway, and is up (`RTF_UP`, `RTF_GATEWAY`).
const BY_GATEWAY: u32 = 0x3;

/// The IPv4 router of this host's default route, for [`Config::gateway`](super::super::Config::gateway); None if there is none, or this is no
/// Linux.
pub fn default_gateway() -> Option<Ipv4Addr> {
    parse(&fs::read_to_string(ROUTES).ok()?)
}

/// The gateway of the default route with the lowest metric.
fn parse(routes: &str) -> Option<Ipv4Addr> {
    let gateways = routes.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (destination, gateway, flags) = (fields.next()?, fields.next()?, fields.next()?);
        let (metric, mask) = (fields.nth(2)?, fields.next()?);
        let hex = |text| u32::from_str_radix(text, 16).ok();
        let is_default = hex(destination)? == 0 && hex(mask)? == 0;
        let by_gateway = hex(flags)? & BY_GATEWAY == BY_GATEWAY;
        // In the order of the machine's own bytes.
        let gateway = Ipv4Addr::from(hex(gateway)?.to_ne_bytes());
        (is_default && by_gateway).then_some((metric.parse::<u32>().ok()?, gateway))
    });
    gateways.min().map(|(_, gateway)| gateway)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_default_route_with_the_lowest_metric_has_the_router() {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        let routes = format!(
            "{head}eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n\
             wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
             eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
             tun0\t00000000\t00000000\t0001\t0\t0\t1\t00000000\t0\t0\t0\n"
        );
        assert_eq!(parse(&routes), Some(Ipv4Addr::new(192, 168, 1, 1)));
        assert_eq!(parse(head), None);
        assert_eq!(parse("nonsense\nmore of it\n"), None);
    }
}
