//! Settings and switches that the agent changes while programs run: map `state` (array of one).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Value of map `state`. Only the agent writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct State {
    pub abi_version: u32,
    /// Raised after every change of policy or identities; older verdicts are given again.
    pub policy_epoch: u32,
    /// Bits of [`state_flags`].
    pub flags: u32,
    /// Events per second and CPU for starts, replies and ends; 0 means no limit.
    pub flow_events_per_second: u32,
    /// The same for drops.
    pub drop_events_per_second: u32,
    pub timeouts: Timeouts,
    pub zero: u32,
}

const _: () = assert!(size_of::<State>() == 48);

pub mod state_flags {
    /// `bpf_redirect_peer` may be used.
    pub const REDIRECT_PEER: u32 = 1;
    /// How packets are sent on to the node of their backend: in Geneve, or with an option in their
    /// IP header; without either in IPIP.
    pub const SEND_ON_BY_GENEVE: u32 = 2;
    pub const SEND_ON_BY_OPTION: u32 = 4;
}

/// Idle times after which a connection is forgotten, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Timeouts {
    /// TCP before the handshake is complete.
    pub tcp_opening: u32,
    pub tcp_established: u32,
    /// TCP after FIN or RST.
    pub tcp_closing: u32,
    /// UDP, SCTP and others without a reply.
    pub other_unreplied: u32,
    pub other: u32,
    pub icmp: u32,
}

impl Timeouts {
    /// Linux's own (net.netfilter.nf_conntrack_*) where they are short, Cilium's 8000 s for
    /// established TCP.
    pub const DEFAULT: Timeouts = Timeouts {
        tcp_opening: 60,
        tcp_established: 8000,
        tcp_closing: 10,
        other_unreplied: 30,
        other: 120,
        icmp: 30,
    };
}

/// Value of map `limiters` (per-CPU array by [`limiter`]): a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Limiter {
    pub refilled_ns: u64,
    /// Tokens, in billionths of an event.
    pub tokens: u64,
}

pub mod limiter {
    pub const FLOWS: u32 = 0;
    pub const DROPS: u32 = 1;
    pub const COUNT: u32 = 2;
}

/// Mark of packets that go through the host's stack after they have been decided.
pub const MARK_DECIDED: u32 = 0x5ceb_0001;
