//! Bytes of stack a function takes, read from its unwind record (x64) or its first instructions (ARM64).
//!
//! Source: "x64 exception handling" of Microsoft's documentation; the Arm architecture's encodings.

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

/// Instructions a function of ARM64 makes room in, at most.
const PROLOGUE: usize = 40;

/// By the first instructions of a function of ARM64: registers saved in front of the stack, room made. What is made behind
/// the place of the frame pointer is not in the unwind record; that of more than 4 KiB goes through `__chkstk`.
pub(crate) fn arm64(code: &[u8]) -> u32 {
    let (mut frame, mut pages) = (0, 0);
    for word in code.as_chunks::<4>().0.iter().take(PROLOGUE) {
        let word = u32::from_le_bytes(*word);
        if word & 0xff80_03ff == 0xd100_03ff {
            // sub sp, sp, #n, perhaps shifted.
            frame += (word >> 10 & 0xfff) << if word >> 22 & 1 == 1 { 12 } else { 0 };
        } else if word & 0xffc0_03e0 == 0xa980_03e0 || word & 0xffc0_03e0 == 0x6d80_03e0 {
            // stp a, b, [sp, #-n]!
            frame += 8 * ((word >> 15).wrapping_neg() & 0x7f);
        } else if word & 0xffe0_0fe0 == 0xf800_0fe0 {
            // str a, [sp, #-n]!
            frame += (word >> 12).wrapping_neg() & 0x1ff;
        } else if word & 0xffe0_001f == 0xd280_000f {
            // mov x15, #n: room in units of 16 bytes, for __chkstk.
            pages = word >> 5 & 0xffff;
        } else if word == 0xcb2f_73ff {
            // sub sp, sp, x15, uxtx #4
            frame += pages * 16;
        }
    }
    frame
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
    fn an_arm64_prologue_adds_up() {
        let code = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>();
        // stp x19, x20, [sp, #-96]!; stp x29, x30, [sp, #80]; add x29, sp, #80; sub sp, sp, #2000
        assert_eq!(arm64(&code(&[0xa9ba_53f3, 0xa905_7bfd, 0x9101_43fd, 0xd11f_43ff])), 2096);
        // str x30, [sp, #-16]!; sub sp, sp, #1, lsl #12; mov x15, #0x100; sub sp, sp, x15, uxtx #4
        assert_eq!(arm64(&code(&[0xf81f_0ffe, 0xd140_07ff, 0xd280_200f, 0xcb2f_73ff])), 16 + 4096 + 4096);
    }
}
