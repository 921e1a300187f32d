//! Reading frames from a buffer that belongs to the caller.
//!
//! Nothing is copied and nothing is allocated: packets are slices of the caller's buffer. A decoder
//! keeps one number, how much of a body it still has to skip.

mod client;
mod server;

use super::{FrameType, HEADER_LEN, SERVER_FRAME_LEN_MAX};
use crate::key::NodePublicKey;

pub use client::{ClientFrame, ClientFrameDecoder};
pub(crate) use server::greeting;
pub use server::{ServerFrame, ServerFrameDecoder};

/// What a decoder made of the bytes it was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<F> {
    /// A frame. Drop `consumed` bytes from the front of the buffer, then ask again.
    Frame {
        /// The frame; its packet is a slice of the buffer.
        frame: F,
        /// Bytes that are done with, the frame's own included.
        consumed: usize,
    },
    /// No whole frame yet. Drop `consumed` bytes, then ask again once `needed` are there.
    Incomplete {
        /// Bytes that are done with: the rest of an earlier frame, skipped.
        consumed: usize,
        /// How many bytes there must be, counted from the new front, for asking to be of use.
        needed: usize,
    },
}

/// Why the rest of a stream can no longer be read; the connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A known frame has a length that its type must not have.
    #[error("{frame} frame of {len} bytes, want {min} to {max}")]
    Length {
        /// The frame's type.
        frame: FrameType,
        /// The length its header claims.
        len: u32,
        /// The least it may be.
        min: u32,
        /// The most it may be.
        max: u32,
    },
    /// A relay sent more in one frame than any client takes.
    #[error("frame of type 0x{kind:02x} has {len} bytes, want at most {SERVER_FRAME_LEN_MAX}")]
    TooLong {
        /// The type's byte.
        kind: u8,
        /// The length its header claims.
        len: u32,
    },
}

/// How many bytes of a body are still to be skipped.
#[derive(Debug, Default)]
struct Skip(u32);

impl Skip {
    /// How many bytes of `input` are skipped, and what is left; or, if all of them were and more
    /// must be, the answer for the caller.
    fn run<'a, F>(&mut self, input: &'a [u8]) -> Result<(usize, &'a [u8]), Step<F>> {
        if let Some(rest) = input.get(self.0 as usize..) {
            let skipped = self.0 as usize;
            self.0 = 0;
            return Ok((skipped, rest));
        }
        // Shorter than the u32 it is taken from.
        self.0 -= input.len() as u32;
        Err(Step::Incomplete { consumed: input.len(), needed: 1 })
    }
}

/// Type, claimed length, and what is there of the body.
pub(crate) fn split_header(input: &[u8]) -> Option<(u8, u32, &[u8])> {
    let ([kind, len @ ..], body) = input.split_first_chunk::<HEADER_LEN>()?;
    Some((*kind, u32::from_be_bytes(*len), body))
}

/// A key and what follows it.
pub(crate) fn split_key(body: &[u8]) -> Option<(NodePublicKey, &[u8])> {
    let (key, rest) = body.split_first_chunk()?;
    Some((NodePublicKey::from_bytes(*key), rest))
}
