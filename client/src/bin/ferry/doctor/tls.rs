//! A TLS handshake that believes everybody, so that there is something to look at.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;
use ferry_client::{FastStart, Trust, client_config};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, Error, StreamOwned};

use super::finding::{Code, Finding};

/// A connection whose certificate nobody has checked yet.
#[derive(Debug)]
pub(super) struct Seen {
    /// What the relay showed, its own certificate first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Version and cipher.
    pub(super) spoken: String,
    /// Whether clients may start fast.
    pub(super) fast_start: FastStart,
    /// To ask something over it.
    pub(super) stream: StreamOwned<ClientConnection, TcpStream>,
}

/// Does the handshake with whoever listens there.
pub(super) fn inspect(
    stream: TcpStream,
    address: SocketAddr,
    host: &str,
    patience: Duration,
) -> anyhow::Result<Result<Seen, Finding>> {
    let config = client_config(&Trust::Unverified, false).context("TLS cannot be set up")?;
    let name =
        ServerName::try_from(host.to_owned()).with_context(|| format!("{host:?} can be no certificate's"))?;
    let mut connection = ClientConnection::new(config, name).context("TLS cannot be started")?;
    let mut stream = limited(stream, patience)?;
    while connection.is_handshaking() {
        if let Err(error) = connection.complete_io(&mut stream) {
            return Ok(Err(failed(&error, address, host, patience)));
        }
    }
    let chain = connection.peer_certificates().unwrap_or_default().to_vec();
    let fast_start = FastStart::of(connection.protocol_version(), &chain);
    let spoken = format!(
        "{:?} {:?}",
        connection.protocol_version().unwrap_or(rustls::ProtocolVersion::Unknown(0)),
        connection
            .negotiated_cipher_suite()
            .map(|suite| suite.suite())
            .unwrap_or(rustls::CipherSuite::Unknown(0)),
    );
    Ok(Ok(Seen { chain, spoken, fast_start, stream: StreamOwned::new(connection, stream) }))
}

/// A stream that waits no longer than that for anything.
pub(super) fn limited(stream: TcpStream, patience: Duration) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether nothing came in time.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn failed(error: &io::Error, address: SocketAddr, host: &str, patience: Duration) -> Finding {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidMessage(_)) => not_tls(plain_answer(address, patience)),
        Some(Error::AlertReceived(alert)) => Finding::new(
            Code::TlsRefused,
            "the other end refuses the TLS handshake",
            format!(
                "the relay (or the proxy before it) must have a certificate for the name {host}: \
                 -hostname and \
                 -certdir"
            ),
        )
        .seen(format!("TLS alert {alert:?} for the name {host}")),
        Some(_) => Finding::new(
            Code::TlsRefused,
            "TLS cannot be agreed on",
            "let the other end speak TLS 1.2 or 1.3 with AES-GCM",
        ),
        // A server without TLS may wait for the rest of a request that is none.
        None if is_timeout(error) => match plain_answer(address, patience) {
            Some(banner) => not_tls(Some(banner)),
            None => silent(patience),
        },
        None => Finding::new(
            Code::TlsCut,
            "the connection is cut during the TLS handshake",
            format!(
                "look for a firewall that cuts TLS to the name {host}; and whether the proxy before the \
                 relay expects \
                 something before TLS (the PROXY protocol)"
            ),
        ),
    }
    .seen(error.to_string())
}

fn silent(patience: Duration) -> Finding {
    Finding::new(
        Code::TlsSilent,
        "the connection is taken, and then nobody speaks TLS",
        "look whether the relay hangs or is overloaded; whether something in between (a TCP proxy, a \
         firewall with \
         inspection) takes connections in its place; or whether large packets get lost (path MTU)",
    )
    .seen(format!("no answer to the ClientHello after {} s", patience.as_secs_f32()))
}

/// Something that says `banner` to an HTTP request without TLS.
fn not_tls(banner: Option<String>) -> Finding {
    let is_http = banner.as_ref().is_some_and(|banner| banner.starts_with("HTTP/"));
    let (what, fix) = if is_http {
        (
            "the port speaks HTTP without TLS",
            "clients need TLS: give the relay a certificate (-certmode), or a TLS proxy in front; to \
             examine a relay \
             without TLS write http://",
        )
    } else {
        ("the port speaks something else than TLS", "check the port: this is another service")
    };
    let finding = Finding::new(Code::TlsNotSpoken, what, fix);
    match banner {
        Some(banner) => finding.seen(format!("to an HTTP request it answers {banner:?}")),
        None => finding,
    }
}

/// The first line that it says to an HTTP request.
fn plain_answer(address: SocketAddr, patience: Duration) -> Option<String> {
    let stream = TcpStream::connect_timeout(&address, patience).ok()?;
    let mut stream = limited(stream, patience).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = [0; 120];
    let bytes = stream.read(&mut answer).ok()?;
    let text = String::from_utf8_lossy(answer.get(..bytes)?).into_owned();
    text.lines().next().map(str::to_owned)
}
