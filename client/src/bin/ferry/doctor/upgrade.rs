//! What became of the upgrade to DERP, by the answer that came instead.

use std::io;

use ferry_protocol::upgrade::ResponseHead;

use super::finding::{Code, Finding};
use super::http::describe;
use super::tls::is_timeout;

/// What an answer that is no 101 says of who gave it.
pub(super) fn judge(head: &ResponseHead) -> Finding {
    let from_here_on = "let nginx pass it on with proxy_http_version 1.1, proxy_set_header Upgrade \
    $http_upgrade and \
        proxy_set_header Connection upgrade; or let the proxy pass TCP (SNI) instead of HTTP";
    let finding = match head.status {
        426 => Finding::new(
            Code::UpgradeEaten,
            "a proxy before the relay does not pass the upgrade on: the relay never saw it",
            from_here_on,
        ),
        301 | 302 | 303 | 307 | 308 => Finding::new(
            Code::UpgradeRedirected,
            "the request for DERP is sent elsewhere",
            "write the relay's own name and port into the map: clients follow no redirects",
        ),
        502..=504 => Finding::new(
            Code::ProxyNoUpstream,
            "a proxy answers, and cannot reach the relay behind it",
            "start the relay; check the address and port that the proxy passes to, and whether it should \
             speak TLS to it",
        ),
        401 | 403 | 407 | 451 => Finding::new(
            Code::UpgradeForbidden,
            "something before the relay refuses the request",
            "exempt /derp from the proxy's login, bot check or address filter",
        ),
        400 | 405 | 500 | 501 => Finding::new(
            Code::UpgradeEaten,
            "the request for DERP arrives, but not as it was sent: something in between does not speak \
             the upgrade",
            from_here_on,
        ),
        _ => Finding::new(
            Code::NotARelay,
            "a web server answers, but no relay",
            "check the name and port; if the relay is behind this server, pass /derp on to it with its \
             upgrade",
        ),
    };
    finding.seen(format!("GET /derp: {}", describe(head)))
}

/// What it says that no answer came at all.
pub(super) fn judge_silence(error: &io::Error) -> Finding {
    let finding = if is_timeout(error) {
        Finding::new(
            Code::UpgradeSilent,
            "nobody answers the request for DERP",
            "look whether the relay hangs, or a proxy waits for something behind it",
        )
    } else {
        Finding::new(
            Code::NotHttp,
            "what answers the request for DERP is no HTTP",
            "check the port: this is another service; or the proxy passes TLS on to a relay that serves none",
        )
    };
    finding.seen(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_says_who_gave_it() {
        let code = |status: u16| {
            let head =
                ResponseHead { status, headers: vec![("Server".to_owned(), b"nginx".to_vec())], len: 0 };
            let finding = judge(&head);
            assert_eq!(finding.evidence, [format!("GET /derp: {status}, Server: nginx")]);
            finding.code.as_str()
        };
        assert_eq!(code(426), "upgrade-eaten");
        assert_eq!(code(400), "upgrade-eaten");
        assert_eq!(code(308), "upgrade-redirected");
        assert_eq!(code(502), "proxy-no-upstream");
        assert_eq!(code(403), "upgrade-forbidden");
        assert_eq!(code(200), "not-a-relay");
        assert_eq!(code(404), "not-a-relay");
    }

    #[test]
    fn silence_is_no_answer_and_an_end_is_one() {
        let code = |kind: io::ErrorKind| judge_silence(&kind.into()).code.as_str();
        assert_eq!(code(io::ErrorKind::WouldBlock), "upgrade-silent");
        assert_eq!(code(io::ErrorKind::UnexpectedEof), "not-http");
        assert_eq!(code(io::ErrorKind::InvalidData), "not-http");
    }
}
