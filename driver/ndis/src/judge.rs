//! Who decides about frames.
//!
//! The filter's half of NDIS knows frames, lists and modules; what is to become of a frame it asks here. The driver asks
//! the edge and the engine, tests ask what they like.
//!
//! Called with the driver's lock held, at `DISPATCH_LEVEL`: alone where the judge is lent to be changed, else shared with
//! other processors. **Invariant:** nothing here waits or calls NDIS.

use pfdriver::edge::offload::Offload;
use pfdriver::edge::port::PortId;
use pfdriver::edge::{Entry, Fate, Lent, Sink};

/// An adapter a module was put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// Index of its interface.
    pub if_index: u32,
    /// LUID of its interface.
    pub luid: u64,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Longest packet of its link.
    pub mtu: u32,
}

/// Decides.
pub trait Judge: Send + Sync {
    /// What a processor has of its own for frames that are decided with the judge shared.
    type Local: Send + core::fmt::Debug;

    /// One of these. `None` when there is no room.
    fn local(&self) -> Option<Self::Local>;
    /// What becomes of a frame: a drop, or straight on. `None`: nothing has changed, the judge is wanted alone.
    fn shared(&self, local: &mut Self::Local, entry: Entry, lent: Lent<'_>, offload: Offload) -> Option<Fate>;
    /// Takes over what frames that are decided so have counted, before the share ends.
    fn tell(&self, local: &mut Self::Local);
    /// Takes over the rest.
    fn gather(&mut self, local: &mut Self::Local);
    /// So many frames were to go on and could not: no copy was free, or as many waited for their time as may.
    fn short(&mut self, frames: u32);

    /// A module is attached: the port it is from now on. `None` when there is no room for another.
    fn attach(&mut self, adapter: &Adapter) -> Option<PortId>;
    /// It goes on with this MTU.
    fn restarted(&mut self, port: PortId, mtu: u32);
    /// It goes away.
    fn detach(&mut self, port: PortId);
    /// What becomes of a frame; frames other than it go to the sink.
    fn frame<S: Sink>(&mut self, entry: Entry, lent: Lent<'_>, offload: Offload, sink: &mut S) -> Fate;
    /// Milliseconds since some fixed point.
    fn now_ms(&self) -> u64;
    /// Frames that may wait for their time at once (`set limit pktdelay_pkts`).
    fn may_wait(&self) -> u32;
    /// Some time has passed: a bounded piece of what is to be done then.
    fn tick<S: Sink>(&mut self, sink: &mut S);
}
