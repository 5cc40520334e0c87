//! Arithmetic: the processor's forms have three operands, and division is defined as programs
//! want it (by zero it gives zero, and the lowest number by -1 itself).

use bpf_isa::{AluOp, Extension, Source, Span, Width};

use super::assembler::{Arith, Logic};
use super::emit::{Emitter, Right};
use super::immediate;
use super::register::{Reg, SCRATCH, SECOND, THIRD, of};

impl Emitter<'_> {
    pub fn alu(&mut self, op: AluOp, width: Width, dst: Reg, left: Reg, right: Source) {
        let right = match (op, right) {
            // Distances are too short to say much.
            (AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, Source::Immediate(imm)) => Right::Imm(imm),
            (_, Source::Register(register)) => Right::Reg(of(register)),
            _ => self.operand(right, width, SCRATCH),
        };
        match op {
            AluOp::Add => match right {
                Right::Imm(imm) => self.asm.add(width, dst, left, imm.into(), THIRD),
                Right::Reg(right) => self.asm.arith(width, Arith::Add, dst, left, right),
            },
            AluOp::Sub => match right {
                Right::Imm(imm) => self.asm.add(width, dst, left, -i64::from(imm), THIRD),
                Right::Reg(right) => self.asm.arith(width, Arith::Sub, dst, left, right),
            },
            AluOp::And => match right {
                // A mask without a sign clears the upper half anyway.
                Right::Imm(imm @ 0..) => self.logic(Logic::And, Width::W32, dst, left, imm),
                Right::Imm(imm) => self.logic(Logic::And, width, dst, left, imm),
                Right::Reg(right) => self.asm.arith(width, Arith::And, dst, left, right),
            },
            AluOp::Or => match right {
                Right::Imm(imm) => self.logic(Logic::Or, width, dst, left, imm),
                Right::Reg(right) => self.asm.arith(width, Arith::Or, dst, left, right),
            },
            AluOp::Xor => match right {
                Right::Imm(imm) => self.logic(Logic::Xor, width, dst, left, imm),
                Right::Reg(right) => self.asm.arith(width, Arith::Xor, dst, left, right),
            },
            AluOp::Mul => self.with_register(Arith::Multiply, width, dst, left, right),
            AluOp::Div => self.with_register(Arith::UnsignedDivide, width, dst, left, right),
            AluOp::SignedDiv => self.with_register(Arith::SignedDivide, width, dst, left, right),
            AluOp::Mod => self.remainder(Arith::UnsignedDivide, width, dst, left, right),
            AluOp::SignedMod => self.remainder(Arith::SignedDivide, width, dst, left, right),
            AluOp::Lsh => self.shift(Arith::ShiftLeft, width, dst, left, right),
            AluOp::Rsh => self.shift(Arith::ShiftRight, width, dst, left, right),
            AluOp::Arsh => self.shift(Arith::ShiftRightSigned, width, dst, left, right),
            AluOp::Mov => match right {
                Right::Imm(imm) => self.asm.constant(dst, Right::value(imm, width)),
                Right::Reg(src) => self.asm.mov(width, dst, src),
            },
        }
    }

    fn with_register(&mut self, op: Arith, width: Width, dst: Reg, left: Reg, right: Right) {
        let right = self.in_register(right, width, SCRATCH);
        self.asm.arith(width, op, dst, left, right);
    }

    /// By zero the quotient is zero, which leaves the left operand.
    fn remainder(&mut self, op: Arith, width: Width, dst: Reg, left: Reg, right: Right) {
        let right = self.in_register(right, width, SCRATCH);
        self.asm.arith(width, op, SECOND, left, right);
        self.asm.multiply_subtract(width, dst, SECOND, right, left);
    }

    pub fn logic(&mut self, op: Logic, width: Width, dst: Reg, left: Reg, imm: i32) {
        let value = Right::value(imm, width);
        if let Some(fields) = immediate::mask(width, value) {
            return self.asm.logic(width, op, dst, left, fields);
        }
        let op = match op {
            Logic::And => Arith::And,
            Logic::Or => Arith::Or,
            Logic::Xor => Arith::Xor,
            Logic::Ands => Arith::Ands,
        };
        self.with_register(op, width, dst, left, Right::Imm(imm));
    }

    /// Distances in registers count modulo the width, as programs want it.
    fn shift(&mut self, op: Arith, width: Width, dst: Reg, left: Reg, right: Right) {
        match right {
            Right::Reg(distance) => self.asm.arith(width, op, dst, left, distance),
            Right::Imm(imm) => {
                let mask = if width == Width::W64 { 63 } else { 31 };
                match (imm.cast_unsigned() & mask, op) {
                    // On 32 bits, the upper half is cleared all the same.
                    (0, _) => self.asm.mov(width, dst, left),
                    (distance, Arith::ShiftLeft) => {
                        self.asm.shift_left(width, dst, left, distance);
                    }
                    (distance, _) => {
                        let signed = op == Arith::ShiftRightSigned;
                        self.asm.shift_right(signed, width, dst, left, distance);
                    }
                }
            }
        }
    }

    pub fn extend(&mut self, extension: Extension, dst: Reg, src: Reg) {
        let (bytes, width) = match extension {
            Extension::ByteTo32 => (1, Width::W32),
            Extension::HalfTo32 => (2, Width::W32),
            Extension::ByteTo64 => (1, Width::W64),
            Extension::HalfTo64 => (2, Width::W64),
            Extension::WordTo64 => (4, Width::W64),
        };
        self.asm.sign_extend(bytes, width, dst, src);
    }

    pub fn swap(&mut self, span: Span, dst: Reg, src: Reg, clean: bool) {
        match span {
            Span::Half => {
                self.asm.reverse16(dst, src);
                if !clean {
                    self.asm.zero_extend(2, dst, dst);
                }
            }
            Span::Word => self.asm.reverse(Width::W32, dst, src),
            Span::Double => self.asm.reverse(Width::W64, dst, src),
        }
    }
}
