//! The stack frame: slots of 8 bytes, counted downwards from the frame pointer.

use crate::register::Register;

/// What a byte of the stack holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Byte {
    /// Never written.
    #[default]
    Invalid,
    /// A part of the slot's spilled register.
    Spill,
    /// Some number.
    Misc,
    Zero,
    Dynptr,
    Iterator,
}

/// 8 bytes. Slot 0 is at fp-8; byte 7 of a slot is at its lowest address.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Slot {
    /// `bytes[k]` is the byte `k + 1` below the slot's upper end.
    pub bytes: [Byte; 8],
    /// What was spilled, or which dynptr or iterator is there.
    pub register: Register,
}

impl Slot {
    /// Whether a register was spilled there, perhaps a narrower one: its lowest byte lies at the
    /// slot's start.
    pub fn is_spill(&self) -> bool {
        self.bytes[7] == Byte::Spill
    }

    pub fn is_spilled_scalar(&self) -> bool {
        self.is_spill() && self.register.is_scalar()
    }

    /// A spilled scalar of all 8 bytes.
    pub fn is_full_scalar(&self) -> bool {
        self.bytes[0] == Byte::Spill && self.register.is_scalar()
    }

    pub fn is_special(&self) -> bool {
        matches!(self.bytes[7], Byte::Dynptr | Byte::Iterator)
    }

    /// What is spilled becomes mere bytes.
    pub fn scrub(&mut self) {
        for byte in &mut self.bytes {
            if *byte == Byte::Spill {
                *byte = Byte::Misc;
            }
        }
    }
}

/// The slot that holds the byte at `offset` from the frame pointer, -1 or below.
pub(crate) const fn slot_of(offset: i32) -> usize {
    ((-offset - 1) / 8) as usize
}

/// Which of the slot's bytes that is.
pub(crate) const fn byte_of(offset: i32) -> usize {
    ((-offset - 1) % 8) as usize
}

/// The largest frame (`MAX_BPF_STACK`).
pub(crate) const MAX_STACK: i32 = 512;
