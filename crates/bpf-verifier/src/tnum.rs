//! Numbers of which only some bits are known ("tristate numbers").
//!
//! The operations are those of Vishwanathan et al., "Sound, Precise, and Fast Abstract
//! Interpretation with Tristate Numbers" (CGO 2022), which Linux uses as well.

/// The set of numbers `n` with `n & !mask == value`. `value & mask` is always zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tnum {
    pub value: u64,
    /// The bits that aren't known.
    pub mask: u64,
}

impl Tnum {
    pub const UNKNOWN: Self = Self { value: 0, mask: u64::MAX };

    pub const fn exactly(value: u64) -> Self {
        Self { value, mask: 0 }
    }

    /// The smallest that holds all of `low..=high`.
    pub fn range(low: u64, high: u64) -> Self {
        let differing = 64 - (low ^ high).leading_zeros();
        if differing > 63 {
            return Self::UNKNOWN;
        }
        let mask = (1 << differing) - 1;
        Self { value: low & !mask, mask }
    }

    pub const fn is_exact(self) -> bool {
        self.mask == 0
    }

    #[cfg(test)]
    pub fn contains(self, number: u64) -> bool {
        number & !self.mask == self.value
    }

    /// Whether all of `other` is in it.
    pub fn includes(self, other: Self) -> bool {
        other.mask & !self.mask == 0 && self.value == other.value & !self.mask
    }

    /// What is in both. The caller knows that there is something.
    pub fn intersect(self, other: Self) -> Self {
        let mask = self.mask & other.mask;
        Self { value: (self.value | other.value) & !mask, mask }
    }

    /// Whether all of it are multiples of `size`, a power of two.
    pub fn is_aligned(self, size: u64) -> bool {
        size == 0 || (self.value | self.mask) & (size - 1) == 0
    }

    pub fn truncate(self, bytes: u8) -> Self {
        if bytes >= 8 {
            return self;
        }
        let keep = (1 << (8 * bytes)) - 1;
        Self { value: self.value & keep, mask: self.mask & keep }
    }

    /// The lower half.
    pub fn low(self) -> Self {
        self.truncate(4)
    }

    /// The lower half zeroed.
    pub fn high(self) -> Self {
        Self { value: self.value >> 32 << 32, mask: self.mask >> 32 << 32 }
    }

    /// Its upper half with the lower half of `low`.
    pub fn with_low(self, low: Self) -> Self {
        self.high() | low.low()
    }

    pub fn add(self, other: Self) -> Self {
        let values = self.value.wrapping_add(other.value);
        let masks = self.mask.wrapping_add(other.mask);
        let carries = masks.wrapping_add(values) ^ values;
        let mask = carries | self.mask | other.mask;
        Self { value: values & !mask, mask }
    }

    pub fn sub(self, other: Self) -> Self {
        let difference = self.value.wrapping_sub(other.value);
        let most = difference.wrapping_add(self.mask);
        let least = difference.wrapping_sub(other.mask);
        let mask = (most ^ least) | self.mask | other.mask;
        Self { value: difference & !mask, mask }
    }

    /// By the school's method: known products summed exactly, unknown bits as a mask.
    pub fn mul(self, other: Self) -> Self {
        let known = Self::exactly(self.value.wrapping_mul(other.value));
        let (mut left, mut right) = (self, other);
        let mut unknown = Self::exactly(0);
        while left.value != 0 || left.mask != 0 {
            if left.value & 1 != 0 {
                unknown = unknown.add(Self { value: 0, mask: right.mask });
            } else if left.mask & 1 != 0 {
                unknown = unknown.add(Self { value: 0, mask: right.value | right.mask });
            }
            left = left.shift_right(1);
            right = right.shift_left(1);
        }
        known.add(unknown)
    }

    /// `by` is below 64.
    pub fn shift_left(self, by: u32) -> Self {
        Self { value: self.value << by, mask: self.mask << by }
    }

    pub fn shift_right(self, by: u32) -> Self {
        Self { value: self.value >> by, mask: self.mask >> by }
    }

