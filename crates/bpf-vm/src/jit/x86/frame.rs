//! How code is entered and left, and how functions begin and end.

use std::mem::offset_of;

use bpf_isa::Width;

use super::super::flow::Function;
use super::super::ir::Set;
use super::super::native::Native;
use super::assembler::{Cond, Mem};
use super::emit::Emitter;
use super::register::{FUEL, RUN, Reg, SCRATCH, of};
use super::slow::{Slow, native, run_field};
use crate::run::Run;

impl Emitter<'_> {
    /// Whether the stack pointer must be a multiple of 16: before calls, if there are any.
    fn is_aligned(&self) -> bool {
        self.job.uses_run || self.job.flow.functions.len() > 1 || self.job.flow.entangled
    }

    /// Saves what the caller wants back, and takes the arguments: the run, where `r1` to `r5` lie,
    /// and `r10`.
    fn take_arguments(&mut self, needed: Set, zeroed: Set) {
        let job = self.job;
        for &reg in &job.saved {
            self.asm.push(reg);
        }
        if self.is_aligned() && job.saved.len().is_multiple_of(2) {
            self.asm.push(Reg::RAX);
        }
        if job.uses_run {
            self.asm.mov(Width::W64, RUN, Reg::RDI);
            let stack_pointer = native(offset_of!(Native, stack_pointer));
            self.asm.store(8, stack_pointer, Reg::RSP);
        }
        if job.uses_frame {
            self.asm.mov(Width::W64, Reg::RBP, Reg::RDX);
        }
        if job.is_checked() {
            self.asm.load(8, FUEL, run_field(offset_of!(Run<'_>, fuel)));
        }
        // The second goes last: it is what the others are found by.
        let order = [(5, Reg::R8), (4, Reg::RCX), (3, Reg::RDX), (1, Reg::RDI), (2, Reg::RSI)];
        for (number, reg) in order {
            if needed.0 & 1 << number != 0 {
                self.asm.load(8, reg, Mem::new(Reg::RSI, 8 * (number - 1)));
            }
        }
        for register in zeroed.iter() {
            self.asm.constant(of(register), 0);
        }
    }

    fn give_back(&mut self) {
        let job = self.job;
        if job.is_checked() {
            self.asm.store(8, run_field(offset_of!(Run<'_>, fuel)), FUEL);
        }
        self.pop_saved();
    }

    /// Ends what [`Self::take_arguments`] began.
    pub fn pop_saved(&mut self) {
        let job = self.job;
        if self.is_aligned() && job.saved.len().is_multiple_of(2) {
            self.asm.pop(Reg::RCX);
        }
        for &reg in job.saved.iter().rev() {
            self.asm.pop(reg);
        }
        self.asm.ret();
    }

    pub fn enter_main(&mut self) {
        self.enter = self.asm.position();
        let needed = self.job.liveness.at_entry.any;
        let zeroed = Set::R0.with(self.saved_registers()).and(needed);
        if self.job.flow.entangled {
            self.take_arguments(Set::ARGUMENTS, Set::R0.with(self.saved_registers()));
            let at = self.asm.call_near();
            self.calls.push((at, 0));
            self.give_back();
        } else {
            self.take_arguments(Set::ARGUMENTS.and(needed), zeroed);
        }
    }

    /// Which of `r6` to `r9` the program uses.
    fn saved_registers(&self) -> Set {
        let is_saved = |register| self.job.saved.contains(&of(register));
        Set::KEPT
            .iter()
            .filter(|register| is_saved(*register))
            .map(Set::of)
            .fold(Set::NONE, Set::with)
    }

    /// The way in for functions that helpers call; which one is the fourth argument.
    pub fn enter_function(&mut self) {
        self.enter_function = self.asm.position();
        self.asm.mov(Width::W64, SCRATCH, Reg::RCX);
        self.take_arguments(Set::ARGUMENTS, Set::R0.with(self.saved_registers()));
        self.asm.call_reg(SCRATCH);
        self.give_back();
    }

    /// Of `r6` to `r9`, what a function saves by itself.
    fn kept(&self, function: &Function) -> Set {
        if self.job.flow.entangled { Set::NONE } else { function.kept }
    }

    /// Whether a function moves the stack pointer to where its calls want it.
    fn pads(&self, kept: Set, function: &Function) -> bool {
        let job = self.job;
        (job.is_checked() || job.uses_run || job.flow.entangled || function.has_calls)
            && kept.0.count_ones().is_multiple_of(2)
    }

    pub fn begin_function(&mut self, function: &Function) {
        let kept = self.kept(function);
        for register in kept.iter() {
            self.asm.push(of(register));
        }
        if self.pads(kept, function) {
            self.asm.push(Reg::RAX);
        }
    }

    fn end_function(&mut self, function: &Function) {
        let kept = self.kept(function);
        if self.pads(kept, function) {
            self.asm.lea(Width::W64, Reg::RSP, Mem::new(Reg::RSP, 8));
        }
        let mut registers: Vec<_> = kept.iter().collect();
        registers.reverse();
        for register in registers {
            self.asm.pop(of(register));
        }
        self.asm.ret();
    }

    pub fn exit(&mut self) {
        let flow = self.job.flow;
        let owner = usize::from(flow.owners[self.position]);
        if owner == 0 && !flow.entangled {
            self.give_back();
        } else {
            self.end_function(&flow.functions[owner]);
        }
    }

    pub fn past_the_end(&mut self) {
        // Always taken; the flags don't matter.
        self.asm.test(Width::W32, Reg::RSP, Reg::RSP);
        let at = self.asm.jump_if_near(Cond::NotEqual);
        self.slow.push((at, Slow::PastTheEnd { position: self.position }));
    }
}
