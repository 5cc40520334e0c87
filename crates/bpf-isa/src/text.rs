//! Programs as text, in two syntaxes, from the templates in the table.
//!
//! [`Syntax::Llvm`] is what `llvm-objdump` 19 prints and `llvm-mc` reads; [`Syntax::Mnemonic`] is
//! that of the public conformance vectors. Where a syntax can't say what an instruction is (LLVM
//! prints calls of helpers, local functions and kernel functions alike), ours can: what we print
//! is read back as the same instruction.
//!
//! Texts have at most one instruction per line, labels (`name:`) and comments (`#`, `//`, `;` to
//! the end of the line). A listing of `llvm-objdump` is read, too: the number and the bytes before
//! an instruction are skipped, except that the bytes say which kind of call is meant.

mod assemble;
mod disassemble;
mod template;
mod token;

pub use assemble::{AssembleError, assemble};
pub use disassemble::{disassemble, disassemble_one};

pub(crate) use template::{Part, Placeholder, parts};

use crate::decode::Row;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Syntax {
    /// `r1 = *(u64 *)(r2 + 0x8)`
    Llvm,
    /// `ldxdw %r1, [%r2+8]`
    Mnemonic,
}

impl Syntax {
    pub(crate) fn templates(self, row: &Row) -> &'static [&'static str] {
        match self {
            Self::Llvm => row.llvm,
            Self::Mnemonic => row.mnemonic,
        }
    }

    /// What stands before a register's name.
    fn sigil(self) -> &'static str {
        match self {
            Self::Llvm => "",
            Self::Mnemonic => "%",
        }
    }
}

#[cfg(test)]
mod tests;
