//! Maps, with the kernel's semantics and error numbers.
//!
//! Values lie in memory that doesn't move for as long as the map lives; programs access them
//! directly, on any number of threads. What the host does with a map follows bpf(2): values of
//! per-CPU maps are those of all CPUs one after the other, each padded to 8 bytes.

use std::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bpf_object::MapType;

use crate::errno::Errno;
use crate::memory::Area;
use crate::program::Program;
use crate::slab::Slab;

mod definition;
mod hash;
mod host;
mod line;
mod ring;
mod storage;
mod table;
mod trie;

pub(crate) use definition::TIMER;
pub use definition::{MapDefinition, flag};
pub use host::Entry;
pub(crate) use ring::{Events, FORCE_WAKEUP, NO_WAKEUP, Ring, UserRing};
pub(crate) use storage::Storage;
pub(crate) use table::MapTable;

use hash::{Existing, Hash};
use line::{Bloom, Line};
use trie::Trie;

/// Flags of updates (include/uapi/linux/bpf.h).
pub mod update {
    pub const ANY: u64 = 0;
    pub const NOEXIST: u64 = 1;
    pub const EXIST: u64 = 2;
    /// Under the spin lock in the value.
    pub const LOCK: u64 = 4;
}

/// Sockets' cookies and the like are kept in elements of this size.
const REFERENCE: u32 = 8;

/// A map.
#[derive(Debug)]
pub struct Map {
    definition: MapDefinition,
    cpus: u32,
    frozen: AtomicBool,
    /// Frozen before anybody else had it, so that no update was on its way then.
    sealed: AtomicBool,
    content: Content,
    /// An array or a hash of plain values that all CPUs share.
    quick: bool,
    /// The table that knows it first, and its handle there.
    home: OnceLock<(u64, u64)>,
    /// How many runtimes have it.
    runtimes: AtomicU32,
}

/// A slot for an object.
pub(crate) type Slot<T> = RwLock<Option<Arc<T>>>;

#[derive(Debug)]
pub(crate) enum Content {
    Array(Values),
    Hash(Hash, Values),
    Trie(Trie, Values),
    Line(Line),
    Bloom(Bloom),
    Ring(Ring),
    UserRing(UserRing),
    Events(Events),
    Programs(Box<[Slot<Program>]>),
    Maps(Box<[Slot<Map>]>),
    MapHash(Hash, Box<[Slot<Map>]>),
    Storage(Storage),
}

/// Elements of equal size, one for each CPU if the map is per CPU.
#[derive(Debug)]
pub(crate) struct Values {
    slab: Slab,
    size: u32,
    stride: u32,
    cpus: u32,
    elements: u32,
}

impl Values {
    fn new(size: u32, cpus: u32, elements: u32) -> Result<Self, Errno> {
        let stride = size.checked_next_multiple_of(8).ok_or(Errno::E2BIG)?;
        let bytes = u64::from(stride)
            .checked_mul(elements.into())
            .and_then(|bytes| bytes.checked_mul(cpus.into()));
        let slab = Slab::new(bytes.ok_or(Errno::ENOMEM)?)?;
        Ok(Self { slab, size, stride, cpus, elements })
    }

    /// Elements of one CPU lie together, so that CPUs don't disturb each other.
    #[inline]
    fn offset(&self, index: u32, cpu: u32) -> u64 {
        (u64::from(cpu) * u64::from(self.elements) + u64::from(index)) * u64::from(self.stride)
    }

    #[inline]
    fn address(&self, index: u32, cpu: u32) -> u64 {
        self.slab.address() + self.offset(index, cpu)
    }
}

/// Who changes a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Host,
    Program { cpu: u32 },
}

