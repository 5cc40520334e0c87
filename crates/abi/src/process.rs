//! Processes, and sockets that remember theirs.

use crate::{Address, Port};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Names a process for as long as the machine runs: pids are reused, pairs are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ProcessKey {
    /// Start of the thread group's leader, boot-time nanoseconds (`task->start_boottime`).
    pub start_ns: u64,
    /// Thread group id in the initial pid namespace.
    pub pid: u32,
    pub zero: u32,
}

const _: () = assert!(size_of::<ProcessKey>() == 16);

impl ProcessKey {
    pub const NONE: ProcessKey = ProcessKey { start_ns: 0, pid: 0, zero: 0 };

    #[inline(always)]
    pub const fn is_none(&self) -> bool {
        self.pid == 0
    }
}

pub const COMM_LEN: usize = 16;
pub const BINARY_LEN: usize = 256;

/// Value of map `processes` (LRU hash by [`ProcessKey`]): written when the process first makes a
/// socket, so that an event can name it after it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Process {
    pub parent: ProcessKey,
    pub cgroup_id: u64,
    /// Grows with every exec, so that a changed binary is noticed.
    pub exec_id: u64,
    pub uid: u32,
    /// Bytes of `binary` that are used; the path is right-aligned in the array: its last byte is
    /// the array's last. A path that is longer than the array has lost its beginning.
    pub binary_len: u32,
    pub comm: [u8; COMM_LEN],
    pub binary: [u8; BINARY_LEN],
}

const _: () = assert!(size_of::<Process>() == 312);

/// Value of socket storage `socket_owners`; accepted sockets inherit it (`BPF_F_CLONE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SocketOwner {
    pub process: ProcessKey,
    /// What connect(2) was called with, if it was translated; else none.
    pub vip: Address,
    pub vip_port: Port,
    pub zero: u16,
    /// Service that was translated, or 0.
    pub service: u32,
    /// Backend it was translated to.
    pub backend: u32,
    pub zero2: u32,
}

const _: () = assert!(size_of::<SocketOwner>() == 48);

impl SocketOwner {
    pub const NONE: SocketOwner = SocketOwner {
        process: ProcessKey::NONE,
        vip: Address::NONE,
        vip_port: Port::NONE,
        zero: 0,
        service: 0,
        backend: 0,
        zero2: 0,
    };
}
