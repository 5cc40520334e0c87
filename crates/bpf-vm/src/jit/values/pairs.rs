//! Two shifts that make one operation: rotations, and extensions of narrower numbers.

use bpf_isa::{AluOp, Extension, Register, Source, Width};

use super::super::ir::Inst;
use super::{Kind, Number, Values, bits_of};

impl Values<'_, '_> {
    pub(super) fn pair_of_shifts(
        &mut self,
        op: AluOp,
        width: Width,
        dst: Register,
        left: Register,
        right: Source,
    ) -> bool {
        match (op, right) {
            (AluOp::Or | AluOp::Add | AluOp::Xor, Source::Register(right)) => {
                self.rotation(width, dst, left, right)
            }
            (AluOp::Rsh | AluOp::Arsh, Source::Immediate(imm)) if width == Width::W64 => {
                self.extension(op, dst, left, imm as u64 & 63)
            }
            _ => false,
        }
    }

    /// A value shifted by an immediate: operation, what was shifted, distance.
    fn shift(&self, number: Number, width: Width) -> Option<(AluOp, Number, u64)> {
        match self.value(number).kind {
            Kind::Immediate { op: op @ (AluOp::Lsh | AluOp::Rsh), width: of, left, right }
                if of == width =>
            {
                Some((op, left, right))
            }
            _ => None,
        }
    }

    fn rotation(&mut self, width: Width, dst: Register, left: Register, right: Register) -> bool {
        let numbers = (self.number(left), self.number(right));
        let (Some(a), Some(b)) = (self.shift(numbers.0, width), self.shift(numbers.1, width))
        else {
            return false;
        };
        let (up, down) = match (a, b) {
            ((AluOp::Lsh, ..), (AluOp::Rsh, ..)) => (a, b),
            ((AluOp::Rsh, ..), (AluOp::Lsh, ..)) => (b, a),
            _ => return false,
        };
        let whole = u64::from(bits_of(width));
        if up.1 != down.1 || up.2 + down.2 != whole || up.2 == 0 || down.2 == 0 {
            return false;
        }
        let distance = up.2 as u8;
        let inst = |src| Inst::Rotate { width, dst, src, distance };
        let done = match self.holder(up.1) {
            Some(src) => {
                self.code[self.position] = inst(src);
                true
            }
            // What is rotated has been shifted in its place: then where it still was.
            None => [left, right].into_iter().any(|shifted| self.earlier(shifted, dst, inst)),
        };
        if done {
            self.set(dst, Kind::Unknown, bits_of(width));
        }
        done
    }

    /// To the left and back.
    fn extension(&mut self, op: AluOp, dst: Register, left: Register, distance: u64) -> bool {
        let number = self.number(left);
        let Some((AluOp::Lsh, whole, same)) = self.shift(number, Width::W64) else { return false };
        if same != distance {
            return false;
        }
        let mask = |imm| {
            let (op, width, right) = (AluOp::And, Width::W32, Source::Immediate(imm));
            move |left| Inst::Alu { op, width, dst, left, right }
        };
        let signed = |extension| move |src| Inst::Extend { extension, dst, src };
        let low = |src| Inst::Move { width: Width::W32, dst, src };
        let bits = 64 - distance as u8;
        let done = match (op, distance) {
            (AluOp::Rsh, 32) => self.either(whole, left, dst, low),
            (AluOp::Rsh, 48) => self.either(whole, left, dst, mask(0xffff)),
            (AluOp::Rsh, 56) => self.either(whole, left, dst, mask(0xff)),
            (AluOp::Arsh, 32) => self.either(whole, left, dst, signed(Extension::WordTo64)),
            (AluOp::Arsh, 48) => self.either(whole, left, dst, signed(Extension::HalfTo64)),
            (AluOp::Arsh, 56) => self.either(whole, left, dst, signed(Extension::ByteTo64)),
            _ => false,
        };
        if done {
            let (kind, bits) = match op {
                AluOp::Rsh if distance == 32 => (Kind::Low(whole), bits),
                AluOp::Rsh => (Kind::Unknown, bits),
                _ => (Kind::Unknown, 64),
            };
            self.set(dst, kind, bits);
        }
        done
    }

    /// Does it here if the value is still there, otherwise where it was shifted.
    fn either(
        &mut self,
        whole: Number,
        shifted: Register,
        dst: Register,
        inst: impl Fn(Register) -> Inst,
    ) -> bool {
        match self.holder(whole) {
            Some(src) => {
                self.code[self.position] = inst(src);
                true
            }
            None => self.earlier(shifted, dst, inst),
        }
    }

    /// Puts what the current instruction would have computed to where the first shift stands, if
    /// nobody can tell: it writes the same register, which nothing in between looks at.
    fn earlier(
        &mut self,
        shifted: Register,
        dst: Register,
        inst: impl Fn(Register) -> Inst,
    ) -> bool {
        let position = self.of(shifted).position as usize;
        let Inst::Alu { dst: written, left: src, .. } = self.code[position] else { return false };
        let between = position + 1..self.position;
        if written != dst
            || shifted != dst
            || self.straight_from > position
            || self.code[between].iter().any(|inst| {
                inst.read().has(dst) || inst.written() == Some(dst) || inst.target().is_some()
            })
        {
            return false;
        }
        self.code[position] = inst(src);
        self.code[self.position] = Inst::Nothing;
        true
    }
}
