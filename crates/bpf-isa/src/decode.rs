//! Bytes to instructions, and back to fields: what the table's `encodings` become.

use std::fmt;

use crate::encoding::{Field, SLOT, WIDE, Word};
use crate::operands::*;
use crate::table::for_each_instruction;
use crate::{Instruction, Placed};

/// Why bytes are no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instruction {slot}: {reason}")]
pub struct DecodeError {
    /// The slot where the instruction begins.
    pub slot: usize,
    pub reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    UndefinedOpcode {
        opcode: u8,
    },
    /// The opcode exists, but not with this value in a field that selects the operation.
    UndefinedVariant {
        opcode: u8,
        field: Field,
        value: i64,
    },
    /// A field that this instruction doesn't use isn't zero.
    ReservedField {
        opcode: u8,
        field: Field,
        value: i64,
    },
    NoSuchRegister {
        field: Field,
        number: u8,
    },
    /// The program ends after the first half of an instruction of two slots.
    MissingSecondSlot,
    /// The second half of an instruction of two slots has more than an immediate.
    ReservedSecondSlot,
    /// The program's length isn't a multiple of [`SLOT`].
    PartialSlot {
        bytes: usize,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UndefinedOpcode { opcode } => write!(f, "opcode {opcode:#04x} is not defined"),
            Self::UndefinedVariant { opcode, field, value } => {
                write!(f, "opcode {opcode:#04x} is not defined with {value} in {field}")
            }
            Self::ReservedField { opcode, field, value } => write!(
                f,
                "{field} is {value}, but must be zero in this instruction (opcode {opcode:#04x})"
            ),
            Self::NoSuchRegister { field, number } => {
                write!(f, "{field} is {number}, but the last register is r10")
            }
            Self::MissingSecondSlot => {
                write!(f, "the second slot of a 64-bit immediate is missing")
            }
            Self::ReservedSecondSlot => write!(
                f,
                "the second slot of a 64-bit immediate must be zero except for its upper half"
            ),
            Self::PartialSlot { bytes } => {
                write!(f, "{bytes} bytes are left over: a slot has {SLOT}")
            }
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dst => "the destination register field",
            Self::Src => "the source register field",
            Self::Offset => "the offset",
            Self::Imm => "the immediate",
            Self::Next => "the second slot's immediate",
        })
    }
}

/// A row of the table, as data.
#[derive(Debug)]
pub(crate) struct Row {
    pub opcode: u8,
    /// Fields that must have a value, so that the row is meant.
    pub keys: &'static [(Field, i64)],
    /// Fields that are operands. The others are zero.
    pub operands: &'static [&'static [Field]],
    /// How it is written, first, and what else is read: LLVM's syntax and the vectors'.
    pub llvm: &'static [&'static str],
    pub mnemonic: &'static [&'static str],
}

impl Row {
    fn uses(&self, field: Field) -> bool {
        self.operands.iter().any(|fields| fields.contains(&field))
            || self.keys.iter().any(|(key, _)| *key == field)
    }

    /// The fields of the instruction that has only zeroes as operands.
    pub fn template(&self) -> Word {
        let mut word = Word { opcode: self.opcode, ..Word::default() };
        for (field, value) in self.keys {
            match field {
                Field::Dst => word.dst = *value as u8,
                Field::Src => word.src = *value as u8,
                Field::Offset => word.offset = *value as i16,
                Field::Imm => word.imm = *value as i32,
                Field::Next => word.next = *value as i32,
            }
        }
        word
    }

    fn check_reserved(&self, word: &Word) -> Result<(), Reason> {
        let wrong = |field: &Field| !self.uses(*field) && word.field(*field) != 0;
        match Field::ALL.into_iter().find(wrong) {
            None => Ok(()),
            Some(field) => {
                let (opcode, value) = (word.opcode, word.field(field));
                Err(Reason::ReservedField { opcode, field, value })
            }
        }
    }
}

/// What the name of an operand in the table means: its fields, how it is read from them, and how
/// it is put there.
macro_rules! operand {
    (fields dst) => {
        &[Field::Dst]
    };
    (fields src) => {
        &[Field::Src]
    };
    (fields offset) => {
        &[Field::Offset]
    };
    (fields imm) => {
        &[Field::Imm]
    };
    (fields next) => {
        &[Field::Next]
    };
    (fields wide) => {
        &[Field::Imm, Field::Next]
    };
    (read dst $word:ident) => {
        register(Field::Dst, $word.dst)?
    };
    (read src $word:ident) => {
        register(Field::Src, $word.src)?
    };
    (read offset $word:ident) => {
        $word.offset
    };
    (read imm $word:ident) => {
        $word.imm
    };
    (read next $word:ident) => {
        $word.next
    };
    (read wide $word:ident) => {
        $word.pair()
    };
    (put dst $word:ident $value:ident) => {
        $word.dst = $value.number()
    };
    (put src $word:ident $value:ident) => {
        $word.src = $value.number()
    };
    (put offset $word:ident $value:ident) => {
        $word.offset = $value
    };
    (put imm $word:ident $value:ident) => {
        $word.imm = $value
    };
    (put next $word:ident $value:ident) => {
        $word.next = $value
    };
    (put wide $word:ident $value:ident) => {
        $word.set_pair($value)
    };
}

