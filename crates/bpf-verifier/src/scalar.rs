//! What is known of a number in a register: its bits, and its bounds as signed and unsigned number,
//! of all 64 bits and of the lower 32.

use crate::tnum::Tnum;

mod arithmetic;
mod compare;
#[cfg(test)]
mod tests;

pub use compare::Outcome;

/// `min..=max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds<T> {
    pub min: T,
    pub max: T,
}

impl<T: Copy + Ord> Bounds<T> {
    pub const fn new(min: T, max: T) -> Self {
        Self { min, max }
    }

    /// Keeps what is also in `min..=max`.
    fn narrow(&mut self, min: T, max: T) {
        self.min = self.min.max(min);
        self.max = self.max.min(max);
    }

    pub fn includes(&self, other: &Self) -> bool {
        self.min <= other.min && other.max <= self.max
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

const ANY_U64: Bounds<u64> = Bounds::new(0, u64::MAX);
const ANY_S64: Bounds<i64> = Bounds::new(i64::MIN, i64::MAX);
const ANY_U32: Bounds<u32> = Bounds::new(0, u32::MAX);
const ANY_S32: Bounds<i32> = Bounds::new(i32::MIN, i32::MAX);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalar {
    pub bits: Tnum,
    pub u64: Bounds<u64>,
    pub s64: Bounds<i64>,
    pub u32: Bounds<u32>,
    pub s32: Bounds<i32>,
}

impl Scalar {
    pub const UNKNOWN: Self =
        Self { bits: Tnum::UNKNOWN, u64: ANY_U64, s64: ANY_S64, u32: ANY_U32, s32: ANY_S32 };

    pub const ZERO: Self = Self::exactly(0);

    pub const fn exactly(number: u64) -> Self {
        let low = number as u32;
        Self {
            bits: Tnum::exactly(number),
            u64: Bounds::new(number, number),
            s64: Bounds::new(number.cast_signed(), number.cast_signed()),
            u32: Bounds::new(low, low),
            s32: Bounds::new(low.cast_signed(), low.cast_signed()),
        }
    }

    /// All unsigned numbers of so many bytes.
    pub fn of_bytes(bytes: u8) -> Self {
        let mut scalar = Self::UNKNOWN;
        scalar.zero_extend(bytes);
        scalar
    }

    /// `min..=max`, signed.
    pub fn signed_range(min: i64, max: i64) -> Self {
        let mut scalar = Self { s64: Bounds::new(min, max), ..Self::UNKNOWN };
        scalar.deduce();
        scalar
    }

    pub const fn is_exact(&self) -> bool {
        self.bits.is_exact()
    }

    pub fn exact(&self) -> Option<u64> {
        self.is_exact().then_some(self.bits.value)
    }

    /// The lower half, if it is known.
    pub fn exact_low(&self) -> Option<u32> {
        let low = self.bits.low();
        low.is_exact().then_some(low.value as u32)
    }

    pub fn is_zero(&self) -> bool {
        self.exact() == Some(0)
    }

    /// Whether `other` has no value that this one can't have.
    pub fn includes(&self, other: &Self) -> bool {
        self.u64.includes(&other.u64)
            && self.s64.includes(&other.s64)
            && self.u32.includes(&other.u32)
            && self.s32.includes(&other.s32)
            && self.bits.includes(other.bits)
    }

    /// Both descriptions hold.
    pub fn meet(&mut self, other: &Self) {
        self.u64.narrow(other.u64.min, other.u64.max);
        self.s64.narrow(other.s64.min, other.s64.max);
        self.u32.narrow(other.u32.min, other.u32.max);
        self.s32.narrow(other.s32.min, other.s32.max);
        self.deduce();
    }

    #[cfg(test)]
    pub fn contains(&self, number: u64) -> bool {
        self.includes(&Self::exactly(number))
    }

    /// No value at all satisfies what is known: the path can't be taken.
    pub fn is_contradiction(&self) -> bool {
        self.u64.min > self.u64.max
            || self.s64.min > self.s64.max
            || self.u32.min > self.u32.max
            || self.s32.min > self.s32.max
            || self.exact().is_some_and(|n| {
                self.u64 != Bounds::new(n, n)
                    || self.s64 != Bounds::new(n.cast_signed(), n.cast_signed())
            })
            || self.exact_low().is_some_and(|n| {
                self.u32 != Bounds::new(n, n)
                    || self.s32 != Bounds::new(n.cast_signed(), n.cast_signed())
            })
    }

    /// Lets each of the five descriptions learn from the others.
    pub fn deduce(&mut self) {
        self.learn_from_bits();
        for _ in 0..3 {
            self.deduce_halves();
            self.deduce_wholes();
            self.deduce_wholes_from_halves();
        }
        self.learn_bits();
        self.learn_from_bits();
    }

    fn learn_from_bits(&mut self) {
        let (value, possible) = (self.bits.value, self.bits.value | self.bits.mask);
        self.u64.narrow(value, possible);
        // The least signed number has its sign bit set if it can, and no other unknown bit.
        let sign = self.bits.mask & 1 << 63;
        self.s64.narrow((value | sign).cast_signed(), (possible & !sign).cast_signed());
        self.u32.narrow(value as u32, possible as u32);
        let sign = (self.bits.mask & 1 << 31) as u32;
        self.s32
            .narrow((value as u32 | sign).cast_signed(), (possible as u32 & !sign).cast_signed());
    }

    fn learn_bits(&mut self) {
        let whole = self.bits.intersect(Tnum::range(self.u64.min, self.u64.max));
        let low = whole.low().intersect(Tnum::range(self.u32.min.into(), self.u32.max.into()));
        self.bits = whole.with_low(low);
    }

    /// The lower halves, from the whole and from each other.
    fn deduce_halves(&mut self) {
        let ends = [(self.u64.min, self.u64.max), {
            (self.s64.min.cast_unsigned(), self.s64.max.cast_unsigned())
        }];
        for (min, max) in ends {
            let (low_min, low_max) = (min as u32, max as u32);
            let (signed_min, signed_max) = (low_min.cast_signed(), low_max.cast_signed());
            let (high_min, high_max) = ((min >> 32) as u32, (max >> 32) as u32);
            if high_min == high_max {
                // Only the lower halves differ, so they form a range, where it doesn't wrap.
                if low_min <= low_max {
                    self.u32.narrow(low_min, low_max);
                }
                if signed_min <= signed_max {
                    self.s32.narrow(signed_min, signed_max);
                }
            } else if high_min.wrapping_add(1) == high_max && signed_min < 0 && signed_max >= 0 {
                // The upper half takes one step, where the lower one goes from -1 to 0.
                self.s32.narrow(signed_min, signed_max);
            }
        }
        if self.u32.min.cast_signed() <= self.u32.max.cast_signed() {
            self.s32.narrow(self.u32.min.cast_signed(), self.u32.max.cast_signed());
        }
        let (min, max) = (self.s32.min.cast_unsigned(), self.s32.max.cast_unsigned());
        if min <= max {
            self.u32.narrow(min, max);
        } else if self.u32.max < min {
            // As an unsigned number it is below the negative ones.
            self.s32.min = self.u32.min.cast_signed();
            self.u32.max = self.u32.max.min(max);
        } else if max < self.u32.min {
            self.s32.max = self.u32.max.cast_signed();
            self.u32.min = self.u32.min.max(min);
        }
    }

    fn deduce_wholes(&mut self) {
        if self.u64.min.cast_signed() <= self.u64.max.cast_signed() {
            self.s64.narrow(self.u64.min.cast_signed(), self.u64.max.cast_signed());
        }
        let (min, max) = (self.s64.min.cast_unsigned(), self.s64.max.cast_unsigned());
        if min <= max {
            self.u64.narrow(min, max);
        } else if self.u64.max < min {
            self.s64.min = self.u64.min.cast_signed();
            self.u64.max = self.u64.max.min(max);
        } else if max < self.u64.min {
            self.s64.max = self.u64.max.cast_signed();
            self.u64.min = self.u64.min.max(min);
        }
    }

    /// The bounds' own lower halves must be inside the bounds of the lower half.
    fn deduce_wholes_from_halves(&mut self) {
        const HIGH: u64 = !(u32::MAX as u64);
        let mut tighten = |low_min: u32, low_max: u32| {
            let (low_min, low_max) = (u64::from(low_min), u64::from(low_max));
            self.u64.narrow(self.u64.min & HIGH | low_min, self.u64.max & HIGH | low_max);
            let (min, max) = (self.s64.min.cast_unsigned(), self.s64.max.cast_unsigned());
            self.s64
                .narrow((min & HIGH | low_min).cast_signed(), (max & HIGH | low_max).cast_signed());
        };
        tighten(self.u32.min, self.u32.max);
        let (min, max) = (self.s32.min.cast_unsigned(), self.s32.max.cast_unsigned());
        if min <= max {
            tighten(min, max);
        }
        // A 32-bit number, sign extended, whose lower half isn't negative. The kernel takes the lower
        // half's bounds then, also where those of the whole were narrower
        // (__reg_deduce_mixed_bounds, Linux 6.18); what it refuses for that isn't accepted here.
        let (min, max) = (i64::from(self.s32.min), i64::from(self.s32.max));
        if min >= 0
            && min <= max
            && self.s64.min >= i64::from(i32::MIN)
            && self.s64.max <= i64::from(i32::MAX)
        {
            self.s64 = Bounds::new(min, max);
            self.u64 = Bounds::new(min.cast_unsigned(), max.cast_unsigned());
            self.bits = self.bits.intersect(Tnum::range(min.cast_unsigned(), max.cast_unsigned()));
        }
    }

    /// The lowest `bytes` as an unsigned number.
    pub fn zero_extend(&mut self, bytes: u8) {
        if bytes >= 8 {
            return;
        }
        let mask = (1u64 << (8 * bytes)) - 1;
        self.bits = self.bits.truncate(bytes);
        self.u64 = if self.u64.min & !mask == self.u64.max & !mask {
            Bounds::new(self.u64.min & mask, self.u64.max & mask)
        } else {
            Bounds::new(0, mask)
        };
        self.s64 = Bounds::new(self.u64.min.cast_signed(), self.u64.max.cast_signed());
        if bytes < 4 {
            (self.u32, self.s32) = (ANY_U32, ANY_S32);
        }
        self.deduce();
    }

    /// The lowest `bytes` as a signed number, in a register of 64 bits.
    pub fn sign_extend(&mut self, bytes: u8) {
        if bytes >= 8 {
            return;
        }
        let shift = 64 - 8 * u32::from(bytes);
        let extend = |n: u64| (n << shift).cast_signed() >> shift;
        if let Some(number) = self.exact() {
            *self = Self::exactly(extend(number).cast_unsigned());
            return;
        }
        let (min, max) = (self.s64.min, self.s64.max);
        let top = |n: i64| n >> (8 * bytes);
        let (low, high) = (extend(min.cast_unsigned()), extend(max.cast_unsigned()));
        let (least, most) = (i64::MIN >> shift, i64::MAX >> shift);
        *self = if top(min) == top(max) && low <= high && (low >= 0) == (high >= 0) {
            Self::signed_range(low, high)
        } else {
            Self::signed_range(least, most)
        };
    }

    /// The lowest `bytes` as a signed number, in a register of 32 bits whose upper half is zero.
    pub fn sign_extend_low(&mut self, bytes: u8) {
        self.zero_extend(4);
        self.sign_extend(bytes);
        self.zero_extend(4);
    }

    /// Nothing but bits is known.
    pub fn forget_bounds(&mut self) {
        self.forget_whole_bounds();
        self.forget_low_bounds();
    }

    fn forget_low_bounds(&mut self) {
        (self.u32, self.s32) = (ANY_U32, ANY_S32);
    }

    fn forget_whole_bounds(&mut self) {
        (self.u64, self.s64) = (ANY_U64, ANY_S64);
    }
}
