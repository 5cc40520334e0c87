//! Loads and stores, and what is compared before them.

use std::mem::offset_of;

use bpf_isa::{Access, Narrow, Register, Size, Source, Width};

use super::super::ir::Address;
use super::super::native::{Kind, Native, Window};
use super::super::service::Service;
use super::assembler::{Arith, Cond, Logic, Mem, Test};
use super::emit::Emitter;
use super::immediate;
use super::register::{RUN, Reg, SCRATCH, SECOND, THIRD, of};
use super::slow::{Slow, native};

impl Emitter<'_> {
    /// The place of an access that may be made. It may be in the scratch register; the other ones
    /// are free afterwards.
    fn locate(&mut self, address: Address, size: Size, write: bool) -> Mem {
        if self.job.is_checked() && !address.is_in_frame(size) {
            self.address_to_scratch(address);
            self.check(size, write);
            return Mem::Offset(SCRATCH, 0);
        }
        self.place(address, size)
    }

    /// As above, of an access that needs no check.
    pub fn place(&mut self, address: Address, size: Size) -> Mem {
        let (base, offset) = (of(address.base), address.offset);
        let mem = match address.index {
            Some(index) if offset == 0 => return Mem::Index(base, of(index)),
            Some(index) => {
                self.asm.arith(Width::W64, Arith::Add, SCRATCH, base, of(index));
                Mem::Offset(SCRATCH, offset)
            }
            None => Mem::Offset(base, offset),
        };
        if mem.fits(size.bytes()) {
            return mem;
        }
        let base = if address.index.is_some() { SCRATCH } else { base };
        self.asm.add(Width::W64, SCRATCH, base, offset.into(), THIRD);
        Mem::Offset(SCRATCH, 0)
    }

    fn address_to_scratch(&mut self, Address { base, index, offset }: Address) {
        let mut base = of(base);
        if let Some(index) = index {
            self.asm.arith(Width::W64, Arith::Add, SCRATCH, base, of(index));
            base = SCRATCH;
        }
        if offset != 0 {
            self.asm.add(Width::W64, SCRATCH, base, offset.into(), THIRD);
        } else if base != SCRATCH {
            self.asm.mov(Width::W64, SCRATCH, base);
        }
    }

    /// Holds the address in the scratch register against the region of the last access, or all.
    fn check(&mut self, size: Size, write: bool) {
        let window =
            if write { offset_of!(Native, writable) } else { offset_of!(Native, readable) };
        let place = match size {
            Size::Byte => 0,
            Size::Half => 8,
            Size::Word => 16,
            Size::Double => 24,
        };
        self.asm.load(8, SECOND, native(window + offset_of!(Window, start)));
        self.asm.load(8, THIRD, native(window + offset_of!(Window, places) + place));
        self.asm.arith(Width::W64, Arith::Sub, SECOND, SCRATCH, SECOND);
        self.asm.arith(Width::W64, Arith::Subs, Reg::ZERO, SECOND, THIRD);
        let at = self.far_jump_if(Test::Cond(Cond::AboveOrEqual));
        let (position, back) = (self.position, self.asm.position());
        let kind = Kind { size, write, aligned: false };
        self.slow.push((at, Slow::Check { position, back, kind }));
    }

    /// As [`Self::locate`], for what must be aligned: where it is, is in the register.
    pub fn aligned(&mut self, address: Address, size: Size, write: bool) -> Reg {
        if !self.job.is_checked() && address.index.is_none() && address.offset == 0 {
            return of(address.base);
        }
        self.address_to_scratch(address);
        if self.job.is_checked() {
            self.check(size, write);
            if let Some(fields) = immediate::mask(Width::W64, u64::from(size.bytes()) - 1) {
                self.asm.logic(Width::W64, Logic::Ands, Reg::ZERO, SCRATCH, fields);
                let at = self.far_jump_if(Test::Cond(Cond::NotEqual));
                let (position, back) = (self.position, self.asm.position());
                let kind = Kind { size, write, aligned: true };
                self.slow.push((at, Slow::Check { position, back, kind }));
            }
        }
        SCRATCH
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
                2 => self.asm.reverse16(dst, dst),
                4 => self.asm.reverse(Width::W32, dst, dst),
                _ => self.asm.reverse(Width::W64, dst, dst),
            }
        }
    }

    pub fn store(&mut self, size: Size, address: Address, value: Source) {
        let mem = self.locate(address, size, true);
        let width = if size == Size::Double { Width::W64 } else { Width::W32 };
        let value = self.operand(value, width, SECOND);
        let src = self.in_register(value, width, SECOND);
        self.asm.store(size.bytes(), mem, src);
    }

    pub fn load_packet(&mut self, size: Narrow, index: Option<Register>, offset: i32) {
        let saved = self.save_arguments();
        match index {
            Some(index) => {
                self.asm.add(Width::W32, Reg::X1, of(index), offset.into(), SCRATCH);
            }
            None => self.asm.constant(Reg::X1, offset.cast_unsigned().into()),
        }
        self.leave();
        self.asm.mov(Width::W64, Reg::X0, RUN);
        self.asm.constant(Reg::X2, u64::from(Size::from(size).bytes()));
        self.service(Service::LoadPacket);
        let at = self.far_jump_if(Test::NotZero { width: Width::W32, reg: Reg::X1 });
        self.slow.push((at, Slow::Unwind));
        self.asm.mov(Width::W64, of(Register::R0), Reg::X0);
        self.back(saved);
    }
}
