//! Comparisons: whether their outcome is known, and what each outcome teaches.

use bpf_isa::{Condition, Width};

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Always,
    Never,
    Unknown,
}

impl Outcome {
    fn of(always: bool, never: bool) -> Self {
        match (always, never) {
            (true, _) => Self::Always,
            (_, true) => Self::Never,
            _ => Self::Unknown,
        }
    }

    fn inverted(self) -> Self {
        match self {
            Self::Always => Self::Never,
            Self::Never => Self::Always,
            Self::Unknown => Self::Unknown,
        }
    }
}

/// The condition that holds when this one doesn't. For [`Condition::Set`] there is none.
fn opposite(condition: Condition) -> Option<Condition> {
    Some(match condition {
        Condition::Equal => Condition::NotEqual,
        Condition::NotEqual => Condition::Equal,
        Condition::Greater => Condition::LessOrEqual,
        Condition::GreaterOrEqual => Condition::Less,
        Condition::Less => Condition::GreaterOrEqual,
        Condition::LessOrEqual => Condition::Greater,
        Condition::SignedGreater => Condition::SignedLessOrEqual,
        Condition::SignedGreaterOrEqual => Condition::SignedLess,
        Condition::SignedLess => Condition::SignedGreaterOrEqual,
        Condition::SignedLessOrEqual => Condition::SignedGreater,
        Condition::Set => return None,
    })
}

impl Scalar {
    /// Whether `self condition other` is known.
    pub fn compare(&self, condition: Condition, width: Width, other: &Self) -> Outcome {
        let low = width == Width::W32;
        let bits = |scalar: &Self| if low { scalar.bits.low() } else { scalar.bits };
        let unsigned = |scalar: &Self| {
            if low { Bounds::new(scalar.u32.min.into(), scalar.u32.max.into()) } else { scalar.u64 }
        };
        let signed = |scalar: &Self| {
            if low { Bounds::new(scalar.s32.min.into(), scalar.s32.max.into()) } else { scalar.s64 }
        };
        let less = |a: &Self, b: &Self| {
            let (a, b) = (unsigned(a), unsigned(b));
            Outcome::of(a.max < b.min, a.min >= b.max)
        };
        let signed_less = |a: &Self, b: &Self| {
            let (a, b) = (signed(a), signed(b));
            Outcome::of(a.max < b.min, a.min >= b.max)
        };
        match condition {
            Condition::Equal => self.compare_equal(width, other),
            Condition::NotEqual => self.compare_equal(width, other).inverted(),
            Condition::Less => less(self, other),
            Condition::Greater => less(other, self),
            Condition::GreaterOrEqual => less(self, other).inverted(),
            Condition::LessOrEqual => less(other, self).inverted(),
            Condition::SignedLess => signed_less(self, other),
            Condition::SignedGreater => signed_less(other, self),
            Condition::SignedGreaterOrEqual => signed_less(self, other).inverted(),
            Condition::SignedLessOrEqual => signed_less(other, self).inverted(),
            Condition::Set => {
                let (one, two) = (bits(self), bits(other));
                // The kernel looks no further, though two unknowns may have a bit in common.
                if !one.is_exact() && !two.is_exact() {
                    return Outcome::Unknown;
                }
                let both = one & two;
                Outcome::of(both.value != 0, both.mask == 0 && both.value == 0)
            }
        }
    }

    fn compare_equal(&self, width: Width, other: &Self) -> Outcome {
        let (a, b) = match width {
            Width::W32 => (self.bits.low(), other.bits.low()),
            Width::W64 => (self.bits, other.bits),
        };
        if a.is_exact() && b.is_exact() {
            return Outcome::of(a.value == b.value, a.value != b.value);
        }
        let differing_bits = (a.value ^ b.value) & !a.mask & !b.mask != 0;
        let low = self.u32.overlaps(&other.u32) && self.s32.overlaps(&other.s32);
        let whole = self.u64.overlaps(&other.u64) && self.s64.overlaps(&other.s64);
        let never = differing_bits || !low || (width == Width::W64 && !whole);
        Outcome::of(false, never)
    }

    /// What both sides are if `left condition right` is `holds`.
    pub fn refine(
        left: &mut Self,
        right: &mut Self,
        condition: Condition,
        width: Width,
        holds: bool,
    ) {
        match (holds, opposite(condition)) {
            (true, _) => Self::learn(left, right, condition, width),
            (false, Some(opposite)) => Self::learn(left, right, opposite, width),
            (false, None) => {
                left.learn_clear(right, width);
            }
        }
        left.deduce();
        right.deduce();
    }

