//! What a map is made by, and which of it the kernel would refuse.
//!
//! The rules are those of each kind's `map_alloc_check` and `map_alloc` (kernel/bpf/*map*.c,
//! net/core/sock_map.c, Linux 6.18).

use bpf_object::MapType;

use crate::errno::Errno;

/// Flags of maps (include/uapi/linux/bpf.h).
pub mod flag {
    pub const NO_PREALLOC: u32 = 1 << 0;
    pub const NO_COMMON_LRU: u32 = 1 << 1;
    pub const NUMA_NODE: u32 = 1 << 2;
    pub const RDONLY: u32 = 1 << 3;
    pub const WRONLY: u32 = 1 << 4;
    pub const ZERO_SEED: u32 = 1 << 6;
    pub const RDONLY_PROG: u32 = 1 << 7;
    pub const WRONLY_PROG: u32 = 1 << 8;
    pub const CLONE: u32 = 1 << 9;
    pub const MMAPABLE: u32 = 1 << 10;
    pub const PRESERVE_ELEMS: u32 = 1 << 11;
    pub const INNER_MAP: u32 = 1 << 12;
    pub(super) const ACCESS: u32 = RDONLY | WRONLY | RDONLY_PROG | WRONLY_PROG;
}

/// What a map is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapDefinition {
    pub name: String,
    pub kind: MapType,
    /// In bytes.
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    /// See [`flag`].
    pub flags: u32,
    /// Of bloom filters, the number of hash functions.
    pub extra: u64,
    /// Where in a value its `struct bpf_spin_lock` lies.
    pub spin_lock: Option<u32>,
    /// Where in a value its `struct bpf_timer` lies.
    pub timer: Option<u32>,
    /// What the values of a map of maps are like.
    pub inner: Option<Box<MapDefinition>>,
}

/// Sizes of what the kernel manages within values.
pub(crate) const SPIN_LOCK: u32 = 4;
pub(crate) const TIMER: u32 = 16;

/// The largest allocation of the kernel that is contiguous (`KMALLOC_MAX_SIZE`).
const KMALLOC_MAX: u64 = 4 << 20;
/// The largest value per CPU (`PCPU_MIN_UNIT_SIZE`).
const PER_CPU_MAX: u64 = 32 << 10;
const STACK_MAX: u32 = 512;
const PAGE: u32 = 4096;
/// As distributions set `CONFIG_NR_CPUS`.
const CPUS_MAX: u32 = 8192;

impl MapDefinition {
    pub fn new(kind: MapType, key_size: u32, value_size: u32, max_entries: u32) -> Self {
        Self {
            name: String::new(),
            kind,
            key_size,
            value_size,
            max_entries,
            flags: 0,
            extra: 0,
            spin_lock: None,
            timer: None,
            inner: None,
        }
    }

    pub fn with_flags(self, flags: u32) -> Self {
        Self { flags, ..self }
    }

    pub fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    pub fn is_per_cpu(&self) -> bool {
        matches!(
            self.kind,
            MapType::PER_CPU_ARRAY | MapType::PER_CPU_HASH | MapType::LRU_PER_CPU_HASH
        )
    }

    /// Bytes that the kernel manages within values: start and length.
    pub(crate) fn managed(&self) -> impl Iterator<Item = (u32, u32)> {
        let lock = self.spin_lock.map(|at| (at, SPIN_LOCK));
        lock.into_iter().chain(self.timer.map(|at| (at, TIMER)))
    }

    /// Whether a map of this definition may stand where one of the other is expected
    /// (`bpf_map_meta_equal`, `array_map_meta_equal`).
    pub(crate) fn fits(&self, expected: &Self) -> bool {
        let fixed_size = self.kind == MapType::ARRAY && expected.flags & flag::INNER_MAP == 0;
        self.kind == expected.kind
            && self.key_size == expected.key_size
            && self.value_size == expected.value_size
            && self.flags == expected.flags
            && self.spin_lock == expected.spin_lock
            && self.timer == expected.timer
            && (!fixed_size || self.max_entries == expected.max_entries)
    }

