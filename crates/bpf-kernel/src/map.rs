//! Maps: a kernel map by descriptor ([`Map`]) and typed access to one ([`Table`], [`PerCpu`]).

mod batch;
mod details;
mod percpu;
mod table;

use std::{
    fmt, fs, io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use aya_obj::generated::bpf_map_type;
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes};

pub use self::{
    details::{MapDetails, RawEntry, types},
    percpu::PerCpu,
    table::Table,
};
use crate::{
    Error, Program, pin,
    sys::{self, Command},
};

/// The kinds of maps we make ourselves and reason about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKind {
    Hash,
    Array,
    PerCpuHash,
    PerCpuArray,
    LruHash,
    LruPerCpuHash,
    LpmTrie,
    RingBuffer,
    SocketStorage,
    /// Any other, by the kernel's number.
    Other(u32),
}

const KINDS: [(MapKind, bpf_map_type, &str); 9] = [
    (MapKind::Hash, bpf_map_type::BPF_MAP_TYPE_HASH, "hash"),
    (MapKind::Array, bpf_map_type::BPF_MAP_TYPE_ARRAY, "array"),
    (MapKind::PerCpuHash, bpf_map_type::BPF_MAP_TYPE_PERCPU_HASH, "per-CPU hash"),
    (MapKind::PerCpuArray, bpf_map_type::BPF_MAP_TYPE_PERCPU_ARRAY, "per-CPU array"),
    (MapKind::LruHash, bpf_map_type::BPF_MAP_TYPE_LRU_HASH, "LRU hash"),
    (MapKind::LruPerCpuHash, bpf_map_type::BPF_MAP_TYPE_LRU_PERCPU_HASH, "LRU per-CPU hash"),
    (MapKind::LpmTrie, bpf_map_type::BPF_MAP_TYPE_LPM_TRIE, "LPM trie"),
    (MapKind::RingBuffer, bpf_map_type::BPF_MAP_TYPE_RINGBUF, "ring buffer"),
    (MapKind::SocketStorage, bpf_map_type::BPF_MAP_TYPE_SK_STORAGE, "socket storage"),
];

impl MapKind {
    pub fn from_number(number: u32) -> Self {
        KINDS
            .iter()
            .find(|(_, kernel, _)| *kernel as u32 == number)
            .map_or(Self::Other(number), |(kind, ..)| *kind)
    }

    pub fn number(self) -> u32 {
        match self {
            Self::Other(number) => number,
            _ => KINDS.iter().find(|(kind, ..)| *kind == self).map_or(0, |(_, k, _)| *k as u32),
        }
    }

    pub fn is_per_cpu(self) -> bool {
        matches!(self, Self::PerCpuHash | Self::PerCpuArray | Self::LruPerCpuHash)
    }
}

impl fmt::Display for MapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(number) => write!(f, "map type {number}"),
            _ => f.write_str(
                KINDS.iter().find(|(kind, ..)| kind == self).map_or("", |(.., name)| name),
            ),
        }
    }
}

/// What makes two maps interchangeable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapLayout {
    pub kind: MapKind,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    /// `BPF_F_*` of map creation.
    pub flags: u32,
}

impl fmt::Display for MapLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, key_size, value_size, max_entries, flags } = self;
        write!(f, "{kind}, key {key_size} B, value {value_size} B, {max_entries} entries")?;
        if *flags != 0 {
            write!(f, ", flags {flags:#x}")?;
        }
        Ok(())
    }
}

/// A map with its numbers as the kernel reports them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapInfo {
    pub id: u32,
    pub layout: MapLayout,
    /// Bytes of kernel memory, where the kernel says (`memlock` of the descriptor's fdinfo: a
    /// calculation before Linux 6.4, the memory in use from there on).
    pub memory: Option<u64>,
}

/// A map of the kernel, whatever it holds.
#[derive(Debug)]
pub struct Map {
    name: String,
    fd: OwnedFd,
    layout: MapLayout,
}

/// The part of `struct bpf_map_info` that is in every kernel from 5.10.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct KernelMapInfo {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    name: [u8; 16],
    ifindex: u32,
    btf_vmlinux_value_type_id: u32,
    netns_dev: u64,
    netns_ino: u64,
    btf_id: u32,
    btf_key_type_id: u32,
    btf_value_type_id: u32,
    padding: u32,
}

fn kernel_info(fd: BorrowedFd<'_>) -> io::Result<KernelMapInfo> {
    let mut info = KernelMapInfo::new_zeroed();
    sys::object_info(fd, &mut info)?;
    Ok(info)
}

impl KernelMapInfo {
    fn layout(&self) -> MapLayout {
        MapLayout {
            kind: MapKind::from_number(self.kind),
            key_size: self.key_size,
            value_size: self.value_size,
            max_entries: self.max_entries,
            flags: self.map_flags,
        }
    }
}

