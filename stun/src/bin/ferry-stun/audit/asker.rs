//! Sends the requests one after the other and collects what comes back.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ferry_stun::TransactionId;
use ferry_stun::audit::{BURST, Exchange, Finding, REQUESTS, Report, Request, Sender, Socket};
use ferry_stun::client::{self, BindingResponse};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::output::Progress;

/// How long an answer is waited for before its round trip is known.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Bounds of the wait for each request. Answers that are later still count, as long as the audit runs.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// 30 requests of this fill most of the time that there is.
const WAIT_MAX: Duration = Duration::from_millis(220);
/// How long the audit may take; requests that nobody answered are repeated until then.
const TIME_MAX: Duration = Duration::from_secs(8);
/// Between two repetitions of the worst request: a second for all.
const BURST_GAP: Duration = Duration::from_millis(25);
/// How often silence to a sound request is doubted.
const TRIES_MAX: usize = 3;
/// The longest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Asks all of [`REQUESTS`], the worst of them many times, and has the answers judged.
pub(super) async fn ask_everything(server: SocketAddr, progress: &Progress) -> io::Result<Report> {
    let mut asker = Asker::open(server).await?;
    let end = Instant::now() + TIME_MAX;
    let wait = asker.measure_wait(progress).await?;

    for round in 0..TRIES_MAX {
        for (number, request) in REQUESTS.iter().enumerate() {
            let wanted = round == 0 || request.deserves_answer() && !asker.is_answered(number);
            if !wanted || (round > 0 && Instant::now() + wait > end) {
                continue;
            }
            let (count, all) = (number + 1, REQUESTS.len());
            progress.step(format_args!("{server}: {count} of {all}, {} (try {})", request.name, round + 1));
            asker.ask(number, request).await?;
            asker.collect(Instant::now() + wait, Some(number)).await?;
        }
    }
    // What was asked last has its time too.
    asker.current = None;
    asker.collect(Instant::now() + wait, None).await?;
    let findings = REQUESTS.iter().zip(&asker.tries);
    let findings = findings.map(|(request, tries)| Finding::judge(request, server, tries)).collect();
    let mut report = Report::new(server, findings);
    if let Some(suspect) = report.suspect() {
        progress.step(format_args!("{server}: {BURST} times {}", suspect.name));
        report.weigh(&asker.repeat(suspect, wait).await?);
    }
    Ok(report)
}

/// Two sockets and all that came to them.
struct Asker {
    server: SocketAddr,
    asker: UdpSocket,
    witness: UdpSocket,
    /// The witness as the server sees it.
    witness_address: SocketAddr,
    /// For each request, in the order of [`REQUESTS`].
    tries: Vec<Vec<Exchange>>,
    /// Which of them was asked last, while its answer is waited for.
    current: Option<usize>,
    buffers: [Vec<u8>; 2],
}

