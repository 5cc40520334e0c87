//! Programs that `bpf-object` has linked, put to the kernel's verifier as they are, with all that
//! aya has no word for: any section's kind, kernel functions, every kind of map.
//!
//! [`Maps::create`] makes what the programs of an object share; [`Maps::load`] asks the kernel for
//! its verdict on one of them and gives the whole of the verifier's log. A program that was taken
//! can be run on made-up input. Nothing is attached or pinned.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use bpf_object::btf::{Btf, Kind, TypeId};
use bpf_object::{AttachType, MapType, Object, PointerTarget, ProgramKind, ProgramType};

use crate::error::Error;
use crate::map::{MapKind, MapLayout};
use crate::sys::{self, Command};

/// An object's maps and types in the kernel.
#[derive(Debug)]
pub struct Maps {
    /// In the object's order; `None` for what only describes something else.
    maps: Vec<Option<OwnedFd>>,
    types: Option<OwnedFd>,
    types_refused: Option<Error>,
}

/// How a program is to be loaded.
#[derive(Clone, Debug)]
pub struct Load<'a> {
    pub kind: &'a ProgramKind,
    /// Flags of `BPF_PROG_LOAD`, in addition to those that the kind brings.
    pub flags: u32,
    /// Bits of the verifier's log: 1 the way through the program, 2 all of it, 4 statistics.
    pub log_level: u32,
    /// The kernel's types, in which targets are looked up.
    pub kernel: &'a Btf,
}

/// The kernel's verdict.
#[derive(Debug)]
pub struct Verdict {
    /// The program, or why it was refused.
    pub program: io::Result<Loaded>,
    pub log: String,
}

impl Verdict {
    /// How many instructions the verifier looked at, by the statistics in its log.
    pub fn processed(&self) -> Option<u32> {
        let (_, rest) = self.log.rsplit_once("processed ")?;
        rest.split(' ').next()?.parse().ok()
    }
}

/// A program in the kernel.
#[derive(Debug)]
pub struct Loaded {
    name: String,
    fd: OwnedFd,
}

/// `BPF_F_RDONLY_PROG`; with such maps, what is in them is known to the verifier once it is frozen.
const READ_ONLY: u32 = 1 << 7;
const SLEEPABLE: u32 = 1 << 4;
const FRAGMENTS: u32 = 1 << 5;
const LOG_SIZE: usize = 8 << 20;

impl Maps {
    pub fn create(object: &Object) -> Result<Self, Error> {
        // Most programs can do without types, and libbpf, too, goes on without those refused.
        let (types, types_refused) = match object.types.as_ref().map(load_types) {
            None => (None, None),
            Some(Ok(types)) => (Some(types), None),
            Some(Err(error)) => (None, Some(error)),
        };
        let mut maps = Self { maps: Vec::new(), types, types_refused };
        for map in &object.maps {
            let fd = maps.create_map(map)?;
            maps.maps.push(fd);
        }
        for (map, fd) in object.maps.iter().zip(&maps.maps) {
            for value in &map.values {
                let (Some(fd), PointerTarget::Map(inner)) = (fd, &value.target) else { continue };
                if let Some(Some(inner)) = maps.maps.get(*inner) {
                    let descriptor = sys::raw(inner.as_fd()).to_ne_bytes();
                    update(fd.as_fd(), map, value.index, &descriptor)?;
                }
            }
        }
        Ok(maps)
    }

    /// Why the kernel has not taken the object's types. What depends on them is refused then.
    pub fn types_refused(&self) -> Option<&Error> {
        self.types_refused.as_ref()
    }

