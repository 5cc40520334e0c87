//! Steps that go elsewhere: branches, loops, calls.

use super::*;

impl Writer<'_> {
    pub(super) fn condition(&mut self) -> Condition {
        self.random.pick(&[
            Condition::Equal,
            Condition::NotEqual,
            Condition::Greater,
            Condition::GreaterOrEqual,
            Condition::Less,
            Condition::LessOrEqual,
            Condition::SignedGreater,
            Condition::SignedGreaterOrEqual,
            Condition::SignedLess,
            Condition::SignedLessOrEqual,
            Condition::Set,
        ])
    }

    pub(super) fn branch(&mut self) {
        let Some(left) = self.with(Holds::is_number) else { return self.constant() };
        let right = self.source();
        let steps = 1 + self.random.below(4);
        let condition = self.condition();
        let width = self.width();
        self.open(condition, width, left, right, steps);
        if let (Condition::Greater, Source::Immediate(bound @ 0..=63)) = (condition, right) {
            self.set(left, Bounded(bound.cast_unsigned()));
        }
    }

    pub(super) fn open(
        &mut self,
        condition: Condition,
        width: Width,
        left: u8,
        right: Source,
        steps: usize,
    ) {
        let at = self.instructions.len();
        self.open.push(Open { at, registers: self.registers, steps });
        self.put(Instruction::JumpIf { condition, width, left: of(left), right, offset: 0 });
    }

    pub(super) fn counted_loop(&mut self) {
        if self.depth > 0 {
            return self.arithmetic();
        }
        let counter = self.random.pick(&[8, 9]);
        self.number(counter, 0);
        self.set(counter, Nothing);
        let start = self.instructions.len();
        let way_out = self.random.one_in(4).then_some(start);
        if way_out.is_some() {
            self.put(Instruction::MayGoto { offset: 0 });
            self.mark("may_goto");
        }
        self.depth += 1;
        let opened = self.open.len();
        // What is known at the start must hold in every round: the body only works on numbers.
        let numbers: Vec<u8> =
            (0..10).filter(|at| self.registers[usize::from(*at)].is_number()).collect();
        for register in &numbers {
            self.set(*register, Number);
        }
        for _ in 0..1 + self.random.below(3) {
            match self.random.below(4) {
                0 if !numbers.is_empty() => {
                    let dst = self.random.pick(&numbers);
                    let access = self.access();
                    let offset = self.offset(access.size(), -CLEARED, CLEARED as u32);
                    let base = Register::R10;
                    self.put(Instruction::Load { access, dst: of(dst), base, offset });
                }
                1 => {
                    let size = self.size();
                    let offset = self.offset(size, -CLEARED, CLEARED as u32);
                    let value = match numbers.is_empty() {
                        true => Source::Immediate(5),
                        false => Source::Register(of(self.random.pick(&numbers))),
                    };
                    self.put(Instruction::Store { size, base: Register::R10, offset, value });
                }
                _ => self.arithmetic_on(&numbers),
            }
        }
        debug_assert_eq!(opened, self.open.len(), "jumps don't cross the loop");
        self.depth -= 1;
        self.alu(AluOp::Add, Width::W64, counter, Source::Immediate(1));
        let rounds = 1 + self.random.below(12) as i32;
        // As many rounds as is known only when it runs.
        let bound = self.with(|holds| matches!(holds, Bounded(0..=63)));
        let right = match bound {
            Some(bound) if !numbers.contains(&bound) => Source::Register(of(bound)),
            _ => Source::Immediate(rounds),
        };
        // One more for the jump itself, which isn't written yet.
        let offset = self.slots(self.instructions.len(), start);
        let (condition, width) = (Condition::Less, self.width());
        let left = of(counter);
        let offset = (offset - 1) as i16;
        self.put(Instruction::JumpIf { condition, width, left, right, offset });
        if let Some(at) = way_out {
            let distance = self.slots(at + 1, self.instructions.len()) as i16;
            self.instructions[at] = Instruction::MayGoto { offset: distance };
        }
        self.mark("loops");
        self.set(counter, Bounded(63));
    }

    pub(super) fn arithmetic_on(&mut self, numbers: &[u8]) {
        if numbers.is_empty() {
            return;
        }
        let dst = self.random.pick(numbers);
        let op = self.random.pick(&[AluOp::Add, AluOp::Xor, AluOp::Mul, AluOp::Sub, AluOp::Or]);
        let width = self.width();
        let src = match self.random.one_in(2) {
            true => Source::Register(of(self.random.pick(numbers))),
            false => Source::Immediate(self.random.interesting() as i32),
        };
        self.alu(op, width, dst, src);
    }

    /// What is never reached, as only the verifier can see: anything may stand there.
    pub(super) fn dead_code(&mut self) {
        if self.random.one_in(4) {
            let distance = self.random.pick(&[Distance::Far(0), Distance::Near(0)]);
            return self.put(Instruction::Jump { distance });
        }
        let Some(register) = self.with(Holds::is_number) else { return self.constant() };
        let value = self.random.interesting() as i32;
        self.number(register, value);
        let jump = self.instructions.len();
        let width = self.width();
        self.put(Instruction::JumpIf {
            condition: Condition::Equal,
            width,
            left: of(register),
            right: Source::Immediate(value),
            offset: 0,
        });
        let registers = self.registers;
        self.skipped(jump, registers);
        self.mark("dead code");
    }

    /// Writes a few instructions over which the one at `jump` goes.
    fn skipped(&mut self, jump: usize, registers: Registers) {
        let wild = self.wild;
        let marked = self.marks.contains("wild");
        for _ in 0..1 + self.random.below(3) {
            self.wild_step();
        }
        self.wild = wild;
        if !marked {
            self.marks.remove("wild");
        }
        self.registers = registers;
        let distance = self.slots(jump + 1, self.instructions.len());
        if let Instruction::JumpIf { offset, .. } = &mut self.instructions[jump] {
            *offset = distance as i16;
        }
    }
}
