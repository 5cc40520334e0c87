//! The structures and their fields. What is said here of a field holds for every kind of program
//! that sees it; who sees it is in `view.rs`.

/// A structure of the ABI.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    pub name: &'static str,
    pub size: u32,
    /// In the order of offsets.
    pub fields: &'static [Field],
}

#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub offset: u16,
    /// In bytes, of all elements.
    pub size: u16,
    /// The size of an element: as `size` but for arrays.
    pub element: u16,
    pub kind: FieldKind,
    pub loads: Loads,
    pub stores: Stores,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    Number,
    Packet,
    PacketEnd,
    /// The bytes before the packet that programs may use.
    PacketMeta,
    SockCommonOrNull,
    Socket,
    SocketOrNull,
    FlowKeys,
    /// The record that a writable tracepoint gives (`PTR_TO_TP_BUFFER`).
    TracepointBuffer,
    /// A trusted pointer to a kernel structure.
    Structure(&'static str),
}

/// With which sizes a field can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loads {
    No,
    Whole,
    /// An element or an aligned part of it.
    Narrow,
    /// Parts of at least two bytes.
    NarrowFromTwo,
    /// Parts that begin where the field begins.
    NarrowAtStart,
    /// As narrow, or two elements at once.
    NarrowOrWide,
    /// As narrow, or four bytes from the start of a field of two.
    NarrowOrFour,
    /// Anything inside.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stores {
    No,
    Whole,
    /// The first element only.
    First,
    WholeOrWide,
    Any,
}

