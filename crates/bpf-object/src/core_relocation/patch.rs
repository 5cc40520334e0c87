//! An answer put into its instruction.

use super::{Answer, CoreError};
use crate::slot::Slot;

/// Linux shows this number in the verifier's log; people know to look for it.
pub const POISON: i32 = 0x0bad_2310;

/// Patches the instruction at `at`, whose place in the section and in the object is the caller's.
pub fn patch(slots: &mut [Slot], at: usize, answer: &Answer) -> Result<(), CoreError> {
    let Some([slot, rest @ ..]) = slots.get_mut(at..) else { return Err(CoreError::Instruction) };
    let Some(new) = answer.target else {
        if slot.is_wide() {
            *rest.first_mut().ok_or(CoreError::Instruction)? = Slot::poison(POISON);
        }
        *slot = Slot::poison(POISON);
        return Ok(());
    };
    let expect = |found: u64, expected: u64| {
        let agrees = found == expected || !answer.checked;
        agrees.then_some(()).ok_or(CoreError::Unexpected { expected, found })
    };
    match slot.opcode & 7 {
        // Arithmetic with an immediate.
        4 | 7 if slot.opcode & 8 == 0 => {
            expect(slot.imm.cast_unsigned().into(), answer.local as u32 as u64)?;
            slot.imm = (new as u32).cast_signed();
        }
        // Loads and stores.
        1..=3 => {
            expect(i64::from(slot.offset).cast_unsigned(), answer.local)?;
            slot.offset = i16::try_from(new).map_err(|_| CoreError::Range(new))?;
            if let Some(resize) = answer.resize {
                let (old, new) = (resize.old, resize.new);
                let size = match new {
                    1 => 0x10,
                    2 => 0x08,
                    4 => 0x00,
                    8 => 0x18,
                    _ => return Err(CoreError::Size { old, new }),
                };
                if !resize.allowed || width(slot.opcode) != old {
                    return Err(CoreError::Size { old, new });
                }
                slot.opcode = slot.opcode & !0x18 | size;
            }
        }
        0 if slot.is_wide() && slot.src == 0 => {
            let next = rest.first_mut().ok_or(CoreError::Instruction)?;
            let pair =
                u64::from(next.imm.cast_unsigned()) << 32 | u64::from(slot.imm.cast_unsigned());
            expect(pair, answer.local)?;
            slot.imm = (new as u32).cast_signed();
            next.imm = ((new >> 32) as u32).cast_signed();
        }
        _ => return Err(CoreError::Instruction),
    }
    Ok(())
}

/// Of a load or store, in bytes.
fn width(opcode: u8) -> u64 {
    match opcode & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}
