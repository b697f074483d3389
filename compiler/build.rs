//! Generates the statement parser from the grammar.

fn main() {
    println!("cargo:rerun-if-changed=src/grammar.lalrpop");
}
