//! When a question is asked again, and when it is given up.

use std::time::Duration;

/// Sends of one question at most.
pub const SENDS_MAX: usize = 8;

/// The longest gap and the longest patience: a schedule ends within a day, and no sum overflows.
const GAP_MAX: Duration = Duration::from_secs(3600);

/// When each send of a question is due, counted from the first, and when no answer is expected any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Ascending; the first is zero. Only the first `sends` count.
    delays: [Duration; SENDS_MAX],
    sends: usize,
    end: Duration,
}

impl Schedule {
    /// RFC 8489 section 6.2.1 over UDP: RTO 500 ms and doubling, 7 sends (Rc), and 16 times the RTO (Rm) of
    /// patience after the last: 39.5 s.
    pub const UDP: Self = Self::of([0, 500, 1500, 3500, 7500, 15_500, 31_500, 0], 7, 39_500);

    /// RFC 8489 section 6.2.2 over TCP or TLS: sent once, given up after 39.5 s (Ti).
    pub const TCP: Self = Self::of([0; SENDS_MAX], 1, 39_500);

    /// A Tailscale client's first report: three tries 100 ms apart, within its 3 s.
    pub const NETCHECK: Self = Self::of([0, 100, 200, 0, 0, 0, 0, 0], 3, 3000);

    /// Three tries that a short outage does not swallow together: what it takes to call a path closed.
    pub const DISCOVERY: Self = Self::of([0, 300, 900, 0, 0, 0, 0, 0], 3, 1500);

    /// The first send, one more after each gap (at most [`SENDS_MAX`] in all), then `patience`. A gap counts
    /// as an hour at most.
    #[must_use]
    pub fn with_gaps(gaps: &[Duration], patience: Duration) -> Self {
        let mut schedule = Self { delays: [Duration::ZERO; SENDS_MAX], sends: 1, end: Duration::ZERO };
        let mut due = Duration::ZERO;
        for (delay, gap) in schedule.delays.iter_mut().skip(1).zip(gaps) {
            due += (*gap).min(GAP_MAX);
            *delay = due;
            schedule.sends += 1;
        }
        schedule.end = due + patience.min(GAP_MAX);
        schedule
    }

    /// RFC 8489 section 6.2.1 with other numbers: `rc` sends (1 to [`SENDS_MAX`]), the gap doubling from
    /// `rto`, and `rm` times `rto` of patience after the last.
    #[must_use]
    pub fn exponential(rto: Duration, rc: usize, rm: u32) -> Self {
        let gaps: [Duration; SENDS_MAX] = std::array::from_fn(|k| rto.saturating_mul(1 << k));
        let gaps = gaps.get(..rc.saturating_sub(1)).unwrap_or(&gaps);
        Self::with_gaps(gaps, rto.saturating_mul(rm))
    }

    const fn of(millis: [u64; SENDS_MAX], sends: usize, end_millis: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = millis;
        Self {
            delays: [
                Duration::from_millis(a),
                Duration::from_millis(b),
                Duration::from_millis(c),
                Duration::from_millis(d),
                Duration::from_millis(e),
                Duration::from_millis(f),
                Duration::from_millis(g),
                Duration::from_millis(h),
            ],
            sends,
            end: Duration::from_millis(end_millis),
        }
    }

    /// How often is asked.
    #[must_use]
    pub const fn sends(&self) -> usize {
        self.sends
    }

    /// When send number `sent` (from 0) is due; `None` after the last.
    #[must_use]
    pub fn delay(&self, sent: usize) -> Option<Duration> {
        self.delays.get(sent).filter(|_| sent < self.sends).copied()
    }

    /// When the question is given up.
    #[must_use]
    pub const fn end(&self) -> Duration {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_numbers_give_the_rfcs_times() {
        assert_eq!(Schedule::exponential(Duration::from_millis(500), 7, 16), Schedule::UDP);
        assert_eq!(Schedule::UDP.delay(6), Some(Duration::from_millis(31_500)));
        assert_eq!(Schedule::UDP.delay(7), None);
        assert_eq!(Schedule::TCP.delay(1), None);
        assert_eq!(Schedule::TCP.end(), Schedule::UDP.end());
    }

    #[test]
    fn sends_are_bounded_whatever_is_asked_for() {
        let long = Schedule::with_gaps(&[Duration::MAX; 100], Duration::MAX);
        assert_eq!((long.sends(), long.end()), (SENDS_MAX, 8 * GAP_MAX));
        assert_eq!(Schedule::exponential(Duration::from_secs(1), 0, 1).sends(), 1);
        assert_eq!(Schedule::exponential(Duration::from_secs(1), 99, 1).sends(), SENDS_MAX);
    }
}
