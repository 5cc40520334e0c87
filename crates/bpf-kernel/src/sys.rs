//! bpf(2) itself: one attribute struct per command, one unsafe call.
//!
//! The structs hold the fields we use; the kernel takes what is missing at the end as zero
//! (kernel/bpf/syscall.c, `bpf_check_uarg_tail_zero`).

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Commands of bpf(2), by their numbers in include/uapi/linux/bpf.h.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    ProgTestRun = 10,
    ProgNextId = 11,
    MapNextId = 12,
    ProgById = 13,
    MapById = 14,
    ObjInfo = 15,
    BtfLoad = 18,
    BtfById = 19,
    MapLookupAndDelete = 21,
    MapFreeze = 22,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    MapDeleteBatch = 27,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
}

macro_rules! attributes {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
        #[repr(C)]
        pub(crate) struct $name { $(pub $field: $type),* }

        impl Default for $name {
            fn default() -> Self {
                Self::new_zeroed()
            }
        }
    )*};
}

attributes! {
    MapCreate {
        map_type: u32, key_size: u32, value_size: u32, max_entries: u32, map_flags: u32,
        inner_map_fd: u32, numa_node: u32, map_name: [u8; 16], map_ifindex: u32, btf_fd: u32,
        btf_key_type_id: u32, btf_value_type_id: u32, btf_vmlinux_value_type_id: u32,
        map_extra: u64,
    }
    /// Lookup, update, delete and next key: `value` is the next key for the last.
    MapElement { map_fd: u32, padding: u32, key: u64, value: u64, flags: u64 }
    MapBatch {
        in_batch: u64, out_batch: u64, keys: u64, values: u64, count: u32, map_fd: u32,
        elem_flags: u64, flags: u64,
    }
    ProgLoad {
        prog_type: u32, insn_cnt: u32, insns: u64, license: u64, log_level: u32, log_size: u32,
        log_buf: u64, kern_version: u32, prog_flags: u32, prog_name: [u8; 16], prog_ifindex: u32,
        expected_attach_type: u32, prog_btf_fd: u32, func_info_rec_size: u32, func_info: u64,
        func_info_cnt: u32, line_info_rec_size: u32, line_info: u64, line_info_cnt: u32,
        attach_btf_id: u32, attach_prog_fd: u32, padding: u32,
    }
    BtfLoad { btf: u64, log_buf: u64, btf_size: u32, log_size: u32, log_level: u32, padding: u32 }
    ObjPath { path: u64, bpf_fd: u32, file_flags: u32 }
    ById { id: u32, next_id: u32, open_flags: u32 }
    ObjInfo { bpf_fd: u32, info_len: u32, info: u64 }
    LinkCreate {
        prog_fd: u32, target: u32, attach_type: u32, flags: u32, relative_fd: u32, padding: u32,
        expected_revision: u64,
    }
    LinkUpdate { link_fd: u32, new_prog_fd: u32, flags: u32, old_prog_fd: u32 }
    LinkDetach { link_fd: u32, padding: u32 }
    TestRun {
        prog_fd: u32, retval: u32, data_size_in: u32, data_size_out: u32, data_in: u64,
        data_out: u64, repeat: u32, duration: u32, ctx_size_in: u32, ctx_size_out: u32,
        ctx_in: u64, ctx_out: u64,
    }
    /// The same with what Linux 5.18 added for live frames.
    TestRunLive {
        prog_fd: u32, retval: u32, data_size_in: u32, data_size_out: u32, data_in: u64,
        data_out: u64, repeat: u32, duration: u32, ctx_size_in: u32, ctx_size_out: u32,
        ctx_in: u64, ctx_out: u64, flags: u32, cpu: u32, batch_size: u32, padding: u32,
    }
}

/// Calls bpf(2).
///
/// # Safety
///
/// Every pointer in `attr` must be valid for what `command` reads or writes there.
pub(crate) unsafe fn bpf<A: FromBytes + IntoBytes>(
    command: Command,
    attr: &mut A,
) -> io::Result<i64> {
    // SAFETY: `attr` is a whole struct whose bytes may take any value; what its pointers point to
    // is the caller's promise.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, attr as *mut A, size_of::<A>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// As [`bpf`], for the commands that return a file descriptor.
///
/// # Safety
///
/// As for [`bpf`], and `command` must be one that returns a new descriptor.
pub(crate) unsafe fn bpf_fd<A: FromBytes + IntoBytes>(
    command: Command,
    attr: &mut A,
) -> io::Result<OwnedFd> {
    // SAFETY: passed on to the caller.
    let fd = unsafe { bpf(command, attr)? };
    // SAFETY: the kernel has just made this descriptor (close-on-exec) and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

pub(crate) fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

pub(crate) fn address<T: ?Sized>(value: &T) -> u64 {
    std::ptr::from_ref(value).cast::<u8>() as u64
}

pub(crate) fn address_mut<T: ?Sized>(value: &mut T) -> u64 {
    std::ptr::from_mut(value).cast::<u8>() as u64
}

/// The kernel's names of maps and programs: 15 bytes of letters, digits, `_` and `.`.
pub(crate) fn object_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().take(15).zip(name.bytes()) {
        *to = if from.is_ascii_alphanumeric() || from == b'.' { from } else { b'_' };
    }
    bytes
}

/// The numbers of all that `command` lists: one of the commands that give the next number.
pub(crate) fn ids(command: Command) -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    let mut attr = ById { id: 0, next_id: 0, open_flags: 0 };
    loop {
        // SAFETY: the struct holds no pointers.
        match unsafe { bpf(command, &mut attr) } {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(ids),
            Err(error) => return Err(error),
        }
        attr.id = attr.next_id;
        ids.push(attr.id);
    }
}

/// Calls BPF_OBJ_GET_INFO_BY_FD and returns how much of `info` the kernel knows.
pub(crate) fn object_info<I: FromBytes + IntoBytes>(
    fd: BorrowedFd<'_>,
    info: &mut I,
) -> io::Result<usize> {
    let mut attr =
        ObjInfo { bpf_fd: raw(fd), info_len: size_of::<I>() as u32, info: address_mut(info) };
    // SAFETY: the kernel writes at most `info_len` bytes to `info`, whose bytes may take any value
    // and whose own pointers are null (callers pass zeroed structs) or lead to a buffer of the
    // length that `info` says (`Program::map_ids`).
    unsafe { bpf(Command::ObjInfo, &mut attr)? };
    Ok(attr.info_len as usize)
}
