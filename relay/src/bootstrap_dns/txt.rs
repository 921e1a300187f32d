//! TXT records: the one thing asked of DNS that the system's resolver interface has no call for.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE, rdata::RData};
use thiserror::Error;
use tokio::{net::UdpSocket, time::timeout};

/// Time for one server to answer, and how often each is asked: resolv.conf's defaults.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// See [`ANSWER_TIMEOUT`].
const ATTEMPTS: usize = 2;
/// Largest answer over UDP without EDNS (RFC 1035, section 4.2.1). A percentage fits.
const ANSWER_BYTES_MAX: usize = 512;
/// Where the system's resolver keeps its servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Why there are no TXT records.
#[derive(Debug, Error)]
pub(super) enum TxtError {
    /// The name cannot be asked for.
    #[error("{name:?} is not a DNS name")]
    Name {
        /// The name.
        name: String,
    },
    /// A server said no.
    #[error("server {server} answered {code:?}")]
    Refused {
        /// The server.
        server: SocketAddr,
        /// Its reason.
        code: RCODE,
    },
    /// No server answered.
    #[error("none of {servers} DNS servers answered {ATTEMPTS} times within {} s", ANSWER_TIMEOUT.as_secs())]
    Silent {
        /// How many were asked.
        servers: usize,
    },
    /// The socket failed.
    #[error("asking server {server}: {error}")]
    Socket {
        /// The server.
        server: SocketAddr,
        /// What the kernel says.
        error: io::Error,
    },
}

/// The DNS servers to ask for TXT records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolvers {
    /// In the order in which they are asked.
    servers: Vec<SocketAddr>,
}

impl Resolvers {
    /// These servers.
    pub(crate) fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers }
    }

    /// The system's servers; the one on this machine if it names none, which is resolv.conf's own rule.
    pub(crate) fn from_system() -> Self {
        Self::from_resolv_conf(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default())
    }

    /// The servers named in the text of a resolv.conf.
    fn from_resolv_conf(text: &str) -> Self {
        let addresses = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let keyword = words.next()?;
            // Scoped link-local addresses do not parse, and are left out.
            (keyword == "nameserver").then(|| words.next())??.parse::<IpAddr>().ok()
        });
        let mut servers: Vec<SocketAddr> = addresses.map(|address| (address, 53).into()).collect();
        if servers.is_empty() {
            servers.push((Ipv4Addr::LOCALHOST, 53).into());
        }
        Self::new(servers)
    }

    /// The TXT records of `name`, each with its strings put together.
    pub(super) async fn txt(&self, name: &str) -> Result<Vec<String>, TxtError> {
        for _ in 0..ATTEMPTS {
            for server in &self.servers {
                let id = rand::random();
                match timeout(ANSWER_TIMEOUT, ask(*server, name, id)).await {
                    Ok(answer) => return answer,
                    Err(_) => continue,
                }
            }
        }
        Err(TxtError::Silent { servers: self.servers.len() })
    }
}

/// Asks one server, and waits for an answer to this very question.
async fn ask(server: SocketAddr, name: &str, id: u16) -> Result<Vec<String>, TxtError> {
    let question = query(name, id).ok_or_else(|| TxtError::Name { name: name.to_owned() })?;
    let socket_error = |error| TxtError::Socket { server, error };
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.map_err(socket_error)?;
    // Connected: the kernel passes on nothing from anybody else.
    socket.connect(server).await.map_err(socket_error)?;
    socket.send(&question).await.map_err(socket_error)?;
    let mut buffer = [0; ANSWER_BYTES_MAX];
    loop {
        let len = socket.recv(&mut buffer).await.map_err(socket_error)?;
        match answer(&buffer[..len], name, id) {
            None => {}
            Some(Ok(texts)) => return Ok(texts),
            Some(Err(code)) => return Err(TxtError::Refused { server, code }),
        }
    }
}

