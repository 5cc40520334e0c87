//! TCP, UDP and SCTP.

use crate::{Be16, Be32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What TCP, UDP and SCTP begin with, in memory order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Ports {
    pub source: u16,
    pub destination: u16,
}

const _: () = assert!(size_of::<Ports>() == 4);

/// Offsets of the ports from the start of the transport header.
pub mod offset {
    pub const SOURCE_PORT: u32 = 0;
    pub const DESTINATION_PORT: u32 = 2;
    pub const TCP_CHECKSUM: u32 = 16;
    pub const UDP_CHECKSUM: u32 = 6;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Tcp {
    pub source: Be16,
    pub destination: Be16,
    pub sequence: Be32,
    pub acknowledgement: Be32,
    pub data_offset: u8,
    pub flags: u8,
    pub window: Be16,
    pub checksum: Be16,
    pub urgent: Be16,
}

const _: () = assert!(size_of::<Tcp>() == 20);

/// Offset of the flags byte in a TCP header.
pub const TCP_FLAGS: u32 = 13;

pub mod tcp_flags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Udp {
    pub source: Be16,
    pub destination: Be16,
    pub length: Be16,
    pub checksum: Be16,
}

const _: () = assert!(size_of::<Udp>() == 8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Sctp {
    pub source: Be16,
    pub destination: Be16,
    pub tag: Be32,
    /// CRC32c; the one number here that goes out with its low byte first (RFC 9260, appendix A).
    pub checksum: u32,
}

const _: () = assert!(size_of::<Sctp>() == 12);
