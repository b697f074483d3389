//! Closing an adapter to the host: two classifier programs at its `clsact`.
//!
//! Packet sockets see what comes in before the classifier, which then drops it; going out, only what carries pfd's mark
//! passes. The kernel keeps both when pfd dies.
//!
//! Source: Linux `net/core/dev.c` (`__netif_receive_skb_core`: taps, then ingress), `include/uapi/linux/bpf.h`.

use std::io;

use super::MARK;
use crate::netlink::Route;
use crate::sys;

/// `r0 = TC_ACT_SHOT; exit`.
const DROP_ALL: [u64; 2] = [instruction(0xb7, 0, 0, 0, 2), EXIT];
/// Passes what carries the mark: `r0 = TC_ACT_OK; r2 = skb->mark; if r2 != MARK { r0 = TC_ACT_SHOT }; exit`.
const DROP_UNMARKED: [u64; 5] = [
    instruction(0xb7, 0, 0, 0, 0),
    instruction(0x61, 2, 1, 8, 0),
    instruction(0x15, 2, 0, 1, MARK),
    instruction(0xb7, 0, 0, 0, 2),
    EXIT,
];
const EXIT: u64 = instruction(0x95, 0, 0, 0, 0);

/// `struct bpf_insn` on a little-endian machine.
const fn instruction(code: u8, dst: u8, src: u8, offset: u16, value: u32) -> u64 {
    code as u64 | (dst as u64) << 8 | (src as u64) << 12 | (offset as u64) << 16 | (value as u64) << 32
}

/// Closes an adapter; whether its `clsact` is pfd's own.
pub(super) fn close(route: &mut Route, index: u32) -> io::Result<bool> {
    let own = route.add_clsact(index)?;
    // Those of a pfd that died are replaced in one step: the adapter is not open in between.
    route.add_classifier(index, false, &sys::classifier(&DROP_ALL)?)?;
    route.add_classifier(index, true, &sys::classifier(&DROP_UNMARKED)?)?;
    Ok(own)
}

/// Opens an adapter; what is not there need not go.
pub(super) fn open(route: &mut Route, index: u32, own: bool) {
    let _gone = (route.delete_classifier(index, false), route.delete_classifier(index, true));
    if own {
        let _gone = route.delete_clsact(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_laid_out() {
        assert_eq!(DROP_ALL, [0x0000_0002_0000_00b7, 0x95]);
        assert_eq!(DROP_UNMARKED[1], 0x0000_0000_0008_1261);
        assert_eq!(DROP_UNMARKED[2] >> 32, u64::from(MARK));
    }
}
