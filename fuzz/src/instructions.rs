//! Bytes to instructions to text, and all the way back.

use std::collections::BTreeMap;

use bpf_isa::text::{Syntax, assemble, disassemble};
use bpf_isa::{SLOT, decode_one, encode, place};

use crate::{Random, Target};

/// What is an instruction has one encoding and one text in each syntax.
#[derive(Debug)]
pub struct Instructions;

impl Target for Instructions {
    fn attempt(&mut self, random: &mut Random) -> Result<&'static str, String> {
        let mut program = Vec::new();
        for _ in 0..random.below(12) {
            let bytes = slots(random);
            let Ok(instruction) = decode_one(&bytes) else { continue };
            let encoded = encode([&instruction]);
            if encoded != bytes[..instruction.slots() * SLOT] {
                return Err(format!("{bytes:02x?} is {instruction:?}, which is {encoded:02x?}"));
            }
            program.push(instruction);
        }
        if program.is_empty() {
            return Ok("of no instruction");
        }
        let placed = place(program.iter().copied());
        for syntax in [Syntax::Llvm, Syntax::Mnemonic] {
            let text = disassemble(&placed, syntax, &BTreeMap::new());
            let again = assemble(&text, syntax)
                .map_err(|error| format!("{program:?} is written\n{text}and not read: {error}"))?;
            if again != program {
                return Err(format!("{program:?} is written\n{text}and read {again:?}"));
            }
        }
        Ok("programs")
    }
}

/// Two slots, which are often an instruction: reserved fields are mostly zero.
fn slots(random: &mut Random) -> [u8; 2 * SLOT] {
    let mut bytes = [0; 2 * SLOT];
    bytes[0] = random.number() as u8;
    let registers = random.number() as u8;
    bytes[1] = registers & random.pick(&[0x77, 0x0f, 0xf0, 0xff, 0x00, 0x1f, 0x6f]);
    if random.one_in(2) {
        let any = random.interesting() as u16;
        let offset = random.pick(&[0, 1, 8, 16, 32, any]);
        bytes[2..4].copy_from_slice(&offset.to_le_bytes());
    }
    if !random.one_in(4) {
        let codes =
            [0x10, 0x20, 0x40, 0x50, 0xa0, 0x01, 0x41, 0x51, 0xa1, 0xe1, 0xf1, 0x100, 0x110];
        let any = random.interesting() as u32;
        let code = random.pick(&codes);
        let imm = random.pick(&[code, any]);
        bytes[4..8].copy_from_slice(&imm.to_le_bytes());
    }
    if random.one_in(4) {
        let next = random.interesting() as u32;
        bytes[12..].copy_from_slice(&next.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::holds;

    #[test]
    fn a_short_run() {
        let report = holds(&mut Instructions, 30_000);
        assert!(report.sorts["programs"].count > 10_000, "{report}");
    }
}
