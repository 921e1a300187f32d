//! What a server answers to one message: a function of the message, where it came from and what its source
//! may still cost.

mod arrival;
pub(crate) mod refusal;
mod response;
mod survey;
mod unknown;

use std::net::SocketAddr;

use crate::budget::Budgets;
use crate::message::{Class, Message, MessageType, MessageWriter, Method, ParseError};
use response::{Refusal, Success};
use survey::Survey;

pub use arrival::{Alternates, Arrival, Origin, Reply};
pub use refusal::RefusalReason;
pub(crate) use refusal::refused_source;
pub use response::ANSWER_BYTES_MAX;

/// An answer of more than this many times its request is of use to those who forge sources, so each network gets
/// few of them: a client would have to prove first that it is where it says.
const FACTOR_FREE_MAX: usize = 3;

/// The value of SOFTWARE in every request of a Tailscale client.
pub const TAILSCALE_SOFTWARE: &[u8] = b"tailnode";

/// Which requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Profile {
    /// Every valid Binding request.
    #[default]
    Open,
    /// Those that derper answers, and silence for all others: SOFTWARE is `tailnode` and the last
    /// attribute is a right FINGERPRINT. No answer is then more than 1.1 times its request.
    Tailscale,
}

/// What a responder does beyond RFC 8489's Binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Options {
    /// Which requests are answered.
    pub profile: Profile,
    /// Also answer RFC 3489 clients, whose requests have no magic cookie.
    pub rfc3489: bool,
}

/// Answers Binding requests. It keeps no state between messages but the budgets it is given: Binding is
/// idempotent, a retransmission is simply answered again.
///
/// A request that derper would answer gets the bytes that derper would send. Any other gets, from
/// [`Profile::Open`], XOR-MAPPED-ADDRESS and, if it had one, a FINGERPRINT; and from a server with
/// alternates what RFC 5780 adds.
///
/// What a datagram's answer has beyond 1.1 times the datagram (rounded down to whole bytes) is taken from
/// the source's surplus budget. A Tailscale request needs none: 40 bytes get 32 or 44. The bare request needs
/// 10 bytes over IPv4 (20 get 32) and 22 over IPv6 (20 get 44).
///
/// An answer of more than 3 times its request, which only one that tells of the server's addresses can be (20 get
/// 68, over IPv6 116), is also taken from the budget of redirected answers of the source's network. Without a
/// budget an answer shrinks to the client's address, or else is withheld.
#[derive(Clone, Copy, Debug, Default)]
pub struct Responder {
    options: Options,
}

impl Responder {
    /// A responder with these options.
    #[must_use]
    pub const fn new(options: Options) -> Self {
        Self { options }
    }

    /// Decides on one datagram. If there is an answer it is all of `out` afterwards.
    pub fn answer(
        &self,
        datagram: &[u8],
        arrival: &Arrival,
        budgets: &mut Budgets,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let source = arrival.source;
        if let Some(reason) = refused_source(source) {
            return Outcome::Silence(reason);
        }
        if !budgets.take_request(source.ip()) {
            return Outcome::Silence(RefusalReason::SourceRate);
        }
        let mut message = Message::parse(datagram);
        if self.options.rfc3489 && matches!(message, Err(ParseError::Cookie { .. })) {
            message = Message::parse_rfc3489(datagram);
        }
        // Borrowed: a copy of what has just been written, field by field, would be the dearest step here.
        match &message {
            Ok(message) => self.respond(message, source, arrival.alternates.as_ref(), Some(budgets), out),
            Err(error) => Outcome::Silence(RefusalReason::from(*error)),
        }
    }

    /// Decides on one message from a stream (TCP or TLS). The source has proven that it is where it says,
    /// so nothing is taken from any budget; and what RFC 5780 does with datagrams means nothing here, and gets a
    /// 400. Silence is a fault of the client's: the stream had better be closed.
    pub fn answer_stream(
        &self,
        message: &[u8],
        source: SocketAddr,
        alternates: Option<Alternates>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        // RFC 3489 had Binding over UDP only.
        match Message::parse(message) {
            Ok(message) => self.respond(&message, source, alternates.as_ref(), None, out),
            Err(error) => Outcome::Silence(error.into()),
        }
    }

