//! Services, rings and backends, and what sockets remember of a translation.

use crate::{Address, Port};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of map `services` (hash): a front-end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ServiceKey {
    pub address: Address,
    pub port: Port,
    /// IP protocol number.
    pub protocol: u8,
    /// Who asks: one of [`scope`].
    pub scope: u8,
}

const _: () = assert!(size_of::<ServiceKey>() == 20);

/// Where traffic to a front-end comes from: which backends it may have depends on that.
pub mod scope {
    /// Workloads of this node.
    pub const INSIDE: u8 = 0;
    /// The node's other interfaces. Cluster IPs have no entry for it.
    pub const OUTSIDE: u8 = 1;
}

/// Value of map `services`. Replaced as a whole when backends change, after the new ring has been
/// written, so that a packet sees the old or the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Service {
    /// Hash of namespace, name and port name; the same after a restart.
    pub id: u32,
    /// First block of the ring in map `ring`.
    pub ring_base: u32,
    /// Slots in the ring; 0 means no backend.
    pub ring_len: u32,
    /// Bits of [`service_flags`].
    pub flags: u32,
    /// For how many seconds a client keeps its backend; 0 if each flow chooses anew.
    pub affinity_s: u32,
}

const _: () = assert!(size_of::<Service>() == 20);

pub mod service_flags {
    /// The ring is a Maglev ring and is indexed by the flow's hash; without it the ring is the
    /// list of backends and is indexed at random.
    pub const MAGLEV: u32 = 1;
    /// Only sources in map `source_ranges` may come.
    pub const SOURCE_RANGES: u32 = 2;
    /// All backends are on this node, so that the client's address can stay
    /// (`externalTrafficPolicy: Local`).
    pub const LOCAL: u32 = 4;
    /// What comes from outside for a backend elsewhere is sent on to its node, which answers the
    /// client.
    pub const DIRECT_RETURN: u32 = 8;
}

/// Key of map `affinities` (LRU hash): a client of a service with affinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct AffinityKey {
    /// Its address; for sockets, which have none yet when they connect, their network namespace's
    /// cookie in the last 8 bytes.
    pub client: Address,
    /// [`Service::id`].
    pub service: u32,
}

const _: () = assert!(size_of::<AffinityKey>() == 20);

/// Value of map `affinities`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Affinity {
    /// When the client last opened a flow, boot-time nanoseconds.
    pub last_used_ns: u64,
    pub backend: u32,
    pub zero: u32,
}

const _: () = assert!(size_of::<Affinity>() == 16);

/// Key of map `members` (hash, value [`Present`]): the backends of services with affinity. A
/// client's backend may still exist, but for another service.
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
pub struct MemberKey {
    pub service: u32,
    pub backend: u32,
}

const _: () = assert!(size_of::<MemberKey>() == 8);

/// Key of map `source_ranges` (LPM trie, value [`Present`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SourceRangeKey {
    /// Bits that count: 32 for `service`, then those of the address.
    pub prefix_len: u32,
    pub service: u32,
    pub address: Address,
}

const _: () = assert!(size_of::<SourceRangeKey>() == 24);

/// The value where only the key counts.
pub type Present = u8;

/// Slots in one value of map `ring` (array): backend ids.
pub const RING_BLOCK: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct RingBlock {
    pub backends: [u32; RING_BLOCK],
}

const _: () = assert!(size_of::<RingBlock>() == 128);

/// Value of map `backends` (hash by backend id).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Backend {
    pub address: Address,
    pub port: Port,
    pub protocol: u8,
    pub zero: u8,
}

const _: () = assert!(size_of::<Backend>() == 20);

/// Source that an endpoint's own packets get when a service leads back to it (hairpin).
pub const HAIRPIN_V4: Address = Address::from_v4([169, 254, 42, 1]);
/// The same for IPv6: `fd00:5ceb::42:1`.
pub const HAIRPIN_V6: Address =
    Address::from_v6([0xfd, 0, 0x5c, 0xeb, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x42, 0, 1]);

/// Key of map `socket_translations` (LRU hash): what an unconnected socket sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SocketTranslationKey {
    pub cookie: u64,
    pub backend: Address,
    pub port: Port,
    pub protocol: u8,
    pub zero: [u8; 5],
}

const _: () = assert!(size_of::<SocketTranslationKey>() == 32);

/// Value of map `socket_translations`: what the program behind the socket believes it talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SocketTranslation {
    pub address: Address,
    pub port: Port,
    pub zero: u16,
    pub service: u32,
    pub backend: u32,
}

const _: () = assert!(size_of::<SocketTranslation>() == 28);
