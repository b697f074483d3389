//! Holds no code: see `tests/orders.rs`.
