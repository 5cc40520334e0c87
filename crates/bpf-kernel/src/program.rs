//! Loaded programs.

mod details;

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use aya_obj::generated::{bpf_attach_type, bpf_insn, bpf_prog_type};
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes};

pub use self::details::ProgramDetails;
use crate::{
    Error,
    map::fd_is,
    pin,
    sys::{self, Command},
};

/// What kind of program it is and, for the kinds the kernel checks at load, for which hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramKind {
    pub number: u32,
    /// `bpf_attach_type`; zero where the kind has only one hook or the hook is chosen at attaching.
    pub hook: u32,
}

impl ProgramKind {
    pub const CLASSIFIER: Self = Self::any_hook(bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS);
    pub const XDP: Self = Self::any_hook(bpf_prog_type::BPF_PROG_TYPE_XDP);

    pub const fn new(kind: bpf_prog_type, hook: bpf_attach_type) -> Self {
        Self { number: kind as u32, hook: hook as u32 }
    }

    const fn any_hook(kind: bpf_prog_type) -> Self {
        Self { number: kind as u32, hook: 0 }
    }
}

/// A program in the kernel.
#[derive(Debug)]
pub struct Program {
    name: String,
    fd: OwnedFd,
    kind: ProgramKind,
}

/// A program's numbers as the kernel reports them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    pub id: u32,
    /// Hash of the instructions; not of the constants in `.rodata`.
    pub tag: u64,
    pub kind: u32,
    /// Up to 15 bytes.
    pub name: String,
    /// Bytes of machine code and of the verified program.
    pub machine_code: u32,
    pub translated: u32,
    /// Instructions the verifier walked, since Linux 5.16.
    pub verified_instructions: Option<u32>,
}

/// The part of `struct bpf_prog_info` we read.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct KernelProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; 16],
    ifindex: u32,
    gpl_compatible: u32,
    netns_dev: u64,
    netns_ino: u64,
    /// Counts and pointers of further tables, which stay zero so that none is written.
    tables: [u64; 14],
    verified_insns: u32,
    attach_btf_obj_id: u32,
}

impl KernelProgramInfo {
    fn name(&self) -> String {
        let length = self.name.iter().position(|byte| *byte == 0).unwrap_or(self.name.len());
        String::from_utf8_lossy(&self.name[..length]).into_owned()
    }
}

/// What to load, before the kernel has seen it.
#[derive(Debug)]
pub(crate) struct Code<'a> {
    pub name: &'a str,
    pub kind: ProgramKind,
    pub license: &'a CString,
    pub instructions: &'a [bpf_insn],
    pub debug: Option<DebugInfo<'a>>,
}

/// Where functions and source lines begin, for the verifier and its log.
#[derive(Debug)]
pub(crate) struct DebugInfo<'a> {
    pub btf: BorrowedFd<'a>,
    pub functions: Vec<u8>,
    pub function_record: usize,
    pub lines: Vec<u8>,
    pub line_record: usize,
}

/// The largest verifier log that all kernels since 5.10 take.
const LOG_SIZE: usize = (1 << 24) - 1;

impl Code<'_> {
    /// Loads the program; the error comes with the verifier's log.
    pub(crate) fn load(&self) -> Result<OwnedFd, (io::Error, String)> {
        let first = match self.try_load(&mut []) {
            Ok(fd) => return Ok(fd),
            Err(error) => error,
        };
        // Only now with a log: writing it is slow. The pages are touched as far as it is written.
        let mut log = vec![0; LOG_SIZE];
        match self.try_load(&mut log) {
            Ok(fd) => Ok(fd),
            Err(error) => {
                let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
                // With ENOSPC the log did not fit; the first answer tells the reason.
                let error = if error.raw_os_error() == Some(libc::ENOSPC) { first } else { error };
                Err((error, String::from_utf8_lossy(&log[..end]).into_owned()))
            }
        }
    }

    fn try_load(&self, log: &mut [u8]) -> io::Result<OwnedFd> {
        let mut attr = sys::ProgLoad {
            prog_type: self.kind.number,
            insn_cnt: self.instructions.len() as u32,
            insns: sys::address(self.instructions),
            license: sys::address(self.license.as_bytes_with_nul()),
            prog_name: sys::object_name(self.name),
            expected_attach_type: self.kind.hook,
            ..Default::default()
        };
        if let Some(debug) = &self.debug {
            attr.prog_btf_fd = sys::raw(debug.btf);
            if !debug.functions.is_empty() {
                attr.func_info = sys::address(debug.functions.as_slice());
                attr.func_info_rec_size = debug.function_record as u32;
                attr.func_info_cnt = (debug.functions.len() / debug.function_record) as u32;
            }
            if !debug.lines.is_empty() {
                attr.line_info = sys::address(debug.lines.as_slice());
                attr.line_info_rec_size = debug.line_record as u32;
                attr.line_info_cnt = (debug.lines.len() / debug.line_record) as u32;
            }
        }
        if !log.is_empty() {
            attr.log_level = 1;
            attr.log_size = log.len() as u32;
            attr.log_buf = sys::address_mut(log);
        }
        let mut attempts = 0;
        loop {
            // SAFETY: all pointers are to buffers of the given sizes that outlive the call.
            match unsafe { sys::bpf_fd(Command::ProgLoad, &mut attr) } {
                // The verifier gives up with EAGAIN when a signal is pending.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && attempts < 5 => {
                    attempts += 1;
                }
                result => return result,
            }
        }
    }
}

