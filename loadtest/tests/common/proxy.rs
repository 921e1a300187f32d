//! A proxy between clients and a relay (plain HTTP) that does counted harm: the truth that the tool has to find.
//!
//! Bytes from clients pass as they are. What the relay says is read frame by frame; everything but packets passes, and
//! packets suffer as the [`Faults`] say. Whatever was done is in [`Harm`], exactly.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ferry_loadtest::payload;
use ferry_protocol::{FrameType, HEADER_LEN, NodePublicKey};

/// A frame's header and the sender's key.
const PACKET_AT: usize = HEADER_LEN + 32;
/// A packet that is held back does not wait longer than this for those that should overtake it.
const HELD_BACK_AT_MOST: Duration = Duration::from_millis(150);

/// What is done to packets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Every so many packets of a connection, that; the first that fits is done alone.
    pub(crate) every: Vec<(u64, Fault)>,
    /// All are late by this.
    pub(crate) delay: Duration,
    /// All share this much per connection.
    pub(crate) bytes_per_second: Option<u64>,
}

/// What is done to a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// It does not arrive.
    Drop,
    /// It arrives twice.
    Duplicate,
    /// So many later ones arrive before it.
    HoldBack(u64),
    /// One of its bits is flipped, each time another one.
    Corrupt,
    /// It arrives under this name.
    Rename(NodePublicKey),
    /// It arrives at another client.
    Misdeliver,
    /// Another run's packet arrives in its place.
    Replace,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Harm {
    /// Packets that the relay delivered.
    pub(crate) packets: u64,
    pub(crate) dropped: u64,
    pub(crate) duplicated: u64,
    pub(crate) held_back: u64,
    /// The most packets by which one came too late.
    pub(crate) held_back_by_most: u64,
    pub(crate) corrupted: u64,
    pub(crate) renamed: u64,
    pub(crate) misdelivered: u64,
    pub(crate) replaced: u64,
}

/// The proxy; ends with its connections.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    relay: SocketAddr,
    faults: Faults,
    harm: Mutex<Harm>,
    /// Nothing is written from the first to the second.
    pause: Mutex<Option<(Instant, Instant)>>,
    /// Where to write to clients that have finished their handshake, by connection.
    clients: Mutex<Vec<(u64, Sender<Piece>)>>,
    is_over: AtomicBool,
}

/// Bytes for a client, and when the relay sent them.
type Piece = (Instant, Vec<u8>);

impl Proxy {
    pub(crate) fn start(relay: SocketAddr, faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            relay,
            faults,
            harm: Mutex::default(),
            pause: Mutex::default(),
            clients: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let accepting = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&listener, &shared))
        };
        Self { address, shared, accepting: Some(accepting) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn harm(&self) -> Harm {
        *self.shared.harm.lock().unwrap()
    }

    /// From `after` now on, nothing reaches any client for `length`; it arrives afterwards.
    pub(crate) fn pause(&self, after: Duration, length: Duration) {
        let start = Instant::now() + after;
        *self.shared.pause.lock().unwrap() = Some((start, start + length));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for id in 0.. {
        let (client, _) = listener.accept().unwrap();
        if shared.is_over.load(Ordering::Relaxed) {
            return;
        }
        let relay = TcpStream::connect(shared.relay).unwrap();
        client.set_nodelay(true).unwrap();
        relay.set_nodelay(true).unwrap();
        let (mut from_client, mut to_relay) = (client.try_clone().unwrap(), relay.try_clone().unwrap());
        thread::spawn(move || {
            // Either end may hang up at any time.
            let _ = io::copy(&mut from_client, &mut to_relay);
            let _ = to_relay.shutdown(Shutdown::Write);
        });
        let (pieces, waiting) = channel();
        let writer = Arc::clone(shared);
        thread::spawn(move || write(client, &waiting, &writer));
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let mut downstream = Downstream { id, pieces, shared, seen: 0, last: 0, held: None };
            let _ = downstream.run(relay);
            downstream.shared.clients.lock().unwrap().retain(|(other, _)| *other != id);
        });
    }
}

