//! A byte stream that knows where it is.

use std::io::{BufReader, Read};

use super::CaptureError;

/// Buffered input and the number of bytes taken from it.
pub(super) struct Source<R> {
    input: BufReader<R>,
    offset: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input: BufReader::with_capacity(1 << 16, input), offset: 0 }
    }

    /// Bytes taken so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Replaces `buffer` with the next `wanted` bytes, or with what is left of them; the number of bytes it then has.
    pub(super) fn read_up_to(&mut self, buffer: &mut Vec<u8>, wanted: usize) -> Result<usize, CaptureError> {
        buffer.clear();
        let limit = u64::try_from(wanted).unwrap_or(u64::MAX);
        let start = self.offset;
        match self.input.by_ref().take(limit).read_to_end(buffer) {
            Ok(have) => {
                self.offset = start.saturating_add(u64::try_from(have).unwrap_or(u64::MAX));
                Ok(have)
            }
            Err(source) => Err(CaptureError::Io { offset: start, source }),
        }
    }

    /// Replaces `buffer` with exactly the next `wanted` bytes of `what`, which began at `offset`.
    pub(super) fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        wanted: usize,
        what: &'static str,
        offset: u64,
    ) -> Result<(), CaptureError> {
        let before = self.offset;
        let have = self.read_up_to(buffer, wanted)?;
        if have == wanted {
            return Ok(());
        }
        let lead = usize::try_from(before.saturating_sub(offset)).unwrap_or(usize::MAX);
        Err(CaptureError::Truncated {
            what,
            offset,
            wanted: wanted.saturating_add(lead),
            have: have.saturating_add(lead),
            end: self.offset,
        })
    }

    /// Passes over `count` bytes of `what`, which began at `offset`.
    pub(super) fn skip(&mut self, count: usize, what: &'static str, offset: u64) -> Result<(), CaptureError> {
        let wanted = u64::try_from(count).unwrap_or(u64::MAX);
        let before = self.offset;
        let have = std::io::copy(&mut self.input.by_ref().take(wanted), &mut std::io::sink())
            .map_err(|source| CaptureError::Io { offset: before, source })?;
        self.offset = before.saturating_add(have);
        if have == wanted {
            return Ok(());
        }
        let lead = before.saturating_sub(offset);
        let index = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Err(CaptureError::Truncated {
            what,
            offset,
            wanted: index(wanted.saturating_add(lead)),
            have: index(have.saturating_add(lead)),
            end: self.offset,
        })
    }
}
