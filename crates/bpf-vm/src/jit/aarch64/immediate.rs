//! Which numbers fit into instructions, and in which form.

use bpf_isa::Width;

/// The twelve bits of an addition, and whether they are shifted by as many.
pub(super) fn sum(value: u64) -> Option<(u32, bool)> {
    match value {
        0..0x1000 => Some((value as u32, false)),
        _ if value & 0xfff == 0 && value < 1 << 24 => Some(((value >> 12) as u32, true)),
        _ => None,
    }
}

/// The fields `N`, `immr` and `imms` of logical operations, side by side: numbers that repeat one
/// run of ones, turned by any distance, in elements of 2 to 64 bits.
pub(super) fn mask(width: Width, value: u64) -> Option<u32> {
    let value = match width {
        Width::W64 => value,
        Width::W32 => value & 0xffff_ffff | value << 32,
    };
    if value == 0 || value == u64::MAX {
        return None;
    }
    let mut size = 64;
    while size > 2 && value.rotate_right(size / 2) == value {
        size /= 2;
    }
    // That is the smallest element: whatever repeats after half of it was halved.
    let element = value & u64::MAX >> (64 - size);
    let ones = element.count_ones();
    // Where the run begins, if it is one.
    let turn = match element.trailing_zeros() {
        0 => (size - (element << (64 - size)).leading_ones()) % size,
        zeros => zeros,
    };
    let turned = element >> turn | element << ((size - turn) % 64);
    if turned & u64::MAX >> (64 - size) != u64::MAX >> (64 - ones) {
        return None;
    }
    let right = (size - turn) % size;
    let lengths = (!(size - 1) << 1 | (ones - 1)) & 0x3f;
    Some(u32::from(size == 64) << 12 | right << 6 | lengths)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number that the fields stand for, from the architecture's description of them.
    fn value(fields: u32) -> u64 {
        let (n, right, lengths) = (fields >> 12, fields >> 6 & 63, fields & 63);
        let size = 1 << (31 - (n << 6 | !lengths & 63).leading_zeros());
        let ones = (lengths & (size - 1)) + 1;
        let run = u64::MAX >> (64 - ones);
        let at = |bit: u32| run >> ((bit + right) % size) & 1;
        (0..64).map(|bit| at(bit % size) << bit).sum()
    }

    #[test]
    fn masks_stand_for_their_numbers() {
        let mut count = 0;
        for size in [2, 4, 8, 16, 32, 64] {
            for ones in 1..size {
                for turn in 0..size {
                    let run = u64::MAX >> (64 - ones);
                    let one = |bit: u32| run >> ((bit + turn) % size) & 1;
                    let number = (0..64).map(|bit| one(bit % size) << bit).sum();
                    let fields = mask(Width::W64, number);
                    assert_eq!(fields.map(value), Some(number), "{number:#x}");
                    if size < 64 {
                        let half = mask(Width::W32, number & 0xffff_ffff);
                        assert_eq!(half, fields, "{number:#x}");
                    }
                    count += 1;
                }
            }
        }
        // As many as there are.
        assert_eq!(count, 5334);
        for number in [0, u64::MAX, 5, 0x1234, 0xffff_0001_ffff_0000, 0x8000_0000_0000_0002] {
            assert_eq!(mask(Width::W64, number), None, "{number:#x}");
        }
        assert_eq!(mask(Width::W32, 0xffff_ffff), None);
        assert!(mask(Width::W64, 0xffff_ffff).is_some());
    }

    #[test]
    fn sums() {
        let table = [
            (0, Some((0, false))),
            (4095, Some((4095, false))),
            (4096, Some((1, true))),
            (4097, None),
            (0xff_f000, Some((4095, true))),
            (0x100_0000, None),
        ];
        for (number, expected) in table {
            assert_eq!(sum(number), expected, "{number:#x}");
        }
    }
}
