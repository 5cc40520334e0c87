//! Arithmetic on what is known. The result holds every number that the instruction can give.

use bpf_isa::{AluOp, Width};

use super::*;

impl Scalar {
    /// `self = self op other`. What can't be followed gives an unknown number.
    pub fn alu(&mut self, op: AluOp, width: Width, other: &Self) {
        let by = match (op, width) {
            (AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, Width::W64) => other.exact(),
            (AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, Width::W32) => {
                other.exact_low().map(u64::from).filter(|_| other.u64.max < 32)
            }
            // Quotients aren't followed.
            (AluOp::Div | AluOp::SignedDiv | AluOp::Mod | AluOp::SignedMod, _) => None,
            _ => Some(0),
        };
        let limit = if width == Width::W32 { 32 } else { 64 };
        // The kernel knows nothing of such results, not even that the upper half is zero
        // (is_safe_to_compute_dst_reg_range).
        let Some(by) = by.filter(|by| *by < limit) else {
            *self = Self::UNKNOWN;
            return;
        };
        let by = by as u32;
        match op {
            AluOp::Mov => *self = *other,
            AluOp::Add => self.add(other),
            AluOp::Sub => self.sub(other),
            AluOp::Mul => self.mul(other),
            AluOp::And => self.and(other),
            AluOp::Or => self.or(other),
            AluOp::Xor => self.xor(other),
            AluOp::Lsh if width == Width::W32 => self.shift_left_low(by),
            AluOp::Lsh => self.shift_left(by),
            AluOp::Rsh if width == Width::W32 => self.shift_right_low(by),
            AluOp::Rsh => self.shift_right(by),
            AluOp::Arsh if width == Width::W32 => self.shift_right_signed_low(by),
            AluOp::Arsh => self.shift_right_signed(by),
            AluOp::Div | AluOp::SignedDiv | AluOp::Mod | AluOp::SignedMod => {}
        }
        if width == Width::W32 {
            self.keep_low();
        }
        self.deduce();
    }

    /// The upper half is cleared; the lower half's bounds are those of the whole.
    fn keep_low(&mut self) {
        self.bits = self.bits.low();
        self.u64 = Bounds::new(self.u32.min.into(), self.u32.max.into());
        self.s64 = Bounds::new(self.u32.min.into(), self.u32.max.into());
    }

    fn add(&mut self, other: &Self) {
        let bounds = |a: Option<i64>, b: Option<i64>| a.zip(b).map(|(a, b)| Bounds::new(a, b));
        self.s64 = bounds(
            self.s64.min.checked_add(other.s64.min),
            self.s64.max.checked_add(other.s64.max),
        )
        .unwrap_or(ANY_S64);
        self.s32 = self
            .s32
            .min
            .checked_add(other.s32.min)
            .zip(self.s32.max.checked_add(other.s32.max))
            .map_or(ANY_S32, |(min, max)| Bounds::new(min, max));
        // If both ends wrap around, or neither does, the range stays one.
        let (min, wraps_min) = self.u64.min.overflowing_add(other.u64.min);
        let (max, wraps_max) = self.u64.max.overflowing_add(other.u64.max);
        self.u64 = if wraps_min == wraps_max { Bounds::new(min, max) } else { ANY_U64 };
        let (min, wraps_min) = self.u32.min.overflowing_add(other.u32.min);
        let (max, wraps_max) = self.u32.max.overflowing_add(other.u32.max);
        self.u32 = if wraps_min == wraps_max { Bounds::new(min, max) } else { ANY_U32 };
        self.bits = self.bits.add(other.bits);
    }

    fn sub(&mut self, other: &Self) {
        self.s64 = self
            .s64
            .min
            .checked_sub(other.s64.max)
            .zip(self.s64.max.checked_sub(other.s64.min))
            .map_or(ANY_S64, |(min, max)| Bounds::new(min, max));
        self.s32 = self
            .s32
            .min
            .checked_sub(other.s32.max)
            .zip(self.s32.max.checked_sub(other.s32.min))
            .map_or(ANY_S32, |(min, max)| Bounds::new(min, max));
        let (min, wraps_min) = self.u64.min.overflowing_sub(other.u64.max);
        let (max, wraps_max) = self.u64.max.overflowing_sub(other.u64.min);
        self.u64 = if wraps_min == wraps_max { Bounds::new(min, max) } else { ANY_U64 };
        let (min, wraps_min) = self.u32.min.overflowing_sub(other.u32.max);
        let (max, wraps_max) = self.u32.max.overflowing_sub(other.u32.min);
        self.u32 = if wraps_min == wraps_max { Bounds::new(min, max) } else { ANY_U32 };
        self.bits = self.bits.sub(other.bits);
    }

