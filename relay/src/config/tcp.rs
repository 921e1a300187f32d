//! Times of the relay's TCP connections.

use std::time::Duration;

use crate::cli::{Cli, GoDuration};

/// Socket options and the write deadline; `None` is always "none", never "not said".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpOptions {
    /// Silence after which keep-alive probes start, in whole seconds; `None` sends none.
    pub keepalive_time: Option<Duration>,
    /// How long sent bytes may stay unacknowledged, in whole milliseconds; `None` leaves it to the kernel.
    pub user_timeout: Option<Duration>,
    /// How long one batch of frames may take to be written; `None` waits for ever.
    pub write_timeout: Option<Duration>,
}

impl TcpOptions {
    /// Reads the three durations with Go's meanings of zero and less.
    pub(super) fn check(cli: &Cli) -> Result<Self, TcpError> {
        let keepalive_time = match cli.tcp_keepalive_time.to_duration() {
            // Go's net package: a negative time turns keep-alive off, zero is its own default.
            None => None,
            Some(Duration::ZERO) => Some(Duration::from_secs(15)),
            // The kernel counts seconds; less than one would be none.
            Some(time) => Some(Duration::from_secs(time.as_nanos().div_ceil(1_000_000_000) as u64)),
        };
        if keepalive_time.is_some_and(|time| time > KEEPALIVE_MAX) {
            return Err(TcpError::TooLong {
                flag: "-tcp-keepalive-time",
                given: cli.tcp_keepalive_time,
                max: KEEPALIVE_MAX,
            });
        }
        let user_timeout = non_negative("-tcp-user-timeout", cli.tcp_user_timeout)?;
        if user_timeout.is_some_and(|time| time > USER_TIMEOUT_MAX) {
            return Err(TcpError::TooLong {
                flag: "-tcp-user-timeout",
                given: cli.tcp_user_timeout,
                max: USER_TIMEOUT_MAX,
            });
        }
        Ok(Self {
            keepalive_time,
            // Zero milliseconds would mean the kernel's default.
            user_timeout: user_timeout
                .map(|time| Duration::from_millis(time.as_nanos().div_ceil(1_000_000) as u64)),
            write_timeout: non_negative("-tcp-write-timeout", cli.tcp_write_timeout)?,
        })
    }
}

/// A duration that no socket takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TcpError {
    /// Less than nothing.
    #[error("{flag} {given} is negative; give 0 for none, or a time like 15s")]
    Negative {
        /// The flag with its dash.
        flag: &'static str,
        /// The time given.
        given: GoDuration,
    },
    /// More than the kernel's field holds.
    #[error("{flag} {given} is longer than the kernel's {max:?}; give a time like 15s or 10m")]
    TooLong {
        /// The flag with its dash.
        flag: &'static str,
        /// The time given.
        given: GoDuration,
        /// The longest there is.
        max: Duration,
    },
}

/// Linux' `MAX_TCP_KEEPIDLE`.
const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);

/// The kernel keeps TCP_USER_TIMEOUT as a signed number of milliseconds.
const USER_TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// The time, or `None` for zero.
fn non_negative(flag: &'static str, given: GoDuration) -> Result<Option<Duration>, TcpError> {
    let time = given.to_duration().ok_or(TcpError::Negative { flag, given })?;
    Ok(Some(time).filter(|time| !time.is_zero()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_less_mean_what_they_mean_to_go() {
        for (flag, keepalive, user, write) in [
            ("-derp", Some(600_000), Some(15_000), Some(2_000)),
            ("-tcp-keepalive-time=0", Some(15_000), Some(15_000), Some(2_000)),
            ("-tcp-keepalive-time=-1s", None, Some(15_000), Some(2_000)),
            ("-tcp-keepalive-time=1ms", Some(1_000), Some(15_000), Some(2_000)),
            ("-tcp-user-timeout=0", Some(600_000), None, Some(2_000)),
            ("-tcp-user-timeout=1us", Some(600_000), Some(1), Some(2_000)),
            ("-tcp-write-timeout=0s", Some(600_000), Some(15_000), None),
        ] {
            let expected = TcpOptions {
                keepalive_time: keepalive.map(Duration::from_millis),
                user_timeout: user.map(Duration::from_millis),
                write_timeout: write.map(Duration::from_millis),
            };
            assert_eq!(TcpOptions::check(&cli(flag)), Ok(expected), "{flag}");
        }
    }

    #[test]
    fn what_no_socket_takes_is_refused() {
        for (flag, message) in [
            (
                "-tcp-user-timeout=-15s",
                "-tcp-user-timeout -15s is negative; give 0 for none, or a time like 15s",
            ),
            (
                "-tcp-write-timeout=-1ms",
                "-tcp-write-timeout -1ms is negative; give 0 for none, or a time like 15s",
            ),
            (
                "-tcp-keepalive-time=10h",
                "-tcp-keepalive-time 36000s is longer than the kernel's 32767s; give a time like 15s or 10m",
            ),
            (
                "-tcp-user-timeout=600h",
                "-tcp-user-timeout 2160000s is longer than the kernel's 2147483.647s; give a time like 15s or 10m",
            ),
        ] {
            assert_eq!(TcpOptions::check(&cli(flag)).unwrap_err().to_string(), message);
        }
    }

    fn cli(flag: &str) -> Cli {
        Cli::parse_from(["ferry-relay", flag]).unwrap()
    }
}
