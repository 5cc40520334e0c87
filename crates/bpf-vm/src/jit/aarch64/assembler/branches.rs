//! Jumps, whose distances are set when they are known.

use bpf_isa::Width;

use super::{Assembler, d, n, wide};
use crate::jit::aarch64::register::Reg;

/// The condition field of jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::jit::aarch64) enum Cond {
    Equal = 0,
    NotEqual = 1,
    AboveOrEqual = 2,
    Below = 3,
    Above = 8,
    BelowOrEqual = 9,
    GreaterOrEqual = 10,
    Less = 11,
    Greater = 12,
    LessOrEqual = 13,
}

/// What a jump depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::jit::aarch64) enum Test {
    Cond(Cond),
    Zero { width: Width, reg: Reg },
    NotZero { width: Width, reg: Reg },
    Clear { reg: Reg, bit: u8 },
    Set { reg: Reg, bit: u8 },
}

impl Test {
    pub const fn negated(self) -> Self {
        match self {
            Self::Zero { width, reg } => Self::NotZero { width, reg },
            Self::NotZero { width, reg } => Self::Zero { width, reg },
            Self::Clear { reg, bit } => Self::Set { reg, bit },
            Self::Set { reg, bit } => Self::Clear { reg, bit },
            Self::Cond(cond) => Self::Cond(match cond {
                Cond::Equal => Cond::NotEqual,
                Cond::NotEqual => Cond::Equal,
                Cond::AboveOrEqual => Cond::Below,
                Cond::Below => Cond::AboveOrEqual,
                Cond::Above => Cond::BelowOrEqual,
                Cond::BelowOrEqual => Cond::Above,
                Cond::GreaterOrEqual => Cond::Less,
                Cond::Less => Cond::GreaterOrEqual,
                Cond::Greater => Cond::LessOrEqual,
                Cond::LessOrEqual => Cond::Greater,
            }),
        }
    }
}

impl Assembler {
    /// Returns where the jump is, for [`Self::link`]; as do the next ones.
    pub fn jump(&mut self) -> usize {
        self.word(0x1400_0000);
        self.position() - 1
    }

    pub fn call(&mut self) -> usize {
        self.word(0x9400_0000);
        self.position() - 1
    }

    pub fn jump_if(&mut self, test: Test) -> usize {
        let bit = |bit: u8| u32::from(bit >> 5) << 31 | u32::from(bit & 31) << 19;
        self.word(match test {
            Test::Cond(cond) => 0x5400_0000 | cond as u32,
            Test::Zero { width, reg } => 0x3400_0000 | wide(width) | d(reg),
            Test::NotZero { width, reg } => 0x3500_0000 | wide(width) | d(reg),
            Test::Clear { reg, bit: index } => 0x3600_0000 | bit(index) | d(reg),
            Test::Set { reg, bit: index } => 0x3700_0000 | bit(index) | d(reg),
        });
        self.position() - 1
    }

    /// A load of what [`Self::link`] will point to.
    pub fn load_near(&mut self, dst: Reg) -> usize {
        self.word(0x5800_0000 | d(dst));
        self.position() - 1
    }

    pub fn call_reg(&mut self, reg: Reg) {
        self.word(0xd63f_0000 | n(reg));
    }

    pub fn jump_reg(&mut self, reg: Reg) {
        self.word(0xd61f_0000 | n(reg));
    }

    pub fn ret(&mut self) {
        self.word(0xd65f_0000 | n(Reg::X30));
    }

    /// Makes the jump or load at `at` reach `target`. Whoever emits code sees to it that all of it
    /// is so short that it does.
    pub fn link(&mut self, at: usize, target: usize) {
        let distance = target as i64 - at as i64;
        let word = self.words[at];
        let (bits, shift) = match word >> 24 & 0x7f {
            0x14..=0x17 => (26, 0),
            0x36 | 0x37 => (14, 5),
            _ => (19, 5),
        };
        debug_assert!((-(1 << (bits - 1))..1 << (bits - 1)).contains(&distance));
        let mask = (1 << bits) - 1;
        self.words[at] |= (distance as u32 & mask) << shift;
    }
}
