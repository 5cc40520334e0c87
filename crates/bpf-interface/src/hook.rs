//! Places in the kernel that programs attach to by name, and what is special about some of them
//! (kernel/bpf/bpf_lsm.c, kernel/bpf/verifier.c, kernel/trace/bpf_trace.c, Linux 6.12).
//!
//! LSM hooks are named as in section names: `file_open`, not `bpf_lsm_file_open`.

use bpf_object::{AttachType, ProgramType};

use crate::caller::Caller;

/// Hooks that no program can attach to, since their results are not errors.
const DISABLED: &[&str] = &[
    "vm_enough_memory",
    "inode_need_killpriv",
    "inode_getsecurity",
    "inode_listsecurity",
    "inode_copy_up_xattr",
    "getselfattr",
    "getprocattr",
    "setprocattr",
    "key_getsecurity",
    "audit_rule_match",
    "xfrm_decode_session",
    "ismaclabel",
];

/// Hooks whose answer is yes or no.
const BOOLEAN: &[&str] = &["xfrm_state_pol_flow_match", "audit_rule_known", "inode_xattr_skipcap"];

/// Hooks whose arguments may be half made or half gone.
const UNTRUSTED: &[&str] = &[
    "bpf_map_free",
    "bpf_prog_free",
    "file_alloc_security",
    "file_free_security",
    "sk_alloc_security",
    "sk_free_security",
    "task_free",
];

/// Hooks that are called where sleeping is allowed.
#[rustfmt::skip]
const SLEEPABLE: &[&str] = &[
    "bpf", "bpf_map", "bpf_map_create", "bpf_map_free", "bpf_prog", "bpf_prog_load",
    "bpf_token_create", "bpf_token_free", "bpf_token_cmd", "bpf_token_capable",
    "bprm_check_security", "bprm_committed_creds", "bprm_committing_creds", "bprm_creds_for_exec",
    "bprm_creds_from_file", "capget", "capset", "cred_prepare", "file_ioctl", "file_lock",
    "file_open", "file_post_open", "file_receive", "inode_create", "inode_free_security",
    "inode_getattr", "inode_getxattr", "inode_mknod", "inode_need_killpriv",
    "inode_post_setxattr", "inode_readlink", "inode_rename", "inode_rmdir", "inode_setattr",
    "inode_setxattr", "inode_symlink", "inode_unlink", "kernel_module_request",
    "kernel_read_file", "kernfs_init_security", "path_unlink", "path_mkdir", "path_rmdir",
    "path_truncate", "path_symlink", "path_link", "path_rename", "path_chmod", "path_chown",
    "mmap_file", "netlink_send", "path_notify", "release_secctx", "sb_alloc_security",
    "sb_eat_lsm_opts", "sb_kern_mount", "sb_mount", "sb_remount", "sb_set_mnt_opts",
    "sb_show_options", "sb_statfs", "sb_umount", "settime", "socket_accept", "socket_bind",
    "socket_connect", "socket_create", "socket_getpeername", "socket_getpeersec_dgram",
    "socket_getsockname", "socket_getsockopt", "socket_listen", "socket_post_create",
    "socket_recvmsg", "socket_sendmsg", "socket_shutdown", "socket_socketpair", "syslog",
    "task_alloc", "current_getsecid_subj", "task_getsecid_obj", "task_prctl",
    "task_setscheduler", "userns_create",
];

/// Functions that programs may trace and there ask for the path of a file.
const PATHS: &[&str] = &[
    "security_file_permission",
    "security_inode_getattr",
    "security_file_open",
    "security_path_truncate",
    "vfs_truncate",
    "vfs_fallocate",
    "dentry_open",
    "vfs_getattr",
    "filp_close",
];

/// Functions that allow error injection, yet may not sleep.
const NOT_SLEEPABLE: &[&str] =
    &["__filemap_add_folio", "should_fail_alloc_page", "should_failslab"];

/// Functions that no program can trace: the trampolines themselves call them.
const DENIED: &[&str] = &[
    "migrate_disable",
    "migrate_enable",
    "rcu_read_unlock_strict",
    "preempt_count_add",
    "preempt_count_sub",
    "__rcu_read_lock",
    "__rcu_read_unlock",
];

/// Functions that never return: there is no exit to trace.
const WITHOUT_RETURN: &[&str] = &[
    "__ia32_sys_exit",
    "__ia32_sys_exit_group",
    "__kunit_abort",
    "kunit_try_catch_throw",
    "__module_put_and_kthread_exit",
    "__x64_sys_exit",
    "__x64_sys_exit_group",
    "do_exit",
    "do_group_exit",
    "kthread_complete_and_exit",
    "kthread_exit",
    "make_task_dead",
];

/// What an LSM hook lets a program return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LsmResult {
    /// An error below zero, or zero.
    Error,
    Boolean,
}

pub fn is_lsm_disabled(hook: &str) -> bool {
    DISABLED.contains(&hook)
}

pub fn lsm_result(hook: &str) -> LsmResult {
    if BOOLEAN.contains(&hook) { LsmResult::Boolean } else { LsmResult::Error }
}

pub fn is_lsm_sleepable(hook: &str) -> bool {
    SLEEPABLE.contains(&hook)
}

/// Whether the hook's pointers are trusted.
pub fn is_lsm_trusted(hook: &str) -> bool {
    !UNTRUSTED.contains(&hook)
}

/// Whether a cgroup program at this hook may read and set options of the socket.
pub fn has_socket_options(hook: &str) -> bool {
    // The socket is locked in the first three, and nobody else knows it yet in the others.
    matches!(
        hook,
        "sock_graft"
            | "inet_csk_clone"
            | "inet_conn_established"
            | "socket_post_create"
            | "socket_socketpair"
    )
}

/// Whether `bpf_d_path` can be called: not where it could lock up.
pub fn allows_path(caller: &Caller<'_>) -> bool {
    match caller.program {
        ProgramType::TRACING if caller.attach == AttachType::TRACE_ITER => true,
        ProgramType::LSM => is_lsm_sleepable(caller.target),
        _ => PATHS.contains(&caller.target),
    }
}

/// Whether a tracing program may attach to the function at all, as far as the name says.
pub fn is_traceable(function: &str, attach: AttachType) -> bool {
    let needs_return = matches!(attach, AttachType::TRACE_FEXIT | AttachType::MODIFY_RETURN);
    let never_returns = WITHOUT_RETURN.contains(&function);
    !(DENIED.contains(&function) || needs_return && never_returns)
}

/// Whether a program may change what the function returns. The kernel says yes as well to functions
/// that allow error injection, which no table names: `None` where it depends on that.
pub fn is_return_modifiable(function: &str) -> Option<bool> {
    // check_attach_modify_return; the functions of the test run and of MPTCP are registered.
    let registered = ["bpf_modify_return_test", "bpf_fentry_test1", "update_socket_protocol"];
    (function.starts_with("security_") || registered.iter().any(|name| function.starts_with(name)))
        .then_some(true)
}

/// Whether a tracing program there may sleep; `None` where it depends on the function allowing
/// error injection (all system calls do).
pub fn is_function_sleepable(function: &str) -> Option<bool> {
    if NOT_SLEEPABLE.contains(&function) {
        return Some(false);
    }
    let system_call = ["__x64_sys_", "__ia32_sys_", "__arm64_sys_", "__se_sys_"];
    system_call.iter().any(|prefix| function.starts_with(prefix)).then_some(true)
}
