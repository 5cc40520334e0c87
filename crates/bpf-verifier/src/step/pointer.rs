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

/// Where pointer and number of an addition are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operands {
    /// `pointer += number`, the number in this register.
    InPlace(u8),
    /// `number += pointer`, the pointer in this register.
    Swapped(u8),
    /// `pointer += constant`.
    Constant,
}

impl Engine<'_> {
    /// `dst = pointer op by`.
    pub(super) fn move_pointer(
        &mut self,
        op: AluOp,
        width: Width,
        dst: u8,
        pointer: &Register,
        by: &Register,
        operands: Operands,
    ) -> Check {
        let in_place = !matches!(operands, Operands::Swapped(_));
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
        let mask = self.begin_sanitation(op, dst, pointer, by, operands)?;
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
        self.check_sanitised_bounds(dst, &result)?;
        self.finish_sanitation(op, dst, &result, mask)
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
        // A number that is another plus a constant has that as its offset.
        let off = i64::from(register.off);
        if !(-MAX_OFFSET < off && off < MAX_OFFSET) {
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

fn fixed(offset: Option<i64>) -> Option<i32> {
    offset.and_then(|offset| i32::try_from(offset).ok())
}

/// The bounds of a pointer's variable offset, as text.
pub(crate) fn offset_text(number: &Scalar) -> String {
    format!("({:#x}; {:#x})", number.bits.value, number.bits.mask)
}
