//! Who makes a socket: the process, and what it runs.
//!
//! The helper that gives pid and thread group exists in cgroup programs since Linux 6.10 only, so
//! the task is read instead.

use crate::map::Hash;
use crate::maps;
use crate::task::{self, Pointer};
use abi::process::{BINARY_LEN, COMM_LEN, Process, ProcessKey, SocketOwner};
use aya_ebpf::bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock};
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_current_task, bpf_sk_storage_get};
use core::ptr;

/// Directories and mounts on the way of a binary that are looked at. A longer path loses its
/// beginning.
const STEPS: u32 = 40;

/// Longest name of a file (`NAME_MAX`).
const NAME_LEN: usize = 255;

/// Working memory while a process is described.
#[repr(C)]
struct Draft {
    /// Where in `binary` the path begins so far. In memory, so that the verifier knows nothing of it
    /// and finds all steps of the path alike.
    start: u64,
    process: Process,
    /// Nothing is written here: it is room for the verifier, which knows the bounds of where a name
    /// begins and of its length, but not that both together are within `binary`.
    slack: [u8; NAME_LEN + 1],
}

const EMPTY: Draft = Draft {
    start: BINARY_LEN as u64,
    process: Process {
        parent: ProcessKey::NONE,
        cgroup_id: 0,
        exec_id: 0,
        uid: 0,
        binary_len: 0,
        comm: [0; COMM_LEN],
        binary: [0; BINARY_LEN],
    },
    slack: [0; NAME_LEN + 1],
};

static NOTHING: Draft = EMPTY;

/// Drafts by task: programs on socket calls can be preempted, so that per-CPU memory would be
/// shared.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "drafts")]
static DRAFTS: Hash<u64, [u64; size_of::<Draft>() / 8], 1024> = Hash::new();

/// Makes the socket remember the current process, and describes the process if it is new or runs
/// something new.
///
/// # Safety
/// `socket` is that of the running program's context.
#[inline(always)]
pub unsafe fn own(socket: *mut bpf_sock) {
    // SAFETY: the helper has no preconditions.
    let task = Pointer(unsafe { bpf_get_current_task() });
    let Some(key) = key(task) else { return };
    let owner = SocketOwner { process: key, ..SocketOwner::NONE };
    // SAFETY: the caller's socket, and a map of socket storage with values of that type.
    unsafe {
        bpf_sk_storage_get(
            maps::SOCKET_OWNERS.as_ptr(),
            socket.cast(),
            ptr::from_ref(&owner).cast_mut().cast(),
            BPF_SK_STORAGE_GET_F_CREATE.into(),
        );
    }
    let exec_id = task.field(&task::TASK_STRUCT_SELF_EXEC_ID).unwrap_or(0);
    let known = maps::PROCESSES.lookup(&key);
    // SAFETY: not null, so it is an element of the map.
    if known.is_null() || unsafe { (*known).exec_id } != exec_id {
        describe(task, &key, exec_id);
    }
}

/// None if the loader has found no offsets.
#[inline(always)]
fn key(task: Pointer) -> Option<ProcessKey> {
    let pid = task.field(&task::TASK_STRUCT_TGID)?;
    let leader = task.follow(&task::TASK_STRUCT_GROUP_LEADER);
    let start_ns = leader.field(&task::TASK_STRUCT_START_BOOTTIME)?;
    Some(ProcessKey { start_ns, pid, zero: 0 })
}

#[inline(always)]
fn describe(task: Pointer, key: &ProcessKey, exec_id: u64) {
    if !DRAFTS.insert_as(&task.0, &NOTHING) {
        return;
    }
    let draft: *mut Draft = DRAFTS.lookup(&task.0).cast();
    if draft.is_null() {
        return;
    }
    // SAFETY: an element of this size, which belongs to the current task alone. Any bytes are a
    // `Draft`.
    let draft = unsafe { &mut *draft };
    let process = &mut draft.process;
    process.exec_id = exec_id;
    // SAFETY: the helper has no preconditions.
    process.cgroup_id = unsafe { bpf_get_current_cgroup_id() };
    process.uid = task.follow(&task::TASK_STRUCT_CRED).field(&task::CRED_UID).unwrap_or(0);
    process.comm = task.field(&task::TASK_STRUCT_COMM).unwrap_or([0; COMM_LEN]);
    let parent = task.follow(&task::TASK_STRUCT_REAL_PARENT);
    process.parent = self::key(parent).unwrap_or(ProcessKey::NONE);
    path(task, draft);
    draft.process.binary_len = BINARY_LEN as u32 - draft.start as u32;
    maps::PROCESSES.insert(key, &draft.process);
    DRAFTS.remove(&task.0);
}

/// Writes the path of the task's binary, from its last name to the first, as the root of the mount
/// tree sees it: through names of directories, and through mounts to where they are mounted.
#[inline(always)]
fn path(task: Pointer, draft: &mut Draft) {
    let file = task.follow(&task::TASK_STRUCT_MM).follow(&task::MM_STRUCT_EXE_FILE);
    if file.is_null() {
        return;
    }
    let path = file.embedded(&task::FILE_F_PATH);
    let mut mount = path.follow(&task::PATH_MNT);
    let mut entry = path.follow(&task::PATH_DENTRY);
    for _ in 0..STEPS {
        if entry == mount.follow(&task::VFSMOUNT_MNT_ROOT) {
            let outer = mount.embedding(&task::MOUNT_MNT);
            let parent = outer.follow(&task::MOUNT_MNT_PARENT);
            if parent == outer || parent.is_null() {
                return;
            }
            entry = outer.follow(&task::MOUNT_MNT_MOUNTPOINT);
            mount = parent.embedded(&task::MOUNT_MNT);
            continue;
        }
        if !name(entry, draft) {
            return;
        }
        let parent = entry.follow(&task::DENTRY_D_PARENT);
        if parent == entry || parent.is_null() {
            return;
        }
        entry = parent;
    }
}

/// Puts `/` and the name of one directory entry before what is there. False if it doesn't fit.
#[inline(always)]
fn name(entry: Pointer, draft: &mut Draft) -> bool {
    let name = entry.embedded(&task::DENTRY_D_NAME);
    let Some(length) = name.field::<u32>(&task::QSTR_LEN) else { return false };
    let from = name.follow(&task::QSTR_NAME);
    let length = u64::from(length);
    let end = draft.start;
    if length == 0 || length > NAME_LEN as u64 || length + 1 > end {
        return false;
    }
    draft.start = end - length - 1;
    let start = &raw const draft.start;
    let binary = draft.process.binary.as_mut_ptr();
    // SAFETY: `end <= BINARY_LEN`, so slash and name are within `binary`, and the mask changes
    // nothing. The verifier is shown that they are within the draft; the volatile read keeps the
    // compiler from knowing that the mask is for it alone.
    unsafe {
        let slash = binary.add(start.read_volatile() as usize & (BINARY_LEN - 1));
        *slash = b'/';
        bpf_probe_read_kernel(slash.add(1).cast(), length as u32, from.0 as *const _) == 0
    }
}
