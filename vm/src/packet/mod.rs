//! From bytes to a description: [`Packet`] → `describe` → [`PacketDesc`].
//!
//! Holds the packet buffer the engine reads and rewrites, the description all of the engine works on
//! (`struct pf_pdesc`), the offload facts of a packet and the reasons of a drop.
//! **Invariant:** nothing here panics, allocates or loops without a bound, whatever the bytes.
//! **Invariant:** a description depends on the bytes alone, never on how they are split into buffers.
//!
//! Source: OpenBSD `sys/net/pf.c` (`pf_setup_pdesc`, `pf_walk_header`, `pf_walk_header6`), `sys/net/pfvar.h`.

mod buffer;
mod desc;
mod describe;
mod meta;
mod reason;
mod walk;

pub use buffer::Packet;
pub use desc::{BadOpts, FragInfo, IcmpInfo, L4, PacketDesc, TcpInfo, proto, tcp_flags};
pub use describe::{addr4, describe, describe_into};
pub use meta::{Checksum, PktMeta, Segments};
pub use reason::{DropReason, REASONS, Refusal};
pub use walk::{Bounds, Walk, walk4, walk6};
