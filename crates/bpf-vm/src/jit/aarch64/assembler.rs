//! Words of AArch64 instructions: only the forms that the emitter uses.

mod branches;
mod constants;
mod memory;

use bpf_isa::Width;

use super::immediate;
use super::register::Reg;

pub(super) use branches::{Cond, Test};
pub(super) use memory::{Atomic, Mem};

/// Operations of two registers, as words without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Arith {
    Add = 0x0b00_0000,
    Sub = 0x4b00_0000,
    Subs = 0x6b00_0000,
    And = 0x0a00_0000,
    Or = 0x2a00_0000,
    Xor = 0x4a00_0000,
    Ands = 0x6a00_0000,
    /// The complement of the second operand, or of nothing.
    OrNot = 0x2a20_0000,
    UnsignedDivide = 0x1ac0_0800,
    SignedDivide = 0x1ac0_0c00,
    ShiftLeft = 0x1ac0_2000,
    ShiftRight = 0x1ac0_2400,
    ShiftRightSigned = 0x1ac0_2800,
    Multiply = 0x1b00_7c00,
}

/// Operations of a register and a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Logic {
    And = 0x1200_0000,
    Or = 0x3200_0000,
    Xor = 0x5200_0000,
    Ands = 0x7200_0000,
}

#[derive(Debug, Default)]
pub(super) struct Assembler {
    pub words: Vec<u32>,
}

/// The bit that makes operations 64 bits wide.
const fn wide(width: Width) -> u32 {
    match width {
        Width::W64 => 1 << 31,
        Width::W32 => 0,
    }
}

const fn bits(width: Width) -> u32 {
    match width {
        Width::W64 => 64,
        Width::W32 => 32,
    }
}

/// The destination, the first and the second operand in their usual places.
const fn d(reg: Reg) -> u32 {
    reg.0 as u32
}

const fn n(reg: Reg) -> u32 {
    (reg.0 as u32) << 5
}

const fn m(reg: Reg) -> u32 {
    (reg.0 as u32) << 16
}

impl Assembler {
    /// Where the next word will be, in words.
    pub fn position(&self) -> usize {
        self.words.len()
    }

    pub fn word(&mut self, word: u32) {
        self.words.push(word);
    }

    pub fn arith(&mut self, width: Width, op: Arith, dst: Reg, left: Reg, right: Reg) {
        self.word(op as u32 | wide(width) | m(right) | n(left) | d(dst));
    }

    pub fn mov(&mut self, width: Width, dst: Reg, src: Reg) {
        self.arith(width, Arith::Or, dst, Reg::ZERO, src);
    }

    /// One of both is the stack pointer.
    pub fn mov_sp(&mut self, dst: Reg, src: Reg) {
        self.word(0x9100_0000 | n(src) | d(dst));
    }

    /// `dst = left + value`, where `value` may be negative, by way of `spare`.
    pub fn add(&mut self, width: Width, dst: Reg, left: Reg, value: i64, spare: Reg) {
        let (op, distance) = match value {
            0.. => (0x1100_0000, value.unsigned_abs()),
            _ => (0x5100_0000, value.unsigned_abs()),
        };
        let op = op | wide(width);
        if let Some((imm, shifted)) = immediate::sum(distance) {
            self.word(op | u32::from(shifted) << 22 | imm << 10 | n(left) | d(dst));
        } else if distance < 1 << 24 {
            let (high, low) = ((distance >> 12) as u32, (distance & 0xfff) as u32);
            self.word(op | 1 << 22 | high << 10 | n(left) | d(dst));
            self.word(op | low << 10 | n(dst) | d(dst));
        } else {
            self.constant(spare, value.cast_unsigned());
            self.arith(width, Arith::Add, dst, left, spare);
        }
    }

    /// Subtracts a number that fits, for the flags.
    pub fn subs_imm(&mut self, width: Width, dst: Reg, left: Reg, (imm, shifted): (u32, bool)) {
        self.word(
            0x7100_0000 | wide(width) | u32::from(shifted) << 22 | imm << 10 | n(left) | d(dst),
        );
    }

