//! What a discovery found.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::verdict::{Filtering, Finding, Hairpin, Mapping, Pooling, PortAllocation};

/// What a discovery found out about the path to one server. [`fmt::Display`] explains it to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The server that was asked.
    pub server: SocketAddr,
    /// Its other address and port, if it has them (OTHER-ADDRESS).
    pub other_address: Option<SocketAddr>,
    /// Whether any answer came at all.
    pub udp: bool,
    /// The address that the first socket has here.
    pub local: Option<SocketAddr>,
    /// The address that the server sees for it.
    pub mapped: Option<SocketAddr>,
    /// Whether the two differ.
    pub nat: Option<bool>,
    /// How destinations are mapped.
    pub mapping: Finding<Mapping>,
    /// Whether two destination addresses see different mappings: all that can be said without RFC 5780.
    pub varies_by_destination: Option<bool>,
    /// Whom the NAT, or the firewall where there is no NAT, lets in.
    pub filtering: Finding<Filtering>,
    /// Whether two hosts behind the NAT can meet at its external address.
    pub hairpin: Finding<Hairpin>,
    /// How external ports are picked.
    pub port_allocation: Finding<PortAllocation>,
    /// Whether one external address serves all sockets.
    pub pooling: Option<Pooling>,
    /// Whether a box on the way rewrites addresses inside payloads (MAPPED-ADDRESS differs from
    /// XOR-MAPPED-ADDRESS).
    pub rewrites_payloads: Option<bool>,
    /// An address of 100.64.0.0/10 was seen: a carrier's NAT stands behind this one (RFC 6598).
    pub shared_address_space: bool,
    /// The shortest time that an answer took.
    pub round_trip: Option<Duration>,
    /// Requests that were sent.
    pub requests: u32,
    /// Of these, how many asked for an answer from, or to, another address or port.
    pub redirects: u32,
    /// Plain requests that stayed without an answer from a server that answered others.
    pub lost: u32,
    /// How long it took.
    pub duration: Duration,
}

impl Report {
    /// The name that RFC 3489 had for such a path, if enough is known.
    #[must_use]
    pub fn classic_name(&self) -> Option<&'static str> {
        if !self.udp {
            return Some("UDP blocked");
        }
        let filtering = self.filtering.known();
        if self.nat == Some(false) {
            return Some(match filtering? {
                Filtering::EndpointIndependent => "open internet",
                Filtering::AddressDependent | Filtering::AddressAndPortDependent => "symmetric UDP firewall",
            });
        }
        match self.mapping {
            Finding::Known(Mapping::EndpointIndependent) => {}
            Finding::Known(_) => return Some("symmetric"),
            Finding::Unknown(_) if self.varies_by_destination == Some(true) => return Some("symmetric"),
            Finding::Unknown(_) => return None,
        }
        Some(match filtering? {
            Filtering::EndpointIndependent => "full cone",
            Filtering::AddressDependent => "restricted cone",
            Filtering::AddressAndPortDependent => "port-restricted cone",
        })
    }

    /// Which peers a direct path can be expected to.
    #[must_use]
    pub fn direct_with(&self) -> &'static str {
        if !self.udp {
            return "nobody over UDP: relay over TCP";
        }
        let one_mapping = match self.mapping {
            Finding::Known(mapping) => Some(mapping == Mapping::EndpointIndependent),
            Finding::Unknown(_) => self.varies_by_destination.map(|varies| !varies),
        };
        match (one_mapping, self.filtering.known()) {
            (Some(true), Some(Filtering::EndpointIndependent | Filtering::AddressDependent)) => "every peer",
            (Some(true), Some(Filtering::AddressAndPortDependent)) => {
                "every peer but those behind a symmetric NAT"
            }
            (Some(true), None) => "at least every peer with an endpoint-independent mapping",
            (Some(false), Some(Filtering::EndpointIndependent)) => {
                "every peer whose filter does not look at ports"
            }
            (Some(false), _) => {
                "peers with an endpoint-independent mapping and a filter that does not look at ports"
            }
            (None, _) => "unknown",
        }
    }

    /// The report as one JSON object. Verdicts are the names of RFC 4787 or `unknown`, durations are in
    /// milliseconds, what was not found is `null`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let family = if self.server.ip().to_canonical().is_ipv4() { "ipv4" } else { "ipv6" };
        let hairpin = self.hairpin.known().map(|hairpin| hairpin != Hairpin::No);
        let step = self.port_allocation.known().and_then(PortAllocation::step);
        let fields = [
            ("server", quoted(Some(self.server))),
            ("family", quoted(Some(family))),
            ("other_address", quoted(self.other_address)),
            ("udp", self.udp.to_string()),
            ("local", quoted(self.local)),
            ("mapped", quoted(self.mapped)),
            ("nat", bare(self.nat)),
            ("mapping", quoted(Some(self.mapping.known().map_or(UNKNOWN, Mapping::name)))),
            ("varies_by_destination", bare(self.varies_by_destination)),
            ("filtering", quoted(Some(self.filtering.known().map_or(UNKNOWN, Filtering::name)))),
            ("hairpin", bare(hairpin)),
            (
                "port_allocation",
                quoted(Some(self.port_allocation.known().map_or(UNKNOWN, PortAllocation::name))),
            ),
            ("port_step", bare(step)),
            ("pooling", quoted(self.pooling.map(Pooling::name))),
            ("rewrites_payloads", bare(self.rewrites_payloads)),
            ("shared_address_space", self.shared_address_space.to_string()),
            ("classic_name", quoted(self.classic_name())),
            ("direct_with", quoted(Some(self.direct_with()))),
            ("round_trip_ms", bare(self.round_trip.map(|time| format!("{:.3}", time.as_secs_f64() * 1e3)))),
            ("requests", self.requests.to_string()),
            ("redirects", self.redirects.to_string()),
            ("lost", self.lost.to_string()),
            ("duration_ms", self.duration.as_millis().to_string()),
        ];
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    }
}

