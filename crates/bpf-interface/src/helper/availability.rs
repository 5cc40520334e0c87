//! Which programs may call which helpers: the `..._func_proto` functions of Linux 6.12
//! (kernel/bpf/helpers.c, kernel/trace/bpf_trace.c, kernel/bpf/cgroup.c, kernel/bpf/bpf_lsm.c,
//! net/core/filter.c and beside them), as sets.

use bpf_object::{AttachType as A, ProgramType as P};

use super::{
    by_id,
    table::{HELPERS, variant},
};
use crate::{
    caller::{Caller, Privilege},
    hook,
    prototype::Prototype,
};

/// Why a helper can't be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No kernel knows such a helper.
    Unknown,
    /// Programs of this type, attached there, can't call it.
    Program,
    /// They could, with this privilege.
    Privilege(Privilege),
    /// Programs of this type can, but not at this hook.
    Hook,
}

/// The helper as a program of this kind calls it. Its licence and whether it may sleep are to be
/// held against the prototype.
pub fn for_program(caller: &Caller<'_>, id: u32) -> Result<&'static Prototype, Denied> {
    let common = by_id(id).ok_or(Denied::Unknown)?;
    match needed(caller, id) {
        None => Err(Denied::Program),
        Some(privilege) if privilege > caller.privilege => Err(Denied::Privilege(privilege)),
        Some(_) if !hook_allows(caller, id) => Err(Denied::Hook),
        Some(_) => Ok(special(caller, id).unwrap_or(common)),
    }
}

/// The `allowed` functions of the prototypes.
fn hook_allows(caller: &Caller<'_>, id: u32) -> bool {
    match (id, caller.program) {
        // d_path
        (147, _) => hook::allows_path(caller),
        // ima_inode_hash, ima_file_hash
        (161 | 193, _) => hook::is_lsm_sleepable(caller.target),
        // sk_storage_get, sk_storage_delete: not inside themselves
        (107 | 108, P::TRACING) => match caller.attach {
            A::TRACE_ITER | A::TRACE_RAW_TP => true,
            A::TRACE_FENTRY | A::TRACE_FEXIT => !caller.target.starts_with("bpf_sk_storage"),
            _ => false,
        },
        (107 | 108, P::SYSCALL) => false,
        _ => true,
    }
}

/// The privilege with which the helper can be called; `None` if it can't.
fn needed(caller: &Caller<'_>, id: u32) -> Option<Privilege> {
    let of_cgroup = || {
        (CGROUP.contains(&id) && !(RETVAL.contains(&id) && without_retval(caller.attach)))
            .then_some(Privilege::None)
    };
    let current = || CGROUP_CURRENT.contains(&id).then_some(Privilege::None);
    let own = |ids: &[u32]| ids.contains(&id).then_some(Privilege::None);
    match caller.program {
        P::SOCKET_FILTER => own(FILTER).or_else(|| sockets(id)),
        P::CGROUP_SKB => {
            of_cgroup().or_else(|| own(CGROUP_SKB)).or_else(|| own(FILTER)).or_else(|| sockets(id))
        }
        P::CLASSIFIER | P::ACTION => own(CLASSIFIER).or_else(|| sockets(id)),
        P::XDP => own(XDP).or_else(|| sockets(id)),
        P::CGROUP_SOCK => {
            of_cgroup().or_else(current).or_else(|| own(CGROUP_SOCK)).or_else(|| base(id))
        }
        P::CGROUP_SOCK_ADDR => of_cgroup()
            .or_else(current)
            .or_else(|| own(SOCK_ADDR).filter(|_| sock_addr_allows(caller.attach, id)))
            .or_else(|| sockets(id)),
        P::SOCK_OPS => of_cgroup().or_else(|| own(SOCK_OPS)).or_else(|| sockets(id)),
        P::SK_MSG => own(SK_MSG).or_else(|| sockets(id)),
        P::SK_SKB => own(SK_SKB).or_else(|| sockets(id)),
        P::FLOW_DISSECTOR => own(&[26]).or_else(|| sockets(id)),
        P::LWT_OUT => own(LWT).or_else(|| sockets(id)),
        P::LWT_IN => own(&[73]).or_else(|| own(LWT)).or_else(|| sockets(id)),
        P::LWT_XMIT => own(LWT_XMIT).or_else(|| own(LWT)).or_else(|| sockets(id)),
        // Not skb_pull_data.
        P::LWT_SEG6LOCAL if id == 39 => None,
        P::LWT_SEG6LOCAL => own(&[74, 75, 76]).or_else(|| own(LWT)).or_else(|| sockets(id)),
        P::SK_REUSEPORT => own(&[82, 26, 68, 46, 160]).or_else(|| base(id)),
        P::SK_LOOKUP => own(&[25, 124, 86]).or_else(|| sockets(id)),
        P::CGROUP_DEVICE => {
            of_cgroup().or_else(current).or_else(|| own(&[25])).or_else(|| base(id))
        }
        P::CGROUP_SYSCTL => {
            of_cgroup().or_else(current).or_else(|| own(SYSCTL)).or_else(|| base(id))
        }
        P::CGROUP_SOCKOPT => of_cgroup()
            .or_else(current)
            // setsockopt and getsockopt only where options are set
            .or_else(|| {
                own(SOCKOPT)
                    .filter(|_| !matches!(id, 49 | 57) || caller.attach == A::CGROUP_SETSOCKOPT)
            })
            .or_else(|| base(id)),
        P::LIRC_MODE2 if id == 6 => Some(Privilege::Perfmon),
        P::LIRC_MODE2 => own(LIRC),
        P::NETFILTER => base(id),
        P::KPROBE => own(KPROBE).or_else(|| tracing(id)),
        P::TRACEPOINT => own(TRACEPOINT).or_else(|| tracing(id)),
        P::PERF_EVENT => own(PERF_EVENT).or_else(|| tracing(id)),
        P::RAW_TRACEPOINT | P::RAW_TRACEPOINT_WRITABLE => own(TRACEPOINT).or_else(|| tracing(id)),
        P::TRACING => typed_tracing(caller, id),
        P::LSM => lsm(caller, id),
        P::SYSCALL => match id {
            // sys_bpf
            166 => Some(Privilege::Perfmon),
            // btf_find_by_name_kind, sys_close, kallsyms_lookup_name
            167 | 168 | 179 => Some(Privilege::None),
            // Tracing is part of every kernel we know: kernel/trace/bpf_trace.c.
            _ => typed_tracing(caller, id),
        },
        P::STRUCT_OPS => struct_ops(caller, id),
        _ => None,
    }
}

fn base(id: u32) -> Option<Privilege> {
    [(BASE, Privilege::None), (BASE_BPF, Privilege::Bpf), (BASE_PERFMON, Privilege::Perfmon)]
        .into_iter()
        .find_map(|(ids, privilege)| ids.contains(&id).then_some(privilege))
}

/// bpf_sk_base_func_proto
fn sockets(id: u32) -> Option<Privilege> {
    match id {
        // skc_to_...
        136..=140 | 178 | 196 => Some(Privilege::Perfmon),
        // ktime_get_coarse_ns
        160 => Some(Privilege::None),
        _ => base(id),
    }
}

/// bpf_tracing_func_proto
fn tracing(id: u32) -> Option<Privilege> {
    TRACING.contains(&id).then_some(Privilege::None).or_else(|| base(id))
}

/// tracing_prog_func_proto
fn typed_tracing(caller: &Caller<'_>, id: u32) -> Option<Privilege> {
    let is_iterator = caller.program == P::TRACING && caller.attach == A::TRACE_ITER;
    let is_raw_tracepoint = caller.program == P::TRACING && caller.attach == A::TRACE_RAW_TP;
    let allowed = match id {
        // seq_printf, seq_write, seq_printf_btf
        126 | 127 | 150 => is_iterator,
        // get_func_arg, get_func_ret, get_func_arg_cnt
        183..=185 => caller.has_trampoline(),
        // get_attach_cookie
        174 => is_raw_tracepoint || caller.has_trampoline(),
        // setsockopt, getsockopt: of sockets that the iterator has locked
        49 | 57 => is_iterator && matches!(caller.target, "tcp" | "unix"),
        _ => TYPED_TRACING.contains(&id) || TRACEPOINT.contains(&id),
    };
    if allowed {
        return Some(Privilege::None);
    }
    tracing(id)
}

fn lsm(caller: &Caller<'_>, id: u32) -> Option<Privilege> {
    let is_cgroup = caller.attach == A::LSM_CGROUP;
    let allowed = match id {
        81 | 186 | 187 if is_cgroup => true,
        // get_attach_cookie
        174 => caller.has_trampoline(),
        // setsockopt, getsockopt
        49 | 57 => {
            return (is_cgroup && hook::has_socket_options(caller.target))
                .then_some(Privilege::None);
        }
        _ => LSM.contains(&id),
    };
    if allowed { Some(Privilege::None) } else { typed_tracing(caller, id) }
}

fn struct_ops(caller: &Caller<'_>, id: u32) -> Option<Privilege> {
    let (operations, member) = caller.target.split_once('/').unwrap_or((caller.target, ""));
    let allowed = match operations {
        "tcp_congestion_ops" => match id {
            // setsockopt, getsockopt: not while the algorithm goes
            49 | 57 => return (member != "release").then_some(Privilege::None),
            // tcp_send_ack, sk_storage_get, sk_storage_delete, ktime_get_coarse_ns
            _ => matches!(id, 116 | 107 | 108 | 160),
        },
        // task_storage_get, task_storage_delete
        "sched_ext_ops" => matches!(id, 156 | 157),
        // None at all.
        "bpf_dummy_ops" => return None,
        _ => false,
    };
    if allowed { Some(Privilege::None) } else { base(id) }
}

/// Programs that call a helper in another form than most.
fn special(caller: &Caller<'_>, id: u32) -> Option<&'static Prototype> {
    let is_multi = matches!(
        caller.attach,
        A::TRACE_KPROBE_MULTI
            | A::TRACE_KPROBE_SESSION
            | A::TRACE_UPROBE_MULTI
            | A::TRACE_UPROBE_SESSION
    );
    let is_cgroup_current = matches!(
        caller.program,
        P::CGROUP_SOCK
            | P::CGROUP_SOCK_ADDR
            | P::CGROUP_DEVICE
            | P::CGROUP_SYSCTL
            | P::CGROUP_SOCKOPT
    );
    let is_traced =
        |id| matches!(caller.program, P::TRACING | P::SYSCALL) && TYPED_TRACING.contains(&id);
    Some(match (id, caller.program) {
        (8, P::CLASSIFIER | P::ACTION | P::XDP | P::LWT_IN | P::LWT_OUT | P::LWT_XMIT) => {
            &variant::PROCESSOR_ID_FASTCALL
        }
        (
            8,
            P::LWT_SEG6LOCAL
            | P::KPROBE
            | P::TRACEPOINT
            | P::PERF_EVENT
            | P::RAW_TRACEPOINT
            | P::RAW_TRACEPOINT_WRITABLE
            | P::TRACING
            | P::LSM
            | P::SYSCALL,
        ) => &variant::PROCESSOR_ID_FASTCALL,
        (17, P::SK_MSG) => &variant::CGROUP_CLASSID_OF_CURRENT,
        (17, _) if is_cgroup_current => &variant::CGROUP_CLASSID_OF_CURRENT,
        (27, P::PERF_EVENT) => &variant::STACKID_OF_SAMPLE,
        (46, P::SK_REUSEPORT | P::TRACING | P::LSM | P::SYSCALL) => {
            &variant::SOCKET_COOKIE_BY_POINTER
        }
        (49, P::CGROUP_SOCKOPT | P::TRACING | P::LSM | P::STRUCT_OPS) => {
            &variant::SETSOCKOPT_BY_POINTER
        }
        (57, P::CGROUP_SOCKOPT | P::TRACING | P::LSM | P::STRUCT_OPS) => {
            &variant::GETSOCKOPT_BY_POINTER
        }
        (67, P::KPROBE) if caller.sleepable => &variant::STACK_SLEEPABLE,
        (67, P::RAW_TRACEPOINT | P::RAW_TRACEPOINT_WRITABLE | P::TRACING | P::LSM | P::SYSCALL) => {
            &variant::STACK_OF_RAW_TRACEPOINT
        }
        (84, P::CGROUP_SOCK_ADDR) => &variant::TCP_LOOKUP_WITHOUT_PACKET,
        (85, P::CGROUP_SOCK_ADDR) => &variant::UDP_LOOKUP_WITHOUT_PACKET,
        (99, P::CGROUP_SOCK_ADDR) => &variant::SKC_LOOKUP_WITHOUT_PACKET,
        (107, P::CGROUP_SOCK) => &variant::STORAGE_OF_CONTEXT,
        (107, _) if is_traced(id) => &variant::STORAGE_TRACING,
        (108, _) if is_traced(id) => &variant::STORAGE_DELETE_TRACING,
        (124, P::SK_LOOKUP) => &variant::ASSIGN_IN_LOOKUP,
        (141, _) if caller.sleepable => &variant::TASK_STACK_SLEEPABLE,
        (173, P::KPROBE) if is_multi => &variant::FUNCTION_ADDRESS_OF_MULTI,
        (188, P::TRACING | P::LSM | P::SYSCALL) => &variant::XDP_LENGTH_TRACING,
        _ => return None,
    })
}

/// bpf_base_func_proto, for everybody.
const BASE: &[u32] = &[
    1, 2, 3, 87, 88, 89, 195, 7, 8, 42, 12, 5, 125, 208, 130, 131, 132, 133, 134, 182, 105, 106,
    14, 120,
];

/// With CAP_BPF: locks, jiffies64, per-CPU variables, timers, kptr_xchg, callbacks, dynptrs, cgroups.
const BASE_BPF: &[u32] = &[
    93, 94, 118, 153, 154, 169, 170, 171, 172, 194, 164, 181, 209, 198, 199, 200, 197, 201, 202,
    203, 210, 211, 80, 123,
];

/// With CAP_PERFMON: printing, the current task, reading any memory.
const BASE_PERFMON: &[u32] = &[6, 35, 158, 112, 113, 114, 115, 149, 165, 175, 177];

const CGROUP: &[u32] = &[81, 186, 187];
/// get_retval, set_retval
const RETVAL: &[u32] = &[186, 187];
/// get_current_uid_gid, get_current_comm, get_cgroup_classid, current_task_under_cgroup
const CGROUP_CURRENT: &[u32] = &[15, 16, 17, 37];

fn without_retval(attach: A) -> bool {
    matches!(
        attach,
        A::CGROUP_INET_INGRESS
            | A::CGROUP_INET_EGRESS
            | A::CGROUP_SOCK_OPS
            | A::CGROUP_UDP4_RECVMSG
            | A::CGROUP_UDP6_RECVMSG
            | A::CGROUP_UNIX_RECVMSG
            | A::CGROUP_INET4_GETPEERNAME
            | A::CGROUP_INET6_GETPEERNAME
            | A::CGROUP_UNIX_GETPEERNAME
            | A::CGROUP_INET4_GETSOCKNAME
            | A::CGROUP_INET6_GETSOCKNAME
            | A::CGROUP_UNIX_GETSOCKNAME
    )
}

/// skb_load_bytes, skb_load_bytes_relative, get_socket_cookie, get_socket_uid, perf_event_output
const FILTER: &[u32] = &[26, 68, 46, 47, 25];

const CGROUP_SKB: &[u32] = &[95, 107, 108, 25, 79, 83, 128, 129, 84, 85, 86, 99, 96, 98, 97];

const CLASSIFIER: &[u32] = &[
    9, 26, 68, 39, 28, 40, 135, 10, 11, 13, 17, 18, 19, 31, 32, 50, 38, 43, 20, 21, 29, 30, 23,
    152, 155, 24, 34, 41, 48, 25, 8, 33, 46, 47, 69, 163, 95, 107, 108, 66, 151, 79, 83, 84, 85,
    86, 96, 98, 99, 100, 97, 110, 124, 192, 204, 205, 206, 207,
];

const XDP: &[u32] = &[
    25, 8, 28, 44, 54, 23, 51, 65, 188, 189, 190, 69, 163, 85, 84, 86, 99, 100, 110, 204, 205, 206,
    207,
];

/// get_socket_cookie, get_netns_cookie, perf_event_output, sk_storage_get, ktime_get_coarse_ns
const CGROUP_SOCK: &[u32] = &[46, 122, 25, 107, 160];

const SOCK_ADDR: &[u32] = &[64, 46, 122, 25, 84, 85, 86, 99, 107, 108, 49, 57];

fn sock_addr_allows(attach: A, id: u32) -> bool {
    match id {
        // bind
        64 => matches!(attach, A::CGROUP_INET4_CONNECT | A::CGROUP_INET6_CONNECT),
        // setsockopt, getsockopt
        49 | 57 => {
            !matches!(attach, A::CGROUP_UNIX_GETPEERNAME | A::CGROUP_UNIX_GETSOCKNAME | A(0))
        }
        _ => true,
    }
}

const SOCK_OPS: &[u32] = &[49, 57, 59, 53, 70, 46, 25, 107, 108, 122, 142, 143, 144, 96];

const SK_MSG: &[u32] = &[60, 71, 61, 62, 63, 90, 91, 25, 15, 107, 108, 122, 17];

const SK_SKB: &[u32] = &[9, 26, 39, 38, 43, 50, 46, 47, 52, 72, 25, 84, 85, 86, 99];

const LWT: &[u32] = &[26, 39, 28, 17, 24, 34, 25, 8, 33];

const LWT_XMIT: &[u32] = &[20, 21, 29, 30, 23, 13, 38, 43, 9, 40, 135, 10, 11, 41, 73];

/// sysctl_..., ktime_get_coarse_ns, perf_event_output
const SYSCTL: &[u32] = &[101, 102, 103, 104, 160, 25];

const SOCKOPT: &[u32] = &[122, 107, 108, 49, 57, 96, 25];

const LIRC: &[u32] = &[77, 78, 92, 1, 2, 3, 87, 88, 89, 5, 125, 12, 7];

/// bpf_tracing_func_proto
const TRACING: &[u32] = &[
    1, 2, 3, 87, 88, 89, 195, 5, 125, 12, 35, 158, 175, 15, 16, 6, 8, 42, 22, 7, 36, 112, 113, 114,
    115, 4, 45, 210, 211, 37, 109, 117, 55, 130, 131, 132, 133, 134, 118, 141, 148, 191, 149, 153,
    154, 156, 157, 164, 165, 173, 176, 180, 177,
];

/// perf_event_output, get_stackid, get_stack, override_return, get_attach_cookie
const KPROBE: &[u32] = &[25, 27, 67, 58, 174];

const TRACEPOINT: &[u32] = &[25, 27, 67, 174];

/// The same, perf_prog_read_value, read_branch_records
const PERF_EVENT: &[u32] = &[25, 27, 67, 56, 119, 174];

/// skb_output, xdp_output, skc_to_..., sk_storage_..., sock_from_file, get_socket_cookie,
/// xdp_get_buff_len, d_path
const TYPED_TRACING: &[u32] =
    &[111, 121, 136, 137, 138, 139, 140, 178, 196, 107, 108, 162, 46, 188, 147];

/// inode_storage_..., sk_storage_..., locks, bprm_opts_set, ima_...
const LSM: &[u32] = &[145, 146, 107, 108, 93, 94, 159, 161, 193];

const _: () = assert!(HELPERS.len() == 211);