impl Asker {
    async fn open(server: SocketAddr) -> io::Result<Self> {
        let any = match server.is_ipv4() {
            true => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            false => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        // Not connected: answers from other addresses have to arrive.
        let asker = UdpSocket::bind((any, 0)).await?;
        let witness = UdpSocket::bind((any, 0)).await?;
        let witness_address = SocketAddr::new(any, witness.local_addr()?.port());
        let buffers = [vec![0; DATAGRAM_BYTES_MAX], vec![0; DATAGRAM_BYTES_MAX]];
        let tries = vec![Vec::new(); REQUESTS.len()];
        Ok(Self { server, asker, witness, witness_address, tries, current: None, buffers })
    }

    /// Opens the way back to the witness through whatever filters there are, and learns its address and how
    /// long an answer takes.
    async fn measure_wait(&mut self, progress: &Progress) -> io::Result<Duration> {
        progress.step(format_args!("{}: looking for it", self.server));
        let mut datagram = Vec::new();
        for _ in 0..TRIES_MAX {
            // Some answer only the one, some only the other.
            for write in [client::write_bare_request, client::write_tailscale_request] {
                let transaction_id = TransactionId::random()?;
                let started = Instant::now();
                self.witness.send_to(write(transaction_id, &mut datagram), self.server).await?;
                let wait = FIRST_WAIT / 2;
                if let Some(mapped) = self.wait_for(transaction_id, started + wait).await? {
                    self.witness_address = mapped;
                    return Ok((started.elapsed() * 3).clamp(WAIT_MIN, WAIT_MAX));
                }
            }
        }
        Ok(WAIT_MAX)
    }

    async fn wait_for(
        &mut self,
        transaction_id: TransactionId,
        deadline: Instant,
    ) -> io::Result<Option<SocketAddr>> {
        let [_, buffer] = &mut self.buffers;
        loop {
            let Ok(read) = timeout_at(deadline, self.witness.recv_from(buffer)).await else {
                return Ok(None);
            };
            let Ok((count, _)) = read else { continue };
            let bytes = buffer.get(..count).unwrap_or_default();
            if let Ok(response) = BindingResponse::parse_for(bytes, transaction_id) {
                return Ok(Some(response.mapped_address));
            }
        }
    }

    fn is_answered(&self, number: usize) -> bool {
        self.tries.get(number).is_some_and(|tries| tries.iter().any(Exchange::is_answered))
    }

    /// Asks one request [`BURST`] times from a fresh socket.
    async fn repeat(&mut self, request: &Request, wait: Duration) -> io::Result<Vec<Exchange>> {
        let any = self.asker.local_addr()?.ip();
        self.asker = UdpSocket::bind((any, 0)).await?;
        self.tries = vec![Vec::with_capacity(BURST)];
        let start = Instant::now();
        for number in 1..=BURST {
            self.ask(0, request).await?;
            self.collect(start + BURST_GAP * number as u32, None).await?;
        }
        self.collect(Instant::now() + wait, None).await?;
        Ok(self.tries.pop().unwrap_or_default())
    }

    async fn ask(&mut self, number: usize, request: &Request) -> io::Result<()> {
        let sender = Sender { transaction_id: TransactionId::random()?, witness: self.witness_address };
        let exchange = Exchange::new(request, &sender);
        self.asker.send_to(exchange.datagram(), self.server).await?;
        if let Some(tries) = self.tries.get_mut(number) {
            tries.push(exchange);
        }
        self.current = Some(number);
        Ok(())
    }

    /// Takes what comes until the deadline, or until the request has its answer.
    async fn collect(&mut self, deadline: Instant, number: Option<usize>) -> io::Result<()> {
        loop {
            let [buffer, witness_buffer] = &mut self.buffers;
            let (read, socket) = tokio::select! {
                read = self.asker.recv_from(buffer) => (read, Socket::Asker),
                read = self.witness.recv_from(witness_buffer) => (read, Socket::Witness),
                () = tokio::time::sleep_until(deadline) => return Ok(()),
            };
            // An error is that of a datagram before (a closed port), and silence says as much.
            let Ok((count, from)) = read else { continue };
            let from = SocketAddr::new(from.ip().to_canonical(), from.port());
            self.record(count, from, socket);
            if number.is_some_and(|number| self.is_answered(number)) {
                return Ok(());
            }
        }
    }

    /// An answer belongs to the exchange that it names, or if it names none and is the server's, to the one
    /// that has just been sent.
    fn record(&mut self, count: usize, from: SocketAddr, socket: Socket) {
        let [asker, witness] = &self.buffers;
        let buffer = if socket == Socket::Asker { asker } else { witness };
        let bytes = buffer.get(..count).unwrap_or_default();
        let mut all = self.tries.iter_mut().flatten();
        if let Some(exchange) = all.find(|exchange| exchange.is_named_by(bytes)) {
            return exchange.record(bytes, from, socket);
        }
        let last = self.current.and_then(|number| self.tries.get_mut(number)?.last_mut());
        if let Some(exchange) = last.filter(|_| from.ip() == self.server.ip() && socket == Socket::Asker) {
            exchange.record(bytes, from, socket);
        }
    }
}