    fn create_map(&self, map: &bpf_object::Map) -> Result<Option<OwnedFd>, Error> {
        if map.kind == MapType::STRUCT_OPS {
            return Ok(None);
        }
        let inner = match &map.inner {
            Some(inner) => self.create_map(inner)?,
            None => None,
        };
        let max_entries = max_entries(map);
        let mut attr = sys::MapCreate {
            map_type: map.kind.0,
            key_size: map.key_size,
            value_size: map.value_size,
            max_entries,
            map_flags: map.flags,
            map_name: sys::object_name(&map.name),
            inner_map_fd: inner.as_ref().map_or(0, |inner| sys::raw(inner.as_fd())),
            map_extra: map.extra,
            ..Default::default()
        };
        if let (Some(types), true) = (&self.types, takes_types(map.kind)) {
            attr.btf_fd = sys::raw(types.as_fd());
            attr.btf_key_type_id = map.key_type.map_or(0, |id| id.0);
            attr.btf_value_type_id = map.value_type.map_or(0, |id| id.0);
        }
        let mut untyped = attr;
        // SAFETY: the attributes hold no pointers.
        let fd = unsafe { sys::bpf_fd(Command::MapCreate, &mut attr) }.or_else(|_| {
            // As libbpf does: not every kind takes types on every kernel.
            (untyped.btf_fd, untyped.btf_key_type_id, untyped.btf_value_type_id) = (0, 0, 0);
            // SAFETY: the attributes hold no pointers.
            unsafe { sys::bpf_fd(Command::MapCreate, &mut untyped) }
        });
        let fd = fd.map_err(|source| Error::MapCreate {
            map: map.name.clone(),
            layout: MapLayout {
                kind: MapKind::from_number(map.kind.0),
                key_size: map.key_size,
                value_size: map.value_size,
                max_entries,
                flags: map.flags,
            },
            source,
        })?;
        if let Some(contents) = &map.contents {
            if map.kind == MapType::ARRAY && !contents.is_empty() {
                update(fd.as_fd(), map, 0, contents)?;
            }
            if map.flags & READ_ONLY != 0 {
                freeze(fd.as_fd(), &map.name)?;
            }
        }
        Ok(Some(fd))
    }

    /// A handle to the map of that number, to read and set it. `None` for what is no map.
    pub fn handle(&self, map: usize) -> Result<Option<crate::Map>, Error> {
        let Some(Some(fd)) = self.maps.get(map) else { return Ok(None) };
        crate::Map::from_descriptor(fd.as_fd()).map(Some)
    }

    /// Sets an element of the map of that number, such as the object's user would before a run.
    pub fn set(&self, object: &Object, map: usize, key: u32, value: &[u8]) -> Result<(), Error> {
        match (object.maps.get(map), self.maps.get(map)) {
            (Some(map), Some(Some(fd))) => update(fd.as_fd(), map, key, value),
            _ => Err(Error::NotInObject {
                object: "object".to_owned(),
                what: "map",
                name: map.to_string(),
            }),
        }
    }

    /// Puts a program into the map of that number, for tail calls.
    pub fn set_program(
        &self,
        object: &Object,
        map: usize,
        key: u32,
        program: &Loaded,
    ) -> Result<(), Error> {
        self.set(object, map, key, &sys::raw(program.descriptor()).to_ne_bytes())
    }

    /// Puts a program to the kernel's verifier.
    pub fn load(&self, object: &Object, program: &bpf_object::Program, load: &Load<'_>) -> Verdict {
        let mut log = vec![0; if load.log_level == 0 { 0 } else { LOG_SIZE }];
        let fd = self.load_with_log(object, program, load, &mut log);
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
        let loaded = fd.map(|fd| Loaded { name: program.name.clone(), fd });
        Verdict { program: loaded, log: String::from_utf8_lossy(&log[..end]).into_owned() }
    }

    fn load_with_log(
        &self,
        object: &Object,
        program: &bpf_object::Program,
        load: &Load<'_>,
        log: &mut [u8],
    ) -> io::Result<OwnedFd> {
        let code = self.bound(&program.code);
        let license = CString::new(object.license.as_str()).unwrap_or_default();
        let (functions, lines) = (program.function_info(), program.line_info());
        let mut flags = load.flags;
        flags |= if load.kind.sleepable { SLEEPABLE } else { 0 };
        flags |= if load.kind.fragments { FRAGMENTS } else { 0 };
        let mut attr = sys::ProgLoad {
            prog_type: load.kind.program.0,
            insn_cnt: (code.len() / 8) as u32,
            insns: sys::address(code.as_slice()),
            license: sys::address(license.as_bytes_with_nul()),
            prog_flags: flags,
            prog_name: sys::object_name(&program.name),
            expected_attach_type: load.kind.attach.map_or(0, |attach| attach.0),
            attach_btf_id: attach_target(load.kind, load.kernel).map_or(0, |id| id.0),
            ..Default::default()
        };
        if let (Some(types), false) = (&self.types, functions.is_empty()) {
            attr.prog_btf_fd = sys::raw(types.as_fd());
            attr.func_info_rec_size = 8;
            attr.func_info = sys::address(functions.as_slice());
            attr.func_info_cnt = (functions.len() / 8) as u32;
            attr.line_info_rec_size = 16;
            attr.line_info = sys::address(lines.as_slice());
            attr.line_info_cnt = (lines.len() / 16) as u32;
        }
        if !log.is_empty() {
            attr.log_level = load.log_level;
            attr.log_size = log.len() as u32;
            attr.log_buf = sys::address_mut(log);
        }
        // SAFETY: all pointers are to buffers of the given sizes that outlive the call.
        unsafe { sys::bpf_fd(Command::ProgLoad, &mut attr) }
    }

