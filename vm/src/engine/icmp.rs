//! ICMP: queries by identifier, and errors by the packet they quote.
//!
//! Source: `pf.c pf_test_state_icmp`, `pf_icmp_state_lookup`.

use crate::engine::Engine;
use crate::engine::create::neighbour;
use crate::engine::cx::{Action, Cx};
use crate::engine::order::Sought;
use crate::host::Host;
use crate::nat::icmp_error::{self, NewQuote, Quote, QuotedL4};
use crate::nat::rewrite;
use crate::packet::{DropReason, Packet, PacketDesc, proto};
use crate::rule::{Addr, Af, Direction, Timeout};
use crate::state::key::{Idx, KeySide, StateKey};
use crate::state::other::{IcmpMap, icmp_map};
use crate::state::record::{StateFlags, StateTimeout};
use crate::state::tcp::seq_geq;

/// The sixteen bytes after an ICMPv6 header, which name a target or a group; zeros where there are none.
#[must_use]
#[inline(never)]
pub fn target_of(pkt: &Packet<'_>, pd: &PacketDesc) -> [u8; 16] {
    if pd.proto != proto::ICMPV6 || pd.hdrlen < 24 {
        return [0; 16];
    }
    let off = usize::try_from(pd.off).unwrap_or(usize::MAX).saturating_add(8);
    pkt.array(off).unwrap_or_default()
}

/// The message of a packet in terms of states.
#[must_use]
pub fn map_of(pkt: &Packet<'_>, pd: &PacketDesc) -> Option<IcmpMap> {
    let i = pd.icmp()?;
    Some(icmp_map(pd.af, i.kind, i.id, &target_of(pkt, pd)))
}

/// How a look-up went.
enum Found {
    /// A state this message belongs to.
    Yes(u32),
    /// None; the rules are asked.
    No,
    /// One, but the message runs the wrong way: dropped.
    Wrong(u32),
}

/// What a look-up is about: the message itself or the one it quotes.
struct Query<'q> {
    map: &'q IcmpMap,
    src: Addr,
    dst: Addr,
    /// Direction of the sides in the key; of a quoted message, the opposite of the error's.
    sides: Direction,
    quoted: bool,
}

