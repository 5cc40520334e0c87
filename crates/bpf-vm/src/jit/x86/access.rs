//! Loads, stores and atomic operations, and what is compared before them.

use std::mem::offset_of;

use bpf_isa::{Access, AtomicOp, Narrow, Register, Size, Source, Width};

use super::super::ir::Address;
use super::super::native::{Kind, Native, Window};
use super::super::service::Service;
use super::assembler::{Arith, Cond, Mem};
use super::emit::{Emitter, Right};
use super::register::{RUN, Reg, SCRATCH, SECOND, of};
use super::slow::{Slow, native};

impl Emitter<'_> {
    fn mem(address: Address) -> Mem {
        let (base, index) = (of(address.base), address.index.map(of));
        Mem { base: Some(base), index, scale: 0, offset: address.offset }
    }

    /// The place of an access that may be made. In checked programs it may use both scratch
    /// registers, of which the second is free afterwards.
    fn locate(&mut self, address: Address, size: Size, write: bool) -> Mem {
        let mem = Self::mem(address);
        if !self.job.is_checked() || address.is_in_frame(size) {
            return mem;
        }
        let window =
            if write { offset_of!(Native, writable) } else { offset_of!(Native, readable) };
        let place = match size {
            Size::Byte => 0,
            Size::Half => 8,
            Size::Word => 16,
            Size::Double => 24,
        };
        let start = native(window + offset_of!(Window, start));
        let places = native(window + offset_of!(Window, places) + place);
        self.address_to_scratch(mem);
        self.asm.mov(Width::W64, SECOND, SCRATCH);
        self.asm.arith_load(Width::W64, Arith::Sub, SECOND, start);
        self.asm.arith_load(Width::W64, Arith::Cmp, SECOND, places);
        let at = self.asm.jump_if_near(Cond::AboveOrEqual);
        let (position, back) = (self.position, self.asm.position());
        let kind = Kind { size, write, aligned: false };
        self.slow.push((at, Slow::Check { position, back, kind }));
        Mem::new(SCRATCH, 0)
    }

    fn address_to_scratch(&mut self, mem: Mem) {
        match mem {
            Mem { base: Some(base), index: None, offset: 0, .. } => {
                self.asm.mov(Width::W64, SCRATCH, base);
            }
            _ => self.asm.lea(Width::W64, SCRATCH, mem),
        }
    }

    /// As [`Self::locate`], for what must be aligned.
    pub fn aligned(&mut self, address: Address, size: Size, write: bool) -> Mem {
        let mem = Self::mem(address);
        if !self.job.is_checked() {
            return mem;
        }
        self.address_to_scratch(mem);
        self.slow_check(self.position, Kind { size, write, aligned: true });
        Mem::new(SCRATCH, 0)
    }

    pub fn load(&mut self, access: Access, swap: bool, dst: Reg, address: Address) {
        let mem = self.locate(address, access.size(), false);
        let bytes = access.size().bytes();
        match access {
            Access::Unsigned(_) => self.asm.load(bytes, dst, mem),
            Access::Signed(_) => self.asm.load_signed(bytes, dst, mem),
        }
        if swap {
            match bytes {
                2 => self.asm.swap16(dst),
                4 => self.asm.bswap(Width::W32, dst),
                _ => self.asm.bswap(Width::W64, dst),
            }
        }
    }

    pub fn store(&mut self, size: Size, address: Address, value: Source) {
        let mem = self.locate(address, size, true);
        match self.operand(value, SECOND) {
            Right::Reg(src) => self.asm.store(size.bytes(), mem, src),
            Right::Imm(imm) => self.asm.store_imm(size.bytes(), mem, imm),
        }
    }

    pub fn atomic(&mut self, op: AtomicOp, width: Width, address: Address, src: Reg) {
        let size = if width == Width::W64 { Size::Double } else { Size::Word };
        let mem = self.aligned(address, size, true);
        match op {
            AtomicOp::Add => self.asm.lock_arith(width, Arith::Add, mem, src),
            AtomicOp::Or => self.asm.lock_arith(width, Arith::Or, mem, src),
            AtomicOp::And => self.asm.lock_arith(width, Arith::And, mem, src),
            AtomicOp::Xor => self.asm.lock_arith(width, Arith::Xor, mem, src),
            AtomicOp::FetchAdd => self.asm.lock_xadd(width, mem, src),
            AtomicOp::Exchange => self.asm.xchg(width, mem, src),
            AtomicOp::CompareExchange => {
                self.asm.lock_cmpxchg(width, mem, src);
                if width == Width::W32 {
                    // On success the processor leaves the upper half as it was.
                    self.asm.mov(Width::W32, Reg::RAX, Reg::RAX);
                }
            }
            AtomicOp::FetchOr => self.fetch(Arith::Or, width, mem, src),
            AtomicOp::FetchAnd => self.fetch(Arith::And, width, mem, src),
            AtomicOp::FetchXor => self.fetch(Arith::Xor, width, mem, src),
        }
    }

    /// What the processor has no instruction for: tries until nobody came between.
    fn fetch(&mut self, op: Arith, width: Width, mem: Mem, src: Reg) {
        // A third scratch register, which neither operand is.
        let third = Reg::R11;
        if mem != Mem::new(SCRATCH, 0) {
            self.asm.lea(Width::W64, SCRATCH, mem);
        }
        let mem = Mem::new(SCRATCH, 0);
        self.asm.push(third);
        self.asm.mov(Width::W64, SECOND, Reg::RAX);
        let operand = if src == Reg::RAX { SECOND } else { src };
        let bytes = if width == Width::W64 { 8 } else { 4 };
        self.asm.load(bytes, Reg::RAX, mem);
        let again = self.asm.position();
        self.asm.mov(width, third, Reg::RAX);
        self.asm.arith(width, op, third, operand);
        self.asm.lock_cmpxchg(width, mem, third);
        self.asm.jump_back_if(Cond::NotEqual, again);
        self.asm.pop(third);
        if src == Reg::RAX {
            if width == Width::W32 {
                self.asm.mov(width, Reg::RAX, Reg::RAX);
            }
        } else {
            self.asm.mov(width, src, Reg::RAX);
            self.asm.mov(Width::W64, Reg::RAX, SECOND);
        }
    }

    pub fn load_packet(&mut self, size: Narrow, index: Option<Register>, offset: i32) {
        let saved = self.save_arguments();
        match index {
            Some(index) => self.asm.lea(Width::W32, Reg::RSI, Mem::new(of(index), offset)),
            None => self.asm.constant(Reg::RSI, offset.cast_unsigned().into()),
        }
        self.leave();
        self.asm.mov(Width::W64, Reg::RDI, RUN);
        self.asm.constant(Reg::RDX, u64::from(Size::from(size).bytes()));
        self.service(Service::LoadPacket);
        self.asm.test(Width::W32, Reg::RDX, Reg::RDX);
        let at = self.asm.jump_if_near(Cond::NotEqual);
        self.slow.push((at, Slow::Unwind));
        self.back(saved);
    }
}
