//! Jumps, what they depend on, and what they cost.

use bpf_isa::{Condition, Source, Width};

use super::super::Mode;
use super::super::ir::Inst;
use super::super::native::cost;
use super::assembler::{Arith, Cond, Logic, Test};
use super::emit::{Emitter, Right};
use super::immediate;
use super::register::{FUEL, Reg, SCRATCH, of};
use super::slow::Slow;

/// How far the jumps of a program may have to reach, which is as long as its code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// All of them do.
    Bit,
    /// Those that test a bit don't.
    Condition,
    /// Only those without a condition do.
    Jump,
}

impl Reach {
    /// How many words there may be, with some to spare for what is behind the code.
    pub const fn words(self) -> usize {
        match self {
            Self::Bit => (1 << 13) - 64,
            Self::Condition => (1 << 18) - 64,
            Self::Jump => (1 << 25) - 64,
        }
    }

    pub fn longer(self) -> Option<Self> {
        match self {
            Self::Bit => Some(Self::Condition),
            Self::Condition => Some(Self::Jump),
            Self::Jump => None,
        }
    }

    /// For code of so many instructions.
    pub fn expected(count: usize, mode: Mode) -> Self {
        let words = count * if mode == Mode::Checked { 6 } else { 2 };
        if words < Self::Bit.words() {
            Self::Bit
        } else if words < Self::Condition.words() {
            Self::Condition
        } else {
            Self::Jump
        }
    }
}