/// The type information of a new map: needed by socket storage, nice to have for the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapBtf<'a> {
    pub fd: BorrowedFd<'a>,
    pub key_type: u32,
    pub value_type: u32,
}

impl Map {
    /// Makes a map of no object, for tests and tools.
    pub fn create(name: &str, layout: MapLayout) -> Result<Self, Error> {
        Self::create_with_btf(name, layout, None)
    }

    pub(crate) fn create_with_btf(
        name: &str,
        layout: MapLayout,
        btf: Option<MapBtf<'_>>,
    ) -> Result<Self, Error> {
        let mut attr = sys::MapCreate {
            map_type: layout.kind.number(),
            key_size: layout.key_size,
            value_size: layout.value_size,
            max_entries: layout.max_entries,
            map_flags: layout.flags,
            map_name: sys::object_name(name),
            ..Default::default()
        };
        if let Some(btf) = btf {
            attr.btf_fd = sys::raw(btf.fd);
            attr.btf_key_type_id = btf.key_type;
            attr.btf_value_type_id = btf.value_type;
        }
        // SAFETY: the struct holds no pointers.
        let fd = unsafe { sys::bpf_fd(Command::MapCreate, &mut attr) }
            .map_err(|source| Error::MapCreate { map: name.to_owned(), layout, source })?;
        Ok(Self { name: name.to_owned(), fd, layout })
    }

