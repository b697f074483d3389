//! The instruction set: one table of instructions, one of operand kinds, one of fields.
//!
//! Encoder, decoder, assembler, disassembler, the verifier's operand rules, the weights it adds up, and the tables of
//! isa-spec.md derive from these tables. This module knows nobody but the ids of [`crate::rule`].
//! **Invariant:** decoding, text and checks are total; nothing here allocates.

mod field;
mod operand;
mod table;

pub use field::{FIELD_ROWS, Field, WORD_FIELDS, Width};
pub use operand::{
    BadOperand, BitSetId, Costs, DispatchId, Env, Half, Imm, Ip4, Jump, KIND_ROWS, LabelId, LeafId, Operand, PairId,
    Prefix4, PrioId, Quick, RouteTest, SetId, Side, Skip, Word,
};
pub use table::{BadText, BadWord, Flow, OP_ROWS, Op, OpRow, OperandRow};

/// Version of the instruction set an image is written for. Opcodes are frozen from the first release on.
pub const ISA_VERSION: u16 = 1;
