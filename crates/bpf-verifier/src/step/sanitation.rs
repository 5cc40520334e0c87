//! Programs without privilege, on processors that run ahead: the kernel masks what is added to a
//! pointer, and follows the ways that a wrong guess would take (kernel/bpf/verifier.c, Linux 6.12:
//! sanitize_ptr_alu, sanitize_speculative_path).

use bpf_isa::AluOp;

use super::pointer::Operands;
use crate::engine::Engine;
use crate::register::{Kind, Register};
use crate::rule::Rule;
use crate::stop::{Check, refuse};

const PROHIBITED: &str = "pointer arithmetic with it prohibited for !root";

/// How an addition is masked: the same on all paths, or the program is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mask {
    /// Two numbers are added.
    Number,
    Pointer {
        negative: bool,
        exact: bool,
        in_place: bool,
        limit: i64,
    },
    /// Not an addition, but the index of a tail call into this map.
    TailCall {
        map: u32,
    },
}

/// What is known before the addition, for the check behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    mask: Mask,
    leftwards: bool,
    limit: i64,
}

impl Engine<'_> {
    /// Before a number is added to a pointer.
    pub(super) fn begin_sanitation(
        &mut self,
        op: AluOp,
        dst: u8,
        pointer: &Register,
        by: &Register,
        operands: Operands,
    ) -> Check<Option<Pending>> {
        let adds = matches!(op, AluOp::Add | AluOp::Sub);
        if self.privileged() || !adds {
            return Ok(None);
        }
        let (in_place, number_in, pointer_in) = match operands {
            Operands::InPlace(src) => (true, src, dst),
            Operands::Swapped(src) => (false, dst, src),
            Operands::Constant => return Ok(None),
        };
        let step = by.number;
        let exact = step.is_exact();
        let negative = step.s64.min < 0;
        let mut pending = None;
        if !self.state.speculative {
            if !exact && negative != (step.s64.max < 0) {
                return refuse(
                    Rule::PointerArithmetic,
                    format!(
                        "R{number_in} has unknown scalar with mixed signed bounds, {PROHIBITED}"
                    ),
                );
            }
            let leftwards = (op == AluOp::Add) == negative;
            let limit = self.limit(op, (dst, pointer_in), pointer, leftwards)?;
            if !exact {
                self.masks_unknowns = true;
            }
            let mask = Mask::Pointer { negative, exact, in_place, limit };
            pending = Some(Pending { mask, leftwards, limit });
        }
        if !exact {
            // Where the processor guesses wrongly, nothing is added.
            let slot = self.slot + 1;
            let register = *pointer;
            let state = self.push(slot)?;
            state.speculative = true;
            state.frame_mut().registers[usize::from(dst)] = register;
        }
        Ok(pending)
    }

    /// Behind the addition: the pointer may move so far, on this path as on all others.
    pub(super) fn finish_sanitation(
        &mut self,
        op: AluOp,
        dst: u8,
        result: &Register,
        pending: Option<Pending>,
    ) -> Check {
        let Some(Pending {
            mask: Mask::Pointer { negative, exact, in_place, .. },
            leftwards,
            limit,
        }) = pending
        else {
            return Ok(());
        };
        let moved = (limit - self.limit(op, (dst, dst), result, leftwards)?).abs();
        self.mask(op, dst, Mask::Pointer { negative, exact, in_place, limit: moved })
    }

    /// Two numbers are added, in registers.
    pub(super) fn check_number_sanitation(&mut self, op: AluOp, dst: u8) -> Check {
        if self.privileged() || !matches!(op, AluOp::Add | AluOp::Sub) {
            return Ok(());
        }
        self.mask(op, dst, Mask::Number)
    }

    fn mask(&mut self, op: AluOp, dst: u8, mask: Mask) -> Check {
        match self.masks.get_mut(self.slot) {
            Some(known @ None) => *known = Some(mask),
            Some(Some(known)) if *known != mask => {
                return refuse(
                    Rule::PointerArithmetic,
                    format!(
                        "R{dst} tried to {} from different maps, paths or scalars, {PROHIBITED}",
                        operation(op)
                    ),
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// The kernel masks the index of a tail call by the map's size, which must be one for all paths.
    pub fn check_tail_call_map(&mut self, map: u32) -> Check {
        if self.privileged() {
            return Ok(());
        }
        match self.masks.get_mut(self.slot) {
            Some(known @ None) => *known = Some(Mask::TailCall { map }),
            Some(Some(known)) if *known != (Mask::TailCall { map }) => {
                return refuse(Rule::MapKind, "tail_call abusing map_ptr");
            }
            _ => {}
        }
        Ok(())
    }

    /// How far the pointer may move (`retrieve_ptr_limit`).
    fn limit(
        &self,
        op: AluOp,
        (dst, pointer_in): (u8, u8),
        pointer: &Register,
        leftwards: bool,
    ) -> Check<i64> {
        let number = &pointer.number;
        let off = i64::from(pointer.off);
        let (limit, most) = match pointer.kind {
            // The end is no place to be, but one to begin at.
            Kind::Stack => {
                let offset = number.bits.value.cast_signed().wrapping_add(off);
                (offset.saturating_neg(), 512 + i64::from(leftwards))
            }
            Kind::MapValue => {
                let size = self.maps.get(pointer.what as usize).map_or(0, |map| map.value_size);
                let start = if leftwards { number.s64.min } else { number.u64.max.cast_signed() };
                (start.saturating_add(off), i64::from(size))
            }
            _ => {
                return refuse(
                    Rule::PointerArithmetic,
                    format!(
                        "R{pointer_in} has pointer with unsupported alu operation, {PROHIBITED}"
                    ),
                );
            }
        };
        // Compared without sign: what lies before the object is too far, too.
        if !(0..most).contains(&limit) {
            return refuse(
                Rule::PointerArithmetic,
                format!("R{dst} tried to {} beyond pointer bounds, {PROHIBITED}", operation(op)),
            );
        }
        Ok(limit)
    }

    /// The way that a branch never takes, unless the processor guesses wrongly.
    pub(super) fn speculate_branch(
        &mut self,
        other_way: usize,
        left: u8,
        right: Option<u8>,
    ) -> Check {
        if self.privileged() {
            return Ok(());
        }
        let state = self.push(other_way)?;
        state.speculative = true;
        let frame = state.frame_mut();
        for register in [Some(left), right].into_iter().flatten() {
            if register != 10 {
                frame.registers[usize::from(register)] = Register::UNKNOWN;
            }
        }
        Ok(())
    }
}

fn operation(op: AluOp) -> &'static str {
    if op == AluOp::Add { "add" } else { "sub" }
}
