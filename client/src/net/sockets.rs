//! Names and TCP connections that were asked for.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{Interest, Ready};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::{AbortHandle, JoinSet};

use crate::dial::Ticket;

/// Questions and attempts under way, and connections; as many as a dial asks for, some ten at most.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    asked: JoinSet<(Ticket, Found)>,
    stops: BTreeMap<Ticket, AbortHandle>,
    streams: BTreeMap<Ticket, TcpStream>,
}

/// What a task found.
#[derive(Debug)]
enum Found {
    Addresses(io::Result<Vec<IpAddr>>),
    Stream(io::Result<TcpStream>),
}

/// What there is to be told.
#[derive(Debug)]
pub(super) enum News {
    /// The addresses of a name.
    Resolved(Ticket, io::Result<Vec<IpAddr>>),
    /// Whether there is a connection, which is kept here.
    Connected(Ticket, io::Result<()>),
    /// The socket that was waited for can be read or written.
    Ready(io::Result<Ready>),
}

impl Sockets {
    /// Asks the system for the addresses of a name.
    pub(super) fn resolve(&mut self, ticket: Ticket, host: String) {
        let question = async move { (ticket, Found::Addresses(addresses(&host).await)) };
        self.stops.insert(ticket, self.asked.spawn(question));
    }

    /// Connects.
    pub(super) fn connect(&mut self, ticket: Ticket, address: SocketAddr) {
        let attempt = async move { (ticket, Found::Stream(connect(address).await)) };
        self.stops.insert(ticket, self.asked.spawn(attempt));
    }

    /// Stops what is under way, or says goodbye and closes.
    pub(super) fn close(&mut self, ticket: Ticket, goodbye: &[u8]) {
        if let Some(stop) = self.stops.remove(&ticket) {
            stop.abort();
        }
        if let Some(stream) = self.streams.remove(&ticket) {
            // A relay that cannot be told will notice.
            let _ = stream.try_write(goodbye);
        }
    }

    /// The connection of this ticket.
    pub(super) fn stream(&self, ticket: Ticket) -> Option<&TcpStream> {
        self.streams.get(&ticket)
    }

    /// Waits for news: an answer, or that `socket` is ready for what it is to be asked. If it is not waited for to the end, nothing is lost.
    pub(super) async fn news(&mut self, socket: Option<(Ticket, Interest)>) -> News {
        loop {
            let Self { asked, streams, .. } = self;
            let stream = socket.and_then(|(ticket, interest)| Some((streams.get(&ticket)?, interest)));
            let found = tokio::select! {
                Some(joined) = asked.join_next() => joined,
                ready = ready(stream) => return News::Ready(ready),
            };
            // What was stopped has no answer.
            let Ok((ticket, found)) = found else { continue };
            if self.stops.remove(&ticket).is_none() {
                continue;
            }
            return match found {
                Found::Addresses(answer) => News::Resolved(ticket, answer),
                Found::Stream(Err(error)) => News::Connected(ticket, Err(error)),
                Found::Stream(Ok(stream)) => {
                    self.streams.insert(ticket, stream);
                    News::Connected(ticket, Ok(()))
                }
            };
        }
    }
}

/// Waits for a socket; for ever, if there is none.
async fn ready(stream: Option<(&TcpStream, Interest)>) -> io::Result<Ready> {
    match stream {
        Some((stream, interest)) => stream.ready(interest).await,
        None => std::future::pending().await,
    }
}

async fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for address in lookup_host((host, 0)).await? {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    Ok(addresses)
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
