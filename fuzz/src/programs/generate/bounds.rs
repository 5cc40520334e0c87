//! Numbers are narrowed, as programs do before they index with them: in all ways that a verifier
//! has to follow.

use super::*;

impl Writer<'_> {
    pub(super) fn narrow(&mut self) {
        let Some(register) = self.with(Holds::is_number) else { return self.constant() };
        let steps = 1 + self.random.below(4);
        let most = self.random.pick(&[0, 1, 3, 7, 15, 31, 55, 63]);
        let bound = Source::Immediate(most);
        let holds = Bounded(most.cast_unsigned());
        let width = self.width();
        match self.random.below(12) {
            0..3 => return self.mask_of(register),
            3 => {
                let by = if width == Width::W64 { 58 } else { 26 };
                self.alu(AluOp::Rsh, width, register, Source::Immediate(by));
                return self.set(register, Bounded(63));
            }
            4 => {
                self.alu(AluOp::Mod, width, register, Source::Immediate(most.max(1)));
            }
            5 => {
                // Also of the upper half, by writing the lower.
                if width == Width::W32 {
                    self.moves_lower(register, register);
                }
                self.open(Condition::Greater, width, register, bound, steps);
            }
            6 => {
                self.open(Condition::SignedLess, width, register, Source::Immediate(0), steps);
                self.open(Condition::SignedGreater, width, register, bound, steps + 1);
                if width == Width::W32 {
                    self.moves_lower(register, register);
                }
            }
            7 => {
                // A copy is looked at.
                let copy = self.other_than(register);
                self.moves(copy, register);
                if self.random.one_in(2) {
                    let more = self.random.between(-9, 9) as i32;
                    self.alu(AluOp::Add, Width::W64, copy, Source::Immediate(more));
                }
                self.open(Condition::Greater, Width::W64, copy, bound, steps);
                self.set(copy, Number);
            }
            8 => {
                // Against another register.
                let other = self.other_than(register);
                self.number(other, most);
                let (condition, left, right) = match self.random.below(3) {
                    0 => (Condition::Greater, register, other),
                    1 => (Condition::Less, other, register),
                    _ => (Condition::NotEqual, register, other),
                };
                self.open(condition, Width::W64, left, Source::Register(of(right)), steps);
            }
            9 => {
                self.open(Condition::Set, width, register, Source::Immediate(!most), steps);
            }
            10 => {
                // A byte, with its sign.
                let extension = Extension::ByteTo64;
                let (dst, src) = (of(register), of(register));
                self.put(Instruction::MoveSigned { extension, dst, src });
                self.open(Condition::SignedLess, width, register, Source::Immediate(0), steps);
                return self.mask_of(register);
            }
            _ => {
                // Through the frame, of which the lowest bytes come back.
                self.mask_of(register);
                let holds = self.registers[usize::from(register)];
                let offset = -8 * (1 + self.random.below(8) as i16);
                let base = Register::R10;
                let value = Source::Register(of(register));
                self.put(Instruction::Store { size: Size::Double, base, offset, value });
                let access = Access::Unsigned(self.size());
                let dst = self.free();
                self.put(Instruction::Load { access, dst: of(dst), base, offset });
                return self.set(dst, holds);
            }
        }
        self.set(register, holds);
    }

    pub(super) fn mask(&mut self) {
        let Some(register) = self.with(Holds::is_number) else { return self.constant() };
        self.mask_of(register);
    }

    fn mask_of(&mut self, register: u8) {
        let bits = self.random.pick(&[0, 1, 3, 7, 15, 31, 63]);
        let width = self.width();
        self.alu(AluOp::And, width, register, Source::Immediate(bits));
        self.set(register, Bounded(bits.cast_unsigned()));
    }

    fn moves_lower(&mut self, to: u8, from: u8) {
        self.alu(AluOp::Mov, Width::W32, to, Source::Register(of(from)));
    }
}