impl Map {
    /// Makes a map for programs that run on so many CPUs.
    pub fn new(definition: MapDefinition, cpus: u32) -> Result<Self, Errno> {
        let mut definition = definition;
        definition.check()?;
        let cpus = cpus.max(1);
        if definition.flags & flag::NO_COMMON_LRU != 0 {
            // As many for each CPU.
            let entries = definition.max_entries;
            let up = entries.checked_next_multiple_of(cpus);
            definition.max_entries = up.unwrap_or(entries - entries % cpus);
        }
        let MapDefinition { key_size, value_size, max_entries, .. } = definition;
        let per_cpu = if definition.is_per_cpu() { cpus } else { 1 };
        let content = match definition.kind {
            MapType::ARRAY | MapType::PER_CPU_ARRAY => {
                Content::Array(Values::new(value_size, per_cpu, max_entries)?)
            }
            MapType::DEVICE_MAP
            | MapType::CPU_MAP
            | MapType::XSK_MAP
            | MapType::SOCKET_MAP
            | MapType::REUSEPORT_SOCKET_ARRAY
            | MapType::CGROUP_ARRAY => Content::Array(Values::new(REFERENCE, 1, max_entries)?),
            MapType::HASH
            | MapType::PER_CPU_HASH
            | MapType::LRU_HASH
            | MapType::LRU_PER_CPU_HASH => {
                let evicts =
                    matches!(definition.kind, MapType::LRU_HASH | MapType::LRU_PER_CPU_HASH);
                let hash = Hash::new(key_size, max_entries, evicts)?;
                let values = Values::new(value_size, per_cpu, hash.capacity())?;
                Content::Hash(hash, values)
            }
            MapType::DEVICE_HASH | MapType::SOCKET_HASH => {
                let hash = Hash::new(key_size, max_entries, false)?;
                let values = Values::new(REFERENCE, 1, hash.capacity())?;
                Content::Hash(hash, values)
            }
            MapType::LPM_TRIE => {
                let trie = Trie::new(key_size, max_entries)?;
                let values = Values::new(value_size, 1, trie.capacity())?;
                Content::Trie(trie, values)
            }
            MapType::QUEUE => Content::Line(Line::new(max_entries, false)),
            MapType::STACK => Content::Line(Line::new(max_entries, true)),
            MapType::BLOOM_FILTER => Content::Bloom(Bloom::new(max_entries, definition.extra)?),
            MapType::RING_BUFFER => Content::Ring(Ring::new(max_entries)?),
            MapType::USER_RING_BUFFER => Content::UserRing(UserRing::new(max_entries)),
            MapType::PERF_EVENT_ARRAY => Content::Events(Events::new(max_entries)?),
            MapType::PROGRAM_ARRAY => Content::Programs(slots(max_entries)?),
            MapType::ARRAY_OF_MAPS => Content::Maps(slots(max_entries)?),
            MapType::HASH_OF_MAPS => {
                let hash = Hash::new(key_size, max_entries, false)?;
                let maps = slots(hash.capacity())?;
                Content::MapHash(hash, maps)
            }
            MapType::SOCKET_STORAGE
            | MapType::INODE_STORAGE
            | MapType::TASK_STORAGE
            | MapType::CGROUP_LOCAL_STORAGE
            | MapType::CGROUP_STORAGE
            | MapType::PER_CPU_CGROUP_STORAGE => Content::Storage(Storage::default()),
            // Nobody writes to it: there are no stacks.
            MapType::STACK_TRACE => {
                let hash = Hash::new(key_size, max_entries, false)?;
                let values = Values::new(value_size, 1, hash.capacity())?;
                Content::Hash(hash, values)
            }
            _ => return Err(Errno::EINVAL),
        };
        if definition.kind.holds_maps() && definition.inner.is_none() {
            return Err(Errno::EINVAL);
        }
        let quick = matches!(definition.kind, MapType::ARRAY | MapType::HASH | MapType::LRU_HASH);
        Ok(Self {
            quick,
            definition,
            cpus,
            frozen: AtomicBool::new(false),
            sealed: AtomicBool::new(false),
            content,
            home: OnceLock::new(),
            runtimes: AtomicU32::new(0),
        })
    }

    pub fn definition(&self) -> &MapDefinition {
        &self.definition
    }

    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// How many CPUs it has values for, if it is per CPU.
    pub fn cpus(&self) -> u32 {
        self.cpus
    }

