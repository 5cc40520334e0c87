//! What stands behind the program's code: the ways that are taken rarely.

use std::mem::offset_of;

use bpf_isa::Width;

use super::super::ir::Set;
use super::super::native::{self, Kind, Native};
use super::super::service::Service;
use super::assembler::{Arith, Cond, Mem};
use super::emit::Emitter;
use super::register::{FUEL, RUN, Reg, SCRATCH, SECOND, of};
use crate::run::Run;

/// A field of [`Run`], by its offset.
pub(super) const fn run_field(offset: usize) -> Mem {
    Mem::new(RUN, offset as i32)
}

/// A field of [`Native`], by its offset.
pub(super) const fn native(offset: usize) -> Mem {
    run_field(offset_of!(Run<'_>, native) + offset)
}

/// What follows where a jump to here was taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slow {
    /// Not slow: a short jump ahead, whose one byte is set now.
    Short {
        target: u32,
    },
    /// The access of the instruction at `position`, whose address is in the scratch register.
    Check {
        position: usize,
        back: usize,
        kind: Kind,
    },
    EnterFrame {
        position: usize,
        back: usize,
    },
    OutOfFuel {
        position: usize,
        cost: u32,
    },
    PastTheEnd {
        position: usize,
    },
    /// A helper didn't just come back; so many registers had been pushed.
    Way {
        position: usize,
        pushed: u8,
    },
    /// A call by register found a function, or as above.
    Called {
        position: usize,
        back: usize,
    },
    Unwind,
}

impl Emitter<'_> {
    pub fn slow_paths(&mut self) {
        let slow = std::mem::take(&mut self.slow);
        let mut unwinds = Vec::new();
        let mut faults = Vec::new();
        for (at, slow) in slow {
            let here = self.asm.position();
            match slow {
                Slow::Short { target } => {
                    let distance = i64::from(self.labels[target as usize]) - (at as i64 + 1);
                    debug_assert!((0..128).contains(&distance));
                    self.asm.bytes[at] = distance as u8;
                    continue;
                }
                Slow::Unwind => {
                    unwinds.push(at);
                    continue;
                }
                Slow::Check { position, back, kind } => {
                    self.slow_check(position, kind);
                    let jump = self.asm.jump_near();
                    self.asm.link(jump, back);
                }
                Slow::EnterFrame { position, back } => {
                    self.store_position(position);
                    self.asm.constant(SECOND, 0);
                    let call = self.asm.call_near();
                    self.checks.push((call, Service::EnterFrame));
                    let jump = self.asm.jump_near();
                    self.asm.link(jump, back);
                }
                Slow::OutOfFuel { position, cost } => {
                    self.asm.arith_imm(Width::W64, Arith::Add, FUEL, cost as i32);
                    self.store_position(position);
                    self.asm.constant(Reg::RSI, native::OUT_OF_FUEL.into());
                    faults.push(self.asm.jump_near());
                }
                Slow::PastTheEnd { position } => {
                    self.store_position(position);
                    self.asm.constant(Reg::RSI, native::PAST_THE_END.into());
                    faults.push(self.asm.jump_near());
                }
                Slow::Way { position, pushed } => {
                    self.asm.arith_imm(Width::W32, Arith::Cmp, Reg::RDX, native::OUT as i32);
                    unwinds.push(self.asm.jump_if_near(Cond::Equal));
                    if pushed > 0 {
                        let above = Mem::new(Reg::RSP, 8 * i32::from(pushed));
                        self.asm.lea(Width::W64, Reg::RSP, above);
                    }
                    self.leave_function(position);
                }
                Slow::Called { position, back } => {
                    self.asm.arith_imm(Width::W32, Arith::Cmp, Reg::RDX, native::OUT as i32);
                    unwinds.push(self.asm.jump_if_near(Cond::Equal));
                    self.asm.arith_imm(Width::W32, Arith::Cmp, Reg::RDX, native::RETURN as i32);
                    let other = self.asm.jump_if_near(Cond::NotEqual);
                    self.leave_function(position);
                    let function = self.asm.position();
                    self.asm.link(other, function);
                    self.asm.mov(Width::W64, SCRATCH, Reg::RAX);
                    self.kept_operands();
                    self.around_call(|emitter| emitter.asm.call_reg(SCRATCH));
                    let jump = self.asm.jump_near();
                    self.asm.link(jump, back);
                }
            }
            self.asm.link(at, here);
        }
        self.routines();
        if !faults.is_empty() {
            let here = self.asm.position();
            for at in faults {
                self.asm.link(at, here);
            }
            self.leave_frame();
            self.asm.mov(Width::W64, Reg::RDI, RUN);
            self.service(Service::Fault);
            unwinds.push(self.asm.jump_near());
        }
        unwinds.append(&mut self.unwinds);
        if !unwinds.is_empty() {
            let here = self.asm.position();
            for at in unwinds {
                self.asm.link(at, here);
            }
            self.asm.load(8, Reg::RSP, native(offset_of!(Native, stack_pointer)));
            self.pop_saved();
        }
    }

    fn store_position(&mut self, position: usize) {
        self.asm.store_imm(4, native(offset_of!(Native, position)), position as i32);
    }

    /// The result is in `rax`: ends the function to which the instruction belongs.
    fn leave_function(&mut self, position: usize) {
        self.position = position;
        if self.job.is_checked() {
            self.asm.load(8, FUEL, super::slow::run_field(offset_of!(Run<'_>, fuel)));
            // What the runtime left there is not the program's business.
            for register in Set::ARGUMENTS.iter() {
                self.asm.constant(of(register), 0);
            }
        }
        self.exit();
    }

    /// Holds the address in the scratch register against what was lent.
    pub fn slow_check(&mut self, position: usize, kind: Kind) {
        self.store_position(position);
        self.asm.constant(SECOND, kind.bits().into());
        let call = self.asm.call_near();
        self.checks.push((call, Service::Check));
    }

    /// What keeps all of the program's registers around a function of the runtime.
    fn routines(&mut self) {
        let checks = std::mem::take(&mut self.checks);
        for service in [Service::Check, Service::EnterFrame] {
            let here = self.asm.position();
            let mut used = false;
            for (at, wanted) in &checks {
                if *wanted == service {
                    self.asm.link(*at, here);
                    used = true;
                }
            }
            if !used {
                continue;
            }
            // With the address to return to, an even number.
            let kept = [Reg::RAX, Reg::RDI, Reg::RSI, Reg::RDX, Reg::RCX, Reg::R8, SCRATCH];
            for reg in kept {
                self.asm.push(reg);
            }
            self.leave_frame();
            self.asm.mov(Width::W64, Reg::RSI, SCRATCH);
            self.asm.mov(Width::W32, Reg::RDX, SECOND);
            self.asm.mov(Width::W64, Reg::RDI, RUN);
            self.service(service);
            self.asm.test(Width::W32, Reg::RDX, Reg::RDX);
            let at = self.asm.jump_if_near(Cond::NotEqual);
            self.unwinds.push(at);
            for reg in kept.into_iter().rev() {
                self.asm.pop(reg);
            }
            self.asm.load(8, FUEL, run_field(offset_of!(Run<'_>, fuel)));
            self.asm.ret();
        }
    }
}
