//! The walk itself: each step on what the one before it found.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use ferry_client::{ConnectionError, Settings, Stage, Trust, client_config};
use ferry_protocol::{ClientInfo, MeshKey, upgrade_request};
use rustls::RootCertStore;

use super::certificate::{self, Check, Judgement};
use super::finding::{Code, Finding};
use super::http;
use super::link::{Link, LinkError, Why};
use super::packets::Passage;
use super::reach;
use super::report::{Name, Report, Step, Verdict};
use super::target::{Patient, Target};
use super::tls::{self, Seen};
use super::{stun, upgrade};

/// How to walk.
#[derive(Debug)]
pub(super) struct Walk {
    /// Whom nodes believe.
    pub(super) roots: RootCertStore,
    /// What opens the door of a relay that admits known nodes only.
    pub(super) mesh_key: Option<MeshKey>,
    /// How long each answer is waited for.
    pub(super) patience: Duration,
    /// Where the relay's plain HTTP is.
    pub(super) http_port: u16,
}

/// Writes down each step and says it at once.
struct Notes<'a> {
    report: &'a mut Report,
    said: &'a mut dyn FnMut(&Step),
}

impl Notes<'_> {
    fn add(&mut self, step: Step) -> Verdict {
        (self.said)(&step);
        let verdict = step.verdict;
        self.report.add(step);
        verdict
    }

    fn skip(&mut self, steps: &[Name], why: &str) {
        for step in steps {
            self.add(Step::skipped(*step, why));
        }
    }
}

impl Walk {
    /// Walks as far as there is a way; what does not depend on a broken step is done all the same.
    pub(super) fn examine(
        &self,
        patient: &Patient,
        report: &mut Report,
        said: &mut dyn FnMut(&Step),
    ) -> anyhow::Result<()> {
        let mut notes = Notes { report, said };
        if let Some(finding) = &patient.map {
            notes.add(Step::new(Name::Map, Duration::ZERO, Vec::new(), vec![finding.clone()]));
        }
        let relay = &patient.relay;
        let start = Instant::now();
        let addresses = match reach::addresses(relay, self.patience) {
            Ok(addresses) => addresses,
            Err(finding) => {
                notes.add(Step::new(Name::Resolve, start.elapsed(), Vec::new(), vec![finding]));
                let rest = [Name::Connect, Name::Tls, Name::Clock, Name::Derp, Name::Packets, Name::Mesh];
                notes.skip(&rest, "no address");
                notes.skip(&[Name::Stun, Name::Port80], "no address");
                return Ok(());
            }
        };
        let list: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
        notes.add(Step::new(Name::Resolve, start.elapsed(), vec![list.join(", ")], Vec::new()));

        self.over_tcp(patient, &addresses, &mut notes)?;
        notes.add(self.stun(relay, &addresses));
        notes.add(self.port80(relay, &addresses));
        Ok(())
    }

    fn over_tcp(
        &self,
        patient: &Patient,
        addresses: &[SocketAddr],
        notes: &mut Notes<'_>,
    ) -> anyhow::Result<()> {
        let relay = &patient.relay;
        let start = Instant::now();
        let attempts = reach::connect_all(addresses, self.patience);
        let findings = reach::judge(&attempts);
        let mut evidence = Vec::new();
        let mut open: Vec<(SocketAddr, TcpStream)> = Vec::new();
        for attempt in attempts {
            if let Ok(stream) = attempt.outcome {
                evidence.push(format!("{} in {:.1} ms", attempt.address, attempt.took.as_secs_f64() * 1e3));
                open.push((attempt.address, stream));
            }
        }
        notes.add(Step::new(Name::Connect, start.elapsed(), evidence, findings));
        let working: Vec<SocketAddr> = open.iter().map(|(address, _)| *address).collect();
        let (Some((address, stream)), Some(&last)) = (open.into_iter().next(), working.last()) else {
            notes.skip(&[Name::Tls, Name::Clock, Name::Derp, Name::Packets, Name::Mesh], "no connection");
            return Ok(());
        };
        if !self.tls_and_clock(relay, address, stream, notes)? {
            notes.skip(&[Name::Derp, Name::Packets, Name::Mesh], "no TLS");
            return Ok(());
        }
        self.over_derp(patient, address, last, notes)
    }

