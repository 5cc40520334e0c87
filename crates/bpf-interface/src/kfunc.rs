//! Kernel functions that programs may call by name: which programs, and what the flags say of them.
//!
//! Their arguments are in the kernel's BTF; the kernel reads more into the names of parameters than
//! BTF can say, see [`Convention`].

mod table;

use bpf_object::{AttachType as A, ProgramType as P};

use crate::caller::Caller;
use table::SETS;

/// Kinds of programs with a set of functions of their own (enum btf_kfunc_hook).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hook {
    /// Every program.
    Common,
    Xdp,
    Classifier,
    StructOps,
    Tracing,
    Syscall,
    Cgroup,
    Action,
    SkSkb,
    SocketFilter,
    LightTunnel,
    Netfilter,
    Kprobe,
}

/// A condition beyond the type of program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Only {
    KprobeSession,
    Iterator,
    Lsm,
}

/// What a kernel function does with references and contexts (include/linux/btf.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// Returns a reference that must be released.
    pub fn acquires(self) -> bool {
        self.0 & table::ACQUIRE != 0
    }

    /// Releases its referenced argument.
    pub fn releases(self) -> bool {
        self.0 & table::RELEASE != 0
    }

    pub fn may_return_null(self) -> bool {
        self.0 & table::RET_NULL != 0
    }

    /// Pointers must be trusted: as given by the kernel, at no offset. A release implies it.
    pub fn needs_trusted(self) -> bool {
        self.0 & (table::TRUSTED_ARGS | table::RELEASE) != 0
    }

    pub fn may_sleep(self) -> bool {
        self.0 & table::SLEEPABLE != 0
    }

    /// Needs CAP_SYS_BOOT.
    pub fn is_destructive(self) -> bool {
        self.0 & table::DESTRUCTIVE != 0
    }

    /// Pointers may be protected by RCU instead of trusted.
    pub fn takes_rcu(self) -> bool {
        self.0 & table::RCU != 0
    }

    pub fn makes_iterator(self) -> bool {
        self.0 & table::ITER_NEW != 0
    }

    pub fn advances_iterator(self) -> bool {
        self.0 & table::ITER_NEXT != 0
    }

    pub fn destroys_iterator(self) -> bool {
        self.0 & table::ITER_DESTROY != 0
    }

    /// Must be called within an RCU read section.
    pub fn needs_rcu_section(self) -> bool {
        self.0 & table::RCU_PROTECTED != 0
    }
}

/// Why a kernel function can't be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Not in our table: it may be of a module or of a newer kernel.
    Unknown,
    /// Known, but not for programs of this kind.
    Program,
}

/// The flags of the function for a program of this kind.
pub fn for_program(caller: &Caller<'_>, name: &str) -> Result<Flags, Denied> {
    let mut denied = Denied::Unknown;
    for set in SETS {
        let Some((_, flags)) = set.functions.iter().find(|(known, _)| *known == name) else {
            continue;
        };
        denied = Denied::Program;
        let hook = hook(caller.program);
        let in_set = set.hooks.iter().any(|own| *own == Hook::Common || Some(*own) == hook);
        if in_set && set.only.is_none_or(|only| holds(only, caller)) {
            return Ok(Flags(*flags));
        }
    }
    Err(denied)
}

/// All names, each once.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<_> =
        SETS.iter().flat_map(|set| set.functions.iter().map(|(name, _)| *name)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn holds(only: Only, caller: &Caller<'_>) -> bool {
    match only {
        Only::KprobeSession => caller.attach == A::TRACE_KPROBE_SESSION,
        Only::Iterator => caller.program == P::TRACING && caller.attach == A::TRACE_ITER,
        Only::Lsm => caller.program == P::LSM,
    }
}

/// bpf_prog_type_to_kfunc_hook (kernel/bpf/btf.c)
fn hook(program: P) -> Option<Hook> {
    Some(match program {
        P::XDP => Hook::Xdp,
        P::CLASSIFIER => Hook::Classifier,
        P::STRUCT_OPS => Hook::StructOps,
        P::TRACING | P::TRACEPOINT | P::PERF_EVENT | P::LSM => Hook::Tracing,
        P::SYSCALL => Hook::Syscall,
        P::CGROUP_SKB
        | P::CGROUP_SOCK
        | P::CGROUP_DEVICE
        | P::CGROUP_SOCK_ADDR
        | P::CGROUP_SOCKOPT
        | P::CGROUP_SYSCTL => Hook::Cgroup,
        P::ACTION => Hook::Action,
        P::SK_SKB => Hook::SkSkb,
        P::SOCKET_FILTER => Hook::SocketFilter,
        P::LWT_OUT | P::LWT_IN | P::LWT_XMIT | P::LWT_SEG6LOCAL => Hook::LightTunnel,
        P::NETFILTER => Hook::Netfilter,
        P::KPROBE => Hook::Kprobe,
        _ => return None,
    })
}

/// What the end of a parameter's name says (Documentation/bpf/kfuncs.rst).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convention {
    /// `__sz`: the size of the memory in the parameter before.
    Size,
    /// `__szk`: the same, known when the program is loaded.
    KnownSize,
    /// `__k`: a number that is known when the program is loaded.
    Known,
    /// `__ign`: set by the verifier; what the program gives is ignored.
    Ignored,
    /// `__uninit`: need not be initialised.
    Uninitialised,
    /// `__alloc`: an object of `bpf_obj_new`.
    Allocated,
    /// `__refcounted_kptr`: an object that counts its references.
    ReferenceCounted,
    /// `__nullable`: may be NULL.
    Nullable,
    /// `__opt`: may be NULL, and its size is checked only if it isn't.
    Optional,
    /// `__str`: a string that is known when the program is loaded.
    String,
    /// `__map`
    Map,
    /// `__iter`: an iterator whose kind the caller chose.
    Iterator,
    /// `__prog`: the calling program.
    Program,
    /// `__irq_flag`: where interrupts' state is kept (Linux 6.14).
    InterruptState,
}

