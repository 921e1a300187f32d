//! What is sent.

use ferry_stun::TransactionId;
use ferry_stun::client::{write_bare_request, write_tailscale_request};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::StunMix;

/// Bytes of junk: as many as a Tailscale client's request has.
const JUNK_BYTES: usize = 40;
/// What every transaction ID of a load starts with, before the run's mask.
const TAG: [u8; 4] = *b"load";

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tailscale,
    Bare,
    Junk,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Tailscale, Self::Bare, Self::Junk];

    /// The name of its class.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tailscale => "tailscale",
            Self::Bare => "bare",
            Self::Junk => super::JUNK,
        }
    }

    /// Its share of a mix, in proportion.
    pub(super) const fn share(self, mix: &StunMix) -> f64 {
        match self {
            Self::Tailscale => mix.tailscale,
            Self::Bare => mix.bare,
            Self::Junk => mix.junk,
        }
    }

    /// Whether a server answers it.
    pub(super) const fn is_answered(self) -> bool {
        !matches!(self, Self::Junk)
    }
}

/// Draws kinds of request in a mix's proportions.
#[derive(Debug)]
pub(super) struct Draw {
    shares: [f64; 3],
    sum: f64,
    random: SmallRng,
}

impl Draw {
    /// Of a mix that has been checked.
    pub(super) fn new(mix: &StunMix, seed: u64) -> Self {
        let shares = Kind::ALL.map(|kind| kind.share(mix));
        Self { shares, sum: shares.iter().sum(), random: SmallRng::seed_from_u64(seed) }
    }

    pub(super) fn draw(&mut self) -> Kind {
        let mut left = self.random.random::<f64>() * self.sum;
        for (kind, share) in Kind::ALL.into_iter().zip(self.shares) {
            if left < share {
                return kind;
            }
            left -= share;
        }
        // Rounding can leave a hair's breadth after the last share; the first kind that has one may have it.
        Kind::ALL
            .into_iter()
            .zip(self.shares)
            .find(|(_, share)| *share > 0.0)
            .map_or(Kind::Tailscale, |(kind, _)| kind)
    }
}

/// The transaction IDs of a run: which socket, and which of its requests, under a mask of the run's own. So an answer
/// is found at once, and another run's is not taken for this one's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transactions {
    mask: [u8; 12],
}

impl Transactions {
    pub(super) fn new(seed: u64) -> Self {
        Self { mask: SmallRng::seed_from_u64(seed).random() }
    }

    /// That of a socket's request.
    pub(super) fn id(&self, socket: u32, number: u32) -> TransactionId {
        let mut id = [0; 12];
        id[..4].copy_from_slice(&TAG);
        id[4..8].copy_from_slice(&socket.to_be_bytes());
        id[8..].copy_from_slice(&number.to_be_bytes());
        TransactionId::new(self.masked(id))
    }

    /// Socket and number; None if it is no ID of this run.
    pub(super) fn read(&self, id: [u8; 12]) -> Option<(u32, u32)> {
        let id = self.masked(id);
        let (tag, numbers) = id.split_at(4);
        let (socket, number) = numbers.split_at(4);
        let read = |bytes: &[u8]| bytes.try_into().map(u32::from_be_bytes).ok();
        if tag != TAG { None } else { read(socket).zip(read(number)) }
    }

    fn masked(&self, mut id: [u8; 12]) -> [u8; 12] {
        for (byte, mask) in id.iter_mut().zip(self.mask) {
            *byte ^= mask;
        }
        id
    }
}

/// Writes requests, each over the one before.
#[derive(Debug)]
pub(super) struct Writer {
    transactions: Transactions,
    junk: [u8; JUNK_BYTES],
    buffer: Vec<u8>,
}

impl Writer {
    pub(super) fn new(transactions: Transactions, seed: u64) -> Self {
        let mut junk: [u8; JUNK_BYTES] = SmallRng::seed_from_u64(seed).random();
        // STUN starts with two zero bits, TURN's channels with 01, DTLS with 20 to 63: this is none of them.
        junk[0] |= 0b1100_0000;
        Self { transactions, junk, buffer: Vec::new() }
    }

    pub(super) fn write(&mut self, kind: Kind, socket: u32, number: u32) -> &[u8] {
        let id = || self.transactions.id(socket, number);
        match kind {
            Kind::Tailscale => write_tailscale_request(id(), &mut self.buffer),
            Kind::Bare => write_bare_request(id(), &mut self.buffer),
            Kind::Junk => &self.junk,
        }
    }
}

#[cfg(test)]
mod tests {
    use ferry_stun::Message;

    use super::*;

    fn writer() -> Writer {
        Writer::new(Transactions::new(1), 2)
    }

    #[test]
    fn a_transaction_id_names_its_request_in_its_own_run_only() {
        let transactions = Transactions::new(1);
        let id = *transactions.id(7, u32::MAX).as_bytes();
        assert_eq!(transactions.read(id), Some((7, u32::MAX)));
        assert_eq!(Transactions::new(2).read(id), None);
    }

    #[test]
    fn requests_are_what_clients_send() {
        let tailscale = writer().write(Kind::Tailscale, 1, 2).to_vec();
        assert_eq!(tailscale.len(), 40);
        let message = Message::parse_front(&tailscale).unwrap();
        assert_eq!(message.transaction_id(), Transactions::new(1).id(1, 2));
        assert_eq!(writer().write(Kind::Bare, 1, 2).len(), 20);
    }

    #[test]
    fn junk_is_no_stun_whatever_the_seed() {
        for seed in 0..100 {
            let mut writer = Writer::new(Transactions::new(seed), seed);
            assert!(Message::parse_front(writer.write(Kind::Junk, 0, 0)).is_err());
        }
    }

    #[test]
    fn a_mix_is_drawn_in_proportion_and_the_same_with_the_same_seed() {
        let mix = StunMix { tailscale: 3.0, bare: 1.0, junk: 0.0 };
        let drawn = |seed| {
            let mut draw = Draw::new(&mix, seed);
            (0..10_000).map(|_| draw.draw()).collect::<Vec<_>>()
        };
        let bare = drawn(5).iter().filter(|kind| **kind == Kind::Bare).count();
        assert!((2_300..2_700).contains(&bare), "{bare}");
        assert!(!drawn(5).contains(&Kind::Junk));
        assert_eq!(drawn(5), drawn(5));
        assert_ne!(drawn(5), drawn(6));
    }
}
