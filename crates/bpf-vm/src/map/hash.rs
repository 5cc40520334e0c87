//! Hash tables: plain, per CPU, and those that drop what was used least recently.
//!
//! Look-ups take no lock. Elements lie in slabs and are chained by index; a chain's last link
//! names its bucket. A reader whose element is taken out and put into another chain notices it and
//! begins again; see `walk`. Writers lock a stripe of buckets. As in the kernel, an element that is replaced or deleted may
//! be used again at once, also while a program still holds a pointer to its value.

use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
    fence,
};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::errno::Errno;
use crate::slab::Slab;

/// A link is 0 (of an empty bucket), an index and one, or this with the number of the bucket.
const END: u32 = 1 << 31;

/// The link of an element that is in no chain.
const NOWHERE: u64 = u32::MAX as u64;

const STRIPES: u32 = 256;

/// States of elements, as far as eviction needs them.
const FREE: u8 = 0;
const USED: u8 = 1;
const REFERENCED: u8 = 2;

#[derive(Debug)]
pub(crate) struct Hash {
    key_size: usize,
    /// Words of a node: link and hash, then the key.
    node_words: usize,
    nodes: Slab,
    buckets: Slab,
    bucket_mask: u32,
    /// Each lock holds an element that it keeps for who replaces next, index and one.
    stripes: Box<[Mutex<u32>]>,
    seed: u64,
    max_entries: u32,
    capacity: u32,
    count: AtomicU32,
    /// How many elements were ever used.
    fresh: AtomicU32,
    /// The first free element, and how often that was changed.
    free: AtomicU64,
    free_next: Slab,
    eviction: Option<Eviction>,
}

/// A second chance for what was looked up since the hand last came by.
#[derive(Debug)]
struct Eviction {
    states: Slab,
    hand: AtomicU32,
}

impl Hash {
    /// An entry may be inserted if there is none of its key, replaced if there is one.
    pub fn new(key_size: u32, max_entries: u32, evicts: bool) -> Result<Self, Errno> {
        let buckets = max_entries.checked_next_power_of_two().ok_or(Errno::E2BIG)?;
        let stripes = buckets.min(STRIPES);
        // Whoever replaces holds two elements for a moment.
        let capacity = if evicts { max_entries } else { max_entries.saturating_add(stripes) };
        if capacity >= END {
            return Err(Errno::E2BIG);
        }
        let node_words = 1 + (key_size as usize).div_ceil(8);
        let eviction = match evicts {
            true => Some(Eviction { states: Slab::new(capacity.into())?, hand: AtomicU32::new(0) }),
            false => None,
        };
        Ok(Self {
            key_size: key_size as usize,
            node_words,
            nodes: Slab::new(u64::from(capacity) * node_words as u64 * 8)?,
            buckets: Slab::new(u64::from(buckets) * 4)?,
            bucket_mask: buckets - 1,
            stripes: (0..stripes).map(|_| Mutex::new(0)).collect(),
            seed: RandomState::new().hash_one(0u8) | 1,
            max_entries,
            capacity,
            count: AtomicU32::new(0),
            fresh: AtomicU32::new(0),
            free: AtomicU64::new(0),
            free_next: Slab::new(u64::from(capacity) * 4)?,
            eviction,
        })
    }

