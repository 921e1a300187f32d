//! recvmmsg and sendmmsg with headers that are made once, and classic BPF programs on sockets.
#![expect(
    unsafe_code,
    reason = "safe wrappers rebuild every header for every call, or have no control message per datagram"
)]

use std::cell::UnsafeCell;
use std::io;
use std::mem::zeroed;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr;

use libc::{c_int, c_uint, c_void, iovec, mmsghdr, socklen_t};

use super::{ANSWER_BYTES, READ_BYTES, Received};
pub(in crate::server) use control::Control;
use name::Name;
pub(in crate::server) use options::{drop_sources, steer_by_source, tell_local_address};

mod control;
mod name;
mod options;
mod program;

/// Datagrams read, or sent, with one call. From 8 to 256 the rate is the same within 2 %.
pub(in crate::server) const BATCH: usize = 32;

/// Memory for one datagram. The kernel writes to it through pointers that the headers keep.
struct Slot {
    name: UnsafeCell<Name>,
    control: UnsafeCell<Control>,
    bytes: UnsafeCell<[u8; READ_BYTES]>,
}

/// Datagrams as they are read. It is made by the thread that uses it: its pointers do not travel.
pub(in crate::server) struct Inbox {
    /// Never grows or moves: the headers point into it.
    slots: Box<[Slot]>,
    /// One for each slot; the headers point to them.
    _vectors: Box<[iovec]>,
    headers: Box<[mmsghdr]>,
    /// Room for a control message; 0 if none is asked for.
    control_bytes: usize,
    /// Headers that the last call changed.
    filled: usize,
}

impl Inbox {
    /// Room for a batch, with the local addresses if the socket was told to tell them.
    pub(in crate::server) fn new(local_addresses: bool) -> Self {
        let slots: Box<[Slot]> = (0..BATCH)
            .map(|_| Slot {
                name: UnsafeCell::new(Name::EMPTY),
                control: UnsafeCell::new(Control::EMPTY),
                bytes: UnsafeCell::new([0; READ_BYTES]),
            })
            .collect();
        let mut vectors: Box<[iovec]> = slots
            .iter()
            .map(|slot| iovec { iov_base: slot.bytes.get().cast(), iov_len: READ_BYTES })
            .collect();
        let control_bytes = if local_addresses { Control::BYTES } else { 0 };
        let headers = slots.iter().zip(&mut vectors).map(|(slot, vector)| {
            let mut header = no_header();
            header.msg_hdr.msg_name = slot.name.get().cast();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = slot.control.get().cast();
            header
        });
        let headers = headers.collect();
        Self { slots, _vectors: vectors, headers, control_bytes, filled: BATCH }
    }

    /// Waits for a datagram and reads what else is there, up to a batch. A call for one datagram under light
    /// load, and one for 32 under heavy load.
    pub(in crate::server) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        for header in self.headers.iter_mut().take(self.filled) {
            header.msg_hdr.msg_namelen = Name::BYTES as socklen_t;
            header.msg_hdr.msg_controllen = self.control_bytes as _;
        }
        // SAFETY: each header points to a name, a vector and a control buffer of the lengths it gives, all owned
        // by `self` and borrowed by nobody while it is borrowed mutably; no pointer outlives the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as c_uint,
                libc::MSG_WAITFORONE as _,
                ptr::null_mut(),
            )
        };
        self.filled = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        Ok(self.filled)
    }

    /// What the last call read.
    pub(in crate::server) fn datagrams(&self) -> impl Iterator<Item = Received<'_>> {
        self.slots.iter().zip(&self.headers).take(self.filled).filter_map(|(slot, header)| {
            // SAFETY: the kernel writes here only during `receive`, which needs `self` for itself.
            let (name, control, bytes) =
                unsafe { (&*slot.name.get(), &*slot.control.get(), &*slot.bytes.get()) };
            Some(Received {
                bytes: bytes.get(..header.msg_len as usize)?,
                // None for what a socket yields that was shut down.
                source: name.decode(header.msg_hdr.msg_namelen as usize)?,
                control: (header.msg_hdr.msg_controllen > 0).then_some(control),
            })
        })
    }
}

/// Answers as they wait to be sent.
pub(in crate::server) struct Outbox {
    entries: Box<[Entry]>,
    vectors: Box<[iovec]>,
    headers: Box<[mmsghdr]>,
    /// Entries in use.
    waiting: usize,
    /// Whether the sockets are of IPv6, which want IPv4 addresses in IPv6's form.
    ipv6: bool,
}

