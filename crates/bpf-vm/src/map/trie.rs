//! Longest-prefix match: a binary trie with compressed paths.
//!
//! Look-ups take no lock: they note the sequence number that writers make odd while they change
//! links, and begin again if it has moved. Keys are `struct bpf_lpm_trie_key_u8`: four bytes of
//! prefix length in the host's order, then the data, most significant bit first.

use std::collections::VecDeque;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::hash::Existing;
use crate::errno::Errno;
use crate::slab::Slab;

/// Words of a node: the two children (index and one), prefix length and whether it is only a fork,
/// then the data.
const CHILDREN: usize = 0;
const LENGTH: usize = 1;
const DATA: usize = 2;

const FORK: u64 = 1 << 32;

/// Words of the longest data: 256 bytes.
const WORDS: usize = 32;

#[derive(Debug)]
pub(crate) struct Trie {
    data_size: usize,
    node_words: usize,
    nodes: Slab,
    root: AtomicU32,
    sequence: AtomicU64,
    max_entries: u32,
    writer: Mutex<Writer>,
}

#[derive(Debug, Default)]
struct Writer {
    count: u32,
    fresh: u32,
    /// The longest free first: a program may still write to an entry that it has found and another
    /// has removed, and the kernel gives the memory away only when no program can have it any more.
    free: VecDeque<u32>,
}

impl Trie {
    pub fn new(key_size: u32, max_entries: u32) -> Result<Self, Errno> {
        let data_size = key_size as usize - 4;
        let node_words = DATA + data_size.div_ceil(8);
        let capacity = Self::capacity_for(max_entries)?;
        Ok(Self {
            data_size,
            node_words,
            nodes: Slab::new(u64::from(capacity) * node_words as u64 * 8)?,
            root: AtomicU32::new(0),
            sequence: AtomicU64::new(0),
            max_entries,
            writer: Mutex::default(),
        })
    }

    /// Each entry may need a fork, and an insertion takes place before a removal.
    fn capacity_for(max_entries: u32) -> Result<u32, Errno> {
        let capacity = max_entries.checked_mul(2).and_then(|twice| twice.checked_add(2));
        capacity.ok_or(Errno::ENOMEM)
    }

    pub fn capacity(&self) -> u32 {
        self.max_entries * 2 + 2
    }

    pub fn overhead(&self) -> usize {
        self.node_words * 8
    }

    pub fn len(&self) -> u32 {
        self.lock().count
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn word(&self, index: u32, word: usize) -> &AtomicU64 {
        &self.nodes.words()[index as usize * self.node_words + word]
    }

    fn child(&self, index: u32, bit: bool) -> Option<u32> {
        let children = self.word(index, CHILDREN).load(Acquire);
        (if bit { (children >> 32) as u32 } else { children as u32 }).checked_sub(1)
    }

    fn prefix_length(&self, index: u32) -> u32 {
        self.word(index, LENGTH).load(Relaxed) as u32
    }

    fn is_fork(&self, index: u32) -> bool {
        self.word(index, LENGTH).load(Relaxed) & FORK != 0
    }

    /// The words of a key's data, most significant bit first.
    fn split<'k>(&self, key: &'k [u8]) -> Option<(u32, &'k [u8])> {
        let (length, data) = key.split_first_chunk()?;
        let length = u32::from_ne_bytes(*length);
        let fits = data.len() == self.data_size && length <= self.data_size as u32 * 8;
        fits.then_some((length, data))
    }

    /// How many bits the node's prefix and the key's have in common.
    #[inline]
    fn common(&self, index: u32, length: u32, data: &[u8]) -> u32 {
        let limit = length.min(self.prefix_length(index));
        let mut bits = 0;
        for (number, bytes) in data.chunks(8).enumerate() {
            let different = big_word(bytes) ^ self.word(index, DATA + number).load(Relaxed);
            bits += different.leading_zeros();
            if different != 0 || bits >= limit {
                break;
            }
        }
        bits.min(limit)
    }

