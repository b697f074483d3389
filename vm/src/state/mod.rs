//! States: what the filter remembers of a conversation, and how it follows it.
//!
//! Holds the keys ([`key`]), the record ([`record`]) with its moving part ([`live`]), the tracking of TCP ([`tcp`]) and of everything else
//! ([`other`]), timeouts ([`timeout`]), the table ([`table`]) and source nodes ([`srcnode`]).
//! It knows no bytecode and no packet buffers: tracking works on numbers taken from a packet, and says what changed.
//!
//! **Invariant:** nothing here allocates after the table was built; every loop is bounded by a capacity.

pub mod index;
pub mod key;
pub mod live;
pub mod other;
pub mod pool;
pub mod record;
mod slab;
pub mod srcnode;
pub mod syncookie;
pub mod synproxy;
pub mod table;
pub mod tcp;
pub mod threshold;
pub mod timeout;

pub use key::{Idx, KeySide, StateKey};
pub use live::Live;
pub use record::{PeerState, State, StateExt, StateFlags, StatePeer};
