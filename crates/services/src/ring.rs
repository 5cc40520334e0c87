//! Which blocks of map `ring` are free.

use abi::service::{RING_BLOCK, RingBlock};
use std::collections::BTreeMap;

/// Runs of free blocks, first fit.
#[derive(Clone, Debug)]
pub(crate) struct RingAllocator {
    /// Start to length; runs never touch.
    free: BTreeMap<u32, u32>,
    /// Given back, but the kernel may still look there until the change at hand is applied.
    released: Vec<(u32, u32)>,
    pub used: u32,
}

impl RingAllocator {
    pub fn new(blocks: u32) -> Self {
        RingAllocator { free: BTreeMap::from([(0, blocks)]), released: Vec::new(), used: 0 }
    }

    pub fn allocate(&mut self, blocks: u32) -> Option<u32> {
        if blocks == 0 {
            return Some(0);
        }
        let (&start, &length) = self.free.iter().find(|(_, length)| **length >= blocks)?;
        self.free.remove(&start);
        if length > blocks {
            self.free.insert(start + blocks, length - blocks);
        }
        self.used += blocks;
        Some(start)
    }

    /// Takes exactly these blocks; false if they are not all free.
    pub fn claim(&mut self, start: u32, blocks: u32) -> bool {
        if blocks == 0 {
            return true;
        }
        let Some((&run, &length)) = self.free.range(..=start).next_back() else { return false };
        let (run_end, Some(end)) = (run + length, start.checked_add(blocks)) else { return false };
        if end > run_end {
            return false;
        }
        self.free.remove(&run);
        if run < start {
            self.free.insert(run, start - run);
        }
        if end < run_end {
            self.free.insert(end, run_end - end);
        }
        self.used += blocks;
        true
    }

    /// The blocks can be used again after [`reclaim`](Self::reclaim).
    pub fn release(&mut self, start: u32, blocks: u32) {
        if blocks > 0 {
            self.released.push((start, blocks));
        }
    }

    pub fn reclaim(&mut self) {
        for (mut start, mut length) in std::mem::take(&mut self.released) {
            self.used -= length;
            if let Some(next) = self.free.remove(&(start + length)) {
                length += next;
            }
            if let Some((&before, &before_length)) = self.free.range(..start).next_back()
                && before + before_length == start
            {
                self.free.remove(&before);
                start = before;
                length += before_length;
            }
            self.free.insert(start, length);
        }
    }
}

pub(crate) fn blocks_for(slots: usize) -> u32 {
    slots.div_ceil(RING_BLOCK) as u32
}

/// Cut into blocks; what is left of the last is 0.
pub(crate) fn cut(slots: &[u32]) -> impl Iterator<Item = RingBlock> {
    slots.chunks(RING_BLOCK).map(|chunk| {
        let mut backends = [0; RING_BLOCK];
        backends[..chunk.len()].copy_from_slice(chunk);
        RingBlock { backends }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_after_reclaim_only() {
        let mut ring = RingAllocator::new(10);
        assert_eq!(ring.allocate(4), Some(0));
        assert_eq!(ring.allocate(6), Some(4));
        assert_eq!(ring.allocate(1), None);
        ring.release(0, 4);
        assert_eq!(ring.allocate(1), None);
        ring.reclaim();
        assert_eq!(ring.allocate(1), Some(0));
        ring.release(4, 6);
        ring.reclaim();
        assert_eq!(ring.allocate(9), Some(1));
        assert_eq!(ring.used, 10);
    }

    #[test]
    fn claims() {
        let mut ring = RingAllocator::new(10);
        assert!(ring.claim(3, 2));
        assert!(!ring.claim(4, 1));
        assert!(!ring.claim(8, 3));
        assert!(!ring.claim(u32::MAX, 2));
        assert_eq!(ring.allocate(4), Some(5));
        assert_eq!(ring.allocate(3), Some(0));
        assert_eq!(ring.free, BTreeMap::from([(9, 1)]));
    }

    #[test]
    fn cutting() {
        let slots: Vec<u32> = (1..=33).collect();
        let blocks: Vec<_> = cut(&slots).collect();
        assert_eq!(blocks.len() as u32, blocks_for(33));
        assert_eq!(blocks[1].backends[..2], [33, 0]);
    }
}