    /// Answers whether the relay can be spoken with.
    fn tls_and_clock(
        &self,
        relay: &Target,
        address: SocketAddr,
        stream: TcpStream,
        notes: &mut Notes<'_>,
    ) -> anyhow::Result<bool> {
        let start = Instant::now();
        let request = http::get("/", &relay.url.authority());
        if !relay.url.secure {
            notes.skip(&[Name::Tls], "the URL asks for none");
            let mut stream = tls::limited(stream, self.patience)?;
            notes.add(clock(start, http::ask(&mut stream, &request)));
            return Ok(true);
        }
        let Seen { chain, spoken, fast_start, mut stream } =
            match tls::inspect(stream, address, &relay.url.host, self.patience)? {
                Ok(seen) => seen,
                Err(finding) => {
                    notes.add(Step::new(Name::Tls, start.elapsed(), Vec::new(), vec![finding]));
                    notes.skip(&[Name::Clock], "no TLS");
                    return Ok(false);
                }
            };
        let check = Check {
            host: &relay.url.host,
            identity: &relay.identity,
            roots: &self.roots,
            now: SystemTime::now(),
        };
        let Judgement { mut evidence, findings } = check.judge(&chain);
        evidence.insert(0, spoken);
        evidence.extend(certificate::fast_start(fast_start));
        notes.add(Step::new(Name::Tls, start.elapsed(), evidence, findings));
        let start = Instant::now();
        notes.add(clock(start, http::ask(&mut stream, &request)));
        Ok(true)
    }

    /// Two clients: the first at the first address that works, the second at the last, which is of the other family if there
    /// are two.
    fn over_derp(
        &self,
        patient: &Patient,
        first: SocketAddr,
        last: SocketAddr,
        notes: &mut Notes<'_>,
    ) -> anyhow::Result<()> {
        let relay = &patient.relay;
        let settings = self.settings(relay, false)?;
        let start = Instant::now();
        let opened =
            Link::open(first, &settings, self.patience).map_err(|error| (first, error)).and_then(|link| {
                match Link::open(last, &settings, self.patience) {
                    Ok(other) => Ok((link, other)),
                    Err(error) => Err((last, error)),
                }
            });
        let (mut one, mut other) = match opened {
            Ok(links) => links,
            Err((address, error)) => {
                let findings = self.why_no_derp(relay, address, &error)?;
                notes.add(Step::new(Name::Derp, start.elapsed(), Vec::new(), findings));
                notes.skip(&[Name::Packets, Name::Mesh], "no DERP");
                return Ok(());
            }
        };
        let mut findings = Vec::new();
        let key = |link: &Link| link.server.map(|key| key.to_string()).unwrap_or_default();
        if one.server != other.server {
            findings.push(other_relay(&key(&one), &key(&other)));
        }
        let evidence = vec![format!("{} lets clients in", key(&one))];
        if notes.add(Step::new(Name::Derp, start.elapsed(), evidence, findings)) == Verdict::Broken {
            notes.skip(&[Name::Packets, Name::Mesh], "two relays that know nothing of each other");
            return Ok(());
        }
        notes.add(self.packets(&mut one, &mut other));
        notes.add(self.mesh(patient, &mut one)?);
        Ok(())
    }

    /// What a client says of itself and how it connects; the certificate has been judged already.
    fn settings(&self, relay: &Target, websocket: bool) -> anyhow::Result<Arc<Settings>> {
        let tls = relay.url.secure.then(|| client_config(&Trust::Unverified, false)).transpose();
        let mut url = relay.url.clone();
        url.websocket = websocket;
        let info = ClientInfo {
            mesh_key: self.mesh_key.clone(),
            is_prober: true,
            app_name: "ferry-doctor".to_owned(),
            ..ClientInfo::current()
        };
        Ok(Arc::new(Settings {
            url,
            tls: tls.context("TLS cannot be set up")?,
            info,
            ideal_node: None,
            // Each step is looked at by itself.
            fast_start: false,
        }))
    }