const UNKNOWN: &str = "unknown";

/// A JSON string. Addresses and our own words have no character that JSON would want escaped.
fn quoted(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| format!("\"{value}\""))
}

/// A JSON number or truth value.
fn bare(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "server:     {}", self.server)?;
        if !self.udp {
            return write!(
                f,
                "UDP:        blocked, or the server is down ({} requests, no answer)",
                self.requests
            );
        }
        write!(f, "address:    {}", or_unknown(self.mapped))?;
        match self.nat {
            Some(true) => writeln!(f, ", here {}: behind a NAT", or_unknown(self.local))?,
            Some(false) => writeln!(f, ", the same here: no NAT")?,
            None => writeln!(f)?,
        }
        writeln!(
            f,
            "mapping:    {}",
            explained(self.mapping.reason(), self.mapping.known().map(mapping_line))
        )?;
        writeln!(
            f,
            "filtering:  {}",
            explained(self.filtering.reason(), self.filtering.known().map(filtering_line))
        )?;
        writeln!(
            f,
            "hairpin:    {}",
            explained(self.hairpin.reason(), self.hairpin.known().map(hairpin_line))
        )?;
        match self.port_allocation {
            Finding::Known(PortAllocation::Sequential { step }) => {
                writeln!(f, "ports:      sequential, step {step}")?;
            }
            Finding::Known(allocation) => writeln!(f, "ports:      {}", allocation.name())?,
            Finding::Unknown(reason) => writeln!(f, "ports:      unknown: {reason}")?,
        }
        if self.pooling == Some(Pooling::Arbitrary) {
            writeln!(f, "pooling:    arbitrary: sockets have different external addresses")?;
        }
        if self.rewrites_payloads == Some(true) {
            writeln!(f, "payloads:   rewritten: a box on the way changes addresses inside datagrams")?;
        }
        if self.shared_address_space {
            writeln!(f, "carrier:    an address of 100.64.0.0/10 was seen: a second NAT at the carrier")?;
        }
        if let Some(name) = self.classic_name() {
            writeln!(f, "old name:   {name}")?;
        }
        writeln!(f, "direct:     {}", self.direct_with())?;
        write!(
            f,
            "took:       {} ms, {} requests ({} redirected), {} lost",
            self.duration.as_millis(),
            self.requests,
            self.redirects,
            self.lost
        )
    }
}

fn or_unknown(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| value.to_string())
}

fn explained(reason: Option<impl fmt::Display>, known: Option<&str>) -> String {
    match (known, reason) {
        (Some(line), _) => line.to_owned(),
        (None, Some(reason)) => format!("unknown: {reason}"),
        (None, None) => UNKNOWN.to_owned(),
    }
}

const fn mapping_line(mapping: Mapping) -> &'static str {
    match mapping {
        Mapping::EndpointIndependent => "endpoint-independent: every destination sees the same address",
        Mapping::AddressDependent => "address-dependent: each destination address sees another one",
        Mapping::AddressAndPortDependent => {
            "address-and-port-dependent: each destination address and port sees another one"
        }
    }
}

const fn filtering_line(filtering: Filtering) -> &'static str {
    match filtering {
        Filtering::EndpointIndependent => "endpoint-independent: anyone may answer",
        Filtering::AddressDependent => {
            "address-dependent: any port of an address that was sent to may answer"
        }
        Filtering::AddressAndPortDependent => {
            "address-and-port-dependent: only the address and port that was sent to may answer"
        }
    }
}

const fn hairpin_line(hairpin: Hairpin) -> &'static str {
    match hairpin {
        Hairpin::No => "no: hosts behind this NAT cannot meet at its external address",
        Hairpin::ExternalSource => "yes",
        Hairpin::InternalSource => "yes, but with the internal source address",
    }
}