    /// The sign is that of the lowest `bits`, 32 or 64.
    pub fn shift_right_signed(self, by: u32, bits: u32) -> Self {
        if bits == 32 {
            let shift = |half: u64| u64::from(((half as u32).cast_signed() >> by).cast_unsigned());
            return Self { value: shift(self.value), mask: shift(self.mask) };
        }
        let shift = |half: u64| (half.cast_signed() >> by).cast_unsigned();
        Self { value: shift(self.value), mask: shift(self.mask) }
    }
}

impl std::ops::BitAnd for Tnum {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        let possible = (self.value | self.mask) & (other.value | other.mask);
        let value = self.value & other.value;
        Self { value, mask: possible & !value }
    }
}

impl std::ops::BitOr for Tnum {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        let value = self.value | other.value;
        Self { value, mask: (self.mask | other.mask) & !value }
    }
}

impl std::ops::BitXor for Tnum {
    type Output = Self;

    fn bitxor(self, other: Self) -> Self {
        let mask = self.mask | other.mask;
        Self { value: (self.value ^ other.value) & !mask, mask }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All tnums of so many bits, embedded in the lowest ones.
    fn all(bits: u32) -> impl Iterator<Item = Tnum> + Clone {
        let end = 1u64 << bits;
        (0..end).flat_map(move |mask| {
            (0..end).filter(move |value| value & mask == 0).map(move |value| Tnum { value, mask })
        })
    }

    fn members(tnum: Tnum, bits: u32) -> impl Iterator<Item = u64> {
        (0..1u64 << bits).filter(move |number| tnum.contains(*number))
    }

    #[test]
    fn operations_hold_every_concrete_result() {
        type Abstract = fn(Tnum, Tnum) -> Tnum;
        type Concrete = fn(u64, u64) -> u64;
        let operations: [(&str, Abstract, Concrete); 6] = [
            ("add", Tnum::add, u64::wrapping_add),
            ("sub", Tnum::sub, u64::wrapping_sub),
            ("mul", Tnum::mul, u64::wrapping_mul),
            ("and", |a, b| a & b, |a, b| a & b),
            ("or", |a, b| a | b, |a, b| a | b),
            ("xor", |a, b| a ^ b, |a, b| a ^ b),
        ];
        for a in all(3) {
            for b in all(3) {
                for (name, wide, narrow) in operations {
                    let result = wide(a, b);
                    assert_eq!(result.value & result.mask, 0, "{name} {a:?} {b:?}");
                    for x in members(a, 3) {
                        for y in members(b, 3) {
                            assert!(result.contains(narrow(x, y)), "{name} {a:?} {b:?} {x} {y}");
                        }
                    }
                }
                let both: Vec<u64> = members(a, 3).filter(|n| b.contains(*n)).collect();
                if !both.is_empty() {
                    let result = a.intersect(b);
                    assert!((0..8).all(|n| result.contains(n) == both.contains(&n)));
                }
                assert_eq!(a.includes(b), members(b, 3).all(|n| a.contains(n)));
            }
        }
    }

    #[test]
    fn shifts_hold_every_concrete_result() {
        for tnum in all(4) {
            // In the uppermost bits too, where the sign is.
            for tnum in [tnum, tnum.shift_left(60), tnum.shift_left(28)] {
                let samples = [tnum.value, tnum.value | tnum.mask];
                for by in 0..32 {
                    for n in samples {
                        assert!(tnum.shift_left(by).contains(n << by));
                        assert!(tnum.shift_right(by).contains(n >> by));
                        let signed = (n.cast_signed() >> by).cast_unsigned();
                        assert!(tnum.shift_right_signed(by, 64).contains(signed));
                        let half = u64::from(((n as u32).cast_signed() >> by).cast_unsigned());
                        assert!(tnum.low().shift_right_signed(by, 32).contains(half));
                    }
                }
            }
        }
    }

    #[test]
    fn ranges_hold_their_numbers() {
        for low in 0..64u64 {
            for high in low..64 {
                let tnum = Tnum::range(low, high);
                assert!((low..=high).all(|n| tnum.contains(n)));
            }
        }
        assert_eq!(Tnum::range(0, u64::MAX), Tnum::UNKNOWN);
        assert_eq!(Tnum::range(7, 7), Tnum::exactly(7));
    }
}
