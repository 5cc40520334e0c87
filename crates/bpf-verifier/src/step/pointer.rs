//! Arithmetic on pointers (kernel/bpf/verifier.c, Linux 6.12: adjust_ptr_min_max_vals).

use bpf_isa::{AluOp, Width};

use super::alu::symbol;
use crate::engine::Engine;
use crate::register::{Kind, Register};
use crate::rule::Rule;
use crate::scalar::Scalar;
use crate::stop::{Check, refuse};

/// Offsets stay below this (`BPF_MAX_VAR_OFF`).
pub(crate) const MAX_OFFSET: i64 = 1 << 29;

const PROHIBITED: &str = "pointer arithmetic with it prohibited for !root";

impl Engine<'_> {
    /// `dst = pointer op by`; `in_place` if the pointer is what `dst` holds.
    pub(super) fn move_pointer(
        &mut self,
        op: AluOp,
        width: Width,
        dst: u8,
        pointer: &Register,
        by: &Register,
        in_place: bool,
    ) -> Check {
        let step = by.number;
        if step.is_contradiction() {
            return self.write(dst, Register::UNKNOWN);
        }
        let prohibit = |what: String| refuse(Rule::PointerArithmetic, what);
        if width == Width::W32 {
            if op == AluOp::Sub && self.privileged() {
                return self.write(dst, Register::UNKNOWN);
            }
            return prohibit(format!("R{dst} 32-bit pointer arithmetic prohibited"));
        }
        let name = pointer.name();
        if pointer.is_nullable() {
            return prohibit(format!(
                "R{dst} pointer arithmetic on {name} prohibited, null-check it first"
            ));
        }
        let known = step.exact().map(u64::cast_signed);
        let allowed = match pointer.kind {
            Kind::Context
            | Kind::MapValue
            | Kind::MapKey
            | Kind::Stack
            | Kind::PacketMeta
            | Kind::Packet
            | Kind::TracepointBuffer
            | Kind::Structure
            | Kind::Memory
            | Kind::Buffer
            | Kind::Function
            | Kind::Dynptr => true,
            Kind::FlowKeys => known.is_some(),
            Kind::Map => known == Some(0) && op == AluOp::Add,
            _ => false,
        };
        if !allowed {
            return prohibit(format!("R{dst} pointer arithmetic on {name} prohibited"));
        }
        self.check_sane_offset(by, pointer)?;
        self.check_sane_offset(pointer, pointer)?;
        self.check_pointer_sanitation(op, dst, pointer, by, in_place)?;
        let mut result = *pointer;
        match op {
            AluOp::Add => {
                if let Some(off) = known.and_then(|n| fixed(i64::from(pointer.off).checked_add(n)))
                {
                    result.off = off;
                } else {
                    result.number = pointer.number;
                    result.number.alu(AluOp::Add, Width::W64, &step);
                    if pointer.is_packet() {
                        // Another unknown was added: what was learnt doesn't hold for the sum.
                        result.id = self.new_id();
                        result.size = 0;
                    }
                }
            }
            AluOp::Sub => {
                if !in_place {
                    return prohibit(format!("R{dst} tried to subtract pointer from scalar"));
                }
                if pointer.kind == Kind::Stack {
                    return prohibit(format!("R{dst} subtraction from stack pointer prohibited"));
                }
                if let Some(off) = known.and_then(|n| fixed(i64::from(pointer.off).checked_sub(n)))
                {
                    result.off = off;
                } else {
                    result.number.alu(AluOp::Sub, Width::W64, &step);
                    if pointer.is_packet() {
                        result.id = self.new_id();
                        if step.s64.min < 0 {
                            result.size = 0;
                        }
                    }
                }
            }
            AluOp::And | AluOp::Or | AluOp::Xor => {
                return prohibit(format!(
                    "R{dst} bitwise operator {} on pointer prohibited",
                    symbol(op)
                ));
            }
            _ => {
                return prohibit(format!(
                    "R{dst} pointer arithmetic with {} operator prohibited",
                    symbol(op)
                ));
            }
        }
        self.check_sane_offset(&result, pointer)?;
        self.write(dst, result)?;
        self.check_sanitised_bounds(dst, &result)
    }

    /// Whether it may be added to the pointer at all (`check_reg_sane_offset`).
    fn check_sane_offset(&self, register: &Register, pointer: &Register) -> Check {
        let name = pointer.name();
        let number = &register.number;
        if let Some(value) = number.exact().map(u64::cast_signed)
            && !(-MAX_OFFSET < value && value < MAX_OFFSET)
        {
            return refuse(
                Rule::UnboundedArithmetic,
                format!("math between {name} pointer and {value} is not allowed"),
            );
        }
        let off = i64::from(register.off);
        if register.is_pointer() && !(-MAX_OFFSET < off && off < MAX_OFFSET) {
            return refuse(
                Rule::UnboundedArithmetic,
                format!("{name} pointer offset {off} is not allowed"),
            );
        }
        let min = number.s64.min;
        if min == i64::MIN {
            return refuse(
                Rule::UnboundedArithmetic,
                format!(
                    "math between {name} pointer and register with unbounded min value is not allowed"
                ),
            );
        }
        if !(-MAX_OFFSET < min && min < MAX_OFFSET) {
            return refuse(
                Rule::UnboundedArithmetic,
                format!("value {min} makes {name} pointer be out of bounds"),
            );
        }
        Ok(())
    }

    /// Without privilege, the offset's sign must be known, since the kernel masks what a
    /// mispredicting processor would add.
    fn check_pointer_sanitation(
        &mut self,
        op: AluOp,
        dst: u8,
        pointer: &Register,
        by: &Register,
        in_place: bool,
    ) -> Check {
        if self.privileged() || !matches!(op, AluOp::Add | AluOp::Sub) {
            return Ok(());
        }
        let step = by.number;
        let mixed = (step.s64.min < 0) != (step.s64.max < 0);
        if !step.is_exact() && mixed {
            return refuse(
                Rule::PointerArithmetic,
                format!("R{dst} has unknown scalar with mixed signed bounds, {PROHIBITED}"),
            );
        }
        if op == AluOp::Sub && !in_place {
            return Ok(());
        }
        let leftwards = (op == AluOp::Add) == (step.s64.min < 0);
        let offset = pointer.number.s64.max.saturating_add(pointer.off.into());
        let limit = match pointer.kind {
            Kind::Stack => {
                if leftwards {
                    512i64.saturating_add(offset)
                } else {
                    offset.saturating_neg()
                }
            }
            Kind::MapValue => {
                let size = self.maps.get(pointer.what as usize).map_or(0, |map| map.value_size);
                let offset = pointer.number.s64.min.saturating_add(pointer.off.into());
                if leftwards { offset } else { i64::from(size).saturating_sub(offset) }
            }
            _ => {
                return refuse(
                    Rule::PointerArithmetic,
                    format!("R{dst} has pointer with unsupported alu operation, {PROHIBITED}"),
                );
            }
        };
        let limit_reached = match (op, leftwards) {
            _ if !step.is_exact() => false,
            _ => limit < 0,
        };
        if limit_reached {
            return refuse(
                Rule::PointerArithmetic,
                format!("R{dst} tried to {} beyond pointer bounds, {PROHIBITED}", operation(op)),
            );
        }
        Ok(())
    }

    /// Without privilege the result must be inside of the object right away.
    fn check_sanitised_bounds(&mut self, dst: u8, result: &Register) -> Check {
        if self.privileged() {
            return Ok(());
        }
        match result.kind {
            Kind::Stack => {
                let Some(offset) = result.exact_offset() else {
                    return refuse(
                        Rule::PointerArithmetic,
                        format!("R{dst} variable stack access prohibited for !root"),
                    );
                };
                if !(-512..0).contains(&offset) {
                    return refuse(
                        Rule::PointerArithmetic,
                        format!(
                            "R{dst} stack pointer arithmetic goes out of range, prohibited for !root; off={offset}"
                        ),
                    );
                }
                Ok(())
            }
            Kind::MapValue => {
                let size = self.maps.get(result.what as usize).map_or(0, |map| map.value_size);
                self.check_region(dst, result, result.off, 1, size, false).or_else(|_| {
                    refuse(
                        Rule::PointerArithmetic,
                        format!(
                            "R{dst} pointer arithmetic of map value goes out of range, prohibited for !root"
                        ),
                    )
                })
            }
            _ => Ok(()),
        }
    }
}

fn operation(op: AluOp) -> &'static str {
    if op == AluOp::Add { "add" } else { "sub" }
}

fn fixed(offset: Option<i64>) -> Option<i32> {
    offset.and_then(|offset| i32::try_from(offset).ok())
}

/// The bounds of a pointer's variable offset, as text.
pub(crate) fn offset_text(number: &Scalar) -> String {
    format!("({:#x}; {:#x})", number.bits.value, number.bits.mask)
}
