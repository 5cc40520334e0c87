//! What a program needs of whoever runs it, in the form in which it is compiled.

use bpf_isa::Register;

use super::Mode;
use super::bound::Bound;
use super::flow::Flow;
use super::ir::{Inst, Set};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    /// Whether code needs the run.
    pub uses_run: bool,
    pub uses_frame: bool,
    /// The registers that occur.
    pub used: Set,
}

impl Needs {
    pub fn new(code: &[Inst], flow: &Flow, bound: &Bound<'_>, mode: Mode) -> Self {
        let mut used = Set::NONE;
        let mut uses_run = mode == Mode::Checked;
        let mut calls_functions = flow.functions.len() > 1 || flow.entangled;
        for (position, inst) in code.iter().enumerate() {
            if !flow.is_reached(position) {
                continue;
            }
            used = used.with(inst.read());
            if let Some(register) = inst.written() {
                used = used.with(Set::of(register));
            }
            uses_run |= matches!(
                inst,
                Inst::CallHelper { .. }
                    | Inst::CallDirect { .. }
                    | Inst::Processor
                    | Inst::CallRegister { .. }
                    | Inst::LoadPacket { .. }
                    | Inst::MayGoto { .. }
                    | Inst::End
            );
            if let Inst::LookUpArray { array, .. } = inst {
                uses_run |= bound.arrays[*array as usize].cpus > 1;
            }
            calls_functions |= matches!(inst, Inst::CallRegister { .. });
        }
        // Without anybody who looks at frames, their number matters only where it is checked.
        let frames_count = calls_functions && mode == Mode::Checked;
        let uses_frame = used.has(Register::R10) || frames_count;
        if uses_frame {
            used = used.with(Set::of(Register::R10));
        }
        Self { uses_run, uses_frame, used }
    }
}
