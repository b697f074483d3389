//! Harness: generators, oracles, packet scripts.
