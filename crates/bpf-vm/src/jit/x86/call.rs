//! Calls: of helpers, of functions, of what a register names.

use std::mem::offset_of;

use bpf_isa::Width;

use super::super::Mode;
use super::super::ir::Set;
use super::super::native::{Native, Window, cost};
use super::super::service::Service;
use super::assembler::{Arith, Cond, Mem};
use super::emit::Emitter;
use super::register::{FUEL, RUN, Reg, SCRATCH, SECOND, of};
use super::slow::{Slow, native, run_field};
use crate::run::{FRAME, Run};

/// Where the operands of a call by register are kept.
const KEPT_OPERANDS: [(usize, Reg); 6] =
    [(0, Reg::RDI), (1, Reg::RSI), (2, Reg::RDX), (3, Reg::RCX), (4, Reg::R8), (5, Reg::RAX)];

impl Emitter<'_> {
    /// Calls a function of the runtime.
    pub fn service(&mut self, service: Service) {
        let at = self.asm.call_pool();
        self.services.push((at, service));
    }

    /// What the runtime must know before code is left.
    pub fn leave(&mut self) {
        let position = native(offset_of!(Native, position));
        self.asm.store_imm(4, position, self.position as i32);
        self.leave_frame();
    }

    pub fn leave_frame(&mut self) {
        if self.job.uses_frame {
            self.asm.store(8, native(offset_of!(Native, frame)), Reg::RBP);
        }
        if self.job.is_checked() {
            self.asm.store(8, run_field(offset_of!(Run<'_>, fuel)), FUEL);
        }
    }

    /// Saves those of `r1` to `r5` that are needed behind a call. In programs that were verified
    /// there are none.
    pub fn save_arguments(&mut self) -> Set {
        let saved = self.live().any.and(Set::ARGUMENTS);
        for register in saved.iter() {
            self.asm.push(of(register));
        }
        if !saved.0.count_ones().is_multiple_of(2) {
            self.asm.push(Reg::RAX);
        }
        saved
    }

    /// Code goes on: takes back what [`Self::save_arguments`] saved.
    pub fn back(&mut self, saved: Set) {
        if self.job.is_checked() {
            self.asm.load(8, FUEL, run_field(offset_of!(Run<'_>, fuel)));
        }
        if !saved.0.count_ones().is_multiple_of(2) {
            self.asm.lea(Width::W64, Reg::RSP, Mem::new(Reg::RSP, 8));
        }
        let mut registers: Vec<_> = saved.iter().collect();
        registers.reverse();
        for register in registers {
            self.asm.pop(of(register));
        }
    }

    pub fn call_helper(&mut self, index: u32) {
        let saved = self.save_arguments();
        self.leave();
        self.asm.store_imm(4, native(offset_of!(Native, index)), index as i32);
        self.asm.mov(Width::W64, Reg::R9, RUN);
        self.service(Service::CallHelper);
        self.asm.test(Width::W32, Reg::RDX, Reg::RDX);
        let at = self.asm.jump_if_near(Cond::NotEqual);
        let pushed = saved.0.count_ones().next_multiple_of(2) as u8;
        self.slow.push((at, Slow::Way { position: self.position, pushed }));
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
            self.asm.constant(Reg::RDI, object);
        }
        self.asm.mov(Width::W64, Reg::R9, RUN);
        let function = (call.function as *const ()).expose_provenance() as u64;
        self.asm.constant(SCRATCH, function);
        self.asm.call_reg(SCRATCH);
        self.back(saved);
    }

    pub fn call_local(&mut self, target: u32) {
        if self.job.is_checked() {
            self.asm.lea(Width::W64, SCRATCH, Mem::new(Reg::RBP, -(FRAME as i32)));
            let lowest = run_field(offset_of!(Run<'_>, lowest));
            self.asm.arith_load(Width::W64, Arith::Cmp, SCRATCH, lowest);
            let at = self.asm.jump_if_near(Cond::Below);
            let (position, back) = (self.position, self.asm.position());
            self.slow.push((at, Slow::EnterFrame { position, back }));
            let cost = cost(self.position, target);
            if cost > 0 {
                self.asm.arith_imm(Width::W64, Arith::Sub, FUEL, cost as i32);
                let at = self.asm.jump_if_near(Cond::Below);
                self.slow.push((at, Slow::OutOfFuel { position: self.position, cost }));
            }
        }
        self.around_call(|emitter| {
            let at = emitter.asm.call_near();
            emitter.calls.push((at, target));
        });
    }

    /// Changes frames around a call of a function, and saves what it might not.
    pub fn around_call(&mut self, call: impl FnOnce(&mut Self)) {
        let entangled = self.job.flow.entangled;
        if entangled {
            for register in Set::KEPT.iter() {
                self.asm.push(of(register));
            }
        }
        if self.job.uses_frame {
            self.asm.arith_imm(Width::W64, Arith::Sub, Reg::RBP, FRAME as i32);
        }
        call(self);
        if self.job.uses_frame {
            self.asm.arith_imm(Width::W64, Arith::Add, Reg::RBP, FRAME as i32);
        }
        if entangled {
            let mut registers: Vec<_> = Set::KEPT.iter().collect();
            registers.reverse();
            for register in registers {
                self.asm.pop(of(register));
            }
        }
        if self.job.is_checked() {
            // The frame that was left isn't the program's any more.
            for window in [offset_of!(Native, readable), offset_of!(Native, writable)] {
                self.asm.constant(SCRATCH, 0);
                for place in 0..4 {
                    let places = window + offset_of!(Window, places) + 8 * place;
                    self.asm.store(8, native(places), SCRATCH);
                }
            }
        }
    }

    pub fn call_register(&mut self, target: Reg) {
        self.asm.store(8, native(offset_of!(Native, target)), target);
        for (index, reg) in KEPT_OPERANDS {
            self.asm.store(8, native(offset_of!(Native, arguments) + 8 * index), reg);
        }
        self.leave();
        self.asm.mov(Width::W64, Reg::RDI, RUN);
        self.service(Service::CallRegister);
        self.asm.test(Width::W32, Reg::RDX, Reg::RDX);
        let at = self.asm.jump_if_near(Cond::NotEqual);
        // A helper came back.
        self.asm.mov(Width::W64, SECOND, Reg::RAX);
        self.kept_operands();
        self.asm.mov(Width::W64, Reg::RAX, SECOND);
        let (position, back) = (self.position, self.asm.position());
        self.slow.push((at, Slow::Called { position, back }));
    }

    /// Takes back `r0` to `r5` and the fuel.
    pub fn kept_operands(&mut self) {
        for (index, reg) in KEPT_OPERANDS {
            self.asm.load(8, reg, native(offset_of!(Native, arguments) + 8 * index));
        }
        if self.job.mode == Mode::Checked {
            self.asm.load(8, FUEL, run_field(offset_of!(Run<'_>, fuel)));
        }
    }

    pub fn may_goto(&mut self, target: u32) {
        let loops = run_field(offset_of!(Run<'_>, loops));
        self.asm.arith_mem_imm(Width::W32, Arith::Cmp, loops, 0);
        self.jump_if(Cond::Equal, target);
        self.asm.arith_mem_imm(Width::W32, Arith::Sub, loops, 1);
    }
}
