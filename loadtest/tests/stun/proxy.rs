//! A proxy between a load and a STUN server that does harm which is known exactly.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ferry_stun::client::BindingResponse;
use ferry_stun::{Arrival, Budgets, Limits, Options, Responder};

/// What is done to answers, by their number from 1; 0 is never.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Harm {
    /// Every so-many-th request is lost.
    pub(crate) drop_every: u64,
    /// Every so-many-th answer comes twice.
    pub(crate) repeat_every: u64,
    /// Every so-many-th answer names another address.
    pub(crate) corrupt_every: u64,
    /// Before every so-many-th answer comes one to nobody's request.
    pub(crate) foreign_every: u64,
    /// Every so-many-th answer is held back until after the next one.
    pub(crate) hold_every: u64,
    /// The server sleeps once, before the request of this number, for so long.
    pub(crate) pause_before: u64,
    pub(crate) pause: Duration,
}

/// What it did; the probe's request is not among it.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) requests: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) repeated: AtomicU64,
    pub(crate) corrupted: AtomicU64,
    pub(crate) foreign: AtomicU64,
    pub(crate) held: AtomicU64,
    /// Datagrams that are no request.
    pub(crate) junk: AtomicU64,
    /// The most requests of one socket that came before it was answered: what was waiting at once.
    pub(crate) most_waiting: AtomicU64,
}

/// A STUN server that answers as ferry-stun does, but for the harm.
pub(crate) struct HarmfulServer {
    pub(crate) address: SocketAddr,
    pub(crate) done: Arc<Done>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HarmfulServer {
    pub(crate) fn start(harm: Harm) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("more than zero");
        let (address, done, stop) =
            (socket.local_addr().expect("it is bound"), Arc::default(), Arc::default());
        let server = Server { socket, harm, done: Arc::clone(&done), held: None };
        let stopped: Arc<AtomicBool> = Arc::clone(&stop);
        let thread = Some(thread::spawn(move || server.serve(&stopped)));
        Self { address, done, stop, thread }
    }
}

impl Drop for HarmfulServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

struct Server {
    socket: UdpSocket,
    harm: Harm,
    done: Arc<Done>,
    held: Option<(Vec<u8>, SocketAddr)>,
}

impl Server {
    fn serve(mut self, stop: &AtomicBool) {
        let mut datagram = [0; 2048];
        let mut probed = false;
        while !stop.load(Ordering::Relaxed) {
            let (length, from) = match self.socket.recv_from(&mut datagram) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.release();
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            let Some(answer) = answer(&datagram[..length], from) else {
                self.done.junk.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            if std::mem::replace(&mut probed, true) {
                self.harm(answer, from);
            } else {
                self.socket.send_to(&answer, from).expect("the load listens");
            }
        }
    }

    fn harm(&mut self, mut answer: Vec<u8>, to: SocketAddr) {
        let done = Arc::clone(&self.done);
        let number = done.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let falls = |every: u64, count: &AtomicU64| {
            let falls = every > 0 && number.is_multiple_of(every);
            count.fetch_add(u64::from(falls), Ordering::Relaxed);
            falls
        };
        if number == self.harm.pause_before {
            thread::sleep(self.harm.pause);
        }
        if falls(self.harm.drop_every, &done.dropped) {
            return;
        }
        if falls(self.harm.foreign_every, &done.foreign) {
            let mut foreign = answer.clone();
            foreign[8] ^= 0xff;
            self.socket.send_to(&foreign, to).expect("the load listens");
        }
        if falls(self.harm.corrupt_every, &done.corrupted) {
            *answer.last_mut().expect("an answer has bytes") ^= 1;
        }
        if falls(self.harm.repeat_every, &done.repeated) {
            self.socket.send_to(&answer, to).expect("the load listens");
        }
        if falls(self.harm.hold_every, &done.held) {
            self.release();
            self.held = Some((answer, to));
            return;
        }
        self.socket.send_to(&answer, to).expect("the load listens");
        self.release();
    }

    /// Sends what is held back.
    fn release(&mut self) {
        if let Some((answer, to)) = self.held.take() {
            self.socket.send_to(&answer, to).expect("the load listens");
        }
    }
}

fn answer(request: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let mut answer = Vec::new();
    let mut budgets = Budgets::new(Limits::NONE, 0, Instant::now());
    Responder::new(Options::default()).answer(request, &Arrival::from(from), &mut budgets, &mut answer);
    BindingResponse::parse(&answer).ok().map(|_| answer)
}

/// A server that answers only in full batches: as many requests of each socket as are allowed under way. It would wait for ever
/// for one more, so that it answers shows the bound, and what it counts beyond shows a breach.
pub(crate) fn serve_in_batches(window: usize, sockets: usize) -> HarmfulServer {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("more than zero");
    let (address, done, stop) =
        (socket.local_addr().expect("it is bound"), Arc::<Done>::default(), Arc::<AtomicBool>::default());
    let (counted, stopped) = (Arc::clone(&done), Arc::clone(&stop));
    let thread = thread::spawn(move || {
        let mut waiting: HashMap<SocketAddr, Vec<Vec<u8>>> = HashMap::new();
        let (mut datagram, mut probed) = ([0; 2048], false);
        while !stopped.load(Ordering::Relaxed) {
            let Ok((length, from)) = socket.recv_from(&mut datagram) else { continue };
            let answer = answer(&datagram[..length], from).expect("a request");
            if !std::mem::replace(&mut probed, true) {
                socket.send_to(&answer, from).expect("the load listens");
                continue;
            }
            counted.requests.fetch_add(1, Ordering::Relaxed);
            waiting.entry(from).or_default().push(answer);
            let most = waiting.values().map(Vec::len).max().unwrap_or(0);
            counted.most_waiting.fetch_max(most as u64, Ordering::Relaxed);
            if waiting.values().map(Vec::len).sum::<usize>() >= window * sockets {
                for (to, answers) in waiting.drain() {
                    for answer in answers {
                        socket.send_to(&answer, to).expect("the load listens");
                    }
                }
            }
        }
    });
    HarmfulServer { address, done, stop, thread: Some(thread) }
}
