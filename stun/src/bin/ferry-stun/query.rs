//! `ferry-stun query`: which address a server sees.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ferry_stun::TransactionId;
use ferry_stun::client::{self, BindingResponse, ResponseError};
use serde_json::json;

use crate::output::{complain, print};
use crate::{cli, exit, host};

/// How long each try waits (RFC 8489 section 6.2.1 begins like this).
const WAITS: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(2000),
    Duration::from_millis(2000),
];

/// An answer is shorter than this unless somebody plays tricks.
const ANSWER_BYTES_MAX: usize = 1500;

pub(crate) fn run(flags: &cli::Query) -> anyhow::Result<u8> {
    let server = host::address(&flags.server, flags.family)?;
    let Some((mapped, rtt)) = ask(server).with_context(|| format!("cannot ask {server}"))? else {
        complain(format_args!("no answer from {server}"));
        return Ok(exit::NO_ANSWER);
    };
    let rtt_ms = rtt.as_secs_f64() * 1e3;
    match flags.json {
        true => print(json!({
            "server": server.to_string(),
            "mapped": mapped.to_string(),
            "rtt_ms": rtt_ms,
        })),
        false => print(format_args!("{mapped} (seen by {server}, {rtt_ms:.1} ms)")),
    }
    Ok(exit::DONE)
}

/// The address and how long its answer took; nothing if none came.
fn ask(server: SocketAddr) -> anyhow::Result<Option<(SocketAddr, Duration)>> {
    let any = match server.is_ipv4() {
        true => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        false => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any)?;
    // Connected: only the server is heard, and a closed port is.
    socket.connect(server)?;
    let transaction_id = TransactionId::random()?;
    // Every server answers it, derper included.
    let mut request = Vec::new();
    client::write_tailscale_request(transaction_id, &mut request);

    for wait in WAITS {
        let sent = Instant::now();
        socket.send(&request)?;
        if let Some(mapped) = receive(&socket, transaction_id, sent + wait)? {
            return Ok(Some((mapped, sent.elapsed())));
        }
    }
    Ok(None)
}

fn receive(
    socket: &UdpSocket,
    transaction_id: TransactionId,
    deadline: Instant,
) -> anyhow::Result<Option<SocketAddr>> {
    let mut buffer = [0; ANSWER_BYTES_MAX];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        let count = match socket.recv(&mut buffer) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        match BindingResponse::parse_for(buffer.get(..count).unwrap_or_default(), transaction_id) {
            Ok(response) => return Ok(Some(response.mapped_address)),
            Err(error @ ResponseError::Refused { .. }) => return Err(error.into()),
            // Late, or noise: the answer may still come.
            Err(_) => {}
        }
    }
}