    #[inline]
    pub(crate) fn quick(&self) -> bool {
        self.quick
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    /// What of the map programs may access.
    pub(crate) fn area(&self) -> Option<Area> {
        let writable = self.definition.flags & flag::RDONLY_PROG == 0
            && !matches!(
                self.definition.kind,
                MapType::DEVICE_MAP | MapType::DEVICE_HASH | MapType::CPU_MAP
            );
        match &self.content {
            Content::Array(values) | Content::Hash(_, values) | Content::Trie(_, values) => {
                Some(values.slab.area(values.stride, values.size, writable))
            }
            _ => None,
        }
    }

    /// Where the elements lie, if programs look them up by index and do with them what they like.
    pub(crate) fn array(&self) -> Option<crate::jit::Array> {
        let Content::Array(values) = &self.content else { return None };
        if self.holds_references() {
            return None;
        }
        let cpu_stride = u64::from(values.elements) * u64::from(values.stride);
        Some(crate::jit::Array {
            start: values.slab.address(),
            elements: values.elements,
            stride: i32::try_from(values.stride).ok()?.cast_unsigned(),
            cpus: values.cpus,
            cpu_stride: match values.cpus {
                1 => 0,
                _ => i32::try_from(cpu_stride).ok()?.cast_unsigned(),
            },
        })
    }

    /// Whether it is an array of values that programs may replace by storing all of their bytes.
    pub(crate) fn is_bare_array(&self) -> bool {
        matches!(self.content, Content::Array(_))
            && !self.holds_references()
            && self.definition.flags & flag::RDONLY_PROG == 0
            && self.definition.managed().next().is_none()
    }

    /// Where an array's element for a CPU lies, and its size.
    #[inline]
    pub(crate) fn element(&self, index: u32, cpu: u32) -> Option<(u64, u32)> {
        let Content::Array(values) = &self.content else { return None };
        let cpu = if values.cpus == 1 { 0 } else { cpu.min(values.cpus - 1) };
        (index < values.elements).then(|| (values.address(index, cpu), values.size))
    }

    /// Whether its only value can't be changed any more, by nobody.
    pub(crate) fn is_constant(&self) -> bool {
        self.frozen.load(Acquire)
            && self.definition.flags & flag::RDONLY_PROG != 0
            && self.value_address(0).is_some()
    }

    /// So many bytes at an address in its only value, as a number.
    pub(crate) fn constant_at(&self, address: u64, length: u64) -> Option<u64> {
        let offset = address.checked_sub(self.value_address(0)?)?;
        let Content::Array(values) = &self.content else { return None };
        if offset.checked_add(length)? > values.size.into() {
            return None;
        }
        let mut bytes = [0; 8];
        values.slab.load(offset, bytes.get_mut(..length as usize)?);
        Some(u64::from_ne_bytes(bytes))
    }

    /// The address of the value under a key in a hash, for the program on this CPU. The key's
    /// bytes are these words', and zeroes.
    #[inline]
    pub(crate) fn find_words<const WORDS: usize>(
        &self,
        key: [u64; WORDS],
        cpu: u32,
    ) -> Option<u64> {
        let Content::Hash(hash, values) = &self.content else { return None };
        let index = hash.find_words(key)?;
        hash.touch(index);
        let cpu = if values.cpus == 1 { 0 } else { cpu.min(values.cpus - 1) };
        Some(values.address(index, cpu))
    }

    /// The address of a byte of an array's only value, which every program of the runtime may read:
    /// so hosts lend memory that programs are told about by other ways than the map.
    pub fn value_address(&self, offset: u64) -> Option<u64> {
        match &self.content {
            // Of all values: the kernel takes offsets within the array (`array_map_direct_value_addr`
            // allows one entry only, with an offset below the value's size).
            Content::Array(values) if self.definition.max_entries == 1 && values.cpus == 1 => {
                (offset < values.size.into()).then(|| values.address(0, 0) + offset)
            }
            _ => None,
        }
    }

    /// The address of the value under a key, for the program on this CPU.
    #[inline]
    pub(crate) fn find(&self, key: &[u8], cpu: u32) -> Option<u64> {
        match &self.content {
            Content::Array(values) => {
                let index = number(key)?;
                if index >= values.elements {
                    return None;
                }
                let cpu = if values.cpus == 1 { 0 } else { cpu.min(values.cpus - 1) };
                let address = values.address(index, cpu);
                let present = self.quick || !self.holds_references() || self.reference(index) != 0;
                present.then_some(address)
            }
            Content::Hash(hash, values) => {
                let index = hash.find(key)?;
                hash.touch(index);
                let cpu = if values.cpus == 1 { 0 } else { cpu.min(values.cpus - 1) };
                Some(values.address(index, cpu))
            }
            Content::Trie(trie, values) => Some(values.address(trie.find(key)?, 0)),
            _ => None,
        }
    }

    /// Whether its elements stand for something outside, and zero for nothing.
    #[inline]
    fn holds_references(&self) -> bool {
        !matches!(self.definition.kind, MapType::ARRAY | MapType::PER_CPU_ARRAY)
    }

    fn reference(&self, index: u32) -> u64 {
        match &self.content {
            Content::Array(values) if index < values.elements => self.reference_at(values, index),
            _ => 0,
        }
    }

    fn reference_at(&self, values: &Values, index: u32) -> u64 {
        let mut bytes = [0; 8];
        values.slab.load(values.offset(index, 0), &mut bytes);
        u64::from_ne_bytes(bytes)
    }

    /// What a map of sockets, devices or CPUs holds under a key, zero for nothing.
    pub(crate) fn reference_of(&self, key: &[u8]) -> u64 {
        match &self.content {
            Content::Array(_) => number(key).map_or(0, |index| self.reference(index)),
            Content::Hash(hash, values) => {
                hash.find(key).map_or(0, |index| self.reference_at(values, index))
            }
            _ => 0,
        }
    }

    /// The program under an index.
    pub(crate) fn program(&self, index: u32) -> Option<Arc<Program>> {
        let Content::Programs(slots) = &self.content else { return None };
        slots.get(index as usize)?.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The map under a key, of a map of maps.
    pub fn inner(&self, key: &[u8]) -> Option<Arc<Map>> {
        let slot = match &self.content {
            Content::Maps(slots) => slots.get(number(key)? as usize)?,
            Content::MapHash(hash, slots) => slots.get(hash.find(key)? as usize)?,
            _ => return None,
        };
        slot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes a value into an element, but for what the kernel manages in it.
    fn write(&self, values: &Values, index: u32, cpu: u32, value: &[u8], fresh: bool) {
        let start = values.offset(index, cpu);
        if self.definition.spin_lock.is_none() && self.definition.timer.is_none() {
            return values.slab.store(start, value);
        }
        let mut at = 0;
        let mut managed: Vec<(u32, u32)> = self.definition.managed().collect();
        managed.sort_unstable();
        for (from, length) in managed {
            values.slab.store(start + at as u64, &value[at..from as usize]);
            at = (from + length) as usize;
            if fresh {
                values.slab.clear(start + u64::from(from), length as usize);
            }
        }
        values.slab.store(start + at as u64, &value[at.min(value.len())..]);
    }

    /// Copies what is managed from the element that another replaces: a timer goes on.
    fn keep_managed(&self, values: &Values, from: u32, to: u32) {
        for (at, length) in self.definition.managed() {
            let mut bytes = vec![0; length as usize];
            values.slab.load(values.offset(from, 0) + u64::from(at), &mut bytes);
            if self.definition.spin_lock == Some(at) {
                bytes.fill(0);
            }
            values.slab.store(values.offset(to, 0) + u64::from(at), &bytes);
        }
    }

    /// Runs `act` under the spin lock in an element's value.
    fn locked<R>(&self, values: &Values, index: u32, act: impl FnOnce() -> R) -> Result<R, Errno> {
        let at = self.definition.spin_lock.ok_or(Errno::EINVAL)?;
        let word = values.slab.half_at(values.offset(index, 0) + u64::from(at));
        if !lock_word(word) {
            return Err(Errno::ETIMEDOUT);
        }
        let result = act();
        word.store(0, Release);
        Ok(result)
    }

    pub(crate) fn update_as(
        &self,
        who: Who,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        if who != Who::Host && self.definition.flags & flag::RDONLY_PROG != 0 {
            return Err(Errno::EPERM);
        }
        if key.len() != self.definition.key_size as usize {
            return Err(Errno::EINVAL);
        }
        match &self.content {
            Content::Line(line) => return line.push(value, flags),
            Content::Bloom(bloom) => return bloom.push(value, flags),
            _ => {}
        }
        match self.definition.kind {
            MapType::ARRAY | MapType::PER_CPU_ARRAY => self.update_array(who, key, value, flags),
            MapType::HASH
            | MapType::PER_CPU_HASH
            | MapType::LRU_HASH
            | MapType::LRU_PER_CPU_HASH => self.update_hash(who, key, value, flags),
            MapType::LPM_TRIE => {
                let Content::Trie(trie, values) = &self.content else { return Err(Errno::EINVAL) };
                let existing = existing(flags, false)?;
                trie.update(key, existing, |index| self.write(values, index, 0, value, true))
            }
            _ => self.update_reference(key, value, flags),
        }
    }

    fn update_array(&self, who: Who, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        let Content::Array(values) = &self.content else { return Err(Errno::EINVAL) };
        let per_cpu = self.definition.is_per_cpu();
        // In this order: kernel/bpf/arraymap.c, array_map_update_elem.
        let existing = existing(flags, !per_cpu)?;
        let index = number(key).filter(|index| *index < values.elements).ok_or(Errno::E2BIG)?;
        if existing == Existing::MustNot {
            return Err(Errno::EEXIST);
        }
        if flags & update::LOCK != 0 {
            return self.locked(values, index, || self.write(values, index, 0, value, false));
        }
        match who {
            Who::Host if per_cpu => self.write_all(values, index, value),
            Who::Program { cpu } if per_cpu => {
                self.write(values, index, cpu.min(values.cpus - 1), value, false);
            }
            _ => self.write(values, index, 0, value, false),
        }
        Ok(())
    }

    /// The host's value of a per-CPU element.
    fn write_all(&self, values: &Values, index: u32, value: &[u8]) {
        for (cpu, part) in value.chunks_exact(values.stride as usize).enumerate() {
            let offset = values.offset(index, cpu as u32);
            values.slab.store(offset, &part[..values.size as usize]);
        }
    }

    fn update_hash(&self, who: Who, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        let Content::Hash(hash, values) = &self.content else { return Err(Errno::EINVAL) };
        let per_cpu = self.definition.is_per_cpu();
        let lru = matches!(self.definition.kind, MapType::LRU_HASH | MapType::LRU_PER_CPU_HASH);
        let existing = existing(flags, !per_cpu && !lru)?;
        if flags & update::LOCK != 0 {
            if self.definition.spin_lock.is_none() {
                return Err(Errno::EINVAL);
            }
            let mut result = Ok(());
            let found = hash.change(key, |index| {
                result = existing.check(true).and_then(|()| {
                    self.locked(values, index, || self.write(values, index, 0, value, false))
                });
            });
            if found {
                return result;
            }
        }
        if per_cpu {
            // An element that is there is changed in its place.
            let mut result = Ok(());
            let found = hash.change(key, |index| {
                result = existing.check(true);
                if result.is_ok() {
                    match who {
                        Who::Host => self.write_all(values, index, value),
                        Who::Program { cpu } => {
                            self.write(values, index, cpu.min(values.cpus - 1), value, false);
                        }
                    }
                }
            });
            if found {
                return result;
            }
        }
        let write = |index, old: Option<u32>| {
            if !per_cpu {
                self.write(values, index, 0, value, old.is_none());
                old.into_iter().for_each(|old| self.keep_managed(values, old, index));
                return;
            }
            match who {
                Who::Host => self.write_all(values, index, value),
                Who::Program { cpu } => {
                    for other in 0..values.cpus {
                        values.slab.clear(values.offset(index, other), values.stride as usize);
                    }
                    self.write(values, index, cpu.min(values.cpus - 1), value, true);
                }
            }
        };
        hash.update(key, existing, write).map(drop)
    }

    /// Maps of devices, CPUs and sockets: kernel/bpf/devmap.c, cpumap.c, net/xdp/xskmap.c,
    /// net/core/sock_map.c.
    pub(crate) fn update_reference(
        &self,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        let existing = existing(flags, false)?;
        let target = number(value).unwrap_or_default();
        let mut element = [0; REFERENCE as usize];
        element[..value.len().min(8)].copy_from_slice(&value[..value.len().min(8)]);
        match (&self.content, self.definition.kind) {
            (Content::Array(values), kind) => {
                let index = number(key).filter(|index| *index < values.elements);
                let index = index.ok_or(Errno::E2BIG)?;
                let occupied = self.reference(index) != 0;
                match kind {
                    MapType::DEVICE_MAP | MapType::CPU_MAP => {
                        if existing == Existing::MustNot {
                            return Err(Errno::EEXIST);
                        }
                        if kind == MapType::CPU_MAP && target > 16384 {
                            return Err(Errno::EOVERFLOW);
                        }
                        if kind == MapType::CPU_MAP && index >= self.cpus {
                            return Err(Errno::ENODEV);
                        }
                        // Nothing is what takes the entry away.
                        if target == 0 && element[4..].iter().any(|byte| *byte != 0) {
                            return Err(Errno::EINVAL);
                        }
                    }
                    _ => existing.check(occupied)?,
                }
                values.slab.store(values.offset(index, 0), &element);
                Ok(())
            }
            (Content::Hash(hash, values), kind) => {
                if target == 0 && kind == MapType::DEVICE_HASH {
                    return Err(Errno::EINVAL);
                }
                // A devmap_hash doesn't mind that the entry is missing.
                let existing = match existing {
                    Existing::Must if kind == MapType::DEVICE_HASH => Existing::Any,
                    existing => existing,
                };
                hash.update(key, existing, |index, _| {
                    values.slab.store(values.offset(index, 0), &element);
                })
                .map(drop)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    pub(crate) fn delete_as(&self, who: Who, key: &[u8]) -> Result<(), Errno> {
        if who != Who::Host && self.definition.flags & flag::RDONLY_PROG != 0 {
            return Err(Errno::EPERM);
        }
        if key.len() != self.definition.key_size as usize {
            return Err(Errno::EINVAL);
        }
        match (&self.content, self.definition.kind) {
            (Content::Array(_), MapType::ARRAY | MapType::PER_CPU_ARRAY) => Err(Errno::EINVAL),
            (Content::Array(values), kind) => {
                let index = number(key).filter(|index| *index < values.elements);
                let index = index.ok_or(Errno::EINVAL)?;
                if kind == MapType::SOCKET_MAP && self.reference(index) == 0 {
                    return Err(Errno::EINVAL);
                }
                values.slab.store(values.offset(index, 0), &[0; REFERENCE as usize]);
                Ok(())
            }
            (Content::Hash(hash, _), _) => hash.remove(key, |_| {}),
            (Content::Trie(trie, _), _) => trie.remove(key),
            (Content::MapHash(hash, slots), _) => hash.remove(key, |index| set(slots, index, None)),
            (Content::Maps(slots), _) => clear(slots, key),
            (Content::Programs(slots), _) => clear(slots, key),
            (Content::Bloom(_), _) => Err(Errno::EOPNOTSUPP),
            (Content::Ring(_) | Content::UserRing(_), _) => Err(Errno::ENOTSUPP),
            _ => Err(Errno::EINVAL),
        }
    }

    /// `bpf_map_push_elem`.
    pub(crate) fn push(&self, value: &[u8], flags: u64) -> Result<(), Errno> {
        match &self.content {
            Content::Line(line) => line.push(value, flags),
            Content::Bloom(bloom) => bloom.push(value, flags),
            _ => Err(Errno::EINVAL),
        }
    }

    /// `bpf_map_peek_elem` and `bpf_map_pop_elem`, of queues and stacks.
    pub(crate) fn take(&self, remove: bool) -> Result<Vec<u8>, Errno> {
        match &self.content {
            Content::Line(line) => line.take(remove),
            Content::Bloom(_) => Err(Errno::EOPNOTSUPP),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Elements for `bpf_for_each_map_elem`: keys and the addresses of the values.
    pub(crate) fn elements(&self, cpu: u32) -> Result<Vec<(Vec<u8>, u64)>, Errno> {
        match &self.content {
            Content::Array(values) if !self.holds_references() => {
                let cpu = if values.cpus == 1 { 0 } else { cpu.min(values.cpus - 1) };
                let element =
                    |index: u32| (index.to_ne_bytes().to_vec(), values.address(index, cpu));
                Ok((0..values.elements).map(element).collect())
            }
            Content::Hash(hash, values) => {
                let cpu = if values.cpus == 1 { 0 } else { cpu.min(values.cpus - 1) };
                let mut elements = Vec::new();
                let mut bucket = 0;
                while let Some(indices) = hash.bucket_elements(bucket) {
                    for index in indices {
                        let mut key = vec![0; self.definition.key_size as usize];
                        hash.key(index, &mut key);
                        elements.push((key, values.address(index, cpu)));
                    }
                    bucket += 1;
                }
                Ok(elements)
            }
            _ => Err(Errno::EINVAL),
        }
    }
}

fn slots<T>(count: u32) -> Result<Box<[Slot<T>]>, Errno> {
    many(count, || RwLock::new(None))
}

/// More objects than anybody has: an object file can ask for billions.
const MANY: u32 = 1 << 24;

/// So many objects, if there is room for them.
fn many<T>(count: u32, object: impl FnMut() -> T) -> Result<Box<[T]>, Errno> {
    let mut objects = Vec::new();
    if count > MANY || objects.try_reserve_exact(count as usize).is_err() {
        return Err(Errno::ENOMEM);
    }
    objects.resize_with(count as usize, object);
    Ok(objects.into())
}

/// How long a spin lock is waited for. Who holds one has a few instructions to go.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits for a spin lock in a value. `false` if nobody lets go of it: a program that nobody has
/// verified may have written there.
pub(crate) fn lock_word(word: &AtomicU32) -> bool {
    let mut tries = 0u32;
    let mut since = None;
    while word.compare_exchange_weak(0, 1, Acquire, Relaxed).is_err() {
        tries = tries.wrapping_add(1);
        if tries.is_multiple_of(64) {
            if since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                return false;
            }
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
    true
}

fn clear<T>(slots: &[Slot<T>], key: &[u8]) -> Result<(), Errno> {
    let index = number(key).filter(|index| (*index as usize) < slots.len()).ok_or(Errno::E2BIG)?;
    let slot = slots.get(index as usize).ok_or(Errno::E2BIG)?;
    let old = slot.write().unwrap_or_else(PoisonError::into_inner).take();
    old.map(drop).ok_or(Errno::ENOENT)
}

fn set<T>(slots: &[Slot<T>], index: u32, value: Option<Arc<T>>) {
    if let Some(slot) = slots.get(index as usize) {
        *slot.write().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

/// An index or a number of 32 bits.
#[inline]
fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// The flags of an update. Only some kinds know locks.
fn existing(flags: u64, may_lock: bool) -> Result<Existing, Errno> {
    let lock = if may_lock { update::LOCK } else { 0 };
    match flags & !lock {
        update::ANY => Ok(Existing::Any),
        update::NOEXIST => Ok(Existing::MustNot),
        update::EXIST => Ok(Existing::Must),
        _ => Err(Errno::EINVAL),
    }
}
