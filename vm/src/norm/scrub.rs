//! What `scrub` and `set tos` do to the IP header.
//!
//! Source: `pf_norm.c` (`pf_scrub`).

use super::patch::Patch;
use crate::host::Random;
use crate::packet::{DropReason, Packet, PktMeta};
use crate::rule::Af;
use crate::wire::ipv4::{DF, MF, OFFSET_MASK, RF};

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrub {
    /// `no-df`.
    pub no_df: bool,
    /// `random-id`.
    pub random_id: bool,
    /// `min-ttl`, 0 for none.
    pub min_ttl: u8,
    /// `set tos`.
    pub set_tos: Option<u8>,
}

impl Scrub {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        !self.no_df && !self.random_id && self.min_ttl == 0 && self.set_tos.is_none()
    }
}

/// Scrubs a packet; the header checksum follows.
///
/// # Errors
/// `memory` when the header lies outside of the window.
pub fn scrub(
    packet: &mut Packet<'_>,
    meta: &PktMeta,
    af: Af,
    what: &Scrub,
    random: &mut impl Random,
) -> Result<(), DropReason> {
    if what.is_nothing() {
        return Ok(());
    }
    match af {
        Af::Inet => scrub4(packet, meta, what, random),
        Af::Inet6 => scrub6(packet, meta, what),
    }
}

fn scrub4(packet: &mut Packet<'_>, meta: &PktMeta, what: &Scrub, random: &mut impl Random) -> Result<(), DropReason> {
    let [_, tos, _, _, _, _, f, g, ttl, ..] = packet.array::<20>(0).ok_or(DropReason::Memory)?;
    let flags = u16::from_be_bytes([f, g]);
    let whole = flags & (RF | MF | OFFSET_MASK) == 0;
    let mut patch = Patch::network(packet, meta, Af::Inet);
    if what.no_df {
        patch.u16(6, flags & !DF, true)?;
    }
    if ttl < what.min_ttl {
        patch.u8(8, what.min_ttl, true)?;
    }
    if let Some(set) = what.set_tos {
        patch.u8(1, set | (tos & 3), false)?;
    }
    if what.random_id && whole {
        let id = u16::try_from(random.random_u32() >> 16).unwrap_or(1).max(1);
        patch.u16(4, id, true)?;
    }
    Ok(())
}

fn scrub6(packet: &mut Packet<'_>, meta: &PktMeta, what: &Scrub) -> Result<(), DropReason> {
    let [a, b, _, _, _, _, _, hops] = packet.array::<8>(0).ok_or(DropReason::Memory)?;
    let mut patch = Patch::network(packet, meta, Af::Inet6);
    if hops < what.min_ttl {
        patch.u8(7, what.min_ttl, false)?;
    }
    if let Some(set) = what.set_tos {
        // The class straddles two bytes; its two ECN bits stay.
        patch.u8(0, (a & 0xf0) | (set >> 4), true)?;
        patch.u8(1, (b & 0x3f) | (set << 4), false)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::checksum;

    struct Fixed;
    impl Random for Fixed {
        fn random_u32(&mut self) -> u32 {
            0xabcd_0000
        }
    }

    fn run(bytes: &mut [u8], what: Scrub) {
        let af = if bytes[0] >> 4 == 4 { Af::Inet } else { Af::Inet6 };
        scrub(&mut Packet::whole(bytes), &PktMeta::default(), af, &what, &mut Fixed).unwrap();
    }

    #[test]
    fn every_change_keeps_the_checksum_true() {
        let mut h = [0x45, 0x03, 0, 20, 1, 2, 0x40, 0, 5, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let sum = checksum::of(&h);
        h[10..12].copy_from_slice(&sum.to_be_bytes());
        run(&mut h, Scrub { no_df: true, random_id: true, min_ttl: 64, set_tos: Some(0xb8) });
        assert_eq!(checksum::of(&h), 0);
        assert_eq!((h[1], &h[4..9]), (0xbb, &[0xab, 0xcd, 0, 0, 64][..]));
    }

    #[test]
    fn fragments_keep_their_id() {
        let mut h = [0x45, 0, 0, 20, 1, 2, 0x20, 0, 5, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        run(&mut h, Scrub { random_id: true, ..Scrub::default() });
        assert_eq!(&h[4..6], &[1, 2]);
    }

    #[test]
    fn the_traffic_class_keeps_ecn_and_flow() {
        let mut h = [0; 40];
        h[..4].copy_from_slice(&0x6fff_ffff_u32.to_be_bytes());
        h[7] = 3;
        run(&mut h, Scrub { min_ttl: 9, set_tos: Some(0x28), ..Scrub::default() });
        assert_eq!(h[..4], 0x62bf_ffff_u32.to_be_bytes());
        assert_eq!(h[7], 9);
    }
}
