//! Every abstract result is held against all concrete ones of small numbers around the places
//! where numbers wrap, at both widths.

use bpf_isa::{AluOp, Condition, Width};

use super::*;

/// Numbers near zero, near the ends of the halves and of the whole.
fn interesting() -> Vec<u64> {
    let centers = [0u64, 1 << 31, 1 << 32, 1 << 63, (1 << 63) + (1 << 31), 0xffff_ffff_0000_0000];
    let near = |center: u64| [-2i64, -1, 0, 1, 3].map(|step| center.wrapping_add_signed(step));
    let mut numbers: Vec<u64> = centers.into_iter().flat_map(near).collect();
    numbers.extend([0x80, 0xff, 0x7fff, 0xdead_beef, 0x1234_5678_9abc_def0]);
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Sets of numbers with the scalar that describes them: what bounds and bits say of each set.
fn sets() -> Vec<(Vec<u64>, Scalar)> {
    let numbers = interesting();
    let mut sets: Vec<Vec<u64>> = numbers.iter().map(|n| vec![*n]).collect();
    for size in [2usize, 3, 5] {
        sets.extend(numbers.windows(size).map(<[u64]>::to_vec));
        sets.extend(numbers.iter().step_by(3).enumerate().map(|(at, n)| {
            (0..size).map(|k| numbers[(at * 7 + k * 11) % numbers.len()]).chain([*n]).collect()
        }));
    }
    sets.into_iter()
        .map(|set: Vec<u64>| {
            let scalar = describe(&set);
            (set, scalar)
        })
        .collect()
}

fn describe(set: &[u64]) -> Scalar {
    let mut scalar = Scalar::exactly(set[0]);
    for number in set {
        let one = Scalar::exactly(*number);
        fn join<T: Copy + Ord>(a: Bounds<T>, b: Bounds<T>) -> Bounds<T> {
            Bounds::new(a.min.min(b.min), a.max.max(b.max))
        }
        scalar.u64 = join(scalar.u64, one.u64);
        scalar.s64 = join(scalar.s64, one.s64);
        scalar.u32 = join(scalar.u32, one.u32);
        scalar.s32 = join(scalar.s32, one.s32);
        let mask = scalar.bits.mask | scalar.bits.value ^ number;
        scalar.bits = Tnum { value: scalar.bits.value & !mask, mask };
    }
    scalar
}

const OPERATIONS: [AluOp; 14] = [
    AluOp::Add,
    AluOp::Sub,
    AluOp::Mul,
    AluOp::Div,
    AluOp::SignedDiv,
    AluOp::Or,
    AluOp::And,
    AluOp::Lsh,
    AluOp::Rsh,
    AluOp::Mod,
    AluOp::SignedMod,
    AluOp::Xor,
    AluOp::Mov,
    AluOp::Arsh,
];

/// What a processor does.
fn execute(op: AluOp, width: Width, a: u64, b: u64) -> u64 {
    let (x, y) = match width {
        Width::W64 => (a, b),
        Width::W32 => (u64::from(a as u32), u64::from(b as u32)),
    };
    let (sx, sy) = match width {
        Width::W64 => (x.cast_signed(), y.cast_signed()),
        Width::W32 => (i64::from(x as i32), i64::from(y as i32)),
    };
    let by = (y & if width == Width::W32 { 31 } else { 63 }) as u32;
    let result = match op {
        AluOp::Add => x.wrapping_add(y),
        AluOp::Sub => x.wrapping_sub(y),
        AluOp::Mul => x.wrapping_mul(y),
        AluOp::Div => x.checked_div(y).unwrap_or(0),
        AluOp::SignedDiv => if sy == 0 { 0 } else { sx.wrapping_div(sy) }.cast_unsigned(),
        AluOp::Or => x | y,
        AluOp::And => x & y,
        AluOp::Lsh => x << by,
        AluOp::Rsh => x >> by,
        AluOp::Mod => x.checked_rem(y).unwrap_or(x),
        AluOp::SignedMod => if sy == 0 { sx } else { sx.wrapping_rem(sy) }.cast_unsigned(),
        AluOp::Xor => x ^ y,
        AluOp::Mov => y,
        AluOp::Arsh => (sx >> by).cast_unsigned(),
    };
    match width {
        Width::W64 => result,
        Width::W32 => u64::from(result as u32),
    }
}

#[test]
fn arithmetic_holds_every_concrete_result() {
    let sets = sets();
    for width in [Width::W32, Width::W64] {
        for op in OPERATIONS {
            for (left, a) in &sets {
                for (right, b) in sets.iter().step_by(3) {
                    let mut result = *a;
                    result.alu(op, width, b);
                    for x in left {
                        for y in right {
                            let number = execute(op, width, *x, *y);
                            assert!(
                                result.contains(number),
                                "{op:?} {width:?}: {x:#x}, {y:#x} give {number:#x}, not in {result:?}"
                            );
                        }
                    }
                }
            }
        }
    }
}

const CONDITIONS: [Condition; 11] = [
    Condition::Equal,
    Condition::NotEqual,
    Condition::Greater,
    Condition::GreaterOrEqual,
    Condition::Less,
    Condition::LessOrEqual,
    Condition::SignedGreater,
    Condition::SignedGreaterOrEqual,
    Condition::SignedLess,
    Condition::SignedLessOrEqual,
    Condition::Set,
];

fn holds(condition: Condition, width: Width, x: u64, y: u64) -> bool {
    let (x, y, sx, sy) = match width {
        Width::W64 => (x, y, x.cast_signed(), y.cast_signed()),
        Width::W32 => {
            (u64::from(x as u32), u64::from(y as u32), i64::from(x as i32), i64::from(y as i32))
        }
    };
    match condition {
        Condition::Equal => x == y,
        Condition::NotEqual => x != y,
        Condition::Greater => x > y,
        Condition::GreaterOrEqual => x >= y,
        Condition::Less => x < y,
        Condition::LessOrEqual => x <= y,
        Condition::SignedGreater => sx > sy,
        Condition::SignedGreaterOrEqual => sx >= sy,
        Condition::SignedLess => sx < sy,
        Condition::SignedLessOrEqual => sx <= sy,
        Condition::Set => x & y != 0,
    }
}

#[test]
fn comparisons_are_sound() {
    let sets = sets();
    for width in [Width::W32, Width::W64] {
        for condition in CONDITIONS {
            for (left, a) in &sets {
                for (right, b) in sets.iter().step_by(2) {
                    let outcome = a.compare(condition, width, b);
                    let refined = [false, true].map(|taken| {
                        let (mut a, mut b) = (*a, *b);
                        Scalar::refine(&mut a, &mut b, condition, width, taken);
                        (a, b)
                    });
                    for x in left {
                        for y in right {
                            let taken = holds(condition, width, *x, *y);
                            let what = || format!("{condition:?} {width:?}: {x:#x}, {y:#x}");
                            assert!(outcome != Outcome::Always || taken, "{}", what());
                            assert!(outcome != Outcome::Never || !taken, "{}", what());
                            let (a, b) = &refined[usize::from(taken)];
                            assert!(a.contains(*x) && b.contains(*y), "{}: {a:?} {b:?}", what());
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn deduction_and_extension_lose_nothing() {
    for (set, scalar) in sets() {
        let mut deduced = scalar;
        deduced.deduce();
        for number in &set {
            assert!(deduced.contains(*number), "{number:#x} {scalar:?} {deduced:?}");
            assert!(!deduced.is_contradiction());
            for bytes in [1u8, 2, 4] {
                let shift = 64 - 8 * u32::from(bytes);
                let mut zero = scalar;
                zero.zero_extend(bytes);
                assert!(zero.contains(number << shift >> shift));
                let signed = ((number << shift).cast_signed() >> shift).cast_unsigned();
                let mut sign = scalar;
                sign.sign_extend(bytes);
                assert!(sign.contains(signed), "{number:#x} {bytes} {sign:?}");
                let mut low = scalar;
                low.sign_extend_low(bytes);
                assert!(low.contains(u64::from(signed as u32)));
            }
        }
    }
}

#[test]
fn what_is_learned() {
    let mut x = Scalar::UNKNOWN;
    Scalar::refine(&mut x, &mut Scalar::exactly(8), Condition::Greater, Width::W64, false);
    assert_eq!((x.u64, x.s64), (Bounds::new(0, 8), Bounds::new(0, 8)));
    assert_eq!(x.bits, Tnum { value: 0, mask: 15 });
    x.alu(AluOp::Add, Width::W64, &Scalar::exactly(u64::MAX));
    assert_eq!(x.s64, Bounds::new(-1, 7));
    let mut byte = Scalar::of_bytes(1);
    byte.alu(AluOp::Lsh, Width::W64, &Scalar::exactly(2));
    assert_eq!((byte.u64, byte.bits.mask), (Bounds::new(0, 1020), 0x3fc));
    // Only 0 is both; the kernel takes the bounds of the lower half.
    let mut negative = Scalar::ZERO;
    negative.alu(AluOp::Sub, Width::W64, &Scalar::of_bytes(4));
    let mut limit = Scalar::exactly(42);
    Scalar::refine(&mut negative, &mut limit, Condition::Greater, Width::W64, false);
    assert_eq!((negative.u64, negative.s64), (Bounds::new(0, 42), Bounds::new(0, 42)));
}
