//! Maps of the kernel, by bpf(2) as it is: with its error numbers.

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use bpf_vm::Errno;
use bpf_vm::map::MapDefinition;

const MAP_CREATE: i64 = 0;
const LOOKUP: i64 = 1;
const UPDATE: i64 = 2;
const DELETE: i64 = 3;
const NEXT_KEY: i64 = 4;
const LOOKUP_AND_DELETE: i64 = 21;
const FREEZE: i64 = 22;

#[derive(Default)]
#[repr(C)]
struct Create {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map: u32,
    numa_node: u32,
    name: [u8; 16],
    ifindex: u32,
    btf: u32,
    btf_key: u32,
    btf_value: u32,
    btf_vmlinux_value: u32,
    extra: u64,
}

#[derive(Default)]
#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn bpf<T>(command: i64, attributes: &mut T) -> Result<i64, Errno> {
    let size = size_of::<T>();
    // SAFETY: the attributes' pointers, if any, lead to buffers of the sizes that the map has.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size) };
    if result >= 0 {
        return Ok(result);
    }
    let error = std::io::Error::last_os_error().raw_os_error().unwrap_or_default();
    Err(Errno(error as u32))
}

pub struct KernelMap {
    file: OwnedFd,
    key_size: usize,
    /// Of all CPUs, if it is per CPU.
    value_size: usize,
}

impl KernelMap {
    pub fn new(definition: &MapDefinition) -> Result<Self, Errno> {
        let mut create = Create {
            kind: definition.kind.0,
            key_size: definition.key_size,
            value_size: definition.value_size,
            max_entries: definition.max_entries,
            flags: definition.flags,
            extra: definition.extra,
            ..Create::default()
        };
        let file = bpf(MAP_CREATE, &mut create)? as i32;
        // SAFETY: the kernel has just made the descriptor for us.
        let file = unsafe { OwnedFd::from_raw_fd(file) };
        let size = definition.value_size as usize;
        let value_size = match definition.is_per_cpu() {
            true => size.next_multiple_of(8) * possible_cpus() as usize,
            false => size,
        };
        Ok(Self { file, key_size: definition.key_size as usize, value_size })
    }

    #[allow(dead_code, reason = "for the bench, which fills maps")]
    pub fn value_bytes(&self) -> usize {
        self.value_size
    }

    #[allow(dead_code, reason = "for the bench, whose programs name maps")]
    pub fn descriptor(&self) -> i32 {
        self.file.as_raw_fd()
    }

    fn element(&self, key: Option<&[u8]>, value: u64, flags: u64) -> Element {
        let key = key.filter(|key| !key.is_empty());
        assert!(key.is_none_or(|key| key.len() == self.key_size));
        let key = key.map_or(0, |key| key.as_ptr().expose_provenance() as u64);
        Element { map: self.file.as_raw_fd() as u32, padding: 0, key, value, flags }
    }

    fn read(
        &self,
        command: i64,
        key: Option<&[u8]>,
        size: usize,
        flags: u64,
    ) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; size];
        let value = bytes.as_mut_ptr().expose_provenance() as u64;
        bpf(command, &mut self.element(key, value, flags))?;
        Ok(bytes)
    }

    pub fn lookup(&self, key: &[u8], flags: u64) -> Result<Vec<u8>, Errno> {
        self.read(LOOKUP, Some(key), self.value_size, flags)
    }

    /// Of a bloom filter: whether it may hold the value.
    pub fn peek(&self, value: &[u8]) -> Result<(), Errno> {
        assert_eq!(value.len(), self.value_size);
        let value = value.as_ptr().expose_provenance() as u64;
        bpf(LOOKUP, &mut self.element(None, value, 0)).map(drop)
    }

    pub fn lookup_and_delete(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        self.read(LOOKUP_AND_DELETE, Some(key), self.value_size, 0)
    }

    pub fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        assert_eq!(value.len(), self.value_size);
        let value = value.as_ptr().expose_provenance() as u64;
        bpf(UPDATE, &mut self.element(Some(key), value, flags)).map(drop)
    }

    pub fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        bpf(DELETE, &mut self.element(Some(key), 0, 0)).map(drop)
    }

    pub fn next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        // Queues have no keys; the kernel would write none.
        self.read(NEXT_KEY, key, self.key_size.max(8), 0).map(|mut key| {
            key.truncate(self.key_size);
            key
        })
    }

    pub fn freeze(&self) -> Result<(), Errno> {
        bpf(FREEZE, &mut self.element(None, 0, 0)).map(drop)
    }
}

/// How many CPUs the kernel has values for.
pub fn possible_cpus() -> u32 {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = text.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<u32>().ok());
    last.map_or(1, |last| last + 1)
}

#[derive(Default)]
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

#[derive(Default)]
#[repr(C)]
struct TestRun {
    program: u32,
    result: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

const PROG_LOAD: i64 = 5;
const PROG_TEST_RUN: i64 = 10;

/// A program of the kernel.
#[allow(dead_code, reason = "one of two tests that share this file runs programs")]
pub struct KernelProgram(OwnedFd);

#[allow(dead_code, reason = "as above")]
impl KernelProgram {
    /// The error is what the verifier says.
    pub fn load(kind: u32, code: &[u8]) -> Result<Self, String> {
        let mut log = vec![0u8; 1 << 20];
        let license = c"GPL";
        let mut load = Load {
            kind,
            count: code.len() as u32 / 8,
            instructions: code.as_ptr().expose_provenance() as u64,
            license: license.as_ptr().expose_provenance() as u64,
            log_level: 1,
            log_size: log.len() as u32,
            log: log.as_mut_ptr().expose_provenance() as u64,
        };
        match bpf(PROG_LOAD, &mut load) {
            // SAFETY: the kernel has just made the descriptor for us.
            Ok(file) => Ok(Self(unsafe { OwnedFd::from_raw_fd(file as i32) })),
            Err(error) => {
                let text = String::from_utf8_lossy(log.split(|byte| *byte == 0).next().unwrap());
                Err(format!("{error}: {text}"))
            }
        }
    }

    /// What it returns for a packet, and what it makes of it.
    pub fn run(&self, packet: &[u8]) -> Result<(u32, Vec<u8>), Errno> {
        let mut after = vec![0; packet.len() + 8192];
        let mut run = TestRun {
            program: self.0.as_raw_fd() as u32,
            size_in: packet.len() as u32,
            size_out: after.len() as u32,
            data_in: packet.as_ptr().expose_provenance() as u64,
            data_out: after.as_mut_ptr().expose_provenance() as u64,
            repeat: 1,
            ..TestRun::default()
        };
        bpf(PROG_TEST_RUN, &mut run)?;
        after.truncate(run.size_out as usize);
        Ok((run.result, after))
    }
}
