//! Local endpoints, and which identity any address has.

use crate::Address;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Value of map `endpoints`: a workload's interface on this node, by each of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Endpoint {
    /// Number of the endpoint on this node, as `skep endpoint list` shows it.
    pub id: u32,
    /// Interface on the host's side; a packet from this address must enter there.
    pub ifindex: u32,
    pub identity: u32,
    /// See [`AddressInfo::peer`].
    pub peer: u32,
    /// Rule set for traffic to the endpoint; [`UNRESTRICTED`] if no policy selects it.
    pub ingress: u32,
    /// Rule set for traffic from the endpoint.
    pub egress: u32,
    pub workload_mac: [u8; 6],
    pub host_mac: [u8; 6],
    /// Bits of [`flags`].
    pub flags: u32,
}

const _: () = assert!(size_of::<Endpoint>() == 40);

/// Rule set id of a direction that no policy restricts.
pub const UNRESTRICTED: u32 = 0;

pub mod flags {
    /// `bpf_redirect_peer` can deliver to this endpoint (its interface is a veth's peer in another
    /// namespace). Without it a packet goes through the host's stack, marked as decided.
    pub const REDIRECT_PEER: u32 = 1;
}

/// Value of map `devices`: an interface by which the node is reached from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Device {
    /// The node's addresses there, which masqueraded flows get; none if it has none of the family.
    pub v4: Address,
    pub v6: Address,
    /// Bytes of the longest IP packet that it sends.
    pub mtu: u32,
    /// Bits of [`device_flags`].
    pub flags: u32,
}

const _: () = assert!(size_of::<Device>() == 40);

pub mod device_flags {
    /// It has the XDP program in its driver, which takes frames that programs of other interfaces send
    /// it by `XDP_REDIRECT`.
    pub const TAKES_FRAMES: u32 = 1;
    /// It has the XDP program in generic mode.
    pub const GENERIC: u32 = 2;
}

/// Key of map `addresses` (LPM trie). `prefix_len` counts bits of the 16-byte address, so an IPv4
/// prefix has 96 bits more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct AddressKey {
    pub prefix_len: u32,
    pub address: Address,
}

const _: () = assert!(size_of::<AddressKey>() == 20);

impl AddressKey {
    #[inline(always)]
    pub const fn exact(address: Address) -> Self {
        AddressKey { prefix_len: 128, address }
    }
}

/// Value of map `addresses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct AddressInfo {
    /// For people and events: the number of the label set, a reserved or a CIDR identity.
    pub identity: u32,
    /// For policy lookups: the identity refined by the CIDR blocks of policies that contain the
    /// address and by its named ports. Node-local, interned by the agent, never 0 for an address
    /// that is in the map.
    pub peer: u32,
}

const _: () = assert!(size_of::<AddressInfo>() == 8);