    /// Without budgets the message came over a stream.
    fn respond(
        &self,
        message: &Message<'_>,
        source: SocketAddr,
        alternates: Option<&Alternates>,
        budgets: Option<&mut Budgets>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        // An answer is never answered, so two servers cannot loop.
        if message.class() != Class::Request {
            return Outcome::Silence(RefusalReason::NotRequest);
        }
        if message.method() != Method::BINDING {
            return Outcome::Silence(RefusalReason::NotBinding);
        }
        let survey = Survey::of(message, alternates.is_some());
        // derper looks at no other attribute of such a request, not even at one that has to be understood.
        // It has 40 bytes at least, so the answer has no surplus.
        if survey.tailnode && message.has_fingerprint() {
            let answer = MessageWriter::new(out, MessageType::BINDING_SUCCESS, message.transaction_id())
                .xor_mapped_address(source)
                .finish();
            return Outcome::Answer(Reply { len: answer.len(), from: Origin::ASKED, to: source });
        }
        if self.options.profile == Profile::Tailscale {
            return Outcome::Silence(RefusalReason::NotTailscale);
        }
        if !survey.unknown.as_slice().is_empty() {
            return refuse(Refusal::Unknown(survey.unknown), message, source, budgets, out);
        }
        let Some(alternates) = alternates else {
            return grant(&Success::PLAIN, message, source, budgets, out);
        };
        if budgets.is_none() && survey.is_for_datagrams() {
            return refuse(Refusal::BadRequest, message, source, budgets, out);
        }
        match Success::for_discovery(&survey, alternates) {
            Ok(success) => grant(&success, message, source, budgets, out),
            Err(refusal) => refuse(refusal, message, source, budgets, out),
        }
    }
}

/// Writes a success response, if the budgets allow it: whole, or else the address alone, which is what
/// every client came for.
fn grant(
    success: &Success<'_>,
    message: &Message<'_>,
    source: SocketAddr,
    budgets: Option<&mut Budgets>,
    out: &mut Vec<u8>,
) -> Outcome {
    let Some(budgets) = budgets else {
        let len = success.write(message, source, out);
        return Outcome::Answer(success.reply(len, source));
    };
    let is_redirected = success.is_redirected(source);
    if is_redirected && !budgets.take_redirect(source.ip()) {
        return Outcome::Silence(RefusalReason::RedirectRate);
    }
    let len = success.write(message, source, out);
    // A redirected answer has been paid for. In this order, or whoever gets no large answer would lose the
    // surplus of one for each that is refused.
    let may_be_large = is_redirected || !is_large(message, len) || budgets.take_large(source.ip());
    if may_be_large && budgets.take_surplus(source.ip(), surplus(message, len)) {
        return Outcome::Answer(success.reply(len, source));
    }
    // At most 52 bytes for 28, or 44 for 20: never large.
    let Some(minimal) = success.minimal() else { return Outcome::Silence(RefusalReason::Surplus) };
    let len = minimal.write(message, source, out);
    if budgets.take_surplus(source.ip(), surplus(message, len)) {
        return Outcome::Answer(minimal.reply(len, source));
    }
    Outcome::Silence(RefusalReason::Surplus)
}

/// Writes an error response, if the budgets allow it. It is never large: 36 bytes for 24 at the worst.
fn refuse(
    refusal: Refusal,
    message: &Message<'_>,
    source: SocketAddr,
    budgets: Option<&mut Budgets>,
    out: &mut Vec<u8>,
) -> Outcome {
    let reason = refusal.reason();
    let len = refusal.write(message, out);
    if budgets.is_some_and(|budgets| !budgets.take_surplus(source.ip(), surplus(message, len))) {
        return Outcome::Silence(RefusalReason::Surplus);
    }
    Outcome::Error(Reply { len, from: Origin::ASKED, to: source }, reason)
}

/// Whether an answer is more than 3 times its request.
fn is_large(request: &Message<'_>, answer_bytes: usize) -> bool {
    answer_bytes > request.bytes() * FACTOR_FREE_MAX
}

/// Bytes of an answer beyond 1.1 times the request, 11 tenths of it being rounded down: what is left has
/// ten times the answer's bytes at most eleven times the request's.
fn surplus(request: &Message<'_>, answer_bytes: usize) -> usize {
    answer_bytes.saturating_sub(request.bytes() * 11 / 10)
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A success response is to be sent.
    Answer(Reply),
    /// An error response is to be sent.
    Error(Reply, RefusalReason),
    /// Nothing is to be sent, and the buffer says nothing.
    Silence(RefusalReason),
}