/// Writes to a client, as late and as slowly as the faults say.
fn write(mut client: TcpStream, pieces: &Receiver<Piece>, shared: &Shared) {
    let mut free_at = Instant::now();
    for (sent_at, bytes) in pieces {
        let mut at = sent_at + shared.faults.delay;
        if let Some(rate) = shared.faults.bytes_per_second {
            free_at = free_at.max(sent_at) + Duration::from_secs_f64(bytes.len() as f64 / rate as f64);
            at = at.max(free_at);
        }
        sleep_until(at);
        let pause = *shared.pause.lock().unwrap();
        if let Some((start, end)) = pause
            && Instant::now() >= start
        {
            sleep_until(end);
        }
        if client.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}

fn sleep_until(at: Instant) {
    let rest = at.saturating_duration_since(Instant::now());
    if !rest.is_zero() {
        thread::sleep(rest);
    }
}

/// What the relay says to one client.
#[derive(Debug)]
struct Downstream {
    id: u64,
    pieces: Sender<Piece>,
    shared: Arc<Shared>,
    /// Packets so far; they are numbered from 1.
    seen: u64,
    /// Number of the last packet that was passed on under its own name, intact and to its receiver.
    last: u64,
    held: Option<Held>,
}

/// A packet that waits to be overtaken.
#[derive(Debug)]
struct Held {
    number: u64,
    frame: Vec<u8>,
    /// How many still have to pass.
    first: u64,
    since: Instant,
}

impl Downstream {
    fn run(&mut self, mut relay: TcpStream) -> io::Result<()> {
        // Packets that are held back go on when the relay falls silent.
        relay.set_read_timeout(Some(HELD_BACK_AT_MOST / 3))?;
        let mut input = Vec::new();
        let mut is_upgraded = false;
        let mut chunk = vec![0; 64 * 1024];
        loop {
            self.release(false);
            match relay.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(read) => input.extend_from_slice(&chunk[..read]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    self.release(true);
                    continue;
                }
                Err(error) => return Err(error),
            }
            if !is_upgraded {
                let Some(end) = input.windows(4).position(|part| part == b"\r\n\r\n") else { continue };
                self.pass(input.drain(..end + 4).collect());
                is_upgraded = true;
            }
            while let Some(length) = frame_length(&input) {
                let frame: Vec<u8> = input.drain(..length).collect();
                self.frame(frame);
            }
        }
    }

    fn frame(&mut self, frame: Vec<u8>) {
        let kind = frame[0];
        if kind == FrameType::RecvPacket as u8 {
            self.packet(frame);
            return;
        }
        self.pass(frame);
        if kind == FrameType::ServerInfo as u8 {
            self.shared.clients.lock().unwrap().push((self.id, self.pieces.clone()));
        }
    }

    fn packet(&mut self, mut frame: Vec<u8>) {
        self.seen += 1;
        let due = |(every, _): &&(u64, Fault)| self.seen.is_multiple_of(*every);
        let fault = self.shared.faults.every.iter().find(due).map(|(_, fault)| *fault);
        let shared = Arc::clone(&self.shared);
        let mut harm = shared.harm.lock().unwrap();
        harm.packets += 1;
        match fault {
            Some(Fault::Drop) => harm.dropped += 1,
            Some(Fault::Corrupt) => {
                harm.corrupted += 1;
                let bit = harm.corrupted as usize * 37 % ((frame.len() - PACKET_AT) * 8);
                frame[PACKET_AT + bit / 8] ^= 1 << (bit % 8);
                self.pass(frame);
            }
            Some(Fault::Rename(name)) => {
                harm.renamed += 1;
                frame[HEADER_LEN..PACKET_AT].copy_from_slice(name.as_bytes());
                self.pass(frame);
            }
            Some(Fault::Misdeliver) => {
                harm.misdelivered += 1;
                let clients = shared.clients.lock().unwrap();
                let (_, other) = clients.iter().find(|(id, _)| *id != self.id).unwrap();
                other.send((Instant::now(), frame)).unwrap();
            }
            Some(Fault::Replace) => {
                harm.replaced += 1;
                let packet = &mut frame[PACKET_AT..];
                let mut header = payload::read(packet).unwrap();
                header.run ^= 1;
                payload::write(packet, &header);
                self.pass(frame);
            }
            Some(Fault::Duplicate) => {
                harm.duplicated += 1;
                drop(harm);
                // In one piece, so that both arrive before anybody takes the run for finished.
                let twice = [frame.clone(), frame].concat();
                self.pass_packet(twice);
            }
            Some(Fault::HoldBack(first)) => {
                assert!(self.held.is_none(), "the next one is held back only after this one has passed");
                self.held = Some(Held { number: self.seen, frame, first, since: Instant::now() });
            }
            None => {
                drop(harm);
                self.pass_packet(frame);
            }
        }
    }

    /// Passes on a packet to which nothing has happened that keeps it from being counted.
    fn pass_packet(&mut self, frame: Vec<u8>) {
        self.pass(frame);
        self.last = self.seen;
        if let Some(held) = &mut self.held {
            held.first -= 1;
            let is_overtaken = held.first == 0;
            self.release(is_overtaken);
        }
    }

    /// Passes on what is held back, if it must go or has waited too long.
    fn release(&mut self, must: bool) {
        let is_due = |held: &mut Held| must || held.since.elapsed() > HELD_BACK_AT_MOST;
        let Some(held) = self.held.take_if(is_due) else { return };
        self.pass(held.frame);
        if self.last > held.number {
            let mut harm = self.shared.harm.lock().unwrap();
            harm.held_back += 1;
            harm.held_back_by_most = harm.held_back_by_most.max(self.last - held.number);
        } else {
            self.last = held.number;
        }
    }

    fn pass(&self, bytes: Vec<u8>) {
        // A client that has hung up misses it.
        let _ = self.pieces.send((Instant::now(), bytes));
    }
}

/// Length of the frame at the front, if it is whole.
fn frame_length(input: &[u8]) -> Option<usize> {
    let body = input.get(1..HEADER_LEN)?;
    let length = HEADER_LEN + u32::from_be_bytes(body.try_into().unwrap()) as usize;
    (input.len() >= length).then_some(length)
}
