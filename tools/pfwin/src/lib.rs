//! What Windows tells a program, as plain data, and the way to the driver.
//!
//! Holds the network as IP Helper describes it ([`net`]: adapters, routes, ports in use, the range ports are taken from),
//! which any system compiles and tests; and, on Windows alone, the calls themselves (`sys`): the tables, word of their
//! changes, the device. Nothing here knows of rules or of the control protocol.

pub mod net;
#[cfg(windows)]
pub mod sys;
