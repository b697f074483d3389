//! Bytes as text and back: pf.conf is bytes, Rust's strings are not.
//!
//! A byte that is no part of valid UTF-8 becomes the private character U+10FF00 + byte, and those characters themselves
//! count as invalid, so the way back is exact.
//!
//! **Invariant:** `encode(&decode(bytes)) == bytes` for every input.

use std::borrow::Cow;

const BASE: u32 = 0x0010_FF00;

fn escaped(byte: u8) -> char {
    char::from_u32(BASE.saturating_add(u32::from(byte))).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn unescaped(c: char) -> Option<u8> {
    u32::from(c).checked_sub(BASE).and_then(|low| u8::try_from(low).ok())
}

/// Bytes to text.
#[must_use]
pub fn decode(bytes: &[u8]) -> Cow<'_, str> {
    if bytes.is_ascii() {
        return String::from_utf8_lossy(bytes);
    }
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if unescaped(c).is_some() {
                out.extend(c.encode_utf8(&mut [0; 4]).bytes().map(escaped));
            } else {
                out.push(c);
            }
        }
        out.extend(chunk.invalid().iter().copied().map(escaped));
    }
    Cow::Owned(out)
}

/// Text to the bytes it came from.
#[must_use]
pub fn encode(text: &str) -> Cow<'_, [u8]> {
    if !text.chars().any(|c| unescaped(c).is_some()) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        match unescaped(c) {
            Some(byte) => out.push(byte),
            None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(out)
}

/// Length in bytes of what the text stands for: strlen(3) of the original.
#[must_use]
pub fn byte_len(text: &str) -> usize {
    if text.is_ascii() {
        return text.len();
    }
    text.chars().map(|c| if unescaped(c).is_some() { 1 } else { c.len_utf8() }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_string_comes_back() {
        let cases: [&[u8]; 5] = [b"plain", b"\xff\x80a", "gr\u{fc}n".as_bytes(), "\u{10ff80}".as_bytes(), b"\xe2\x82"];
        for case in cases {
            assert_eq!(encode(&decode(case)).as_ref(), case);
            assert_eq!(byte_len(&decode(case)), case.len());
        }
    }
}
