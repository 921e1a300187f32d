//! One HTTP/1.1 request and the head of its answer, and what heads say: the time, the proxy, the portal.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, SystemTime};

use ferry_protocol::upgrade::ResponseHead;

use super::finding::{Code, Finding};
use super::tls::limited;

/// A longer head is no relay's.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Clocks that differ by less are good enough: certificates and keys are valid for days.
const CLOCK_OFF: Duration = Duration::from_secs(60);

/// Asks, and reads the answer's head.
pub(super) fn ask(stream: &mut (impl Read + Write), request: &str) -> io::Result<ResponseHead> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while answer.len() < HEAD_BYTES_MAX {
        let bytes = stream.read(&mut buffer)?;
        if bytes == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up instead of an answer"));
        }
        answer.extend_from_slice(buffer.get(..bytes).unwrap_or_default());
        if b"HTTP/".iter().zip(&answer).any(|(want, got)| want != got) {
            let line: String = String::from_utf8_lossy(&answer)
                .chars()
                .take_while(|letter| *letter != '\r')
                .take(80)
                .collect();
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it says {line:?}, which is no HTTP"),
            ));
        }
        let head = ResponseHead::parse(&answer)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        if let Some(head) = head {
            return Ok(head);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the answer's head does not end"))
}

/// A plain GET that leaves the connection to the other end to close.
pub(super) fn get(path: &str, authority: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: ferry-doctor\r\nConnection: close\r\n\r\n"
    )
}

/// The status and what names a proxy: `502, Server: nginx, Via: 1.1 proxy`.
pub(super) fn describe(head: &ResponseHead) -> String {
    let mut text = head.status.to_string();
    for name in ["Server", "Via", "X-Cache", "CF-RAY", "Location"] {
        if let Some(value) = head.header(name) {
            let value: String = String::from_utf8_lossy(value).chars().take(120).collect();
            text.push_str(&format!(", {name}: {value}"));
        }
    }
    text
}

/// What an answer's date says of the clocks.
pub(super) fn judge_clock(head: &ResponseHead, now: SystemTime) -> Result<String, Finding> {
    let date = head.header("Date").and_then(|value| std::str::from_utf8(value).ok());
    let Some(theirs) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        let fix = "nothing, if the answer comes from a proxy that leaves the date out";
        return Err(Finding::new(
            Code::ClockUnknown,
            "the answer has no date to compare the clock with",
            fix,
        )
        .seen(describe(head)));
    };
    let (off, which) = match now.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if off <= CLOCK_OFF {
        return Ok("within a minute of the relay's".to_owned());
    }
    Err(Finding::new(
        Code::ClockOff,
        format!("this machine's clock is {} {which} the relay's", span(off)),
        "set both by NTP (timedatectl set-ntp true): with a wrong clock certificates seem expired and \
         keys are refused",
    )
    .seen(format!(
        "the relay says {}, this machine {}",
        httpdate::fmt_http_date(theirs),
        httpdate::fmt_http_date(now)
    )))
}

/// `3 min`, `26 h`, `12 days`.
fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// What the relay answers on port 80, which is where clients look for captive portals.
pub(super) fn judge_port80(
    ip: IpAddr,
    port: u16,
    host: &str,
    expected: bool,
    patience: Duration,
) -> Result<String, Finding> {
    let address = SocketAddr::new(ip, port);
    let challenge = format!("ts_{host}");
    let answer = TcpStream::connect_timeout(&address, patience).and_then(|stream| {
        let mut stream = limited(stream, patience)?;
        let request = format!(
            "GET /generate_204 HTTP/1.1\r\nHost: {host}\r\nX-Tailscale-Challenge: \
             {challenge}\r\nConnection: close\r\n\r\n"
        );
        ask(&mut stream, &request)
    });
    let head = match answer {
        Ok(head) => head,
        Err(error) => return Err(closed(expected).seen(format!("{address}: {error}"))),
    };
    let response =
        head.header("X-Tailscale-Response").map(|value| String::from_utf8_lossy(value).into_owned());
    if head.status == 204 && response == Some(format!("response {challenge}")) {
        return Ok(format!("{address} answers the captive portal check"));
    }
    Err(Finding::new(
        Code::Port80NotOurs,
        "what answers on port 80 is not the relay",
        "if you are behind a captive portal, log in first; else pass /generate_204 on to the relay (its \
         -http-port)",
    )
    .seen(format!("{address}: {}", describe(&head)))
    .seen(format!("X-Tailscale-Response: {response:?}, want \"response {challenge}\"")))
}

fn closed(expected: bool) -> Finding {
    let fix = if expected {
        "start the relay with -http-port 80 and open the port; or take CanPort80 out of the map"
    } else {
        "start the relay with -http-port 80 and open the port, and write \"CanPort80\": true into the \
         map: clients then \
         see captive portals"
    };
    Finding::new(Code::Port80Closed, "the relay does not answer on port 80", fix)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::UNIX_EPOCH;

    use super::*;

    /// Somebody who answers in pieces.
    struct Answers(VecDeque<&'static str>);

    impl Read for Answers {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let piece = self.0.pop_front().unwrap_or_default().as_bytes();
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    impl Write for Answers {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn answer(pieces: &[&'static str]) -> io::Result<ResponseHead> {
        ask(&mut Answers(pieces.iter().copied().collect()), &get("/", "relay.example.net"))
    }

    #[test]
    fn an_answer_is_read_as_it_comes() {
        let head =
            answer(&["HTTP/1.1 502 Bad", " Gateway\r\nServer: nginx\r", "\nVia: 1.1 edge\r\n\r\nbody"])
                .unwrap();
        assert_eq!(describe(&head), "502, Server: nginx, Via: 1.1 edge");
        assert_eq!(answer(&["HTTP/1.1 200"]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(answer(&["SSH-2.0-OpenSSH\r\n"]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn clocks_may_differ_by_a_minute() {
        let head = answer(&["HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 01:00:00 GMT\r\n\r\n"]).unwrap();
        let at = |seconds| {
            judge_clock(&head, UNIX_EPOCH + Duration::from_secs(seconds)).map_err(|finding| finding.what)
        };
        assert!(at(3_600 + 60).is_ok() && at(3_600 - 60).is_ok());
        assert_eq!(at(3_600 + 61).unwrap_err(), "this machine's clock is 61 s ahead of the relay's");
        assert_eq!(at(0).unwrap_err(), "this machine's clock is 60 min behind the relay's");
        let silent = answer(&["HTTP/1.1 200 OK\r\n\r\n"]).unwrap();
        assert_eq!(judge_clock(&silent, UNIX_EPOCH).unwrap_err().code, Code::ClockUnknown);
    }
}
