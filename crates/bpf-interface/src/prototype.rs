//! What helpers and kernel functions take and give, in the terms of the rules that hold for them.
//!
//! The terms are those of the kernel's `enum bpf_arg_type` and `enum bpf_return_type`
//! (include/linux/bpf.h, Linux 6.12), so that each entry can be held against its source.

/// A helper, by its number in `enum bpf_func_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prototype {
    pub id: u32,
    /// With its prefix: `bpf_map_lookup_elem`.
    pub name: &'static str,
    pub arguments: [Argument; 5],
    pub result: Return,
    /// Only for programs whose licence is compatible with the GPL.
    pub gpl_only: bool,
    /// Pointers to the packet are invalid after it.
    pub changes_packet: bool,
    /// It may sleep, hence only sleepable programs may call it.
    pub might_sleep: bool,
    /// Memory arguments may lie in the packet (`pkt_access`).
    pub packet_access: bool,
    /// It leaves r1 to r5 as they are, if the program follows the pattern (`allow_fastcall`).
    pub fastcall: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Argument {
    pub what: What,
    /// NULL is allowed as well (`PTR_MAYBE_NULL`).
    pub nullable: bool,
    /// Releases the reference that it is given (`OBJ_RELEASE`).
    pub releases: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum What {
    /// The helper has no such argument.
    #[default]
    Nothing,
    /// Any initialised value.
    Anything,
    /// A number, never a pointer (`ARG_SCALAR`).
    Scalar,
    Context,
    /// A map that is known when the program is loaded.
    Map,
    MapKey,
    /// Initialised memory of the map's value size.
    MapValue,
    /// Memory of that size that the helper fills.
    UninitialisedMapValue,
    /// Memory that the helper reads; its size is the next argument, unless `size` is given.
    /// If `writable`, the helper writes there, too, but it does not fill it: it must be initialised.
    Memory {
        size: Option<u32>,
        writable: bool,
    },
    /// Memory that the helper fills; likewise.
    UninitialisedMemory {
        size: Option<u32>,
        aligned: bool,
    },
    /// The size of the memory before it, above zero.
    Size,
    SizeOrZero,
    /// A known size of memory to allocate.
    AllocationSize,
    /// `struct bpf_spin_lock` in a map value or an allocated object.
    SpinLock,
    Timer,
    /// A socket of any form (`ARG_PTR_TO_BTF_ID_SOCK_COMMON`).
    SockCommon,
    /// As before, but not as a kernel structure with BTF (`ARG_PTR_TO_SOCK_COMMON`).
    UntypedSockCommon,
    /// A full socket (`ARG_PTR_TO_SOCKET`).
    Socket,
    /// A pointer to a kernel structure of this name.
    Structure(&'static str),
    /// A pointer to a per-CPU kernel variable.
    PerCpu,
    /// Memory from a ring-buffer reservation (`ARG_PTR_TO_RINGBUF_MEM`).
    RingBufferRecord,
    /// A function of the program.
    Callback,
    /// Stack memory, or anything that outlives the call (`ARG_PTR_TO_STACK`).
    Stack,
    /// A string in a read-only map, NUL-terminated.
    ConstString,
    /// A field `__kptr` of a map value.
    Kptr,
    /// A pointer to an object that the field of the argument before may hold.
    KptrContent,
    Dynptr(DynptrUse),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DynptrUse {
    /// Any that is initialised, for reading.
    Read,
    /// Any that is initialised.
    Any,
    InitialiseLocal,
    InitialiseRingBuffer,
    /// Of a ring buffer, which is released.
    ReleaseRingBuffer,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Return {
    #[default]
    Integer,
    Void,
    /// The value of the map that is an argument.
    MapValue {
        nullable: bool,
    },
    /// A reference to a full socket, or NULL (`RET_PTR_TO_SOCKET_OR_NULL`); a reference only if
    /// the helper acquires, see [`acquires`].
    SocketOrNull,
    SockCommonOrNull,
    TcpSockOrNull,
    /// Memory whose size is the argument of kind [`What::AllocationSize`], or NULL.
    RingBufferRecordOrNull,
    /// Read and write memory of dynptr data, or NULL.
    DynptrDataOrNull,
    /// A kernel structure.
    Structure {
        name: &'static str,
        nullable: bool,
        trusted: bool,
    },
    /// The per-CPU variable that is an argument.
    PerCpuVariable {
        nullable: bool,
    },
    /// The former content of the kptr field that is an argument.
    KptrOrNull,
}

/// Helpers whose result must be released (`is_acquire_function`).
pub fn acquires(id: u32) -> bool {
    // sk_lookup_tcp, sk_lookup_udp, skc_lookup_tcp, ringbuf_reserve, kptr_xchg. For map look-ups
    // it depends on the map: the engine knows.
    matches!(id, 84 | 85 | 99 | 131 | 194)
}

/// Helpers that return their argument in another form: the result shares its reference
/// (`is_ptr_cast_function`).
pub fn casts(id: u32) -> bool {
    // tcp_sock, sk_fullsock, skc_to_{tcp, tcp6, udp6, mptcp, tcp_timewait, tcp_request}_sock
    matches!(id, 95 | 96 | 136..=140 | 196)
}

impl Argument {
    pub(crate) const NOTHING: Self = Self::new(What::Nothing);

    pub(crate) const fn new(what: What) -> Self {
        Self { what, nullable: false, releases: false }
    }

    pub(crate) const fn or_null(self) -> Self {
        Self { nullable: true, ..self }
    }

    pub(crate) const fn released(self) -> Self {
        Self { releases: true, ..self }
    }
}

impl Prototype {
    pub(crate) const fn new(
        id: u32,
        name: &'static str,
        result: Return,
        given: &[Argument],
    ) -> Self {
        let mut arguments = [Argument::NOTHING; 5];
        let mut at = 0;
        while at < given.len() {
            arguments[at] = given[at];
            at += 1;
        }
        Self {
            id,
            name,
            arguments,
            result,
            gpl_only: false,
            changes_packet: false,
            might_sleep: false,
            packet_access: false,
            fastcall: false,
        }
    }

    pub(crate) const fn gpl(self) -> Self {
        Self { gpl_only: true, ..self }
    }

    pub(crate) const fn changes_packet(self) -> Self {
        Self { changes_packet: true, ..self }
    }

    pub(crate) const fn sleeps(self) -> Self {
        Self { might_sleep: true, ..self }
    }

    pub(crate) const fn packet(self) -> Self {
        Self { packet_access: true, ..self }
    }

    pub(crate) const fn fastcall(self) -> Self {
        Self { fastcall: true, ..self }
    }
}