    fn why_no_derp(
        &self,
        relay: &Target,
        address: SocketAddr,
        error: &LinkError,
    ) -> anyhow::Result<Vec<Finding>> {
        let finding = match (error.stage, &error.why) {
            (Stage::Upgrade, _) => self.ask_again(relay, address)?,
            (Stage::Handshake | Stage::Established | Stage::Closed, Why::Closed | Why::Io(_)) => {
                self.not_admitted()
            }
            (Stage::Handshake, Why::Silent) => Finding::new(
                Code::HandshakeSilent,
                "the relay takes a client's introduction and says nothing more",
                "look at the relay's log; if it asks somebody whom to admit (-verify-client-url), at \
                 that; and for packets \
                 that get lost on the way (path MTU)",
            ),
            (_, Why::Refused(ConnectionError::Status { .. })) => self.ask_again(relay, address)?,
            _ => Finding::new(
                Code::NotDerp,
                "what follows the upgrade is no DERP",
                "check that the proxy passes the stream on untouched, and that a relay is behind it",
            ),
        };
        let mut findings = vec![finding.seen(format!("{address}: {error}"))];
        if findings.iter().all(|finding| finding.code != Code::AdmissionRefused) {
            let settings = self.settings(relay, true)?;
            if Link::open(address, &settings, self.patience).is_ok() {
                findings.push(Finding::new(
                    Code::OnlyWebSocket,
                    "the relay can be used by WebSocket, and not by the upgrade to DERP",
                    "browsers and Ferry's clients get through; Tailscale's nodes need the upgrade",
                ));
            }
        }
        Ok(findings)
    }

    /// The request for DERP once more, to see the whole answer.
    fn ask_again(&self, relay: &Target, address: SocketAddr) -> anyhow::Result<Finding> {
        let request = upgrade_request(&relay.url.authority(), false, None);
        let attempt = reach::connect(address, self.patience);
        let Ok(stream) = attempt.outcome else {
            return Ok(upgrade::judge_silence(&std::io::ErrorKind::ConnectionRefused.into()));
        };
        let answer = if relay.url.secure {
            match tls::inspect(stream, address, &relay.url.host, self.patience)? {
                Ok(mut seen) => http::ask(&mut seen.stream, &request),
                Err(finding) => return Ok(finding),
            }
        } else {
            http::ask(&mut tls::limited(stream, self.patience)?, &request)
        };
        Ok(match answer {
            Ok(head) => upgrade::judge(&head),
            Err(error) => upgrade::judge_silence(&error),
        })
    }

    fn not_admitted(&self) -> Finding {
        match &self.mesh_key {
            None => Finding::new(
                Code::AdmissionRefused,
                "the relay hangs up on a client that it does not know",
                "if it is to admit your own nodes only (-verify-clients, -verify-client-url), this is as \
                 it should be: give \
                 --mesh-psk-file to be let in; if nodes are refused too, look whether tailscaled runs beside the relay and \
                 is logged in to their tailnet",
            ),
            Some(_) => Finding::new(
                Code::AdmissionRefused,
                "the relay hangs up in spite of the mesh key",
                "compare the key with the relay's -mesh-psk-file: 64 hex digits; and look at the relay's log",
            ),
        }
    }

    fn packets(&self, one: &mut Link, other: &mut Link) -> Step {
        let start = Instant::now();
        let ways = [
            ("A to B", Passage::of(one, other, self.patience)),
            ("B to A", Passage::of(other, one, self.patience)),
        ];
        let (mut evidence, mut findings) = (Vec::new(), Vec::new());
        for (way, passage) in ways {
            match passage {
                Ok(passage) => {
                    evidence.push(passage.words(way));
                    findings.extend(passage.judge(way));
                }
                Err(error) => findings.push(hung_up(way, &error)),
            }
        }
        // One relay that loses both ways is one thing that is wrong.
        findings.dedup_by_key(|finding| finding.code);
        Step::new(Name::Packets, start.elapsed(), evidence, findings)
    }

    fn mesh(&self, patient: &Patient, here: &mut Link) -> anyhow::Result<Step> {
        if patient.others.is_empty() {
            return Ok(Step::skipped(Name::Mesh, "no other relay in its region"));
        }
        let start = Instant::now();
        let (mut evidence, mut findings) = (Vec::new(), Vec::new());
        for other in &patient.others {
            let mut there = match self.open_any(other)? {
                Ok(link) => link,
                Err(finding) => {
                    findings.push(finding);
                    continue;
                }
            };
            let ways = [
                (format!("to {}", other.name), Passage::introduced(here, &mut there)),
                (format!("from {}", other.name), Passage::introduced(&mut there, here)),
            ];
            for (way, arrived) in ways {
                match arrived {
                    Ok(true) => evidence.push(format!("{way}: packets pass")),
                    Ok(false) => findings.push(apart(&other.name, &way)),
                    Err(error) => findings.push(hung_up(&way, &error)),
                }
            }
        }
        Ok(Step::new(Name::Mesh, start.elapsed(), evidence, findings))
    }

