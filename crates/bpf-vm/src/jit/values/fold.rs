//! Operations that do nothing, or what a cheaper one does; and how many bits results have.

use bpf_isa::{AluOp, Register, Source, Width};

use super::{Inst, Kind, Values, bits_of};

impl Values<'_, '_> {
    /// Whether the current instruction has become something simpler.
    pub(super) fn fold(
        &mut self,
        op: AluOp,
        width: Width,
        dst: Register,
        left: Register,
        right: Source,
    ) -> bool {
        let Source::Immediate(imm) = right else { return false };
        let bits = self.of(left).bits;
        let fits = width == Width::W64 || bits <= 32;
        let shift = imm.cast_unsigned() & (u32::from(bits_of(width)) - 1);
        match op {
            AluOp::Add | AluOp::Sub | AluOp::Or | AluOp::Xor if imm == 0 && fits => {
                self.become_copy(dst, left);
                true
            }
            AluOp::Lsh | AluOp::Rsh | AluOp::Arsh if shift == 0 && fits => {
                self.become_copy(dst, left);
                true
            }
            AluOp::Mul | AluOp::Div if imm == 1 && fits => {
                self.become_copy(dst, left);
                true
            }
            // A mask that nothing is behind of.
            AluOp::And if imm >= 0 && bits <= imm.trailing_ones() as u8 => {
                self.become_copy(dst, left);
                true
            }
            AluOp::And if imm == -1 && fits => {
                self.become_copy(dst, left);
                true
            }
            AluOp::Mul if imm > 1 && imm.cast_unsigned().is_power_of_two() => {
                self.instead(AluOp::Lsh, width, dst, left, imm.trailing_zeros() as i32)
            }
            AluOp::Div if imm > 1 && imm.cast_unsigned().is_power_of_two() => {
                self.instead(AluOp::Rsh, width, dst, left, imm.trailing_zeros() as i32)
            }
            AluOp::Mod if imm > 0 && imm.cast_unsigned().is_power_of_two() => {
                self.instead(AluOp::And, width, dst, left, imm - 1)
            }
            // Constants are added once.
            AluOp::Add if width == Width::W64 => {
                let number = self.number(left);
                let Kind::Immediate { op: AluOp::Add, width: Width::W64, left, right } =
                    self.value(number).kind
                else {
                    return false;
                };
                let sum = right.wrapping_add(imm as u64);
                let (Some(left), Ok(sum)) = (self.holder(left), i32::try_from(sum.cast_signed()))
                else {
                    return false;
                };
                let right = Source::Immediate(sum);
                self.code[self.position] = Inst::Alu { op, width, dst, left, right };
                let kind =
                    Kind::Immediate { op, width, left: self.number(left), right: sum as u64 };
                self.set(dst, kind, 64);
                true
            }
            _ => false,
        }
    }

    fn instead(
        &mut self,
        op: AluOp,
        width: Width,
        dst: Register,
        left: Register,
        imm: i32,
    ) -> bool {
        self.alu(op, width, dst, left, Source::Immediate(imm));
        true
    }

    /// How many of the lowest bits of a result may be set.
    pub(super) fn result_bits(&self, op: AluOp, width: Width, left: Register, right: Source) -> u8 {
        let most = bits_of(width);
        let left = self.of(left).bits.min(most);
        let right_bits = match right {
            Source::Immediate(imm) => 64 - (imm as i64).leading_zeros() as u8,
            Source::Register(register) => self.of(register).bits,
        }
        .min(most);
        let bits = match (op, right) {
            (AluOp::And, _) => left.min(right_bits),
            (AluOp::Or | AluOp::Xor, _) => left.max(right_bits),
            (AluOp::Add, _) => left.max(right_bits).saturating_add(1),
            (AluOp::Mul, _) => left.saturating_add(right_bits),
            (AluOp::Lsh, Source::Immediate(imm)) => left.saturating_add(imm as u8 & (most - 1)),
            (AluOp::Rsh, Source::Immediate(imm)) => left.saturating_sub(imm as u8 & (most - 1)),
            (AluOp::Rsh | AluOp::Div | AluOp::Mod, _) => left,
            _ => most,
        };
        bits.min(most)
    }
}