impl Emitter<'_> {
    /// A jump to somewhere in the code; returns where it is.
    pub fn far_jump_if(&mut self, test: Test) -> usize {
        if self.reach == Reach::Jump {
            let over = self.asm.jump_if(test.negated());
            let at = self.asm.jump();
            self.land(over);
            return at;
        }
        self.asm.jump_if(test)
    }

    /// A jump that was made leads here.
    pub fn land(&mut self, at: usize) {
        let here = self.asm.position();
        self.asm.link(at, here);
    }

    /// Compares; returns what to jump by.
    pub fn compare(
        &mut self,
        condition: Condition,
        width: Width,
        left: Reg,
        right: Source,
    ) -> Test {
        let reaches_by_bit = self.reach == Reach::Bit;
        let sign = if width == Width::W64 { 63 } else { 31 };
        let is_plain = self.keys.is_none();
        match (condition, right) {
            (Condition::Equal | Condition::LessOrEqual, Source::Immediate(0)) => {
                return Test::Zero { width, reg: left };
            }
            (Condition::NotEqual | Condition::Greater, Source::Immediate(0)) => {
                return Test::NotZero { width, reg: left };
            }
            (Condition::SignedLess, Source::Immediate(0)) if reaches_by_bit => {
                return Test::Set { reg: left, bit: sign };
            }
            (Condition::SignedGreaterOrEqual, Source::Immediate(0)) if reaches_by_bit => {
                return Test::Clear { reg: left, bit: sign };
            }
            (Condition::Set, Source::Immediate(-1)) if is_plain => {
                return Test::NotZero { width, reg: left };
            }
            (Condition::Set, Source::Immediate(imm)) if is_plain && reaches_by_bit => {
                let value = Right::value(imm, width);
                if value.is_power_of_two() {
                    return Test::Set { reg: left, bit: value.trailing_zeros() as u8 };
                }
            }
            _ => {}
        }
        Test::Cond(self.set_flags(condition, width, left, right))
    }

    /// As above, always by the flags.
    pub fn set_flags(
        &mut self,
        condition: Condition,
        width: Width,
        left: Reg,
        right: Source,
    ) -> Cond {
        match (condition, self.operand(right, width, SCRATCH)) {
            (Condition::Set, Right::Imm(imm)) => {
                self.logic(Logic::Ands, width, Reg::ZERO, left, imm);
            }
            (Condition::Set, Right::Reg(right)) => {
                self.asm.arith(width, Arith::Ands, Reg::ZERO, left, right);
            }
            (_, Right::Imm(imm)) => self.compare_imm(width, left, imm),
            (_, Right::Reg(right)) => {
                self.asm.arith(width, Arith::Subs, Reg::ZERO, left, right);
            }
        }
        match condition {
            Condition::Equal => Cond::Equal,
            Condition::NotEqual | Condition::Set => Cond::NotEqual,
            Condition::Greater => Cond::Above,
            Condition::GreaterOrEqual => Cond::AboveOrEqual,
            Condition::Less => Cond::Below,
            Condition::LessOrEqual => Cond::BelowOrEqual,
            Condition::SignedGreater => Cond::Greater,
            Condition::SignedGreaterOrEqual => Cond::GreaterOrEqual,
            Condition::SignedLess => Cond::Less,
            Condition::SignedLessOrEqual => Cond::LessOrEqual,
        }
    }

    fn compare_imm(&mut self, width: Width, left: Reg, imm: i32) {
        let distance = u64::from(imm.unsigned_abs());
        match immediate::sum(distance) {
            Some(fields) if imm >= 0 => self.asm.subs_imm(width, Reg::ZERO, left, fields),
            Some(fields) => self.asm.compare_negative(width, left, fields),
            None => {
                self.asm.constant(SCRATCH, Right::value(imm, width));
                self.asm.arith(width, Arith::Subs, Reg::ZERO, left, SCRATCH);
            }
        }
    }

    /// What a jump costs, where fuel is counted.
    pub fn pay(&mut self, target: u32) {
        let cost = cost(self.position, target);
        if cost == 0 || !self.job.is_checked() {
            return;
        }
        match immediate::sum(cost.into()) {
            Some(fields) => self.asm.subs_imm(Width::W64, FUEL, FUEL, fields),
            None => {
                self.asm.constant(SCRATCH, cost.into());
                self.asm.arith(Width::W64, Arith::Subs, FUEL, FUEL, SCRATCH);
            }
        }
        let at = self.far_jump_if(Test::Cond(Cond::Below));
        self.slow.push((at, Slow::OutOfFuel { position: self.position, cost }));
    }

    pub fn jump(&mut self, target: u32) {
        let next = self.position + 1;
        let is_entry = |position| {
            self.job.flow.functions.iter().any(|function| function.entry as usize == position)
        };
        let is_next = target as usize >= next
            && (next..target as usize).all(|between| self.is_silent(between))
            && !(next..=target as usize).any(is_entry);
        if !is_next {
            let at = self.asm.jump();
            self.jumps.push((at, target));
        }
    }

    /// A loop that begins with its condition asks for it at its end instead: one jump a round.
    pub fn jump_back_or_on(&mut self, target: u32) {
        match self.job.code[target as usize] {
            Inst::JumpIf { condition, width, left, right, target: end }
                if (target as usize) < self.position && end > target =>
            {
                let test = self.compare(condition, width, of(left), right);
                let at = self.far_jump_if(test.negated());
                self.jumps.push((at, target + 1));
                self.jump(end);
            }
            _ => self.jump(target),
        }
    }

    /// Whether nothing is emitted for an instruction.
    fn is_silent(&self, position: usize) -> bool {
        !self.job.flow.is_reached(position) || self.job.code[position] == Inst::Nothing
    }

    pub fn jump_if(&mut self, test: Test, target: u32) {
        if cost(self.position, target) > 0 && self.job.is_checked() {
            let over = self.asm.jump_if(test.negated());
            self.pay(target);
            self.jump(target);
            self.land(over);
        } else {
            let at = self.far_jump_if(test);
            self.jumps.push((at, target));
        }
    }

    pub fn may_goto(&mut self, target: u32) {
        let loops = super::slow::run_field(std::mem::offset_of!(crate::run::Run<'_>, loops));
        self.asm.load(4, SCRATCH, loops);
        self.jump_if(Test::Zero { width: Width::W32, reg: SCRATCH }, target);
        // The jump may have paid by way of the scratch register, but then it was taken.
        self.asm.add(Width::W32, SCRATCH, SCRATCH, -1, SCRATCH);
        self.asm.store(4, loops, SCRATCH);
    }

    pub fn past_the_end(&mut self) {
        let at = self.asm.jump();
        self.slow.push((at, Slow::PastTheEnd { position: self.position }));
    }

    pub fn call_entry(&mut self, target: u32) {
        let at = self.asm.call();
        self.calls.push((at, target));
    }
}
