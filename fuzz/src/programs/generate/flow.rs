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
        // One more for the jump itself, which isn't written yet.
        let offset = self.slots(self.instructions.len(), start);
        let (condition, width) = (Condition::Less, self.width());
        let right = Source::Immediate(rounds);
        let left = of(counter);
        let offset = (offset - 1) as i16;
        self.put(Instruction::JumpIf { condition, width, left, right, offset });
        self.set(counter, Bounded(16));
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

    /// A function of that sort: a new one, or one that is called already.
    fn callee(&mut self, role: Role) -> Option<usize> {
        let known: Vec<usize> =
            (1..self.functions.len()).filter(|at| self.functions[*at] == role).collect();
        if self.functions.len() < 4 && (known.is_empty() || self.random.one_in(2)) {
            self.functions.push(role);
            return Some(self.functions.len() - 1);
        }
        (!known.is_empty()).then(|| self.random.pick(&known))
    }

    /// `bpf_loop` with a callback that may write into the frame.
    pub(super) fn repeated_call(&mut self) {
        if !self.is_main() {
            return self.arithmetic();
        }
        let Some(function) = self.callee(Role::Callback) else { return };
        match self.with(|holds| matches!(holds, Bounded(0..=63))) {
            Some(rounds) => self.moves(1, rounds),
            None => {
                let rounds = self.random.below(20) as i32;
                self.number(1, rounds);
            }
        }
        self.calls.push((self.instructions.len(), function));
        self.put(Instruction::LoadWide { dst: Register::R2, value: Wide::Code(0) });
        self.alu(AluOp::Mov, Width::W64, 3, Source::Register(Register::R10));
        self.alu(AluOp::Add, Width::W64, 3, Source::Immediate((-CLEARED).into()));
        self.alu(AluOp::Mov, Width::W64, 4, Source::Immediate(0));
        self.call(181, Number);
    }

    /// Helpers that copy between the packet and the frame, and a checksum.
    pub(super) fn packet_bytes(&mut self) {
        let length = self.random.pick(&[4, 8, 16, 32, 64]);
        if self.random.one_in(3) {
            // Before the other arguments take the places of numbers.
            let seed = self.source();
            self.alu(AluOp::Mov, Width::W64, 5, seed);
            self.alu(AluOp::Mov, Width::W64, 1, Source::Register(Register::R10));
            self.alu(AluOp::Add, Width::W64, 1, Source::Immediate((-CLEARED).into()));
            self.alu(AluOp::Mov, Width::W64, 2, Source::Immediate(length));
            self.alu(AluOp::Mov, Width::W64, 3, Source::Immediate(0));
            self.alu(AluOp::Mov, Width::W64, 4, Source::Immediate(0));
            return self.call(28, Number);
        }
        if !self.is_main() || self.registers[6] != Context {
            return self.mask();
        }
        let at = self.random.below(72) as i32;
        self.moves(1, 6);
        self.alu(AluOp::Mov, Width::W64, 2, Source::Immediate(at));
        self.alu(AluOp::Mov, Width::W64, 3, Source::Register(Register::R10));
        self.alu(AluOp::Add, Width::W64, 3, Source::Immediate((-CLEARED).into()));
        self.alu(AluOp::Mov, Width::W64, 4, Source::Immediate(length));
        // xdp_load_bytes, xdp_store_bytes
        let helper = self.random.pick(&[189, 190]);
        self.call(helper, Number);
    }

    pub(super) fn local_call(&mut self) {
        // Functions don't call each other: frames take 512 bytes at most.
        if !self.is_main() {
            return self.arithmetic();
        }
        for register in [1, 2] {
            match self.with(Holds::is_number) {
                Some(from) => self.moves(register, from),
                None => self.number(register, 1),
            }
        }
        let Some(function) = self.callee(Role::Local) else { return };
        self.calls.push((self.instructions.len(), function));
        self.put(Instruction::Call { callee: Callee::Local(0) });
        for register in 1..=5 {
            self.set(register, Nothing);
        }
        self.set(0, Number);
    }

    pub(super) fn call(&mut self, helper: i32, holds: Holds) {
        self.put(Instruction::Call { callee: Callee::Helper(helper) });
        for register in 1..=5 {
            self.set(register, Nothing);
        }
        self.set(0, holds);
    }

    /// `r1` is a map, `r2` a key on the stack.
    pub(super) fn map_and_key(&mut self) {
        let map = self.random.pick(&[ARRAY, HASH]);
        let key = match (self.random.below(3), self.with(Holds::is_number)) {
            (0, Some(register)) => Source::Register(of(register)),
            _ => Source::Immediate(self.random.below(6) as i32),
        };
        let (size, base, offset) = (Size::Word, Register::R10, -4);
        self.put(Instruction::Store { size, base, offset, value: key });
        self.alu(AluOp::Mov, Width::W64, 2, Source::Register(Register::R10));
        self.alu(AluOp::Add, Width::W64, 2, Source::Immediate(-4));
        let value = Wide::MapByIndex(map as i32);
        self.put(Instruction::LoadWide { dst: Register::R1, value });
    }

    pub(super) fn map_change(&mut self) {
        self.map_and_key();
        if self.random.one_in(3) {
            return self.call(3, Number);
        }
        self.alu(AluOp::Mov, Width::W64, 3, Source::Register(Register::R10));
        self.alu(AluOp::Add, Width::W64, 3, Source::Immediate((-CLEARED).into()));
        let flags = self.random.pick(&[0, 0, 1, 2]);
        self.alu(AluOp::Mov, Width::W64, 4, Source::Immediate(flags));
        self.call(2, Number);
    }

    /// Moves an end of the packet; pointers into it are worthless from then on.
    pub(super) fn packet_change(&mut self) {
        if !self.is_main() || self.registers[6] != Context {
            return self.mask();
        }
        self.moves(1, 6);
        let (helper, amount) = match self.random.below(3) {
            0 => (44, self.random.between(-64, 64)),
            1 => (65, self.random.between(-48, 32)),
            _ => (44, self.random.interesting() as i64),
        };
        self.alu(AluOp::Mov, Width::W64, 2, Source::Immediate(amount as i32));
        self.call(helper, Number);
        for register in 0..10 {
            if matches!(self.registers[register], Packet(_) | PacketEnd) {
                self.registers[register] = Nothing;
            }
        }
    }
}
