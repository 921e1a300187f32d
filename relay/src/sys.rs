//! What the system tells or takes only through `unsafe`: two calls, and an answer where there is none.

use std::io;
use std::time::Duration;

use mio::net::TcpStream;
use socket2::Socket;

/// Has a listener keep connections to itself until their first bytes are there (TCP_DEFER_ACCEPT), which saves a wake-up
/// for each. A client that stays silent is handed out all the same, after about a second.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "neither rustix nor socket2 has TCP_DEFER_ACCEPT")]
pub(crate) fn defer_accept(listener: &Socket) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let seconds: libc::c_int = 1;
    // SAFETY: the kernel reads an integer, of the length that is given; the descriptor is open for as long as `listener` is
    // borrowed.
    let answer = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

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
    use std::io::Write;
    use std::net::{SocketAddr, TcpListener};

    use socket2::{Domain, Type};

    use super::*;

    #[test]
    fn a_connection_is_handed_out_once_it_has_said_something() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        defer_accept(&socket).unwrap();
        socket.listen(1).unwrap();
        let listener = TcpListener::from(socket);
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        client.write_all(b"hello").unwrap();
        listener.set_nonblocking(false).unwrap();
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
    }

    #[test]
    fn a_connection_over_loopback_has_a_short_round_trip() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_server, _) = listener.accept().unwrap();
        client.set_nonblocking(true).unwrap();
        let rtt = round_trip_time(&TcpStream::from_std(client)).unwrap();
        assert!(rtt > Duration::ZERO && rtt < Duration::from_secs(1), "{rtt:?}");
    }
}
