//! Changes to a packet's headers with the checksum that covers them.

use crate::packet::{Checksum, DropReason, Packet, PacketDesc, PktMeta, proto};
use crate::rule::Af;
use crate::wire::checksum::{Kind, fixup, fixup_byte, fixup_u32};

/// A packet with one checksum field under change.
///
/// **Invariant:** where the field holds a complete sum it follows every change (RFC 1624); where it holds a partial
/// sum, or nothing, it is left alone.
pub(super) struct Patch<'a, 'p> {
    packet: &'a mut Packet<'p>,
    at: Option<usize>,
    kind: Kind,
}

impl<'a, 'p> Patch<'a, 'p> {
    /// Changes under the transport checksum.
    pub(super) fn transport(packet: &'a mut Packet<'p>, meta: &PktMeta, desc: &PacketDesc) -> Self {
        let field = match desc.proto {
            proto::TCP => Some(16),
            proto::UDP => Some(6),
            proto::ICMP | proto::ICMPV6 => Some(2),
            _ => None,
        };
        let off = usize::try_from(desc.off).unwrap_or(usize::MAX);
        let at = field.filter(|_| whole(meta.l4)).map(|f: usize| off.saturating_add(f));
        Self { packet, at, kind: Kind::of(desc.proto) }
    }

    /// Changes under the checksum of the IPv4 header; in IPv6 there is none.
    pub(super) fn network(packet: &'a mut Packet<'p>, meta: &PktMeta, af: Af) -> Self {
        let at = (af == Af::Inet && whole(meta.ip)).then_some(10);
        Self { packet, at, kind: Kind::Plain }
    }

    /// Writes bytes and has the checksum follow.
    fn change(&mut self, at: usize, bytes: &[u8], sum: impl FnOnce(u16, Kind) -> u16) -> Result<(), DropReason> {
        if !self.packet.write(at, bytes) {
            return Err(DropReason::Memory);
        }
        let Some(field) = self.at else { return Ok(()) };
        let old = self.packet.u16(field).ok_or(DropReason::Memory)?;
        let new = sum(old, self.kind);
        if new != old && !self.packet.write(field, &new.to_be_bytes()) {
            return Err(DropReason::Memory);
        }
        Ok(())
    }

    /// Sets a byte; `high` when it lies at an even offset of what is summed. Whether it changed.
    pub(super) fn u8(&mut self, at: usize, now: u8, high: bool) -> Result<bool, DropReason> {
        let was = self.packet.u8(at).ok_or(DropReason::Memory)?;
        if was != now {
            self.change(at, &[now], |sum, kind| fixup_byte(sum, was, now, high, kind))?;
        }
        Ok(was != now)
    }

    /// Sets two bytes at an offset of either parity.
    pub(super) fn u16(&mut self, at: usize, now: u16, even: bool) -> Result<bool, DropReason> {
        if !even {
            let [a, b] = now.to_be_bytes();
            let first = self.u8(at, a, false)?;
            return Ok(self.u8(at.saturating_add(1), b, true)? || first);
        }
        let was = self.packet.u16(at).ok_or(DropReason::Memory)?;
        if was != now {
            self.change(at, &now.to_be_bytes(), |sum, kind| fixup(sum, was, now, kind))?;
        }
        Ok(was != now)
    }

    /// Sets four bytes at an offset of either parity.
    pub(super) fn u32(&mut self, at: usize, now: u32, even: bool) -> Result<(), DropReason> {
        if even {
            let was = self.packet.u32(at).ok_or(DropReason::Memory)?;
            return self.change(at, &now.to_be_bytes(), |sum, kind| fixup_u32(sum, was, now, kind));
        }
        for (i, byte) in now.to_be_bytes().into_iter().enumerate() {
            self.u8(at.saturating_add(i), byte, i % 2 == 1)?;
        }
        Ok(())
    }
}

/// Whether a field holds a complete sum, right or wrong.
const fn whole(c: Checksum) -> bool {
    matches!(c, Checksum::Complete | Checksum::Validated | Checksum::Bad)
}
