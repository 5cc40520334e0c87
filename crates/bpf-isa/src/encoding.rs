//! One instruction as its fields, and those as bytes.

use crate::Instruction;

/// Bytes per slot. Instructions take one slot, those with a 64-bit immediate two.
pub const SLOT: usize = 8;

/// The opcode of the only instruction that takes two slots.
pub(crate) const WIDE: u8 = 0x18;

/// A field of the encoding, except for the opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    Dst,
    Src,
    Offset,
    Imm,
    /// `imm` of the second slot.
    Next,
}

impl Field {
    pub(crate) const ALL: [Self; 5] = [Self::Dst, Self::Src, Self::Offset, Self::Imm, Self::Next];
}

/// An instruction's fields, whatever they mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word {
    pub opcode: u8,
    pub dst: u8,
    pub src: u8,
    pub offset: i16,
    pub imm: i32,
    pub next: i32,
}

impl Word {
    pub fn is_wide(&self) -> bool {
        self.opcode == WIDE
    }

    pub fn read(slot: [u8; SLOT]) -> Self {
        let [opcode, registers, offset_low, offset_high, imm @ ..] = slot;
        Self {
            opcode,
            dst: registers & 0xf,
            src: registers >> 4,
            offset: i16::from_le_bytes([offset_low, offset_high]),
            imm: i32::from_le_bytes(imm),
            next: 0,
        }
    }

    pub fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend([self.opcode, self.src << 4 | self.dst]);
        bytes.extend(self.offset.to_le_bytes());
        bytes.extend(self.imm.to_le_bytes());
        if self.is_wide() {
            bytes.extend([0; 4]);
            bytes.extend(self.next.to_le_bytes());
        }
    }

    pub fn field(&self, field: Field) -> i64 {
        match field {
            Field::Dst => self.dst.into(),
            Field::Src => self.src.into(),
            Field::Offset => self.offset.into(),
            Field::Imm => self.imm.into(),
            Field::Next => self.next.into(),
        }
    }

    /// `imm` and `next` as one number.
    pub fn pair(&self) -> u64 {
        u64::from(self.next.cast_unsigned()) << 32 | u64::from(self.imm.cast_unsigned())
    }

    pub fn set_pair(&mut self, value: u64) {
        self.imm = (value as u32).cast_signed();
        self.next = ((value >> 32) as u32).cast_signed();
    }
}

/// The program's bytes.
pub fn encode<'a>(instructions: impl IntoIterator<Item = &'a Instruction>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for instruction in instructions {
        instruction.row_and_word().1.write(&mut bytes);
    }
    bytes
}
