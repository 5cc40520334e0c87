//! What a section's name says of the programs in it: the conventions of libbpf.

use crate::kind::{AttachType as A, ProgramType as P};

/// How a program is to be loaded and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramKind {
    pub program: P,
    /// What is said when the program is loaded or attached; `None` if the kind has none.
    pub attach: Option<A>,
    /// May sleep: loaded with `BPF_F_SLEEPABLE`.
    pub sleepable: bool,
    /// Takes packets of several fragments: loaded with `BPF_F_XDP_HAS_FRAGS`.
    pub fragments: bool,
    /// What follows the kind: a function, a tracepoint, a path; empty if nothing does.
    pub target: String,
    /// The section's name begins with `?`: loaded on request only.
    pub on_request: bool,
}

/// Whether something may follow the name, after a slash.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    No,
    Target,
}
use Rest::{No, Target};

const SLEEPABLE: u8 = 1;
const FRAGMENTS: u8 = 2;

/// Name, whether a target may follow, type, attach type, flags.
#[rustfmt::skip]
const SECTIONS: &[(&str, Rest, P, Option<A>, u8)] = &[
    ("socket", No, P::SOCKET_FILTER, None, 0),
    ("sk_reuseport/migrate", No, P::SK_REUSEPORT, Some(A::SK_REUSEPORT_MIGRATE), 0),
    ("sk_reuseport", No, P::SK_REUSEPORT, Some(A::SK_REUSEPORT_SELECT), 0),
    ("kprobe", Target, P::KPROBE, None, 0),
    ("uprobe", Target, P::KPROBE, None, 0),
    ("uprobe.s", Target, P::KPROBE, None, SLEEPABLE),
    ("kretprobe", Target, P::KPROBE, None, 0),
    ("uretprobe", Target, P::KPROBE, None, 0),
    ("uretprobe.s", Target, P::KPROBE, None, SLEEPABLE),
    ("kprobe.multi", Target, P::KPROBE, Some(A::TRACE_KPROBE_MULTI), 0),
    ("kretprobe.multi", Target, P::KPROBE, Some(A::TRACE_KPROBE_MULTI), 0),
    ("kprobe.session", Target, P::KPROBE, Some(A::TRACE_KPROBE_SESSION), 0),
    ("uprobe.multi", Target, P::KPROBE, Some(A::TRACE_UPROBE_MULTI), 0),
    ("uretprobe.multi", Target, P::KPROBE, Some(A::TRACE_UPROBE_MULTI), 0),
    ("uprobe.session", Target, P::KPROBE, Some(A::TRACE_UPROBE_SESSION), 0),
    ("uprobe.multi.s", Target, P::KPROBE, Some(A::TRACE_UPROBE_MULTI), SLEEPABLE),
    ("uretprobe.multi.s", Target, P::KPROBE, Some(A::TRACE_UPROBE_MULTI), SLEEPABLE),
    ("uprobe.session.s", Target, P::KPROBE, Some(A::TRACE_UPROBE_SESSION), SLEEPABLE),
    ("ksyscall", Target, P::KPROBE, None, 0),
    ("kretsyscall", Target, P::KPROBE, None, 0),
    ("usdt", Target, P::KPROBE, None, 0),
    ("usdt.s", Target, P::KPROBE, None, SLEEPABLE),
    ("tc/ingress", No, P::CLASSIFIER, Some(A::TCX_INGRESS), 0),
    ("tc/egress", No, P::CLASSIFIER, Some(A::TCX_EGRESS), 0),
    ("tcx/ingress", No, P::CLASSIFIER, Some(A::TCX_INGRESS), 0),
    ("tcx/egress", No, P::CLASSIFIER, Some(A::TCX_EGRESS), 0),
    ("tc", No, P::CLASSIFIER, None, 0),
    ("classifier", No, P::CLASSIFIER, None, 0),
    ("action", No, P::ACTION, None, 0),
    ("netkit/primary", No, P::CLASSIFIER, Some(A::NETKIT_PRIMARY), 0),
    ("netkit/peer", No, P::CLASSIFIER, Some(A::NETKIT_PEER), 0),
    ("tracepoint", Target, P::TRACEPOINT, None, 0),
    ("tp", Target, P::TRACEPOINT, None, 0),
    ("raw_tracepoint", Target, P::RAW_TRACEPOINT, None, 0),
    ("raw_tp", Target, P::RAW_TRACEPOINT, None, 0),
    ("raw_tracepoint.w", Target, P::RAW_TRACEPOINT_WRITABLE, None, 0),
    ("raw_tp.w", Target, P::RAW_TRACEPOINT_WRITABLE, None, 0),
    ("tp_btf", Target, P::TRACING, Some(A::TRACE_RAW_TP), 0),
    ("fentry", Target, P::TRACING, Some(A::TRACE_FENTRY), 0),
    ("fmod_ret", Target, P::TRACING, Some(A::MODIFY_RETURN), 0),
    ("fexit", Target, P::TRACING, Some(A::TRACE_FEXIT), 0),
    ("fentry.s", Target, P::TRACING, Some(A::TRACE_FENTRY), SLEEPABLE),
    ("fmod_ret.s", Target, P::TRACING, Some(A::MODIFY_RETURN), SLEEPABLE),
    ("fexit.s", Target, P::TRACING, Some(A::TRACE_FEXIT), SLEEPABLE),
    ("freplace", Target, P::EXTENSION, None, 0),
    ("lsm", Target, P::LSM, Some(A::LSM_MAC), 0),
    ("lsm.s", Target, P::LSM, Some(A::LSM_MAC), SLEEPABLE),
    ("lsm_cgroup", Target, P::LSM, Some(A::LSM_CGROUP), 0),
    ("iter", Target, P::TRACING, Some(A::TRACE_ITER), 0),
    ("iter.s", Target, P::TRACING, Some(A::TRACE_ITER), SLEEPABLE),
    ("syscall", No, P::SYSCALL, None, SLEEPABLE),
    ("xdp.frags/devmap", No, P::XDP, Some(A::XDP_DEVMAP), FRAGMENTS),
    ("xdp/devmap", No, P::XDP, Some(A::XDP_DEVMAP), 0),
    ("xdp.frags/cpumap", No, P::XDP, Some(A::XDP_CPUMAP), FRAGMENTS),
    ("xdp/cpumap", No, P::XDP, Some(A::XDP_CPUMAP), 0),
    ("xdp.frags", No, P::XDP, Some(A::XDP), FRAGMENTS),
    ("xdp", No, P::XDP, Some(A::XDP), 0),
    ("perf_event", No, P::PERF_EVENT, None, 0),
    ("lwt_in", No, P::LWT_IN, None, 0),
    ("lwt_out", No, P::LWT_OUT, None, 0),
    ("lwt_xmit", No, P::LWT_XMIT, None, 0),
    ("lwt_seg6local", No, P::LWT_SEG6LOCAL, None, 0),
    ("sockops", No, P::SOCK_OPS, Some(A::CGROUP_SOCK_OPS), 0),
    ("sk_skb/stream_parser", No, P::SK_SKB, Some(A::SK_SKB_STREAM_PARSER), 0),
    ("sk_skb/stream_verdict", No, P::SK_SKB, Some(A::SK_SKB_STREAM_VERDICT), 0),
    ("sk_skb/verdict", No, P::SK_SKB, Some(A::SK_SKB_VERDICT), 0),
    ("sk_skb", No, P::SK_SKB, None, 0),
    ("sk_msg", No, P::SK_MSG, Some(A::SK_MSG_VERDICT), 0),
    ("lirc_mode2", No, P::LIRC_MODE2, Some(A::LIRC_MODE2), 0),
    ("flow_dissector", No, P::FLOW_DISSECTOR, Some(A::FLOW_DISSECTOR), 0),
    ("cgroup_skb/ingress", No, P::CGROUP_SKB, Some(A::CGROUP_INET_INGRESS), 0),
    ("cgroup_skb/egress", No, P::CGROUP_SKB, Some(A::CGROUP_INET_EGRESS), 0),
    ("cgroup/skb", No, P::CGROUP_SKB, None, 0),
    ("cgroup/sock_create", No, P::CGROUP_SOCK, Some(A::CGROUP_SOCK_CREATE), 0),
    ("cgroup/sock_release", No, P::CGROUP_SOCK, Some(A::CGROUP_SOCK_RELEASE), 0),
    ("cgroup/sock", No, P::CGROUP_SOCK, Some(A::CGROUP_SOCK_CREATE), 0),
    ("cgroup/post_bind4", No, P::CGROUP_SOCK, Some(A::CGROUP_INET4_POST_BIND), 0),
    ("cgroup/post_bind6", No, P::CGROUP_SOCK, Some(A::CGROUP_INET6_POST_BIND), 0),
    ("cgroup/bind4", No, P::CGROUP_SOCK_ADDR, Some(A::CGROUP_INET4_BIND), 0),
    ("cgroup/bind6", No, P::CGROUP_SOCK_ADDR, Some(A::CGROUP_INET6_BIND), 0),
    ("cgroup/connect4", No, P::CGROUP_SOCK_ADDR, Some(A::CGROUP_INET4_CONNECT), 0),
    ("cgroup/connect6", No, P::CGROUP_SOCK_ADDR, Some(A::CGROUP_INET6_CONNECT), 0),
    ("cgroup/connect_unix", No, P::CGROUP_SOCK_ADDR, Some(A::CGROUP_UNIX_CONNECT), 0),
    ("cgroup/sendmsg4", No, P::CGROUP_SOCK_ADDR, Some(A::CGROUP_UDP4_SENDMSG), 0),
    ("cgroup/sendmsg6", No, P::CGROUP_SOCK_ADDR, Some(A::CGROUP_UDP6_SENDMSG), 0),
    ("cgroup/sendmsg_unix", No, P::CGROUP_SOCK_ADDR, Some(A::CGROUP_UNIX_SENDMSG), 0),
    ("cgroup/recvmsg4", No, P::CGROUP_SOCK_ADDR, Some(A::CGROUP_UDP4_RECVMSG), 0),
    ("cgroup/recvmsg6", No, P::CGROUP_SOCK_ADDR, Some(A::CGROUP_UDP6_RECVMSG), 0),
    ("cgroup/recvmsg_unix", No, P::CGROUP_SOCK_ADDR, Some(A::CGROUP_UNIX_RECVMSG), 0),
    ("cgroup/getpeername4", No, P::CGROUP_SOCK_ADDR, Some(A::CGROUP_INET4_GETPEERNAME), 0),
    ("cgroup/getpeername6", No, P::CGROUP_SOCK_ADDR, Some(A::CGROUP_INET6_GETPEERNAME), 0),
    ("cgroup/getpeername_unix", No, P::CGROUP_SOCK_ADDR, Some(A::CGROUP_UNIX_GETPEERNAME), 0),
    ("cgroup/getsockname4", No, P::CGROUP_SOCK_ADDR, Some(A::CGROUP_INET4_GETSOCKNAME), 0),
    ("cgroup/getsockname6", No, P::CGROUP_SOCK_ADDR, Some(A::CGROUP_INET6_GETSOCKNAME), 0),
    ("cgroup/getsockname_unix", No, P::CGROUP_SOCK_ADDR, Some(A::CGROUP_UNIX_GETSOCKNAME), 0),
    ("cgroup/sysctl", No, P::CGROUP_SYSCTL, Some(A::CGROUP_SYSCTL), 0),
    ("cgroup/getsockopt", No, P::CGROUP_SOCKOPT, Some(A::CGROUP_GETSOCKOPT), 0),
    ("cgroup/setsockopt", No, P::CGROUP_SOCKOPT, Some(A::CGROUP_SETSOCKOPT), 0),
    ("cgroup/dev", No, P::CGROUP_DEVICE, Some(A::CGROUP_DEVICE), 0),
    ("struct_ops", Target, P::STRUCT_OPS, None, 0),
    ("struct_ops.s", Target, P::STRUCT_OPS, None, SLEEPABLE),
    ("sk_lookup", No, P::SK_LOOKUP, Some(A::SK_LOOKUP), 0),
    ("netfilter", No, P::NETFILTER, Some(A::NETFILTER), 0),
];

