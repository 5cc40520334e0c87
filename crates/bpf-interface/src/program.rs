//! Kinds of programs: what they may return, whether they see packets, sleep, use which maps, and who
//! may load them (kernel/bpf/verifier.c and kernel/bpf/syscall.c, Linux 6.12).

use bpf_object::{AttachType as A, MapType as M, ProgramType as P};

use crate::{
    caller::Caller,
    hook::{self, LsmResult},
};

/// What a program may return (check_return_code).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// Any number, but never a pointer.
    Anything,
    /// Its target returns nothing: r0 isn't looked at.
    Nothing,
    /// `narrow`: only the lower 32 bits count.
    Range { from: i32, to: i32, narrow: bool },
    /// Programs attached there can't be loaded.
    NotSupported,
}

impl Returns {
    const fn range(from: i32, to: i32) -> Self {
        Self::Range { from, to, narrow: false }
    }
}

/// MAX_ERRNO
const LARGEST_ERROR: i32 = 4095;

/// What the program may return. `void`: its target, an LSM hook or a member of struct_ops, returns
/// nothing.
pub fn returns(caller: &Caller<'_>, void: bool) -> Returns {
    match caller.program {
        P::CGROUP_SOCK_ADDR => match caller.attach {
            A::CGROUP_UDP4_RECVMSG
            | A::CGROUP_UDP6_RECVMSG
            | A::CGROUP_UNIX_RECVMSG
            | A::CGROUP_INET4_GETPEERNAME
            | A::CGROUP_INET6_GETPEERNAME
            | A::CGROUP_UNIX_GETPEERNAME
            | A::CGROUP_INET4_GETSOCKNAME
            | A::CGROUP_INET6_GETSOCKNAME
            | A::CGROUP_UNIX_GETSOCKNAME => Returns::range(1, 1),
            A::CGROUP_INET4_BIND | A::CGROUP_INET6_BIND => Returns::range(0, 3),
            _ => Returns::range(0, 1),
        },
        P::CGROUP_SKB if caller.attach == A::CGROUP_INET_EGRESS => Returns::range(0, 3),
        P::CGROUP_SKB
        | P::CGROUP_SOCK
        | P::SOCK_OPS
        | P::CGROUP_DEVICE
        | P::CGROUP_SYSCTL
        | P::CGROUP_SOCKOPT
        | P::SK_LOOKUP
        | P::NETFILTER => Returns::range(0, 1),
        P::TRACING => match caller.attach {
            A::TRACE_FENTRY | A::TRACE_FEXIT => Returns::range(0, 0),
            A::TRACE_RAW_TP | A::MODIFY_RETURN => Returns::Anything,
            A::TRACE_ITER => Returns::range(0, 1),
            _ => Returns::NotSupported,
        },
        P::KPROBE if caller.attach == A::TRACE_KPROBE_SESSION => Returns::range(0, 1),
        P::LSM => match (caller.attach == A::LSM_CGROUP, void) {
            (true, true) => Returns::range(1, 1),
            (true, false) => Returns::range(0, 1),
            (false, true) => Returns::Nothing,
            (false, false) => match hook::lsm_result(caller.target) {
                LsmResult::Boolean => Returns::Range { from: 0, to: 1, narrow: true },
                LsmResult::Error => Returns::Range { from: -LARGEST_ERROR, to: 0, narrow: true },
            },
        },
        P::STRUCT_OPS if void => Returns::Nothing,
        _ => Returns::Anything,
    }
}

/// What a program's result means to the kernel, if results of its type have names
/// (include/uapi/linux/bpf.h, include/uapi/linux/pkt_cls.h).
pub fn action_name(program: P, result: u32) -> Option<&'static str> {
    const XDP: [&str; 5] = ["XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"];
    const TC: [&str; 9] = [
        "TC_ACT_OK",
        "TC_ACT_RECLASSIFY",
        "TC_ACT_SHOT",
        "TC_ACT_PIPE",
        "TC_ACT_STOLEN",
        "TC_ACT_QUEUED",
        "TC_ACT_REPEAT",
        "TC_ACT_REDIRECT",
        "TC_ACT_TRAP",
    ];
    /// -1
    const TC_ACT_UNSPEC: u32 = u32::MAX;
    let names: &[&str] = match program {
        P::XDP => &XDP,
        P::CLASSIFIER | P::ACTION if result == TC_ACT_UNSPEC => return Some("TC_ACT_UNSPEC"),
        P::CLASSIFIER | P::ACTION => &TC,
        P::CGROUP_SKB => &["deny", "allow"],
        _ => &[],
    };
    names.get(result as usize).copied()
}

