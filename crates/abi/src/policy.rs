//! Rule sets as the kernel holds them.
//!
//! One lookup per restricted direction of a new connection: (rule set, peer) gives a port set,
//! (port set, protocol, port) gives the rule by longest prefix. Precedence (tiers, deny before
//! allow, most specific first) has been resolved when the port set was compiled, so that the
//! longest prefix is the answer and its absence is a denial.

use crate::Port;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of map `peers` (hash): value is the port set, a `u32`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
)]
#[repr(C)]
pub struct PeerKey {
    pub rule_set: u32,
    /// [`ANY_PEER`] is the entry for peers that have none of their own.
    pub peer: u32,
}

const _: () = assert!(size_of::<PeerKey>() == 8);

pub const ANY_PEER: u32 = 0;

/// Port set that contains nothing: a peer with it is denied without a lookup in `ports`. A rule
/// set whose ANY_PEER entry allows something names it for peers that are excepted.
pub const EMPTY_PORT_SET: u32 = 0;

/// Key of map `ports` (LPM trie).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct PortKey {
    /// [`PORT_SET_BITS`](Self::PORT_SET_BITS) alone matches every protocol;
    /// [`PROTOCOL_BITS`](Self::PROTOCOL_BITS) every port of one protocol; up to 16 more bits a
    /// port prefix.
    pub prefix_len: u32,
    pub port_set: u32,
    /// IP protocol number.
    pub protocol: u8,
    pub zero: u8,
    /// Destination port; for ICMP and ICMPv6 the type, as a number.
    pub port: Port,
}

const _: () = assert!(size_of::<PortKey>() == 12);

impl PortKey {
    pub const PORT_SET_BITS: u32 = 32;
    pub const PROTOCOL_BITS: u32 = 48;
    pub const EXACT_BITS: u32 = 64;

    #[inline(always)]
    pub const fn exact(port_set: u32, protocol: u8, port: Port) -> Self {
        PortKey { prefix_len: Self::EXACT_BITS, port_set, protocol, zero: 0, port }
    }
}

/// Value of map `ports`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Rule {
    /// The policy rule that decides here, for events and `skep policy explain`: a hash of policy
    /// name, direction and position, the same after a restart. [`NO_RULE`] if none does.
    pub id: u32,
    /// Bits of [`rule_flags`].
    pub flags: u32,
}

const _: () = assert!(size_of::<Rule>() == 8);

/// Rule id of a verdict that no rule gave: default denial, or no policy at all.
pub const NO_RULE: u32 = 0;

pub mod rule_flags {
    pub const DENY: u32 = 1;
}
