//! One connection, whatever carries it.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::{ConnectionEnd, Shared};
use crate::responder::{Alternates, Outcome, RefusalReason};
use crate::stream::MessageStream;

/// The other end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    /// Its address and port: the answer to its question.
    pub(super) source: SocketAddr,
    /// Where else it could connect to.
    pub(super) alternates: Option<Alternates>,
}

/// Answers until the client has enough or breaks a bound. Answers to what one read brought (at most 4 KiB,
/// 204 requests) are written before the next read, so nothing piles up.
pub(super) async fn serve<S>(mut stream: S, client: Client, shared: &Shared) -> ConnectionEnd
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = &shared.limits;
    let mut messages = MessageStream::new();
    let mut answers = Vec::new();
    let mut deadline = Instant::now() + limits.idle;
    loop {
        let was_partial = messages.is_mid_message();
        let count = match timeout_at(deadline, stream.read(messages.space())).await {
            Ok(Ok(0)) => return ConnectionEnd::Closed,
            Ok(Ok(count)) => count,
            Ok(Err(error)) => return end_of(&error),
            Err(_) if was_partial => return ConnectionEnd::Partial,
            Err(_) => return ConnectionEnd::Idle,
        };
        messages.filled(count);
        let answered = answer_all(&mut messages, client, shared, &mut answers);
        // What was asked properly before a fault is answered.
        match timeout(limits.stall, write_all(&mut stream, &answers)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return end_of(&error),
            Err(_) => return ConnectionEnd::Stalled,
        }
        let Ok(whole) = answered else { return ConnectionEnd::Protocol };
        // A message has its time from its first byte, however many reads it takes.
        deadline = match messages.is_mid_message() {
            true if was_partial && whole == 0 => deadline,
            true => Instant::now() + limits.message,
            false => Instant::now() + limits.idle,
        };
    }
}

/// The stream cannot be STUN's, or not any more.
struct Fault;

/// Answers every whole message; says how many there were.
fn answer_all(
    messages: &mut MessageStream,
    client: Client,
    shared: &Shared,
    answers: &mut Vec<u8>,
) -> Result<usize, Fault> {
    let counters = &shared.counters;
    answers.clear();
    let mut answer = Vec::new();
    let mut whole = 0;
    while let Some(message) = messages.next_message().map_err(|_| Fault)? {
        whole += 1;
        match shared.responder.answer_stream(message, client.source, client.alternates, &mut answer) {
            Outcome::Answer(_) => {
                counters.count_success();
                answers.extend_from_slice(&answer);
            }
            Outcome::Error(_, reason) => {
                counters.count_refused(reason);
                answers.extend_from_slice(&answer);
            }
            Outcome::Silence(reason) => {
                counters.count_refused(reason);
                if is_fault(reason) {
                    return Err(Fault);
                }
            }
        }
    }
    Ok(whole)
}

/// What no STUN client sends. Indications and other methods are STUN, if not for us.
const fn is_fault(reason: RefusalReason) -> bool {
    matches!(reason, RefusalReason::Malformed | RefusalReason::NoCookie | RefusalReason::Fingerprint)
}

async fn write_all<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    stream.write_all(bytes).await?;
    stream.flush().await
}

fn end_of(error: &io::Error) -> ConnectionEnd {
    // A client that closes TLS without saying so, or TCP with answers unread, has closed all the same.
    let closed = matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    );
    if closed { ConnectionEnd::Closed } else { ConnectionEnd::Network }
}
