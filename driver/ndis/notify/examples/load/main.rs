//! Loads the library as Windows does and asks it what it is: run under Wine by `cargo xtask wine`.
//!
//! A network configuration of our own takes the place of Windows's: the object is told of an adapter that is bound, and
//! must make a miniport for it, write its name, and take both away again.
#![cfg_attr(windows, allow(non_snake_case, reason = "methods of COM interfaces keep their names"))]

#[cfg(windows)]
mod windows_only;

fn main() {
    #[cfg(windows)]
    windows_only::run();
    #[cfg(not(windows))]
    println!("runs on Windows alone");
}