    /// Opens the map pinned at `path`, whose last part names it in errors.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_if_pinned(path)?.ok_or_else(|| Error::NotPinned { path: path.to_owned() })
    }

    /// As [`Map::open`]; `None` when nothing is pinned there.
    pub fn open_if_pinned(path: &Path) -> Result<Option<Self>, Error> {
        let Some(fd) = pin::open(path)? else { return Ok(None) };
        // Programs and links answer the same call with structs of their own, so look first.
        if !fd_is(fd.as_fd(), "bpf-map") {
            return Err(Error::WrongPin { path: path.to_owned(), expected: "a map" });
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let layout = kernel_info(fd.as_fd())
            .map_err(|source| Error::OpenPin { path: path.to_owned(), source })?
            .layout();
        Ok(Some(Self { name, fd, layout }))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn layout(&self) -> MapLayout {
        self.layout
    }

    pub fn info(&self) -> Result<MapInfo, Error> {
        let info = kernel_info(self.fd.as_fd())
            .map_err(|source| self.failed("reading the numbers", source))?;
        let memory = fdinfo(self.fd.as_fd(), "memlock").and_then(|value| value.parse().ok());
        Ok(MapInfo { id: info.id, layout: info.layout(), memory })
    }

    pub fn pin(&self, path: &Path) -> Result<(), Error> {
        pin::pin(self.fd.as_fd(), path)
    }

    /// A second handle to the same map.
    pub fn duplicate(&self) -> Result<Self, Error> {
        let fd = self.fd.try_clone().map_err(|source| self.failed("copying the handle", source))?;
        Ok(Self { name: self.name.clone(), fd, layout: self.layout })
    }

    /// Of a program array: which program a tail call to `index` goes to.
    pub fn set_program(&self, index: u32, program: &Program) -> Result<(), Error> {
        let fd = sys::raw(program.as_fd());
        self.update(&index.to_ne_bytes(), &fd.to_ne_bytes(), 0)
            .map_err(|source| self.failed("setting a program", source))
    }

    /// Forbids changes by user space from now on, so that the verifier may trust the contents.
    pub(crate) fn freeze(&self) -> Result<(), Error> {
        let mut attr = sys::MapElement { map_fd: sys::raw(self.fd.as_fd()), ..Default::default() };
        // SAFETY: the command reads the descriptor only.
        unsafe { sys::bpf(Command::MapFreeze, &mut attr) }
            .map(drop)
            .map_err(|source| self.failed("freezing", source))
    }

    pub(crate) fn failed(&self, operation: &'static str, source: io::Error) -> Error {
        // E2BIG is a full hash but a bad index of an array; ENOSPC is a full LPM trie; ENOMEM is
        // what an LRU map says when no entry could be evicted.
        match (source.raw_os_error(), self.layout.kind) {
            (Some(libc::E2BIG), MapKind::Array | MapKind::PerCpuArray) => {}
            (Some(libc::E2BIG | libc::ENOSPC), _) => {
                return Error::MapFull {
                    map: self.name.clone(),
                    max_entries: self.layout.max_entries,
                };
            }
            _ => {}
        }
        Error::Map { map: self.name.clone(), operation, source }
    }

    /// The size of what the kernel reads and writes for one value: per-CPU maps have one for each
    /// possible CPU, padded to 8 bytes.
    pub(crate) fn value_bytes(&self) -> usize {
        let size = self.layout.value_size as usize;
        if self.layout.kind.is_per_cpu() {
            size.next_multiple_of(8) * possible_cpus()
        } else {
            size
        }
    }

    fn check(&self, key: &[u8], value: Option<&[u8]>) {
        assert_eq!(key.len(), self.layout.key_size as usize, "key of map {}", self.name);
        if let Some(value) = value {
            assert_eq!(value.len(), self.value_bytes(), "value of map {}", self.name);
        }
    }

    fn element(&self, key: &[u8], value: u64, flags: u64) -> sys::MapElement {
        sys::MapElement {
            map_fd: sys::raw(self.fd.as_fd()),
            padding: 0,
            key: sys::address(key),
            value,
            flags,
        }
    }

    pub(crate) fn lookup(&self, key: &[u8], value: &mut [u8]) -> Result<bool, Error> {
        self.lookup_with(Command::MapLookup, key, value)
    }

    pub(crate) fn lookup_and_delete(&self, key: &[u8], value: &mut [u8]) -> Result<bool, Error> {
        self.lookup_with(Command::MapLookupAndDelete, key, value)
    }

    fn lookup_with(&self, command: Command, key: &[u8], value: &mut [u8]) -> Result<bool, Error> {
        self.check(key, Some(value));
        let mut attr = self.element(key, sys::address_mut(value), 0);
        if key.is_empty() {
            // Where there are no keys the kernel wants none.
            attr.key = 0;
        }
        // SAFETY: `check` has compared both buffers with the sizes the kernel uses.
        match unsafe { sys::bpf(command, &mut attr) } {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(self.failed("looking up an entry", error)),
        }
    }

    pub(crate) fn update(&self, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
        self.check(key, Some(value));
        let mut attr = self.element(key, sys::address(value), flags);
        // SAFETY: `check` has compared both buffers with the sizes the kernel uses.
        unsafe { sys::bpf(Command::MapUpdate, &mut attr) }.map(drop)
    }

    pub(crate) fn delete(&self, key: &[u8]) -> Result<bool, Error> {
        self.check(key, None);
        let mut attr = self.element(key, 0, 0);
        // SAFETY: `check` has compared the key with the size the kernel uses.
        match unsafe { sys::bpf(Command::MapDelete, &mut attr) } {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(self.failed("deleting an entry", error)),
        }
    }

    /// The key after `key` (or the first); a key that is gone is followed by the first again.
    pub(crate) fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<bool, Error> {
        self.check(next, None);
        if let Some(key) = key {
            self.check(key, None);
        }
        let mut attr = self.element(key.unwrap_or_default(), sys::address_mut(next), 0);
        if key.is_none() {
            attr.key = 0;
        }
        // SAFETY: both buffers have the key's size; a null key asks for the first.
        match unsafe { sys::bpf(Command::MapNextKey, &mut attr) } {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(self.failed("listing the entries", error)),
        }
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A field of /proc/self/fdinfo.
pub(crate) fn fdinfo(fd: BorrowedFd<'_>, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| *name == field)
        .map(|(_, value)| value.trim().to_owned())
}

/// Whether a descriptor is the anonymous inode of that name: `bpf-map`, `bpf-prog`, `bpf_link`.
pub(crate) fn fd_is(fd: BorrowedFd<'_>, name: &str) -> bool {
    let wanted = format!("anon_inode:{name}");
    let bracketed = format!("anon_inode:[{name}]");
    fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).is_ok_and(|target| {
        let target = target.to_string_lossy();
        target == wanted || target == bracketed
    })
}

/// How many CPUs the kernel reserves per-CPU values for.
pub fn possible_cpus() -> usize {
    use std::sync::OnceLock;
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        fs::read_to_string("/sys/devices/system/cpu/possible")
            .ok()
            .and_then(|text| cpu_list_length(&text))
            // SAFETY: sysconf reads a number and has no preconditions.
            .unwrap_or_else(|| unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) }.max(1) as usize)
    })
}

/// `0-3,8` is five.
fn cpu_list_length(text: &str) -> Option<usize> {
    text.trim()
        .split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
            last.checked_sub(first).map(|length| length + 1)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(cpu_list_length("0\n"), Some(1));
        assert_eq!(cpu_list_length("0-3,8\n"), Some(5));
        assert_eq!(cpu_list_length("3-1"), None);
        assert_eq!(cpu_list_length(""), None);
    }

    #[test]
    fn kinds_have_the_kernels_numbers() {
        for (kind, kernel, _) in KINDS {
            assert_eq!(MapKind::from_number(kernel as u32), kind);
            assert_eq!(kind.number(), kernel as u32);
        }
        assert_eq!(MapKind::from_number(9999).to_string(), "map type 9999");
    }
}
