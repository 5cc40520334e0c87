//! Calls of the program's own functions (kernel/bpf/verifier.c, Linux 6.12: check_func_call).

use std::rc::Rc;

use bpf_isa::Callee;

use crate::engine::{Engine, Next};
use crate::register::Register;
use crate::rule::Rule;
use crate::state::{Frame, MAX_FRAMES, State};
use crate::stop::{Check, refuse};

impl Engine<'_> {
    pub(super) fn may_call_under_lock(&self, callee: Callee) -> bool {
        match callee {
            // spin_unlock, and kptr_xchg, which takes no lock
            Callee::Helper(id) => matches!(id, 94 | 194),
            Callee::Local(_) => true,
            Callee::Kernel { btf_id, .. } => self
                .kfunc_name(self.slot, btf_id)
                .is_some_and(crate::kfunc_call::allowed_under_lock),
        }
    }

    pub(super) fn call_local(&mut self, distance: i32) -> Check<Next> {
        let target = self.target(distance);
        let Some(index) = self.code.function_at(target) else {
            return refuse(Rule::JumpOutOfRange, format!("no function begins at insn {target}"));
        };
        if self.code.functions[index].is_global {
            return self.call_global(index);
        }
        let mut frame = Self::new_frame(&self.state, index, self.slot)?;
        frame.registers[1..6].copy_from_slice(&self.state.frame().registers[1..6]);
        frame.asynchronous = self.state.frame().asynchronous;
        self.clobber_caller_saved();
        self.enter(frame);
        Ok(Next::To(target))
    }

    pub fn new_frame(state: &State, function: usize, call: usize) -> Check<Frame> {
        let depth = state.frames.len();
        if depth >= MAX_FRAMES {
            return refuse(
                Rule::CallDepth,
                format!("the call stack of {} frames is too deep", depth + 1),
            );
        }
        Ok(Frame::new(function, call, depth))
    }

    fn enter(&mut self, frame: Frame) {
        self.state.written[self.state.frames.len()] = u64::MAX;
        self.state.frames.push(Rc::new(frame));
    }

    /// A global function is verified on its own: only its arguments matter here.
    fn call_global(&mut self, index: usize) -> Check<Next> {
        let name = self.code.functions[index].name.clone();
        if self.state.lock.is_some() {
            return refuse(
                Rule::SpinLock,
                "global function calls are not allowed while holding a lock,\nuse static function instead",
            );
        }
        if self.state.preempt > 0 {
            return refuse(
                Rule::RcuLock,
                "global function calls are not allowed with preemption disabled,\nuse static function instead",
            );
        }
        self.check_global_arguments(index, &name)?;
        let function = &self.code.functions[index];
        if function.might_sleep && (!self.state.sleepable || self.state.rcu) {
            return refuse(
                Rule::Sleeping,
                "global functions that may sleep are not allowed in non-sleepable context",
            );
        }
        if function.changes_packet {
            self.forget_packet_pointers();
        }
        self.called[index] = true;
        self.clobber_caller_saved();
        self.write(0, Register::UNKNOWN)?;
        Ok(Next::Through)
    }
}
