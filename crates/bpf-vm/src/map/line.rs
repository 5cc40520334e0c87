//! Queues, stacks and bloom filters: values without keys.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::update;
use crate::errno::Errno;
use crate::slab::Slab;

/// A queue, or a stack if the last comes out first.
#[derive(Debug)]
pub(crate) struct Line {
    values: Mutex<VecDeque<Box<[u8]>>>,
    max_entries: usize,
    last_first: bool,
}

impl Line {
    pub fn new(max_entries: u32, last_first: bool) -> Self {
        Self { values: Mutex::default(), max_entries: max_entries as usize, last_first }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Box<[u8]>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn len(&self) -> u32 {
        self.lock().len() as u32
    }

    pub fn push(&self, value: &[u8], flags: u64) -> Result<(), Errno> {
        if flags & update::NOEXIST != 0 || flags > update::EXIST {
            return Err(Errno::EINVAL);
        }
        let mut values = self.lock();
        if values.len() == self.max_entries {
            // The oldest goes.
            if flags & update::EXIST == 0 {
                return Err(Errno::E2BIG);
            }
            values.pop_front();
        }
        values.push_back(value.into());
        Ok(())
    }

    pub fn take(&self, remove: bool) -> Result<Vec<u8>, Errno> {
        let mut values = self.lock();
        let value = match (self.last_first, remove) {
            (true, true) => values.pop_back(),
            (false, true) => values.pop_front(),
            (true, false) => values.back().cloned(),
            (false, false) => values.front().cloned(),
        };
        value.map(Vec::from).ok_or(Errno::ENOENT)
    }
}

/// Says of a value that it may have been pushed, or that it was not.
#[derive(Debug)]
pub(crate) struct Bloom {
    bits: Slab,
    mask: u64,
    hashes: u32,
    seed: RandomState,
}

impl Bloom {
    /// The size is the kernel's: `max_entries * hashes / ln 2`, to the next power of two.
    pub fn new(max_entries: u32, extra: u64) -> Result<Self, Errno> {
        let hashes = if extra == 0 { 5 } else { extra as u32 };
        let bits = (u64::from(max_entries) * u64::from(hashes) / 5 * 7).max(64);
        let bits = bits.checked_next_power_of_two().filter(|bits| *bits <= 1 << 32);
        let bits = bits.unwrap_or(1 << 32);
        Ok(Self { bits: Slab::new(bits / 8)?, mask: bits - 1, hashes, seed: RandomState::new() })
    }

    fn places(&self, value: &[u8]) -> impl Iterator<Item = u64> {
        let mut hasher = self.seed.build_hasher();
        hasher.write(value);
        let hash = hasher.finish();
        // As many independent ones as are needed from two halves.
        let step = hash >> 32 | 1;
        (0..u64::from(self.hashes))
            .map(move |number| hash.wrapping_add(number.wrapping_mul(step)) & self.mask)
    }

    fn word(&self, place: u64) -> (&AtomicU64, u64) {
        (&self.bits.words()[place as usize / 64], 1 << (place % 64))
    }

    pub fn push(&self, value: &[u8], flags: u64) -> Result<(), Errno> {
        if flags != update::ANY {
            return Err(Errno::EINVAL);
        }
        for place in self.places(value) {
            let (word, bit) = self.word(place);
            word.fetch_or(bit, Relaxed);
        }
        Ok(())
    }

    pub fn peek(&self, value: &[u8]) -> Result<(), Errno> {
        let is_set = |place| {
            let (word, bit) = self.word(place);
            word.load(Relaxed) & bit != 0
        };
        if self.places(value).all(is_set) { Ok(()) } else { Err(Errno::ENOENT) }
    }
}
