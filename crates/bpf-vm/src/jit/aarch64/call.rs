//! Calls: of helpers, of functions, of what a register names.

use std::mem::offset_of;

use bpf_isa::{Register, Width};

use super::super::ir::Set;
use super::super::native::{Native, Window};
use super::super::service::Service;
use super::assembler::{Arith, Cond, Test};
use super::emit::Emitter;
use super::register::{FUEL, RUN, Reg, SCRATCH, SECOND, THIRD, of};
use super::slow::{Slow, native, native_offset, run_field};
use crate::run::{FRAME, Run};

// They are stored as one pair.
const _: () = assert!(offset_of!(Native, index) == offset_of!(Native, position) + 4);
const _: () = assert!(size_of::<Window>() == 40);

impl Emitter<'_> {
    /// Calls a function of the runtime.
    pub fn service(&mut self, service: Service) {
        let at = self.asm.call();
        self.services.push((at, service));
    }

    /// Behind all code: jumps to the runtime, which may be farther than a call reaches.
    pub fn link_services(&mut self) {
        let calls = std::mem::take(&mut self.services);
        let mut loads = Vec::new();
        for service in Service::ALL {
            let mut wanted = calls.iter().filter(|(_, called)| *called == service).peekable();
            if wanted.peek().is_none() {
                continue;
            }
            let here = self.asm.position();
            for (at, _) in wanted {
                self.asm.link(*at, here);
            }
            loads.push((self.asm.load_near(Reg::X16), service));
            self.asm.jump_reg(Reg::X16);
        }
        if self.asm.position() % 2 == 1 {
            // Never reached: the addresses are aligned.
            self.asm.word(0);
        }
        for (at, service) in loads {
            self.land(at);
            let address = service.address();
            self.asm.word(address as u32);
            self.asm.word((address >> 32) as u32);
        }
    }

    /// What the runtime must know before code is left.
    pub fn leave(&mut self) {
        self.asm.constant(SCRATCH, self.position as u64);
        self.asm.store(4, native(offset_of!(Native, position)), SCRATCH);
        self.leave_frame();
    }

    pub fn leave_frame(&mut self) {
        if self.job.uses_frame {
            self.asm.store(8, native(offset_of!(Native, frame)), of(Register::R10));
        }
        if self.job.is_checked() {
            self.asm.store(8, run_field(offset_of!(Run<'_>, fuel)), FUEL);
        }
    }

    /// Saves those of `r1` to `r5` that are needed behind a call. In programs that were verified
    /// there are none.
    pub fn save_arguments(&mut self) -> Set {
        let saved = self.live().any.and(Set::ARGUMENTS);
        let registers: Vec<Reg> = saved.iter().map(of).collect();
        for pair in registers.chunks(2) {
            match *pair {
                [a, b] => self.asm.push_pair((a, b), 16),
                [a] => self.asm.push(a, 16),
                _ => {}
            }
        }
        saved
    }

    /// Code goes on: takes back what [`Self::save_arguments`] saved.
    pub fn back(&mut self, saved: Set) {
        self.load_fuel();
        let registers: Vec<Reg> = saved.iter().map(of).collect();
        for pair in registers.chunks(2).rev() {
            match *pair {
                [a, b] => self.asm.pop_pair((a, b), 16),
                [a] => self.asm.pop(a, 16),
                _ => {}
            }
        }
    }

    pub fn load_fuel(&mut self) {
        if self.job.is_checked() {
            self.asm.load(8, FUEL, run_field(offset_of!(Run<'_>, fuel)));
        }
    }

    pub fn call_helper(&mut self, index: u32) {
        let saved = self.save_arguments();
        self.asm.constant(SCRATCH, self.position as u64);
        self.asm.constant(SECOND, index.into());
        let pair = native_offset(offset_of!(Native, position));
        self.asm.store_pair32((SCRATCH, SECOND), RUN, pair);
        self.leave_frame();
        self.asm.mov(Width::W64, Reg::X5, RUN);
        self.service(Service::CallHelper);
        let at = self.far_jump_if(Test::NotZero { width: Width::W32, reg: Reg::X1 });
        let pushed = 8 * saved.0.count_ones().next_multiple_of(2) as u8;
        self.slow.push((at, Slow::Way { position: self.position, pushed }));
        self.asm.mov(Width::W64, of(Register::R0), Reg::X0);
        self.back(saved);
    }

    /// As [`Self::call_helper`], of a function that always comes back and needs not know where code
    /// was left.
    pub fn call_direct(&mut self, call: u32) {
        let call = self.job.bound.calls[call as usize];
        let saved = self.save_arguments();
        if self.job.is_checked() {
            self.asm.store(8, run_field(offset_of!(Run<'_>, fuel)), FUEL);
        }
        if let Some(object) = call.object {
            self.asm.constant(Reg::X0, object);
        }
        self.asm.mov(Width::W64, Reg::X5, RUN);
        let function = (call.function as *const ()).expose_provenance() as u64;
        self.asm.constant(SCRATCH, function);
        self.asm.call_reg(SCRATCH);
        self.asm.mov(Width::W64, of(Register::R0), Reg::X0);
        self.back(saved);
    }

    pub fn call_local(&mut self, target: u32) {
        if self.job.is_checked() {
            let frame = of(Register::R10);
            self.asm.add(Width::W64, SCRATCH, frame, -(FRAME as i64), THIRD);
            self.asm.load(8, SECOND, run_field(offset_of!(Run<'_>, lowest)));
            self.asm.arith(Width::W64, Arith::Subs, Reg::ZERO, SCRATCH, SECOND);
            let at = self.far_jump_if(Test::Cond(Cond::Below));
            let (position, back) = (self.position, self.asm.position());
            self.slow.push((at, Slow::EnterFrame { position, back }));
            self.pay(target);
        }
        self.around_call(|emitter| emitter.call_entry(target));
    }

    /// Changes frames around a call of a function, and saves what it might not.
    pub fn around_call(&mut self, call: impl FnOnce(&mut Self)) {
        let entangled = self.job.flow.entangled;
        let kept = [(Reg::X19, Reg::X20), (Reg::X21, Reg::X22)];
        let frame = of(Register::R10);
        if entangled {
            for pair in kept {
                self.asm.push_pair(pair, 16);
            }
        }
        if self.job.uses_frame {
            self.asm.add(Width::W64, frame, frame, -(FRAME as i64), THIRD);
        }
        call(self);
        if self.job.uses_frame {
            self.asm.add(Width::W64, frame, frame, FRAME as i64, THIRD);
        }
        if entangled {
            for pair in kept.into_iter().rev() {
                self.asm.pop_pair(pair, 16);
            }
        }
        if self.job.is_checked() {
            // The frame that was left isn't the program's any more.
            for window in [offset_of!(Native, readable), offset_of!(Native, writable)] {
                let places = native_offset(window + offset_of!(Window, places));
                self.asm.store_pair((Reg::ZERO, Reg::ZERO), RUN, places);
                self.asm.store_pair((Reg::ZERO, Reg::ZERO), RUN, places + 16);
            }
        }
    }

    pub fn call_register(&mut self, target: Reg) {
        self.asm.store(8, native(offset_of!(Native, target)), target);
        let arguments = offset_of!(Native, arguments);
        for (index, register) in Set::ARGUMENTS.with(Set::R0).iter().enumerate() {
            // `r0` comes first there, and goes behind the others.
            let place = (index + 5) % 6;
            self.asm.store(8, native(arguments + 8 * place), of(register));
        }
        self.leave();
        self.asm.mov(Width::W64, Reg::X0, RUN);
        self.service(Service::CallRegister);
        let at = self.far_jump_if(Test::NotZero { width: Width::W32, reg: Reg::X1 });
        // A helper came back.
        self.asm.mov(Width::W64, of(Register::R0), Reg::X0);
        self.kept_operands();
        let (position, back) = (self.position, self.asm.position());
        self.slow.push((at, Slow::Called { position, back }));
    }

    /// Takes back `r1` to `r5` and the fuel.
    pub fn kept_operands(&mut self) {
        for (index, register) in Set::ARGUMENTS.iter().enumerate() {
            let place = offset_of!(Native, arguments) + 8 * index;
            self.asm.load(8, of(register), native(place));
        }
        self.load_fuel();
    }

    /// As above, for `r0`.
    pub fn kept_result(&mut self) {
        let place = offset_of!(Native, arguments) + 8 * 5;
        self.asm.load(8, of(Register::R0), native(place));
    }

    /// Gives back so much of the stack.
    pub fn drop_pushed(&mut self, bytes: u8) {
        if bytes > 0 {
            self.asm.add(Width::W64, Reg::SP, Reg::SP, bytes.into(), THIRD);
        }
    }

    pub fn load_stack_pointer(&mut self) {
        self.asm.load(8, SCRATCH, native(offset_of!(Native, stack_pointer)));
        self.asm.mov_sp(Reg::SP, SCRATCH);
    }

    /// Registers of a routine on the stack, which is as it was behind it.
    pub fn push_all(&mut self, pairs: &[(Reg, Reg)]) {
        let room = 16 * pairs.len() as i32;
        for (index, pair) in pairs.iter().enumerate() {
            match index {
                0 => self.asm.push_pair(*pair, room),
                _ => self.asm.store_pair(*pair, Reg::SP, 16 * index as i32),
            }
        }
    }

    pub fn pop_all(&mut self, pairs: &[(Reg, Reg)]) {
        let room = 16 * pairs.len() as i32;
        for (index, pair) in pairs.iter().enumerate().rev() {
            match index {
                0 => self.asm.pop_pair(*pair, room),
                _ => self.asm.load_pair(*pair, Reg::SP, 16 * index as i32),
            }
        }
    }
}
