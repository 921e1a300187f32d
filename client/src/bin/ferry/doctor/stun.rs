//! Whether the relay's STUN answers, and what it sees.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ferry_stun::TransactionId;
use ferry_stun::client::{
    ANSWER_BYTES_MAX, Answer, Identity, Schedule, Step, Transaction, write_tailscale_request,
};

use super::finding::{Code, Finding};
use super::link::random;

/// Three sends within the first second, as a client in a hurry does it.
const GAPS: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(600)];

/// What a relay's STUN says over one address.
pub(super) fn judge(server: SocketAddr, patience: Duration) -> Result<String, Finding> {
    let (answer, local) = match ask(server, patience) {
        Ok(found) => found,
        Err(error) => return Err(silent(server).seen(format!("{server}: {error}"))),
    };
    let Some(Answer { outcome, round_trip, .. }) = answer else {
        return Err(silent(server)
            .seen(format!("{server}: three requests in {} s, no answer", patience.as_secs_f32())));
    };
    let mapped = match outcome {
        Ok(response) => response.mapped_address,
        Err(code) => return Err(silent(server).seen(format!("{server}: error {}", code.code()))),
    };
    if !is_plausible(mapped.ip(), local, server.ip()) {
        return Err(Finding::new(
            Code::StunSeesProxy,
            "STUN does not see who asks: it tells clients the address of something before it",
            "let UDP reach the relay with its source address: no load balancer or container network that \
             rewrites it \
             (Docker: network_mode host, or userland-proxy off)",
        )
        .seen(format!("{server}: it saw {mapped}, and this machine's address towards it is {local}")));
    }
    Ok(format!("{server}: {:.1} ms, it sees {mapped}", round_trip.elapsed.as_secs_f64() * 1e3))
}

fn silent(server: SocketAddr) -> Finding {
    let code = if server.is_ipv6() { Code::StunSilentIpv6 } else { Code::StunSilent };
    let port = server.port();
    Finding::new(
        code,
        format!(
            "nobody answers STUN on UDP port {port}: clients do not measure this relay, and find no \
             direct paths by it"
        ),
        format!(
            "start the relay with -stun, let UDP port {port} through the firewall; check the map's STUNPort"
        ),
    )
}

/// Whether the relay can have seen this: a public server never sees a private address, and without a NAT in between it
/// sees ours.
fn is_plausible(mapped: IpAddr, local: IpAddr, server: IpAddr) -> bool {
    let mapped = mapped.to_canonical();
    if is_public(server) { is_public(mapped) } else { !server.is_loopback() || mapped == local }
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || is_shared)
        }
        IpAddr::V6(ip) => {
            !(ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified())
        }
    }
}

/// Asks, and tells also this machine's own address towards the server.
fn ask(server: SocketAddr, patience: Duration) -> io::Result<(Option<Answer>, IpAddr)> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    let local = socket.local_addr()?.ip();
    let mut transaction = Transaction::new(server, Schedule::with_gaps(&GAPS, patience), Identity::PerSend);
    // Drawn before they are needed, one for each send: the transaction asks for them where nothing can fail.
    let mut drawn = [[0; 12]; GAPS.len() + 1];
    for id in &mut drawn {
        *id = random()?;
    }
    let mut drawn = drawn.into_iter().map(TransactionId::new);
    let mut ids = || drawn.next().unwrap_or(TransactionId::new([0; 12]));
    let mut buffer = vec![0; ANSWER_BYTES_MAX + 1];
    let mut out = Vec::new();
    loop {
        let now = Instant::now();
        match transaction.poll(now, &mut ids) {
            Step::Send(id) => {
                socket.send(write_tailscale_request(id, &mut out))?;
            }
            Step::Wait(until) => {
                let wait = until.saturating_duration_since(now).max(Duration::from_millis(1));
                socket.set_read_timeout(Some(wait))?;
                match socket.recv(&mut buffer) {
                    Ok(bytes) => {
                        let datagram = buffer.get(..bytes).unwrap_or_default();
                        if let Some(answer) = transaction.handle(datagram, server, Instant::now()) {
                            return Ok((Some(answer), local));
                        }
                    }
                    Err(error)
                        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                    Err(error) => return Err(error),
                }
            }
            Step::Failed | Step::Answered => return Ok((None, local)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_can_only_see_what_reaches_it() {
        let plausible = |mapped: &str, local: &str, server: &str| {
            is_plausible(mapped.parse().unwrap(), local.parse().unwrap(), server.parse().unwrap())
        };
        assert!(plausible("198.51.100.7", "192.168.1.2", "192.0.2.1"));
        assert!(!plausible("172.17.0.1", "192.168.1.2", "192.0.2.1"), "a container's bridge");
        assert!(!plausible("100.100.1.1", "192.168.1.2", "192.0.2.1"), "a carrier's network");
        assert!(plausible("10.0.0.7", "192.168.1.2", "10.0.0.1"), "a relay in one's own network");
        assert!(plausible("127.0.0.1", "127.0.0.1", "127.0.0.1"));
        assert!(!plausible("172.17.0.1", "127.0.0.1", "127.0.0.1"));
        assert!(!plausible("fd00::1", "2001:db8::2", "2001:db8::1"));
    }
}
