//! Steps that ask for the context, change what belongs to the packet, or load from it as socket
//! filters do.

use super::*;

/// Offset of the mark in `struct __sk_buff`.
pub(super) const MARK: i16 = 8;
/// Further fields that some hook may write: priority, control block. Not traffic control's index, of
/// which the kernel keeps 16 bits and our runtime 32.
const WRITTEN: &[i16] = &[8, 32, 48, 52, 56, 60, 64];
/// Those that hold the same in the kernel's test runs as in ours: length, type, mark, protocol, tag,
/// priority, control block.
const READ: &[i16] = &[0, 4, 8, 16, 20, 24, 28, 32, 44, 48, 52, 56, 60, 64];
/// Those that the kernel, too, has in four bytes.
const WHOLE: &[i16] = &[0, 8, 32, 48, 52, 56, 60, 64];

impl Writer<'_> {
    pub(super) fn has_context(&self) -> bool {
        self.is_main() && self.registers[6] == Context
    }

    pub(super) fn context(&mut self) {
        if !self.has_context() {
            return self.mask();
        }
        self.mark("context");
        let base = Register::R6;
        if !self.setting.has_skb() {
            // The interface and the queue.
            let offset = self.random.pick(&[12, 16]);
            let dst = self.free();
            let access = Access::Unsigned(Size::Word);
            self.put(Instruction::Load { access, dst: of(dst), base, offset });
            return self.set(dst, Number);
        }
        match self.random.below(4) {
            0 => {
                let offset = self.random.pick(WRITTEN);
                let Some(value) = self.with(Holds::is_number) else { return self.constant() };
                let value = Source::Register(of(value));
                self.put(Instruction::Store { size: Size::Word, base, offset, value });
            }
            1 if self.setting != Setting::CgroupFilter => self.packet_load(),
            _ => {
                let mut offset = self.random.pick(READ);
                let mut size = Size::Word;
                if self.random.one_in(4) {
                    // Of narrower fields the kernel gives the lower half for the upper one, too.
                    offset = self.random.pick(WHOLE);
                    size = self.random.pick(&[Size::Byte, Size::Half]);
                    offset += if size == Size::Byte { self.random.below(4) as i16 } else { 2 };
                }
                let dst = self.free();
                self.put(Instruction::Load {
                    access: Access::Unsigned(size),
                    dst: of(dst),
                    base,
                    offset,
                });
                self.set(dst, Number);
            }
        }
    }

    /// From the packet into `r0`, ending the program with zero if that isn't there.
    pub(super) fn packet_load(&mut self) {
        let size = self.random.pick(&[Narrow::Byte, Narrow::Half, Narrow::Word]);
        let index = self.with(|holds| matches!(holds, Bounded(0..=63)));
        let index = index.filter(|_| self.random.one_in(2));
        let offset = self.random.below(if index.is_some() { 20 } else { 66 }) as i32;
        self.put(Instruction::LoadPacket { size, index: index.map(of), offset });
        for register in 1..=5 {
            self.set(register, Nothing);
        }
        self.set(0, Number);
        self.mark("packet loads");
    }

    /// Calls a helper that changes the packet; pointers into it are worthless from then on.
    pub(super) fn packet_change(&mut self) {
        if !self.has_context() {
            return self.mask();
        }
        // Further arguments.
        let (helper, arguments): (i32, Vec<i64>) = match self.setting {
            Setting::Xdp => match self.random.below(4) {
                0 => (44, vec![self.random.between(-64, 64)]),
                1 => (65, vec![self.random.between(-48, 32)]),
                2 => (54, vec![4 * self.random.between(-9, 4)]),
                _ => (44, vec![self.random.interesting() as i64]),
            },
            Setting::Classifier => match self.random.below(6) {
                0 => (39, vec![self.random.between(0, 160)]),
                // Headers stay whole.
                1 => (38, vec![self.random.between(54, 160), 0]),
                2 => (18, vec![0x0081, self.random.between(0, 65535)]),
                3 => (19, vec![]),
                4 => {
                    let sizes = self.random.pick(&[2, 4]);
                    let at = self.random.between(14, 60);
                    let (from, to) = (self.random.between(0, 65535), self.random.between(0, 65535));
                    (self.random.pick(&[10, 11]), vec![at, from, to, sizes])
                }
                _ => (50, vec![4 * self.random.between(-4, 8), 1, 0]),
            },
            Setting::CgroupFilter | Setting::SocketFilter => return self.packet_bytes(),
        };
        self.moves(1, 6);
        for (register, value) in (2..).zip(arguments) {
            let value = Source::Immediate(value as i32);
            self.alu(AluOp::Mov, Width::W64, register, value);
        }
        self.call(helper, Number);
        for register in 0..10 {
            if matches!(self.registers[register], Packet(_) | PacketEnd) {
                self.registers[register] = Nothing;
            }
        }
        self.mark("packet changes");
    }

    /// Helpers that copy between the packet and the frame, and a checksum.
    pub(super) fn packet_bytes(&mut self) {
        let length = self.random.pick(&[4, 8, 16, 32, 64]);
        if self.random.one_in(3) {
            // Before the other arguments take the places of numbers.
            let seed = self.source();
            self.alu(AluOp::Mov, Width::W64, 5, seed);
            self.frame_in(1);
            self.alu(AluOp::Mov, Width::W64, 2, Source::Immediate(length));
            self.alu(AluOp::Mov, Width::W64, 3, Source::Immediate(0));
            self.alu(AluOp::Mov, Width::W64, 4, Source::Immediate(0));
            return match self.setting {
                // It has no checksums.
                Setting::CgroupFilter | Setting::SocketFilter => self.set(5, Nothing),
                Setting::Xdp | Setting::Classifier => self.call(28, Number),
            };
        }
        if !self.has_context() {
            return self.mask();
        }
        // A length that is known only when it runs: at least 1.
        let variable = self.with(|holds| matches!(holds, Bounded(0..=31)));
        let variable = variable.filter(|_| self.random.one_in(2));
        match variable {
            Some(register) => {
                self.alu(AluOp::Mov, Width::W64, 4, Source::Register(of(register)));
                self.alu(AluOp::Add, Width::W64, 4, Source::Immediate(1));
            }
            None => self.alu(AluOp::Mov, Width::W64, 4, Source::Immediate(length)),
        }
        let at = self.random.below(72) as i32;
        self.moves(1, 6);
        self.alu(AluOp::Mov, Width::W64, 2, Source::Immediate(at));
        self.frame_in(3);
        let helper = match self.setting {
            Setting::Xdp => self.random.pick(&[189, 190]),
            Setting::Classifier => self.random.pick(&[26, 9]),
            Setting::CgroupFilter | Setting::SocketFilter => 26,
        };
        if helper == 9 {
            // At addresses and ports, so that the packet keeps its form; no flags.
            let at = self.random.between(26, 60) as i32;
            self.alu(AluOp::Mov, Width::W64, 2, Source::Immediate(at));
            self.alu(AluOp::Mov, Width::W64, 5, Source::Immediate(0));
        }
        self.call(helper, Number);
        if matches!(helper, 9 | 190) {
            for register in 0..10 {
                if matches!(self.registers[register], Packet(_) | PacketEnd) {
                    self.registers[register] = Nothing;
                }
            }
        }
    }
}
