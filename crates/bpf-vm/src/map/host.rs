//! What the host does with maps, as by bpf(2).

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use bpf_object::MapType;

use super::*;
use crate::errno::Errno;
use crate::program::Program;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

impl Map {
    fn writable(&self) -> Result<(), Errno> {
        if self.frozen.load(Acquire) || self.definition.flags & flag::RDONLY != 0 {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    fn readable(&self) -> Result<(), Errno> {
        if self.definition.flags & flag::WRONLY != 0 { Err(Errno::EPERM) } else { Ok(()) }
    }

    fn check_key(&self, key: &[u8]) -> Result<(), Errno> {
        if key.len() == self.definition.key_size as usize { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Bytes of a value as the host sees it.
    pub fn value_bytes(&self) -> usize {
        match &self.content {
            Content::Array(values) | Content::Hash(_, values) if self.definition.is_per_cpu() => {
                (values.stride * values.cpus) as usize
            }
            _ => self.definition.value_size as usize,
        }
    }

    fn read(&self, values: &Values, index: u32) -> Vec<u8> {
        if self.definition.is_per_cpu() {
            let mut bytes = vec![0; (values.stride * values.cpus) as usize];
            for (cpu, part) in bytes.chunks_exact_mut(values.stride as usize).enumerate() {
                let part = &mut part[..values.size as usize];
                values.slab.load(values.offset(index, cpu as u32), part);
            }
            return bytes;
        }
        let mut bytes = vec![0; self.definition.value_size.min(values.size) as usize];
        values.slab.load(values.offset(index, 0), &mut bytes);
        for (at, length) in self.definition.managed() {
            bytes[at as usize..(at + length) as usize].fill(0);
        }
        bytes
    }

    /// The value under a key.
    pub fn lookup(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        self.lookup_flags(key, 0)
    }

    /// As [`Self::lookup`]; with [`update::LOCK`], under the spin lock in the value.
    pub fn lookup_flags(&self, key: &[u8], flags: u64) -> Result<Vec<u8>, Errno> {
        self.readable()?;
        let lock = flags & update::LOCK != 0;
        if flags & !update::LOCK != 0 || (lock && self.definition.spin_lock.is_none()) {
            return Err(Errno::EINVAL);
        }
        self.check_key(key)?;
        let read = |values: &Values, index: u32| match lock {
            true => self.locked(values, index, || self.read(values, index)),
            false => Ok(self.read(values, index)),
        };
        match (&self.content, self.definition.kind) {
            (Content::Array(_) | Content::Hash(..), MapType::XSK_MAP) => Err(Errno::EOPNOTSUPP),
            (
                Content::Array(_) | Content::Hash(..),
                MapType::SOCKET_MAP | MapType::SOCKET_HASH | MapType::REUSEPORT_SOCKET_ARRAY,
            ) => {
                if self.definition.value_size != 8 {
                    return Err(Errno::ENOSPC);
                }
                match self.reference_of(key) {
                    0 => Err(Errno::ENOENT),
                    cookie => Ok(cookie.to_ne_bytes().to_vec()),
                }
            }
            (Content::Array(values), kind) => {
                let index = number(key).filter(|index| *index < values.elements);
                let index = index.ok_or(Errno::ENOENT)?;
                let is_plain = matches!(kind, MapType::ARRAY | MapType::PER_CPU_ARRAY);
                if !is_plain && self.reference(index) == 0 {
                    return Err(Errno::ENOENT);
                }
                read(values, index)
            }
            // The host's look-ups are no use of the entry.
            (Content::Hash(hash, values), _) => read(values, hash.find(key).ok_or(Errno::ENOENT)?),
            (Content::Trie(trie, values), _) => read(values, trie.find(key).ok_or(Errno::ENOENT)?),
            (Content::Line(line), _) => line.take(false),
            (Content::Bloom(_) | Content::Ring(_) | Content::UserRing(_), _) => {
                Err(Errno::ENOTSUPP)
            }
            (Content::Events(_), _) => Err(Errno::ENOTSUPP),
            // Programs and maps have no numbers here.
            (Content::Programs(_) | Content::Maps(_) | Content::MapHash(..), _) => {
                Err(Errno::ENOTSUPP)
            }
            (Content::Storage(storage), _) => {
                let owner = u64::from(number(key).ok_or(Errno::EINVAL)?);
                self.storage_value(storage, owner)
            }
        }
    }

    fn storage_value(&self, storage: &Storage, owner: u64) -> Result<Vec<u8>, Errno> {
        let slab = storage.find(owner).ok_or(Errno::ENOENT)?;
        let mut bytes = vec![0; self.definition.value_size as usize];
        slab.load(0, &mut bytes);
        Ok(bytes)
    }

    /// Whether there is something under a key; a look-up that copies nothing.
    #[inline]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.find(key, 0).is_some()
    }

    /// The values of a per-CPU map under a key, one for each CPU.
    pub fn lookup_per_cpu(&self, key: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
        let size = self.definition.value_size as usize;
        let value = self.lookup(key)?;
        if !self.definition.is_per_cpu() {
            return Ok(vec![value]);
        }
        let parts = value.chunks_exact(size.next_multiple_of(8));
        Ok(parts.map(|part| part[..size].to_vec()).collect())
    }

    /// Whether a bloom filter may hold the value.
    pub fn may_hold(&self, value: &[u8]) -> Result<bool, Errno> {
        match &self.content {
            Content::Bloom(bloom) if value.len() == self.value_bytes() => {
                Ok(bloom.peek(value).is_ok())
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// Inserts or replaces, by the flags in [`update`]; queues, stacks and bloom filters have no
    /// key.
    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.writable()?;
        // bpf(2) takes the lock's flag for values with a lock only (map_check_op_flags).
        if flags & update::LOCK != 0 && self.definition.spin_lock.is_none() {
            return Err(Errno::EINVAL);
        }
        self.check_key(key)?;
        if value.len() != self.value_bytes() {
            return Err(Errno::EINVAL);
        }
        match &self.content {
            Content::Ring(_) | Content::UserRing(_) => Err(Errno::ENOTSUPP),
            Content::Storage(storage) => {
                let owner = u64::from(number(key).ok_or(Errno::EINVAL)?);
                self.update_storage(storage, owner, value, flags)
            }
            // They take objects, not numbers.
            Content::Programs(_) | Content::Maps(_) | Content::MapHash(..) | Content::Events(_) => {
                Err(Errno::EINVAL)
            }
            _ => self.update_as(Who::Host, key, value, flags),
        }
    }

    fn update_storage(
        &self,
        storage: &Storage,
        owner: u64,
        value: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        storage.update(owner, existing(flags, false)?, || {
            let slab = Slab::new(value.len() as u64)?;
            slab.store(0, value);
            Ok(slab)
        })
    }

    /// The value of a socket, task, inode or cgroup.
    pub fn lookup_owner(&self, owner: u64) -> Result<Vec<u8>, Errno> {
        match &self.content {
            Content::Storage(storage) => self.storage_value(storage, owner),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Sets the value of a socket, task, inode or cgroup.
    pub fn update_owner(&self, owner: u64, value: &[u8], flags: u64) -> Result<(), Errno> {
        self.writable()?;
        match &self.content {
            Content::Storage(storage) if value.len() == self.value_bytes() => {
                self.update_storage(storage, owner, value, flags)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// Takes the value of a socket, task, inode or cgroup away, as when that goes.
    pub fn delete_owner(&self, owner: u64) -> Result<(), Errno> {
        match &self.content {
            Content::Storage(storage) => storage.remove(owner),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Who has a value in a map of storage.
    pub fn owners(&self) -> Vec<u64> {
        match &self.content {
            Content::Storage(storage) => storage.owners(),
            _ => Vec::new(),
        }
    }

    pub fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        self.writable()?;
        self.check_key(key)?;
        match &self.content {
            Content::Storage(storage) => {
                storage.remove(u64::from(number(key).ok_or(Errno::EINVAL)?))
            }
            _ => self.delete_as(Who::Host, key),
        }
    }

    /// The key behind another, or the first; a key that isn't there is followed by the first.
    pub fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        self.readable()?;
        if let Some(key) = key {
            self.check_key(key)?;
        }
        let entries = self.definition.max_entries;
        let index = |occupied: &dyn Fn(u32) -> bool| {
            let first = key.and_then(number).filter(|index| *index < entries);
            let first = first.map_or(0, |index| index + 1);
            let next = (first..entries).find(|index| occupied(*index)).ok_or(Errno::ENOENT)?;
            Ok(next.to_ne_bytes().to_vec())
        };
        match &self.content {
            // All indices count, also where nothing is.
            Content::Array(_) | Content::Programs(_) | Content::Maps(_) | Content::Events(_) => {
                index(&|_| true)
            }
            Content::Hash(hash, _) | Content::MapHash(hash, _) => {
                let mut next = vec![0; self.definition.key_size as usize];
                hash.next_key(key, &mut next).map(|()| next)
            }
            Content::Trie(trie, _) => trie.next_key(key),
            Content::Line(_) => Err(Errno::EINVAL),
            Content::Bloom(_) => Err(Errno::EOPNOTSUPP),
            _ => Err(Errno::ENOTSUPP),
        }
    }

    /// Takes an entry out and returns its value.
    pub fn lookup_and_delete(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        self.readable()?;
        self.writable()?;
        self.check_key(key)?;
        match (&self.content, self.definition.kind) {
            (Content::Line(line), _) => line.take(true),
            (
                Content::Hash(hash, values),
                MapType::HASH
                | MapType::PER_CPU_HASH
                | MapType::LRU_HASH
                | MapType::LRU_PER_CPU_HASH,
            ) => {
                let mut value = Vec::new();
                hash.remove(key, |index| value = self.read(values, index))?;
                Ok(value)
            }
            _ => Err(Errno::ENOTSUPP),
        }
    }

    /// Up to `count` entries behind `after`, or from the first on.
    pub fn lookup_batch(&self, after: Option<&[u8]>, count: usize) -> Result<Vec<Entry>, Errno> {
        let mut entries = Vec::new();
        let mut after = after.map(<[u8]>::to_vec);
        while entries.len() < count {
            let key = match self.next_key(after.as_deref()) {
                Ok(key) => key,
                Err(Errno::ENOENT) => break,
                Err(error) => return Err(error),
            };
            // What was deleted meanwhile, or stands for nothing, is passed over.
            match self.exact(&key) {
                Ok(value) => entries.push((key.clone(), value)),
                Err(Errno::ENOENT) => {}
                Err(error) => return Err(error),
            }
            after = Some(key);
        }
        Ok(entries)
    }

    fn exact(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        self.lookup(key)
    }

    /// All entries: keys with their values.
    pub fn entries(&self) -> Result<Vec<Entry>, Errno> {
        if let Content::Trie(trie, values) = &self.content {
            self.readable()?;
            return Ok(trie
                .keys()
                .into_iter()
                .map(|(k, index)| (k, self.read(values, index)))
                .collect());
        }
        self.lookup_batch(None, usize::MAX)
    }

    /// How many entries there are.
    pub fn count(&self) -> u32 {
        match &self.content {
            Content::Hash(hash, _) | Content::MapHash(hash, _) => hash.len(),
            Content::Trie(trie, _) => trie.len(),
            Content::Line(line) => line.len(),
            Content::Storage(storage) => storage.len(),
            _ => self.definition.max_entries,
        }
    }

    /// Forbids the host to change the map from now on.
    pub fn freeze(&self) -> Result<(), Errno> {
        if self.definition.timer.is_some() {
            return Err(Errno::ENOTSUPP);
        }
        // A frozen map is one that can't be written (map_get_sys_perms), before it is one that is
        // frozen.
        self.writable()?;
        if self.frozen.swap(true, Release) { Err(Errno::EBUSY) } else { Ok(()) }
    }

    /// As [`Self::freeze`], for a map that nobody else has yet: its values stay what they are now.
    pub(crate) fn seal(&self) -> Result<(), Errno> {
        self.freeze()?;
        self.sealed.store(true, Release);
        Ok(())
    }

    /// Whether its first value is this one, and always will be.
    pub(crate) fn is_always(&self, value: &[u8]) -> bool {
        self.sealed.load(Acquire)
            && self.definition.flags & flag::RDONLY_PROG != 0
            && self.lookup(&0u32.to_ne_bytes()).is_ok_and(|held| held == value)
    }

    /// Puts a program into a program array.
    pub fn set_program(&self, index: u32, program: Arc<Program>) -> Result<(), Errno> {
        self.writable()?;
        let Content::Programs(slots) = &self.content else { return Err(Errno::EINVAL) };
        if index as usize >= slots.len() {
            return Err(Errno::E2BIG);
        }
        set(slots, index, Some(program));
        Ok(())
    }

    /// Puts a map into a map of maps.
    pub fn set_inner(&self, key: &[u8], map: Arc<Map>, flags: u64) -> Result<(), Errno> {
        self.writable()?;
        self.check_key(key)?;
        let expected = self.definition.inner.as_ref().ok_or(Errno::EINVAL)?;
        if !map.definition.fits(expected) {
            return Err(Errno::EINVAL);
        }
        match &self.content {
            Content::Maps(slots) => {
                if flags != update::ANY {
                    return Err(Errno::EINVAL);
                }
                let index = number(key).filter(|index| (*index as usize) < slots.len());
                set(slots, index.ok_or(Errno::E2BIG)?, Some(map));
                Ok(())
            }
            Content::MapHash(hash, slots) => {
                let existing = existing(flags, false)?;
                let write = |index, old: Option<u32>| {
                    set(slots, index, Some(map));
                    old.into_iter().for_each(|old| set(slots, old, None));
                };
                hash.update(key, existing, write).map(drop)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// The records of a ring buffer that are ready, in their order.
    pub fn records(&self) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        if let Content::Ring(ring) = &self.content {
            ring.consume(|record| records.push(record.to_vec()));
        }
        records
    }

    /// How often programs woke the consumer of a ring buffer.
    pub fn wakeups(&self) -> u64 {
        match &self.content {
            Content::Ring(ring) => ring.wakeups(),
            _ => 0,
        }
    }

    /// Waits until a ring buffer's consumer is woken once more than `seen` times.
    pub fn wait(&self, seen: u64, timeout: std::time::Duration) -> bool {
        match &self.content {
            Content::Ring(ring) => ring.wait(seen, timeout),
            _ => false,
        }
    }

    /// Gives a sample to the programs that drain a user ring buffer.
    pub fn produce(&self, sample: &[u8]) -> Result<(), Errno> {
        match &self.content {
            Content::UserRing(ring) => ring.produce(sample),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The records of a perf event array, each with the index it was written to.
    pub fn events(&self) -> Vec<(u32, Vec<u8>)> {
        match &self.content {
            Content::Events(events) => events.take(),
            _ => Vec::new(),
        }
    }

    /// Records that a perf event array had no room for.
    pub fn lost_events(&self) -> u64 {
        match &self.content {
            Content::Events(events) => events.lost(),
            _ => 0,
        }
    }

    /// Bytes that an entry takes, with its share of the index.
    pub fn bytes_per_entry(&self) -> u64 {
        let value = |values: &Values| u64::from(values.stride) * u64::from(values.cpus);
        match &self.content {
            Content::Array(values) => value(values),
            Content::Hash(hash, values) => hash.overhead() as u64 + value(values),
            // Half of the nodes may be forks.
            Content::Trie(trie, values) => 2 * (trie.overhead() as u64 + value(values)),
            Content::Line(_) => u64::from(self.definition.value_size) + 16,
            Content::MapHash(hash, _) => hash.overhead() as u64 + size_of::<Slot<Map>>() as u64,
            Content::Programs(_) | Content::Maps(_) => size_of::<Slot<Map>>() as u64,
            Content::Storage(_) => u64::from(self.definition.value_size) + 48,
            Content::Bloom(_) | Content::Ring(_) | Content::UserRing(_) | Content::Events(_) => 0,
        }
    }
}
