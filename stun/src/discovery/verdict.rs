//! What a NAT can be found to do, in the words of RFC 4787, and why it can stay unknown.

use std::fmt;

/// What a test found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding<T> {
    /// Shown by answers, or by a silence whose controls were answered.
    Known(T),
    /// Not shown; a guess would do more harm than no verdict.
    Unknown(Reason),
}

impl<T> Finding<T> {
    /// The verdict, if there is one.
    pub fn known(self) -> Option<T> {
        match self {
            Self::Known(verdict) => Some(verdict),
            Self::Unknown(_) => None,
        }
    }

    /// Why there is none.
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(reason) => Some(*reason),
        }
    }
}

/// Why a test has no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nobody answered anything.
    NoAnswer,
    /// A socket that the test needs could not be opened.
    SocketFailed,
    /// The server does not do RFC 5780.
    NotOffered,
    /// The server has one address, and the test needs two.
    OneAddress,
    /// The server's other address does not answer.
    OtherAddressSilent,
    /// The mapping differs per address, and no second port was there to tell whether per port too.
    OnePort,
    /// The server refuses to answer from elsewhere.
    Refused,
    /// The server answers from where it was asked, whatever the request says.
    Ignored,
    /// Silence, but no answer from elsewhere could be let through to prove that the server sends any.
    NoControl,
    /// Silence, but the controls were not answered either.
    ControlSilent,
    /// The run's share of redirected answers was used up by lost packets.
    RedirectsSpent,
    /// Answers contradict each other: the network changed under the test.
    Contradiction,
    /// Too few sockets got an answer.
    TooFewSamples,
    /// Silence, but with a mapping per destination it may have been the filter that was silent.
    MappingVaries,
    /// There is no NAT to do it.
    NoNat,
    /// Answers took too long to tell silence from delay.
    OutOfTime,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoAnswer => "no server answered",
            Self::SocketFailed => "a socket could not be opened",
            Self::NotOffered => "the server does not do RFC 5780",
            Self::OneAddress => "the server has only one address; ask one with two, or name a second server",
            Self::OtherAddressSilent => "the server's other address does not answer",
            Self::OnePort => "differs per address; no second port to tell whether per port too",
            Self::Refused => "the server refuses to answer from elsewhere",
            Self::Ignored => "the server ignores requests to answer from elsewhere",
            Self::NoControl => {
                "silence, and no way to check that the server sends at all; try another server"
            }
            Self::ControlSilent => "silence, but the control was silent too; try again",
            Self::RedirectsSpent => "too many packets were lost; try again",
            Self::Contradiction => "answers contradict each other; try again",
            Self::TooFewSamples => "too few answers; try again",
            Self::MappingVaries => "cannot be asked: the mapping differs per destination",
            Self::NoNat => "there is no NAT",
            Self::OutOfTime => "answers took too long",
        })
    }
}

/// How a NAT maps one internal address and port towards different destinations (RFC 4787 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// One external address and port for all destinations.
    EndpointIndependent,
    /// One for each destination address.
    AddressDependent,
    /// One for each destination address and port.
    AddressAndPortDependent,
}

impl Mapping {
    /// The name in RFC 4787, lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address-and-port-dependent",
        }
    }
}

/// Whom a NAT or firewall lets in through an open mapping (RFC 4787 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtering {
    /// Anyone.
    EndpointIndependent,
    /// Any port of an address that was sent to.
    AddressDependent,
    /// Only an address and port that was sent to.
    AddressAndPortDependent,
}

impl Filtering {
    /// The name in RFC 4787, lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address-and-port-dependent",
        }
    }
}

/// What becomes of a datagram from inside to an external address of the NAT itself (RFC 4787 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hairpin {
    /// It is lost.
    No,
    /// It arrives, from the sender's external address: what peers behind the same NAT need.
    ExternalSource,
    /// It arrives, from the sender's internal address; RFC 4787 REQ-9 asks for the external one.
    InternalSource,
}

/// How a NAT picks external ports (RFC 4787 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortAllocation {
    /// The internal port, where it is free.
    Preserved,
    /// Another, but odd for odd and even for even.
    Parity,
    /// The one after the last, or a few further.
    Sequential {
        /// The usual distance between neighbours.
        step: u16,
    },
    /// Any.
    Random,
}

impl PortAllocation {
    /// One word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preserved => "preserved",
            Self::Parity => "parity",
            Self::Sequential { .. } => "sequential",
            Self::Random => "random",
        }
    }

    /// The distance between neighbours of a sequence.
    #[must_use]
    pub const fn step(self) -> Option<u16> {
        match self {
            Self::Sequential { step } => Some(step),
            Self::Preserved | Self::Parity | Self::Random => None,
        }
    }
}

/// How a NAT with several external addresses picks one (RFC 4787 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The same for everything from one internal address.
    Paired,
    /// Any.
    Arbitrary,
}

impl Pooling {
    /// One word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Paired => "paired",
            Self::Arbitrary => "arbitrary",
        }
    }
}
