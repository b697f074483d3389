//! The lock around a [`Filter`].
//!
//! It is a reader-writer lock. Packets of known states share the filter ([`Lock::shared`], [`Filter::pass_known`]); all other
//! packets, control and time have it alone ([`Lock::with`]). [`Lock::process`] and [`Lock::process_batch`] choose.
//! Control holds it no longer than one page of a list or one swap of rules takes; reading and verifying an image happens
//! outside.
//!
//! Order: this lock, then that of one state or of one packet on its way ([`crate::edge::carry`]): both are tried and never
//! waited for, and nothing is taken under them (see [`pfvm::engine::known`], [`crate::edge::known`]). Whoever holds this lock,
//! either way, takes it no second time. A host guards its edge and its neighbours by this lock too, or by others that it takes
//! either always before this one or always after.
//!
//! IRQL: control runs at `PASSIVE_LEVEL`; a driver's lock may raise it to `DISPATCH_LEVEL` while `f` runs, so nothing in
//! there blocks.

use pfvm::engine::{Arriving, Carried, Outcome, Scratch, Seen};
use pfvm::packet::{Packet, PktMeta};

use crate::filter::Filter;
use crate::platform::Platform;

/// A filter behind its lock.
pub trait Lock<P: Platform> {
    /// Runs `f` with the filter held alone.
    fn with<T>(&self, f: impl FnOnce(&mut Filter<P>) -> T) -> T;

    /// Runs `f` with the filter shared with others who only share it.
    fn shared<T>(&self, f: impl FnOnce(&Filter<P>) -> T) -> T {
        self.with(|filter| f(filter))
    }

    /// Decides about a packet, with the filter shared where that will do. `scratch` is the processor's own.
    #[allow(clippy::too_many_arguments, reason = "a packet with its facts, and what is lent for it")]
    fn process(
        &self,
        pkt: &mut Packet<'_>,
        meta: &PktMeta,
        seen: Seen,
        carried: Carried,
        scratch: &mut Scratch,
        room: &mut [u8],
    ) -> Outcome {
        match self.shared(|f| f.pass_known(pkt, meta, seen, carried, scratch)) {
            Some(out) => out,
            None => self.with(|f| f.process(pkt, meta, seen, carried, room)),
        }
    }

    /// Decides about packets in order, with the filter shared up to the first that wants it alone. `done` is told of each,
    /// with the bytes that replace it when it was reassembled.
    fn process_batch(
        &self,
        batch: &mut [Arriving<'_, '_>],
        scratch: &mut Scratch,
        room: &mut [u8],
        mut done: impl FnMut(usize, &Outcome, Option<&[u8]>),
    ) {
        let passed = self.shared(|f| f.pass_known_batch(batch, scratch, |i, out| done(i, out, None)));
        let Some(rest) = batch.get_mut(passed..).filter(|rest| !rest.is_empty()) else { return };
        self.with(|f| f.process_batch(rest, room, |i, out, whole| done(passed.saturating_add(i), out, whole)));
    }
}