impl Layout {
    pub fn field_at(&'static self, offset: u16) -> Option<&'static Field> {
        let after = self.fields.partition_point(|field| field.offset <= offset);
        let field = self.fields.get(after.checked_sub(1)?)?;
        (offset < field.offset + field.size).then_some(field)
    }

    pub fn field(&'static self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A number of four bytes that is read as a whole.
const fn word(offset: u16, name: &'static str) -> Field {
    Field {
        name,
        offset,
        size: 4,
        element: 4,
        kind: FieldKind::Number,
        loads: Loads::Whole,
        stores: Stores::No,
    }
}

const fn long(offset: u16, name: &'static str) -> Field {
    Field { size: 8, element: 8, ..word(offset, name) }
}

/// As `word`, but of which parts can be read.
const fn narrow(offset: u16, name: &'static str) -> Field {
    Field { loads: Loads::Narrow, ..word(offset, name) }
}

const fn pointer(offset: u16, name: &'static str, kind: FieldKind) -> Field {
    Field { kind, ..long(offset, name) }
}

impl Field {
    const fn loads(self, loads: Loads) -> Self {
        Self { loads, ..self }
    }

    const fn stores(self, stores: Stores) -> Self {
        Self { stores, ..self }
    }

    const fn count(self, count: u16) -> Self {
        Self { size: self.element * count, ..self }
    }

    const fn is(self, kind: FieldKind) -> Self {
        Self { kind, ..self }
    }
}

const STORED: Stores = Stores::Whole;

#[rustfmt::skip]
pub static SK_BUFF: Layout = Layout {
    name: "__sk_buff",
    size: 192,
    fields: &[
        narrow(0, "len"),
        narrow(4, "pkt_type"),
        narrow(8, "mark").stores(STORED),
        narrow(12, "queue_mapping").stores(STORED),
        narrow(16, "protocol"),
        narrow(20, "vlan_present"),
        narrow(24, "vlan_tci"),
        narrow(28, "vlan_proto"),
        narrow(32, "priority").stores(STORED),
        narrow(36, "ingress_ifindex"),
        narrow(40, "ifindex"),
        narrow(44, "tc_index").stores(STORED),
        word(48, "cb").count(5).loads(Loads::Any).stores(Stores::Any),
        narrow(68, "hash"),
        narrow(72, "tc_classid").stores(STORED),
        word(76, "data").is(FieldKind::Packet),
        word(80, "data_end").is(FieldKind::PacketEnd),
        narrow(84, "napi_id"),
        narrow(88, "family"),
        word(92, "remote_ip4"),
        word(96, "local_ip4"),
        word(100, "remote_ip6").count(4),
        word(116, "local_ip6").count(4),
        narrow(132, "remote_port"),
        narrow(136, "local_port"),
        word(140, "data_meta").is(FieldKind::PacketMeta),
        pointer(144, "flow_keys", FieldKind::FlowKeys),
        long(152, "tstamp").stores(STORED),
        narrow(160, "wire_len"),
        narrow(164, "gso_segs"),
        pointer(168, "sk", FieldKind::SockCommonOrNull),
        narrow(176, "gso_size"),
        Field { size: 1, element: 1, ..word(180, "tstamp_type") },
        long(184, "hwtstamp"),
    ],
};

#[rustfmt::skip]
pub static XDP_MD: Layout = Layout {
    name: "xdp_md",
    size: 24,
    fields: &[
        word(0, "data").is(FieldKind::Packet),
        word(4, "data_end").is(FieldKind::PacketEnd),
        word(8, "data_meta").is(FieldKind::PacketMeta),
        word(12, "ingress_ifindex"),
        word(16, "rx_queue_index"),
        word(20, "egress_ifindex"),
    ],
};

/// The context of cgroup/sock programs, and where pointers to sockets lead.
#[rustfmt::skip]
pub static SOCK: Layout = Layout {
    name: "bpf_sock",
    size: 80,
    fields: &[
        word(0, "bound_dev_if").stores(STORED),
        narrow(4, "family").loads(Loads::NarrowAtStart),
        narrow(8, "type").loads(Loads::NarrowAtStart),
        narrow(12, "protocol").loads(Loads::NarrowAtStart),
        word(16, "mark").stores(STORED),
        word(20, "priority").stores(STORED),
        narrow(24, "src_ip4"),
        narrow(28, "src_ip6").count(4),
        narrow(44, "src_port").loads(Loads::NarrowAtStart),
        Field { size: 2, element: 2, ..narrow(48, "dst_port") }.loads(Loads::NarrowOrFour),
        narrow(52, "dst_ip4"),
        narrow(56, "dst_ip6").count(4),
        narrow(72, "state").loads(Loads::NarrowAtStart),
        narrow(76, "rx_queue_mapping").loads(Loads::NarrowAtStart),
    ],
};

#[rustfmt::skip]
pub static TCP_SOCK: Layout = Layout {
    name: "bpf_tcp_sock",
    size: 112,
    fields: &[
        word(0, "snd_cwnd"), word(4, "srtt_us"), word(8, "rtt_min"), word(12, "snd_ssthresh"),
        word(16, "rcv_nxt"), word(20, "snd_nxt"), word(24, "snd_una"), word(28, "mss_cache"),
        word(32, "ecn_flags"), word(36, "rate_delivered"), word(40, "rate_interval_us"),
        word(44, "packets_out"), word(48, "retrans_out"), word(52, "total_retrans"),
        word(56, "segs_in"), word(60, "data_segs_in"), word(64, "segs_out"),
        word(68, "data_segs_out"), word(72, "lost_out"), word(76, "sacked_out"),
        long(80, "bytes_received"), long(88, "bytes_acked"), word(96, "dsack_dups"),
        word(100, "delivered"), word(104, "delivered_ce"), word(108, "icsk_retransmits"),
    ],
};

#[rustfmt::skip]
pub static XDP_SOCK: Layout =
    Layout { name: "bpf_xdp_sock", size: 4, fields: &[word(0, "queue_id")] };

#[rustfmt::skip]
pub static SOCK_ADDR: Layout = Layout {
    name: "bpf_sock_addr",
    size: 72,
    fields: &[
        word(0, "user_family"),
        narrow(4, "user_ip4").stores(STORED),
        narrow(8, "user_ip6").count(4).loads(Loads::NarrowOrWide).stores(Stores::WholeOrWide),
        narrow(24, "user_port").stores(STORED),
        word(28, "family"),
        word(32, "type"),
        word(36, "protocol"),
        narrow(40, "msg_src_ip4").stores(STORED),
        narrow(44, "msg_src_ip6").count(4).loads(Loads::NarrowOrWide).stores(Stores::WholeOrWide),
        pointer(64, "sk", FieldKind::Socket),
    ],
};

#[rustfmt::skip]
pub static SOCK_OPS: Layout = Layout {
    name: "bpf_sock_ops",
    size: 224,
    fields: &[
        word(0, "op"),
        word(4, "args").count(4).stores(Stores::First),
        word(20, "family"), word(24, "remote_ip4"), word(28, "local_ip4"),
        word(32, "remote_ip6").count(4), word(48, "local_ip6").count(4),
        word(64, "remote_port"), word(68, "local_port"), word(72, "is_fullsock"),
        word(76, "snd_cwnd"), word(80, "srtt_us"), word(84, "bpf_sock_ops_cb_flags"),
        word(88, "state"), word(92, "rtt_min"), word(96, "snd_ssthresh"), word(100, "rcv_nxt"),
        word(104, "snd_nxt"), word(108, "snd_una"), word(112, "mss_cache"), word(116, "ecn_flags"),
        word(120, "rate_delivered"), word(124, "rate_interval_us"), word(128, "packets_out"),
        word(132, "retrans_out"), word(136, "total_retrans"), word(140, "segs_in"),
        word(144, "data_segs_in"), word(148, "segs_out"), word(152, "data_segs_out"),
        word(156, "lost_out"), word(160, "sacked_out"),
        word(164, "sk_txhash").stores(STORED),
        long(168, "bytes_received"), long(176, "bytes_acked"),
        pointer(184, "sk", FieldKind::SocketOrNull),
        pointer(192, "skb_data", FieldKind::Packet),
        pointer(200, "skb_data_end", FieldKind::PacketEnd),
        word(208, "skb_len"),
        narrow(212, "skb_tcp_flags").loads(Loads::NarrowAtStart),
        long(216, "skb_hwtstamp"),
    ],
};

#[rustfmt::skip]
pub static SK_MSG: Layout = Layout {
    name: "sk_msg_md",
    size: 80,
    fields: &[
        pointer(0, "data", FieldKind::Packet),
        pointer(8, "data_end", FieldKind::PacketEnd),
        word(16, "family"), word(20, "remote_ip4"), word(24, "local_ip4"),
        word(28, "remote_ip6").count(4), word(44, "local_ip6").count(4),
        word(60, "remote_port"), word(64, "local_port"), word(68, "size"),
        pointer(72, "sk", FieldKind::Socket),
    ],
};

#[rustfmt::skip]
pub static SK_REUSEPORT: Layout = Layout {
    name: "sk_reuseport_md",
    size: 56,
    fields: &[
        pointer(0, "data", FieldKind::Packet),
        pointer(8, "data_end", FieldKind::PacketEnd),
        narrow(16, "len"),
        narrow(20, "eth_protocol").loads(Loads::NarrowFromTwo),
        narrow(24, "ip_protocol"),
        narrow(28, "bind_inany"),
        word(32, "hash"),
        pointer(40, "sk", FieldKind::Socket),
        pointer(48, "migrating_sk", FieldKind::SockCommonOrNull),
    ],
};

#[rustfmt::skip]
pub static SK_LOOKUP: Layout = Layout {
    name: "bpf_sk_lookup",
    size: 72,
    fields: &[
        pointer(0, "sk", FieldKind::SocketOrNull),
        narrow(8, "family"),
        narrow(12, "protocol"),
        narrow(16, "remote_ip4"),
        narrow(20, "remote_ip6").count(4),
        Field { size: 2, element: 2, ..narrow(36, "remote_port") }.loads(Loads::NarrowOrFour),
        // Zero, readable since the port once had four bytes.
        Field { size: 2, element: 2, ..narrow(38, "(padding)") },
        narrow(40, "local_ip4"),
        narrow(44, "local_ip6").count(4),
        narrow(60, "local_port"),
        narrow(64, "ingress_ifindex"),
    ],
};

#[rustfmt::skip]
pub static CGROUP_DEVICE: Layout = Layout {
    name: "bpf_cgroup_dev_ctx",
    size: 12,
    fields: &[narrow(0, "access_type"), word(4, "major"), word(8, "minor")],
};

#[rustfmt::skip]
pub static SYSCTL: Layout = Layout {
    name: "bpf_sysctl",
    size: 8,
    fields: &[narrow(0, "write"), narrow(4, "file_pos").stores(STORED)],
};

#[rustfmt::skip]
pub static SOCKOPT: Layout = Layout {
    name: "bpf_sockopt",
    size: 40,
    fields: &[
        pointer(0, "sk", FieldKind::Socket),
        pointer(8, "optval", FieldKind::Packet),
        pointer(16, "optval_end", FieldKind::PacketEnd),
        word(24, "level").stores(STORED),
        word(28, "optname").stores(STORED),
        word(32, "optlen").stores(STORED),
        word(36, "retval").stores(STORED),
    ],
};

/// Registers as on x86-64, then what was sampled.
#[rustfmt::skip]
pub static PERF_EVENT: Layout = Layout {
    name: "bpf_perf_event_data",
    size: 184,
    fields: &[
        long(0, "regs").count(21),
        long(168, "sample_period").loads(Loads::Narrow),
        long(176, "addr").loads(Loads::Narrow),
    ],
};

#[rustfmt::skip]
pub static NETFILTER: Layout = Layout {
    name: "bpf_nf_ctx",
    size: 16,
    fields: &[
        pointer(0, "state", FieldKind::Structure("nf_hook_state")),
        pointer(8, "skb", FieldKind::Structure("sk_buff")),
    ],
};

#[rustfmt::skip]
pub static RAW_TRACEPOINT_WRITABLE: Layout = Layout {
    name: "bpf_raw_tracepoint_args",
    size: 96,
    fields: &[
        pointer(0, "args[0]", FieldKind::TracepointBuffer),
        long(8, "args").count(11).loads(Loads::Narrow),
    ],
};

#[rustfmt::skip]
pub static LIRC: Layout = Layout { name: "lirc_mode2", size: 4, fields: &[word(0, "sample")] };
