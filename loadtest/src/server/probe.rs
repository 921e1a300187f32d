//! Asking a server: is it there, who is it, what does it say it did.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use ferry_client::{Trust, client_config};
use ferry_stun::TransactionId;
use ferry_stun::client::{BindingResponse, write_tailscale_request};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::{Location, Scheme};

/// Bytes of a page of counters; derper's has some 20 KiB.
const PAGE_BYTES_MOST: u64 = 4 << 20;
/// Bytes of an answer to a Binding request.
const ANSWER_BYTES_MOST: usize = 1_500;

/// What a server that answers is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Presence {
    /// SHA-256 of its certificate, if it speaks TLS.
    pub(super) pin: Option<[u8; 32]>,
}

/// Asks the server at `address` once: a TCP connection, a TLS handshake, or a Binding request.
pub(super) fn ask(location: &Location, address: SocketAddr, timeout: Duration) -> io::Result<Presence> {
    if location.scheme == Scheme::Stun {
        return ask_stun(address, timeout).map(|()| Presence { pin: None }).map_err(timed_out);
    }
    let socket = connect(address, timeout)?;
    if !location.scheme.is_secure() {
        return Ok(Presence { pin: None });
    }
    shake_hands(socket, location).map_err(timed_out)
}

fn shake_hands(socket: TcpStream, location: &Location) -> io::Result<Presence> {
    let mut stream = secure(socket, &location.host)?;
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    let certificate = stream.conn.peer_certificates().and_then(<[_]>::first);
    let pin = certificate.and_then(|certificate| digest(&SHA256, certificate).as_ref().try_into().ok());
    Ok(Presence { pin: Some(pin.ok_or_else(|| io::Error::other("the server showed no certificate"))?) })
}

/// The page at `location`.
///
/// HTTP/1.0 by hand: an answer to it is neither chunked nor kept open, so that it is all that comes until the end, and no
/// client library is needed for that.
pub(super) fn page(location: &Location, address: SocketAddr, timeout: Duration) -> io::Result<String> {
    let deadline = Instant::now() + timeout;
    let socket = connect(address, timeout)?;
    let host =
        if location.host.contains(':') { format!("[{}]", location.host) } else { location.host.clone() };
    let request = format!(
        "GET {} HTTP/1.0\r\nHost: {host}:{}\r\nAccept: text/plain\r\n\r\n",
        location.path, location.port
    );
    let text = if location.scheme.is_secure() {
        exchange(&mut secure(socket, &location.host)?, &request, deadline)
    } else {
        exchange(&mut { socket }, &request, deadline)
    };
    let text = text.map_err(timed_out)?;
    let bad = |what: String| io::Error::new(ErrorKind::InvalidData, what);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| bad("the answer is not HTTP".to_owned()))?;
    let status = head.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        _ => Err(bad(format!("the server answers {status:?}"))),
    }
}

fn exchange(stream: &mut (impl Read + Write), request: &str, deadline: Instant) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        match stream.read(&mut piece)? {
            0 => break,
            count => answer.extend_from_slice(&piece[..count]),
        }
        if answer.len() as u64 > PAGE_BYTES_MOST {
            return Err(io::Error::other(format!("the page is larger than {PAGE_BYTES_MOST} bytes")));
        }
        // Each read has a timeout; a server that trickles would never meet it.
        if Instant::now() > deadline {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    String::from_utf8(answer).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

/// A socket's timeout is EAGAIN, "resource temporarily unavailable", on Unix.
fn timed_out(error: io::Error) -> io::Error {
    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
        return io::Error::new(ErrorKind::TimedOut, "no answer in time");
    }
    error
}

fn connect(address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, timeout)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.set_write_timeout(Some(timeout))?;
    Ok(socket)
}

/// Believes any certificate: this is how the pin is found that the load's own connections insist on.
fn secure(socket: TcpStream, host: &str) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let config = client_config(&Trust::Unverified, false).map_err(io::Error::other)?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::clone(&config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, socket))
}

fn ask_stun(address: SocketAddr, timeout: Duration) -> io::Result<()> {
    let any = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0))?;
    // Connected, so that only this server is heard, and its "nobody here" as well.
    socket.connect(address)?;
    socket.set_read_timeout(Some(timeout))?;
    let mut id = [0; 12];
    getrandom::fill(&mut id)?;
    let id = TransactionId::new(id);
    // As Tailscale's clients ask: derper and stund answer nobody else.
    let mut request = Vec::new();
    socket.send(write_tailscale_request(id, &mut request))?;
    let mut answer = [0; ANSWER_BYTES_MOST];
    let count = socket.recv(&mut answer)?;
    BindingResponse::parse_for(&answer[..count], id).map(drop).map_err(io::Error::other)
}
