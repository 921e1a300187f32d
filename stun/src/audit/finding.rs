//! What the answers to one request say about the server.

use std::fmt;
use std::net::SocketAddr;

use super::exchange::{Answer, Exchange, Said, Socket, Volume};
use super::request::{Request, Rule, UNKNOWN};

/// A server that keeps on giving answers of more than this many times their request, counted in payload as CERTs
/// do, is of use to those who forge sources: below it they lose little by sending to their victim themselves.
pub const FACTOR_MAX: u64 = 3;

/// One row of the report.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was asked.
    pub request: &'static Request,
    /// What was answered first; `None` is silence.
    pub said: Option<Said>,
    /// The answer came from another IP address than was asked.
    pub other_ip: bool,
    /// The answer came from another port than was asked.
    pub other_port: bool,
    /// The answer went to another socket than the one that asked.
    pub redirected: bool,
    /// Payload bytes of the datagram that was answered with most.
    pub payload: Volume,
    /// The same with IP and UDP headers, on a path with an MTU of 1,500.
    pub wire: Volume,
    /// What there is to say about it, the gravest first.
    pub remarks: Vec<Remark>,
}

impl Finding {
    /// Judges the tries of one request.
    #[must_use]
    pub fn judge(request: &'static Request, server: SocketAddr, tries: &[Exchange]) -> Self {
        let worst = tries.iter().max_by_key(|exchange| exchange.payload().received);
        let answered = tries.iter().find(|exchange| exchange.is_answered());
        let answers = answered.map(Exchange::answers).unwrap_or_default();
        let first = answers.first();
        let payload = worst.map(Exchange::payload).unwrap_or_default();
        let mut finding = Self {
            request,
            said: first.map(|answer| answer.said.clone()),
            other_ip: first
                .is_some_and(|answer| answer.from.ip().to_canonical() != server.ip().to_canonical()),
            other_port: first.is_some_and(|answer| answer.from.port() != server.port()),
            redirected: answers.iter().any(|answer| answer.at == Socket::Witness),
            payload,
            wire: worst.map(|exchange| exchange.wire(server)).unwrap_or_default(),
            remarks: Vec::new(),
        };
        let mut remarks = Vec::new();
        if payload.exceeds(FACTOR_MAX) {
            remarks.push(Remark::Amplifies);
        }
        if let Some(first) = first {
            remarks.extend(finding.judge_answer(first));
        }
        if answers.len() > 1 {
            remarks.push(Remark::SeveralAnswers);
        }
        remarks.sort_by_key(|remark| std::cmp::Reverse(remark.severity()));
        finding.remarks = remarks;
        finding
    }

    /// Takes back what was held against a large answer: the server gives few of them.
    pub(super) fn acquit_of_amplification(&mut self) {
        for remark in &mut self.remarks {
            if *remark == Remark::Amplifies {
                *remark = Remark::LargeAnswer;
            }
        }
        self.remarks.sort_by_key(|remark| std::cmp::Reverse(remark.severity()));
    }