impl Program {
    pub(crate) fn from_fd(name: &str, fd: OwnedFd, kind: ProgramKind) -> Self {
        Self { name: name.to_owned(), fd, kind }
    }

    /// Loads bare instructions (8 bytes each, GPL), for probes and tests. The error holds the
    /// verifier's log.
    pub fn from_instructions(
        name: &str,
        kind: ProgramKind,
        instructions: &[[u8; 8]],
    ) -> Result<Self, Error> {
        let instructions: Vec<bpf_insn> = instructions
            .iter()
            .map(|bytes| {
                let mut instruction = bpf_insn {
                    code: bytes[0],
                    _bitfield_align_1: [],
                    _bitfield_1: Default::default(),
                    off: i16::from_le_bytes([bytes[2], bytes[3]]),
                    imm: i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
                };
                instruction.set_dst_reg(bytes[1] & 0xf);
                instruction.set_src_reg(bytes[1] >> 4);
                instruction
            })
            .collect();
        let code = Code {
            name,
            kind,
            license: &c"GPL".to_owned(),
            instructions: &instructions,
            debug: None,
        };
        let fd = code.load().map_err(|(source, log)| {
            Error::Load(Box::new(crate::LoadFailure {
                object: "instructions".to_owned(),
                program: name.to_owned(),
                source,
                log: crate::verifier::tail(&log),
                location: None,
            }))
        })?;
        Ok(Self::from_fd(name, fd, kind))
    }

    /// Opens the program pinned at `path`, whose last part names it.
    ///
    /// The kernel does not tell which hook it was loaded for, so it can be attached to interfaces
    /// but not to cgroups.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_if_pinned(path)?.ok_or_else(|| Error::NotPinned { path: path.to_owned() })
    }

    /// As [`Program::open`]; `None` when nothing is pinned there.
    pub fn open_if_pinned(path: &Path) -> Result<Option<Self>, Error> {
        let Some(fd) = pin::open(path)? else { return Ok(None) };
        if !fd_is(fd.as_fd(), "bpf-prog") {
            return Err(Error::WrongPin { path: path.to_owned(), expected: "a program" });
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let info = kernel_info(fd.as_fd())
            .map_err(|source| Error::OpenPin { path: path.to_owned(), source })?;
        Ok(Some(Self { name, fd, kind: ProgramKind { number: info.kind, hook: 0 } }))
    }

    /// Gives a program that was opened through its pin the hook of `other`, the same program newly
    /// loaded: the kernel doesn't tell it.
    pub fn with_hook_of(mut self, other: &Program) -> Self {
        self.kind.hook = other.kind.hook;
        self
    }

    /// The program with this id: what a link found by its pin holds.
    pub fn from_id(id: u32) -> Result<Self, Error> {
        let mut attr = sys::ById { id, next_id: 0, open_flags: 0 };
        // SAFETY: the struct holds no pointers.
        let opened = unsafe { sys::bpf_fd(Command::ProgById, &mut attr) }
            .and_then(|fd| kernel_info(fd.as_fd()).map(|info| (fd, info)));
        let (fd, info) = opened.map_err(|source| Error::Link {
            operation: "open",
            target: format!("the program with id {id}"),
            source,
        })?;
        Ok(Self::from_fd(&info.name(), fd, ProgramKind { number: info.kind, hook: 0 }))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn kind(&self) -> ProgramKind {
        self.kind
    }

    pub fn info(&self) -> Result<ProgramInfo, Error> {
        let info = kernel_info(self.fd.as_fd()).map_err(|source| Error::Link {
            operation: "read the numbers of",
            target: format!("program `{}`", self.name),
            source,
        })?;
        Ok(ProgramInfo {
            id: info.id,
            tag: u64::from_be_bytes(info.tag),
            kind: info.kind,
            name: info.name(),
            machine_code: info.jited_prog_len,
            translated: info.xlated_prog_len,
            verified_instructions: (info.verified_insns != 0).then_some(info.verified_insns),
        })
    }

    /// Numbers of the maps it uses, its constants among them.
    pub fn map_ids(&self) -> Result<Vec<u32>, Error> {
        let failed = |source| Error::Link {
            operation: "read the maps of",
            target: format!("program `{}`", self.name),
            source,
        };
        let count = kernel_info(self.fd.as_fd()).map_err(failed)?.nr_map_ids;
        let mut ids = vec![0u32; count as usize];
        let mut info = KernelProgramInfo::new_zeroed();
        info.nr_map_ids = count;
        info.map_ids = sys::address_mut(ids.as_mut_slice());
        sys::object_info(self.fd.as_fd(), &mut info).map_err(failed)?;
        ids.truncate(info.nr_map_ids as usize);
        Ok(ids)
    }

    /// Pins the program at `path`, in the place of what may be pinned there.
    pub fn pin(&self, path: &Path) -> Result<(), Error> {
        pin::replace(self.fd.as_fd(), path)
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn kernel_info(fd: BorrowedFd<'_>) -> io::Result<KernelProgramInfo> {
    let mut info = KernelProgramInfo::new_zeroed();
    sys::object_info(fd, &mut info)?;
    Ok(info)
}
