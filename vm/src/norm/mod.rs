//! Normalisation: fragments, TCP sanity, `scrub`, `reassemble tcp`.
//!
//! Holds what changes a packet apart from translation: [`frag`] as a packet enters, [`tcp`] before and while a state
//! follows it, [`scrub`] as it leaves. Each change keeps the checksums it touches true to what they were.
//!
//! **Invariant:** no function here knows rules or states; callers say what is to be done.

pub mod frag;
mod patch;
pub mod scrub;
pub mod tcp;
