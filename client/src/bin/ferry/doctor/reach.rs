//! The way to the relay: its addresses, and a TCP connection to each.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ferry_client::derp_map::AddressSource;

use super::finding::{Code, Finding};
use super::target::Target;
use super::tls::is_timeout;

/// More addresses of one host are not tried.
const ADDRESSES_MAX: usize = 16;

/// Where a relay is, with its TCP port, IPv4 first: the addresses of the map, and those of DNS for what the map leaves to it.
pub(super) fn addresses(target: &Target, patience: Duration) -> Result<Vec<SocketAddr>, Finding> {
    let mut all = Vec::new();
    for source in [target.ipv4, target.ipv6] {
        if let AddressSource::Literal(ip) = source {
            all.push(SocketAddr::new(ip, target.url.port));
        }
    }
    let wants = |ip: IpAddr| {
        let source = if ip.is_ipv4() { target.ipv4 } else { target.ipv6 };
        source == AddressSource::Dns
    };
    if [target.ipv4, target.ipv6].contains(&AddressSource::Dns) {
        match resolve(&target.url.host, target.url.port, patience) {
            Ok(found) => all.extend(found.into_iter().filter(|address| wants(address.ip()))),
            Err(why) if all.is_empty() => return Err(unresolved(&target.url.host, &why)),
            Err(_) => {}
        }
    }
    if all.is_empty() {
        return Err(unresolved(&target.url.host, "no address of a family that the map lets clients use"));
    }
    all.sort_by_key(SocketAddr::is_ipv6);
    all.dedup();
    all.truncate(ADDRESSES_MAX);
    Ok(all)
}

fn unresolved(host: &str, why: &str) -> Finding {
    Finding::new(
        Code::DnsFailed,
        format!("the name {host} has no address"),
        "look for a misspelling; add an A (and AAAA) record; or give the address in the map's IPv4 and IPv6",
    )
    .seen(why)
}

/// Asks the system, which may take its time: then its answer is no longer waited for.
fn resolve(host: &str, port: u16, patience: Duration) -> Result<Vec<SocketAddr>, String> {
    let (tell, told) = mpsc::channel();
    let host = host.to_owned();
    thread::spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs().map(|found| found.collect::<Vec<_>>());
        // Nobody may be listening any more.
        let _ = tell.send(found);
    });
    match told.recv_timeout(patience) {
        Ok(Ok(found)) if found.is_empty() => Err("the system's resolver found none".to_owned()),
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the system's resolver took more than {} s", patience.as_secs_f32())),
    }
}

/// What came of a connect.
#[derive(Debug)]
pub(super) struct Attempt {
    /// Where to.
    pub(super) address: SocketAddr,
    /// How long it took.
    pub(super) took: Duration,
    /// What came of it.
    pub(super) outcome: Result<TcpStream, Failure>,
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The host says that nobody listens.
    Refused,
    /// Nobody says anything.
    Silent,
    /// A router, or this machine, knows no way.
    Unreachable,
    /// This machine has no address of that family.
    NoFamilyHere,
}

impl Failure {
    const fn words(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Silent => "no answer",
            Self::Unreachable => "unreachable",
            Self::NoFamilyHere => "no route from here",
        }
    }
}