macro_rules! key_field {
    (src) => {
        Field::Src
    };
    (offset) => {
        Field::Offset
    };
    (imm) => {
        Field::Imm
    };
}

macro_rules! row {
    (
        $opcode:literal [$($key:ident = $value:literal),*] ($($operand:ident)*)
        $llvm:tt $mnemonic:tt
    ) => {
        Row {
            opcode: $opcode,
            keys: &[$((key_field!($key), $value)),*],
            operands: &[$(operand!(fields $operand)),*],
            llvm: &$llvm,
            mnemonic: &$mnemonic,
        }
    };
}

macro_rules! define_encodings {
    (
        forms { $($forms:tt)* }
        encodings {
            $(
                $opcode:literal $([$($key:ident = $value:literal),+])? ($($operand:ident)*)
                $form:ident { $($shape:tt)* },
                $($llvm:literal)/+, $($mnemonic:literal)/+;
            )*
        }
    ) => {
        /// All rows, in the table's order.
        pub(crate) static ROWS: &[Row] = &[$(
            row!($opcode [$($($key = $value),+)?] ($($operand)*) [$($llvm),+] [$($mnemonic),+]),
        )*];

        impl Instruction {
            /// The row that describes it, and its fields.
            pub(crate) fn row_and_word(&self) -> (&'static Row, Word) {
                match *self {
                    $(Self::$form { $($shape)* } => {
                        const ROW: &Row = &row!(
                            $opcode [$($($key = $value),+)?] ($($operand)*)
                            [$($llvm),+] [$($mnemonic),+]
                        );
                        #[allow(unused_mut, reason = "an instruction may have no operands")]
                        let mut word = ROW.template();
                        $(operand!(put $operand word $operand);)*
                        (ROW, word)
                    })*
                }
            }

            pub(crate) fn from_word(word: &Word) -> Result<Self, Reason> {
                match word.opcode {
                    $($opcode $(if $(word.$key == $value)&&+)? => {
                        const ROW: &Row = &row!(
                            $opcode [$($($key = $value),+)?] ($($operand)*)
                            [$($llvm),+] [$($mnemonic),+]
                        );
                        ROW.check_reserved(word)?;
                        $(let $operand = operand!(read $operand word);)*
                        Ok(Self::$form { $($shape)* })
                    })*
                    opcode => Err(undefined(opcode, word)),
                }
            }
        }
    };
}

for_each_instruction!(define_encodings);

fn register(field: Field, number: u8) -> Result<Register, Reason> {
    Register::new(number).ok_or(Reason::NoSuchRegister { field, number })
}

/// No row fits: blame the field that selects among those with this opcode, if there are any.
fn undefined(opcode: u8, word: &Word) -> Reason {
    let row = ROWS.iter().find(|row| row.opcode == opcode);
    match row.and_then(|row| row.keys.first()) {
        None => Reason::UndefinedOpcode { opcode },
        Some(&(field, _)) => Reason::UndefinedVariant { opcode, field, value: word.field(field) },
    }
}

/// The instruction at the beginning of `bytes`.
pub fn decode_one(bytes: &[u8]) -> Result<Instruction, Reason> {
    let Some((slot, rest)) = bytes.split_first_chunk::<SLOT>() else {
        return Err(Reason::PartialSlot { bytes: bytes.len() });
    };
    let mut word = Word::read(*slot);
    if word.opcode == WIDE {
        let next = rest.first_chunk().ok_or(Reason::MissingSecondSlot)?;
        let next = Word::read(*next);
        if next != (Word { imm: next.imm, ..Word::default() }) {
            return Err(Reason::ReservedSecondSlot);
        }
        word.next = next.imm;
    }
    Instruction::from_word(&word)
}

/// The program's instructions.
pub fn decode(bytes: &[u8]) -> Result<Vec<Placed>, DecodeError> {
    let mut program = Vec::with_capacity(bytes.len() / SLOT);
    let mut slot = 0;
    while let Some(rest) = bytes.get(slot * SLOT..).filter(|rest| !rest.is_empty()) {
        let instruction = decode_one(rest).map_err(|reason| DecodeError { slot, reason })?;
        program.push(Placed { slot, instruction });
        slot += instruction.slots();
    }
    Ok(program)
}

#[cfg(test)]
mod tests;
