//! Logs, traces, and what the host says of itself.

use pfvm::api::{Code, HostReply, MAX_CHUNK, PageWriter, Refusal, SectionBytes, encode_reply};
use pfvm::watch::{Expr, ExprError, TraceRow};

use super::{MEMORY, Reply, changed, small};
use crate::filter::Filter;
use crate::platform::Platform;

/// A page of log records. The whole list's length is how many were replaced unread.
pub(super) fn log<P: Platform>(f: &mut Filter<P>, cursor: u64, reply: &mut [u8]) -> Reply {
    let mut page = PageWriter::new(reply).map_err(small)?;
    let facts = &f.facts;
    let iface = |index| facts.iface(index).map(crate::facts::Iface::name);
    let next = f.log.rows(cursor, (&f.engine, &f.units), iface, |row| page.row(row));
    Ok(page.end(next, f.generation, u32::try_from(f.log.dropped()).unwrap_or(u32::MAX)))
}

/// A page of traced packets, each followed by the rules it met. The whole list's length is how many were left out.
pub(super) fn trace<P: Platform>(f: &mut Filter<P>, cursor: u64, reply: &mut [u8]) -> Reply {
    if !f.trace.is_armed() {
        return Err(Refusal::new(Code::NotFound, "no trace is armed, or another one took its place"));
    }
    let mut page = PageWriter::new(reply).map_err(small)?;
    let facts = &f.facts;
    let iface = |index| facts.iface(index).map(crate::facts::Iface::name);
    let now = f.platform.now_ms();
    let next = f.trace.rows(cursor, now, &f.engine, iface, |row, met| {
        let mark = page.mark();
        let mut whole = page.row(row);
        for m in met {
            whole = whole && page.row(&m);
        }
        if whole {
            return true;
        }
        page.rewind(mark);
        // A packet whose rules do not fit into a whole message is told without them.
        mark.is_first() && page.row(&TraceRow { met: 0, unseen: row.met.saturating_add(row.unseen), ..*row })
    });
    let left_out = f.trace.skipped().saturating_add(f.trace.dropped());
    Ok(page.end(next, f.generation, u32::try_from(left_out).unwrap_or(u32::MAX)))
}

/// Arms the trace: packets a second, little-endian, then the expression. Nothing disarms it.
pub(super) fn set_trace<P: Platform>(f: &mut Filter<P>, bytes: &[u8], reply: &mut [u8]) -> Reply {
    if bytes.is_empty() {
        f.trace.disarm();
        return changed(0_u32, reply);
    }
    let short = Refusal::new(Code::Invalid, "a trace needs a rate and an expression");
    let (rate, expr) = bytes.split_first_chunk::<4>().ok_or(short)?;
    let expr = Expr::decode(expr).map_err(|why| match why {
        ExprError::Memory(_) => MEMORY,
        ExprError::Long => Refusal::new(Code::TooLong, "the filter expression is too long"),
        ExprError::Bytes | ExprError::Shape => Refusal::new(Code::Invalid, "the filter expression is not well formed"),
    })?;
    let now = f.platform.now_ms();
    f.trace.arm(expr, u32::from_le_bytes(*rate), now).map_err(|_| MEMORY)?;
    changed(1_u32, reply)
}

/// What the host says of itself.
pub(super) fn host<P: Platform>(f: &Filter<P>, reply: &mut [u8]) -> Reply {
    let text = |bytes| core::str::from_utf8(bytes).unwrap_or("");
    let host = HostReply {
        version: env!("CARGO_PKG_VERSION"),
        now_ms: f.platform.now_ms(),
        binding: text(&f.about.binding),
        policy: text(&f.about.policy),
        trouble: text(&f.about.trouble),
        interfaces: u32::try_from(f.facts.ifaces().len()).unwrap_or(u32::MAX),
        log: [f.log.count(), f.log.dropped(), f.engine.log_lost],
        tracing: f.trace.is_armed(),
    };
    encode_reply(&host, reply).map_err(small)
}

/// The facts file the host was started with, from a byte on.
pub(super) fn host_file<P: Platform>(f: &Filter<P>, offset: u32, reply: &mut [u8]) -> Reply {
    let at = usize::try_from(offset).unwrap_or(usize::MAX);
    let rest = f.about.file.get(at..).unwrap_or_default();
    let bytes = rest.get(..MAX_CHUNK).unwrap_or(rest);
    let total = u32::try_from(f.about.file.len()).unwrap_or(u32::MAX);
    encode_reply(&SectionBytes { total, records: 0, generation: f.generation, bytes }, reply).map_err(small)
}