/// An answer.
struct Entry {
    bytes: Vec<u8>,
    name: Name,
    name_bytes: usize,
    control: Control,
    control_bytes: usize,
}

impl Outbox {
    /// Room for a batch of answers from sockets of one family.
    pub(in crate::server) fn new(ipv6: bool) -> Self {
        let entry = || Entry {
            bytes: Vec::with_capacity(ANSWER_BYTES),
            name: Name::EMPTY,
            name_bytes: 0,
            control: Control::EMPTY,
            control_bytes: 0,
        };
        Self {
            entries: (0..BATCH).map(|_| entry()).collect(),
            vectors: (0..BATCH).map(|_| iovec { iov_base: ptr::null_mut(), iov_len: 0 }).collect(),
            headers: (0..BATCH).map(|_| no_header()).collect(),
            waiting: 0,
            ipv6,
        }
    }

    /// The buffer of the next answer; none if a batch is waiting.
    pub(in crate::server) fn buffer(&mut self) -> Option<&mut Vec<u8>> {
        self.entries.get_mut(self.waiting).map(|entry| &mut entry.bytes)
    }

    /// Has what is in the buffer wait to be sent to `to`, from the local address that `control` has.
    pub(in crate::server) fn push(&mut self, to: SocketAddr, control: Option<&Control>) {
        let Some(entry) = self.entries.get_mut(self.waiting) else { return };
        entry.name_bytes = entry.name.encode(to, self.ipv6);
        entry.control_bytes = control.map_or(0, |control| entry.control.reply_to(control));
        self.waiting += 1;
    }

    /// Sends everything that waits, and reports the places, in the order of pushing, that could not be sent.
    pub(in crate::server) fn send(&mut self, socket: &UdpSocket, mut failed: impl FnMut(usize)) {
        let mut places = 0..self.waiting;
        while !places.is_empty() {
            // sendmmsg stops at an answer that fails: the rest is for others, and goes on after it.
            match self.transmit(socket, places.clone()) {
                0 => failed(places.start),
                sent => places.start += sent - 1,
            }
            places.start += 1;
        }
        self.waiting = 0;
    }

    /// Sends the answer that was pushed last, through another socket than the rest.
    pub(in crate::server) fn send_last(&mut self, socket: &UdpSocket) -> bool {
        let Some(last) = self.waiting.checked_sub(1) else { return false };
        self.waiting = last;
        self.transmit(socket, last..last + 1) == 1
    }

    /// How many of these answers left before the first that failed.
    fn transmit(&mut self, socket: &UdpSocket, places: Range<usize>) -> usize {
        let count = places.len();
        let entries = self.entries.iter_mut().zip(&mut self.vectors).zip(&mut self.headers);
        for ((entry, vector), header) in entries.skip(places.start).take(count) {
            *vector = iovec { iov_base: entry.bytes.as_mut_ptr().cast(), iov_len: entry.bytes.len() };
            header.msg_hdr.msg_name = (&raw mut entry.name).cast();
            header.msg_hdr.msg_namelen = entry.name_bytes as socklen_t;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = (&raw mut entry.control).cast();
            header.msg_hdr.msg_controllen = entry.control_bytes as _;
        }
        let Some(headers) = self.headers.get_mut(places) else { return 0 };
        // Never waits for room: by the time there is some, the client has asked again.
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the loop above made each header point to memory of `self` of the lengths it gives; the kernel
        // reads it and writes only the headers' own lengths, and no pointer outlives the call.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as c_uint, flags as _)
        };
        usize::try_from(sent).unwrap_or(0)
    }
}

/// Sets an option to a program.
fn set_program(socket: &UdpSocket, option: c_int, program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    // The kernel copies the program and writes nothing; the type is only declared so.
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    set_option(socket, libc::SOL_SOCKET, option, &program)
}

/// Sets an option to a value of the type that the kernel expects for it.
fn set_option<T>(socket: &UdpSocket, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let value_bytes = size_of::<T>() as socklen_t;
    // SAFETY: the kernel reads `value_bytes` of `value`, and as many instructions as a program says it has.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(value).cast::<c_void>(),
            value_bytes,
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A header that points to nothing.
fn no_header() -> mmsghdr {
    // SAFETY: integers and raw pointers, for which zero is a value.
    unsafe { zeroed() }
}
