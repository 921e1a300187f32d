//! Whom the NAT lets in (RFC 5780 section 4.4): the server is asked to answer from elsewhere, to a socket
//! that never sent there.
//!
//! An answer is proof. Silence is proof only if it is the filter's, not the network's and not the server's
//! (whose budget for such answers may be spent by somebody else in the same network, or whose partner may
//! be down). So a silence counts when the plain path of the socket was open before and after it, and when
//! the server redirected answers for us before the last of the sends, and after it from the very place that
//! is silent, to a socket that the filter lets it through to.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::ledger::{Ledger, Purpose, Redirect};
use super::silence::{Control, ControlOutcome, ControlStep, Silence};
use super::verdict::{Filtering, Finding, Reason};
use super::{Progress, SocketId};
use crate::client::Change;
use crate::message::TransactionId;

/// What the test has to know about the rest of the run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene {
    pub(super) server: SocketAddr,
    /// Whether the server has another address.
    pub(super) has_other_ip: bool,
    /// How to have an answer from the other port let through.
    pub(super) port_route: Route,
    /// How to have an answer from the other address and port let through.
    pub(super) both_route: Route,
    /// Whether a plain answer reached the filtering socket before; `None` while it is awaited.
    pub(super) reached_before: Option<bool>,
    /// And after the last send.
    pub(super) reached_after: Option<bool>,
    /// Sends that a silence takes.
    pub(super) needed: usize,
    pub(super) patience: Duration,
}

/// How a control gets through the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Not known yet.
    Pending,
    /// No way to know.
    Impossible,
    /// The mapping socket asks for this.
    Open(Redirect),
}

/// How a series of requests for an answer from elsewhere ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SeriesEnd {
    /// It came from elsewhere.
    Answered,
    /// The server said that it cannot.
    Refused,
    /// It came from where the request went.
    Ignored,
}

#[derive(Clone, Copy, Debug, Default)]
struct Series {
    silence: Silence,
    end: Option<SeriesEnd>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct FilteringTest {
    /// Test III: from the other port.
    port: Series,
    /// Test II: from the other address and port.
    both: Series,
    /// Which silence the controls are for.
    listening_for: Option<Change>,
    before: Control,
    after: Control,
    pub(super) conclusion: Option<Finding<Filtering>>,
}

impl FilteringTest {
    /// Sends what is due.
    pub(super) fn step<I>(&mut self, now: Instant, scene: &Scene, ledger: &mut Ledger<I>) -> Progress
    where
        I: FnMut() -> TransactionId,
    {
        if self.conclusion.is_some() {
            return Progress::Settled;
        }
        match self.unanswered(scene.has_other_ip) {
            Ok(change) => self.listen(change, now, scene, ledger),
            Err(finding) => self.conclude(finding),
        }
    }

    /// When the last send into the silence was, once no more are due: plain answers have to come after it.
    pub(super) fn silent_since(&self, needed: usize) -> Option<Instant> {
        let series = self.series(self.listening_for?);
        if series.silence.missing(needed) > 0 { None } else { series.silence.last }
    }

    /// Takes the answer to a request for an answer from elsewhere. A late one overturns a silence.
    pub(super) fn note_series(&mut self, change: Change, end: SeriesEnd) {
        self.series_mut(change).end.get_or_insert(end);
        self.conclusion = None;
    }

    /// Takes the answer to a control.
    pub(super) fn note_control(&mut self, change: Change, after: bool, outcome: ControlOutcome) {
        if self.listening_for != Some(change) {
            return;
        }
        let control = if after { &mut self.after } else { &mut self.before };
        control.outcome.get_or_insert(outcome);
    }

    /// Which answer is still awaited, or what the answers so far say. Who lets anyone in lets both answers
    /// in, so the port comes first: a silent port decides alone, which saves the server the other test.
    fn unanswered(&self, has_other_ip: bool) -> Result<Change, Finding<Filtering>> {
        if self.both.end == Some(SeriesEnd::Answered) {
            return Err(Finding::Known(Filtering::EndpointIndependent));
        }
        match (self.port.end, self.both.end) {
            (None, _) => Ok(Change::PORT),
            (Some(SeriesEnd::Refused), _) => Err(Finding::Unknown(Reason::Refused)),
            (Some(SeriesEnd::Ignored), _) => Err(Finding::Unknown(Reason::Ignored)),
            (Some(SeriesEnd::Answered), _) if !has_other_ip => Err(Finding::Unknown(Reason::OneAddress)),
            (Some(SeriesEnd::Answered), None) => Ok(Change::BOTH),
            (Some(SeriesEnd::Answered), Some(SeriesEnd::Refused)) => Err(Finding::Unknown(Reason::Refused)),
            (Some(SeriesEnd::Answered), Some(_)) => Err(Finding::Unknown(Reason::Ignored)),
        }
    }

