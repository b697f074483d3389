//! Walking a table as a pool: the next address in turn.
//!
//! Source: `pf_table.c` (`pfr_pool_get`, `pfr_kentry_byidx`).

use super::{EntryView, Slot, Tables, key_of, unkey};
use crate::rule::{Addr, Af};

/// Where a pool stands in its table, kept by the pool (`tblidx`, `counter`, `curweight` of `struct pf_pool`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Entry in use; `None` before the first, and after a reset.
    pub index: Option<u32>,
    /// Address in use.
    pub counter: Addr,
    /// Weight an entry must have to be taken now.
    pub current_weight: i32,
}

/// An address out of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// The address; [`Cursor::counter`] has it too.
    pub addr: Addr,
    /// The entry it lies in.
    pub entry: EntryView,
    /// Weight of the entry, 1 when it was given none.
    pub weight: u16,
    /// States counted on the entry, 0 for networks.
    pub states: u32,
}

/// Blocks a walk may meet that are nested in the one it stands in, before it gives up on it: keeps a packet's time
/// bounded where a block is all made of smaller ones.
const MAX_NESTED: u32 = 1024;

impl Tables {
    /// The address at the cursor, or the next entry's first one when the cursor's address has left its entry.
    /// `None` when the table holds nothing (more) of the family; the caller may reset the cursor and ask again.
    ///
    /// `local` says that the table is that of an interface, whose link-local addresses are passed over.
    pub fn pick(&self, slot: Slot, af: Af, local: bool, cursor: &mut Cursor) -> Option<Picked> {
        let all = self.len(slot);
        let (mut index, mut counting) = match cursor.index {
            Some(i) if i < all => (i, true),
            _ => (0, false),
        };
        let start = index;
        let mut looped = false;
        for _ in 0..all.saturating_mul(2).saturating_add(2) {
            if looped && start == index {
                break;
            }
            let entry = match self.nth(slot, af, index) {
                Some(entry) => entry,
                None if looped => break,
                None => {
                    (index, looped) = (0, true);
                    self.nth(slot, af, 0)?
                }
            };
            if index == 0 && counting {
                self.lower_weight(slot, cursor);
            }
            let held = counting && cursor.counter != Addr::default();
            let first = if !held {
                Some(entry.addr)
            } else if entry.covers(&cursor.counter) {
                Some(cursor.counter)
            } else {
                counting = false;
                None
            };
            let found = first.and_then(|addr| self.outside_nested(slot, &entry, addr, local));
            if let Some(addr) = found {
                (cursor.counter, cursor.index) = (addr, Some(index));
                return Some(Picked { addr, entry, weight: entry.weight.max(1), states: entry.states });
            }
            // A lone link-local address leaves the cursor's address in force, as in pf.
            if !(entry.is_host() && first.is_some()) {
                counting = false;
            }
            index = index.saturating_add(1);
        }
        None
    }

    /// Lowers the weight asked for, at the start of each round of a weighted table.
    fn lower_weight(&self, slot: Slot, cursor: &mut Cursor) {
        let weights = self.weights(slot);
        if weights.cost_entries > 0 {
            cursor.current_weight = cursor.current_weight.saturating_sub(i32::from(weights.gcd));
            if cursor.current_weight < 1 {
                cursor.current_weight = i32::from(weights.max);
            }
        }
    }

    /// The first address of an entry from `addr` on that is not of an entry nested in it.
    fn outside_nested(&self, slot: Slot, entry: &EntryView, addr: Addr, local: bool) -> Option<Addr> {
        let unwanted = |a: &Addr| local && entry.af == Af::Inet6 && is_link_local(a);
        if entry.is_host() {
            return (!unwanted(&addr)).then_some(addr);
        }
        let mut addr = addr;
        for _ in 0..MAX_NESTED {
            let inner = self.lookup(slot, entry.af, &addr)?;
            if (inner.addr, inner.prefix) == (entry.addr, entry.prefix) && !unwanted(&addr) {
                return Some(addr);
            }
            // Pf steps over a nested IPv6 block with an IPv4 mask and so leaves the whole entry.
            let next = if entry.af == Af::Inet { after(&inner) } else { None };
            addr = next.filter(|a| entry.covers(a))?;
        }
        None
    }
}

/// The address after the last one of an IPv4 entry.
fn after(entry: &EntryView) -> Option<Addr> {
    let size = 1_u128.checked_shl(128_u32.checked_sub(u32::from(entry.prefix))?)?;
    Some(unkey(key_of(&entry.addr).checked_add(size)?))
}

fn is_link_local(a: &Addr) -> bool {
    let [x, y, ..] = a.0;
    x == 0xfe && y & 0xc0 == 0x80
}
