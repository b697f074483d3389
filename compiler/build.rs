//! Generates the statement parser from the grammar.

fn main() {
    println!("cargo:rerun-if-changed=src/grammar.lalrpop");
    if let Err(error) = lalrpop::Configuration::new().set_in_dir("src").process() {
        println!("cargo:error=grammar.lalrpop: {error}");
        std::process::exit(1);
    }
}
