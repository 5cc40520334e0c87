//! Removes what nobody needs, and halves what is needed in half.

use bpf_isa::{AluOp, Width};

use super::Mode;
use super::flow::{Flow, Live, Liveness, before};
use super::ir::Inst;

pub(super) fn remove(code: &mut [Inst], flow: &Flow, liveness: &mut Liveness, mode: Mode) {
    // What an instruction needs that is removed isn't needed any more.
    let mut next: Option<Live> = None;
    for position in (0..code.len()).rev() {
        if !flow.is_reached(position) {
            next = None;
            continue;
        }
        let inst = code[position];
        let straight = inst.goes_on() && inst.target().is_none();
        let live = match next {
            Some(live) if straight => live,
            _ => liveness.behind[position],
        };
        liveness.behind[position] = live;
        code[position] = narrowed(inst, live, mode);
        let needed = before(&code[position], live, mode);
        // Who jumps here counts on what was known before, which can only be more.
        next = Some(needed);
    }
}

fn narrowed(inst: Inst, live: Live, mode: Mode) -> Inst {
    let is_pure = match inst {
        Inst::Alu { .. }
        | Inst::Move { .. }
        | Inst::Constant { .. }
        | Inst::Negate { .. }
        | Inst::Extend { .. }
        | Inst::Swap { .. }
        | Inst::Rotate { .. }
        | Inst::Select { .. }
        | Inst::LookUpArray { .. }
        | Inst::Processor => true,
        // A load that is checked may end the program.
        Inst::Load { access, address, .. } => {
            mode == Mode::Verified || address.is_in_frame(access.size())
        }
        _ => false,
    };
    let Some(dst) = inst.written() else { return inst };
    if is_pure && !live.any.has(dst) {
        return Inst::Nothing;
    }
    if live.upper.has(dst) {
        return inst;
    }
    match inst {
        Inst::Move { width: Width::W32, dst, src } if dst == src => Inst::Nothing,
        Inst::Alu {
            op: op @ (AluOp::Add | AluOp::Sub | AluOp::Mul | AluOp::And | AluOp::Or | AluOp::Xor),
            width: Width::W64,
            dst,
            left,
            right,
        } => Inst::Alu { op, width: Width::W32, dst, left, right },
        _ => inst,
    }
}
