//! Random numbers from a seed: the same on every machine, today and tomorrow.

/// xoshiro256** by Blackman and Vigna, seeded by splitmix64.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut seed = seed;
        let mut next = || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = seed;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        Self { state: [next(), next(), next(), next()] }
    }

    pub fn number(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// Below `limit`, which isn't 0; the tiny bias doesn't matter here.
    pub fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.number()) * limit as u128) >> 64) as usize
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = high.abs_diff(low) as usize;
        low.wrapping_add(self.below(span.saturating_add(1)) as i64)
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// `list` isn't empty.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// A number of the sorts at which arithmetic goes wrong: small, near a power of two, the ends.
    pub fn interesting(&mut self) -> u64 {
        match self.below(8) {
            0..3 => self.between(-8, 64).cast_unsigned(),
            3 => {
                let near = self.between(-2, 2);
                (1u64 << self.below(64)).wrapping_add_signed(near)
            }
            4 => u64::MAX.wrapping_shl(self.below(64) as u32),
            5 => self.pick(&[i32::MAX as u64, u32::MAX.into(), i64::MAX as u64, u64::MAX]),
            6 => self.number() & 0xffff_ffff,
            _ => self.number(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            [random.number(), random.number(), random.number()]
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }

    #[test]
    fn numbers_keep_to_their_bounds() {
        let mut random = Random::new(1);
        for _ in 0..10_000 {
            assert!(random.below(3) < 3);
            assert!((-2..=5).contains(&random.between(-2, 5)));
        }
        assert_eq!(random.between(i64::MAX, i64::MAX), i64::MAX);
    }
}
