//! An NDIS that runs in user mode: what the filter calls is here, and what it is called with is made here.
//!
//! Holds [`world::Mock`] (the functions of NDIS and NT the filter asks for, and an account of everything it has been
//! given), [`stack`] (the orders NDIS gives a driver: attach to detach, frames, requests, events), [`script`] (a judge whose
//! verdicts a test knows), [`locks`] (processors and reader-writer locks), [`numbers`] and [`sys`] (buffer lists in real
//! memory, cut into pieces as the test likes); for benchmarks [`plain`], the same functions without an account. The
//! image that Wine loads as ndis.sys lies in `pe/`.
//!
//! **Invariant:** a buffer list is in one place: with the filter, below it, above it, or at home. Whatever the filter does
//! with one it does not have ends the test; so does anything called with a lock held, above the level it may be called
//! at, or with memory that is not there, and a frame that leaves a module that is Paused.

pub mod im;
pub mod inside;
pub mod locks;
pub mod numbers;
pub mod plain;
pub mod script;
pub mod stack;
pub mod sys;
pub mod world;