    /// How many elements the values must have room for.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    pub fn len(&self) -> u32 {
        self.count.load(Relaxed)
    }

    /// Bytes for one entry, without its value.
    pub fn overhead(&self) -> usize {
        // Bucket, next of the free list, state.
        self.node_words * 8 + 4 + 4 + usize::from(self.eviction.is_some())
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> u32 {
        // All keys have the same length, so that it needn't be part.
        let state = key.chunks(8).fold(self.seed, |state, word| fold(state ^ tail(word)));
        (state ^ state >> 32) as u32
    }

    fn write_key(&self, node: usize, key: &[u8]) {
        // Whoever sees the new key sees that the element has left its former chain.
        fence(Release);
        let nodes = &self.nodes.words()[node + 1..node + self.node_words];
        for (word, held) in key.chunks(8).zip(nodes) {
            held.store(tail(word), Relaxed);
        }
    }

    /// The key of an element; its bucket is locked, or the element may be another by now.
    pub fn key(&self, index: u32, into: &mut [u8]) {
        let node = index as usize * self.node_words;
        let nodes = &self.nodes.words()[node + 1..node + self.node_words];
        for (bytes, held) in into.chunks_mut(8).zip(nodes) {
            bytes.copy_from_slice(&held.load(Relaxed).to_le_bytes()[..bytes.len()]);
        }
    }

    fn link_of(&self, index: u32) -> &AtomicU64 {
        &self.nodes.words()[index as usize * self.node_words]
    }

    fn bucket(&self, hash: u32) -> u32 {
        hash & self.bucket_mask
    }

    fn lock(&self, bucket: u32) -> MutexGuard<'_, u32> {
        // As many as a power of two.
        let stripe = bucket as usize & (self.stripes.len() - 1);
        // Nothing panics in between that would leave a chain broken.
        self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index of the element with this key.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<u32> {
        if key.len() != self.key_size {
            return None;
        }
        match *key {
            [a, b, c, d] => self.find_words([u32::from_le_bytes([a, b, c, d]).into()]),
            [a, b, c, d, e, f, g, h] => {
                self.find_words([u64::from_le_bytes([a, b, c, d, e, f, g, h])])
            }
            _ => match key.as_chunks().0 {
                [first, second] if key.len() == 16 => {
                    self.find_words([u64::from_le_bytes(*first), u64::from_le_bytes(*second)])
                }
                _ => self.find_hashed(key, self.hash(key)),
            },
        }
    }

    /// As [`Self::find_hashed`], for keys of as many words as nodes have room for.
    #[inline(always)]
    pub fn find_words<const WORDS: usize>(&self, key: [u64; WORDS]) -> Option<u32> {
        let state = key.iter().fold(self.seed, |state, word| fold(state ^ word));
        let hash = (state ^ state >> 32) as u32;
        self.walk(hash, WORDS + 1, |node| {
            node.iter().map(|word| word.load(Relaxed)).eq(key.iter().copied())
        })
    }

    #[inline]
    fn find_hashed(&self, key: &[u8], hash: u32) -> Option<u32> {
        self.walk(hash, self.node_words, |node| {
            key.chunks(8).zip(node).all(|(word, held)| tail(word) == held.load(Relaxed))
        })
    }

    /// Goes along a chain without a lock.
    ///
    /// After each step it is looked whether the link that led there is as it was. An element that
    /// leaves its chain loses its link first, so if it is, the element was in the chain, behind the
    /// one before it, when its own link was read: the walk never leaves the chain, and what is in it
    /// all the time is found. (The kernel misses an entry whose replacement comes in at the head
    /// while a reader is on its way: kernel/bpf/hashtab.c, Linux 6.12.)
    #[inline(always)]
    fn walk(
        &self,
        hash: u32,
        node_words: usize,
        has_key: impl Fn(&[AtomicU64]) -> bool,
    ) -> Option<u32> {
        let bucket = self.bucket(hash);
        let nodes = self.nodes.words();
        let head = &self.buckets.halves()[bucket as usize];
        'again: loop {
            let first = head.load(Acquire);
            let mut link = first;
            let mut before: Option<(&AtomicU64, u64)> = None;
            while link & END == 0 {
                let index = link.checked_sub(1)?;
                let node = &nodes[index as usize * node_words..][..node_words];
                let word = node[0].load(Acquire);
                if (word >> 32) as u32 == hash && has_key(&node[1..]) {
                    return Some(index);
                }
                fence(Acquire);
                let is_valid = match before {
                    None => head.load(Relaxed) == first,
                    Some((link, was)) => link.load(Relaxed) == was,
                };
                if !is_valid {
                    continue 'again;
                }
                before = Some((&node[0], word));
                link = word as u32;
            }
            if link & !END == bucket {
                return None;
            }
        }
    }

    /// Marks an element as used of late.
    #[inline]
    pub fn touch(&self, index: u32) {
        if let Some(eviction) = &self.eviction {
            let state = &eviction.states.bytes()[index as usize];
            if state.load(Relaxed) == USED {
                state.store(REFERENCED, Relaxed);
            }
        }
    }

    fn is_end(link: u32) -> bool {
        link == 0 || link & END != 0
    }

    /// Where the link to an element stands, in a locked bucket: `None` is the bucket itself.
    fn predecessor(&self, bucket: u32, index: u32) -> Option<Option<u32>> {
        let mut before = None;
        let mut link = self.buckets.halves()[bucket as usize].load(Relaxed);
        while !Self::is_end(link) {
            if link - 1 == index {
                return Some(before);
            }
            before = Some(link - 1);
            link = self.link_of(link - 1).load(Relaxed) as u32;
        }
        None
    }

    /// The element with this key in a locked bucket, and the one before it.
    fn locate(&self, bucket: u32, hash: u32, key: &[u8]) -> Option<(Option<u32>, u32)> {
        let nodes = self.nodes.words();
        let mut before = None;
        let mut link = self.buckets.halves()[bucket as usize].load(Relaxed);
        while !Self::is_end(link) {
            let index = link - 1;
            let node = &nodes[index as usize * self.node_words..][..self.node_words];
            let word = node[0].load(Relaxed);
            let mut held = key.chunks(8).zip(&node[1..]);
            if (word >> 32) as u32 == hash
                && held.all(|(word, held)| tail(word) == held.load(Relaxed))
            {
                return Some((before, index));
            }
            before = Some(index);
            link = word as u32;
        }
        None
    }

    fn set_link(&self, bucket: u32, before: Option<u32>, link: u32) {
        match before {
            None => self.buckets.halves()[bucket as usize].store(link, Release),
            Some(before) => {
                let word = self.link_of(before);
                let hash = word.load(Relaxed) & !u64::from(u32::MAX);
                word.store(hash | u64::from(link), Release);
            }
        }
    }

    /// Takes an element out of its locked bucket. It isn't free yet.
    fn unlink(&self, bucket: u32, index: u32) -> bool {
        let Some(before) = self.predecessor(bucket, index) else { return false };
        let next = self.link_of(index).load(Relaxed) as u32;
        // An empty bucket's link says nothing of the bucket.
        let next = if before.is_none() && next & END != 0 { 0 } else { next };
        self.set_link(bucket, before, next);
        self.link_of(index).store(NOWHERE, Release);
        if let Some(eviction) = &self.eviction {
            eviction.states.bytes()[index as usize].store(FREE, Relaxed);
        }
        self.count.fetch_sub(1, Relaxed);
        true
    }

    fn take_free(&self) -> Option<u32> {
        let mut head = self.free.load(Acquire);
        loop {
            let Some(index) = (head as u32).checked_sub(1) else {
                let next = |fresh: u32| (fresh < self.capacity).then_some(fresh + 1);
                return self.fresh.fetch_update(Relaxed, Relaxed, next).ok();
            };
            let next = self.free_next.halves()[index as usize].load(Relaxed);
            let changed = ((head >> 32).wrapping_add(1) << 32) | u64::from(next);
            match self.free.compare_exchange_weak(head, changed, AcqRel, Acquire) {
                Ok(_) => return Some(index),
                Err(now) => head = now,
            }
        }
    }

    fn give_free(&self, index: u32) {
        let mut head = self.free.load(Acquire);
        loop {
            self.free_next.halves()[index as usize].store(head as u32, Relaxed);
            let changed = ((head >> 32).wrapping_add(1) << 32) | u64::from(index + 1);
            match self.free.compare_exchange_weak(head, changed, AcqRel, Acquire) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// An element for a new entry of a table that evicts. No bucket is locked.
    fn take_evicting(&self, eviction: &Eviction) -> Result<u32, Errno> {
        if let Some(index) = self.take_free() {
            return Ok(index);
        }
        // Once round to clear the marks, once more to find one without; others may be faster.
        for _ in 0..u64::from(self.capacity) * 3 {
            let index = eviction.hand.fetch_add(1, Relaxed) % self.capacity;
            let state = &eviction.states.bytes()[index as usize];
            match state.load(Relaxed) {
                REFERENCED => state.store(USED, Relaxed),
                USED => {
                    let hash = (self.link_of(index).load(Relaxed) >> 32) as u32;
                    let bucket = self.bucket(hash);
                    let _guard = self.lock(bucket);
                    if state.load(Relaxed) == USED && self.unlink(bucket, index) {
                        return Ok(index);
                    }
                }
                _ => {
                    if let Some(index) = self.take_free() {
                        return Ok(index);
                    }
                }
            }
        }
        Err(Errno::ENOMEM)
    }

    /// Inserts or replaces. `flags` are those of an update without `BPF_F_LOCK`. `write` is given
    /// the element to fill, and the one that it replaces; it runs before anybody can find it.
    pub fn update(
        &self,
        key: &[u8],
        flags: Existing,
        write: impl FnOnce(u32, Option<u32>),
    ) -> Result<Option<u32>, Errno> {
        let hash = self.hash(key);
        let bucket = self.bucket(hash);
        // Eviction locks other buckets, so it comes first, even if nothing will be inserted: as
        // in the kernel.
        let reserved = match &self.eviction {
            Some(eviction) => Some(self.take_evicting(eviction)?),
            None => None,
        };
        let mut spare = self.lock(bucket);
        let located = self.locate(bucket, hash, key);
        let old = located.map(|(_, old)| old);
        let checked = flags.check(old.is_some()).and_then(|()| match (reserved, old) {
            (Some(index), _) => Ok(index),
            (None, Some(_)) if *spare > 0 => Ok(mem::take(&mut *spare) - 1),
            (None, old) => self.take_for(old),
        });
        let index = match checked {
            Ok(index) => index,
            Err(error) => {
                reserved.into_iter().for_each(|index| self.give_free(index));
                return Err(error);
            }
        };
        write(index, old);
        let node = index as usize * self.node_words;
        self.write_key(node, key);
        let (before, mut next) = match located {
            // In its place, so that no reader misses both.
            Some((before, old)) => (before, self.link_of(old).load(Relaxed) as u32),
            None => (None, self.buckets.halves()[bucket as usize].load(Relaxed)),
        };
        if next == 0 {
            next = END | bucket;
        }
        self.link_of(index).store(u64::from(hash) << 32 | u64::from(next), Release);
        self.set_link(bucket, before, index + 1);
        if let Some(old) = old {
            self.link_of(old).store(NOWHERE, Release);
        }
        if let Some(eviction) = &self.eviction {
            eviction.states.bytes()[index as usize].store(USED, Relaxed);
        }
        match old {
            Some(old) => {
                if let Some(eviction) = &self.eviction {
                    eviction.states.bytes()[old as usize].store(FREE, Relaxed);
                    // The reserved element was not counted.
                }
                if self.eviction.is_none() && *spare == 0 {
                    *spare = old + 1;
                } else {
                    self.give_free(old);
                }
            }
            None if self.eviction.is_some() => {
                self.count.fetch_add(1, Relaxed);
            }
            None => {}
        }
        Ok(old)
    }

    /// An element for an entry, counted if it is a new one.
    fn take_for(&self, old: Option<u32>) -> Result<u32, Errno> {
        if old.is_none() {
            let room = |count: u32| (count < self.max_entries).then_some(count + 1);
            self.count.fetch_update(Relaxed, Relaxed, room).map_err(|_| Errno::E2BIG)?;
        }
        self.take_free().ok_or_else(|| {
            if old.is_none() {
                self.count.fetch_sub(1, Relaxed);
            }
            Errno::ENOMEM
        })
    }

    /// Changes the element with this key while nobody can replace it.
    pub fn change(&self, key: &[u8], change: impl FnOnce(u32)) -> bool {
        let hash = self.hash(key);
        let _guard = self.lock(self.bucket(hash));
        let found = self.find_hashed(key, hash);
        found.map(change).is_some()
    }

    /// Takes an entry out; `read` sees it before it may be used again.
    pub fn remove(&self, key: &[u8], read: impl FnOnce(u32)) -> Result<(), Errno> {
        let hash = self.hash(key);
        let bucket = self.bucket(hash);
        let _guard = self.lock(bucket);
        let index = self.find_hashed(key, hash).ok_or(Errno::ENOENT)?;
        read(index);
        self.unlink(bucket, index);
        self.give_free(index);
        Ok(())
    }

    /// The key behind another, or the first; a key that isn't there is followed by the first.
    pub fn next_key(&self, key: Option<&[u8]>, into: &mut [u8]) -> Result<(), Errno> {
        let mut first = 0;
        if let Some(key) = key {
            let hash = self.hash(key);
            let bucket = self.bucket(hash);
            let _guard = self.lock(bucket);
            if let Some(index) = self.find_hashed(key, hash) {
                let next = self.link_of(index).load(Relaxed) as u32;
                if !Self::is_end(next) {
                    self.key(next - 1, into);
                    return Ok(());
                }
                first = bucket + 1;
            }
        }
        for bucket in first..=self.bucket_mask {
            if self.buckets.halves()[bucket as usize].load(Relaxed) == 0 {
                continue;
            }
            let _guard = self.lock(bucket);
            let link = self.buckets.halves()[bucket as usize].load(Relaxed);
            if !Self::is_end(link) {
                self.key(link - 1, into);
                return Ok(());
            }
        }
        Err(Errno::ENOENT)
    }

    /// The elements of a bucket, as they are now; `None` behind the last bucket.
    pub fn bucket_elements(&self, bucket: u32) -> Option<Vec<u32>> {
        if bucket > self.bucket_mask {
            return None;
        }
        let mut elements = Vec::new();
        if self.buckets.halves()[bucket as usize].load(Relaxed) != 0 {
            let _guard = self.lock(bucket);
            let mut link = self.buckets.halves()[bucket as usize].load(Relaxed);
            while !Self::is_end(link) {
                elements.push(link - 1);
                link = self.link_of(link - 1).load(Relaxed) as u32;
            }
        }
        Some(elements)
    }
}

/// What an update asks of the entry's existence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Any,
    Must,
    MustNot,
}

impl Existing {
    pub fn check(self, exists: bool) -> Result<(), Errno> {
        match self {
            Self::MustNot if exists => Err(Errno::EEXIST),
            Self::Must if !exists => Err(Errno::ENOENT),
            _ => Ok(()),
        }
    }
}

#[inline(always)]
fn fold(word: u64) -> u64 {
    let product = u128::from(word) * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}

/// Up to eight bytes as a number.
#[inline(always)]
fn tail(bytes: &[u8]) -> u64 {
    match *bytes {
        [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}
