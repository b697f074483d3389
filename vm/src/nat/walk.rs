//! The walk of a pool through a table: the next address not below a counter (`pfr_pool_get`).

use super::addr;
use super::pool::PoolState;
use super::{Entry, Env};
use crate::rule::{Addr, Af, TableId};

/// Entries looked at in one walk, at most. More are skipped blocks of a table nobody lists in a pool.
const STEPS: u32 = 4096;

/// What a walk found: the entry, whose network and mask the pool goes on with. The address is the counter.
pub(super) type Found = Entry;

/// What becomes of the block at hand.
enum Block {
    /// The counter is set to an address of it.
    Taken,
    /// Nothing of it can be used: the next block, from its first address or not.
    Next { from_start: bool },
}

/// Moves a pool's counter to the next usable address of a table, from where it stands, and loads the entry's weight
/// and states. `None` when the table has no address of the family, and when all of it has been walked.
///
/// `dynamic` says that the table holds an interface's addresses: link-local ones are passed over then.
pub(super) fn next<E: Env + ?Sized>(
    env: &mut E,
    pool: &mut PoolState,
    table: TableId,
    dynamic: bool,
    af: Af,
) -> Option<Found> {
    let facts = env.facts(table)?;
    let inside = pool.index < facts.count;
    let start = if inside { pool.index } else { 0 };
    let (mut index, mut use_counter, mut looped) = (start, inside, false);
    for _ in 0..STEPS {
        if looped && index == start {
            break;
        }
        let entry = match env.entry(table, af, index) {
            Some(e) => e,
            None if looped => break,
            None => {
                (index, looped) = (0, true);
                let Some(e) = env.entry(table, af, 0) else { break };
                e
            }
        };
        if index == 0 && use_counter && facts.weighted {
            pool.lower_weight(facts.gcd, facts.max);
        }
        match block(env, pool, table, dynamic, af, &entry, use_counter) {
            Block::Taken => {
                pool.index = index;
                pool.weight = entry.weight;
                pool.states = entry.states;
                env.looked_up(table, true);
                return Some(entry);
            }
            Block::Next { from_start } => {
                index = index.wrapping_add(1);
                use_counter = use_counter && !from_start;
            }
        }
    }
    env.looked_up(table, false);
    None
}

/// Looks for a usable address in one block of the table.
fn block<E: Env + ?Sized>(
    env: &E,
    pool: &mut PoolState,
    table: TableId,
    dynamic: bool,
    af: Af,
    entry: &Entry,
    use_counter: bool,
) -> Block {
    let mask = addr::mask(af, entry.prefix);
    let mut at = entry.addr;
    if use_counter && !addr::is_zero(af, &pool.counter) {
        if !addr::same_net(&entry.addr, mask, &pool.counter) {
            return Block::Next { from_start: true };
        }
        at = addr::only(af, &pool.counter);
    }
    if entry.prefix >= addr::width(af) {
        if dynamic && addr::is_link_local(af, &at) {
            return Block::Next { from_start: false };
        }
        pool.counter = at;
        return Block::Taken;
    }
    for _ in 0..STEPS {
        let Some(inner) = env.longest(table, af, &at) else { break };
        let same = inner.prefix == entry.prefix && addr::same_net(&inner.addr, mask, &entry.addr);
        if same && !(dynamic && addr::is_link_local(af, &at)) {
            pool.counter = at;
            return Block::Taken;
        }
        at = match past(af, &inner, &at) {
            Some(a) if addr::same_net(&entry.addr, mask, &a) => a,
            _ => break,
        };
    }
    Block::Next { from_start: true }
}

/// The first address behind a block nested in another. pf computes it with an IPv4 mask in both families, which in
/// IPv6 leads out of the outer block.
fn past(af: Af, inner: &Entry, at: &Addr) -> Option<Addr> {
    match af {
        Af::Inet => {
            let last = addr::bits(at) | !addr::mask(af, inner.prefix);
            Some(addr::next(af, &addr::of(af, last)))
        }
        Af::Inet6 => None,
    }
}
