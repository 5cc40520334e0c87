//! What constants of programs are hidden behind.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};

/// Numbers that nobody can foresee, to hide constants behind.
#[derive(Clone, Debug)]
pub(crate) struct Keys(u64);

impl Keys {
    pub fn new() -> Self {
        // Each of these states has keys of its own, from the system's random numbers.
        Self(RandomState::new().build_hasher().finish() | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
