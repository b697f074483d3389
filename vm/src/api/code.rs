//! From bytes to records and back: bounded, borrowed, nothing left over.

use serde::{Deserialize, Serialize};

use super::MAX_MESSAGE;
use super::refusal::Refusal;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`MAX_MESSAGE`].
    #[error("a message has at most {MAX_MESSAGE} bytes")]
    TooLong,
    /// Too short, or a number or text that cannot be.
    #[error("the message does not decode")]
    Malformed,
    /// Bytes behind its end.
    #[error("{left} bytes follow the message")]
    Trailing {
        /// How many.
        left: usize,
    },
}

/// The record does not fit into the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the buffer is too small")]
pub struct EncodeError;

/// Reads one record that fills the bytes.
///
/// # Errors
/// [`DecodeError`].
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(DecodeError::TooLong);
    }
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|_| DecodeError::Malformed)?;
    if rest.is_empty() { Ok(value) } else { Err(DecodeError::Trailing { left: rest.len() }) }
}

/// Reads one row of several that stand one after the other; gives it and the rest.
///
/// # Errors
/// [`DecodeError::Malformed`].
pub fn decode_row<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), DecodeError> {
    postcard::take_from_bytes(bytes).map_err(|_| DecodeError::Malformed)
}

/// Writes one record; gives its length.
///
/// # Errors
/// [`EncodeError`].
pub fn encode<T: Serialize>(value: &T, into: &mut [u8]) -> Result<usize, EncodeError> {
    postcard::to_slice(value, into).map(|used| used.len()).map_err(|_| EncodeError)
}

/// Writes the reply that consists of one record; gives its length.
///
/// # Errors
/// [`EncodeError`].
pub fn encode_reply<T: Serialize>(value: &T, into: &mut [u8]) -> Result<usize, EncodeError> {
    let (first, rest) = into.split_first_mut().ok_or(EncodeError)?;
    *first = 0;
    Ok(encode(value, rest)?.saturating_add(1))
}

/// Writes a refusal; gives its length, 0 when not even that fits.
pub fn refuse(refusal: &Refusal<'_>, into: &mut [u8]) -> usize {
    let Some((first, rest)) = into.split_first_mut() else { return 0 };
    *first = 1;
    encode(refusal, rest).map_or(0, |n| n.saturating_add(1))
}

/// What follows the first byte of a reply, or the refusal.
///
/// # Errors
/// [`DecodeError`] when it is neither.
pub fn read_reply(reply: &[u8]) -> Result<Result<&[u8], Refusal<'_>>, DecodeError> {
    match reply.split_first() {
        Some((0, body)) if reply.len() <= MAX_MESSAGE => Ok(Ok(body)),
        Some((1, body)) => decode(body).map(Err),
        Some((0, _)) => Err(DecodeError::TooLong),
        _ => Err(DecodeError::Malformed),
    }
}
