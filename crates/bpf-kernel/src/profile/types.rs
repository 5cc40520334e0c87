//! The ways in which programs of each type are loaded to try things with them.

use bpf_object::{
    AttachType as A, ProgramType as P,
    btf::{Btf, Kind},
};

use super::attempt::{Answer, Attempt, EXIT, ZERO};

/// A way that this kernel takes.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub program: P,
    attach: A,
    flags: u32,
    target: u32,
}

/// BPF_F_SLEEPABLE
pub const SLEEPABLE: u32 = 1 << 4;

impl Form {
    pub fn attempt(&self) -> Attempt<'_> {
        Attempt {
            program: self.program.0,
            attach: self.attach.0,
            flags: self.flags,
            target: self.target,
            instructions: &[ZERO, EXIT],
        }
    }

    pub fn is_sleepable(&self) -> bool {
        self.flags & SLEEPABLE != 0
    }
}

/// All ways by which this kernel's verifier gets to see programs.
pub fn forms(kernel: &Btf) -> Vec<Form> {
    let mut forms = Vec::new();
    for (program, attach, flags, target) in candidates(kernel) {
        let form = Form { program, attach, flags, target };
        // A verifier that looks at the program at all has something to say of this.
        let call = [0x85, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f];
        let attempt = Attempt { instructions: &[call, EXIT], ..form.attempt() };
        let seen = matches!(attempt.load(), Answer::Refused(log) if log.contains("invalid func"));
        if seen {
            forms.push(form);
        }
    }
    forms
}

fn candidates(kernel: &Btf) -> Vec<(P, A, u32, u32)> {
    let none = A(0);
    let mut all = Vec::new();
    for (program, attach) in [
        (P::SOCKET_FILTER, none),
        (P::KPROBE, none),
        (P::CLASSIFIER, none),
        (P::ACTION, none),
        (P::TRACEPOINT, none),
        (P::XDP, none),
        (P::PERF_EVENT, none),
        (P::CGROUP_SKB, A::CGROUP_INET_INGRESS),
        (P::CGROUP_SKB, A::CGROUP_INET_EGRESS),
        (P::CGROUP_SOCK, A::CGROUP_SOCK_CREATE),
        (P::CGROUP_SOCK, A::CGROUP_INET4_POST_BIND),
        (P::LWT_IN, none),
        (P::LWT_OUT, none),
        (P::LWT_XMIT, none),
        (P::SOCK_OPS, A::CGROUP_SOCK_OPS),
        (P::SK_SKB, none),
        (P::CGROUP_DEVICE, A::CGROUP_DEVICE),
        (P::SK_MSG, A::SK_MSG_VERDICT),
        (P::RAW_TRACEPOINT, none),
        (P::CGROUP_SOCK_ADDR, A::CGROUP_INET4_BIND),
        (P::CGROUP_SOCK_ADDR, A::CGROUP_INET4_CONNECT),
        (P::CGROUP_SOCK_ADDR, A::CGROUP_UDP4_SENDMSG),
        (P::LWT_SEG6LOCAL, none),
        (P::LIRC_MODE2, none),
        (P::SK_REUSEPORT, none),
        (P::FLOW_DISSECTOR, none),
        (P::CGROUP_SYSCTL, A::CGROUP_SYSCTL),
        (P::RAW_TRACEPOINT_WRITABLE, none),
        (P::CGROUP_SOCKOPT, A::CGROUP_GETSOCKOPT),
        (P::CGROUP_SOCKOPT, A::CGROUP_SETSOCKOPT),
        (P::SK_LOOKUP, A::SK_LOOKUP),
        (P::NETFILTER, A::NETFILTER),
    ] {
        all.push((program, attach, 0, 0));
    }
    all.push((P::SYSCALL, none, SLEEPABLE, 0));
    // Of uprobes.
    all.push((P::KPROBE, none, SLEEPABLE, 0));
    for (program, attach, flags, target) in [
        (P::TRACING, A::TRACE_FENTRY, 0, "bpf_lsm_file_open"),
        (P::TRACING, A::TRACE_FEXIT, 0, "bpf_lsm_file_open"),
        (P::TRACING, A::TRACE_FENTRY, SLEEPABLE, "__x64_sys_nanosleep"),
        (P::TRACING, A::TRACE_FENTRY, SLEEPABLE, "__arm64_sys_nanosleep"),
        (P::TRACING, A::TRACE_ITER, 0, "bpf_iter_task"),
        (P::TRACING, A::TRACE_ITER, 0, "bpf_iter_tcp"),
        (P::LSM, A::LSM_MAC, 0, "bpf_lsm_file_open"),
        (P::LSM, A::LSM_MAC, SLEEPABLE, "bpf_lsm_file_open"),
        // The only one that may sleep in Linux 5.10.
        (P::LSM, A::LSM_MAC, SLEEPABLE, "bpf_lsm_bprm_committed_creds"),
        (P::LSM, A::LSM_CGROUP, 0, "bpf_lsm_socket_post_create"),
    ] {
        let is_function = |kind: &Kind| matches!(kind, Kind::Function { .. });
        if let Some(id) = kernel.find(target, is_function) {
            all.push((program, attach, flags, id.0));
        }
    }
    let is_typedef = |kind: &Kind| matches!(kind, Kind::Typedef(_));
    if let Some(id) = kernel.find("btf_trace_sched_switch", is_typedef) {
        all.push((P::TRACING, A::TRACE_RAW_TP, 0, id.0));
    }
    let is_struct = |kind: &Kind| matches!(kind, Kind::Struct(_));
    if let Some(id) = kernel.find("tcp_congestion_ops", is_struct)
        && let Some(composite) = kernel.composite(id)
        && let Some(member) = composite
            .members
            .iter()
            .position(|member| kernel.string(member.name) == Some("ssthresh"))
    {
        // The attach type is the number of the member.
        all.push((P::STRUCT_OPS, A(member as u32), 0, id.0));
    }
    all
}