/// Timer and work-queue callbacks return zero (Linux 5.15 and later).
pub const ASYNCHRONOUS_CALLBACK: Returns = Returns::range(0, 0);

/// What a program may do with packet pointers from its context (may_access_direct_pkt_data).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketUse {
    /// Stores through packet pointers.
    pub writes: bool,
    /// Helpers that take packet memory may be given it.
    pub helpers_read: bool,
    pub helpers_write: bool,
}

pub fn packet_use(program: P) -> PacketUse {
    let (read, write) = match program {
        P::LWT_IN
        | P::LWT_OUT
        | P::LWT_SEG6LOCAL
        | P::SK_REUSEPORT
        | P::FLOW_DISSECTOR
        | P::CGROUP_SKB => (true, false),
        P::CLASSIFIER
        | P::ACTION
        | P::XDP
        | P::LWT_XMIT
        | P::SK_SKB
        | P::SK_MSG
        | P::CGROUP_SOCKOPT => (true, true),
        _ => (false, false),
    };
    PacketUse { writes: write, helpers_read: read, helpers_write: write }
}

/// Whether the packet instructions of the first BPF are allowed (may_access_skb).
pub fn has_packet_loads(program: P) -> bool {
    matches!(program, P::SOCKET_FILTER | P::CLASSIFIER | P::ACTION)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    Never,
    May,
    /// Can't be loaded without the flag.
    Must,
}

/// Whether programs of this kind may be loaded as sleepable (can_be_sleepable). Of tracing and LSM
/// programs it depends on the target, too: [`hook::is_lsm_sleepable`],
/// [`hook::is_function_sleepable`]; of kprobes, that they are uprobes.
pub fn sleep(caller: &Caller<'_>) -> Sleep {
    match caller.program {
        P::SYSCALL => Sleep::Must,
        P::TRACING => match caller.attach {
            A::TRACE_FENTRY | A::TRACE_FEXIT | A::MODIFY_RETURN | A::TRACE_ITER => Sleep::May,
            _ => Sleep::Never,
        },
        P::LSM if caller.attach != A::LSM_CGROUP => Sleep::May,
        P::KPROBE | P::STRUCT_OPS => Sleep::May,
        _ => Sleep::Never,
    }
}

/// Who may load programs of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loader {
    /// Everybody, unless the system forbids it (`kernel.unprivileged_bpf_disabled`).
    pub unprivileged: bool,
    pub net_admin: bool,
    pub perfmon: bool,
}

pub fn loader(program: P) -> Loader {
    let net_admin = matches!(
        program,
        P::CLASSIFIER
            | P::ACTION
            | P::XDP
            | P::LWT_IN
            | P::LWT_OUT
            | P::LWT_XMIT
            | P::LWT_SEG6LOCAL
            | P::SK_SKB
            | P::SK_MSG
            | P::FLOW_DISSECTOR
            | P::CGROUP_DEVICE
            | P::CGROUP_SOCK
            | P::CGROUP_SOCK_ADDR
            | P::CGROUP_SOCKOPT
            | P::CGROUP_SYSCTL
            | P::SOCK_OPS
            | P::EXTENSION
            | P::NETFILTER
    );
    let perfmon =
        is_probe(program) || matches!(program, P::TRACING | P::LSM | P::STRUCT_OPS | P::EXTENSION);
    let unprivileged = matches!(program, P::SOCKET_FILTER | P::CGROUP_SKB);
    Loader { unprivileged, net_admin, perfmon }
}

/// Whether it is loaded with a licence compatible with the GPL only.
pub fn needs_gpl(program: P) -> bool {
    matches!(program, P::LSM | P::STRUCT_OPS)
}

/// Programs that run anywhere in the kernel, also where locks are held (is_tracing_prog_type).
pub fn is_probe(program: P) -> bool {
    matches!(
        program,
        P::KPROBE | P::TRACEPOINT | P::PERF_EVENT | P::RAW_TRACEPOINT | P::RAW_TRACEPOINT_WRITABLE
    )
}

/// What map values and allocated objects may have inside that the kernel looks after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    SpinLock,
    Timer,
    WorkQueue,
    Kptr,
    ListHead,
    ListNode,
    TreeRoot,
    TreeNode,
    ReferenceCount,
}