    /// The code with the maps' descriptors in the places of their numbers.
    fn bound(&self, code: &[u8]) -> Vec<u8> {
        const WIDE: u8 = 0x18;
        let mut code = code.to_vec();
        let (slots, _) = code.as_chunks_mut::<8>();
        let mut at = 0;
        while let Some(slot) = slots.get_mut(at) {
            at += 1;
            if slot[0] != WIDE {
                continue;
            }
            at += 1;
            // By index in the object's list: 5 the map, 6 its first value; by descriptor: 1 and 2.
            let source = match slot[1] >> 4 {
                5 => 1,
                6 => 2,
                _ => continue,
            };
            let index = i32::from_le_bytes([slot[4], slot[5], slot[6], slot[7]]);
            let map = usize::try_from(index).ok().and_then(|index| self.maps.get(index));
            // A map that isn't there has no descriptor; the kernel says so in its log.
            let fd = map.and_then(|map| map.as_ref()).map_or(u32::MAX, |fd| sys::raw(fd.as_fd()));
            slot[1] = source << 4 | slot[1] & 0xf;
            slot[4..].copy_from_slice(&fd.to_le_bytes());
        }
        code
    }
}

impl Loaded {
    /// Runs the program on a packet, as often as `repeat` says; what it returned.
    pub fn run(&self, packet: &[u8], repeat: u32) -> Result<u32, Error> {
        let mut output = vec![0; packet.len() * 4];
        let mut attr =
            sys::TestRun { prog_fd: sys::raw(self.fd.as_fd()), repeat, ..Default::default() };
        if !packet.is_empty() {
            attr.data_in = sys::address(packet);
            attr.data_size_in = packet.len() as u32;
            attr.data_out = sys::address_mut(output.as_mut_slice());
            attr.data_size_out = output.len() as u32;
        }
        // SAFETY: all pointers are to buffers of the given sizes that outlive the call.
        unsafe { sys::bpf(Command::ProgTestRun, &mut attr) }
            .map_err(|source| Error::TestRun { program: self.name.clone(), source })?;
        Ok(attr.retval)
    }