impl Engine {
    /// An ICMP message: of a state, about a state, or neither.
    #[inline(never)]
    pub(super) fn test_state_icmp<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>) -> Action {
        let Some(map) = map_of(cx.pkt, cx.pd) else { return Action::Drop };
        if map.foreign { self.icmp_about(cx) } else { self.icmp_query(cx, &map) }
    }

    /// Looks a query or answer up. Multicast solicitations are answered from other addresses than they went to.
    fn icmp_lookup<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, q: &Query<'_>) -> Found {
        let mut found = self.icmp_find(cx, q, false);
        let v6 = cx.pd.af == Af::Inet6;
        if matches!(found, Found::No | Found::Wrong(_)) && v6 && q.map.dir == Direction::Out {
            // Neighbours are not asked for among many.
            if q.map.kind != 135 {
                if let Found::Wrong(s) = found {
                    cx.state = Some(s);
                }
                found = match self.icmp_find(cx, q, true) {
                    Found::No if cx.state.is_some() => return found,
                    other => other,
                };
            }
        }
        found
    }

    fn icmp_find<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, q: &Query<'_>, multicast: bool) -> Found {
        let p = cx.pd.proto;
        let (sport, dport) = q.map.ports();
        let mut src = q.src;
        if multicast {
            src = Addr([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        }
        let key = StateKey::of_packet(cx.pd.af, p, q.sides, (src, sport), (q.dst, dport));
        let Some(slot) = self.find_state(cx, &key) else { return Found::No };
        let Some(s) = self.table.get(slot) else { return Found::No };
        if s.flags.has(StateFlags::SLOPPY) {
            return Found::Yes(slot);
        }
        let stack_af = s.stack(self.table.ext(s)).af;
        let direction = if s.af() == stack_af {
            s.direction()
        } else if cx.pd.af == s.af() {
            Direction::In
        } else {
            Direction::Out
        };
        let with = (direction == cx.pd.dir) != q.quoted;
        let expected = if with { Direction::In } else { Direction::Out };
        if expected == q.map.dir { Found::Yes(slot) } else { Found::Wrong(slot) }
    }

    /// A query or its answer.
    fn icmp_query<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, map: &IcmpMap) -> Action {
        let (src, dst) = neighbour(cx.pd, &target_of(cx.pkt, cx.pd));
        let q = Query { map, src, dst, sides: cx.pd.dir, quoted: false };
        let slot = match self.icmp_lookup(cx, &q) {
            Found::Yes(slot) => slot,
            Found::No => return Action::Drop,
            Found::Wrong(slot) => {
                cx.state = Some(slot);
                return Action::Drop;
            }
        };
        cx.state = Some(slot);
        let now = cx.now;
        self.change(slot, |s| {
            s.expire = now;
            s.set_timeout(StateTimeout::Named(Timeout::IcmpError));
        });
        let Some(nk) = self.other_key(slot, cx.pd) else { return Action::Pass };
        let to = nk.target();
        if nk.changes {
            cx.pd.naf = nk.key.af;
            (cx.pd.nsaddr, cx.pd.ndaddr) = (to.src, to.dst);
        }
        let id = id_of(&nk.key, id_idx(map, cx.pd.dir), nk.changes);
        match rewrite::icmp_query(cx.pkt, cx.meta, cx.pd, &to, id) {
            Ok(Some(done)) => {
                cx.redirected |= done.destination;
                if nk.changes { Action::AfTo } else { Action::Pass }
            }
            Ok(None) => Action::Drop,
            Err(_) => self.refuse(cx, DropReason::Memory),
        }
    }

    /// An error: belongs to the state of the packet it quotes.
    fn icmp_about<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>) -> Action {
        let mut quote = match Quote::read(cx.pkt, cx.meta, cx.pd) {
            Ok(q) => q,
            Err(reason) => return self.refuse(cx, reason),
        };
        let sides = match cx.pd.dir {
            Direction::In => Direction::Out,
            Direction::Out => Direction::In,
        };
        let mut map = None;
        let slot = match quote.l4 {
            QuotedL4::Icmp { kind, id } => {
                let m = icmp_map(cx.pd.af, kind, id, &[0; 16]);
                map = Some(m);
                let q = Query { map: &m, src: quote.src, dst: quote.dst, sides, quoted: true };
                match self.icmp_lookup(cx, &q) {
                    Found::Yes(slot) => Some(slot),
                    Found::No => None,
                    Found::Wrong(slot) => {
                        cx.state = Some(slot);
                        return Action::Drop;
                    }
                }
            }
            _ => {
                let (sport, dport) = quote.ports();
                let ends = ((quote.src, sport), (quote.dst, dport));
                let key = StateKey::of_packet(cx.pd.af, quote.proto, sides, ends.0, ends.1);
                self.find_state(cx, &key)
            }
        };
        let Some(slot) = slot else { return Action::Drop };
        cx.state = Some(slot);
        if let QuotedL4::Tcp { seq, .. } = quote.l4
            && let Err(reason) = self.quoted_fits(cx, slot, &mut quote, seq)
        {
            return self.refuse(cx, reason);
        }
        self.rewrite_quote(cx, slot, &mut quote, map.as_ref())
    }

    /// Whether a quoted segment lies in what its sender may have sent; undoes modulation in it.
    fn quoted_fits<H: Host>(
        &mut self,
        cx: &mut Cx<'_, '_, H>,
        slot: u32,
        quote: &mut Quote,
        seq: u32,
    ) -> Result<(), DropReason> {
        let Some(s) = self.table.get(slot) else { return Ok(()) };
        // The quoted packet ran against the error.
        let forward = (cx.pd.dir == s.direction()) == self.reversed(slot, cx.pd.af);
        let sloppy = s.flags.has(StateFlags::SLOPPY);
        let mut live = s.live();
        let (src, dst) = live.peers_mut(forward);
        let dws = if src.wscale != 0 && dst.wscale != 0 { dst.shift() } else { 0 };
        let own = seq.wrapping_sub(src.seqdiff);
        if src.seqdiff != 0 {
            quote.sequence(cx.pkt, cx.meta, cx.pd, own).map_err(|_| DropReason::Memory)?;
        }
        let behind = src.seqlo.wrapping_sub(u32::from(dst.max_win).checked_shl(dws).unwrap_or(u32::MAX));
        let inside = seq_geq(src.seqhi, own) && seq_geq(own, behind);
        if !(sloppy || inside) {
            return Err(DropReason::StateMismatch);
        }
        Ok(())
    }

    fn rewrite_quote<H: Host>(
        &mut self,
        cx: &mut Cx<'_, '_, H>,
        slot: u32,
        quote: &mut Quote,
        map: Option<&IcmpMap>,
    ) -> Action {
        let Some(nk) = self.other_key(slot, cx.pd) else { return Action::Pass };
        // The quoted packet's source is the error's destination.
        let mut own = nk;
        own.source = nk.source.other();
        let to = own.target();
        let echo = map.filter(|m| m.kind == if cx.pd.af == Af::Inet { 8 } else { 128 }).map(|m| {
            let sides = match cx.pd.dir {
                Direction::In => Direction::Out,
                Direction::Out => Direction::In,
            };
            id_of(&nk.key, id_idx(m, sides), nk.changes)
        });
        let new = NewQuote { to, echo };
        if nk.changes {
            cx.pd.naf = nk.key.af;
            let id = u16::try_from(cx.host.random_u32() & 0xffff).unwrap_or(1).max(1);
            return match icmp_error::change_family(cx.pkt, cx.meta, cx.pd, quote, &new, id) {
                Ok(Some(_)) => {
                    cx.redirected = true;
                    Action::AfTo
                }
                Ok(None) => Action::Drop,
                Err(_) => self.refuse(cx, DropReason::Memory),
            };
        }
        match icmp_error::rewrite(cx.pkt, cx.meta, cx.pd, quote, &new) {
            Ok(done) => {
                cx.redirected |= done.destination;
                Action::Pass
            }
            Err(_) => self.refuse(cx, DropReason::Memory),
        }
    }

    /// The state of a key as seen by the packet at hand; a rule's packet rate counts here (`pf_find_state`).
    pub(super) fn find_state<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>, key: &StateKey) -> Option<u32> {
        let mut slot = match core::mem::take(cx.sought) {
            Sought::Not | Sought::Refused(_) => self.table.find(key, cx.pd.dir, cx.pd.iface),
            Sought::Hashed(hash) => self.table.find_hashed(key, hash, cx.pd.dir, cx.pd.iface),
            Sought::Found(slot) => {
                self.table.count_search();
                slot
            }
        }?;
        if !self.flushes.is_empty() {
            // As many rounds as there are states: each ends one.
            for _ in 0..self.table.len() {
                if !self.ended_by_flush(slot) {
                    break;
                }
                slot = self.table.find(key, cx.pd.dir, cx.pd.iface)?;
            }
        }
        let s = self.table.get(slot)?;
        let with = s.direction() == cx.pd.dir;
        if let Some(e) = self.rules.get_mut(s.rule)
            && e.rate.limited()
            && with
        {
            e.rate.add(cx.now);
            if e.rate.exceeded() {
                return None;
            }
        }
        Some(slot)
    }
}

/// Which element of a key holds the identifier.
const fn id_idx(map: &IcmpMap, dir: Direction) -> Idx {
    match map.dir {
        Direction::In => Idx::source(dir),
        Direction::Out => Idx::dest(dir),
    }
}

/// The identifier in the other key.
const fn id_of(key: &StateKey, idx: Idx, changes: bool) -> u16 {
    let idx = if changes { idx.other() } else { idx };
    key.end(idx).1
}

/// Which of a state's keys packets of a direction are looked up by.
#[must_use]
pub const fn looked_up_by(dir: Direction) -> KeySide {
    KeySide::lookup(dir)
}
