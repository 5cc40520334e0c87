//! What is known of a register: a number, or which kind of thing it points to and where.

use crate::scalar::Scalar;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    #[default]
    Uninitialised,
    Scalar,
    Context,
    Map,
    MapValue,
    MapKey,
    Stack,
    Packet,
    PacketMeta,
    PacketEnd,
    FlowKeys,
    Socket,
    SockCommon,
    TcpSock,
    XdpSock,
    TracepointBuffer,
    /// Memory of known size that a helper or caller lent.
    Memory,
    /// Memory whose size is checked when the program is attached or run.
    Buffer,
    /// A structure described by BTF.
    Structure,
    Function,
    /// A dynptr that a caller passed; also what lies in a stack slot of a dynptr.
    Dynptr,
    /// Only in stack slots.
    Iterator,
    Arena,
}

/// What further qualifies a pointer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(pub u16);

impl Flags {
    pub const NONE: Self = Self(0);
    pub const NULLABLE: Self = Self(1);
    pub const READ_ONLY: Self = Self(1 << 1);
    pub const RING_BUFFER: Self = Self(1 << 2);
    pub const USER: Self = Self(1 << 3);
    pub const PER_CPU: Self = Self(1 << 4);
    pub const UNTRUSTED: Self = Self(1 << 5);
    pub const TRUSTED: Self = Self(1 << 6);
    pub const RCU: Self = Self(1 << 7);
    /// Of the program's own types, allocated by `bpf_obj_new` (`MEM_ALLOC`).
    pub const ALLOCATED: Self = Self(1 << 8);
    /// In a list or tree that owns it (`NON_OWN_REF`).
    pub const NOT_OWNED: Self = Self(1 << 9);
    /// The data of a dynptr over a packet (`DYNPTR_TYPE_SKB`, `DYNPTR_TYPE_XDP`).
    pub const PACKET_DATA: Self = Self(1 << 10);
    /// The scalar is its group's number plus `off` (`BPF_ADD_CONST`).
    pub const PLUS: Self = Self(1 << 11);

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Register {
    pub kind: Kind,
    pub flags: Flags,
    /// Of stack pointers: whose frame.
    pub frame: u8,
    /// The fixed part of a pointer's offset; of scalars see [`Flags::PLUS`].
    pub off: i32,
    /// Of map pointers, values and keys: the map. Of structures: the type. Of functions: which.
    /// Of dynptrs: their sort.
    pub what: u32,
    /// Of packet pointers: how many bytes may be accessed; of memory: its size.
    pub size: u32,
    /// Tells values of inner maps of different look-ups apart.
    pub instance: u32,
    /// Registers with the same number hold the same unknown. 0: none.
    pub id: u32,
    /// The reference that it holds. 0: none.
    pub reference: u32,
    /// The number, or the variable part of a pointer's offset.
    pub number: Scalar,
}

/// Ranges of packet pointers that are known to be at or behind the packet's end.
pub(crate) const AT_PACKET_END: u32 = u32::MAX;
pub(crate) const BEYOND_PACKET_END: u32 = u32::MAX - 1;

impl Default for Register {
    fn default() -> Self {
        Self::UNINITIALISED
    }
}

impl Register {
    pub const UNINITIALISED: Self = Self {
        kind: Kind::Uninitialised,
        flags: Flags::NONE,
        frame: 0,
        off: 0,
        what: 0,
        size: 0,
        instance: 0,
        id: 0,
        reference: 0,
        number: Scalar::UNKNOWN,
    };

    pub const UNKNOWN: Self = Self { kind: Kind::Scalar, ..Self::UNINITIALISED };

    pub const fn scalar(number: Scalar) -> Self {
        Self { number, ..Self::UNKNOWN }
    }

    pub const fn exactly(number: u64) -> Self {
        Self::scalar(Scalar::exactly(number))
    }

    pub const fn pointer(kind: Kind) -> Self {
        Self { kind, number: Scalar::ZERO, ..Self::UNINITIALISED }
    }

    pub const fn with_flags(self, flags: Flags) -> Self {
        Self { flags, ..self }
    }

    pub const fn is(&self, kind: Kind) -> bool {
        self.kind as u8 == kind as u8
    }

    pub const fn is_scalar(&self) -> bool {
        self.is(Kind::Scalar)
    }

    pub fn is_pointer(&self) -> bool {
        !matches!(self.kind, Kind::Scalar | Kind::Uninitialised)
    }

    pub const fn is_nullable(&self) -> bool {
        self.flags.has(Flags::NULLABLE)
    }

    pub fn is_null(&self) -> bool {
        self.is_scalar() && self.number.is_zero()
    }

    pub const fn is_packet(&self) -> bool {
        matches!(self.kind, Kind::Packet | Kind::PacketMeta)
    }

    pub const fn is_socket(&self) -> bool {
        matches!(self.kind, Kind::Socket | Kind::SockCommon | Kind::TcpSock | Kind::XdpSock)
    }

    /// The range that was learnt for a packet pointer, if it isn't past the end.
    pub const fn range(&self) -> Option<u32> {
        match self.size {
            AT_PACKET_END | BEYOND_PACKET_END => None,
            range => Some(range),
        }
    }

    /// The fixed and the variable offset together, where both are constants.
    pub fn exact_offset(&self) -> Option<i64> {
        let variable = self.number.exact()?.cast_signed();
        variable.checked_add(self.off.into())
    }

    /// The name of its kind, as the kernel's log has it (kernel/bpf/log.c, Linux 6.12:
    /// `reg_type_str`).
    pub fn name(&self) -> String {
        let (name, suffix) = match self.kind {
            Kind::Uninitialised => ("?", ""),
            Kind::Scalar => ("scalar", ""),
            Kind::Context => ("ctx", "_or_null"),
            Kind::Map => ("map_ptr", "_or_null"),
            Kind::MapValue => ("map_value", "_or_null"),
            Kind::MapKey => ("map_key", "_or_null"),
            Kind::Stack => ("fp", "_or_null"),
            Kind::Packet => ("pkt", "_or_null"),
            Kind::PacketMeta => ("pkt_meta", "_or_null"),
            Kind::PacketEnd => ("pkt_end", "_or_null"),
            Kind::FlowKeys => ("flow_keys", "_or_null"),
            Kind::Socket => ("sock", "_or_null"),
            Kind::SockCommon => ("sock_common", "_or_null"),
            Kind::TcpSock => ("tcp_sock", "_or_null"),
            Kind::XdpSock => ("xdp_sock", "_or_null"),
            Kind::TracepointBuffer => ("tp_buffer", "_or_null"),
            Kind::Memory => ("mem", "_or_null"),
            Kind::Buffer => ("buf", "_or_null"),
            Kind::Structure => ("ptr_", "or_null_"),
            Kind::Function => ("func", "_or_null"),
            Kind::Dynptr => ("dynptr_ptr", "_or_null"),
            Kind::Iterator => ("iter", ""),
            Kind::Arena => ("arena", "_or_null"),
        };
        let mut text = String::new();
        for (flag, prefix) in [
            (Flags::READ_ONLY, "rdonly_"),
            (Flags::RING_BUFFER, "ringbuf_"),
            (Flags::USER, "user_"),
            (Flags::PER_CPU, "percpu_"),
            (Flags::UNTRUSTED, "untrusted_"),
            (Flags::TRUSTED, "trusted_"),
            (Flags::RCU, "rcu_"),
        ] {
            if self.flags.has(flag) {
                text.push_str(prefix);
            }
        }
        text.push_str(name);
        if self.is_nullable() {
            text.push_str(suffix);
        }
        text
    }
}