    /// As the programs that this crate loads otherwise: to be pinned, attached, tried.
    pub fn into_program(self, kind: &ProgramKind) -> crate::Program {
        let hook = kind.attach.map_or(0, |attach| attach.0);
        let kind = crate::ProgramKind { number: kind.program.0, hook };
        crate::Program::from_fd(&self.name, self.fd, kind)
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What an object may leave to its loader.
fn max_entries(map: &bpf_object::Map) -> u32 {
    match (map.kind, map.max_entries) {
        (MapType::PERF_EVENT_ARRAY, 0) => {
            std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32)
        }
        // A power of two that is a multiple of the page's size (kernel/bpf/ringbuf.c, 6.12).
        (MapType::RING_BUFFER | MapType::USER_RING_BUFFER, bytes) => {
            bytes.max(4096).checked_next_power_of_two().unwrap_or(bytes)
        }
        (_, entries) => entries,
    }
}

/// Maps whose keys and values have no types, as libbpf has it.
fn takes_types(kind: MapType) -> bool {
    !matches!(
        kind,
        MapType::PERF_EVENT_ARRAY
            | MapType::CGROUP_ARRAY
            | MapType::STACK_TRACE
            | MapType::ARRAY_OF_MAPS
            | MapType::HASH_OF_MAPS
            | MapType::DEVICE_MAP
            | MapType::DEVICE_HASH
            | MapType::CPU_MAP
            | MapType::XSK_MAP
            | MapType::SOCKET_MAP
            | MapType::SOCKET_HASH
            | MapType::QUEUE
            | MapType::STACK
            | MapType::ARENA
    )
}

/// The type in the kernel that says what a program is attached to.
fn attach_target(kind: &ProgramKind, kernel: &Btf) -> Option<TypeId> {
    let function = |name: &str| kernel.find(name, |kind| matches!(kind, Kind::Function { .. }));
    let target = kind.target.as_str();
    if target.is_empty() {
        return None;
    }
    match (kind.program, kind.attach) {
        (ProgramType::LSM, _) => function(&format!("bpf_lsm_{target}")),
        (ProgramType::TRACING, Some(AttachType::TRACE_RAW_TP)) => {
            kernel.find(&format!("btf_trace_{target}"), |kind| matches!(kind, Kind::Typedef(_)))
        }
        (ProgramType::TRACING, Some(AttachType::TRACE_ITER)) => {
            function(&format!("bpf_iter_{target}"))
        }
        (ProgramType::TRACING, _) => function(target),
        _ => None,
    }
}

/// Kernels that refuse the types get them in the kinds that old ones know.
fn load_types(types: &Btf) -> Result<OwnedFd, Error> {
    let whole = load_as(&types.loadable());
    whole.or_else(|error| load_as(&types.loadable_by_old()).map_err(|_| error))
}

fn load_as(types: &Btf) -> Result<OwnedFd, Error> {
    let bytes = types.to_bytes();
    let mut log = vec![0; 1 << 16];
    let mut attr = sys::BtfLoad {
        btf: sys::address(bytes.as_slice()),
        btf_size: bytes.len() as u32,
        log_level: 1,
        log_size: log.len() as u32,
        log_buf: sys::address_mut(log.as_mut_slice()),
        ..Default::default()
    };
    // SAFETY: both buffers have the given sizes and outlive the call.
    let loaded = unsafe { sys::bpf_fd(Command::BtfLoad, &mut attr) }.or_else(|error| {
        if error.raw_os_error() != Some(libc::ENOSPC) {
            return Err(error);
        }
        // The log didn't fit, which says nothing of the types.
        (attr.log_level, attr.log_size, attr.log_buf) = (0, 0, 0);
        // SAFETY: the buffer has the given size and outlives the call.
        unsafe { sys::bpf_fd(Command::BtfLoad, &mut attr) }
    });
    loaded.map_err(|source| {
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
        let log = crate::verifier::tail(&String::from_utf8_lossy(&log[..end])).join("\n");
        Error::Btf { object: "object".to_owned(), source, log }
    })
}

/// Sets an element of an array or a hash with keys of 4 bytes.
fn update(fd: BorrowedFd<'_>, map: &bpf_object::Map, key: u32, value: &[u8]) -> Result<(), Error> {
    let fail =
        |source| Error::Map { map: map.name.clone(), operation: "setting an element", source };
    let per_cpu = matches!(
        map.kind,
        MapType::PER_CPU_ARRAY | MapType::PER_CPU_HASH | MapType::LRU_PER_CPU_HASH
    );
    if map.key_size != 4 || value.len() != map.value_size as usize || per_cpu {
        return Err(fail(io::Error::from_raw_os_error(libc::EINVAL)));
    }
    let mut attr = sys::MapElement {
        map_fd: sys::raw(fd),
        key: sys::address(&key),
        value: sys::address(value),
        ..Default::default()
    };
    // SAFETY: key and value have the sizes that the map was made with, and outlive the call.
    unsafe { sys::bpf(Command::MapUpdate, &mut attr) }.map(drop).map_err(fail)
}

fn freeze(fd: BorrowedFd<'_>, map: &str) -> Result<(), Error> {
    let mut attr = sys::MapElement { map_fd: sys::raw(fd), ..Default::default() };
    // SAFETY: the attributes hold no pointers.
    unsafe { sys::bpf(Command::MapFreeze, &mut attr) }.map(drop).map_err(|source| Error::Map {
        map: map.to_owned(),
        operation: "freezing",
        source,
    })
}
