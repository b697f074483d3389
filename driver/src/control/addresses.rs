//! Addresses of tables: a few in a message, any number that was uploaded.
//!
//! What each address comes to is said with pf's letters, in the order they were given; a replacement adds the entries it
//! deleted. An operation is one: it is worked out before anything is touched, and what cannot be done whole is not begun.
//!
//! Source: `pf_table.c pfr_add_addrs`, `pfr_del_addrs`, `pfr_set_addrs`, `pfr_tst_addrs`, `pfr_clr_astats`.

use alloc::vec::Vec;

use pfvm::api::{
    Code, Counted as Totals, END, FeedbackRow, MAX_ADDRESSES, PAGE_HEADER, PageWriter, Refusal, TableOp, encode_reply,
    feedback,
};
use pfvm::engine::tables::entry;
use pfvm::image::{Bulk, Entry as Record};
use pfvm::state::pool::room;
use pfvm::table::{Entry, Slot, TableError};

use super::tables::{changeable, failed, find, push};
use super::{MEMORY, Reply, memory, small};
use crate::filter::Filter;
use crate::platform::Platform;

/// Bytes of the longest feedback row.
const FEEDBACK: usize = 24;
/// Bytes of the shortest.
const PLAIN: usize = 2;

/// The records of a request, each checked.
fn records(bytes: &[u8]) -> Result<Vec<Entry>, Refusal<'static>> {
    let count = bytes.len() / Record::SIZE;
    if count.saturating_mul(Record::SIZE) != bytes.len() {
        return Err(Refusal::new(Code::Invalid, "addresses are 20 bytes each"));
    }
    let mut all = room("addresses", u32::try_from(count).unwrap_or(u32::MAX)).map_err(memory)?;
    for (at, chunk) in (0..=u64::MAX).zip(bytes.chunks(Record::SIZE)) {
        let record = Record::read(chunk).ok_or(MEMORY)?;
        let width = if record.flags & Record::INET6 == 0 { 32 } else { 128 };
        if record.prefix > width || record.flags & !(Record::INET6 | Record::NOT) != 0 {
            return Err(Refusal::new(Code::Invalid, "an address is wrong, number").at(at));
        }
        push(&mut all, entry(&record));
    }
    Ok(all)
}

/// What is asked of which table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'m> {
    pub(super) path: &'m str,
    pub(super) name: &'m str,
    pub(super) op: TableOp,
    pub(super) dry: bool,
}

/// What an operation came to.
struct Done {
    /// A letter for each address.
    codes: Vec<u8>,
    /// Entries a replacement deleted.
    gone: Vec<Entry>,
}

impl Done {
    fn count(&self, code: u8) -> u32 {
        pfvm::count::number(self.codes.iter().filter(|c| **c == code))
    }
}

/// Everything but tests. `fits` is asked before anything is done.
fn carry_out<P: Platform>(
    f: &mut Filter<P>,
    asked: Asked<'_>,
    entries: &[Entry],
    fits: impl FnOnce(&Done) -> Result<(), Refusal<'static>>,
) -> Result<Done, Refusal<'static>> {
    let Asked { path, name, op, dry } = asked;
    let slot = match op {
        TableOp::Test | TableOp::Zero => find(f, path, name)?.slot,
        TableOp::Add | TableOp::Delete | TableOp::Replace => changeable(f, path, name)?,
    };
    let now = f.seconds();
    f.engine.tables.all.clock(now);
    let mut done = Done { codes: codes(entries)?, gone: Vec::new() };
    if op == TableOp::Replace {
        done.gone = gone_by(f, slot, entries)?;
        mark_replaced(f, slot, entries, &mut done.codes);
        fits(&done)?;
        if !dry {
            f.engine.tables.all.replace(slot, entries).map_err(failed)?;
        }
    } else {
        fits(&done)?;
        change(f, slot, op, dry, entries, &mut done.codes)?;
    }
    Ok(done)
}

