//! Bytes of stack a function takes, read from its unwind record.
//!
//! Source: "x64 exception handling" and "ARM64 exception handling" of Microsoft's documentation.

use super::image::{number, place};
use super::run::Failure;

/// By an x64 unwind record: the return address, registers saved, room made.
pub(crate) fn x64(bytes: &[u8], unwind: usize) -> Result<u32, Failure> {
    let codes = place(number(bytes, unwind + 2, 1)?);
    let (mut n, mut frame) = (0, 8);
    while n < codes {
        let code = number(bytes, unwind + 4 + 2 * n + 1, 1)?;
        let (operation, info) = (code & 15, code >> 4);
        let extra = |slots| number(bytes, unwind + 4 + 2 * (n + 1), slots);
        n += match operation {
            0 => {
                frame += 8;
                1
            }
            1 if info == 0 => {
                frame += extra(2)? * 8;
                2
            }
            1 => {
                frame += extra(4)?;
                3
            }
            2 => {
                frame += info * 8 + 8;
                1
            }
            4 | 8 => 2,
            5 | 9 => 3,
            _ => 1,
        };
    }
    Ok(frame)
}

/// By the second word of an ARM64 function's entry, when the record is packed in it.
pub(crate) const fn arm64_packed(word: u32) -> u32 {
    (word >> 23) * 16
}

/// By an ARM64 unwind record.
pub(crate) fn arm64(bytes: &[u8], unwind: usize) -> Result<u32, Failure> {
    let header = number(bytes, unwind, 4)?;
    let (mut epilogs, mut words, mut at) = (header >> 22 & 31, header >> 27, unwind + 4);
    if epilogs == 0 && words == 0 {
        let more = number(bytes, at, 4)?;
        (epilogs, words, at) = (more & 0xffff, more >> 16 & 0xff, at + 4);
    }
    // With the E bit set the epilog is described in the header, and no scopes follow.
    let scopes = if header >> 21 & 1 == 1 { 0 } else { epilogs };
    let (mut at, end) = (at + 4 * place(scopes), at + 4 * place(scopes) + 4 * place(words));
    let mut frame = 0;
    while at < end {
        let code = number(bytes, at, 1)?;
        let next = |count| number(bytes, at + 1, count);
        let low = |mask: u32, second: u32| ((second & mask) + 1) * 8;
        at += match code {
            0x00..=0x1f => {
                frame += code * 16;
                1
            }
            0x20..=0x3f => {
                frame += (code & 31) * 8;
                1
            }
            0x40..=0x7f | 0xe1 | 0xe3 | 0xe6..=0xff => 1,
            0x80..=0xbf => {
                frame += ((code & 63) + 1) * 8;
                1
            }
            0xc0..=0xc7 => {
                frame += ((code & 7) << 8 | next(1)?) * 16;
                2
            }
            0xcc..=0xcf | 0xda | 0xdb => {
                frame += low(63, next(1)?);
                2
            }
            0xd4 | 0xd5 | 0xde => {
                frame += low(31, next(1)?);
                2
            }
            0xe0 => {
                let high_first = [next(1)?, number(bytes, at + 2, 1)?, number(bytes, at + 3, 1)?];
                frame += high_first.iter().fold(0, |n, b| n << 8 | b) * 16;
                4
            }
            0xe4 | 0xe5 => break,
            _ => 2,
        };
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_x64_record_adds_up() {
        // push rbp; push rdi; sub rsp, 0x200 (a short count of words), then a record with a long count.
        let record = [1, 0, 4, 0, 0, 0x01, 0x40, 0, 0, 0x70, 0, 0x50];
        assert_eq!(x64(&record, 0), Ok(8 + 0x200 + 16));
        let record = [1, 0, 3, 0, 0, 0x11, 0xd8, 0xc7, 0, 0, 0, 0];
        assert_eq!(x64(&record, 0), Ok(8 + 51_160));
    }

    #[test]
    fn an_arm64_record_adds_up() {
        assert_eq!(arm64_packed(3 << 23 | 1), 48);
        // One word of codes: alloc_m 0x800 bytes, save_fplr_x of 16, end.
        let header = 1_u32 << 27 | 1 << 21;
        let mut record = header.to_le_bytes().to_vec();
        record.extend([0xc0, 0x80, 0x81, 0xe4]);
        assert_eq!(arm64(&record, 0), Ok(0x80 * 16 + 16));
    }
}
