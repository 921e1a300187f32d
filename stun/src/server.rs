//! A responder on a UDP socket.

mod counters;
mod socket;

use std::io::{self, IoSliceMut, PipeReader, PipeWriter};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use counters::Counters;

use crate::responder::{Outcome, Profile, RefusalReason, Responder};

/// Room for one read. The kernel may hand over up to 64 datagrams of one sender as one (UDP GRO), and what
/// does not fit is lost. Pages that no datagram reaches cost no memory.
const READ_BYTES: usize = 64 << 10;

/// How long a failing socket is left alone. Long enough not to spin on an interface that is down, short
/// enough for clients to notice nothing (they try three times within 200 ms, then in the next report).
const READ_ERROR_PAUSE: Duration = Duration::from_millis(100);

/// A UDP server on one thread of its own. It stops when it is dropped.
///
/// Reads are batched by what is ready (recvmmsg), a batch is answered at once, and under light load that
/// batch is one datagram. Answers leave from the address that the request was sent to, also on a wildcard
/// socket of a host with several addresses. Nothing is logged and no source address is kept.
#[derive(Debug)]
pub struct UdpServer {
    local_address: SocketAddr,
    counters: Arc<Counters>,
    /// Closing it stops the thread. Both are there until the server is shut down.
    running: Option<(PipeWriter, JoinHandle<()>)>,
}

impl UdpServer {
    /// Binds and starts to serve. `[::]:3478` serves both families, as derper's `:3478` does.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound (the error names it) or no thread can be started.
    pub fn bind(address: SocketAddr, profile: Profile) -> io::Result<Self> {
        let socket = socket::bind(address)?;
        let state = UdpSocketState::new((&socket).into())?;
        let local_address = socket.local_addr()?;
        let counters = Arc::new(Counters::default());
        let (stop_reader, stop) = io::pipe()?;
        let service = Service {
            socket,
            state,
            stop: stop_reader,
            responder: Responder::new(profile),
            port: local_address.port(),
            counters: Arc::clone(&counters),
            answer: Vec::with_capacity(64),
        };
        let thread = thread::Builder::new().name("stun".to_owned()).spawn(move || service.run())?;
        Ok(Self { local_address, counters, running: Some((stop, thread)) })
    }

    /// Where it listens, with the port that the system chose if it was asked to.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// The live counters; they outlast the server.
    #[must_use]
    pub const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Stops serving, waits for the thread and closes the socket. At once: the thread is woken.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        let Some((stop, thread)) = self.running.take() else { return };
        drop(stop);
        // It fails if the thread panicked, which has been reported already.
        let _ = thread.join();
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread's side.
struct Service {
    socket: UdpSocket,
    state: UdpSocketState,
    /// Readable (closed) once the owner wants an end.
    stop: PipeReader,
    responder: Responder,
    port: u16,
    counters: Arc<Counters>,
    /// The answer under way.
    answer: Vec<u8>,
}

impl Service {
    fn run(mut self) {
        let mut memory = vec![0; BATCH_SIZE * READ_BYTES];
        let mut buffers: Vec<_> = memory.chunks_exact_mut(READ_BYTES).map(IoSliceMut::new).collect();
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        // One poll a batch is 3 % of a batch of 32, and keeps a flood from hiding the stop.
        while self.wait_readable() {
            match self.state.recv((&self.socket).into(), &mut buffers, &mut metas) {
                Ok(count) => self.serve(buffers.iter().zip(&metas).take(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.counters.count_read_error();
                    self.pause();
                }
            }
        }
    }

    fn serve<'b>(&mut self, reads: impl Iterator<Item = (&'b IoSliceMut<'b>, &'b RecvMeta)>) {
        for (buffer, meta) in reads {
            let bytes = buffer.get(..meta.len).unwrap_or(buffer);
            // An empty datagram is one datagram too, and `chunks` would show none.
            if bytes.is_empty() {
                self.serve_one(bytes, meta);
            }
            for datagram in bytes.chunks(meta.stride.max(1)) {
                self.serve_one(datagram, meta);
            }
        }
    }

    fn serve_one(&mut self, datagram: &[u8], meta: &RecvMeta) {
        // From our own socket: forged, and the answer would come to us.
        if meta.addr.port() == self.port && meta.dst_ip == Some(meta.addr.ip()) {
            return self.counters.count_refused(RefusalReason::SourceAddress);
        }
        match self.responder.answer(datagram, meta.addr, &mut self.answer) {
            Outcome::Answer { .. } => {
                self.counters.count_valid(meta.addr.ip());
                if self.send(meta) {
                    self.counters.count_success();
                }
            }
            Outcome::Error { reason, .. } => {
                self.counters.count_refused(reason);
                self.send(meta);
            }
            Outcome::Silence(reason) => self.counters.count_refused(reason),
        }
    }

    /// Sends the answer back the way the request came. A full send buffer loses it: by the time there is
    /// room again the client has asked again.
    fn send(&self, meta: &RecvMeta) -> bool {
        let transmit = Transmit {
            destination: meta.addr,
            ecn: None,
            contents: &self.answer,
            segment_size: None,
            src_ip: meta.dst_ip,
        };
        let sent = self.state.try_send((&self.socket).into(), &transmit).is_ok();
        if !sent {
            self.counters.count_write_error();
        }
        sent
    }

    /// Waits for datagrams; false when the owner wants an end.
    fn wait_readable(&self) -> bool {
        let mut watched =
            [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.stop, PollFlags::empty())];
        // An interrupted wait is a wait that found nothing.
        let _ = poll(&mut watched, None);
        let [_, stop] = watched;
        stop.revents().is_empty()
    }

    fn pause(&self) {
        let limit = Timespec::try_from(READ_ERROR_PAUSE).ok();
        let _ = poll(&mut [PollFd::new(&self.stop, PollFlags::empty())], limit.as_ref());
    }
}
