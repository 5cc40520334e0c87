//! Ethernet II, with at most one VLAN tag.

use crate::Be16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const LEN: usize = 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Ethernet {
    pub destination: [u8; 6],
    pub source: [u8; 6],
    pub ethertype: Be16,
}

const _: () = assert!(size_of::<Ethernet>() == LEN);

/// What follows an ethertype of [`ethertype::VLAN`] or [`ethertype::QINQ`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Vlan {
    pub tag: Be16,
    pub ethertype: Be16,
}

const _: () = assert!(size_of::<Vlan>() == 4);

/// Both headers of an untagged IPv4 packet as far as the next hop changes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct HopV4 {
    pub frame: Ethernet,
    pub version_length: u8,
    pub tos: u8,
    pub total_length: Be16,
    pub id: Be16,
    pub flags_offset: Be16,
    pub ttl: u8,
    pub protocol: u8,
    pub checksum: Be16,
}

const _: () = assert!(size_of::<HopV4>() == LEN + 12);

/// The same for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct HopV6 {
    pub frame: Ethernet,
    pub version_class_flow: [Be16; 2],
    pub payload_length: Be16,
    pub next_header: u8,
    pub hop_limit: u8,
}

const _: () = assert!(size_of::<HopV6>() == LEN + 8);

pub mod ethertype {
    use crate::Be16;

    pub const IPV4: Be16 = Be16::new(0x0800);
    pub const ARP: Be16 = Be16::new(0x0806);
    pub const VLAN: Be16 = Be16::new(0x8100);
    pub const QINQ: Be16 = Be16::new(0x88a8);
    pub const IPV6: Be16 = Be16::new(0x86dd);
}