    fn mul(&mut self, other: &Self) {
        self.bits = self.bits.mul(other.bits);
        let products = self.u64.min.checked_mul(other.u64.min);
        self.u64 = products
            .zip(self.u64.max.checked_mul(other.u64.max))
            .map_or(ANY_U64, |(min, max)| Bounds::new(min, max));
        let products = self.u32.min.checked_mul(other.u32.min);
        self.u32 = products
            .zip(self.u32.max.checked_mul(other.u32.max))
            .map_or(ANY_U32, |(min, max)| Bounds::new(min, max));
        // The extremes of a product are among those of the corners.
        let mut corners = [0i64; 4];
        let mut fits = true;
        for (corner, (a, b)) in corners.iter_mut().zip([
            (self.s64.min, other.s64.min),
            (self.s64.min, other.s64.max),
            (self.s64.max, other.s64.min),
            (self.s64.max, other.s64.max),
        ]) {
            let product = a.checked_mul(b);
            fits &= product.is_some();
            *corner = product.unwrap_or(0);
        }
        self.s64 = if fits { hull(corners) } else { ANY_S64 };
        let mut corners = [0i32; 4];
        let mut fits = true;
        for (corner, (a, b)) in corners.iter_mut().zip([
            (self.s32.min, other.s32.min),
            (self.s32.min, other.s32.max),
            (self.s32.max, other.s32.min),
            (self.s32.max, other.s32.max),
        ]) {
            let product = a.checked_mul(b);
            fits &= product.is_some();
            *corner = product.unwrap_or(0);
        }
        self.s32 = if fits { hull(corners) } else { ANY_S32 };
    }

    fn and(&mut self, other: &Self) {
        self.bits = self.bits & other.bits;
        self.u64 = Bounds::new(self.bits.value, self.u64.max.min(other.u64.max));
        self.u32 = Bounds::new(self.bits.value as u32, self.u32.max.min(other.u32.max));
        (self.s64, self.s32) = (ANY_S64, ANY_S32);
    }

    fn or(&mut self, other: &Self) {
        self.bits = self.bits | other.bits;
        self.u64 = Bounds::new(self.u64.min.max(other.u64.min), self.bits.value | self.bits.mask);
        self.u32 =
            Bounds::new(self.u32.min.max(other.u32.min), (self.bits.value | self.bits.mask) as u32);
        (self.s64, self.s32) = (ANY_S64, ANY_S32);
    }

    fn xor(&mut self, other: &Self) {
        self.bits = self.bits ^ other.bits;
        self.forget_whole_bounds();
        self.forget_low_bounds();
    }

    fn shift_left(&mut self, by: u32) {
        // `<< 32 s>> 32` is how compilers extend a sign.
        self.s64 = if by == 32 {
            Bounds::new(i64::from(self.s32.min) << 32, i64::from(self.s32.max) << 32)
        } else {
            ANY_S64
        };
        self.u64 = if self.u64.max <= u64::MAX >> by {
            Bounds::new(self.u64.min << by, self.u64.max << by)
        } else {
            ANY_U64
        };
        self.shift_left_low_bounds(by);
        self.bits = self.bits.shift_left(by);
    }

    fn shift_left_low(&mut self, by: u32) {
        self.shift_left_low_bounds(by);
        self.bits = self.bits.low().shift_left(by).low();
    }

    fn shift_left_low_bounds(&mut self, by: u32) {
        self.s32 = ANY_S32;
        self.u32 = if by < 32 && self.u32.max <= u32::MAX >> by {
            Bounds::new(self.u32.min << by, self.u32.max << by)
        } else {
            ANY_U32
        };
    }

    fn shift_right(&mut self, by: u32) {
        self.bits = self.bits.shift_right(by);
        self.u64 = Bounds::new(self.u64.min >> by, self.u64.max >> by);
        self.s64 = ANY_S64;
        self.forget_low_bounds();
    }

    fn shift_right_low(&mut self, by: u32) {
        self.bits = self.bits.low().shift_right(by);
        self.u32 = Bounds::new(self.u32.min >> by, self.u32.max >> by);
        self.s32 = ANY_S32;
    }

    fn shift_right_signed(&mut self, by: u32) {
        self.bits = self.bits.shift_right_signed(by, 64);
        self.s64 = Bounds::new(self.s64.min >> by, self.s64.max >> by);
        self.u64 = ANY_U64;
        self.forget_low_bounds();
    }

    fn shift_right_signed_low(&mut self, by: u32) {
        self.bits = self.bits.low().shift_right_signed(by, 32);
        self.s32 = Bounds::new(self.s32.min >> by, self.s32.max >> by);
        self.u32 = ANY_U32;
    }
}

fn hull<T: Copy + Ord>(corners: [T; 4]) -> Bounds<T> {
    let [first, rest @ ..] = corners;
    let widen = |bounds: Bounds<T>, n: T| Bounds::new(bounds.min.min(n), bounds.max.max(n));
    rest.into_iter().fold(Bounds::new(first, first), widen)
}