impl Special {
    /// By the name of its type. Pointers are found by their tag instead.
    pub fn from_type(name: &str) -> Option<Self> {
        Some(match name {
            "bpf_spin_lock" => Self::SpinLock,
            "bpf_timer" => Self::Timer,
            "bpf_wq" => Self::WorkQueue,
            "bpf_list_head" => Self::ListHead,
            "bpf_list_node" => Self::ListNode,
            "bpf_rb_root" => Self::TreeRoot,
            "bpf_rb_node" => Self::TreeNode,
            "bpf_refcount" => Self::ReferenceCount,
            _ => return None,
        })
    }

    /// Its size, as in include/uapi/linux/bpf.h.
    pub fn size(self) -> u32 {
        match self {
            Self::SpinLock | Self::ReferenceCount => 4,
            Self::Timer | Self::WorkQueue | Self::ListHead | Self::TreeRoot => 16,
            Self::ListNode => 24,
            Self::TreeNode => 32,
            Self::Kptr => 8,
        }
    }

    /// Maps whose values may have it (map_check_btf).
    pub fn is_allowed_in(self, map: M) -> bool {
        let local = [M::SOCKET_STORAGE, M::INODE_STORAGE, M::TASK_STORAGE, M::CGROUP_LOCAL_STORAGE];
        match self {
            Self::SpinLock => {
                matches!(map, M::HASH | M::ARRAY | M::CGROUP_STORAGE) || local.contains(&map)
            }
            Self::Timer | Self::WorkQueue => matches!(map, M::HASH | M::LRU_HASH | M::ARRAY),
            Self::Kptr | Self::ReferenceCount => {
                matches!(
                    map,
                    M::HASH
                        | M::PER_CPU_HASH
                        | M::LRU_HASH
                        | M::LRU_PER_CPU_HASH
                        | M::ARRAY
                        | M::PER_CPU_ARRAY
                ) || local.contains(&map)
            }
            Self::ListHead | Self::TreeRoot => matches!(map, M::HASH | M::LRU_HASH | M::ARRAY),
            // Of objects that are in lists and trees.
            Self::ListNode | Self::TreeNode => false,
        }
    }
}

/// Why a map can't be used in a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapDenied {
    /// The program runs where locks may be held.
    Special(Special),
    /// It may sleep, and the map can't wait for it.
    Sleepable,
    StructOps,
}

/// Whether the program may use a map of that type, with these in its values
/// (check_map_prog_compatibility).
pub fn allows_map(caller: &Caller<'_>, map: M, inside: &[Special]) -> Result<(), MapDenied> {
    let denied = inside.iter().find(|special| match special {
        Special::SpinLock => is_probe(caller.program) || caller.program == P::SOCKET_FILTER,
        Special::ListHead | Special::TreeRoot | Special::Timer | Special::WorkQueue => {
            is_probe(caller.program)
        }
        _ => false,
    });
    if let Some(special) = denied {
        return Err(MapDenied::Special(*special));
    }
    if map == M::STRUCT_OPS {
        return Err(MapDenied::StructOps);
    }
    if caller.sleepable && !sleepable_map(map) {
        return Err(MapDenied::Sleepable);
    }
    Ok(())
}

fn sleepable_map(map: M) -> bool {
    matches!(
        map,
        M::HASH
            | M::LRU_HASH
            | M::ARRAY
            | M::PER_CPU_HASH
            | M::PER_CPU_ARRAY
            | M::LRU_PER_CPU_HASH
            | M::ARRAY_OF_MAPS
            | M::HASH_OF_MAPS
            | M::RING_BUFFER
            | M::USER_RING_BUFFER
            | M::INODE_STORAGE
            | M::SOCKET_STORAGE
            | M::TASK_STORAGE
            | M::CGROUP_LOCAL_STORAGE
            | M::QUEUE
            | M::STACK
            | M::ARENA
    )
}

