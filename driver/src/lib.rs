//! The portable driver core: control requests, the packet edge, program swap.
#![cfg_attr(not(test), no_std)]
