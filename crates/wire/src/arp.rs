//! ARP for IPv4 over Ethernet (RFC 826).

use crate::Be16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Arp {
    pub hardware: Be16,
    pub protocol: Be16,
    pub hardware_length: u8,
    pub protocol_length: u8,
    pub operation: Be16,
    pub sender_mac: [u8; 6],
    pub sender: [u8; 4],
    pub target_mac: [u8; 6],
    pub target: [u8; 4],
}

const _: () = assert!(size_of::<Arp>() == 28);

pub const REQUEST: Be16 = Be16::new(1);
pub const REPLY: Be16 = Be16::new(2);