/// Addresses of a message; the answer is a row for each.
pub(super) fn few<P: Platform>(f: &mut Filter<P>, asked: Asked<'_>, entries: &[u8], reply: &mut [u8]) -> Reply {
    let entries = records(entries)?;
    if entries.len() > MAX_ADDRESSES {
        return Err(Refusal::new(Code::TooLong, "too many addresses; the most is").at(MAX_ADDRESSES as u64));
    }
    let Asked { path, name, op, .. } = asked;
    let room = reply.len().saturating_sub(PAGE_HEADER);
    // Whether the answer fits is asked first: an operation cannot be asked for twice.
    let size = if op == TableOp::Test { FEEDBACK } else { PLAIN };
    let needed = entries.len().saturating_mul(size);
    if room < needed {
        return Err(Refusal::new(Code::Message, "the buffer for the answer is too small"));
    }
    let mut page = PageWriter::new(reply).map_err(small)?;
    if op == TableOp::Test {
        let slot = find(f, path, name)?.slot;
        entries.iter().for_each(|e| put(&mut page, test(f, slot, e)));
    } else {
        let done = carry_out(f, asked, &entries, |done| {
            let all = needed.saturating_add(done.gone.len().saturating_mul(FEEDBACK));
            let long = Refusal::new(Code::TooLong, "more addresses go than an answer holds: upload the new ones");
            if all <= room { Ok(()) } else { Err(long) }
        })?;
        done.codes.iter().for_each(|c| put(&mut page, FeedbackRow { code: *c, entry: None }));
        for e in done.gone {
            let entry = Some((e.af, e.addr, e.prefix, e.not));
            put(&mut page, FeedbackRow { code: feedback::DELETED, entry });
        }
    }
    Ok(page.end(END, f.generation, u32::try_from(entries.len()).unwrap_or(u32::MAX)))
}

/// Uploaded addresses. Gives a letter for each, and behind them the records of the entries that a replacement deleted.
pub(super) fn many<P: Platform>(
    f: &mut Filter<P>,
    asked: Asked<'_>,
    bytes: &[u8],
) -> Result<Vec<u8>, Refusal<'static>> {
    if asked.op == TableOp::Test {
        return Err(Refusal::new(Code::Invalid, "addresses are tested a message at a time"));
    }
    let entries = records(bytes)?;
    let mut answer = Vec::new();
    let done = carry_out(f, asked, &entries, |done| {
        let size = done.gone.len().saturating_mul(Record::SIZE).saturating_add(done.codes.len());
        answer.try_reserve_exact(size).map_err(|_| MEMORY)
    })?;
    done.codes.iter().for_each(|c| push(&mut answer, *c));
    for e in done.gone {
        let not = if e.not { Record::NOT } else { 0 };
        let family = if e.af == pfvm::rule::Af::Inet6 { Record::INET6 } else { 0 };
        let [low, high] = 0_u16.to_le_bytes();
        let record = e.addr.0.into_iter().chain([e.prefix, not | family, low, high]);
        record.for_each(|b| push(&mut answer, b));
    }
    Ok(answer)
}

/// A replacement by uploaded addresses, of which only the counts are wanted.
pub(super) fn replace<P: Platform>(f: &mut Filter<P>, asked: Asked<'_>, bytes: &[u8], reply: &mut [u8]) -> Reply {
    let entries = records(bytes)?;
    let done = carry_out(f, asked, &entries, |_| Ok(()))?;
    let deleted = u32::try_from(done.gone.len()).unwrap_or(u32::MAX);
    let (added, changed) = (done.count(feedback::ADDED), done.count(feedback::CHANGED));
    encode_reply(&Totals { added, deleted, changed }, reply).map_err(small)
}

fn put(page: &mut PageWriter<'_>, row: FeedbackRow) {
    // Cannot fail: room was asked for.
    let _ = page.row(&row);
}

/// A code for each entry; duplicates are marked.
fn codes(entries: &[Entry]) -> Result<Vec<u8>, Refusal<'static>> {
    let mut order = room("addresses", u32::try_from(entries.len()).unwrap_or(u32::MAX)).map_err(memory)?;
    (0..entries.len()).for_each(|at| push(&mut order, at));
    let key = |at: usize| entries.get(at).map(|e| (e.af, masked(e), e.prefix));
    pfvm::sort::sort_by(&mut order, |a, b| (key(*a), a) < (key(*b), b));
    let mut codes =
        pfvm::state::pool::filled("addresses", u32::try_from(entries.len()).unwrap_or(u32::MAX), feedback::NONE)
            .map_err(memory)?;
    for (a, b) in order.iter().zip(order.iter().skip(1)) {
        if key(*a) == key(*b)
            && let Some(c) = codes.get_mut(*b)
        {
            *c = feedback::DUPLICATE;
        }
    }
    Ok(codes)
}