/// Connects to all of them at once.
pub(super) fn connect_all(addresses: &[SocketAddr], patience: Duration) -> Vec<Attempt> {
    thread::scope(|scope| {
        let tries: Vec<_> =
            addresses.iter().map(|&address| scope.spawn(move || connect(address, patience))).collect();
        tries.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

/// Connects to one of them.
pub(super) fn connect(address: SocketAddr, patience: Duration) -> Attempt {
    let start = Instant::now();
    let outcome = TcpStream::connect_timeout(&address, patience).map_err(|error| failure(&error, address));
    Attempt { address, took: start.elapsed(), outcome }
}

fn failure(error: &io::Error, address: SocketAddr) -> Failure {
    if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset) {
        return Failure::Refused;
    }
    if is_timeout(error) {
        return Failure::Silent;
    }
    if has_route(address) { Failure::Unreachable } else { Failure::NoFamilyHere }
}

/// Whether this machine would know where to send it: connecting a UDP socket asks the routing table, and sends nothing.
fn has_route(address: SocketAddr) -> bool {
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(address)).is_ok()
}

/// What the attempts say of the way to the relay.
pub(super) fn judge(attempts: &[Attempt]) -> Vec<Finding> {
    let (works, fails): (Vec<_>, Vec<_>) = attempts.iter().partition(|attempt| attempt.outcome.is_ok());
    if works.is_empty() {
        return vec![none_works(&fails)];
    }
    let mut findings = Vec::new();
    for is_ipv6 in [false, true] {
        let of_family = |attempt: &&&Attempt| attempt.address.is_ipv6() == is_ipv6;
        let dead: Vec<&Attempt> = fails.iter().filter(of_family).copied().collect();
        if !dead.is_empty() {
            findings.push(some_fail(&dead, works.iter().any(|attempt| of_family(&attempt)), is_ipv6));
        }
    }
    findings
}

/// What all of these say, by the one that says most.
fn none_works(fails: &[&Attempt]) -> Finding {
    let said =
        |failure| fails.iter().any(|attempt| attempt.outcome.as_ref().is_err_and(|why| *why == failure));
    let port = fails.first().map_or(0, |attempt| attempt.address.port());
    let finding = if said(Failure::Refused) {
        Finding::new(
            Code::TcpRefused,
            format!("nobody listens on port {port}"),
            "start the relay; check its -a flag and the map's DERPPort; in a container, publish the port",
        )
    } else if said(Failure::Silent) {
        Finding::new(
            Code::TcpSilent,
            format!("nobody answers on port {port}"),
            format!(
                "let TCP port {port} through the firewall or security group; check that the address is \
                 the relay's"
            ),
        )
    } else {
        Finding::new(
            Code::TcpUnreachable,
            "there is no way to the relay's addresses",
            "check this machine's network, and that the addresses are the relay's",
        )
    };
    with_attempts(finding, fails)
}

fn some_fail(dead: &[&Attempt], others_work: bool, is_ipv6: bool) -> Finding {
    let absent = dead.iter().all(|attempt| matches!(attempt.outcome, Err(Failure::NoFamilyHere)));
    let finding = match (is_ipv6, others_work) {
        (_, true) => Finding::new(
            Code::AddressDead,
            "some of the relay's addresses do not answer",
            "take them out of DNS, or start what should listen there: clients try each and lose time",
        ),
        (true, false) if absent => Finding::new(
            Code::Ipv6AbsentHere,
            "the relay has IPv6, and this machine has not: that half was not examined",
            "run this from a machine that has IPv6 too",
        ),
        (true, false) => Finding::new(
            Code::Ipv6Broken,
            "the relay's IPv6 addresses do not answer, its IPv4 ones do",
            "listen on [::] and open the firewall for IPv6; or remove the AAAA record, or write \
             \"IPv6\": \"none\" in the map",
        ),
        (false, false) => Finding::new(
            Code::Ipv4Broken,
            "the relay's IPv4 addresses do not answer, its IPv6 ones do",
            "listen on 0.0.0.0 and open the firewall for IPv4; or remove the A record, or write \
             \"IPv4\": \"none\" in the map",
        ),
    };
    with_attempts(finding, dead)
}

fn with_attempts(finding: Finding, attempts: &[&Attempt]) -> Finding {
    attempts.iter().fold(finding, |finding, attempt| match attempt.outcome {
        Ok(_) => finding,
        Err(why) => finding.seen(format!(
            "{}: {} after {} ms",
            attempt.address,
            why.words(),
            attempt.took.as_millis()
        )),
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn attempt(address: &str, outcome: Result<(), Failure>) -> Attempt {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = |()| TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Attempt {
            address: address.parse().unwrap(),
            took: Duration::from_millis(3),
            outcome: outcome.map(stream),
        }
    }

    fn codes(attempts: &[Attempt]) -> Vec<&'static str> {
        judge(attempts).iter().map(|finding| finding.code.as_str()).collect()
    }

    const V4: &str = "192.0.2.1:443";
    const OTHER_V4: &str = "192.0.2.2:443";
    const V6: &str = "[2001:db8::1]:443";

    #[test]
    fn one_refusal_says_more_than_silence() {
        assert_eq!(
            codes(&[attempt(V4, Err(Failure::Silent)), attempt(V6, Err(Failure::Refused))]),
            ["tcp-refused"]
        );
        assert_eq!(
            codes(&[attempt(V4, Err(Failure::Silent)), attempt(V6, Err(Failure::NoFamilyHere))]),
            ["tcp-silent"]
        );
        assert_eq!(codes(&[attempt(V4, Err(Failure::Unreachable))]), ["tcp-unreachable"]);
        let finding = judge(&[attempt(V4, Err(Failure::Refused))]).remove(0);
        assert_eq!(finding.evidence, ["192.0.2.1:443: refused after 3 ms"]);
    }

    #[test]
    fn a_family_that_fails_beside_one_that_works_is_named() {
        let broken = Err(Failure::Silent);
        assert_eq!(codes(&[attempt(V4, Ok(())), attempt(V6, broken)]), ["ipv6-broken"]);
        assert_eq!(codes(&[attempt(V4, broken), attempt(V6, Ok(()))]), ["ipv4-broken"]);
        assert_eq!(
            codes(&[attempt(V4, Ok(())), attempt(V6, Err(Failure::NoFamilyHere))]),
            ["ipv6-absent-here"]
        );
        assert_eq!(codes(&[attempt(V4, Ok(())), attempt(OTHER_V4, broken)]), ["address-dead"]);
        assert_eq!(codes(&[attempt(V4, Ok(())), attempt(V6, Ok(()))]), [""; 0]);
    }
}
