//! Steps that use maps.

use super::*;

impl Writer<'_> {
    pub(super) fn map_in(&mut self, register: u8, map: usize) {
        let value = Wide::MapByIndex(map as i32);
        self.put(Instruction::LoadWide { dst: of(register), value });
        self.set(register, Nothing);
        self.mark("maps");
    }

    /// `r1` is a map, `r2` a key on the stack.
    fn map_and_key(&mut self, map: usize) {
        let key = match (self.random.below(3), self.with(Holds::is_number)) {
            (0, Some(register)) => Source::Register(of(register)),
            _ => Source::Immediate(self.random.below(6) as i32),
        };
        let (size, base) = (Size::Word, Register::R10);
        self.put(Instruction::Store { size, base, offset: -4, value: key });
        if map == TRIE {
            let length = self.random.pick(&[0, 8, 30, 31, 32, 33]);
            let value = Source::Immediate(length);
            self.put(Instruction::Store { size, base, offset: -8, value });
        }
        self.alu(AluOp::Mov, Width::W64, 2, Source::Register(Register::R10));
        let below = if map == TRIE { -8 } else { -4 };
        self.alu(AluOp::Add, Width::W64, 2, Source::Immediate(below));
        self.set(2, Nothing);
        self.map_in(1, map);
    }

    /// A value of a map, and what can be done with it.
    pub(super) fn map_value(&mut self) {
        let known = self.with(|holds| holds == Value);
        let Some(base) = known.filter(|_| !self.random.one_in(8)) else {
            return self.look_up();
        };
        match self.random.below(8) {
            0..3 => {
                let access = self.access();
                let offset = self.offset(access.size(), 0, VALUE_SIZE);
                let dst = self.free();
                self.put(Instruction::Load { access, dst: of(dst), base: of(base), offset });
                self.set(dst, Number);
            }
            3..5 => {
                let size = self.size();
                let offset = self.offset(size, 0, VALUE_SIZE);
                let value = self.source();
                self.put(Instruction::Store { size, base: of(base), offset, value });
            }
            5 => self.atomic(of(base), 0),
            _ => {
                let Some(index) = self.with(|holds| matches!(holds, Bounded(0..=63))) else {
                    return self.narrow();
                };
                let place = self.other_than(index);
                if place == base {
                    return;
                }
                self.moves(place, base);
                let op = if self.random.one_in(6) { AluOp::Sub } else { AluOp::Add };
                self.alu(op, Width::W64, place, Source::Register(of(index)));
                self.set(place, Frame);
                self.variable_access(place, 0);
                self.set(place, Nothing);
                self.mark("variable offsets");
            }
        }
    }

    fn look_up(&mut self) {
        // It survives further calls there.
        let keep = self.random.pick(&[7, 8, 9]);
        if self.random.one_in(4) {
            // The address itself.
            let (map, offset) = (VARIABLES as i32, 0);
            let value = Wide::MapValueByIndex { map, offset };
            self.put(Instruction::LoadWide { dst: of(keep), value });
            self.mark("maps");
            return self.set(keep, Value);
        }
        let map = self.random.pick(&[ARRAY, HASH, HASH, PER_CPU, TRIE]);
        self.map_and_key(map);
        self.call(1, Nothing);
        let steps = 1 + self.random.below(5);
        self.open(Condition::Equal, Width::W64, 0, Source::Immediate(0), steps);
        self.set(0, Value);
        self.moves(keep, 0);
    }

    /// These instructions, if `r0` isn't NULL.
    fn unless_null(&mut self, write: impl FnOnce(&mut Self)) {
        let skip = self.instructions.len();
        self.put(Instruction::JumpIf {
            condition: Condition::Equal,
            width: Width::W64,
            left: Register::R0,
            right: Source::Immediate(0),
            offset: 0,
        });
        write(self);
        let distance = self.slots(skip + 1, self.instructions.len()) as i16;
        if let Instruction::JumpIf { offset, .. } = &mut self.instructions[skip] {
            *offset = distance;
        }
    }

    pub(super) fn map_change(&mut self) {
        let map = self.random.pick(&[ARRAY, HASH, HASH, PER_CPU, TRIE]);
        self.map_and_key(map);
        if self.random.one_in(3) {
            return self.call(3, Number);
        }
        self.frame_in(3);
        let flags = self.random.pick(&[0, 0, 1, 2]);
        self.alu(AluOp::Mov, Width::W64, 4, Source::Immediate(flags));
        self.call(2, Number);
    }

    pub(super) fn queue(&mut self) {
        let helper = self.random.pick(&[87, 87, 88, 89]);
        self.map_in(1, QUEUE);
        self.frame_in(2);
        if helper == 87 {
            let flags = self.random.pick(&[0, 0, 2]);
            self.alu(AluOp::Mov, Width::W64, 3, Source::Immediate(flags));
        }
        self.call(helper, Number);
    }

    /// A record is reserved, written and submitted or discarded.
    pub(super) fn ring_record(&mut self) {
        self.map_in(1, RING);
        self.alu(AluOp::Mov, Width::W64, 2, Source::Immediate(VALUE_SIZE as i32));
        self.alu(AluOp::Mov, Width::W64, 3, Source::Immediate(0));
        self.call(131, Nothing);
        self.unless_null(|writer| {
            // What lay there before differs.
            for word in 0..(VALUE_SIZE / 8) as i16 {
                let value = match writer.with(Holds::is_number) {
                    Some(register) if register != 0 && writer.random.one_in(3) => {
                        Source::Register(of(register))
                    }
                    _ => Source::Immediate(word.into()),
                };
                let (size, base) = (Size::Double, Register::R0);
                writer.put(Instruction::Store { size, base, offset: 8 * word, value });
            }
            let index = writer.with(|holds| matches!(holds, Bounded(0..=63)));
            if let Some(index) = index.filter(|index| *index > 1) {
                writer.alu(AluOp::Mov, Width::W64, 1, Source::Register(Register::R0));
                writer.alu(AluOp::Add, Width::W64, 1, Source::Register(of(index)));
                let value = Source::Immediate(77);
                let (size, base) = (Size::Byte, Register::R1);
                writer.put(Instruction::Store { size, base, offset: 0, value });
            }
            writer.alu(AluOp::Mov, Width::W64, 1, Source::Register(Register::R0));
            writer.alu(AluOp::Mov, Width::W64, 2, Source::Immediate(0));
            let helper = writer.random.pick(&[132, 132, 133]);
            writer.call(helper, Nothing);
        });
        self.mark("references");
    }

    /// A value is changed under its lock.
    pub(super) fn locked_value(&mut self) {
        // Socket filters may not.
        if self.setting == Setting::SocketFilter && !self.random.one_in(20) {
            return self.look_up();
        }
        self.map_and_key(LOCKED);
        self.call(1, Nothing);
        let kept = self.random.pick(&[7, 8, 9]);
        self.unless_null(|writer| {
            let keep = of(kept);
            let zero = Source::Register(Register::R0);
            writer.put(Instruction::Alu {
                op: AluOp::Mov,
                width: Width::W64,
                dst: keep,
                src: zero,
            });
            let lock = |writer: &mut Self, helper| {
                let (op, width) = (AluOp::Mov, Width::W64);
                let src = Source::Register(keep);
                writer.put(Instruction::Alu { op, width, dst: Register::R1, src });
                writer.put(Instruction::Call { callee: Callee::Helper(helper) });
            };
            lock(writer, 93);
            for _ in 0..1 + writer.random.below(3) {
                let size = writer.size();
                let offset = writer.offset(size, 8, VALUE_SIZE - 8);
                let value = Source::Immediate(writer.random.interesting() as i32);
                match writer.random.one_in(3) {
                    true => {
                        let (op, src) = (AluOp::Mov, value);
                        let width = Width::W64;
                        writer.put(Instruction::Alu { op, width, dst: Register::R0, src });
                        let (op, src) = (AtomicOp::FetchAdd, Register::R0);
                        let offset = offset & !7;
                        writer.put(Instruction::Atomic { op, width, base: keep, offset, src });
                    }
                    false => writer.put(Instruction::Store { size, base: keep, offset, value }),
                }
            }
            lock(writer, 94);
        });
        for register in [0, 1, 2, 3, 4, 5] {
            self.set(register, Nothing);
        }
        self.set(kept, Nothing);
        self.number(0, 1);
        self.mark("locks");
    }
}