/// The question for the TXT records of `name`; `None` if it is no name.
fn query(name: &str, id: u16) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).ok()?;
    packet.questions.push(Question::new(name, TYPE::TXT.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().ok()
}

/// Reads an answer; `None` if it is not one to our question.
fn answer(bytes: &[u8], name: &str, id: u16) -> Option<Result<Vec<String>, RCODE>> {
    let packet = Packet::parse(bytes).ok()?;
    let asked = packet.questions.first()?;
    let asked = asked.qname.to_string();
    let same = asked.trim_end_matches('.').eq_ignore_ascii_case(name.trim_end_matches('.'));
    if !packet.has_flags(PacketFlag::RESPONSE) || packet.id() != id || !same {
        return None;
    }
    if packet.rcode() != RCODE::NoError {
        return Some(Err(packet.rcode()));
    }
    // An alias leads to records of another name; the server has put them in too.
    let texts = packet.answers.iter().filter_map(|record| {
        let RData::TXT(txt) = &record.rdata else { return None };
        Some(txt.iter_raw().map(|(text, rest)| string(text, rest)).collect())
    });
    Some(Ok(texts.collect()))
}

/// One string of a record, which the library divides at its first `=`.
fn string(text: &[u8], rest: Option<&[u8]>) -> String {
    let text = String::from_utf8_lossy(text);
    match rest {
        Some(rest) => format!("{text}={}", String::from_utf8_lossy(rest)),
        None => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use simple_dns::{ResourceRecord, rdata::TXT};

    use super::*;

    /// The answer of a server to `question` with these records, each of these strings.
    fn reply(question: &[u8], records: &[&[&str]], code: RCODE) -> Vec<u8> {
        let mut packet = Packet::parse(question).unwrap().into_reply();
        packet.set_flags(PacketFlag::RESPONSE);
        *packet.rcode_mut() = code;
        let name = packet.questions[0].qname.clone();
        for strings in records {
            let txt = strings.iter().fold(TXT::new(), |txt, text| txt.with_string(text).unwrap());
            packet.answers.push(ResourceRecord::new(name.clone(), CLASS::IN, 60, RData::TXT(txt)));
        }
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn strings_of_one_record_belong_together() {
        let question = query("rollout.example", 7).unwrap();
        let bytes = reply(&question, &[&["5", "0"], &["a=b"]], RCODE::NoError);
        assert_eq!(answer(&bytes, "rollout.example", 7), Some(Ok(vec!["50".into(), "a=b".into()])));
    }

    #[test]
    fn an_answer_to_another_question_is_not_ours() {
        let question = query("rollout.example", 7).unwrap();
        let bytes = reply(&question, &[&["50"]], RCODE::NoError);
        assert_eq!(answer(&bytes, "rollout.example", 8), None, "another id");
        assert_eq!(answer(&bytes, "other.example", 7), None, "another name");
        assert_eq!(answer(&question, "rollout.example", 7), None, "our own question");
        assert_eq!(answer(&bytes[..5], "rollout.example", 7), None, "cut off");
        assert!(answer(&bytes, "ROLLOUT.example.", 7).is_some(), "spelling does not matter");
    }

    #[test]
    fn servers_come_from_resolv_conf() {
        let text = "# nameserver 192.0.2.9\nsearch example\nnameserver 192.0.2.53\nnameserver\t2001:db8::53 \nnameserver fe80::1%eth0\n";
        let expected = ["192.0.2.53:53", "[2001:db8::53]:53"].map(|server| server.parse().unwrap());
        assert_eq!(Resolvers::from_resolv_conf(text), Resolvers::new(expected.to_vec()));
        assert_eq!(Resolvers::from_resolv_conf(""), Resolvers::new(vec!["127.0.0.1:53".parse().unwrap()]));
    }

    #[tokio::test]
    async fn a_server_is_asked_and_its_answer_read() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let resolvers = Resolvers::new(vec![server.local_addr().unwrap()]);
        let answering = tokio::spawn(async move {
            let mut buffer = [0; 512];
            for code in [RCODE::NoError, RCODE::NameError] {
                let (len, client) = server.recv_from(&mut buffer).await.unwrap();
                server.send_to(b"not an answer", client).await.unwrap();
                server.send_to(&reply(&buffer[..len], &[&["33"]], code), client).await.unwrap();
            }
        });
        assert_eq!(resolvers.txt("rollout.example").await.unwrap(), ["33"]);
        let error = resolvers.txt("rollout.example").await.unwrap_err();
        assert!(matches!(error, TxtError::Refused { code: RCODE::NameError, .. }), "{error}");
        answering.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_name_is_not_asked_for() {
        let resolvers = Resolvers::new(vec!["127.0.0.1:9".parse().unwrap()]);
        let error = resolvers.txt(&"x".repeat(64)).await.unwrap_err();
        assert!(matches!(error, TxtError::Name { .. }), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn silent_servers_are_given_up() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let error =
            Resolvers::new(vec![silent.local_addr().unwrap()]).txt("rollout.example").await.unwrap_err();
        assert!(matches!(error, TxtError::Silent { servers: 1 }), "{error}");
    }
}
