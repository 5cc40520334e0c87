//! Instructions to text.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::{Part, Placeholder, Syntax, parts};
use crate::decode::Row;
use crate::encoding::Word;
use crate::{Instruction, Placed, Register};

/// One instruction per line. `labels` names slots: they are put before their instruction and
/// behind the jumps that go there.
pub fn disassemble(program: &[Placed], syntax: Syntax, labels: &BTreeMap<usize, String>) -> String {
    let mut text = String::new();
    for placed in program {
        if let Some(label) = labels.get(&placed.slot) {
            text.push_str(label);
            text.push_str(":\n");
        }
        let label = |distance: i64| {
            let next = placed.slot as i64 + 1;
            labels.get(&usize::try_from(next + distance).ok()?).map(String::as_str)
        };
        text.push_str(&line(&placed.instruction, syntax, label));
        text.push('\n');
    }
    text
}

/// One instruction; jumps show their distance.
pub fn disassemble_one(instruction: &Instruction, syntax: Syntax) -> String {
    line(instruction, syntax, |_| None)
}

impl fmt::Display for Instruction {
    /// In LLVM's syntax.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&disassemble_one(self, Syntax::Llvm))
    }
}

fn line<'a>(
    instruction: &Instruction,
    syntax: Syntax,
    label: impl Fn(i64) -> Option<&'a str>,
) -> String {
    let (row, word) = instruction.row_and_word();
    let mut text = String::new();
    for part in parts(template(row, syntax)) {
        match part {
            Part::Literal(literal) => text.push_str(literal),
            Part::Placeholder(placeholder) => {
                // Writing to a string doesn't fail.
                let _ = write_operand(&mut text, placeholder, &word, syntax, &label);
            }
        }
    }
    text
}

fn template(row: &Row, syntax: Syntax) -> &'static str {
    syntax.templates(row).first().copied().unwrap_or_default()
}

fn write_operand<'a>(
    text: &mut String,
    placeholder: Placeholder,
    word: &Word,
    syntax: Syntax,
    label: &impl Fn(i64) -> Option<&'a str>,
) -> fmt::Result {
    match placeholder {
        Placeholder::Dst { half } => write_register(text, word.dst, half, syntax),
        Placeholder::Src { half } => write_register(text, word.src, half, syntax),
        Placeholder::Imm => write_signed(text, word.imm.into(), syntax),
        Placeholder::Id => write_unsigned(text, word.imm.cast_unsigned().into(), syntax),
        Placeholder::Wide => write_signed(text, word.pair().cast_signed(), syntax),
        Placeholder::Pair => write_unsigned(text, word.pair(), syntax),
        Placeholder::Next => write_signed(text, word.next.into(), syntax),
        Placeholder::High => write_unsigned(text, (word.imm.cast_unsigned() >> 16).into(), syntax),
        Placeholder::Low => write_unsigned(text, u64::from(word.imm as u16), syntax),
        Placeholder::Offset => {
            write_added(text, word.offset.into(), syntax, syntax == Syntax::Llvm)
        }
        Placeholder::Plus => write_added(text, word.imm.into(), syntax, false),
        Placeholder::Target => write_target(text, word.offset.into(), syntax, label),
        Placeholder::Far => write_target(text, word.imm.into(), syntax, label),
        Placeholder::Module if word.offset == 0 => Ok(()),
        Placeholder::Module => {
            text.push('@');
            write_signed(text, word.offset.into(), syntax)
        }
    }
}

fn write_register(text: &mut String, number: u8, half: bool, syntax: Syntax) -> fmt::Result {
    let Some(register) = Register::new(number) else { return Err(fmt::Error) };
    let letter = if half { 'w' } else { 'r' };
    write!(text, "{}{letter}{}", syntax.sigil(), register.number())
}

fn write_unsigned(text: &mut String, value: u64, syntax: Syntax) -> fmt::Result {
    match syntax {
        Syntax::Llvm => write!(text, "{value:#x}"),
        Syntax::Mnemonic => write!(text, "{value}"),
    }
}

fn write_signed(text: &mut String, value: i64, syntax: Syntax) -> fmt::Result {
    if value < 0 {
        text.push('-');
    }
    write_unsigned(text, value.unsigned_abs(), syntax)
}

/// ` + 0x4` or `+4`.
fn write_added(text: &mut String, value: i64, syntax: Syntax, even_zero: bool) -> fmt::Result {
    if value == 0 && !even_zero {
        return Ok(());
    }
    let sign = if value < 0 { '-' } else { '+' };
    match syntax {
        Syntax::Llvm => write!(text, " {sign} ")?,
        Syntax::Mnemonic => text.push(sign),
    }
    write_unsigned(text, value.unsigned_abs(), syntax)
}

fn write_target<'a>(
    text: &mut String,
    distance: i64,
    syntax: Syntax,
    label: &impl Fn(i64) -> Option<&'a str>,
) -> fmt::Result {
    let label = label(distance);
    if let (Syntax::Mnemonic, Some(label)) = (syntax, label) {
        text.push_str(label);
        return Ok(());
    }
    text.push(if distance < 0 { '-' } else { '+' });
    write_unsigned(text, distance.unsigned_abs(), syntax)?;
    match label {
        Some(label) => write!(text, " <{label}>"),
        None => Ok(()),
    }
}