    pub(crate) fn check(&self) -> Result<(), Errno> {
        let flags = self.flags;
        let only = |allowed: u32| match flags & !allowed {
            0 => Ok(()),
            _ => Err(Errno::EINVAL),
        };
        let must = |condition: bool| if condition { Ok(()) } else { Err(Errno::EINVAL) };
        // Read-only or write-only for programs, not both.
        let both = flag::RDONLY_PROG | flag::WRONLY_PROG;
        let access = must(flags & both != both);
        // The same for the host, of all kinds (bpf_get_file_flag).
        must(flags & (flag::RDONLY | flag::WRONLY) != flag::RDONLY | flag::WRONLY)?;
        if self.extra != 0 {
            must(matches!(self.kind, MapType::BLOOM_FILTER | MapType::ARENA))?;
        }
        for (at, size) in self.managed() {
            must(at.checked_add(size).is_some_and(|end| end <= self.value_size))?;
            must(at.is_multiple_of(size.min(8)))?;
        }
        if let (Some(lock), Some(timer)) = (self.spin_lock, self.timer) {
            must(lock + SPIN_LOCK <= timer || timer + TIMER <= lock)?;
        }
        let value = u64::from(self.value_size);
        let fits_cpu =
            if value.next_multiple_of(8) > PER_CPU_MAX { Err(Errno::E2BIG) } else { Ok(()) };
        match self.kind {
            MapType::ARRAY | MapType::PER_CPU_ARRAY => {
                must(self.max_entries > 0 && self.key_size == 4 && self.value_size > 0)?;
                only(flag::NUMA_NODE | flag::MMAPABLE | flag::INNER_MAP | flag::ACCESS)?;
                access?;
                if self.kind == MapType::PER_CPU_ARRAY {
                    must(flags & (flag::NUMA_NODE | flag::MMAPABLE | flag::INNER_MAP) == 0)?;
                    fits_cpu?;
                }
                if self.value_size > i32::MAX as u32 { Err(Errno::E2BIG) } else { Ok(()) }
            }
            MapType::HASH
            | MapType::PER_CPU_HASH
            | MapType::LRU_HASH
            | MapType::LRU_PER_CPU_HASH
            | MapType::HASH_OF_MAPS => {
                let lru = matches!(self.kind, MapType::LRU_HASH | MapType::LRU_PER_CPU_HASH);
                only(
                    flag::NO_PREALLOC
                        | flag::NO_COMMON_LRU
                        | flag::NUMA_NODE
                        | flag::ZERO_SEED
                        | flag::ACCESS,
                )?;
                access?;
                must(lru || flags & flag::NO_COMMON_LRU == 0)?;
                if lru && flags & flag::NO_PREALLOC != 0 {
                    return Err(Errno::ENOTSUPP);
                }
                must(flags & flag::NUMA_NODE == 0 || !self.is_per_cpu())?;
                must(self.max_entries > 0 && self.key_size > 0 && self.value_size > 0)?;
                must(self.kind != MapType::HASH_OF_MAPS || self.value_size == 4)?;
                if u64::from(self.key_size) + value >= KMALLOC_MAX - 64 {
                    return Err(Errno::E2BIG);
                }
                if self.max_entries > 1 << 31 {
                    return Err(Errno::E2BIG);
                }
                if self.is_per_cpu() { fits_cpu } else { Ok(()) }
            }
            MapType::LPM_TRIE => {
                must(self.max_entries > 0 && flags & flag::NO_PREALLOC != 0)?;
                only(flag::NO_PREALLOC | flag::NUMA_NODE | flag::ACCESS)?;
                access?;
                must((5..=4 + 256).contains(&self.key_size))?;
                must(value > 0 && value < KMALLOC_MAX - 256 - 64)
            }
            MapType::QUEUE | MapType::STACK => {
                must(self.max_entries > 0 && self.key_size == 0 && self.value_size > 0)?;
                only(flag::NUMA_NODE | flag::ACCESS)?;
                access?;
                if value > KMALLOC_MAX { Err(Errno::E2BIG) } else { Ok(()) }
            }
            MapType::BLOOM_FILTER => {
                must(self.max_entries > 0 && self.key_size == 0 && self.value_size > 0)?;
                only(flag::NUMA_NODE | flag::ZERO_SEED | flag::ACCESS)?;
                access?;
                must(self.extra & !0xf == 0)
            }
            MapType::RING_BUFFER | MapType::USER_RING_BUFFER => {
                only(flag::NUMA_NODE)?;
                must(self.key_size == 0 && self.value_size == 0)?;
                must(self.max_entries.is_power_of_two() && self.max_entries.is_multiple_of(PAGE))
            }
            MapType::PROGRAM_ARRAY
            | MapType::PERF_EVENT_ARRAY
            | MapType::CGROUP_ARRAY
            | MapType::ARRAY_OF_MAPS => {
                must(self.max_entries > 0 && self.key_size == 4 && self.value_size == 4)?;
                let keep = match self.kind {
                    MapType::PERF_EVENT_ARRAY => flag::PRESERVE_ELEMS,
                    _ => 0,
                };
                only(flag::NUMA_NODE | flag::RDONLY | flag::WRONLY | keep)
            }
            MapType::DEVICE_MAP | MapType::DEVICE_HASH | MapType::CPU_MAP => {
                must(self.max_entries > 0 && self.key_size == 4)?;
                must(matches!(self.value_size, 4 | 8))?;
                let access = match self.kind {
                    MapType::CPU_MAP => 0,
                    _ => flag::RDONLY | flag::WRONLY,
                };
                only(flag::NUMA_NODE | access)?;
                if self.kind == MapType::CPU_MAP && self.max_entries > CPUS_MAX {
                    return Err(Errno::E2BIG);
                }
                Ok(())
            }
            MapType::XSK_MAP => {
                must(self.max_entries > 0 && self.key_size == 4 && self.value_size == 4)?;
                only(flag::NUMA_NODE | flag::RDONLY | flag::WRONLY)
            }
            MapType::SOCKET_MAP | MapType::SOCKET_HASH | MapType::REUSEPORT_SOCKET_ARRAY => {
                must(self.max_entries > 0 && self.key_size > 0)?;
                must(self.kind == MapType::SOCKET_HASH || self.key_size == 4)?;
                must(matches!(self.value_size, 4 | 8))?;
                only(flag::NUMA_NODE | flag::RDONLY | flag::WRONLY)?;
                if self.key_size > STACK_MAX { Err(Errno::E2BIG) } else { Ok(()) }
            }
            MapType::SOCKET_STORAGE
            | MapType::INODE_STORAGE
            | MapType::TASK_STORAGE
            | MapType::CGROUP_LOCAL_STORAGE => {
                only(flag::NO_PREALLOC | flag::CLONE)?;
                must(flags & flag::NO_PREALLOC != 0 && self.max_entries == 0)?;
                must(self.key_size == 4 && self.value_size > 0)?;
                if value > 0xffff - 64 { Err(Errno::E2BIG) } else { Ok(()) }
            }
            // kernel/bpf/local_storage.c
            MapType::CGROUP_STORAGE | MapType::PER_CPU_CGROUP_STORAGE => {
                must(matches!(self.key_size, 8 | 16) && self.max_entries == 0)?;
                must(self.value_size > 0)?;
                only(flag::NUMA_NODE | flag::ACCESS)?;
                access?;
                if value > PAGE.into() { Err(Errno::E2BIG) } else { Ok(()) }
            }
            // kernel/bpf/stackmap.c: addresses or build ids, of at most 127 frames.
            MapType::STACK_TRACE => {
                only(flag::NUMA_NODE | flag::RDONLY | flag::WRONLY | STACK_BUILD_ID)?;
                must(self.max_entries > 0 && self.key_size == 4)?;
                let frame = if flags & STACK_BUILD_ID != 0 { 32 } else { 8 };
                must(value >= 8 && value.is_multiple_of(frame) && value / frame <= 127)
            }
            _ => Err(Errno::EINVAL),
        }
    }
}

/// `BPF_F_STACK_BUILD_ID`.
const STACK_BUILD_ID: u32 = 1 << 5;
