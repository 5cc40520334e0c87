//! What stands behind the program's code: the ways that are taken rarely.

use std::mem::offset_of;

use bpf_isa::{Register, Width};

use super::super::ir::Set;
use super::super::native::{self, Kind, Native};
use super::super::service::Service;
use super::assembler::{Cond, Mem, Test};
use super::emit::Emitter;
use super::immediate;
use super::register::{FUEL, RUN, Reg, SCRATCH, SECOND, THIRD, of};
use crate::run::Run;

/// A field of [`Run`], by its offset.
pub(super) const fn run_field(offset: usize) -> Mem {
    Mem::Offset(RUN, offset as i32)
}

/// Where a field of [`Native`] is in [`Run`].
pub(super) const fn native_offset(offset: usize) -> i32 {
    (offset_of!(Run<'_>, native) + offset) as i32
}

/// A field of [`Native`], by its offset.
pub(super) const fn native(offset: usize) -> Mem {
    Mem::Offset(RUN, native_offset(offset))
}

/// What follows where a jump to here was taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slow {
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
    /// A helper didn't just come back; so many bytes had been pushed.
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
        let mut faults = Vec::new();
        for (at, slow) in slow {
            if let Slow::Unwind = slow {
                self.unwinds.push(at);
                continue;
            }
            self.land(at);
            match slow {
                Slow::Check { position, back, kind } => {
                    self.store_position(position);
                    self.asm.constant(SECOND, kind.bits().into());
                    self.routine(Service::Check, back);
                }
                Slow::EnterFrame { position, back } => {
                    self.store_position(position);
                    self.routine(Service::EnterFrame, back);
                }
                Slow::OutOfFuel { position, cost } => {
                    self.asm.add(Width::W64, FUEL, FUEL, cost.into(), THIRD);
                    self.store_position(position);
                    self.asm.constant(Reg::X1, native::OUT_OF_FUEL.into());
                    faults.push(self.asm.jump());
                }
                Slow::PastTheEnd { position } => {
                    self.store_position(position);
                    self.asm.constant(Reg::X1, native::PAST_THE_END.into());
                    faults.push(self.asm.jump());
                }
                Slow::Way { position, pushed } => {
                    self.unwind_if_out();
                    self.drop_pushed(pushed);
                    self.leave_function(position);
                }
                Slow::Called { position, back } => {
                    self.unwind_if_out();
                    let returns = self.is_way(native::RETURN);
                    let other = self.asm.jump_if(returns.negated());
                    self.leave_function(position);
                    self.land(other);
                    self.asm.mov(Width::W64, SCRATCH, Reg::X0);
                    self.kept_operands();
                    self.kept_result();
                    self.around_call(|emitter| emitter.asm.call_reg(SCRATCH));
                    let jump = self.asm.jump();
                    self.asm.link(jump, back);
                }
                Slow::Unwind => {}
            }
        }
        self.routines();
        if !faults.is_empty() {
            for at in faults {
                self.land(at);
            }
            self.leave_frame();
            self.asm.mov(Width::W64, Reg::X0, RUN);
            self.service(Service::Fault);
        }
        // Where a fault goes on, too.
        for at in std::mem::take(&mut self.unwinds) {
            self.land(at);
        }
        if self.job.uses_run {
            self.load_stack_pointer();
            self.pop_saved();
        }
    }

    /// Whether the way that a function of the runtime returned is this one.
    fn is_way(&mut self, way: u64) -> Test {
        if let Some(fields) = immediate::sum(way) {
            self.asm.subs_imm(Width::W32, Reg::ZERO, Reg::X1, fields);
        }
        Test::Cond(Cond::Equal)
    }

    fn unwind_if_out(&mut self) {
        let out = self.is_way(native::OUT);
        let at = self.far_jump_if(out);
        self.unwinds.push(at);
    }

    fn store_position(&mut self, position: usize) {
        self.asm.constant(THIRD, position as u64);
        self.asm.store(4, native(offset_of!(Native, position)), THIRD);
    }

    /// The result is in `x0`: ends the function to which the instruction belongs.
    fn leave_function(&mut self, position: usize) {
        self.position = position;
        self.asm.mov(Width::W64, of(Register::R0), Reg::X0);
        self.load_fuel();
        if self.job.is_checked() {
            // What the runtime left there is not the program's business.
            self.clear(Set::ARGUMENTS);
        }
        self.exit();
    }

    fn routine(&mut self, service: Service, back: usize) {
        let call = self.asm.call();
        self.checks.push((call, service));
        let jump = self.asm.jump();
        self.asm.link(jump, back);
    }

    /// What keeps all of the program's registers around a function of the runtime.
    fn routines(&mut self) {
        let checks = std::mem::take(&mut self.checks);
        for service in [Service::Check, Service::EnterFrame] {
            let mut wanted = checks.iter().filter(|(_, called)| *called == service).peekable();
            if wanted.peek().is_none() {
                continue;
            }
            for (at, _) in wanted {
                self.land(*at);
            }
            let kept = [
                (Reg::X29, Reg::X30),
                (Reg::X0, Reg::X1),
                (Reg::X2, Reg::X3),
                (Reg::X4, of(Register::R0)),
                (SCRATCH, Reg::ZERO),
            ];
            self.push_all(&kept);
            self.asm.mov_sp(Reg::X29, Reg::SP);
            self.leave_frame();
            self.asm.mov(Width::W64, Reg::X1, SCRATCH);
            self.asm.mov(Width::W32, Reg::X2, SECOND);
            self.asm.mov(Width::W64, Reg::X0, RUN);
            self.service(service);
            let at = self.far_jump_if(Test::NotZero { width: Width::W32, reg: Reg::X1 });
            self.unwinds.push(at);
            self.pop_all(&kept);
            self.load_fuel();
            self.asm.ret();
        }
    }
}
