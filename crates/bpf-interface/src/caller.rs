//! A program as far as it decides what it may call and touch.

use bpf_object::{AttachType, ProgramKind, ProgramType};

use crate::context::default_attach;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller<'a> {
    pub program: ProgramType,
    /// The expected attach type; 0 if none was given, as for the kernel.
    pub attach: AttachType,
    pub sleepable: bool,
    /// The LSM hook, the kind of iterator, or for struct_ops type and member, such as
    /// `tcp_congestion_ops/release`; empty if it doesn't matter.
    pub target: &'a str,
    pub privilege: Privilege,
}

/// What the loading process may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    /// Nothing; some kernels still let it load socket filters and cgroup skb programs.
    None,
    /// CAP_BPF, with CAP_NET_ADMIN where the program needs it.
    Bpf,
    /// CAP_BPF and CAP_PERFMON.
    Perfmon,
}

impl<'a> Caller<'a> {
    /// Loaded by root. Without an attach type (0) it is the one that the kernel takes.
    pub fn new(program: ProgramType, attach: AttachType) -> Self {
        let attach = default_attach(program, attach);
        Self { program, attach, sleepable: false, target: "", privilege: Privilege::Perfmon }
    }

    /// As its section says, loaded by root.
    pub fn of(kind: &'a ProgramKind) -> Self {
        let attach = kind.attach.unwrap_or(AttachType(0));
        Self { sleepable: kind.sleepable, target: &kind.target, ..Self::new(kind.program, attach) }
    }

    /// Runs through a trampoline (`bpf_prog_has_trampoline`).
    pub fn has_trampoline(&self) -> bool {
        match self.program {
            ProgramType::TRACING => matches!(
                self.attach,
                AttachType::TRACE_FENTRY | AttachType::TRACE_FEXIT | AttachType::MODIFY_RETURN
            ),
            ProgramType::LSM => self.attach == AttachType::LSM_MAC,
            _ => false,
        }
    }
}