/// The longest endings first where one is the end of another.
const ENDINGS: &[(&str, Convention)] = &[
    ("__refcounted_kptr", Convention::ReferenceCounted),
    ("__irq_flag", Convention::InterruptState),
    ("__nullable", Convention::Nullable),
    ("__uninit", Convention::Uninitialised),
    ("__alloc", Convention::Allocated),
    ("__iter", Convention::Iterator),
    ("__prog", Convention::Program),
    ("__szk", Convention::KnownSize),
    ("__ign", Convention::Ignored),
    ("__opt", Convention::Optional),
    ("__str", Convention::String),
    ("__map", Convention::Map),
    ("__sz", Convention::Size),
    ("__k", Convention::Known),
];

impl Convention {
    pub fn of(parameter: &str) -> Option<Self> {
        ENDINGS.iter().find(|(ending, _)| parameter.ends_with(ending)).map(|(_, kind)| *kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_have_their_functions() {
        let check = |program, attach, name, expected: Result<(), Denied>| {
            let found = for_program(&Caller::new(program, attach), name).map(drop);
            assert_eq!(found, expected, "{program} {attach} {name}");
        };
        check(P::XDP, A::XDP, "bpf_xdp_ct_lookup", Ok(()));
        check(P::KPROBE, A(0), "bpf_xdp_ct_lookup", Err(Denied::Program));
        check(P::KPROBE, A(0), "bpf_rcu_read_lock", Ok(()));
        check(P::KPROBE, A(0), "bpf_task_acquire", Err(Denied::Program));
        check(P::LSM, A::LSM_MAC, "bpf_get_file_xattr", Ok(()));
        check(P::TRACING, A::TRACE_FENTRY, "bpf_get_file_xattr", Err(Denied::Program));
        check(P::TRACING, A::TRACE_ITER, "bpf_sock_destroy", Ok(()));
        check(P::TRACING, A::TRACE_FENTRY, "bpf_sock_destroy", Err(Denied::Program));
        check(P::KPROBE, A::TRACE_KPROBE_SESSION, "bpf_session_cookie", Ok(()));
        check(P::XDP, A::XDP, "no_such_function", Err(Denied::Unknown));
    }

    #[test]
    fn flags() {
        let of = |program, name| for_program(&Caller::new(program, A(0)), name).unwrap_or_default();
        let lookup = of(P::XDP, "bpf_xdp_ct_lookup");
        assert!(lookup.acquires() && lookup.may_return_null() && !lookup.releases());
        assert!(of(P::XDP, "bpf_ct_release").needs_trusted());
        assert!(of(P::XDP, "bpf_iter_num_new").makes_iterator());
        // The same function sleeps here and not there.
        assert!(of(P::STRUCT_OPS, "hid_bpf_hw_request").may_sleep());
        assert!(!of(P::SYSCALL, "hid_bpf_hw_request").may_sleep());
    }

    #[test]
    fn names_of_parameters() {
        for (name, expected) in [
            ("meta__ign", Some(Convention::Ignored)),
            ("buffer__szk", Some(Convention::KnownSize)),
            ("mem__sz", Some(Convention::Size)),
            ("local_type_id__k", Some(Convention::Known)),
            ("p__refcounted_kptr", Some(Convention::ReferenceCounted)),
            ("buffer__opt", Some(Convention::Optional)),
            ("ctx", None),
        ] {
            assert_eq!(Convention::of(name), expected, "{name}");
        }
    }
}
