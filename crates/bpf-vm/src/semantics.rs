//! What arithmetic, comparisons and byte orders compute: pure functions of values, the reference
//! for every engine.

use bpf_isa::{AluOp, Condition, Extension, Order, Span, Width};

/// `a op b` on 64 bits.
#[inline(always)]
pub const fn alu64(op: AluOp, a: u64, b: u64) -> u64 {
    let (signed_a, signed_b) = (a.cast_signed(), b.cast_signed());
    match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div => match a.checked_div(b) {
            Some(quotient) => quotient,
            None => 0,
        },
        AluOp::SignedDiv if b == 0 => 0,
        AluOp::SignedDiv => signed_a.wrapping_div(signed_b).cast_unsigned(),
        AluOp::Or => a | b,
        AluOp::And => a & b,
        // Shifts use the lowest bits of the distance.
        AluOp::Lsh => a.wrapping_shl(b as u32),
        AluOp::Rsh => a.wrapping_shr(b as u32),
        AluOp::Arsh => signed_a.wrapping_shr(b as u32).cast_unsigned(),
        AluOp::Mod => match a.checked_rem(b) {
            Some(remainder) => remainder,
            None => a,
        },
        AluOp::SignedMod if b == 0 => a,
        AluOp::SignedMod => signed_a.wrapping_rem(signed_b).cast_unsigned(),
        AluOp::Xor => a ^ b,
        AluOp::Mov => b,
    }
}

/// `a op b` on the lower 32 bits; the upper ones of the result are zero.
#[inline(always)]
pub const fn alu32(op: AluOp, a: u64, b: u64) -> u64 {
    let (a, b) = (a as u32, b as u32);
    let (signed_a, signed_b) = (a.cast_signed(), b.cast_signed());
    let result = match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div => match a.checked_div(b) {
            Some(quotient) => quotient,
            None => 0,
        },
        AluOp::SignedDiv if b == 0 => 0,
        AluOp::SignedDiv => signed_a.wrapping_div(signed_b).cast_unsigned(),
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Lsh => a.wrapping_shl(b),
        AluOp::Rsh => a.wrapping_shr(b),
        AluOp::Arsh => signed_a.wrapping_shr(b).cast_unsigned(),
        AluOp::Mod => match a.checked_rem(b) {
            Some(remainder) => remainder,
            None => a,
        },
        AluOp::SignedMod if b == 0 => a,
        AluOp::SignedMod => signed_a.wrapping_rem(signed_b).cast_unsigned(),
        AluOp::Xor => a ^ b,
        AluOp::Mov => b,
    };
    result as u64
}

#[inline(always)]
pub const fn alu(op: AluOp, width: Width, a: u64, b: u64) -> u64 {
    match width {
        Width::W64 => alu64(op, a, b),
        Width::W32 => alu32(op, a, b),
    }
}

#[inline(always)]
pub const fn holds64(condition: Condition, a: u64, b: u64) -> bool {
    let (signed_a, signed_b) = (a.cast_signed(), b.cast_signed());
    match condition {
        Condition::Equal => a == b,
        Condition::NotEqual => a != b,
        Condition::Greater => a > b,
        Condition::GreaterOrEqual => a >= b,
        Condition::Less => a < b,
        Condition::LessOrEqual => a <= b,
        Condition::SignedGreater => signed_a > signed_b,
        Condition::SignedGreaterOrEqual => signed_a >= signed_b,
        Condition::SignedLess => signed_a < signed_b,
        Condition::SignedLessOrEqual => signed_a <= signed_b,
        Condition::Set => a & b != 0,
    }
}

/// The comparison of the lower 32 bits: their signs are spread, which keeps both orders.
#[inline(always)]
pub const fn holds32(condition: Condition, a: u64, b: u64) -> bool {
    holds64(condition, a as i32 as u64, b as i32 as u64)
}

#[inline(always)]
pub const fn holds(condition: Condition, width: Width, a: u64, b: u64) -> bool {
    match width {
        Width::W64 => holds64(condition, a, b),
        Width::W32 => holds32(condition, a, b),
    }
}

#[inline(always)]
pub const fn extend(extension: Extension, value: u64) -> u64 {
    match extension {
        Extension::ByteTo32 => value as i8 as u32 as u64,
        Extension::HalfTo32 => value as i16 as u32 as u64,
        Extension::ByteTo64 => value as i8 as u64,
        Extension::HalfTo64 => value as i16 as u64,
        Extension::WordTo64 => value as i32 as u64,
    }
}

/// `value` with its lowest bytes in another order, on a little-endian program's behalf.
#[inline(always)]
pub const fn reorder(order: Order, span: Span, value: u64) -> u64 {
    match (order, span) {
        (Order::ToLittle, Span::Half) => value as u16 as u64,
        (Order::ToLittle, Span::Word) => value as u32 as u64,
        (Order::ToLittle, Span::Double) => value,
        (Order::ToBig | Order::Swap, Span::Half) => (value as u16).swap_bytes() as u64,
        (Order::ToBig | Order::Swap, Span::Word) => (value as u32).swap_bytes() as u64,
        (Order::ToBig | Order::Swap, Span::Double) => value.swap_bytes(),
    }
}
