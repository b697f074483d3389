//! Makes undefined symbols an error of the linker, and gives it the C library for memory.
fn main() {
    println!("cargo::rustc-link-arg=-Wl,-z,defs");
    println!("cargo::rustc-link-arg=-lc");
}