    fn learn(left: &mut Self, right: &mut Self, condition: Condition, width: Width) {
        match condition {
            Condition::Equal => Self::learn_equal(left, right, width),
            Condition::NotEqual => {
                if let Some(number) = right.exact_of(width) {
                    left.learn_differs(number, width);
                } else if let Some(number) = left.exact_of(width) {
                    right.learn_differs(number, width);
                }
            }
            Condition::Less => Self::learn_less(left, right, width, 1),
            Condition::LessOrEqual => Self::learn_less(left, right, width, 0),
            Condition::Greater => Self::learn_less(right, left, width, 1),
            Condition::GreaterOrEqual => Self::learn_less(right, left, width, 0),
            Condition::SignedLess => Self::learn_signed_less(left, right, width, 1),
            Condition::SignedLessOrEqual => Self::learn_signed_less(left, right, width, 0),
            Condition::SignedGreater => Self::learn_signed_less(right, left, width, 1),
            Condition::SignedGreaterOrEqual => Self::learn_signed_less(right, left, width, 0),
            Condition::Set => {
                let (number, target) = match (right.exact_of(width), left.exact_of(width)) {
                    (Some(number), _) => (number, left),
                    (None, Some(number)) => (number, right),
                    (None, None) => return,
                };
                // Of several bits, it isn't known which one is set.
                if number.is_power_of_two() {
                    target.bits = target.bits | Tnum::exactly(number);
                }
            }
        }
    }

    fn exact_of(&self, width: Width) -> Option<u64> {
        match width {
            Width::W64 => self.exact(),
            Width::W32 => self.exact_low().map(u64::from),
        }
    }

    fn learn_equal(left: &mut Self, right: &mut Self, width: Width) {
        if width == Width::W32 {
            left.u32.narrow(right.u32.min, right.u32.max);
            left.s32.narrow(right.s32.min, right.s32.max);
            (right.u32, right.s32) = (left.u32, left.s32);
            let low = left.bits.low().intersect(right.bits.low());
            left.bits = left.bits.with_low(low);
            right.bits = right.bits.with_low(low);
        } else {
            left.u64.narrow(right.u64.min, right.u64.max);
            left.s64.narrow(right.s64.min, right.s64.max);
            left.u32.narrow(right.u32.min, right.u32.max);
            left.s32.narrow(right.s32.min, right.s32.max);
            left.bits = left.bits.intersect(right.bits);
            *right = *left;
        }
    }

    /// A bound that is the number moves by one.
    fn learn_differs(&mut self, number: u64, width: Width) {
        if width == Width::W32 {
            let number = number as u32;
            if self.u32.min == number {
                self.u32.min = number.saturating_add(1);
            }
            if self.u32.max == number {
                self.u32.max = number.saturating_sub(1);
            }
            let number = number.cast_signed();
            if self.s32.min == number {
                self.s32.min = number.saturating_add(1);
            }
            if self.s32.max == number {
                self.s32.max = number.saturating_sub(1);
            }
            return;
        }
        if self.u64.min == number {
            self.u64.min = number.saturating_add(1);
        }
        if self.u64.max == number {
            self.u64.max = number.saturating_sub(1);
        }
        let number = number.cast_signed();
        if self.s64.min == number {
            self.s64.min = number.saturating_add(1);
        }
        if self.s64.max == number {
            self.s64.max = number.saturating_sub(1);
        }
    }

    /// No bit is set in both.
    fn learn_clear(&mut self, right: &mut Self, width: Width) {
        let (number, target) = match (right.exact_of(width), self.exact_of(width)) {
            (Some(number), _) => (number, self),
            (None, Some(number)) => (number, right),
            (None, None) => return,
        };
        // The number's upper half is zero where only lower halves are compared.
        target.bits = target.bits & Tnum::exactly(!number);
    }

    /// `less < more`, with `step` 1, or `less <= more`, with 0.
    fn learn_less(less: &mut Self, more: &mut Self, width: Width, step: u32) {
        if width == Width::W32 {
            less.u32.max = less.u32.max.min(more.u32.max.saturating_sub(step));
            more.u32.min = more.u32.min.max(less.u32.min.saturating_add(step));
        } else {
            less.u64.max = less.u64.max.min(more.u64.max.saturating_sub(step.into()));
            more.u64.min = more.u64.min.max(less.u64.min.saturating_add(step.into()));
        }
    }

    fn learn_signed_less(less: &mut Self, more: &mut Self, width: Width, step: i32) {
        if width == Width::W32 {
            less.s32.max = less.s32.max.min(more.s32.max.saturating_sub(step));
            more.s32.min = more.s32.min.max(less.s32.min.saturating_add(step));
        } else {
            less.s64.max = less.s64.max.min(more.s64.max.saturating_sub(step.into()));
            more.s64.min = more.s64.min.max(less.s64.min.saturating_add(step.into()));
        }
    }
}
