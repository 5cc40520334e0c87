//! Bits in the balancer's map values.

/// Of [`Settings::flags`](super::Settings).
pub mod settings_flags {
    /// Map `lb_ranges` has entries.
    pub const RANGES: u32 = 1 << 0;
    /// Map `lb_prefixes` has entries.
    pub const PREFIXES: u32 = 1 << 1;
    /// IPIP packets to the balancer are decapsulated.
    pub const DECAPSULATE_IPIP: u32 = 1 << 2;
    /// GUE packets to the balancer are decapsulated.
    pub const DECAPSULATE_GUE: u32 = 1 << 3;
    /// Only packets whose outer destination is the balancer's source address, or one of
    /// `lb_decapsulate`, are.
    pub const DECAPSULATE_STRICT: u32 = 1 << 4;
    /// A frame that is too long is answered by an ICMP message; without it, it is dropped.
    pub const SEND_TOO_BIG: u32 = 1 << 5;
    /// Behave as Katran does where Skep would do better: fragments, IP options and IPv6 extension
    /// headers are dropped, and every echo request is answered, VIP or not.
    pub const KATRAN: u32 = 1 << 6;
    /// The outer header has the inner one's class of service.
    pub const COPY_TOS: u32 = 1 << 7;
    /// What a NAT backend answers goes through the balancer: `lb_translations` is asked for every
    /// packet that is for no VIP.
    pub const NAT: u32 = 1 << 8;
    /// The balancer takes part in decapsulation at all.
    pub const DECAPSULATE: u32 = DECAPSULATE_IPIP | DECAPSULATE_GUE;
}

/// Of [`FrontEnd::flags`](super::FrontEnd).
pub mod frontend_flags {
    /// The source port is not hashed.
    pub const NO_SOURCE_PORT: u32 = 1 << 0;
    /// Only the destination port is hashed.
    pub const DESTINATION_PORT_ONLY: u32 = 1 << 1;
    /// The destination port is hashed although the VIP takes all ports.
    pub const HASH_ALL_PORTS: u32 = 1 << 2;
    /// Connection ids of QUIC lead to the backend.
    pub const QUIC: u32 = 1 << 3;
    /// A TCP option with a server id leads to the backend.
    pub const TCP_SERVER_ID: u32 = 1 << 4;
    /// The stable routing header before UDP's payload leads to the backend.
    pub const UDP_STABLE_ROUTING: u32 = 1 << 5;
    /// UDP flows leave a backend that map `lb_down` names.
    pub const UDP_MIGRATION: u32 = 1 << 6;
    /// Map `lb_sources` goes before the ring.
    pub const SOURCE_ROUTING: u32 = 1 << 7;
    /// Packets for a local backend ([`backend_flags::LOCAL`](super::backend_flags::LOCAL)) go up
    /// the stack unchanged.
    pub const LOCAL: u32 = 1 << 8;
    /// Hash and ring length are Katran's.
    pub const KATRAN_HASH: u32 = 1 << 9;
    /// Flow keeping `all`: every flow is in `lb_flows`.
    pub const KEEP_ALL: u32 = 1 << 10;
    /// Flow keeping `moved`: slots may have [`slot::MOVED`](super::slot::MOVED).
    pub const KEEP_MOVED: u32 = 1 << 11;
    /// [`FrontEnd::new_flows_per_second`](super::FrontEnd::new_flows_per_second) applies.
    pub const LIMITED: u32 = 1 << 12;
    /// What takes the packet off the shortest way.
    pub const SPECIAL: u32 = QUIC
        | TCP_SERVER_ID
        | UDP_STABLE_ROUTING
        | UDP_MIGRATION
        | SOURCE_ROUTING
        | KEEP_ALL
        | LIMITED;
}

/// Of [`Backend::flags`](super::Backend).
pub mod backend_flags {
    /// How packets are delivered: the two lowest bits.
    pub const DELIVERY: u32 = 3;
    pub const IPIP: u32 = 0;
    pub const GUE: u32 = 1;
    pub const GENEVE: u32 = 2;
    pub const NAT: u32 = 3;
    /// The outer (or translated) packet is IPv6.
    pub const V6: u32 = 1 << 2;
    /// On this machine.
    pub const LOCAL: u32 = 1 << 3;
    /// Not answering: flows that are remembered for it go elsewhere.
    pub const DOWN: u32 = 1 << 4;
    /// The next hop comes from the kernel's routes and neighbours; without it `mac` is it.
    pub const FIB: u32 = 1 << 5;
    /// NAT also replaces the source, so that answers come back here.
    pub const MASQUERADE: u32 = 1 << 6;
    /// `mac` is the next hop; without it and without `FIB`, the settings' router is.
    pub const OWN_MAC: u32 = 1 << 7;
}

/// Values of map `lb_decapsulate`.
pub mod decapsulate {
    /// The inner packet is balanced.
    pub const BALANCE: u32 = 1 << 0;
    /// The inner packet leaves by the interface it came in by, to the MAC that it came from: what
    /// backends answer through the balancer.
    pub const EGRESS: u32 = 1 << 1;
}