fn masked(e: &Entry) -> u128 {
    let mask = u128::MAX.checked_shl(128_u32.saturating_sub(e.prefix.into())).unwrap_or(0);
    u128::from_be_bytes(e.addr.0) & mask
}

/// Adds, deletes or zeroes; of an addition the room is looked at first, so that it is all or nothing.
fn change<P: Platform>(
    f: &mut Filter<P>,
    slot: Slot,
    op: TableOp,
    dry: bool,
    entries: &[Entry],
    codes: &mut [u8],
) -> Result<(), Refusal<'static>> {
    let tables = &mut f.engine.tables.all;
    let there = |t: &pfvm::table::Tables, e: &Entry| t.find(slot, e.af, &e.addr, e.prefix);
    if op == TableOp::Add {
        let fresh = entries.iter().zip(codes.iter()).filter(|(e, c)| **c == 0 && there(tables, e).is_none());
        if !tables.has_room_for(pfvm::count::number(fresh)) {
            return Err(failed(TableError::Full));
        }
    }
    // First what each comes to, seen from before, then the doing: only what a request itself adds or deletes makes what
    // repeats it a duplicate.
    for (e, code) in entries.iter().zip(codes.iter_mut()) {
        let again = *code == feedback::DUPLICATE;
        let same = there(tables, e).map(|f| f.not == e.not);
        *code = match (op, same) {
            (TableOp::Add, None) | (TableOp::Delete, Some(true)) if again => feedback::DUPLICATE,
            (TableOp::Add, None) => feedback::ADDED,
            (TableOp::Delete, Some(true)) => feedback::DELETED,
            (TableOp::Zero, Some(_)) => feedback::CLEARED,
            (_, Some(false)) => feedback::CONFLICT,
            _ => feedback::NONE,
        };
    }
    for (e, code) in entries.iter().zip(codes.iter()).filter(|_| !dry) {
        match *code {
            feedback::ADDED => tables.add(slot, e).map(|_| ()),
            feedback::DELETED => tables.delete(slot, e).map(|_| ()),
            feedback::CLEARED => {
                tables.zero_entry(slot, e.af, &e.addr, e.prefix);
                Ok(())
            }
            _ => Ok(()),
        }
        .map_err(failed)?;
    }
    Ok(())
}

/// What a replacement says of each entry.
fn mark_replaced<P: Platform>(f: &Filter<P>, slot: Slot, entries: &[Entry], codes: &mut [u8]) {
    for (e, code) in entries.iter().zip(codes).filter(|(_, c)| **c == feedback::NONE) {
        match f.engine.tables.all.find(slot, e.af, &e.addr, e.prefix) {
            None => *code = feedback::ADDED,
            Some(found) if found.not != e.not => *code = feedback::CHANGED,
            Some(_) => {}
        }
    }
}

/// Entries that a replacement deletes.
fn gone_by<P: Platform>(f: &Filter<P>, slot: Slot, entries: &[Entry]) -> Result<Vec<Entry>, Refusal<'static>> {
    let mut keys = room("addresses", u32::try_from(entries.len()).unwrap_or(u32::MAX)).map_err(memory)?;
    entries.iter().for_each(|e| push(&mut keys, (e.af, masked(e), e.prefix)));
    pfvm::sort::sort_by(&mut keys, |a, b| a < b);
    let mut gone = Vec::new();
    for v in f.engine.tables.all.entries(slot) {
        let e = Entry { not: v.not, ..Entry::new(v.af, v.addr, v.prefix) };
        if keys.binary_search(&(e.af, masked(&e), e.prefix)).is_err() {
            gone.try_reserve(1).map_err(|_| MEMORY)?;
            push(&mut gone, e);
        }
    }
    Ok(gone)
}

/// `-T test`: the entry of the longest prefix decides.
fn test<P: Platform>(f: &Filter<P>, slot: Slot, e: &Entry) -> FeedbackRow {
    let found = f.engine.tables.all.lookup(slot, e.af, &e.addr);
    let code = match &found {
        Some(v) if v.not => feedback::NOT_MATCH,
        Some(_) => feedback::MATCH,
        None => feedback::NONE,
    };
    FeedbackRow { code, entry: found.map(|v| (v.af, v.addr, v.prefix, v.not)) }
}
