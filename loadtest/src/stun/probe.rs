//! Whether there is a server at all.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use ferry_stun::client::{BindingResponse, write_tailscale_request};

use super::StunError;
use super::request::Transactions;
use super::socket;
use crate::clock::Moment;

/// Requests of a probe.
const TRIES: u32 = 3;
/// How long all of them together are waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// No socket of a load has this number.
const PROBE: u32 = u32::MAX;
/// Room for an answer.
const ANSWER_BYTES: usize = 2048;

/// Waits for one answer, with a Tailscale client's request, which every STUN server answers.
pub(super) fn probe(target: SocketAddr, sources: u32, transactions: Transactions) -> Result<(), StunError> {
    let from = socket::source(0, target, sources);
    let failed = |error| StunError::Socket { from, target, error };
    let udp = socket::connect(from, target).map_err(failed)?;
    udp.set_nonblocking(false).map_err(failed)?;
    let (mut request, mut last_error) = (Vec::new(), None);
    for number in 0..TRIES {
        let id = transactions.id(PROBE, number);
        let until = Moment::now() + PATIENCE / TRIES;
        // Where nobody listens the socket fails, at once or with the next call; a server may be about to start.
        let asked = udp.send(write_tailscale_request(id, &mut request));
        match asked.and_then(|_| await_answer(&udp, transactions, until)) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            Err(error) => last_error = Some(error),
        }
        std::thread::sleep(until.since(Moment::now()));
    }
    let why = last_error.map(|error| format!(" ({error})")).unwrap_or_default();
    Err(StunError::NoAnswer { target, why })
}

/// Waits for the answer to any of the probe's requests.
fn await_answer(udp: &UdpSocket, transactions: Transactions, until: Moment) -> io::Result<()> {
    let mut datagram = [0; ANSWER_BYTES];
    loop {
        let left = until.since(Moment::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        udp.set_read_timeout(Some(left))?;
        let length = match udp.recv(&mut datagram) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let answered = datagram.get(..length).and_then(|answer| BindingResponse::parse(answer).ok());
        let request = answered.and_then(|answer| transactions.read(*answer.transaction_id.as_bytes()));
        if matches!(request, Some((PROBE, _))) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_not_there_is_named() {
        // A port that was free a moment ago.
        let target = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = probe(target, 1, Transactions::new(1)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("no answer from {target} in 1 s (")), "{error}");
        assert!(error.ends_with("; is a STUN server there?"), "{error}");
    }

    #[test]
    fn a_silent_port_is_no_server() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = silent.local_addr().unwrap();
        let error = probe(target, 0, Transactions::new(1)).unwrap_err().to_string();
        assert_eq!(error, format!("no answer from {target} in 1 s; is a STUN server there?"));
    }
}
