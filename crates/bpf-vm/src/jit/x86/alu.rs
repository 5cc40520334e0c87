//! Arithmetic: the shortest form for three operands.

use bpf_isa::{AluOp, Extension, Source, Span, Width};

use super::assembler::{Arith, Mem, Shift};
use super::emit::{Emitter, Right};
use super::register::{Reg, SCRATCH, SECOND};

impl Emitter<'_> {
    pub fn alu(&mut self, op: AluOp, width: Width, dst: Reg, left: Reg, right: Source) {
        let right = match op {
            // Distances are too short to say much.
            AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => match right {
                Source::Register(register) => Right::Reg(super::register::of(register)),
                Source::Immediate(imm) => Right::Imm(imm),
            },
            _ => self.operand(right, SCRATCH),
        };
        match op {
            AluOp::Add => self.add(width, dst, left, right),
            AluOp::Sub => self.subtract(width, dst, left, right),
            AluOp::And => self.and(width, dst, left, right),
            AluOp::Or => self.commutative(Arith::Or, width, dst, left, right),
            AluOp::Xor => self.commutative(Arith::Xor, width, dst, left, right),
            AluOp::Mul => match right {
                Right::Imm(imm) => self.asm.imul_imm(width, dst, left, imm),
                Right::Reg(right) if dst == right => self.asm.imul(width, dst, left),
                Right::Reg(right) => {
                    self.copy(width, dst, left);
                    self.asm.imul(width, dst, right);
                }
            },
            AluOp::Lsh => self.shift(Shift::Shl, width, dst, left, right),
            AluOp::Rsh => self.shift(Shift::Shr, width, dst, left, right),
            AluOp::Arsh => self.shift(Shift::Sar, width, dst, left, right),
            AluOp::Div => self.divide(width, false, false, dst, left, right),
            AluOp::SignedDiv => self.divide(width, true, false, dst, left, right),
            AluOp::Mod => self.divide(width, false, true, dst, left, right),
            AluOp::SignedMod => self.divide(width, true, true, dst, left, right),
            AluOp::Mov => match right {
                Right::Imm(imm) if width == Width::W32 => self.asm.constant(dst, imm as u32 as u64),
                Right::Imm(imm) => self.asm.constant(dst, imm as u64),
                Right::Reg(src) => self.asm.mov(width, dst, src),
            },
        }
    }

    fn add(&mut self, width: Width, dst: Reg, left: Reg, right: Right) {
        match right {
            // The flags would do for a comparison with zero. But recent processors add immediates
            // before anything is executed, as long as nobody looks at the flags; so counting to zero
            // with a test takes less time than without.
            Right::Imm(imm) if dst == left => self.asm.arith_imm(width, Arith::Add, dst, imm),
            Right::Imm(imm) => self.asm.lea(width, dst, Mem::new(left, imm)),
            Right::Reg(right) if dst == left || dst == right => {
                let other = if dst == left { right } else { left };
                self.asm.arith(width, Arith::Add, dst, other);
                self.flags = Some((dst, width));
            }
            Right::Reg(right) => {
                // These need an offset as a base.
                let (base, index) = match left {
                    Reg::RBP | Reg::R13 => (right, left),
                    _ => (left, right),
                };
                let mem = Mem { base: Some(base), index: Some(index), scale: 0, offset: 0 };
                self.asm.lea(width, dst, mem);
            }
        }
    }

    fn subtract(&mut self, width: Width, dst: Reg, left: Reg, right: Right) {
        match right {
            Right::Imm(imm) if dst != left && imm != i32::MIN => {
                self.asm.lea(width, dst, Mem::new(left, -imm));
                return;
            }
            Right::Imm(imm) => {
                self.copy(width, dst, left);
                self.asm.arith_imm(width, Arith::Sub, dst, imm);
                return;
            }
            Right::Reg(right) if dst == right && dst != left => {
                self.asm.neg(width, dst);
                self.asm.arith(width, Arith::Add, dst, left);
            }
            Right::Reg(right) => {
                self.copy(width, dst, left);
                self.asm.arith(width, Arith::Sub, dst, right);
            }
        }
        self.flags = Some((dst, width));
    }

    fn and(&mut self, width: Width, dst: Reg, left: Reg, right: Right) {
        match right {
            Right::Imm(0xff) => self.asm.zero_extend(1, dst, left),
            Right::Imm(0xffff) => self.asm.zero_extend(2, dst, left),
            // A mask without a sign clears the upper half anyway.
            Right::Imm(0..) => self.commutative(Arith::And, Width::W32, dst, left, right),
            _ => self.commutative(Arith::And, width, dst, left, right),
        }
    }

    fn commutative(&mut self, op: Arith, width: Width, dst: Reg, left: Reg, right: Right) {
        match right {
            Right::Imm(imm) => {
                self.copy(width, dst, left);
                self.asm.arith_imm(width, op, dst, imm);
            }
            Right::Reg(right) if dst == right => self.asm.arith(width, op, dst, left),
            Right::Reg(right) => {
                self.copy(width, dst, left);
                self.asm.arith(width, op, dst, right);
            }
        }
        self.flags = Some((dst, width));
    }

    fn shift(&mut self, op: Shift, width: Width, dst: Reg, left: Reg, right: Right) {
        match right {
            Right::Imm(imm) => {
                let mask = if width == Width::W64 { 63 } else { 31 };
                let distance = imm as u8 & mask;
                if distance == 0 {
                    // On 32 bits, the upper half is cleared all the same.
                    if width == Width::W32 || dst != left {
                        self.asm.mov(width, dst, left);
                    }
                } else if op == Shift::Shl && distance == 1 && dst != left {
                    let mem = Mem { base: Some(left), index: Some(left), scale: 0, offset: 0 };
                    // `left` twice, unless it needs an offset: then that is zero.
                    self.asm.lea(width, dst, mem);
                } else if op == Shift::Shl && distance <= 3 && dst != left {
                    let mem = Mem { base: None, index: Some(left), scale: distance, offset: 0 };
                    self.asm.lea(width, dst, mem);
                } else {
                    self.copy(width, dst, left);
                    self.asm.shift_imm(width, op, dst, distance);
                }
            }
            Right::Reg(distance) if self.job.features.bmi2 => {
                self.asm.shift_by(width, op, dst, left, distance);
            }
            Right::Reg(distance) => {
                // The distance must be in cl.
                self.asm.mov(Width::W64, SCRATCH, left);
                if distance != Reg::RCX {
                    self.asm.mov(Width::W64, SECOND, Reg::RCX);
                    self.asm.mov(Width::W32, Reg::RCX, distance);
                }
                self.asm.shift_cl(width, op, SCRATCH);
                if distance != Reg::RCX {
                    self.asm.mov(Width::W64, Reg::RCX, SECOND);
                }
                self.asm.mov(Width::W64, dst, SCRATCH);
            }
        }
    }

    pub fn rotate(&mut self, width: Width, dst: Reg, src: Reg, distance: u8) {
        if dst != src && self.job.features.bmi2 {
            let turn = if width == Width::W64 { 64 } else { 32 };
            self.asm.rotate_right(width, dst, src, turn - distance);
        } else {
            self.copy(width, dst, src);
            self.asm.shift_imm(width, Shift::Rol, dst, distance);
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
                if !clean || dst != src {
                    self.asm.zero_extend(2, dst, src);
                }
                self.asm.swap16(dst);
            }
            Span::Word => {
                self.copy(Width::W32, dst, src);
                self.asm.bswap(Width::W32, dst);
            }
            Span::Double => {
                self.copy(Width::W64, dst, src);
                self.asm.bswap(Width::W64, dst);
            }
        }
    }
}
