//! Division of 32-bit numbers by constants: a multiplication and shifts.
//!
//! For a divisor `d` with `2^(s-1) < d < 2^s`, `m = 2^(32+s) / d`, rounded up, has 33 bits, and
//! `x / d` is `(x * m) >> (32 + s)` for every `x` of 32 bits (Granlund and Montgomery, "Division by
//! Invariant Integers using Multiplication", 1994). If half of `m` does as well, it has 32 bits;
//! otherwise the lower 32 bits are multiplied and `x` is added, so that nothing overflows.

use bpf_isa::Width;

use super::assembler::{Arith, Shift};
use super::emit::Emitter;
use super::register::{Reg, SCRATCH, SECOND};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reciprocal {
    factor: u32,
    /// Behind the upper half of the product.
    shift: u8,
    /// Whether the factor has one bit more.
    is_long: bool,
}

impl Reciprocal {
    /// Of what is no power of two, and more than 1.
    fn new(divisor: u32) -> Self {
        let bits = (32 - divisor.leading_zeros()) as u8;
        let exact = 1u128 << (32 + bits);
        let long = exact.div_ceil(u128::from(divisor));
        // Rounded up by less than this, it is still right.
        let short = (exact >> 1).div_ceil(u128::from(divisor));
        let error = short * u128::from(divisor) - (exact >> 1);
        if error <= 1 << (bits - 1) && short < 1 << 32 {
            return Self { factor: short as u32, shift: bits - 1, is_long: false };
        }
        Self { factor: long as u32, shift: bits, is_long: true }
    }
}

impl Emitter<'_> {
    /// Leaves `left / divisor` in the scratch register.
    pub fn divide_by_constant(&mut self, left: Reg, divisor: u32) {
        let Reciprocal { factor, shift, is_long } = Reciprocal::new(divisor);
        self.asm.mov(Width::W32, SCRATCH, left);
        self.asm.constant(SECOND, factor.into());
        self.asm.imul(Width::W64, SCRATCH, SECOND);
        if is_long {
            // With t the upper half of the product, (x - t) / 2 + t is (x + t) / 2.
            self.asm.shift_imm(Width::W64, Shift::Shr, SCRATCH, 32);
            self.asm.mov(Width::W32, SECOND, left);
            self.asm.arith(Width::W32, Arith::Sub, SECOND, SCRATCH);
            self.asm.shift_imm(Width::W32, Shift::Shr, SECOND, 1);
            self.asm.arith(Width::W32, Arith::Add, SCRATCH, SECOND);
            if shift > 1 {
                self.asm.shift_imm(Width::W32, Shift::Shr, SCRATCH, shift - 1);
            }
        } else {
            self.asm.shift_imm(Width::W64, Shift::Shr, SCRATCH, 32 + shift);
        }
    }

    /// `dst = left % divisor`, with what [`Self::divide_by_constant`] has left.
    pub fn remainder_of_constant(&mut self, dst: Reg, left: Reg, divisor: u32) {
        self.asm.imul_imm(Width::W32, SCRATCH, SCRATCH, divisor.cast_signed());
        if dst == left {
            self.asm.arith(Width::W32, Arith::Sub, dst, SCRATCH);
        } else {
            self.asm.mov(Width::W32, dst, left);
            self.asm.arith(Width::W32, Arith::Sub, dst, SCRATCH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the emitted code computes.
    fn quotient(x: u32, divisor: u32) -> u32 {
        let Reciprocal { factor, shift, is_long } = Reciprocal::new(divisor);
        let product = u64::from(x) * u64::from(factor);
        if !is_long {
            return (product >> (32 + shift)) as u32;
        }
        let t = (product >> 32) as u32;
        (t + ((x - t) >> 1)) >> (shift - 1)
    }

    #[test]
    fn quotients_are_exact() {
        let edges = |d: u32| {
            let multiples = [1, 2, 3, u32::MAX / d].map(|times| times.wrapping_mul(d));
            multiples.into_iter().flat_map(|at| [at.wrapping_sub(1), at, at.wrapping_add(1)])
        };
        let small = 3..5_000u32;
        let large =
            (1..5_000).flat_map(|n| [u32::MAX - n, 0x8000_0000 + n, n.wrapping_mul(858_993)]);
        for divisor in small.chain(large).filter(|d| *d > 2 && !d.is_power_of_two()) {
            for x in edges(divisor).chain([0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX]) {
                assert_eq!(quotient(x, divisor), x / divisor, "{x} / {divisor}");
            }
        }
    }
}
