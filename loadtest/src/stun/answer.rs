//! What came back, and whether it is right.

use std::net::SocketAddr;

use ferry_stun::HEADER_BYTES;
use ferry_stun::client::{BindingResponse, ResponseError};

use super::request::Transactions;

/// Where a header has its transaction ID.
const ID_AT: usize = 8;

/// A datagram, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// To a request of this socket.
    Ours {
        /// The request's number.
        number: u32,
        /// Whether it says what it should.
        verdict: Verdict,
    },
    /// To a request of another socket.
    Misrouted,
    /// To nobody's request.
    Foreign,
}

/// Whether an answer says what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A success response with the socket's own address.
    Right,
    /// A success response with another address.
    WrongAddress,
    /// The server refused.
    Refused,
    /// Anything else with the request's transaction ID.
    Broken,
}

impl Verdict {
    /// The name that a wrong one is counted under.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Right => "answer",
            Self::WrongAddress => "answer-with-wrong-address",
            Self::Refused => "error-response",
            Self::Broken => "broken-answer",
        }
    }
}

/// Reads the answers of one socket.
#[derive(Debug)]
pub(super) struct Reader {
    transactions: Transactions,
    socket: u32,
    /// What the server has to say; None until it has said something.
    mapped: Option<SocketAddr>,
}

impl Reader {
    /// `own` is the socket's address, where nothing on the way can have changed it. Without it, behind a NAT
    /// perhaps, the first answer tells, and all the others have to agree.
    pub(super) const fn new(transactions: Transactions, socket: u32, own: Option<SocketAddr>) -> Self {
        Self { transactions, socket, mapped: own }
    }

    pub(super) fn read(&mut self, datagram: &[u8]) -> Answer {
        let id = datagram.get(ID_AT..HEADER_BYTES).and_then(|id| id.try_into().ok());
        let Some((socket, number)) = id.and_then(|id| self.transactions.read(id)) else {
            return Answer::Foreign;
        };
        if socket != self.socket {
            return Answer::Misrouted;
        }
        let verdict = match BindingResponse::parse(datagram) {
            Ok(response)
                if response.mapped_address == *self.mapped.get_or_insert(response.mapped_address) =>
            {
                Verdict::Right
            }
            Ok(_) => Verdict::WrongAddress,
            Err(ResponseError::Refused { .. }) => Verdict::Refused,
            Err(_) => Verdict::Broken,
        };
        Answer::Ours { number, verdict }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ferry_stun::client::write_tailscale_request;
    use ferry_stun::{
        Arrival, AttributeType, Budgets, Limits, MessageType, MessageWriter, Options, Responder,
    };

    use super::*;

    const OWN: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 1, 1)), 4000);

    fn transactions() -> Transactions {
        Transactions::new(3)
    }

    fn reader() -> Reader {
        Reader::new(transactions(), 1, Some(OWN))
    }

    /// What a server answers to a socket's request.
    fn answer(socket: u32, number: u32) -> Vec<u8> {
        let (mut request, mut answer) = (Vec::new(), Vec::new());
        write_tailscale_request(transactions().id(socket, number), &mut request);
        let mut budgets = Budgets::new(Limits::NONE, 0, Instant::now());
        Responder::new(Options::default()).answer(&request, &Arrival::from(OWN), &mut budgets, &mut answer);
        answer
    }

    #[test]
    fn an_answer_with_our_address_is_right() {
        assert_eq!(reader().read(&answer(1, 9)), Answer::Ours { number: 9, verdict: Verdict::Right });
    }

    #[test]
    fn an_answer_with_another_address_is_wrong() {
        let mut changed = answer(1, 9);
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(reader().read(&changed), Answer::Ours { number: 9, verdict: Verdict::WrongAddress });
    }

    #[test]
    fn behind_a_nat_answers_have_to_agree() {
        let mut reader = Reader::new(transactions(), 1, None);
        assert_eq!(reader.read(&answer(1, 1)), Answer::Ours { number: 1, verdict: Verdict::Right });
        let mut changed = answer(1, 2);
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(reader.read(&changed), Answer::Ours { number: 2, verdict: Verdict::WrongAddress });
    }

    #[test]
    fn an_answer_that_lost_its_cookie_or_its_end_is_broken() {
        let mut no_cookie = answer(1, 9);
        no_cookie[4] ^= 1;
        let broken = Answer::Ours { number: 9, verdict: Verdict::Broken };
        assert_eq!(reader().read(&no_cookie), broken);
        assert_eq!(reader().read(&answer(1, 9)[..HEADER_BYTES]), broken);
    }

    #[test]
    fn an_error_response_is_a_refusal() {
        let mut refusal = Vec::new();
        MessageWriter::new(&mut refusal, MessageType::BINDING_ERROR, transactions().id(1, 9))
            .attribute(AttributeType::ERROR_CODE, &[0, 0, 4, 20])
            .finish();
        assert_eq!(reader().read(&refusal), Answer::Ours { number: 9, verdict: Verdict::Refused });
    }

    #[test]
    fn another_sockets_answer_is_misrouted_and_nobodys_is_foreign() {
        assert_eq!(reader().read(&answer(2, 9)), Answer::Misrouted);
        let mut foreign = answer(1, 9);
        foreign[ID_AT] ^= 1;
        assert_eq!(reader().read(&foreign), Answer::Foreign);
        assert_eq!(reader().read(b"short"), Answer::Foreign);
    }
}
