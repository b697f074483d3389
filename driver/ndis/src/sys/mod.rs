//! NDIS 6 and NT as this driver needs them: layouts, constants, and the only unsafe code of the crate.
//!
//! The layouts are those of NDIS 6.30 for 64-bit Windows, x64 and ARM64 alike, each held by assertions at compile time
//! on every machine this is built on. wdk-sys has no NDIS, hence these.
//!
//! Holds [`layout`] (structures), [`code`] (constants), [`list`] (buffer lists as owned values), [`lock`] (a value behind
//! a spin lock).
//!
//! **Invariant:** a structure that NDIS hands over is read within its `Header.Size` only.

pub mod boxed;
pub mod code;
pub mod code_im;
pub mod layout;
pub mod layout_im;
pub mod list;
pub mod lock;
pub mod modules;
pub mod place;
pub mod requests;
pub mod slots;
