//! What the two state machines have in common, for whoever gives them sockets and time.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Discovery, Lifetime, LifetimeReport, Output, Report, SocketId};
use crate::message::TransactionId;

/// A [`Discovery`] or a [`Lifetime`]: poll it, do what it wants, hand it what arrives, until it is done.
pub trait Machine {
    /// What it finds.
    type Found;

    /// What to do now.
    fn poll(&mut self, now: Instant) -> Output<Self::Found>;

    /// The socket that it wanted is open. `local` has the host's own address on the way to the server.
    fn opened(&mut self, socket: SocketId, local: SocketAddr);

    /// The socket that it wanted cannot be opened.
    fn failed(&mut self, socket: SocketId);

    /// A datagram came to one of its sockets.
    fn handle(&mut self, now: Instant, socket: SocketId, from: SocketAddr, datagram: &[u8]);
}

macro_rules! machine {
    ($machine:ident finds $found:ty) => {
        impl<I: FnMut() -> TransactionId> Machine for $machine<I> {
            type Found = $found;

            fn poll(&mut self, now: Instant) -> Output<Self::Found> {
                $machine::poll(self, now)
            }

            fn opened(&mut self, socket: SocketId, local: SocketAddr) {
                $machine::opened(self, socket, local);
            }

            fn failed(&mut self, socket: SocketId) {
                $machine::failed(self, socket);
            }

            fn handle(&mut self, now: Instant, socket: SocketId, from: SocketAddr, datagram: &[u8]) {
                $machine::handle(self, now, socket, from, datagram);
            }
        }
    };
}

machine!(Discovery finds Report);
machine!(Lifetime finds LifetimeReport);