    fn open_any(&self, other: &Target) -> anyhow::Result<Result<Link, Finding>> {
        let down = |evidence: String| {
            Finding::new(
                Code::MeshNodeDown,
                format!("{}, another relay of the region, cannot be connected to", other.name),
                format!("examine it by itself: ferry doctor {}", other.name),
            )
            .seen(evidence)
        };
        let addresses = match reach::addresses(other, self.patience) {
            Ok(addresses) => addresses,
            Err(finding) => {
                return Ok(Err(finding.evidence.into_iter().fold(down(finding.what), Finding::seen)));
            }
        };
        let settings = self.settings(other, false)?;
        let mut seen = String::new();
        for address in addresses {
            match Link::open(address, &settings, self.patience) {
                Ok(link) => return Ok(Ok(link)),
                Err(error) => seen = format!("{address}: {error}"),
            }
        }
        Ok(Err(down(seen)))
    }

    fn stun(&self, relay: &Target, addresses: &[SocketAddr]) -> Step {
        let Some(port) = relay.stun_port else {
            return Step::skipped(Name::Stun, "the relay is said to have none");
        };
        let start = Instant::now();
        let (mut evidence, mut findings) = (Vec::new(), Vec::new());
        for address in addresses {
            match stun::judge(SocketAddr::new(address.ip(), port), self.patience) {
                Ok(seen) => evidence.push(seen),
                Err(finding) => findings.push(finding),
            }
        }
        Step::new(Name::Stun, start.elapsed(), evidence, findings)
    }

    fn port80(&self, relay: &Target, addresses: &[SocketAddr]) -> Step {
        // Clients ask over IPv4 alone.
        let Some(address) = addresses.iter().find(|address| address.is_ipv4()) else {
            return Step::skipped(Name::Port80, "clients ask over IPv4 alone, and the relay has none");
        };
        let start = Instant::now();
        let found =
            http::judge_port80(address.ip(), self.http_port, &relay.url.host, relay.port80, self.patience);
        let (evidence, findings) = match found {
            Ok(seen) => (vec![seen], Vec::new()),
            Err(finding) => (Vec::new(), vec![finding]),
        };
        Step::new(Name::Port80, start.elapsed(), evidence, findings)
    }
}

fn clock(start: Instant, answer: std::io::Result<ferry_protocol::upgrade::ResponseHead>) -> Step {
    let head = match answer {
        Ok(head) => head,
        Err(error) => return Step::skipped(Name::Clock, format!("no answer to GET /: {error}")),
    };
    let (evidence, findings) = match http::judge_clock(&head, SystemTime::now()) {
        Ok(seen) => (vec![seen], Vec::new()),
        Err(finding) => (Vec::new(), vec![finding]),
    };
    Step::new(Name::Clock, start.elapsed(), evidence, findings)
}

fn other_relay(one: &str, other: &str) -> Finding {
    Finding::new(
        Code::ServerKeyChanges,
        "two connections find two relays: clients of the one do not reach those of the other",
        "give each relay a name of its own and a node of its own in the map; or mesh them, and let the \
         load balancer go",
    )
    .seen(format!("first {one}"))
    .seen(format!("then {other}"))
}

fn hung_up(way: &str, error: &LinkError) -> Finding {
    Finding::new(
        Code::PacketsLost,
        "the relay hangs up while packets are under way",
        "look at the relay's log, and for a proxy that closes connections after a time",
    )
    .seen(format!("{way}: {error}"))
}

fn apart(name: &str, way: &str) -> Finding {
    Finding::new(
        Code::MeshBroken,
        format!("packets do not pass between this relay and {name}, which the map puts into one region"),
        "give both the same -mesh-psk-file and name each in the other's -mesh-with; or put them into two \
         regions",
    )
    .seen(format!("{way}: no packet arrived within 3 s"))
}