    /// Compares with the negative of a number that fits.
    pub fn compare_negative(&mut self, width: Width, left: Reg, (imm, shifted): (u32, bool)) {
        let word = 0x3100_0000 | wide(width) | u32::from(shifted) << 22 | imm << 10;
        self.word(word | n(left) | d(Reg::ZERO));
    }

    /// `fields` are what [`immediate::mask`] gives.
    pub fn logic(&mut self, width: Width, op: Logic, dst: Reg, left: Reg, fields: u32) {
        self.word(op as u32 | wide(width) | fields << 10 | n(left) | d(dst));
    }

    /// `dst = left - a * b`.
    pub fn multiply_subtract(&mut self, width: Width, dst: Reg, a: Reg, b: Reg, left: Reg) {
        self.word(0x1b00_8000 | wide(width) | m(b) | u32::from(left.0) << 10 | n(a) | d(dst));
    }

    /// `dst = left + a * b`.
    pub fn multiply_add(&mut self, dst: Reg, a: Reg, b: Reg, left: Reg) {
        self.word(0x9b00_0000 | m(b) | u32::from(left.0) << 10 | n(a) | d(dst));
    }

    /// `dst = left + (right << distance)`.
    pub fn add_shifted(&mut self, dst: Reg, left: Reg, right: Reg, distance: u32) {
        self.word(0x8b00_0000 | m(right) | distance << 10 | n(left) | d(dst));
    }

    /// `dst` becomes `yes` if the condition holds, `no` if not.
    pub fn select(&mut self, cond: Cond, dst: Reg, yes: Reg, no: Reg) {
        self.word(0x9a80_0000 | m(no) | (cond as u32) << 12 | n(yes) | d(dst));
    }

    /// Bits `low` to `high`, moved down to the lowest, or up, as the architecture has it.
    fn field(&mut self, signed: bool, width: Width, dst: Reg, src: Reg, right: u32, high: u32) {
        let op = if signed { 0x1300_0000 } else { 0x5300_0000 };
        let same = if width == Width::W64 { 1 << 22 } else { 0 };
        self.word(op | wide(width) | same | right << 16 | high << 10 | n(src) | d(dst));
    }

    /// Distances are below the width, and not zero.
    pub fn shift_left(&mut self, width: Width, dst: Reg, src: Reg, distance: u32) {
        let bits = bits(width);
        self.field(false, width, dst, src, bits - distance, bits - 1 - distance);
    }

    pub fn shift_right(&mut self, signed: bool, width: Width, dst: Reg, src: Reg, distance: u32) {
        self.field(signed, width, dst, src, distance, bits(width) - 1);
    }

    pub fn rotate_right(&mut self, width: Width, dst: Reg, src: Reg, distance: u32) {
        let same = if width == Width::W64 { 1 << 22 } else { 0 };
        self.word(0x1380_0000 | wide(width) | same | m(src) | distance << 10 | n(src) | d(dst));
    }

    /// Of 1, 2 or 4 bytes.
    pub fn sign_extend(&mut self, bytes: u32, width: Width, dst: Reg, src: Reg) {
        self.field(true, width, dst, src, 0, 8 * bytes - 1);
    }

    /// Of 1 or 2 bytes.
    pub fn zero_extend(&mut self, bytes: u32, dst: Reg, src: Reg) {
        self.field(false, Width::W32, dst, src, 0, 8 * bytes - 1);
    }

    /// All bytes in the other order.
    pub fn reverse(&mut self, width: Width, dst: Reg, src: Reg) {
        let op = if width == Width::W64 { 0xdac0_0c00 } else { 0x5ac0_0800 };
        self.word(op | n(src) | d(dst));
    }

    /// The bytes of each half word in the other order, in the lower half.
    pub fn reverse16(&mut self, dst: Reg, src: Reg) {
        self.word(0x5ac0_0400 | n(src) | d(dst));
    }
}

#[cfg(test)]
mod tests;
