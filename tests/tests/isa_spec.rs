//! isa-spec.md says what the tables of the code say. `PF_BLESS=1` writes its tables anew.

use tests::{project, spec};

#[test]
fn the_specification_has_not_drifted() {
    let path = project("isa-spec.md");
    let found = std::fs::read_to_string(&path).unwrap();
    let wanted = spec::refresh(&found).unwrap_or_else(|name| panic!("isa-spec.md has no markers for {name}"));
    if std::env::var_os("PF_BLESS").is_some() {
        std::fs::write(&path, wanted).unwrap();
        return;
    }
    assert!(
        found == wanted,
        "isa-spec.md differs from the tables: run this test with PF_BLESS=1 and read what changed"
    );
}

#[test]
fn every_kind_of_operand_is_described() {
    use pfvm::isa::{KIND_ROWS, OP_ROWS};
    for op in OP_ROWS {
        for operand in op.operands {
            assert!(
                KIND_ROWS.iter().any(|(kind, bits, ..)| *kind == operand.kind && *bits == operand.bits),
                "{} {}: {}",
                op.name,
                operand.name,
                operand.kind
            );
        }
    }
}