    /// The entry with the longest prefix of the key.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<u32> {
        let (length, data) = self.split(key)?;
        if self.node_words == DATA + 1 {
            let word = big_word(data);
            return self.undisturbed(|| self.descend_one(length, word));
        }
        let mut words = [0; WORDS];
        let words = &mut words[..self.node_words - DATA];
        for (word, bytes) in words.iter_mut().zip(data.chunks(8)) {
            *word = big_word(bytes);
        }
        self.undisturbed(|| self.descend(length, words))
    }

    /// What is found while no writer is at work.
    #[inline]
    fn undisturbed(&self, find: impl Fn() -> Option<u32>) -> Option<u32> {
        loop {
            let before = self.sequence.load(Acquire);
            let found = find();
            fence(Acquire);
            if before & 1 == 0 && self.sequence.load(Relaxed) == before {
                return found;
            }
            std::hint::spin_loop();
        }
    }

    /// As [`Self::descend`], for data of one word.
    #[inline]
    fn descend_one(&self, length: u32, key: u64) -> Option<u32> {
        let nodes = self.nodes.words();
        let mut found = 0u32;
        let mut link = self.root.load(Acquire);
        for _ in 0..=u64::BITS {
            let Some(index) = link.checked_sub(1) else { break };
            let start = index as usize * (DATA + 1);
            let words = &nodes[start..start + DATA + 1];
            let kind = words[LENGTH].load(Relaxed);
            let own = kind as u32;
            let beyond = u64::MAX.checked_shr(own).unwrap_or_default();
            if own > length || (key ^ words[DATA].load(Relaxed)) & !beyond != 0 {
                break;
            }
            if kind & FORK == 0 {
                found = link;
            }
            if own == length {
                break;
            }
            let side = key >> (u64::BITS - 1 - own) & 1;
            link = (words[CHILDREN].load(Acquire) >> (32 * side)) as u32;
        }
        found.checked_sub(1)
    }

    #[inline]
    fn descend(&self, length: u32, key: &[u64]) -> Option<u32> {
        let mut found = None;
        let mut node = self.root.load(Acquire).checked_sub(1);
        // Words that are known to be equal: a node shares its parent's prefix.
        let mut equal = 0;
        // A prefix grows with every step; if it doesn't, a writer is at work.
        for _ in 0..=self.data_size * 8 {
            let Some(index) = node else { break };
            let start = index as usize * self.node_words;
            let words = &self.nodes.words()[start..start + self.node_words];
            let kind = words[LENGTH].load(Relaxed);
            let own = kind as u32;
            if own > length {
                break;
            }
            let (whole, rest) = (own as usize / 64, own % 64);
            let held = |number: usize| words.get(DATA + number).map_or(0, |w| w.load(Relaxed));
            let same = (equal..whole).all(|number| key.get(number) == Some(&held(number)));
            let mask = !(u64::MAX >> rest);
            let part = key.get(whole).map_or(0, |word| (word ^ held(whole)) & mask);
            if !same || part != 0 {
                break;
            }
            equal = whole;
            if kind & FORK == 0 {
                found = Some(index);
            }
            if own == length {
                break;
            }
            let bit = key.get(whole).is_some_and(|word| word >> (63 - rest) & 1 != 0);
            let children = words[CHILDREN].load(Acquire);
            let child = if bit { (children >> 32) as u32 } else { children as u32 };
            node = child.checked_sub(1);
        }
        found
    }

    /// The entry of exactly this prefix, and its parents.
    fn locate(&self, length: u32, data: &[u8]) -> Vec<u32> {
        let mut path = Vec::new();
        let mut node = self.root.load(Relaxed).checked_sub(1);
        while let Some(index) = node {
            path.push(index);
            let own = self.prefix_length(index);
            if self.common(index, length, data) < own || own >= length {
                break;
            }
            node = self.child(index, bit(data, own));
        }
        path
    }

    fn set_child(&self, parent: Option<u32>, side: bool, child: Option<u32>) {
        let link = child.map_or(0, |child| child + 1);
        match parent {
            None => self.root.store(link, Release),
            Some(parent) => {
                let word = self.word(parent, CHILDREN);
                let children = word.load(Relaxed);
                let changed = match side {
                    false => children & !u64::from(u32::MAX) | u64::from(link),
                    true => children & u64::from(u32::MAX) | u64::from(link) << 32,
                };
                word.store(changed, Release);
            }
        }
    }

    fn take(&self, writer: &mut Writer) -> Result<u32, Errno> {
        if writer.fresh < self.capacity() {
            writer.fresh += 1;
            return Ok(writer.fresh - 1);
        }
        writer.free.pop_front().ok_or(Errno::ENOMEM)
    }

    fn fill(&self, index: u32, length: u64, data: &[u8]) {
        self.word(index, CHILDREN).store(0, Relaxed);
        self.word(index, LENGTH).store(length, Relaxed);
        for (number, bytes) in data.chunks(8).enumerate() {
            self.word(index, DATA + number).store(big_word(bytes), Relaxed);
        }
    }

    /// Runs a change of links; readers that saw part of it begin again.
    fn publish(&self, change: impl FnOnce()) {
        self.sequence.fetch_add(1, Relaxed);
        fence(Release);
        change();
        self.sequence.fetch_add(1, Release);
    }

    /// Inserts or replaces; `write` fills the value of the element, of which nobody knows yet.
    pub fn update(
        &self,
        key: &[u8],
        flags: Existing,
        write: impl FnOnce(u32),
    ) -> Result<(), Errno> {
        let (length, data) = self.split(key).ok_or(Errno::EINVAL)?;
        let mut writer = self.lock();
        let path = self.locate(length, data);
        let last = path.last().copied();
        let common = last.map_or(0, |last| self.common(last, length, data));
        let own = last.map_or(0, |last| self.prefix_length(last));
        let same = last.filter(|_| own == length && common == length);
        let entry = same.filter(|same| !self.is_fork(*same));
        match (entry, flags) {
            (Some(_), Existing::MustNot) => return Err(Errno::EEXIST),
            (None, Existing::Must) => return Err(Errno::ENOENT),
            (None, _) if writer.count == self.max_entries => return Err(Errno::ENOSPC),
            _ => {}
        }
        let new = self.take(&mut writer)?;
        self.fill(new, length.into(), data);
        write(new);
        let parent = |depth: usize| path.len().checked_sub(depth).map(|at| path[at]);
        if let Some(same) = same {
            // In its place.
            let children = self.word(same, CHILDREN).load(Relaxed);
            self.word(new, CHILDREN).store(children, Relaxed);
            let above = parent(2);
            self.publish(|| {
                self.set_child(
                    above,
                    above.is_some_and(|p| bit(data, self.prefix_length(p))),
                    Some(new),
                )
            });
            writer.free.push_back(same);
            writer.count += u32::from(entry.is_none());
            return Ok(());
        }
        match last {
            // Below it, where nothing is yet.
            Some(last) if common == own => {
                self.publish(|| self.set_child(Some(last), bit(data, own), Some(new)));
            }
            None => self.publish(|| self.set_child(None, false, Some(new))),
            // Between it and its parent, with a fork if both go on.
            Some(last) => {
                let above = parent(2);
                let side = above.is_some_and(|p| bit(data, self.prefix_length(p)));
                if common == length {
                    self.set_child(Some(new), self.node_bit(last, length), Some(last));
                    self.publish(|| self.set_child(above, side, Some(new)));
                } else {
                    let fork = match self.take(&mut writer) {
                        Ok(fork) => fork,
                        Err(error) => {
                            writer.free.push_back(new);
                            return Err(error);
                        }
                    };
                    self.fill(fork, u64::from(common) | FORK, data);
                    self.set_child(Some(fork), bit(data, common), Some(new));
                    self.set_child(Some(fork), !bit(data, common), Some(last));
                    self.publish(|| self.set_child(above, side, Some(fork)));
                }
            }
        }
        writer.count += 1;
        Ok(())
    }

    fn node_bit(&self, index: u32, at: u32) -> bool {
        let word = self.word(index, DATA + at as usize / 64).load(Relaxed);
        word >> (63 - at % 64) & 1 != 0
    }

    pub fn remove(&self, key: &[u8]) -> Result<(), Errno> {
        let (length, data) = self.split(key).ok_or(Errno::EINVAL)?;
        let mut writer = self.lock();
        let path = self.locate(length, data);
        let index = path.last().copied().filter(|last| {
            let exact = self.prefix_length(*last) == length;
            exact && self.common(*last, length, data) == length && !self.is_fork(*last)
        });
        let index = index.ok_or(Errno::ENOENT)?;
        writer.count -= 1;
        let above = path.len().checked_sub(2).map(|at| path[at]);
        let side = |parent: Option<u32>| parent.is_some_and(|p| bit(data, self.prefix_length(p)));
        match (self.child(index, false), self.child(index, true)) {
            (Some(_), Some(_)) => {
                let fork = u64::from(length) | FORK;
                self.publish(|| self.word(index, LENGTH).store(fork, Relaxed));
                return Ok(());
            }
            (Some(child), None) | (None, Some(child)) => {
                self.publish(|| self.set_child(above, side(above), Some(child)));
            }
            (None, None) => match above.filter(|above| self.is_fork(*above)) {
                // A fork with one way left is none.
                Some(fork) => {
                    let other = self.child(fork, !bit(data, self.prefix_length(fork)));
                    let over = path.len().checked_sub(3).map(|at| path[at]);
                    self.publish(|| self.set_child(over, side(over), other));
                    writer.free.push_back(fork);
                }
                None => self.publish(|| self.set_child(above, side(above), None)),
            },
        }
        writer.free.push_back(index);
        Ok(())
    }

    /// Entries in the order in which the kernel lists them: what lies below before what covers it.
    pub fn keys(&self) -> Vec<(Vec<u8>, u32)> {
        let _writer = self.lock();
        let mut keys = Vec::new();
        self.list(self.root.load(Relaxed).checked_sub(1), &mut keys);
        keys
    }

    fn list(&self, node: Option<u32>, keys: &mut Vec<(Vec<u8>, u32)>) {
        let Some(index) = node else { return };
        self.list(self.child(index, false), keys);
        self.list(self.child(index, true), keys);
        if !self.is_fork(index) {
            keys.push((self.key(index), index));
        }
    }

    fn key(&self, index: u32) -> Vec<u8> {
        let mut key = self.prefix_length(index).to_ne_bytes().to_vec();
        for number in 0..self.node_words - DATA {
            key.extend(self.word(index, DATA + number).load(Relaxed).to_be_bytes());
        }
        key.truncate(4 + self.data_size);
        key
    }

    /// The key behind another, or the first; a key that isn't there is followed by the first.
    pub fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        // Entries keep what lies behind their prefix, which doesn't count.
        let same = |held: &[u8]| {
            let (length, data) = key.and_then(|key| self.split(key))?;
            let (held_length, held_data) = self.split(held)?;
            (length == held_length && common_bits(data, held_data) >= length).then_some(())
        };
        let keys = self.keys();
        let at = keys.iter().position(|(held, _)| same(held).is_some()).map_or(0, |at| at + 1);
        keys.into_iter().nth(at).map(|(key, _)| key).ok_or(Errno::ENOENT)
    }
}

fn common_bits(a: &[u8], b: &[u8]) -> u32 {
    let mut bits = 0;
    for (a, b) in a.iter().zip(b) {
        bits += (a ^ b).leading_zeros();
        if a != b {
            break;
        }
    }
    bits
}

fn big_word(bytes: &[u8]) -> u64 {
    match *bytes {
        [a, b, c, d] => u64::from(u32::from_be_bytes([a, b, c, d])) << 32,
        [a, b, c, d, e, f, g, h] => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            u64::from_be_bytes(word)
        }
    }
}

/// Behind the last bit nothing is set.
fn bit(data: &[u8], at: u32) -> bool {
    data.get(at as usize / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 != 0)
}
