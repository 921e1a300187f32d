//! One HTTP/1.1 request on a connection of its own, and the head of its answer.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::{PortalAnswer, PortalProbe};

/// Bytes of a head at most.
const HEAD_BYTES_MAX: usize = 8192;
/// Header lines at most.
const HEADERS_MAX: usize = 64;

/// The start of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of this name.
    fn header(&self, name: &str) -> Option<String> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    }
}

/// Asks, and reads the head of the answer.
pub(super) async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &str,
) -> io::Result<Head> {
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut read = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let bytes = stream.read(&mut piece).await?;
        if bytes == 0 {
            let message = "the connection was closed before an answer";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        read.extend_from_slice(piece.get(..bytes).unwrap_or_default());
        if let Some(head) = parse(&read)? {
            return Ok(head);
        }
        if read.len() > HEAD_BYTES_MAX {
            let message = format!("the answer's head has more than {HEAD_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
    }
}

/// The head, if all of it is there.
fn parse(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("the answer is not HTTP: {error}"))
    })?;
    let (true, Some(status)) = (parsed.is_complete(), response.code) else { return Ok(None) };
    let headers = response.headers.iter();
    let text = |header: &httparse::Header<'_>| {
        (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned())
    };
    Ok(Some(Head { status, headers: headers.map(text).collect() }))
}

/// Asks a relay for `/generate_204`.
pub(super) async fn ask_portal(probe: &PortalProbe) -> io::Result<PortalAnswer> {
    let PortalProbe { to, host, challenge, .. } = probe;
    let mut stream = TcpStream::connect(to).await?;
    // What differs each time is in no cache.
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let request = format!(
        "GET /generate_204?t={seconds} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ferry-netcheck\r\n\
         Cache-Control: no-cache\r\nX-Tailscale-Challenge: {challenge}\r\nConnection: close\r\n\r\n"
    );
    let head = ask(&mut stream, &request).await?;
    Ok(PortalAnswer {
        status: head.status,
        response: head.header("X-Tailscale-Response"),
        location: head.header("Location"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(answer: &[u8]) -> io::Result<Head> {
        let (mut ours, mut theirs) = tokio::io::duplex(64 << 10);
        let answer = answer.to_vec();
        let server = tokio::spawn(async move {
            let mut request = [0; 3];
            theirs.read_exact(&mut request).await.unwrap();
            // The asker may have heard enough.
            let _ = theirs.write_all(&answer).await;
        });
        let head = ask(&mut ours, "GET").await;
        drop(ours);
        server.await.unwrap();
        head
    }

    #[tokio::test]
    async fn a_head_is_read_and_the_rest_is_not() {
        let head =
            answered(b"HTTP/1.1 302 Found\r\nLocation: http://login\r\nx: y\r\n\r\nbody").await.unwrap();
        assert_eq!((head.status, head.header("location").as_deref()), (302, Some("http://login")));
        assert_eq!(head.header("X-Tailscale-Response"), None);
    }

    #[tokio::test]
    async fn what_is_no_head_is_an_error() {
        for (answer, said) in
            [(&b"HTTP/1.1 204"[..], "closed before an answer"), (b"SSH-2.0-OpenSSH\r\n", "is not HTTP")]
        {
            assert!(answered(answer).await.unwrap_err().to_string().contains(said));
        }
        let endless = [&b"HTTP/1.1 200 OK\r\nx: "[..], &vec![b'a'; 2 * HEAD_BYTES_MAX]].concat();
        assert!(answered(&endless).await.unwrap_err().to_string().contains("more than 8192 bytes"));
    }
}
