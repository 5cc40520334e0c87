//! The instruction set of eBPF: RFC 9669 (all conformance groups) and what Linux has added to it.
//!
//! Everything is made from one table of instructions (`table.rs`): the type [`Instruction`] with
//! its encoder and decoder, the [`Visitor`], the disassembler and the assembler for two syntaxes,
//! LLVM's and the mnemonics of the public conformance vectors.
//!
//! The crate reads and writes single instructions and lists of them. It does not know what a
//! program may do: that a jump stays inside, that a helper or a map exists, is for the verifier
//! and the engines.
//!
//! Bytes are little-endian, as on all machines that Skep runs on.

#![forbid(unsafe_code)]

mod decode;
mod encoding;
mod instruction;
mod operands;
mod table;
pub mod text;
pub mod vector;

pub use decode::{DecodeError, Reason, decode, decode_one};
pub use encoding::{Field, SLOT, encode};
pub use instruction::{Instruction, Placed, Visitor, place};
pub use operands::{
    Access, AluOp, AtomicOp, Callee, Condition, Distance, Extension, Narrow, Order, Register, Size,
    Source, Span, Wide, Width,
};
