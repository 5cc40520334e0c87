//! Steps that touch memory: the frame and the packet.

use super::*;

impl Writer<'_> {
    pub(super) fn size(&mut self) -> Size {
        self.random.pick(&[Size::Byte, Size::Half, Size::Word, Size::Double])
    }

    pub(super) fn access(&mut self) -> Access {
        if self.random.one_in(5) {
            Access::Signed(self.random.pick(&[Narrow::Byte, Narrow::Half, Narrow::Word]))
        } else {
            Access::Unsigned(self.size())
        }
    }

    /// An offset at which an access stays inside of `length` bytes from `start` on.
    pub(super) fn offset(&mut self, size: Size, start: i16, length: u32) -> i16 {
        let size = u32::from(size.bytes());
        let places = (length / size).max(1) as usize;
        let offset = self.random.below(places) as i16 * size as i16;
        // Where the processor doesn't care, unaligned is fine, too.
        start + offset
    }

    pub(super) fn stack(&mut self) {
        match self.random.below(7) {
            6 => self.atomic(Register::R10, -CLEARED),
            0..2 => {
                let access = self.access();
                let offset = self.offset(access.size(), -CLEARED, CLEARED as u32);
                let dst = self.free();
                self.put(Instruction::Load { access, dst: of(dst), base: Register::R10, offset });
                self.set(dst, Number);
            }
            2..4 => {
                let size = self.size();
                let offset = self.offset(size, -CLEARED, CLEARED as u32);
                let value = self.source();
                self.put(Instruction::Store { size, base: Register::R10, offset, value });
            }
            4 => {
                // A pointer goes out and comes back.
                let filter = |holds: Holds| holds != Nothing && !holds.is_number();
                let Some(pointer) = self.with(filter) else { return };
                let holds = self.registers[usize::from(pointer)];
                let offset = -CLEARED - 8;
                let value = Source::Register(of(pointer));
                let (size, base) = (Size::Double, Register::R10);
                self.put(Instruction::Store { size, base, offset, value });
                let dst = self.free();
                let access = Access::Unsigned(size);
                self.put(Instruction::Load { access, dst: of(dst), base, offset });
                self.set(dst, holds);
                self.mark("spills");
            }
            _ => {
                // At an index that is known only when it runs.
                let Some(index) = self.with(|holds| matches!(holds, Bounded(0..=31))) else {
                    return self.mask();
                };
                let base = self.pointer_to_frame(-CLEARED, index);
                let offset = i16::from(self.random.one_in(4));
                self.variable_access(base, offset);
                self.mark("variable offsets");
            }
        }
    }

    /// A register that points into the frame, at a variable place.
    pub(super) fn pointer_to_frame(&mut self, offset: i16, index: u8) -> u8 {
        let register = self.other_than(index);
        self.alu(AluOp::Mov, Width::W64, register, Source::Register(Register::R10));
        self.alu(AluOp::Add, Width::W64, register, Source::Immediate(offset.into()));
        self.alu(AluOp::Add, Width::W64, register, Source::Register(of(index)));
        self.set(register, Frame);
        register
    }

    pub(super) fn other_than(&mut self, register: u8) -> u8 {
        loop {
            let free = self.free();
            if free != register {
                return free;
            }
        }
    }

    pub(super) fn variable_access(&mut self, base: u8, offset: i16) {
        if self.random.one_in(2) {
            let size = self.random.pick(&[Size::Byte, Size::Byte, Size::Half, Size::Word]);
            let value = self.source();
            let value = match value {
                Source::Register(register) if register == of(base) => Source::Immediate(1),
                other => other,
            };
            self.put(Instruction::Store { size, base: of(base), offset, value });
        } else {
            let access = self.access();
            let dst = self.free();
            self.put(Instruction::Load { access, dst: of(dst), base: of(base), offset });
            self.set(dst, Number);
        }
        if self.registers[usize::from(base)] == Frame {
            self.set(base, Nothing);
        }
    }

    /// Accesses to the packet, behind a check against its end.
    pub(super) fn packet(&mut self) {
        if self.setting == Setting::SocketFilter && self.has_context() {
            return self.packet_load();
        }
        let known = self.with(|holds| matches!(holds, Packet(1..)));
        let Some(base) = known else { return self.check_packet() };
        let Packet(length) = self.registers[usize::from(base)] else { return };
        if self.random.one_in(4)
            && let Some(index) = self.with(Holds::is_number)
            && index != base
        {
            return self.variable_packet(base, index);
        }
        // Programs of cgroups only read.
        let reads = self.setting == Setting::CgroupFilter && !self.random.one_in(20);
        if reads || self.random.one_in(2) {
            let access = self.access();
            let offset = self.offset(access.size(), 0, length.into());
            let dst = self.free();
            self.put(Instruction::Load { access, dst: of(dst), base: of(base), offset });
            self.set(dst, Number);
        } else {
            let size = self.size();
            let offset = self.offset(size, 0, length.into());
            let value = self.source();
            self.put(Instruction::Store { size, base: of(base), offset, value });
        }
    }

    pub(super) fn check_packet(&mut self) {
        let pointers = self.setting.packet_pointers();
        let (true, Some((data, data_end))) = (self.has_context(), pointers) else {
            return self.constant();
        };
        let (start, end) = (7, 9);
        for (register, offset) in [(start, data), (end, data_end)] {
            let access = Access::Unsigned(Size::Word);
            let (dst, base) = (of(register), Register::R6);
            self.put(Instruction::Load { access, dst, base, offset });
        }
        self.set(start, Packet(0));
        self.set(end, PacketEnd);
        let length = self.random.pick(&[1, 2, 4, 8, 14, 34, 54, 64]);
        let probe = self.random.pick(&[1, 2, 3, 4, 5]);
        self.alu(AluOp::Mov, Width::W64, probe, Source::Register(of(start)));
        self.alu(AluOp::Add, Width::W64, probe, Source::Immediate(length.into()));
        self.set(probe, Nothing);
        let steps = 1 + self.random.below(6);
        let right = Source::Register(of(end));
        self.open(Condition::Greater, Width::W64, probe, right, steps);
        self.set(start, Packet(length));
        self.mark("packet bounds");
    }

    pub(super) fn variable_packet(&mut self, base: u8, index: u8) {
        let end = self.with(|holds| holds == PacketEnd);
        let (Some(end), true) = (end, self.is_main()) else { return };
        if !matches!(self.registers[usize::from(index)], Bounded(0..=4096)) {
            let width = self.width();
            self.alu(AluOp::And, width, index, Source::Immediate(63));
            self.set(index, Bounded(63));
        }
        let place = self.random.pick(&[1, 2, 3, 4, 5]);
        if [base, index, end].contains(&place) {
            return;
        }
        self.alu(AluOp::Mov, Width::W64, place, Source::Register(of(base)));
        self.alu(AluOp::Add, Width::W64, place, Source::Register(of(index)));
        self.set(place, Nothing);
        let probe = self.random.pick(&[0, 8]);
        if [base, index, end, place].contains(&probe) {
            return;
        }
        let size = self.size();
        self.alu(AluOp::Mov, Width::W64, probe, Source::Register(of(place)));
        self.alu(AluOp::Add, Width::W64, probe, Source::Immediate(size.bytes().into()));
        self.set(probe, Nothing);
        self.open(Condition::Greater, Width::W64, probe, Source::Register(of(end)), 1);
        let access = Access::Unsigned(size);
        self.put(Instruction::Load { access, dst: of(place), base: of(place), offset: 0 });
        self.set(place, Number);
    }

    /// On `VALUE_SIZE` bytes from `start` on.
    pub(super) fn atomic(&mut self, base: Register, start: i16) {
        let Some(src) = self.with(Holds::is_number) else { return };
        let op = self.random.pick(&[
            AtomicOp::Add,
            AtomicOp::Or,
            AtomicOp::And,
            AtomicOp::Xor,
            AtomicOp::FetchAdd,
            AtomicOp::FetchOr,
            AtomicOp::FetchAnd,
            AtomicOp::FetchXor,
            AtomicOp::Exchange,
            AtomicOp::CompareExchange,
        ]);
        if op == AtomicOp::CompareExchange && !self.registers[0].is_number() {
            return;
        }
        let width = self.width();
        let size = if width == Width::W32 { Size::Word } else { Size::Double };
        let offset = self.offset(size, start, VALUE_SIZE);
        self.put(Instruction::Atomic { op, width, base, offset, src: of(src) });
        self.mark("atomics");
        if base == Register::R10 {
            self.mark("atomics on the stack");
        }
        self.set(src, Number);
        if op == AtomicOp::CompareExchange {
            self.set(0, Number);
        }
    }
}
