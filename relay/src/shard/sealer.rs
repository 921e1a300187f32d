//! From frames to bytes for the socket.

use ferry_record::{PLAINTEXT_BYTES_MAX, RecordError, RecordStart, ServerSession};

/// Packs a stream of bytes into records, or passes it through where there is no TLS.
pub(super) struct Sealer<'a> {
    tls: Option<&'a mut ServerSession>,
    open: Option<(RecordStart, usize)>,
    failed: Option<RecordError>,
}

impl<'a> Sealer<'a> {
    pub(super) const fn new(tls: Option<&'a mut ServerSession>) -> Self {
        Self { tls, open: None, failed: None }
    }

    /// Appends `bytes`; records are filled to their limit and may split a frame, which is legal and costs nothing.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, mut bytes: &[u8]) {
        let Some(tls) = self.tls.as_deref_mut() else {
            out.extend_from_slice(bytes);
            return;
        };
        while !bytes.is_empty() {
            let (start, used) = self.open.take().unwrap_or_else(|| (tls.begin(out), 0));
            let len = bytes.len().min(PLAINTEXT_BYTES_MAX - used);
            out.extend_from_slice(&bytes[..len]);
            bytes = &bytes[len..];
            if used + len < PLAINTEXT_BYTES_MAX {
                self.open = Some((start, used + len));
            } else if let Err(error) = tls.finish(out, start) {
                self.failed = Some(error);
                return;
            }
        }
    }

    /// Seals the last record.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        match (self.tls.as_deref_mut(), self.open.take()) {
            (Some(tls), Some((start, _))) => tls.finish(out, start),
            _ => Ok(()),
        }
    }
}
