//! A page of a list: rows written one by one into the caller's buffer.

use serde::{Deserialize, Serialize};

use super::code::{DecodeError, EncodeError, encode};

/// The cursor behind the last page.
pub const END: u64 = u64::MAX;
/// Bytes before the first row of a reply.
pub const PAGE_HEADER: usize = 25;

/// A place in a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    used: usize,
    rows: u32,
}

impl Mark {
    /// Whether no row comes before it.
    #[must_use]
    pub const fn is_first(self) -> bool {
        self.rows == 0
    }
}

/// A page being written.
#[derive(Debug)]
pub struct PageWriter<'b> {
    into: &'b mut [u8],
    used: usize,
    rows: u32,
}

impl<'b> PageWriter<'b> {
    /// Begins a page.
    ///
    /// # Errors
    /// [`EncodeError`] when not even the header fits.
    pub fn new(into: &'b mut [u8]) -> Result<Self, EncodeError> {
        if into.len() < PAGE_HEADER { Err(EncodeError) } else { Ok(Self { into, used: PAGE_HEADER, rows: 0 }) }
    }

    /// Writes a row. `false` when it does not fit: the page is full and unchanged.
    pub fn row<T: Serialize>(&mut self, row: &T) -> bool {
        let Some(rest) = self.into.get_mut(self.used..) else { return false };
        let Ok(n) = encode(row, rest) else { return false };
        self.used = self.used.saturating_add(n);
        self.rows = self.rows.saturating_add(1);
        true
    }

    /// A place to come back to.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark { used: self.used, rows: self.rows }
    }

    /// Takes back what was written since.
    pub const fn rewind(&mut self, to: Mark) {
        (self.used, self.rows) = (to.used, to.rows);
    }

    /// Rows so far.
    #[must_use]
    pub const fn rows(&self) -> u32 {
        self.rows
    }

    /// Bytes left.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.into.len().saturating_sub(self.used)
    }

    /// Ends the page: the cursor of the next one, the generation of the rules, the length of the whole list. Gives the
    /// length of the reply.
    pub fn end(self, next: u64, generation: u64, total: u32) -> usize {
        let mut head = [0; PAGE_HEADER];
        put(&mut head, 1, &next.to_le_bytes());
        put(&mut head, 9, &generation.to_le_bytes());
        put(&mut head, 17, &total.to_le_bytes());
        put(&mut head, 21, &self.rows.to_le_bytes());
        put(self.into, 0, &head);
        self.used
    }
}

fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in into.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

/// A page being read: what follows the first byte of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page<'a> {
    /// Cursor of the next page, [`END`] when this is the last.
    pub next: u64,
    /// Generation of the rules when it was written.
    pub generation: u64,
    /// Length of the whole list, as far as the filter knows it; a hint.
    pub total: u32,
    left: u32,
    rows: &'a [u8],
}

impl<'a> Page<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`].
    pub fn read(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut rest = body;
        let next = u64::from_le_bytes(take(&mut rest)?);
        let generation = u64::from_le_bytes(take(&mut rest)?);
        let total = u32::from_le_bytes(take(&mut rest)?);
        let left = u32::from_le_bytes(take(&mut rest)?);
        Ok(Self { next, generation, total, left, rows: rest })
    }

    /// The next row.
    ///
    /// # Errors
    /// [`DecodeError`] when it does not decode, or bytes are left after the last.
    #[allow(clippy::should_implement_trait, reason = "the type of a row is the caller's")]
    pub fn row<T: Deserialize<'a>>(&mut self) -> Result<Option<T>, DecodeError> {
        let Some(left) = self.left.checked_sub(1) else {
            let left = self.rows.len();
            return if left == 0 { Ok(None) } else { Err(DecodeError::Trailing { left }) };
        };
        let (row, rest) = postcard::take_from_bytes(self.rows).map_err(|_| DecodeError::Malformed)?;
        (self.left, self.rows) = (left, rest);
        Ok(Some(row))
    }

    /// Rows that have not been read.
    #[must_use]
    pub const fn rows_left(&self) -> u32 {
        self.left
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(DecodeError::Malformed)?;
    *bytes = rest;
    Ok(*head)
}
