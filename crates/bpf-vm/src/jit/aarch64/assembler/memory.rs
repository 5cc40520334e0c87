//! Loads, stores and atomic operations.

use bpf_isa::Width;

use super::{Assembler, d, m, n};
use crate::jit::aarch64::register::Reg;

/// A place that one instruction can access: of index and offset there is one at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::jit::aarch64) enum Mem {
    Offset(Reg, i32),
    Index(Reg, Reg),
}

impl Mem {
    /// Whether an instruction can say it, for so many bytes.
    pub fn fits(self, bytes: u8) -> bool {
        match self {
            Self::Index(..) => true,
            Self::Offset(_, offset) => {
                (-256..256).contains(&offset) || scaled(offset, bytes).is_some()
            }
        }
    }
}

/// A positive offset in units of the access, in twelve bits.
fn scaled(offset: i32, bytes: u8) -> Option<u32> {
    let (offset, bytes) = (u32::try_from(offset).ok()?, u32::from(bytes));
    (offset.is_multiple_of(bytes) && offset / bytes < 1 << 12).then_some(offset / bytes)
}

/// Operations that leave what was there before in a register, with the extension of ARMv8.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in crate::jit::aarch64) enum Atomic {
    Add = 0x38e0_0000,
    /// And with the complement.
    Clear = 0x38e0_1000,
    Xor = 0x38e0_2000,
    Or = 0x38e0_3000,
    Exchange = 0x38e0_8000,
}

const STORE: u32 = 0;
const LOAD: u32 = 1 << 22;
const LOAD_SIGNED: u32 = 2 << 22;

/// The power of two that an access is as long as, in its place.
fn size(bytes: u8) -> u32 {
    bytes.trailing_zeros() << 30
}

fn atomic_size(width: Width) -> u32 {
    match width {
        Width::W64 => 3 << 30,
        Width::W32 => 2 << 30,
    }
}

impl Assembler {
    fn access(&mut self, op: u32, bytes: u8, reg: Reg, mem: Mem) {
        let op = op | size(bytes) | d(reg);
        self.word(match mem {
            Mem::Index(base, index) => op | 0x3820_6800 | m(index) | n(base),
            Mem::Offset(base, offset) => match scaled(offset, bytes) {
                Some(scaled) => op | 0x3900_0000 | scaled << 10 | n(base),
                None => {
                    debug_assert!((-256..256).contains(&offset));
                    op | 0x3800_0000 | (offset & 0x1ff).cast_unsigned() << 12 | n(base)
                }
            },
        });
    }

    pub fn load(&mut self, bytes: u8, dst: Reg, mem: Mem) {
        self.access(LOAD, bytes, dst, mem);
    }

    /// Extends to 64 bits what has fewer.
    pub fn load_signed(&mut self, bytes: u8, dst: Reg, mem: Mem) {
        self.access(LOAD_SIGNED, bytes, dst, mem);
    }

    pub fn store(&mut self, bytes: u8, mem: Mem, src: Reg) {
        self.access(STORE, bytes, src, mem);
    }

    fn pair(&mut self, op: u32, bytes: i32, (a, b): (Reg, Reg), base: Reg, offset: i32) {
        let units = offset / bytes;
        debug_assert!(offset % bytes == 0 && (-64..64).contains(&units));
        let units = (units & 0x7f).cast_unsigned();
        self.word(op | units << 15 | u32::from(b.0) << 10 | n(base) | d(a));
    }

    /// Two of 8 bytes side by side.
    pub fn load_pair(&mut self, regs: (Reg, Reg), base: Reg, offset: i32) {
        self.pair(0xa940_0000, 8, regs, base, offset);
    }

    pub fn store_pair(&mut self, regs: (Reg, Reg), base: Reg, offset: i32) {
        self.pair(0xa900_0000, 8, regs, base, offset);
    }

    /// Two of 4 bytes.
    pub fn store_pair32(&mut self, regs: (Reg, Reg), base: Reg, offset: i32) {
        self.pair(0x2900_0000, 4, regs, base, offset);
    }

    /// Moves the stack pointer down by `room` and stores where it is then.
    pub fn push_pair(&mut self, regs: (Reg, Reg), room: i32) {
        self.pair(0xa980_0000, 8, regs, Reg::SP, -room);
    }

    /// Undoes [`Self::push_pair`].
    pub fn pop_pair(&mut self, regs: (Reg, Reg), room: i32) {
        self.pair(0xa8c0_0000, 8, regs, Reg::SP, room);
    }

    /// As the two above, with one register; `room` is below 256.
    pub fn push(&mut self, reg: Reg, room: i32) {
        self.word(0xf800_0c00 | (-room & 0x1ff).cast_unsigned() << 12 | n(Reg::SP) | d(reg));
    }

    pub fn pop(&mut self, reg: Reg, room: i32) {
        self.word(0xf840_0400 | (room & 0x1ff).cast_unsigned() << 12 | n(Reg::SP) | d(reg));
    }

    pub fn load_acquire(&mut self, bytes: u8, dst: Reg, base: Reg) {
        self.word(0x08df_fc00 | size(bytes) | n(base) | d(dst));
    }

    pub fn store_release(&mut self, bytes: u8, base: Reg, src: Reg) {
        self.word(0x089f_fc00 | size(bytes) | n(base) | d(src));
    }

    /// What was there before goes to `old`.
    pub fn atomic(&mut self, op: Atomic, width: Width, old: Reg, base: Reg, src: Reg) {
        self.word(op as u32 | atomic_size(width) | m(src) | n(base) | d(old));
    }

    /// Stores `new` if `old` is there; what was there goes to `old`.
    pub fn compare_exchange(&mut self, width: Width, old: Reg, base: Reg, new: Reg) {
        self.word(0x08e0_fc00 | atomic_size(width) | m(old) | n(base) | d(new));
    }

    pub fn load_exclusive(&mut self, width: Width, dst: Reg, base: Reg) {
        self.word(0x085f_fc00 | atomic_size(width) | n(base) | d(dst));
    }

    /// `failed` becomes 0 if nobody came between.
    pub fn store_exclusive(&mut self, width: Width, failed: Reg, base: Reg, src: Reg) {
        self.word(0x0800_fc00 | atomic_size(width) | m(failed) | n(base) | d(src));
    }
}