    /// Asks into the silence, with controls around its end.
    fn listen<I>(&mut self, change: Change, now: Instant, scene: &Scene, ledger: &mut Ledger<I>) -> Progress
    where
        I: FnMut() -> TransactionId,
    {
        if self.listening_for != Some(change) {
            self.listening_for = Some(change);
            (self.before, self.after) = (Control::default(), Control::default());
            // The answer from the other port has just shown that the server redirects for us.
            self.before.outcome = change.ip.then_some(ControlOutcome::Answered);
        }
        let silence = self.series(change).silence;
        let missing = silence.missing(scene.needed);
        let heard_before = self.before.outcome == Some(ControlOutcome::Answered);

        let mut progress = Progress::Blocked;
        // The last send waits for the first control: then there is one on either side of it.
        if missing > 1 || missing == 1 && heard_before {
            match silence.next_due(now, scene.needed) {
                due if due <= now => return self.send(change, now, scene, ledger),
                due => progress = Progress::Wait(due),
            }
        }
        if !heard_before {
            let overdue = silence.first.unwrap_or(now) + scene.patience;
            if overdue > now {
                return progress.or(Progress::Wait(overdue));
            }
            return progress.or(self.control(change, false, now, scene, ledger));
        }
        if missing > 0 {
            return progress;
        }
        if self.after.outcome != Some(ControlOutcome::Answered) {
            return self.control(change, true, now, scene, ledger);
        }
        let overdue = silence.last.unwrap_or(now) + scene.patience;
        match (scene.reached_before, scene.reached_after) {
            (Some(false), _) | (_, Some(false)) => self.conclude(Finding::Unknown(Reason::ControlSilent)),
            (Some(true), Some(true)) if overdue <= now => self.conclude(Finding::Known(if change.ip {
                Filtering::AddressDependent
            } else {
                Filtering::AddressAndPortDependent
            })),
            _ if overdue > now => Progress::Wait(overdue),
            _ => Progress::Blocked,
        }
    }

    fn control<I>(
        &mut self,
        change: Change,
        after: bool,
        now: Instant,
        scene: &Scene,
        ledger: &mut Ledger<I>,
    ) -> Progress
    where
        I: FnMut() -> TransactionId,
    {
        let redirect = match if change.ip { scene.both_route } else { scene.port_route } {
            Route::Pending => return Progress::Blocked,
            Route::Impossible => return self.conclude(Finding::Unknown(Reason::NoControl)),
            Route::Open(redirect) => redirect,
        };
        let control = if after { &mut self.after } else { &mut self.before };
        match control.step(now, scene.patience) {
            _ if control.outcome == Some(ControlOutcome::Refused) => {
                self.conclude(Finding::Unknown(Reason::NoControl))
            }
            ControlStep::Ended => self.conclude(Finding::Unknown(Reason::ControlSilent)),
            ControlStep::Wait(until) => Progress::Wait(until),
            ControlStep::Send => {
                control.note_send(now);
                let purpose = Purpose::Control { change, after };
                if ledger.redirect(now, SocketId::MAPPING, scene.server, redirect, purpose) {
                    return Progress::Sent;
                }
                self.conclude(Finding::Unknown(Reason::RedirectsSpent))
            }
        }
    }

    fn send<I>(&mut self, change: Change, now: Instant, scene: &Scene, ledger: &mut Ledger<I>) -> Progress
    where
        I: FnMut() -> TransactionId,
    {
        self.series_mut(change).silence.note_send(now);
        // What was heard before this send is not after the last one.
        self.after = Control::default();
        let redirect = Redirect {
            change,
            response_port: None,
            expected_on: SocketId::FILTERING,
            expected_from: scene.server,
        };
        let purpose = Purpose::Change(change);
        if ledger.redirect(now, SocketId::FILTERING, scene.server, redirect, purpose) {
            return Progress::Sent;
        }
        self.conclude(Finding::Unknown(Reason::RedirectsSpent))
    }

    fn conclude(&mut self, finding: Finding<Filtering>) -> Progress {
        self.conclusion = Some(finding);
        Progress::Settled
    }

    const fn series(&self, change: Change) -> &Series {
        if change.ip { &self.both } else { &self.port }
    }

    const fn series_mut(&mut self, change: Change) -> &mut Series {
        if change.ip { &mut self.both } else { &mut self.port }
    }
}
