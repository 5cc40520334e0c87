//! Division, which the processor does in `rax` and `rdx` only, and which fails for zero and for
//! the lowest number by -1 where programs have results.

use bpf_isa::Width;

use super::assembler::{Arith, Cond};
use super::emit::{Emitter, Right};
use super::register::{Reg, SCRATCH, SECOND};

impl Emitter<'_> {
    pub fn divide(
        &mut self,
        width: Width,
        signed: bool,
        remainder: bool,
        dst: Reg,
        left: Reg,
        right: Right,
    ) {
        let divisor = match right {
            Right::Imm(0) => return self.divided_by_zero(width, remainder, dst, left),
            Right::Imm(-1) if signed => {
                return self.divided_by_minus_one(width, remainder, dst, left);
            }
            Right::Imm(imm) if !signed && width == Width::W32 && is_no_power(imm) => {
                self.divide_by_constant(left, imm.cast_unsigned());
                if remainder {
                    self.remainder_of_constant(dst, left, imm.cast_unsigned());
                } else {
                    self.asm.mov(width, dst, SCRATCH);
                }
                return;
            }
            Right::Imm(imm) => {
                let value = match width {
                    Width::W64 => imm as u64,
                    Width::W32 => imm as u32 as u64,
                };
                self.asm.constant(SCRATCH, value);
                None
            }
            Right::Reg(reg) => {
                self.copy(width, SCRATCH, reg);
                Some(reg)
            }
        };
        let mut ends = Vec::new();
        if divisor.is_some() {
            self.asm.test(width, SCRATCH, SCRATCH);
            let other = self.asm.jump_if_short(Cond::NotEqual);
            self.divided_by_zero(width, remainder, dst, left);
            ends.push(self.asm.jump_short());
            self.asm.land(other);
            if signed {
                self.asm.arith_imm(width, Arith::Cmp, SCRATCH, -1);
                let other = self.asm.jump_if_short(Cond::NotEqual);
                self.divided_by_minus_one(width, remainder, dst, left);
                ends.push(self.asm.jump_short());
                self.asm.land(other);
            }
        }
        // Whoever needs rax and rdx gets them back.
        let keep = |reg: Reg| dst != reg;
        if keep(Reg::RAX) {
            self.asm.mov(Width::W64, SECOND, Reg::RAX);
        }
        if keep(Reg::RDX) {
            self.asm.push(Reg::RDX);
        }
        self.copy(width, Reg::RAX, left);
        if signed {
            self.asm.sign_to_rdx(width);
        } else {
            self.asm.constant(Reg::RDX, 0);
        }
        self.asm.div(width, signed, SCRATCH);
        let result = if remainder { Reg::RDX } else { Reg::RAX };
        self.copy(width, SCRATCH, result);
        if keep(Reg::RDX) {
            self.asm.pop(Reg::RDX);
        }
        if keep(Reg::RAX) {
            self.asm.mov(Width::W64, Reg::RAX, SECOND);
        }
        self.asm.mov(width, dst, SCRATCH);
        for end in ends {
            self.asm.land(end);
        }
        self.flags = None;
    }

    fn divided_by_zero(&mut self, width: Width, remainder: bool, dst: Reg, left: Reg) {
        if !remainder {
            self.asm.constant(dst, 0);
        } else if width == Width::W32 || dst != left {
            self.asm.mov(width, dst, left);
        }
    }

    fn divided_by_minus_one(&mut self, width: Width, remainder: bool, dst: Reg, left: Reg) {
        if remainder {
            self.asm.constant(dst, 0);
        } else {
            self.copy(width, dst, left);
            self.asm.neg(width, dst);
        }
    }
}

/// What shifts and masks don't do.
fn is_no_power(divisor: i32) -> bool {
    let divisor = divisor.cast_unsigned();
    divisor > 2 && !divisor.is_power_of_two()
}
