//! How code is entered and left, and how functions begin and end.

use std::mem::offset_of;

use bpf_isa::{Register, Width};

use super::super::flow::Function;
use super::super::ir::Set;
use super::super::native::Native;
use super::assembler::Mem;
use super::emit::Emitter;
use super::register::{FOURTH, FUEL, RUN, Reg, SCRATCH, of};
use super::slow::{native, run_field};
use crate::run::Run;

impl Emitter<'_> {
    /// Whether code calls anything, so that it must keep where to return to.
    fn makes_calls(&self) -> bool {
        self.job.uses_run || self.job.flow.functions.len() > 1 || self.job.flow.entangled
    }

    /// Stores registers on the stack, of which the pointer stays a multiple of 16. With `links`,
    /// the chain of frames comes first.
    fn save(&mut self, links: bool, registers: &[Reg]) {
        let registers = with_links(links, registers);
        let room = room(&registers);
        for (index, pair) in registers.chunks(2).enumerate() {
            match (index, pair) {
                (0, &[a, b]) => self.asm.push_pair((a, b), room),
                (0, &[a]) => self.asm.push(a, room),
                (_, &[a, b]) => self.asm.store_pair((a, b), Reg::SP, 16 * index as i32),
                (_, &[a]) => self.asm.store(8, Mem::Offset(Reg::SP, 16 * index as i32), a),
                _ => {}
            }
        }
        if links {
            self.asm.mov_sp(Reg::X29, Reg::SP);
        }
    }

    /// Undoes [`Self::save`], and returns.
    fn restore(&mut self, links: bool, registers: &[Reg]) {
        let registers = with_links(links, registers);
        let room = room(&registers);
        for (index, pair) in registers.chunks(2).enumerate().rev() {
            match (index, pair) {
                (0, &[a, b]) => self.asm.pop_pair((a, b), room),
                (0, &[a]) => self.asm.pop(a, room),
                (_, &[a, b]) => self.asm.load_pair((a, b), Reg::SP, 16 * index as i32),
                (_, &[a]) => self.asm.load(8, a, Mem::Offset(Reg::SP, 16 * index as i32)),
                _ => {}
            }
        }
        self.asm.ret();
    }

    /// Saves what the caller wants back, and takes the arguments: the run, where `r1` to `r5` lie,
    /// and `r10`.
    fn take_arguments(&mut self, needed: Set, zeroed: Set) {
        let job = self.job;
        self.save(self.makes_calls(), &job.saved);
        if job.uses_run {
            self.asm.mov(Width::W64, RUN, Reg::X0);
            self.asm.mov_sp(SCRATCH, Reg::SP);
            self.asm.store(8, native(offset_of!(Native, stack_pointer)), SCRATCH);
        }
        if job.uses_frame {
            self.asm.mov(Width::W64, of(Register::R10), Reg::X2);
        }
        if job.is_checked() {
            self.asm.load(8, FUEL, run_field(offset_of!(Run<'_>, fuel)));
        }
        // The second goes last: it is what the others are found by.
        let order = [Register::R5, Register::R4, Register::R3, Register::R1, Register::R2];
        for register in order {
            if needed.has(register) {
                let place = 8 * (i32::from(register.number()) - 1);
                self.asm.load(8, of(register), Mem::Offset(Reg::X1, place));
            }
        }
        self.clear(zeroed);
    }

    fn give_back(&mut self) {
        if self.job.is_checked() {
            self.asm.store(8, run_field(offset_of!(Run<'_>, fuel)), FUEL);
        }
        self.asm.mov(Width::W64, Reg::X0, of(Register::R0));
        self.pop_saved();
    }

    /// Ends what [`Self::take_arguments`] began.
    pub fn pop_saved(&mut self) {
        let job = self.job;
        self.restore(self.makes_calls(), &job.saved);
    }

    pub fn enter_main(&mut self) {
        self.enter = self.asm.position();
        let needed = self.job.liveness.at_entry.any;
        let zeroed = Set::R0.with(self.saved_registers()).and(needed);
        if self.job.flow.entangled {
            self.take_arguments(Set::ARGUMENTS, Set::R0.with(self.saved_registers()));
            self.call_entry(0);
            self.give_back();
        } else {
            self.take_arguments(Set::ARGUMENTS.and(needed), zeroed);
        }
    }

    /// Which of `r6` to `r9` the program uses.
    fn saved_registers(&self) -> Set {
        let is_saved = |register: &Register| self.job.saved.contains(&of(*register));
        Set::KEPT.iter().filter(is_saved).map(Set::of).fold(Set::NONE, Set::with)
    }

    /// The way in for functions that helpers call; which one is the fourth argument.
    pub fn enter_function(&mut self) {
        self.enter_function = self.asm.position();
        self.asm.mov(Width::W64, FOURTH, Reg::X3);
        self.take_arguments(Set::ARGUMENTS, Set::R0.with(self.saved_registers()));
        self.asm.call_reg(FOURTH);
        self.give_back();
    }

    /// Of `r6` to `r9`, what a function saves by itself.
    fn kept(&self, function: &Function) -> Vec<Reg> {
        let kept = if self.job.flow.entangled { Set::NONE } else { function.kept };
        kept.iter().map(of).collect()
    }

    fn has_links(&self, function: &Function) -> bool {
        self.job.uses_run || self.job.flow.entangled || function.has_calls
    }

    pub fn begin_function(&mut self, function: &Function) {
        let kept = self.kept(function);
        self.save(self.has_links(function), &kept);
    }

    pub fn exit(&mut self) {
        let flow = self.job.flow;
        let owner = usize::from(flow.owners[self.position]);
        if owner == 0 && !flow.entangled {
            self.give_back();
        } else {
            let function = &flow.functions[owner];
            let kept = self.kept(function);
            self.restore(self.has_links(function), &kept);
        }
    }
}

fn with_links(links: bool, registers: &[Reg]) -> Vec<Reg> {
    let chain: &[Reg] = if links { &[Reg::X29, Reg::X30] } else { &[] };
    [chain, registers].concat()
}

/// What they take on the stack.
fn room(registers: &[Reg]) -> i32 {
    8 * registers.len().next_multiple_of(2) as i32
}
