//! Room for rings in map `lb_rings`: runs of blocks, first fit.

use abi::balancer::RING_BLOCK;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub struct Blocks {
    /// First block and length of what is free; no two runs touch.
    free: BTreeMap<u32, u32>,
    capacity: u32,
}

/// Blocks that a ring of so many slots takes.
pub fn blocks_of(slots: usize) -> u32 {
    slots.div_ceil(RING_BLOCK) as u32
}

impl Blocks {
    pub fn new(capacity: u32) -> Self {
        let free = BTreeMap::from_iter((capacity > 0).then_some((0, capacity)));
        Blocks { free, capacity }
    }

    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    pub fn used(&self) -> u32 {
        self.capacity - self.free.values().sum::<u32>()
    }

    /// The first of `length` blocks in a row.
    pub fn take(&mut self, length: u32) -> Option<u32> {
        let (&first, &run) = self.free.iter().find(|(_, run)| **run >= length)?;
        self.free.remove(&first);
        if run > length {
            self.free.insert(first + length, run - length);
        }
        Some(first)
    }

    /// Takes exactly these blocks, which an earlier agent took; false if they aren't all free.
    pub fn take_at(&mut self, first: u32, length: u32) -> bool {
        let Some((&start, &run)) = self.free.range(..=first).next_back() else { return false };
        let (Some(end), run_end) = (first.checked_add(length), start + run) else { return false };
        if end > run_end {
            return false;
        }
        self.free.remove(&start);
        if first > start {
            self.free.insert(start, first - start);
        }
        if run_end > end {
            self.free.insert(end, run_end - end);
        }
        true
    }

    pub fn give_back(&mut self, first: u32, length: u32) {
        let (mut start, mut end) = (first, first + length);
        if let Some((&before, &run)) = self.free.range(..first).next_back()
            && before + run == first
        {
            self.free.remove(&before);
            start = before;
        }
        if let Some(run) = self.free.remove(&end) {
            end += run;
        }
        self.free.insert(start, end - start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_again() {
        let mut blocks = Blocks::new(10);
        assert_eq!(blocks.take(3), Some(0));
        assert_eq!(blocks.take(3), Some(3));
        assert_eq!(blocks.take(5), None);
        blocks.give_back(0, 3);
        assert!(!blocks.take_at(2, 2));
        assert!(blocks.take_at(1, 2));
        assert_eq!(blocks.used(), 5);
        blocks.give_back(3, 3);
        blocks.give_back(1, 2);
        assert_eq!(blocks.free, BTreeMap::from([(0, 10)]));
        assert_eq!(blocks.take(10), Some(0));
        assert_eq!(blocks.take(1), None);
    }

    #[test]
    fn rings_take_whole_blocks() {
        assert_eq!(blocks_of(0), 0);
        assert_eq!(blocks_of(512), 1);
        assert_eq!(blocks_of(65_537), 129);
    }
}