impl ProgramKind {
    /// `None` if the name says nothing; such a program can be linked, but its user must know
    /// what it is for.
    pub fn of_section(name: &str) -> Option<Self> {
        let on_request = name.starts_with('?');
        let name = name.strip_prefix('?').unwrap_or(name);
        SECTIONS.iter().find_map(|(section, rest, program, attach, flags)| {
            let target = match name.strip_prefix(section)? {
                "" => "",
                target if *rest == Target => target.strip_prefix('/')?,
                _ => return None,
            };
            Some(Self {
                program: *program,
                attach: *attach,
                sleepable: flags & SLEEPABLE != 0,
                fragments: flags & FRAGMENTS != 0,
                target: target.to_owned(),
                on_request,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sections() {
        let check = |name: &str, program: P, attach: Option<A>, target: &str| {
            let kind = ProgramKind::of_section(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(
                (kind.program, kind.attach, kind.target.as_str()),
                (program, attach, target)
            );
        };
        check("xdp", P::XDP, Some(A::XDP), "");
        check("tcx/egress", P::CLASSIFIER, Some(A::TCX_EGRESS), "");
        check("kprobe/do_exit", P::KPROBE, None, "do_exit");
        check("kprobe", P::KPROBE, None, "");
        check("uprobe//bin/sh:main", P::KPROBE, None, "/bin/sh:main");
        check("kprobe.multi/tcp_*", P::KPROBE, Some(A::TRACE_KPROBE_MULTI), "tcp_*");
        check("tp/sched/sched_switch", P::TRACEPOINT, None, "sched/sched_switch");
        check("lsm.s/file_open", P::LSM, Some(A::LSM_MAC), "file_open");
        check("cgroup/connect6", P::CGROUP_SOCK_ADDR, Some(A::CGROUP_INET6_CONNECT), "");
        let on_request = ProgramKind::of_section("?fexit.s/vfs_read").unwrap();
        assert!(on_request.on_request && on_request.sleepable);
        assert!(ProgramKind::of_section("xdp.frags").unwrap().fragments);
        for unknown in ["", "?", "xdp/other", "kprobes", "cgroup/connect", "kprobefoo"] {
            assert_eq!(ProgramKind::of_section(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn no_row_hides_another() {
        for (name, _, program, attach, _) in SECTIONS {
            let kind = ProgramKind::of_section(name).unwrap();
            assert_eq!((kind.program, kind.attach), (*program, *attach), "{name}");
        }
    }
}
