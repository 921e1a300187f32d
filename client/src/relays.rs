//! Relay connections that hold: one [`Line`] for each region.
//!
//! A line is the way to one region's relay as a state machine, without a socket, a clock or randomness of its own. It dials when it is
//! needed, notices within seconds that a connection is dead, dials again, and closes what nobody uses.
//!
//! # The rules
//!
//! - **Needed** is the line of the home region, always, that of the former home for [2 min](crate::home::OLD_HOME_KEPT), and any other for
//!   [60 s](IDLE_MAX) after a packet was handed over for it (Tailscale's time). Then it is closed.
//! - **Lost** connections are dialled again after [100 ms](BACKOFF_MIN), and twice as long after each failure, up to [5 s](BACKOFF_MAX)
//!   (Tailscale's bound); each by a factor from 0.5 to 1.5 that is drawn, so that the clients of a relay do not come back as one. A connection
//!   that lasted [10 s](STABLE_AFTER), or went silent, makes the next loss a first one.
//! - **Dead** is a connection on which nothing came for [3 s](PING_TIMEOUT) after a ping. A ping is sent when packets were sent for
//!   [2 s](PING_AFTER_SENDING) and nothing was heard since, and on the home line also when nothing was heard for [15 s](PING_WHEN_IDLE): that is
//!   where peers' packets come from. So a path that is in use is known to be dead after 5 s. Bytes that a full socket takes count as heard: the relay's
//!   machine has acknowledged what was before them.
//! - **A relay that restarts** and says so is dialled again when it asked for it, and then at most [1 s](RESTART_BACKOFF_MAX) apart for as long as it
//!   asked for.
//! - **Another network** or a machine that slept: the connection is pinged at once, and what waits for the next attempt waits no longer.
//! - **Packets** handed over while there is no connection wait in a [`Backlog`], bounded in bytes and in time; the oldest go first, and each that
//!   is dropped is counted with its reason. What was given to a connection that is then lost is lost with it: nothing is ever sent twice.

mod backlog;
mod backoff;
mod event;
mod frames;
mod line;
mod liveness;
mod open;

use std::time::Duration;

pub use backlog::{Backlog, BacklogError, Dropped};
pub use event::{DisconnectReason, DropReason, Event, GonePeer, PresentPeer};
pub use line::{Line, Output};

/// How long a line that is not the home's stays after the last packet for it.
pub const IDLE_MAX: Duration = Duration::from_secs(60);
/// The wait before the first attempt after a loss.
pub const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The longest wait between attempts, before it is drawn.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// The longest wait between attempts while a relay that restarts is to be back.
pub const RESTART_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A relay that restarts is not waited for longer, whatever it asks for.
pub const RECONNECT_IN_MAX: Duration = Duration::from_secs(30);
/// Nor tried for longer.
pub const TRY_FOR_MAX: Duration = Duration::from_secs(5 * 60);
/// A connection that lasted so long was a good one.
pub const STABLE_AFTER: Duration = Duration::from_secs(10);
/// A ping is sent so long after a packet if nothing was heard meanwhile.
pub const PING_AFTER_SENDING: Duration = Duration::from_secs(2);
/// A ping is sent over the home connection when nothing was heard for so long; the same as the choice of home has.
pub const PING_WHEN_IDLE: Duration = crate::home::PING_INTERVAL;
/// Without a byte for so long after a ping, the connection is dead.
pub const PING_TIMEOUT: Duration = crate::home::PING_TIMEOUT;
/// The most bytes of packets that wait for a line: at 100 Mbit/s those of 40 ms.
pub const BACKLOG_BYTES_MAX: usize = 512 * 1024;
/// How long a packet may wait. What is older has been sent again by whoever wants it to arrive: by TCP, or WireGuard's handshake after 5 s.
pub const BACKLOG_AGE_MAX: Duration = Duration::from_secs(3);
/// How long WebSocket is remembered as what works with a node.
pub const WEBSOCKET_REMEMBERED: Duration = Duration::from_secs(10 * 60);
/// A clock that is so much later than it was to be asked again: the machine slept.
pub const SLEEP_MIN: Duration = Duration::from_secs(10);

/// What fills a buffer with random bytes that nobody can guess.
pub type Entropy = Box<dyn FnMut(&mut [u8]) + Send>;