    fn judge_answer(&self, answer: &Answer) -> Option<Remark> {
        let is_response = self.request.rule == Rule::Answer;
        if answer.said == Said::Other {
            return Some(if is_response { Remark::AnswersAnswer } else { Remark::NotAnAnswer });
        }
        let success = matches!(answer.said, Said::Success { .. });
        match self.request.rule {
            Rule::Answer => Some(Remark::AnswersAnswer),
            Rule::Indication => Some(Remark::AnswersIndication),
            Rule::Malformed => Some(Remark::AnswersMalformed),
            Rule::Fingerprint => Some(Remark::AnswersWrongFingerprint),
            Rule::Binding if !success => Some(Remark::RefusesSound),
            Rule::Binding if self.other_ip || self.other_port => Some(Remark::OtherOrigin),
            Rule::UnknownMandatory if success => Some(Remark::IgnoresMandatory),
            Rule::UnknownMandatory => {
                let Said::Error { code: Some(420), unknown } = &answer.said else {
                    return Some(Remark::NoList);
                };
                (!unknown.contains(&UNKNOWN)).then_some(Remark::NoList)
            }
            Rule::OtherMethod if success => Some(Remark::NotAnAnswer),
            Rule::Change { ip, port } if success => match (self.other_ip, self.other_port) {
                origin if origin == (ip, port) => None,
                (false, false) => Some(Remark::IgnoresMandatory),
                _ => Some(Remark::OtherOrigin),
            },
            // Refused: nothing says more clearly that there is no other address, and not to take silence
            // for a filter.
            Rule::ResponsePort if self.redirected => Some(Remark::Redirects),
            Rule::ResponsePort if success => Some(Remark::IgnoresMandatory),
            Rule::ResponseAddress if self.redirected => Some(Remark::RedirectsAnywhere),
            Rule::PaddingAndResponsePort if self.redirected => Some(Remark::Redirects),
            Rule::PaddingAndResponsePort if success => Some(Remark::IgnoresMandatory),
            Rule::Binding
            | Rule::OtherMethod
            | Rule::Rfc3489
            | Rule::Change { .. }
            | Rule::ResponsePort
            | Rule::ResponseAddress
            | Rule::Padding
            | Rule::PaddingAndResponsePort => None,
        }
    }
}

/// How much a remark matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Allowed, and good to know.
    Note,
    /// Against the RFCs; clients may be misled.
    Wrong,
    /// Strangers can turn it against others.
    Abusable,
}

impl Severity {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Wrong => "wrong",
            Self::Abusable => "abusable",
        }
    }
}

/// Something to say about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remark {
    /// More than [`FACTOR_MAX`] times as much comes back.
    Amplifies,
    /// More than [`FACTOR_MAX`] times as much comes back, but not often.
    LargeAnswer,
    /// A response is answered.
    AnswersAnswer,
    /// The answer goes to any address that the request names.
    RedirectsAnywhere,
    /// An indication is answered.
    AnswersIndication,
    /// What is no STUN message is answered.
    AnswersMalformed,
    /// A message that was damaged on its way is answered.
    AnswersWrongFingerprint,
    /// An attribute that must be understood was not and is ignored.
    IgnoresMandatory,
    /// A refusal without a list of the attributes that it is about.
    NoList,
    /// The answer left from an address that was not asked for.
    OtherOrigin,
    /// A sound request is refused.
    RefusesSound,
    /// A datagram came back that is no answer.
    NotAnAnswer,
    /// The answer goes to the port that the request names.
    Redirects,
    /// More than one datagram came back.
    SeveralAnswers,
}

impl Remark {
    /// How much it matters.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::Amplifies | Self::AnswersAnswer | Self::RedirectsAnywhere => Severity::Abusable,
            Self::AnswersIndication
            | Self::AnswersMalformed
            | Self::AnswersWrongFingerprint
            | Self::IgnoresMandatory
            | Self::OtherOrigin
            | Self::RefusesSound
            | Self::NotAnAnswer => Severity::Wrong,
            Self::LargeAnswer | Self::NoList | Self::Redirects | Self::SeveralAnswers => Severity::Note,
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amplifies => "amplifies: of use to those who forge source addresses",
            Self::LargeAnswer => "more than 3 times the request, but limited",
            Self::AnswersAnswer => "answers an answer: two such servers can be made to talk for ever",
            Self::RedirectsAnywhere => "sends its answer to any address that a stranger names",
            Self::AnswersIndication => "answers an indication, which wants none",
            Self::AnswersMalformed => "answers what is no STUN message",
            Self::AnswersWrongFingerprint => "does not check FINGERPRINT",
            Self::IgnoresMandatory => "ignores an attribute that it must understand or refuse with 420",
            Self::NoList => "refuses without naming the attribute (UNKNOWN-ATTRIBUTES)",
            Self::OtherOrigin => "answers from an address that was not asked for",
            Self::RefusesSound => "refuses a request that nothing is wrong with",
            Self::NotAnAnswer => "sends something that is no answer",
            Self::Redirects => "sends its answer to another port that the request names (RFC 5780)",
            Self::SeveralAnswers => "sends several datagrams for one",
        })
    }
}
