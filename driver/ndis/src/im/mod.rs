//! The second binding: an intermediate driver, a protocol below and a virtual miniport above, over the same module.
//!
//! ```text
//!        TCP/IP and other protocols
//!   send │      ▲ indicate                 the miniport: [adapter]
//!   ─────▼──────┴─────
//!   [between]: an `Os` whose module handle is our own record; lists change their source here and change it back
//!   the module ([`crate::module`]): the same as under a filter
//!   ─────┬──────▲─────
//!   send ▼      │ receive                  the protocol: [adapter], bound and let go by [driver]
//!        the adapter below
//! ```
//!
//! One miniport stands above each adapter below. It looks like that adapter: [`facts`] says how. Requests go down as
//! clones, but for those about power and what a virtual adapter does not have ([`request`]); of what the adapter below
//! reports, [`link`] says what goes up.
//!
//! What keeps what from going away: a miniport that is [`adapter::Adapter::alive`] waits in its halt for every call and
//! request under way. It is paused when every list it indicated or was given to send is back ([`adapter::Adapter::up`]),
//! the binding when every list it sent is back ([`adapter::Adapter::down`]).
//!
//! **Invariant:** a list goes up with the miniport's handle as its source, down with the binding's, and back with the one
//! it came with.
//! **Invariant:** a list that cannot go on goes back at once: completed with a reason, or given back.
//!
//! Locks: an adapter's states, its link, the table of adapters; one at a time, none while NDIS is called. IRQL: as NDIS
//! documents each handler.
//!
//! Source: "NDIS Intermediate Drivers" and the handlers' pages in the Windows driver documentation.

pub mod adapter;
pub mod between;
pub mod driver;
pub mod facts;
pub mod life;
pub mod link;
pub mod names;
pub mod os;
pub mod request;
