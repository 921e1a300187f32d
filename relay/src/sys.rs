//! What the system tells only through `unsafe`: one call, and an answer where there is none.

use std::time::Duration;

use mio::net::TcpStream;

/// The kernel's smoothed round-trip time of a connection (TCP_INFO), where the kernel tells.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "neither rustix, socket2 nor nix has TCP_INFO")]
pub(crate) fn round_trip_time(socket: &TcpStream) -> Option<Duration> {
    use std::mem::MaybeUninit;
    use std::os::fd::AsRawFd;

    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `info`, which has that many; the descriptor is open for as long
    // as `socket` is borrowed.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if answer != 0 {
        return None;
    }
    // SAFETY: all fields are integers, so the zeroes it began with are valid where the kernel wrote nothing.
    let info = unsafe { info.assume_init() };
    Some(Duration::from_micros(info.tcpi_rtt.into()))
}

/// The kernel's smoothed round-trip time of a connection, where the kernel tells.
#[cfg(not(target_os = "linux"))]
pub(crate) fn round_trip_time(_: &TcpStream) -> Option<Duration> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_connection_over_loopback_has_a_short_round_trip() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_server, _) = listener.accept().unwrap();
        client.set_nonblocking(true).unwrap();
        let rtt = round_trip_time(&TcpStream::from_std(client)).unwrap();
        assert!(rtt > Duration::ZERO && rtt < Duration::from_secs(1), "{rtt:?}");
    }
}