/// Whether programs of the type can be loaded with that attach type (bpf_prog_load_check_attach).
pub fn allows_attach(caller: &Caller<'_>) -> bool {
    let attach = caller.attach;
    match caller.program {
        P::CGROUP_SOCK => matches!(
            attach,
            A::CGROUP_SOCK_CREATE
                | A::CGROUP_SOCK_RELEASE
                | A::CGROUP_INET4_POST_BIND
                | A::CGROUP_INET6_POST_BIND
        ),
        P::CGROUP_SOCK_ADDR => matches!(
            attach,
            A::CGROUP_INET4_BIND
                | A::CGROUP_INET6_BIND
                | A::CGROUP_INET4_CONNECT
                | A::CGROUP_INET6_CONNECT
                | A::CGROUP_UNIX_CONNECT
                | A::CGROUP_INET4_GETPEERNAME
                | A::CGROUP_INET6_GETPEERNAME
                | A::CGROUP_UNIX_GETPEERNAME
                | A::CGROUP_INET4_GETSOCKNAME
                | A::CGROUP_INET6_GETSOCKNAME
                | A::CGROUP_UNIX_GETSOCKNAME
                | A::CGROUP_UDP4_SENDMSG
                | A::CGROUP_UDP6_SENDMSG
                | A::CGROUP_UNIX_SENDMSG
                | A::CGROUP_UDP4_RECVMSG
                | A::CGROUP_UDP6_RECVMSG
                | A::CGROUP_UNIX_RECVMSG
        ),
        P::CGROUP_SKB => matches!(attach, A::CGROUP_INET_INGRESS | A::CGROUP_INET_EGRESS),
        P::CGROUP_SOCKOPT => matches!(attach, A::CGROUP_SETSOCKOPT | A::CGROUP_GETSOCKOPT),
        P::SK_LOOKUP => attach == A::SK_LOOKUP,
        P::SK_REUSEPORT => matches!(attach, A::SK_REUSEPORT_SELECT | A::SK_REUSEPORT_MIGRATE),
        P::NETFILTER => attach == A::NETFILTER,
        P::SYSCALL | P::EXTENSION => attach == A(0),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn return_values() {
        let check = |program, attach, target, void, expected| {
            let caller = Caller { target, ..Caller::new(program, attach) };
            assert_eq!(returns(&caller, void), expected, "{program} {attach} {target}");
        };
        check(P::XDP, A::XDP, "", false, Returns::Anything);
        check(P::CGROUP_SKB, A::CGROUP_INET_INGRESS, "", false, Returns::range(0, 1));
        check(P::CGROUP_SKB, A::CGROUP_INET_EGRESS, "", false, Returns::range(0, 3));
        check(P::CGROUP_SOCK_ADDR, A::CGROUP_INET4_BIND, "", false, Returns::range(0, 3));
        check(P::CGROUP_SOCK_ADDR, A::CGROUP_UDP4_RECVMSG, "", false, Returns::range(1, 1));
        check(P::TRACING, A::TRACE_FENTRY, "x", false, Returns::range(0, 0));
        check(P::TRACING, A(0), "x", false, Returns::NotSupported);
        check(P::STRUCT_OPS, A(0), "x", true, Returns::Nothing);
        let error = Returns::Range { from: -4095, to: 0, narrow: true };
        check(P::LSM, A::LSM_MAC, "file_open", false, error);
        check(P::LSM, A::LSM_MAC, "file_free_security", true, Returns::Nothing);
        check(P::LSM, A::LSM_CGROUP, "socket_bind", false, Returns::range(0, 1));
    }

    #[test]
    fn maps_of_programs() {
        let check = |program, sleepable, map, inside: &[Special], expected| {
            let caller = Caller { sleepable, ..Caller::new(program, A(0)) };
            assert_eq!(allows_map(&caller, map, inside), expected, "{program} {map}");
        };
        let lock = Special::SpinLock;
        check(P::XDP, false, M::HASH, &[lock], Ok(()));
        check(P::KPROBE, false, M::HASH, &[lock], Err(MapDenied::Special(lock)));
        check(P::SOCKET_FILTER, false, M::HASH, &[lock], Err(MapDenied::Special(lock)));
        check(P::SOCKET_FILTER, false, M::HASH, &[Special::Timer], Ok(()));
        check(P::SYSCALL, true, M::BLOOM_FILTER, &[], Err(MapDenied::Sleepable));
        check(P::SYSCALL, true, M::ARRAY, &[], Ok(()));
        check(P::SYSCALL, true, M::STRUCT_OPS, &[], Err(MapDenied::StructOps));
    }

    #[test]
    fn attach_types() {
        for (program, attach, expected) in [
            (P::CGROUP_SOCK, A(0), true),
            (P::CGROUP_SOCK_ADDR, A(0), false),
            (P::CGROUP_SOCK_ADDR, A::CGROUP_INET4_BIND, true),
            (P::SK_LOOKUP, A(0), false),
            (P::XDP, A(0), true),
            (P::SYSCALL, A::XDP, false),
        ] {
            assert_eq!(
                allows_attach(&Caller::new(program, attach)),
                expected,
                "{program} {attach}"
            );
        }
    }
}
